//! `--log-format`, as the logs know it, and the last line of a command that fails.
//!
//! Promises: where standard error is a log of JSON, why a run ends is an object too, whatever
//! `PINFLOW_LOG` hides.
//! Limits: what is wrong with the flags or with `PINFLOW_LOG` itself is text, as is a panic.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Failure, LogFormat, exit};
use crate::engine::clock::wall;
use crate::publish::print::rfc3339;
use crate::telemetry::log::{self, Format};

/// What is said on standard error is read by machines.
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts logging of a command that prints for people beside it; a second start in one process
/// changes nothing.
pub fn start(format: Option<LogFormat>) -> Result<(), Failure> {
    init(format).map(drop)
}

/// Starts logging of a command that does nothing but run.
pub fn start_run(format: Option<LogFormat>) -> Result<(), Failure> {
    JSON.store(init(format)?, Ordering::Relaxed);
    Ok(())
}

fn init(format: Option<LogFormat>) -> Result<bool, Failure> {
    let format = match format {
        None => Format::Auto,
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
    };
    log::init(format).map_err(|error| Failure::new(exit::CONFIG, error.to_string(), ""))
}

/// The last line of a command that fails.
pub fn last_words(failure: &Failure) -> String {
    if !JSON.load(Ordering::Relaxed) {
        return format!("pinflow: {failure}\n");
    }
    let said = json!({
        "timestamp": rfc3339(wall()),
        "level": "ERROR",
        "message": failure.message,
        "hint": failure.hint,
        "exit_code": failure.exit_code,
        "target": "pinflow",
    });
    format!("{said}\n")
}
