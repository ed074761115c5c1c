//! The keeper: one thread that writes everything durable, in the order in which epochs became
//! complete: dead letters and cleaned rows as they come, and at a cut first these, then the state.
//!
//! Promises: outputs before inputs. A cut is committed only after every dead letter and every
//! cleaned row up to it is durable; what fails for want of space is merged into the next cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use dataflows::assemble::Partitions;
use dataflows::sealed::{CleanRows, Reject};

use super::EngineError;
use super::messages::{Event, Kept};
use crate::sink::Sink;
use crate::store::dead::DeadLetters;
use crate::store::{Cut, Store};
use crate::telemetry::Machine;

/// The names of the marks in a cut's head.
pub const DEAD_LETTERS: &str = "dead_letters";
/// The first sink's mark; others follow by number.
pub const SINK: &str = "sink";

/// To the keeper.
pub enum Task {
    /// What a complete epoch gives besides results.
    Epoch {
        /// Rejections.
        rejects: Vec<Reject>,
        /// Cleaned rows.
        rows: Vec<CleanRows>,
    },
    /// A cut, and when it was due.
    Cut {
        /// It.
        cut: Box<Cut>,
        /// When it became due.
        due: Instant,
        /// Whether it goes up to the newest complete epoch, so that outputs are part of it; else it
        /// only makes new partitions and memos known.
        whole: bool,
    },
    /// The orderly end: the sinks leave nothing open.
    Finish,
}

/// What the keeper keeps.
pub struct Keeper {
    /// The state.
    pub store: Store,
    /// Rejected records.
    pub dead: DeadLetters,
    /// Sinks of cleaned rows.
    pub sinks: Vec<Box<dyn Sink>>,
    /// The partitions' names.
    pub partitions: Partitions,
    /// A cut that could not be written yet.
    pub unwritten: Option<Cut>,
    /// Counters.
    pub machine: Arc<Machine>,
}

impl Keeper {
    /// Works until the channel closes or something cannot be kept.
    pub fn run(mut self, tasks: Receiver<Task>, events: Sender<Event>) {
        for task in tasks {
            let done = match task {
                Task::Epoch { rejects, rows } => self.epoch(rejects, &rows).map(|()| None),
                Task::Cut { cut, due, whole } => self.cut(*cut, due, whole).map(Some),
                Task::Finish => self.finish().map(Some),
            };
            match done {
                Ok(None) => {}
                Ok(Some(kept)) => drop(events.send(Event::Kept(Ok(kept)))),
                Err(error) => {
                    let _ = events.send(Event::Kept(Err(Box::new(error))));
                    return;
                }
            }
        }
    }

    fn epoch(&mut self, rejects: Vec<Reject>, rows: &[CleanRows]) -> Result<(), EngineError> {
        if !rejects.is_empty() {
            let names = self.partitions.read().clone();
            self.dead.append(&names, rejects)?;
        }
        for sink in &mut self.sinks {
            sink.write(rows)?;
        }
        Ok(())
    }

    fn cut(&mut self, mut cut: Cut, due: Instant, whole: bool) -> Result<Kept, EngineError> {
        if whole {
            let mark = self.dead.sync()?;
            cut.head.marks.insert(DEAD_LETTERS.into(), mark);
            for (n, sink) in self.sinks.iter_mut().enumerate() {
                cut.head.marks.insert(format!("{SINK}{n}"), sink.prepare_cut()?);
            }
        }
        let cut = match self.unwritten.take() {
            Some(mut earlier) => {
                earlier.merge(cut);
                earlier
            }
            None => cut,
        };
        let number = cut.head.cut;
        let retry = cut.clone();
        match self.store.commit(cut) {
            Ok(info) => {
                for sink in &mut self.sinks {
                    sink.after_cut()?;
                }
                self.machine.checkpoints.inc();
                self.machine.checkpoint_bytes.inc_by(info.bytes);
                self.machine.checkpoint_seconds.observe(due.elapsed().as_secs_f64());
                Ok(Kept {
                    cut: number,
                    bytes: info.bytes,
                    disk_bytes: self.store.disk_bytes(),
                    took: due.elapsed(),
                    full_wanted: self.store.needs_full(),
                    trouble: None,
                })
            }
            Err(error) if error.is_transient() => {
                self.machine.checkpoint_errors.inc();
                tracing::warn!(%error, "a checkpoint could not be written; it is tried again");
                self.unwritten = Some(retry);
                Ok(Kept { trouble: Some(error.to_string()), ..Kept::default() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn finish(&mut self) -> Result<Kept, EngineError> {
        for sink in &mut self.sinks {
            sink.finish()?;
        }
        Ok(Kept { took: Duration::ZERO, ..Kept::default() })
    }
}
