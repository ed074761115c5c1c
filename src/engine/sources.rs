//! The sources as the coordinator runs them: when each is asked for partitions, what it has found
//! and what waits until that is durable.

use std::collections::BTreeMap;
use std::time::Instant;

use tracing::{info, warn};

use super::EngineError;
use super::book::Book;
use super::clock::wall;
use super::repeats::Repeats;
use crate::source::{Discovery, Done, Found, Reader, Source, SourceError, Watch};
use crate::store::{Head, Partition};
use crate::telemetry::Machine;
use crate::telemetry::status::Trouble;

/// A source and when it is asked next.
struct Running {
    source: Box<dyn Source>,
    due: Instant,
    complete: bool,
    /// Partitions that were found and could not be opened yet.
    unopened: Vec<Found>,
    /// What is wrong with it now.
    trouble: Option<Trouble>,
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
    /// Which troubles have been said.
    repeats: Repeats,
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
            running.push(Running {
                source,
                due: Instant::now(),
                complete: false,
                unopened: Vec::new(),
                trouble: None,
                pending: true,
            });
        }
        Ok(Sources { running, bounded, repeats: Repeats::default() })
    }

    /// When the next one is to be asked; none if all are complete.
    pub fn due(&self) -> Option<Instant> {
        self.running.iter().filter(|r| !r.complete).map(|r| r.due).min()
    }

    /// Whether nothing more will be found.
    pub fn complete(&self) -> bool {
        self.running.iter().all(|r| r.complete)
    }

    /// Whether a source will find nothing more.
    pub fn is_complete(&self, name: &str) -> bool {
        self.running.iter().all(|r| r.complete || r.source.name() != name)
    }

    /// Asks those that are due; what they found is entered into the book. Also the numbers of
    /// partitions that are not opened, as nothing of them is left to be read. A source that cannot
    /// be reached, and a partition that cannot be opened, are status: they are tried again, unless
    /// the run is bounded.
    pub fn discover(
        &mut self,
        book: &mut Book,
        machine: &Machine,
    ) -> Result<(Vec<Waiting>, Vec<u32>), EngineError> {
        let (mut waiting, mut still) = (Vec::new(), Vec::new());
        for (n, running) in (0..).zip(&mut self.running) {
            if running.complete || running.due > Instant::now() {
                continue;
            }
            running.due = Instant::now() + running.source.interval();
            let trouble = running.discover(book, self.bounded, (&mut waiting, &mut still))?;
            running.note(trouble, n, &mut self.repeats, machine);
        }
        Ok((waiting, still))
    }

    /// What is wrong with each source now, by name.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, Option<&Trouble>)> {
        self.running.iter().map(|r| (r.source.name(), r.trouble.as_ref()))
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

impl Running {
    /// Finds partitions and opens them; what is wrong, if that can be tried again.
    fn discover(
        &mut self,
        book: &mut Book,
        bounded: bool,
        (waiting, still): (&mut Vec<Waiting>, &mut Vec<u32>),
    ) -> Result<Option<String>, EngineError> {
        let fatal = |error: &SourceError| bounded || matches!(error, SourceError::Changed { .. });
        let name = self.source.name().to_owned();
        let (discovery, mut trouble) = match self.source.discover() {
            Ok(discovery) => (discovery, self.source.trouble()),
            Err(error) if fatal(&error) => return Err(error.into()),
            Err(error) => {
                // What it has when it is back is not waited for.
                self.pending = false;
                (Discovery::default(), Some(error.to_string()))
            }
        };
        book.memos(&name, discovery.memos);
        still.extend(discovery.still.iter().filter_map(|partition| book.number(&name, partition)));
        self.pending &= discovery.pending;
        let again = std::mem::take(&mut self.unopened);
        for found in again.into_iter().chain(discovery.found) {
            let number = book.number(&name, &found.name).unwrap_or_else(|| {
                info!(source = name, partition = found.name, "a new partition");
                let partition = Partition { source: name.clone(), name: found.name.clone() };
                book.enter(partition, found.start)
            });
            match self.source.open(&found.name, number, book.next(number)) {
                Ok(reader) => waiting.push(Waiting { partition: number, reader }),
                Err(error) if fatal(&error) => return Err(error.into()),
                Err(error) => {
                    trouble.get_or_insert_with(|| error.to_string());
                    self.unopened.push(found);
                }
            }
        }
        self.complete = discovery.complete && self.unopened.is_empty();
        Ok(trouble)
    }

    /// Notes what is wrong now: in the status, in a counter, and in the log where that is news.
    fn note(&mut self, error: Option<String>, n: u32, repeats: &mut Repeats, machine: &Machine) {
        let name = self.source.name();
        let Some(error) = error else {
            if repeats.gone(n) {
                info!(source = name, "the source can be read again");
            }
            self.trouble = None;
            return;
        };
        machine.source_errors.with_label_values(&[name]).inc();
        if let Some(times) = repeats.came(n, &error, Instant::now()) {
            warn!(source = name, error, times, "the source cannot be read; it is tried again");
        }
        if self.trouble.as_ref().is_none_or(|t| t.error != error) {
            let hint = format!(
                "see that it is there and readable; it is tried again every {:?}",
                self.source.interval()
            );
            self.trouble = Some(Trouble { error, hint, at: wall() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::source::{Memos, Read};

    /// Its one partition cannot be opened the first two times.
    struct Shaky {
        found: bool,
        opened: u32,
    }

    struct Nothing;

    impl Reader for Nothing {
        fn read(&mut self, _: usize, _: usize) -> Result<Read, SourceError> {
            Ok(Read::End)
        }

        fn end(&self) -> Option<u64> {
            None
        }
    }

    impl Source for Shaky {
        fn name(&self) -> &'static str {
            "shaky"
        }

        fn restore(&mut self, _: &Memos, _: &[(String, u64)]) -> Result<(), SourceError> {
            Ok(())
        }

        fn discover(&mut self) -> Result<Discovery, SourceError> {
            let rule = dataflows::record::Rule::Auto;
            let found = Found { name: "p".into(), start: 5, rule };
            let new = !std::mem::replace(&mut self.found, true);
            Ok(Discovery {
                found: new.then_some(found).into_iter().collect(),
                ..Default::default()
            })
        }

        fn interval(&self) -> Duration {
            Duration::ZERO
        }

        fn open(&mut self, _: &str, _: u32, at: u64) -> Result<Box<dyn Reader>, SourceError> {
            assert_eq!(at, 5);
            self.opened += 1;
            let what = "opening p: it has vanished".to_owned();
            if self.opened > 2 {
                Ok(Box::new(Nothing))
            } else {
                Err(SourceError::Unavailable { what })
            }
        }
    }

    fn shaky(bounded: bool) -> (Sources, Book) {
        let source = Box::new(Shaky { found: false, opened: 0 });
        let (head, machine) = (Head::default(), Book::new(&Head::default(), 1));
        let sources = Sources::new(vec![source], &head, &machine, bounded).expect("restored");
        (sources, machine)
    }

    /// A file that vanished between the scan and its opening ended the daemon.
    #[test]
    fn what_cannot_be_opened_is_tried_again() {
        let machine = Machine::new();
        let (mut sources, mut book) = shaky(false);
        for round in 0..4 {
            let (waiting, still) = sources.discover(&mut book, &machine).expect("status, no error");
            assert_eq!((waiting.len(), still.len()), (usize::from(round == 2), 0), "round {round}");
            assert!(!sources.is_complete("shaky") && sources.is_complete("another"));
            let (name, trouble) = sources.troubles().next().expect("one source");
            assert_eq!((name, trouble.is_some()), ("shaky", round < 2), "round {round}");
            let said = trouble.is_none_or(|t| t.error == "opening p: it has vanished");
            assert!(said, "{trouble:?}");
        }
        assert_eq!(machine.source_errors.with_label_values(&["shaky"]).get(), 2);
        assert_eq!(book.len(), 1);
        let (mut sources, mut book) = shaky(true);
        assert!(sources.discover(&mut book, &machine).is_err(), "a bounded run does not wait");
    }
}
