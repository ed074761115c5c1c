//! The results as files: written while the last cut becomes durable, named when it is.
//!
//! Promises: no file gets its name before the state that it is of is durable; a last epoch that
//! has to be tried again is written again.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::EngineError;
use crate::cli::{Failure, ResultsTo};
use crate::publish::Published;
use crate::results::Prepared;

/// A thread that writes the results when it is told that the last ones are there.
pub struct Writer(JoinHandle<Option<Result<Prepared, Failure>>>);

impl Writer {
    /// A thread that has nothing to do yet, and the line to tell it by; none if nobody wants files.
    pub fn start(
        to: Option<ResultsTo>,
        published: &Arc<Published>,
    ) -> Result<Option<(Self, Sender<()>)>, EngineError> {
        let Some(to) = to else { return Ok(None) };
        let published = published.clone();
        let (last, told): (_, Receiver<()>) = bounded(1);
        let write = move || {
            let mut prepared = None;
            for () in told {
                // What was prepared before goes first: it stands under the same names.
                drop(prepared.take());
                prepared = Some(Prepared::write(&published, &to.dir, to.format));
            }
            prepared
        };
        let thread = thread::Builder::new().name("results".into()).spawn(write);
        let thread = thread.map_err(|e| EngineError::Died(format!("starting a thread: {e}")))?;
        Ok(Some((Writer(thread), last)))
    }

    /// Gives the files their names. The other end of the line must be gone.
    pub fn finish(self) -> Result<(), EngineError> {
        let panicked = |_| EngineError::Died("writing the results panicked".into());
        match self.0.join().map_err(panicked)? {
            Some(prepared) => Ok(prepared.and_then(Prepared::rename)?),
            None => Ok(()),
        }
    }
}
