//! The tender: one thread of a source that asks the brokers what there is, commits what is
//! durable, and makes a client anew that gives nothing although there is something.
//!
//! Promises: nobody waits for it; what it cannot do is said once in a row and tried again. The
//! offsets that it commits never go back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::client::{self, Consumer, Share};
use super::look::{self, Look, Offsets, Wish};
use super::shared::{Part, Reading, Shared};
use super::topics;
use crate::source::SourceError;

/// How long it waits for what clients have to say, at a time.
const TURN: Duration = Duration::from_millis(20);
/// How often ends are asked for.
const ENDS: Duration = Duration::from_secs(1);
/// How often begins are.
const BEGINS: Duration = Duration::from_secs(10);
/// How soon a failed look is tried again.
const AGAIN: Duration = Duration::from_millis(300);
/// How long an answer to a commit is waited for.
const COMMIT: Duration = Duration::from_secs(10);
/// How long the last commit may take, at the end.
const LAST: Duration = Duration::from_secs(3);

/// The tender of a source.
pub struct Tender {
    shared: Arc<Shared>,
    control: Consumer,
    wish: Wish,
    looks: Sender<Look>,
    first: bool,
    warned: BTreeSet<String>,
    look_at: Instant,
    ends_at: Instant,
    begins_at: Instant,
    /// What the group's offsets are known to be.
    committed: Offsets,
    /// When a commit was sent that is not answered.
    sent: Option<Instant>,
    /// Partitions that the reading client was shared out for.
    sharers: usize,
}

impl Tender {
    /// A tender that has asked nothing yet.
    pub fn new(shared: Arc<Shared>, wish: Wish, looks: Sender<Look>) -> Result<Self, SourceError> {
        let control = client::consumer(&shared.source, &shared.config, None, &shared.said)?;
        let now = Instant::now();
        Ok(Tender {
            shared,
            control,
            wish,
            looks,
            first: true,
            warned: BTreeSet::new(),
            look_at: now,
            ends_at: now + ENDS,
            begins_at: now + BEGINS,
            committed: Offsets::new(),
            sent: None,
            sharers: 0,
        })
    }

    /// Works until the source ends.
    pub fn run(mut self) {
        while !self.shared.stop.load(Relaxed) {
            self.hear(TURN);
            let now = Instant::now();
            if now >= self.look_at {
                self.look();
            }
            let asked = || self.shared.parts.lock().values().any(|p| p.asks.load(Relaxed));
            if !self.first && (now >= self.ends_at || asked()) {
                self.refresh();
                self.watch();
            }
            self.commit();
        }
        let until = Instant::now() + LAST;
        self.commit();
        while self.sent.is_some() && Instant::now() < until {
            self.hear(TURN);
            self.commit();
        }
    }

    /// Lets clients say what they have to.
    fn hear(&mut self, wait: Duration) {
        let reading = self.shared.reading.read().clone();
        for consumer in [Some(&self.control), reading.as_ref().map(|r| &*r.consumer)] {
            let Some(consumer) = consumer else { continue };
            // Errors have been counted by the context; records go to their readers' queues.
            while let Some(Ok(message)) = consumer.poll(Duration::ZERO) {
                use rdkafka::Message as _;
                let (topic, partition) = (message.topic(), message.partition());
                warn!(source = &*self.shared.source, topic, partition, "a record went astray");
                self.shared.renew();
            }
        }
        let answers = std::mem::take(&mut *self.shared.said.commits.lock());
        for answer in answers {
            self.sent = None;
            match answer {
                Ok(offsets) => {
                    self.shared.counts.commits.fetch_add(1, Relaxed);
                    self.committed.extend(offsets);
                }
                Err(error) => {
                    // They are asked for again: another member may have moved them.
                    self.committed.clear();
                    let source = &*self.shared.source;
                    warn!(source, error, "positions were not committed to the group");
                }
            }
        }
        std::thread::sleep(wait);
    }

    fn look(&mut self) {
        let (shared, control) = (&self.shared, &self.control);
        let before = self.first;
        match look::look(shared, control, &mut self.wish, self.first, &mut self.warned) {
            Ok(look) => {
                *shared.trouble.lock() = None;
                self.look_at = Instant::now() + shared.config.refresh;
                self.first = false;
                if let Err(error) = self.share_out() {
                    self.shared.troubled(error.to_string());
                    self.look_at = Instant::now() + AGAIN;
                }
                if before || !look.found.is_empty() {
                    // A source that is gone needs it no more.
                    let _ = self.looks.send(look);
                }
            }
            Err(what) => {
                self.troubled(what);
                self.look_at = Instant::now() + AGAIN;
            }
        }
    }

    fn refresh(&mut self) {
        let now = Instant::now();
        self.ends_at = now + ENDS;
        let begins = now >= self.begins_at;
        match look::refresh(&self.shared, &self.control, begins) {
            Ok(()) => {
                *self.shared.trouble.lock() = None;
                if begins {
                    self.begins_at = now + BEGINS;
                }
            }
            Err(what) => self.troubled(what),
        }
    }

    fn troubled(&self, what: String) {
        if self.shared.trouble.lock().is_none() {
            let source = &*self.shared.source;
            warn!(source, what, "the brokers cannot be asked; it is tried again");
        }
        let code = Some(rdkafka::error::RDKafkaErrorCode::BrokerTransportFailure);
        let newest = self.shared.said.newest.lock().clone();
        if newest.is_none() {
            self.shared.said.error(code, &what);
        }
        let what = newest.map_or_else(|| what.clone(), |why| format!("{what} ({why})"));
        self.shared.troubled(what);
    }

    /// Makes a client that reads; a new one where there are twice as many partitions to share
    /// its memory as there were.
    fn share_out(&mut self) -> Result<(), SourceError> {
        let parts = self.shared.parts.lock().len().max(1);
        if self.sharers > 0 && parts <= self.sharers * 2 {
            return Ok(());
        }
        let share = Share::new(self.shared.config.fetch_memory, parts);
        self.shared.begin_reading(share)?;
        self.sharers = parts;
        Ok(())
    }

    /// Makes the reading client anew if a reader has waited for long for what there is.
    fn watch(&mut self) {
        if self.shared.trouble.lock().is_some() {
            return;
        }
        let (now, most) = (self.shared.millis(), self.shared.config.stall_timeout);
        let stalls = |p: &&Arc<Part>| {
            let waited = p.waits.get().map_or(0, |since| now.saturating_sub(since));
            let more = p.next.get().is_some_and(|next| p.end().is_some_and(|end| end > next));
            more && !p.gone.load(Relaxed) && u128::from(waited) >= most.as_millis()
        };
        let parts: Vec<Arc<Part>> = self.shared.parts.lock().values().cloned().collect();
        let Some(stalled) = parts.iter().find(stalls) else { return };
        let source = &*self.shared.source;
        warn!(source, partition = stalled.name, "nothing came although there is; a new client");
        self.shared.counts.stalls.fetch_add(1, Relaxed);
        parts.iter().for_each(|p| p.waits.set(None));
        self.sharers = 0;
        if let Err(error) = self.share_out() {
            self.shared.troubled(error.to_string());
        }
    }

    /// Commits what is durable and not committed; never back.
    fn commit(&mut self) {
        if !self.shared.config.commit {
            return;
        }
        if let Some(sent) = self.sent {
            if sent.elapsed() < COMMIT {
                return;
            }
            self.sent = None;
        }
        let durable = self.shared.durable.lock().clone();
        let behind = |committed: &Offsets| -> BTreeMap<String, u64> {
            let new = |(name, at): &(&String, &u64)| committed.get(*name).is_none_or(|c| c < *at);
            durable.iter().filter(new).map(|(n, at)| (n.clone(), *at)).collect()
        };
        let mut wanted = behind(&self.committed);
        if wanted.keys().any(|name| !self.committed.contains_key(name)) {
            match self.known(&wanted) {
                Ok(known) => self.committed.extend(known),
                Err(_) => return,
            }
            wanted = behind(&self.committed);
        }
        if wanted.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (name, at) in &wanted {
            if let Some((topic, number)) = topics::parts(name) {
                // An offset that fits in an integer can be added.
                let _ = list.add_partition_offset(topic, number, Offset::Offset(*at as i64));
            }
        }
        match self.control.commit(&list, CommitMode::Async) {
            Ok(()) => self.sent = Some(Instant::now()),
            Err(error) => {
                let error = client::shown(&error);
                warn!(source = &*self.shared.source, error, "positions cannot be committed");
            }
        }
    }

    /// What the group's offsets are; 0 where there is none.
    fn known(&self, wanted: &Offsets) -> Result<Offsets, rdkafka::error::KafkaError> {
        let mut list = TopicPartitionList::new();
        for (topic, number) in wanted.keys().filter_map(|name| topics::parts(name)) {
            list.add_partition(topic, number);
        }
        let list = self.control.committed_offsets(list, Duration::from_secs(2))?;
        let known: Offsets = client::known_offsets(&list).into_iter().collect();
        let all = wanted.keys().map(|n| (n.clone(), known.get(n).copied().unwrap_or_default()));
        Ok(all.collect())
    }
}

impl Shared {
    /// Makes a client that reads; readers go over to it at their own positions.
    pub fn begin_reading(&self, share: Share) -> Result<(), SourceError> {
        let consumer = client::consumer(&self.source, &self.config, Some(share), &self.said)?;
        let mut reading = self.reading.write();
        let generation = reading.as_ref().map_or(0, |r| r.generation) + 1;
        if generation > 1 {
            info!(source = &*self.source, generation, "a new client reads");
        }
        *reading = Some(Reading { generation, consumer: Arc::new(consumer) });
        Ok(())
    }

    /// Has all readers take hold of their partitions again.
    fn renew(&self) {
        if let Some(reading) = &mut *self.reading.write() {
            reading.generation += 1;
        }
    }
}
