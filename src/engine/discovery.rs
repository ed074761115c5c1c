//! The coordinator's part in partitions: found, made known by a cut, opened, in trouble; and
//! whether results may be shown yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dataflows::tick::CutKind;
use tracing::info;

use super::EngineError;
use super::coordinator::{Coordinator, Phase};
use super::messages::ToWorker;
use super::sources::Waiting;
use crate::publish::State;
use crate::source::SourceError;

impl Coordinator {
    /// Asks the sources for new partitions; first a cut makes them known.
    pub(super) fn discover(&mut self) -> Result<(), EngineError> {
        if self.phase != Phase::Running || self.sources.due().is_none_or(|d| d > Instant::now()) {
            return Ok(());
        }
        let pending = self.shows != State::Live && self.sources.pending();
        let (waiting, still) = self.sources.discover(&mut self.book, &self.report.machine)?;
        let followed = !self.pace.bounded;
        if let Some(former) = &mut self.former {
            let read = still.iter().map(|n| (*n, Some(self.book.next(*n))));
            for (n, end) in waiting.iter().map(|w| (w.partition, w.reader.end())).chain(read) {
                let place = self.book.place(n);
                former.found((&place.source, &place.partition), end);
            }
        }
        still.into_iter().for_each(|n| self.report.still(n, self.book.next(n), followed));
        if self.first_discovery || pending {
            self.await_ends(&waiting);
        }
        if self.first_discovery {
            // Who does not answer is not waited for longer than for who has answered.
            let late = self.started.elapsed() >= self.pace.withhold && !self.pace.bounded;
            self.first_discovery = self.sources.pending() && !late;
        }
        self.look_at_ends();
        let introduced = self.book.introduce();
        let news = introduced.head != crate::store::Head::default();
        if news || self.next_cut == 0 {
            let at = (self.epochs.open, self.now.get());
            self.submit(introduced, Instant::now(), at, CutKind::No);
        }
        if !waiting.is_empty() {
            self.waiting.push((self.next_cut.saturating_sub(1), waiting));
        }
        self.open_known();
        Ok(())
    }

    /// After a restart results are withheld until these ends are reached.
    fn await_ends(&mut self, waiting: &[Waiting]) {
        let ends: BTreeMap<u32, u64> =
            waiting.iter().filter_map(|w| Some((w.partition, w.reader.end()?))).collect();
        if self.run > 1 && self.watched {
            let until = self.started + self.pace.withhold;
            self.awaited.get_or_insert_with(|| (BTreeMap::new(), until)).0.extend(ends);
        }
    }

    /// Shows results as soon as they may be seen.
    pub(super) fn look_at_ends(&mut self) {
        if self.shows == State::Live || self.first_discovery {
            return;
        }
        if let Some((ends, until)) = &mut self.awaited {
            ends.retain(|n, end| self.book.next(*n) < *end);
            // What is there of a source that has not answered yet is not known.
            let caught_up = ends.is_empty() && !self.sources.pending();
            if !caught_up {
                if Instant::now() >= *until && self.shows == State::Withheld {
                    info!("results are served before the sources' ends of the start are reached");
                    self.shows = State::CatchingUp;
                    self.unpublished = true;
                }
                self.report.awaited(ends, *until, &self.book);
                return;
            }
        }
        self.awaited = None;
        self.report.awaited(&BTreeMap::new(), Instant::now(), &self.book);
        self.shows = State::Live;
        self.unpublished = true;
    }

    pub(super) fn withheld(&self) -> bool {
        self.shows == State::Withheld
    }

    /// Opens the partitions that a durable cut has made known.
    pub(super) fn open_known(&mut self) {
        let Some(durable) = self.durable else { return };
        let workers = self.lines.workers.len();
        let (known, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(n, _)| *n <= durable);
        self.waiting = waiting;
        for Waiting { partition, reader } in known.into_iter().flat_map(|(_, w)| w) {
            self.reading += 1;
            self.report.opened(partition, reader.end());
            self.tell(partition as usize % workers, ToWorker::Open { partition, reader });
        }
    }

    /// A partition cannot be read now: that ends the run, or is said and tried again.
    pub(super) fn trouble(
        &mut self,
        partition: u32,
        error: SourceError,
    ) -> Result<(), EngineError> {
        let since = *self.troubled.entry(partition).or_insert_with(Instant::now);
        let fatal = match error {
            SourceError::Changed { .. } => true,
            SourceError::Unavailable { .. } | SourceError::Unreachable { .. } => {
                self.pace.bounded && since.elapsed() > PATIENCE
            }
            SourceError::Refused { .. } => false,
        };
        if fatal {
            return Err(error.into());
        }
        let place = self.book.place(partition);
        self.report.trouble(partition, place, &error);
        match error {
            // A bounded run's results lack it, and that is how the run ends.
            SourceError::Refused { what } if self.pace.bounded => self.refused.push(what),
            _ => {}
        }
        Ok(())
    }
}

/// A bounded run waits so long for a partition that cannot be read, then ends with 69.
const PATIENCE: Duration = Duration::from_secs(30);
