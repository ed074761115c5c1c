//! pinflow as a library: the daemon around the dataflow. The binary is `main.rs`.

pub mod cli;
pub mod config;
pub mod emulate;
pub mod engine;
pub mod http;
pub mod publish;
pub mod results;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
