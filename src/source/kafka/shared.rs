//! What the three halves of the source share: the source on the coordinator's thread, the tender
//! on its own, the readers on the workers'. All of it is short-lived locks and counters; nothing
//! here is touched per record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::client::{Consumer, Said};
use super::refusal::Refusal;
use super::token::Tokens;
use crate::config::Kafka;

/// What the brokers said this long ago of where partitions end is not known any more. They are
/// asked every second.
const STALE: Duration = Duration::from_secs(4);
/// No number.
const NONE: u64 = u64::MAX;

/// A number that may be unknown.
#[derive(Debug)]
pub struct Maybe(AtomicU64);

impl Default for Maybe {
    fn default() -> Self {
        Maybe(AtomicU64::new(NONE))
    }
}

impl Maybe {
    /// It, if it is known.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|n| *n != NONE)
    }

    /// Sets it.
    pub fn set(&self, to: Option<u64>) {
        self.0.store(to.unwrap_or(NONE), Relaxed);
    }
}

/// A partition as all see it.
#[derive(Debug)]
pub struct Part {
    /// The topic.
    pub topic: String,
    /// The number in the topic.
    pub number: i32,
    /// `topic/number`.
    pub name: String,
    /// The offset of the oldest record, as last seen.
    pub begin: Maybe,
    /// The offset behind the newest record, as last seen.
    pub end: Maybe,
    /// The offset to read next; none while nobody reads it.
    pub next: Maybe,
    /// A bounded run reads up to here.
    pub stop: Maybe,
    /// Everything that there was has been read.
    pub at_end: AtomicBool,
    /// The end as first seen after that; none while it was not.
    pub ended: Maybe,
    /// Everything that a bounded run reads has been read.
    pub done: AtomicBool,
    /// Its reader wants to know what offsets there are.
    pub asks: AtomicBool,
    /// How often begin and end were seen.
    pub seen: AtomicU64,
    /// When its reader began to wait for what there is to read: milliseconds since the source
    /// began; none while it does not.
    pub waits: Maybe,
    /// No broker leads it: nobody can be asked for its offsets.
    pub leaderless: AtomicBool,
    /// The topic is not there.
    pub gone: AtomicBool,
    /// The topic was not there, and one of its name is there again.
    pub returned: AtomicBool,
    /// The client that reads was told that it is not there.
    pub denied: AtomicBool,
}

impl Part {
    /// A partition that nothing is known of.
    pub fn new(topic: &str, number: i32) -> Self {
        Part {
            topic: topic.to_owned(),
            number,
            name: super::topics::name(topic, number),
            begin: Maybe::default(),
            end: Maybe::default(),
            next: Maybe::default(),
            stop: Maybe::default(),
            at_end: AtomicBool::new(false),
            ended: Maybe::default(),
            done: AtomicBool::new(false),
            asks: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            waits: Maybe::default(),
            leaderless: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            returned: AtomicBool::new(false),
            denied: AtomicBool::new(false),
        }
    }

    /// Whether its offsets can be asked for and are of use.
    pub fn live(&self) -> bool {
        ![&self.gone, &self.done, &self.leaderless].iter().any(|flag| flag.load(Relaxed))
    }

    /// Whether the topic is not there, as far as anybody was told: nothing is read of one of its
    /// name before that has been looked at.
    pub fn absent(&self) -> bool {
        self.gone.load(Acquire) || self.denied.load(Acquire)
    }

    /// Notes that everything that there was has been read. What the end is then is seen when the
    /// brokers are asked next: the one seen last may lie before marks of transactions.
    pub fn came_to_end(&self) {
        self.ended.set(None);
        self.at_end.store(true, Relaxed);
    }

    /// Whether everything had been read, and the end has moved on since without a word of the
    /// client.
    pub fn beyond(&self) -> bool {
        let ended = self.ended.get().filter(|_| self.at_end.load(Relaxed));
        ended.is_some_and(|ended| self.end.get().is_some_and(|end| end > ended))
    }

    /// The end as its users want it: never below what is to be read next, and that itself where
    /// what is left are only marks of transactions.
    pub fn end(&self) -> Option<u64> {
        let next = self.next.get();
        if let Some(stop) = self.stop.get() {
            return Some(if self.done.load(Relaxed) { next.unwrap_or(stop) } else { stop });
        }
        match (self.end.get(), next) {
            (_, Some(next)) if self.at_end.load(Relaxed) && !self.beyond() => Some(next),
            (Some(end), next) => Some(end.max(next.unwrap_or(0))),
            (None, _) => None,
        }
    }
}

/// Counts of this run.
#[derive(Debug, Default)]
pub struct Counts {
    /// Offsets that were skipped because the brokers no longer hold their records.
    pub skipped: AtomicU64,
    /// Ranges of such.
    pub gaps: AtomicU64,
    /// Partitions that were begun anew because their topic had been.
    pub recreated: AtomicU64,
    /// Clients that were made anew because they gave nothing.
    pub stalls: AtomicU64,
    /// Times that positions were committed to the group.
    pub commits: AtomicU64,
    /// Messages without a payload.
    pub tombstones: AtomicU64,
}

/// A client that reads, and which one it is.
#[derive(Clone)]
pub struct Reading {
    /// Readers that hold an earlier one let go of it.
    pub generation: u64,
    /// It.
    pub consumer: Arc<Consumer>,
}

/// Why a source cannot go on.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What was being done, with what, what was seen.
    pub what: String,
    /// What to do, where that can be told.
    pub refusal: Option<Refusal>,
    /// Since when.
    pub since: Instant,
}

/// What is shared.
pub struct Shared {
    /// The source's name.
    pub source: String,
    /// Its settings.
    pub config: Kafka,
    /// What clients said.
    pub said: Arc<Said>,
    /// What clients log in with, where that is a token.
    pub tokens: Arc<Tokens>,
    /// Counts of this run.
    pub counts: Counts,
    /// When the source began.
    pub began: Instant,
    /// The client that reads; none before the first look.
    pub reading: RwLock<Option<Reading>>,
    /// Clients that read before; the tender ends those that no reader holds any more, which may
    /// take a while.
    pub retired: Mutex<Vec<Arc<Consumer>>>,
    /// All partitions, by name.
    pub parts: Mutex<BTreeMap<String, Arc<Part>>>,
    /// Durable positions that are to be committed, by partition.
    pub durable: Mutex<BTreeMap<String, u64>>,
    /// Why the brokers cannot be asked, or a bounded run cannot begin.
    pub trouble: Mutex<Option<Trouble>>,
    /// When the brokers last answered, milliseconds since the source began.
    pub answered_at: AtomicU64,
    /// What the last look could not see, where it saw the rest; what to do, where that is known.
    pub partial: Mutex<Option<(String, Option<String>)>>,
    /// The source ends.
    pub stop: AtomicBool,
}

impl Shared {
    /// Milliseconds since the source began.
    pub fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Whether the brokers cannot be asked, or have not answered for [`STALE`]: then where
    /// partitions end is not known any more.
    pub fn away(&self) -> bool {
        let silent = self.millis().saturating_sub(self.answered_at.load(Relaxed));
        u128::from(silent) >= STALE.as_millis() || self.trouble.lock().is_some()
    }

    /// Notes that the brokers answered.
    pub fn well(&self) {
        self.answered_at.store(self.millis(), Relaxed);
        *self.trouble.lock() = None;
        self.answered();
    }

    /// Forgets what kept us apart.
    pub fn answered(&self) {
        *self.said.newest.lock() = None;
        *self.said.refusal.lock() = None;
        self.said.met.store(true, Relaxed);
    }

    /// Notes that the brokers could not be asked; the first of several in a row counts. Whether it
    /// is news.
    pub fn troubled(&self, what: String, refusal: Option<Refusal>) -> bool {
        let mut trouble = self.trouble.lock();
        let before = trouble.as_ref();
        let news = before.is_none_or(|t| refusal.is_some() && t.refusal != refusal);
        let since = before.map_or_else(Instant::now, |t| t.since);
        *trouble = Some(Trouble { what, refusal, since });
        news
    }
}
