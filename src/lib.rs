//! pinflow as a library: the daemon around the dataflow. The binary is `main.rs`.

pub mod config;
pub mod http;
pub mod publish;
pub mod source;
pub mod store;
pub mod telemetry;
