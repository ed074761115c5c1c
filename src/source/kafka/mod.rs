//! Topics of Apache Kafka.
//!
//! A partition is a topic's (`0a1b.pin/3`), a position is an offset, an arrival time is the
//! record's timestamp, whoever set it. Partitions are assigned at pinflow's own positions; a
//! consumer group is told of them once they are durable, for others to see, and is never asked.
//!
//! ```text
//! tender: topics, offsets, commits -- found --> source (coordinator's thread)
//!    one client                                    | opens
//! one client that reads -- a queue a partition --> readers (workers' threads)
//! ```
//!
//! Promises: a message is given once, with the same arrival time whenever it is read: one without
//! a timestamp has that of the message before it. A bounded run ends where the partitions ended
//! when it first started, however often it is killed.
//! Limits: `fetch_memory` bounds what is read ahead (packed: a fetch may unpack to more).
//! What can go wrong: `docs/how-to/kafka.md` lists it.

pub mod client;
mod connect;
mod iam;
pub mod letters;
mod look;
mod presign;
mod reader;
pub mod refusal;
mod shared;
mod tender;
#[cfg(test)]
mod tests;
pub mod token;
pub mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

pub use self::client::takes;
pub use self::connect::{Answer, connect};

use self::client::Said;
use self::look::{Look, Offsets, Wish};
use self::reader::{KafkaReader, Known};
use self::shared::{Counts, Part, Shared};
use self::tender::Tender;
use self::token::Tokens;
use super::glob::Routes;
use super::{Discovery, Done, Found, Memos, Reader, Setup, Source, SourceError, Watch};
use crate::config::Kafka;

/// The memo that holds when the source first started.
const BORN: &str = "born";
/// The memo that holds the partitions that were ever found.
const KNOWN: &str = "known";
/// The memo that holds where the bounded run that is under way ends; null if none is.
const ENDS: &str = "ends";
/// The kind of error that AWS gives no credentials.
const CREDENTIALS: &str = "Credentials";
/// How often the tender is asked what it has found, at the start,
const INTERVAL: Duration = Duration::from_millis(50);
/// and at most, later.
const LATER: Duration = Duration::from_secs(1);
/// How long the tender may take to end,
const PARTING: Duration = Duration::from_secs(10);
/// and where brokers are away, so that there is nothing to commit.
const AWAY: Duration = Duration::from_millis(700);

/// Topics as a source.
pub struct KafkaSource {
    shared: Arc<Shared>,
    routes: Routes,
    setup: Setup,
    wish: Wish,
    born: Option<i64>,
    positions: HashMap<String, u64>,
    arrivals: HashMap<String, i64>,
    looks: Option<Receiver<Look>>,
    /// When brokers were first asked.
    begun: Instant,
    looked: bool,
    /// The tender could not be started.
    failed: bool,
    tender: Option<JoinHandle<()>>,
    /// A bounded run's partitions.
    bounded: Vec<(Arc<Part>, u64)>,
}

impl KafkaSource {
    /// The topics of a configuration; nobody is asked yet.
    pub(super) fn new(name: &str, config: &Kafka, routes: Routes, setup: Setup) -> Self {
        let shared = Shared {
            source: name.to_owned(),
            config: config.clone(),
            said: Arc::new(Said::default()),
            tokens: Arc::new(Tokens::new(name, &config.security)),
            counts: Counts::default(),
            began: Instant::now(),
            reading: RwLock::new(None),
            retired: Mutex::default(),
            parts: Mutex::default(),
            durable: Mutex::default(),
            trouble: Mutex::default(),
            answered_at: AtomicU64::new(0),
            partial: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let wish = Wish {
            bounded: setup.bounded,
            until: setup.until.map(|micros| micros.div_euclid(1000)),
            ..Wish::default()
        };
        KafkaSource {
            shared: Arc::new(shared),
            routes,
            setup,
            wish,
            born: None,
            positions: HashMap::new(),
            arrivals: HashMap::new(),
            looks: None,
            begun: Instant::now(),
            looked: false,
            failed: false,
            tender: None,
            bounded: Vec::new(),
        }
    }

    /// Starts the tender.
    fn begin(&mut self) -> Result<(), SourceError> {
        #[allow(clippy::disallowed_methods, reason = "one look an interval, taken at discovery")]
        let (sender, looks) = unbounded();
        let tender = Tender::new(self.shared.clone(), self.wish.clone(), sender)?;
        let thread = std::thread::Builder::new().name(format!("kafka {}", self.shared.source));
        let failed = |e: std::io::Error| SourceError::Unavailable {
            what: format!("starting the thread that asks the brokers: {e}"),
        };
        self.tender = Some(thread.spawn(move || tender.run()).map_err(failed)?);
        self.looks = Some(looks);
        self.begun = Instant::now();
        Ok(())
    }

    /// What a look found, as the engine wants it.
    fn taken(&mut self, look: Look, into: &mut Discovery) -> Result<(), SourceError> {
        let bounded = self.setup.bounded;
        if !self.looked {
            self.all_there(&look)?;
            let born = self.born.get_or_insert_with(|| (self.setup.clock)());
            into.memos.insert(BORN.into(), json!(born));
            into.memos.insert(ENDS.into(), if bounded { json!(look.ends) } else { Value::Null });
        }
        self.looked = true;
        let known = self.wish.known.get_or_insert_default();
        for (part, start) in look.found {
            known.insert(part.name.clone());
            let at = self.positions.get(&part.name).copied().unwrap_or(start);
            if bounded {
                self.bounded.push((part.clone(), at));
                // Where nothing stands the run need not begin. Elsewhere that it did is to be kept,
                // and what was read may be another topic than is there now.
                let read = self.positions.contains_key(&part.name);
                let kept = at == 0 || (read && !self.arrivals.contains_key(&part.name));
                if part.stop.get().is_some_and(|stop| at >= stop) && kept {
                    part.next.set(Some(at));
                    part.done.store(true, Relaxed);
                    continue;
                }
            }
            let rule = topics::routing(&self.routes, &part.name).otherwise();
            into.found.push(Found { name: part.name.clone(), start, rule });
        }
        into.memos.insert(KNOWN.into(), json!(known));
        Ok(())
    }

    /// Ends a bounded run that cannot begin: at once where to wait does not help, else after a
    /// while.
    fn give_up(&self) -> Result<(), SourceError> {
        let Some(trouble) = self.shared.trouble.lock().clone() else { return Ok(()) };
        let late = self.begun.elapsed() >= self.shared.config.connect_timeout;
        if !late && !trouble.refusal.as_ref().is_some_and(|r| r.definite) {
            return Ok(());
        }
        let what = format!("reading {}: {}", self.shared.config.brokers.join(","), trouble.what);
        Err(match trouble.refusal {
            Some(refusal) => SourceError::Unreachable { what, hint: refusal.hint },
            None => SourceError::Unavailable { what },
        })
    }

    /// Whether the partitions that a bounded run had begun with are still there.
    fn all_there(&self, look: &Look) -> Result<(), SourceError> {
        let Some(ends) = self.wish.ends.as_ref().filter(|_| self.setup.bounded) else {
            return Ok(());
        };
        let there = |name: &String| look.found.iter().any(|(part, _)| part.name == *name);
        let read = |name: &String| self.positions.get(name).copied().unwrap_or_default();
        match ends.iter().find(|(name, end)| read(name) < **end && !there(name)) {
            None => Ok(()),
            Some((name, end)) => {
                let at = read(name);
                let what = format!(
                    "going on with {name} at {at}: it is no longer there, and the run ends at {end}"
                );
                Err(SourceError::Changed { what })
            }
        }
    }
}

impl Source for KafkaSource {
    fn name(&self) -> &str {
        &self.shared.source
    }

    fn restore(&mut self, memos: &Memos, positions: &[(String, u64)]) -> Result<(), SourceError> {
        self.born = memos.get(BORN).and_then(Value::as_i64);
        let list = memos.get(KNOWN).cloned().unwrap_or_default();
        self.wish.known = serde_json::from_value::<BTreeSet<String>>(list).ok();
        let ends = memos.get(ENDS).cloned().unwrap_or_default();
        self.wish.ends = serde_json::from_value::<Offsets>(ends).ok();
        self.positions = positions.iter().cloned().collect();
        Ok(())
    }

    fn restore_arrivals(&mut self, arrivals: &[(String, i64)]) {
        self.arrivals = arrivals.iter().cloned().collect();
    }

    fn discover(&mut self) -> Result<Discovery, SourceError> {
        if self.looks.is_none() {
            self.failed = true;
            self.begin()?;
            self.failed = false;
        }
        let mut discovery = Discovery::default();
        let looks = self.looks.clone();
        for look in looks.iter().flat_map(Receiver::try_iter) {
            self.taken(look, &mut discovery)?;
        }
        if self.setup.bounded && !self.looked {
            self.give_up()?;
        }
        discovery.pending = !self.looked;
        discovery.complete = self.looked && self.setup.bounded;
        Ok(discovery)
    }

    fn interval(&self) -> Duration {
        if self.looked || self.failed {
            return self.shared.config.refresh.min(LATER);
        }
        INTERVAL
    }

    fn open(
        &mut self,
        name: &str,
        partition: u32,
        at: u64,
    ) -> Result<Box<dyn Reader>, SourceError> {
        let part = self.shared.parts.lock().get(name).cloned();
        let part = part.ok_or_else(|| SourceError::Unavailable {
            what: format!("opening {name}: the brokers have not said that it is there"),
        })?;
        let known = Known {
            part,
            partition,
            routing: topics::routing(&self.routes, name),
            last: self.arrivals.get(name).copied(),
            born: self.born.unwrap_or_default(),
            max_message: self.setup.max_message,
        };
        Ok(Box::new(KafkaReader::new(self.shared.clone(), known, at)))
    }

    fn durable(&mut self, positions: &[(String, u64)]) {
        // What was found and not begun is no position of a group.
        let read = positions.iter().filter(|(_, at)| *at > 0);
        *self.shared.durable.lock() = read.cloned().collect();
    }

    fn stop(&mut self) -> Memos {
        let mut memos = Memos::new();
        let over = self.looked && self.bounded.iter().all(|(part, _)| part.done.load(Relaxed));
        if self.setup.bounded && over {
            // The next bounded run is another one, with ends of its own.
            memos.insert(ENDS.into(), Value::Null);
        }
        memos
    }

    fn progress(&self) -> Option<Done> {
        let mut sum = Done { done: 0, total: 0, bytes: false };
        for (part, start) in &self.bounded {
            sum.done += part.next.get().map_or(0, |next| next.saturating_sub(*start));
            sum.total += part.end().map_or(0, |end| end.saturating_sub(*start));
        }
        self.setup.bounded.then_some(sum)
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let c = &self.shared.counts;
        [
            ("records_skipped", &c.skipped),
            ("gaps", &c.gaps),
            ("partitions_begun_anew", &c.recreated),
            ("clients_stalled", &c.stalls),
            ("group_commits", &c.commits),
            ("tombstones", &c.tombstones),
        ]
        .map(|(name, count)| (name, count.load(Relaxed)))
        .into()
    }

    fn watch(&self) -> Watch {
        let parts = self.shared.parts.lock();
        let away = self.looked && self.shared.away();
        // Where a bounded run ends is known, whoever answers.
        let known = |p: &&Arc<Part>| !away || p.stop.get().is_some();
        let end = |p: &Arc<Part>| Some((p.name.clone(), p.end()?));
        let trouble = self.shared.trouble.lock().clone();
        let trouble = trouble.map(|t| (t.what, t.refusal.map(|r| r.hint)));
        let silent = || away.then(|| ("the brokers do not answer".to_owned(), None));
        let partial = || self.shared.partial.lock().clone();
        let tokens = || Some((self.shared.tokens.trouble()?, None));
        let trouble = trouble.or_else(silent).or_else(partial).or_else(tokens);
        let (trouble, hint) = trouble.unzip();
        let mut errors = self.shared.said.errors.lock().clone();
        let failures = self.shared.tokens.failures();
        errors.extend((failures > 0).then(|| (CREDENTIALS.to_owned(), failures)));
        Watch {
            away,
            fetched: Some(self.shared.said.fetched.load(Relaxed)),
            ends: parts.values().filter(known).filter_map(end).collect(),
            errors,
            trouble,
            hint: hint.flatten(),
        }
    }
}

impl Drop for KafkaSource {
    /// The tender commits what is durable and ends.
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let Some(tender) = self.tender.take() else { return };
        // Each client takes a tenth of a second to close.
        let reading = self.shared.reading.write().take();
        let closing = std::thread::spawn(move || drop(reading));
        let away = self.shared.said.newest.lock().is_some();
        let until = Instant::now() + if away { AWAY } else { PARTING };
        for thread in [tender, closing] {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                // It has nothing to return, and a panic of it has been printed.
                let _ = thread.join();
            }
        }
    }
}
