//! The sources as the coordinator runs them: when each is asked for partitions, what it has found
//! and what waits until that is durable.

use std::collections::BTreeMap;
use std::time::Instant;

use tracing::{info, warn};

use super::EngineError;
use super::book::Book;
use crate::source::{Done, Reader, Source, SourceError, Watch};
use crate::store::{Head, Partition};

/// A source and when it is asked next.
struct Running {
    source: Box<dyn Source>,
    due: Instant,
    complete: bool,
    /// What is there at the start has not been found yet.
    pending: bool,
}

/// A partition that is opened once the cut that makes it known is durable.
pub struct Waiting {
    /// Its number.
    pub partition: u32,
    /// Its reader.
    pub reader: Box<dyn Reader>,
}

/// Positions of a source's partitions, by name.
pub type Positions = Vec<(String, u64)>;

/// All sources.
pub struct Sources {
    running: Vec<Running>,
    /// What cannot be reached now will not be waited for.
    bounded: bool,
}

impl Sources {
    /// Gives each source back what it remembered.
    pub fn new(
        sources: Vec<Box<dyn Source>>,
        head: &Head,
        book: &Book,
        bounded: bool,
    ) -> Result<Self, EngineError> {
        let mut running = Vec::new();
        for mut source in sources {
            let name = source.name().to_owned();
            let memos = head.memos.get(&name).cloned().unwrap_or_default();
            source.restore_arrivals(&book.arrivals_of(&name));
            source.restore(&memos, &book.of(&name))?;
            running.push(Running { source, due: Instant::now(), complete: false, pending: true });
        }
        Ok(Sources { running, bounded })
    }

    /// When the next one is to be asked; none if all are complete.
    pub fn due(&self) -> Option<Instant> {
        self.running.iter().filter(|r| !r.complete).map(|r| r.due).min()
    }

    /// Whether nothing more will be found.
    pub fn complete(&self) -> bool {
        self.running.iter().all(|r| r.complete)
    }

    /// Asks those that are due; what they found is entered into the book. Whether a source cannot
    /// be reached is status: it is asked again, unless the run is bounded.
    pub fn discover(&mut self, book: &mut Book) -> Result<Vec<Waiting>, EngineError> {
        let mut waiting = Vec::new();
        for running in self.running.iter_mut().filter(|r| !r.complete) {
            if running.due > Instant::now() {
                continue;
            }
            running.due = Instant::now() + running.source.interval();
            let name = running.source.name().to_owned();
            let discovery = match running.source.discover() {
                Ok(discovery) => discovery,
                Err(error @ SourceError::Changed { .. }) => return Err(error.into()),
                Err(error) if self.bounded => return Err(error.into()),
                Err(error) => {
                    // What it has when it is back is not waited for.
                    running.pending = false;
                    warn!(source = name, %error, "the source cannot be reached; it is tried again");
                    continue;
                }
            };
            book.memos(&name, discovery.memos);
            running.complete = discovery.complete;
            running.pending &= discovery.pending;
            for found in discovery.found {
                let number = book.number(&name, &found.name).unwrap_or_else(|| {
                    info!(source = name, partition = found.name, "a new partition");
                    let partition = Partition { source: name.clone(), name: found.name.clone() };
                    book.enter(partition, found.start)
                });
                let reader = running.source.open(&found.name, number, book.next(number))?;
                waiting.push(Waiting { partition: number, reader });
            }
        }
        Ok(waiting)
    }

    /// Whether what is there at the start is still being looked for.
    pub fn pending(&self) -> bool {
        self.running.iter().any(|r| r.pending)
    }

    /// The names of the sources.
    pub fn names(&self) -> Vec<String> {
        self.running.iter().map(|r| r.source.name().to_owned()).collect()
    }

    /// These positions are durable now, by source.
    pub fn durable(&mut self, positions: &[Positions]) {
        for (running, positions) in self.running.iter_mut().zip(positions) {
            running.source.durable(positions);
        }
    }

    /// What the sources see beside their readers, and their counts, by name.
    pub fn watch(&self) -> Vec<(String, Watch, BTreeMap<&'static str, u64>)> {
        let one = |r: &Running| (r.source.name().to_owned(), r.source.watch(), r.source.counters());
        self.running.iter().map(one).collect()
    }

    /// How far each is, for a progress bar.
    pub fn progress(&self) -> Vec<Option<Done>> {
        self.running.iter().map(|r| r.source.progress()).collect()
    }

    /// The orderly stop: last memos.
    pub fn stop(&mut self, book: &mut Book) {
        for running in &mut self.running {
            let name = running.source.name().to_owned();
            book.memos(&name, running.source.stop());
        }
    }
}
