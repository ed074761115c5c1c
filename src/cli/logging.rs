//! `--log-format`, as the logs know it.

use super::{Failure, LogFormat, exit};
use crate::telemetry::log::{self, Format};

/// Starts logging; a second start in one process changes nothing.
pub fn start(format: Option<LogFormat>) -> Result<(), Failure> {
    let format = match format {
        None => Format::Auto,
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
    };
    log::init(format).map_err(|error| Failure::new(exit::CONFIG, error.to_string(), ""))
}
