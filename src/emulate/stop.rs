//! SIGINT and SIGTERM as an orderly stop; the second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Failure, exit};

/// Whether it is time to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops at the first SIGINT or SIGTERM.
    pub fn at_signals() -> Result<Self, Failure> {
        let stop = Stop::default();
        let failed = |error: std::io::Error| {
            Failure::new(exit::SOFTWARE, format!("listening for signals: {error}"), "")
        };
        for signal in [SIGINT, SIGTERM] {
            // The first of the two looks before the second sets.
            let code = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, code, stop.0.clone())
                .map_err(failed)?;
            signal_hook::flag::register(signal, stop.0.clone()).map_err(failed)?;
        }
        Ok(stop)
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
