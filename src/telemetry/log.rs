//! Logs: to stderr, as text on a terminal, else as JSON, one line an event.
//!
//! Promises: no record contents and no secrets at any level of ours; `PINFLOW_LOG` chooses
//! levels by target (`info`, `pinflow::http=debug,warn`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that chooses levels.
pub const VARIABLE: &str = "PINFLOW_LOG";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error(
        "reading {VARIABLE}={given:?}: {why}; write levels such as `info` or \
         `pinflow::http=debug,warn`"
    )]
    Filter {
        /// What it says.
        given: String,
        /// What is wrong.
        why: String,
    },
}

/// Starts logging; a second call changes nothing. Says whether lines are JSON.
pub fn init(format: Format) -> Result<bool, LogError> {
    let given = std::env::var(VARIABLE).unwrap_or_default();
    let filter = if given.trim().is_empty() {
        EnvFilter::new("info")
    } else {
        let why = |e: tracing_subscriber::filter::ParseError| e.to_string();
        EnvFilter::try_new(&given).map_err(|e| LogError::Filter { given, why: why(e) })?
    };
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A subscriber that is there already (a test's) stays.
    let _ = if text {
        lines.with_ansi(terminal).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    };
    Ok(!text)
}
