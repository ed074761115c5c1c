//! pinflow as a library: the daemon around the dataflow. The binary is `main.rs`.

pub mod config;
pub mod sink;
pub mod source;
pub mod store;
