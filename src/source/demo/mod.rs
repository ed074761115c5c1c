//! The demo: a seeded, endless generator of the three streams in the shape, and with the dirt,
//! of the real producers.
//!
//! One partition a stream (`pin`, `geo`, `user`); a position is a record's number. What a record
//! says follows from the seed, the size of the closed set of indexes and its number; when it
//! arrives follows from the schedule, which is kept as a memo.
//!
//! Promises: equal seeds give equal streams; a reader can start anywhere at no cost; what was
//! due once stays what it was over any crash.
//! What can go wrong: another seed or set size than the state was begun with (`Changed`).

mod dice;
mod dirt;
mod posts;
mod reader;
mod rows;
mod schedule;
#[cfg(test)]
mod tests;
mod text;
mod visit;
mod words;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dataflows::record::{Rule, Stream};

pub use self::dice::Dice;
pub use self::posts::Posts;
use self::reader::DemoReader;
use self::schedule::Schedule;
use self::world::World;
use super::glob::Routes;
use super::pool::Pool;
use super::{Discovery, Done, Found, Memos, Reader, Setup, Source, SourceError};
use crate::config::{Demo, Rate};

/// The memo that holds the schedule.
const SCHEDULE: &str = "schedule";

/// The demo as a source.
pub struct DemoSource {
    name: String,
    config: Demo,
    routes: Routes,
    setup: Setup,
    world: Arc<World>,
    schedule: Schedule,
    /// The record to read next of each stream, shared with the readers.
    next: Arc<[AtomicU64; 3]>,
    found: bool,
}

impl DemoSource {
    /// The demo of a configuration.
    pub(super) fn new(name: &str, config: &Demo, routes: Routes, setup: Setup) -> Self {
        let schedule = Schedule {
            seed: config.seed,
            indexes: config.indexes.max(1),
            segments: Vec::new(),
            stopped: false,
        };
        DemoSource {
            name: name.to_owned(),
            config: config.clone(),
            routes,
            setup,
            world: Arc::new(World::new(config.seed, config.indexes)),
            schedule,
            next: Arc::default(),
            found: false,
        }
    }

    /// How many records a stream has, if it ends: the streams take turns.
    fn count(&self, stream: usize) -> Option<u64> {
        self.config.records.map(|all| (all + 2 - stream as u64) / 3)
    }

    fn next(&self) -> [u64; 3] {
        [0, 1, 2].map(|s: usize| self.next[s].load(Ordering::Relaxed))
    }

    fn memos(&self) -> Memos {
        let value = serde_json::to_value(&self.schedule).expect("numbers and lists are JSON");
        Memos::from([(SCHEDULE.to_owned(), value)])
    }

    fn stream(name: &str) -> Option<Stream> {
        Stream::from_name(name)
    }
}

impl Source for DemoSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn restore(&mut self, memos: &Memos, positions: &[(String, u64)]) -> Result<(), SourceError> {
        for (name, at) in positions {
            if let Some(stream) = Self::stream(name) {
                self.next[stream as usize].store(*at, Ordering::Relaxed);
            }
        }
        let Some(memo) = memos.get(SCHEDULE) else {
            return Ok(());
        };
        let kept: Schedule = serde_json::from_value(memo.clone()).map_err(|error| {
            let name = &self.name;
            let what = format!("taking back the schedule of the demo source {name}: {error}");
            SourceError::Changed { what }
        })?;
        let (seed, indexes) = (self.schedule.seed, self.schedule.indexes);
        if (kept.seed, kept.indexes) != (seed, indexes) {
            let name = &self.name;
            let (old_seed, old_indexes) = (kept.seed, kept.indexes);
            let what = format!(
                "the demo source {name} now has seed {seed} and {indexes} indexes, this state was \
                 begun with seed {old_seed} and {old_indexes}; set them back, or use --rebuild or \
                 another --state"
            );
            return Err(SourceError::Changed { what });
        }
        self.schedule = kept;
        Ok(())
    }

    fn discover(&mut self) -> Result<Discovery, SourceError> {
        if std::mem::replace(&mut self.found, true) {
            return Ok(Discovery { complete: true, ..Discovery::default() });
        }
        let next = self.next();
        let opened = self.schedule.open(self.config.rate, (self.setup.clock)(), next);
        let left = |s: &Stream| self.count(*s as usize).is_none_or(|c| next[*s as usize] < c);
        let found = Stream::ALL.into_iter().filter(left).map(|stream| {
            let rule = self.routes.rule(stream.name()).unwrap_or(Rule::Kind(stream));
            Found { name: stream.name().to_owned(), start: 0, rule }
        });
        Ok(Discovery {
            found: found.collect(),
            memos: if opened { self.memos() } else { Memos::new() },
            complete: true,
            ..Discovery::default()
        })
    }

    fn interval(&self) -> Duration {
        Duration::from_hours(1)
    }

    fn open(
        &mut self,
        name: &str,
        partition: u32,
        at: u64,
    ) -> Result<Box<dyn Reader>, SourceError> {
        let Some(stream) = Self::stream(name) else {
            let what = format!("opening partition {name} of the demo: it has pin, geo and user");
            return Err(SourceError::Unavailable { what });
        };
        self.next[stream as usize].store(at, Ordering::Relaxed);
        Ok(Box::new(DemoReader {
            world: self.world.clone(),
            schedule: Arc::new(self.schedule.clone()),
            clock: self.setup.clock.clone(),
            stream: stream as usize,
            partition,
            rule: self.routes.rule(name).unwrap_or(Rule::Kind(stream)),
            next: self.next.clone(),
            count: self.count(stream as usize),
            max: matches!(self.config.rate, Rate::Max(_)),
            pool: Pool::default(),
        }))
    }

    fn stop(&mut self) -> Memos {
        if self.schedule.segments.is_empty() {
            return Memos::new();
        }
        self.schedule.stopped = true;
        self.memos()
    }

    fn progress(&self) -> Option<Done> {
        let total = self.config.records?;
        Some(Done { done: self.next().iter().sum(), total, bytes: false })
    }
}
