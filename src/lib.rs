//! pinflow as a library: the daemon around the dataflow. The binary is `main.rs`.

pub mod cli;
pub mod config;
pub mod results;
pub mod source;
pub mod store;
