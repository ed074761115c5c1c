//! The tender: one thread of a source that asks the brokers what there is, commits what is
//! durable, and makes a client anew that gives nothing although there is something.
//!
//! Promises: nobody waits for it; what it cannot do is said once in a row and tried again. The
//! offsets that it commits never go back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::client::{self, Consumer, Share};
use super::look::{self, Kind, Look, Offsets, Unseen, Wish};
use super::refusal::Refusal;
use super::shared::{Part, Reading, Shared};
use super::topics;
use crate::source::SourceError;

/// How long it waits for what clients have to say, at a time.
const TURN: Duration = Duration::from_millis(20);
/// How many events of a client it hears at a time.
const EVENTS: usize = 8;
/// How often ends are asked for.
const ENDS: Duration = Duration::from_secs(1);
/// How soon they are asked for again where a reader wants to know them.
const ASKED: Duration = Duration::from_millis(200);
/// How often begins are.
const BEGINS: Duration = Duration::from_secs(10);
/// How soon a failed look is tried again.
const AGAIN: Duration = Duration::from_millis(300);
/// How long an answer is waited for at first, and longer only where brokers are there and slow:
/// what keeps them away is heard in between, and the end of the source too.
const SHORT: Duration = Duration::from_millis(500);
/// The same trouble is logged again after so long.
const LOGGED: Duration = Duration::from_mins(1);
/// What to do where they do not come.
const CREDENTIALS: &str = "see what AWS offers here: the environment, ~/.aws, the metadata of the \
                           machine or container; `role` and `profile` of `sasl`";
/// How long nothing is said of answers or credentials that do not come.
const SILENT: Duration = Duration::from_secs(3);
/// How long a commit is waited for, and how soon one is tried again that was refused.
const COMMIT: Duration = Duration::from_secs(5);
/// How long the last commit may take, at the end.
const LAST: Duration = Duration::from_secs(3);

/// The tender of a source.
pub struct Tender {
    shared: Arc<Shared>,
    control: Consumer,
    wish: Wish,
    looks: Sender<Look>,
    first: bool,
    /// The last look saw nothing.
    away: bool,
    /// How long an answer is waited for.
    patience: Duration,
    /// When there was one.
    answered_at: Instant,
    /// What was last logged of what keeps brokers away: what to do, and when.
    logged: Option<(Option<String>, Instant)>,
    warned: BTreeSet<String>,
    look_at: Instant,
    ends_at: Instant,
    /// Not to be asked for before, whoever wants to know.
    asked_at: Instant,
    begins_at: Instant,
    /// What the group's offsets are known to be.
    committed: Offsets,
    /// What was sent to be committed, and when.
    sent: Option<(Offsets, Instant)>,
    /// Not to be tried before.
    commit_at: Instant,
    /// The last commit was refused, and that was said.
    refused: bool,
    /// Partitions that the reading client was shared out for.
    sharers: usize,
}

impl Tender {
    /// A tender that has asked nothing yet.
    pub fn new(shared: Arc<Shared>, wish: Wish, looks: Sender<Look>) -> Result<Self, SourceError> {
        let control = shared.client(None)?;
        let now = Instant::now();
        Ok(Tender {
            shared,
            control,
            wish,
            looks,
            first: true,
            away: false,
            patience: SHORT,
            answered_at: now,
            logged: None,
            warned: BTreeSet::new(),
            look_at: now,
            ends_at: now + ENDS,
            asked_at: now,
            begins_at: now + BEGINS,
            committed: Offsets::new(),
            sent: None,
            commit_at: now,
            refused: false,
            sharers: 0,
        })
    }

    /// Works until the source ends.
    pub fn run(mut self) {
        while !self.shared.stop.load(Relaxed) {
            if !self.may_log_in() {
                std::thread::sleep(TURN);
                continue;
            }
            self.hear(TURN);
            let now = Instant::now();
            if now >= self.look_at {
                self.look();
            }
            let asks = |p: &Arc<Part>| p.live() && p.asks.load(Relaxed);
            let asked = || now >= self.asked_at && self.shared.parts.lock().values().any(asks);
            if !self.first && !self.away && (now >= self.ends_at || asked()) {
                self.refresh();
                self.watch();
            }
            if !self.away {
                self.commit();
            }
        }
        self.hear(Duration::ZERO);
        if self.away || self.shared.said.newest.lock().is_some() {
            // Nobody is there to commit to; the next start commits what was durable.
            return;
        }
        let until = Instant::now() + LAST;
        self.commit_at = Instant::now();
        self.commit();
        while self.sent.is_some() && Instant::now() < until {
            self.hear(TURN);
            self.commit();
        }
    }

    /// Whether what clients log in with is at hand; that it is not is said once it takes long.
    fn may_log_in(&self) -> bool {
        let (what, long) = match self.shared.tokens.ready() {
            Ok(true) => return true,
            Ok(false) => match self.shared.tokens.trouble() {
                Some(why) => (why, true),
                None => (
                    "waiting for AWS to give credentials".into(),
                    self.shared.began.elapsed() >= SILENT,
                ),
            },
            Err(what) => (what, true),
        };
        let refusal = Some(Refusal { hint: CREDENTIALS.into(), definite: false });
        if long && self.shared.troubled(what.clone(), refusal) {
            warn!(source = &*self.shared.source, what, "clients cannot log in yet");
        }
        false
    }

    /// Lets clients say what they have to.
    fn hear(&mut self, wait: Duration) {
        let reading = self.shared.reading.read().clone();
        for consumer in [Some(&self.control), reading.as_ref().map(|r| &*r.consumer)] {
            let Some(consumer) = consumer else { continue };
            // Errors have been counted by the context; records go to their readers' queues.
            for _ in 0..EVENTS {
                let Some(Ok(message)) = consumer.poll(Duration::ZERO) else { continue };
                use rdkafka::Message as _;
                let (topic, partition) = (message.topic(), message.partition());
                warn!(source = &*self.shared.source, topic, partition, "a record went astray");
                self.shared.renew();
            }
        }
        let mut retired = std::mem::take(&mut *self.shared.retired.lock());
        // Who is the last to hold one ends it.
        retired.retain(|client| Arc::strong_count(client) > 1);
        self.shared.retired.lock().extend(retired);
        std::thread::sleep(wait);
    }

    fn look(&mut self) {
        let (shared, control) = (&self.shared, &self.control);
        let before = self.first;
        match look::look(shared, control, &mut self.wish, before, self.patience) {
            Ok(look) => {
                self.answered();
                self.look_at = Instant::now() + self.shared.config.refresh;
                self.first = false;
                self.seen_in_part(&look);
                if look.returned {
                    // A client that knew a topic by a later leader epoch takes what the brokers
                    // say of a new one of its name for old news, and never reads it.
                    self.sharers = 0;
                }
                if let Err(error) = self.share_out() {
                    self.shared.troubled(error.to_string(), None);
                    self.look_at = Instant::now() + AGAIN;
                }
                if before || !look.found.is_empty() {
                    // A source that is gone needs it no more.
                    let _ = self.looks.send(look);
                }
            }
            Err(unseen) => self.unseen(unseen),
        }
    }

    /// Brokers gave an answer.
    fn answered(&mut self) {
        if self.shared.said.newest.lock().is_some() {
            // They had been away, which is not slow.
            self.patience = SHORT;
        }
        self.shared.well();
        self.away = false;
        self.answered_at = Instant::now();
    }

    /// Brokers gave none. For a moment that is no news: connections take time, and brokers pause.
    fn unseen(&mut self, unseen: Unseen) {
        // What connections met comes as an event.
        self.hear(Duration::ZERO);
        self.look_at = Instant::now() + AGAIN;
        self.away = !matches!(unseen.kind, Kind::Missing(_));
        if unseen.kind == Kind::Slow {
            self.patience = (self.patience * 2).min(look::PATIENCE);
        }
        let silent = matches!(unseen.kind, Kind::Slow | Kind::Away(_));
        let known = self.shared.said.newest.lock().is_some();
        if known || !silent || self.answered_at.elapsed() >= SILENT {
            self.troubled(unseen);
        }
    }

    fn refresh(&mut self) {
        let now = Instant::now();
        self.ends_at = now + ENDS;
        let begins = now >= self.begins_at;
        match look::refresh(&self.shared, &self.control, begins, self.patience) {
            Ok(()) => {
                self.answered();
                if begins {
                    self.begins_at = now + BEGINS;
                }
            }
            Err(unseen) => self.unseen(unseen),
        }
        self.asked_at = Instant::now() + ASKED;
    }

    /// Says what a look could not see, once, and keeps it for the status.
    fn seen_in_part(&mut self, look: &Look) {
        let (source, missing) = (&*self.shared.source, &look.missing);
        let hint = |topics: &[String]| look::absent_hint(&self.shared.config, topics);
        let new: Vec<String> =
            missing.iter().filter(|t| !self.warned.contains(*t)).cloned().collect();
        if !new.is_empty() {
            warn!(source, hint = hint(&new), "{}; they are looked for again", look::absent(&new));
        }
        self.warned = missing.iter().cloned().collect();
        let absent = (!missing.is_empty()).then(|| (look::absent(missing), Some(hint(missing))));
        let partial = look.partial.clone().map(|what| (what, None));
        let before =
            std::mem::replace(&mut *self.shared.partial.lock(), partial.clone().or(absent));
        if let Some((what, _)) = partial.as_ref().filter(|_| before != partial) {
            warn!(source, what, "it is tried again; the rest is read");
        }
    }

    /// Says why there is nothing to be seen, once for each reason, and keeps it for the status.
    fn troubled(&mut self, unseen: Unseen) {
        let source = &*self.shared.source;
        if let Unseen { what, kind: Kind::Missing(hint) } = unseen {
            self.shared.answered();
            let refusal = Refusal { hint, definite: false };
            if self.shared.troubled(what.clone(), Some(refusal.clone())) {
                warn!(source, hint = refusal.hint, "{what}; they are waited for");
            }
            return;
        }
        let what = unseen.with(self.shared.said.newest.lock().as_deref());
        let refusal = self.shared.said.refusal.lock().clone();
        let hint = refusal.as_ref().map(|r| r.hint.clone());
        let fresh = |(of, at): &(Option<String>, Instant)| *of == hint && at.elapsed() < LOGGED;
        if self.shared.troubled(what.clone(), refusal) && !self.logged.as_ref().is_some_and(fresh) {
            self.logged = Some((hint.clone(), Instant::now()));
            warn!(source, what, hint, "the brokers cannot be asked; it is tried again");
        }
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
            more && p.live() && u128::from(waited) >= most.as_millis()
        };
        let parts: Vec<Arc<Part>> = self.shared.parts.lock().values().cloned().collect();
        let Some(stalled) = parts.iter().find(stalls) else { return };
        let source = &*self.shared.source;
        warn!(source, partition = stalled.name, "nothing came although there is; a new client");
        self.shared.counts.stalls.fetch_add(1, Relaxed);
        parts.iter().for_each(|p| p.waits.set(None));
        self.sharers = 0;
        if let Err(error) = self.share_out() {
            self.shared.troubled(error.to_string(), None);
        }
    }

    /// Commits what is durable and not committed, never back; and sees whether it was. The answer
    /// to a commit is not to be had without waiting for it, so the group is asked.
    fn commit(&mut self) {
        if !self.shared.config.commit || Instant::now() < self.commit_at {
            return;
        }
        match self.commit_once() {
            Ok(()) => self.refused = false,
            Err(error) => {
                self.commit_at = Instant::now() + COMMIT;
                self.shared.said.count(error.rdkafka_error_code());
                if !std::mem::replace(&mut self.refused, true) {
                    let (source, error) = (&*self.shared.source, client::shown(&error));
                    warn!(source, error, "positions are not committed to the group");
                }
            }
        }
    }

    fn commit_once(&mut self) -> Result<(), KafkaError> {
        if let Some((sent, at)) = &self.sent {
            let (known, _) = self.known(sent)?;
            let done = sent.iter().all(|(name, at)| known.get(name) >= Some(at));
            self.committed.extend(known);
            if !done && at.elapsed() < COMMIT {
                self.commit_at = Instant::now() + TURN;
                return Ok(());
            }
            self.sent = None;
            if !done {
                // Perhaps members that have subscribed own the group.
                return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut));
            }
            self.shared.counts.commits.fetch_add(1, Relaxed);
        }
        let durable = self.shared.durable.lock().clone();
        let new: Offsets =
            durable.into_iter().filter(|d| !self.committed.contains_key(&d.0)).collect();
        let mut unknown = None;
        if !new.is_empty() {
            let known = self.known(&new)?;
            self.committed.extend(known.0);
            unknown = known.1;
        }
        let mut wanted = self.shared.durable.lock().clone();
        wanted.retain(|name, at| self.committed.get(name).is_some_and(|before| *before < *at));
        if wanted.is_empty() {
            return unknown.map_or(Ok(()), Err);
        }
        let mut list = TopicPartitionList::new();
        for (name, at) in &wanted {
            if let Some((topic, number)) = topics::parts(name) {
                list.add_partition_offset(topic, number, Offset::Offset(*at as i64))?;
            }
        }
        self.control.commit(&list, CommitMode::Async)?;
        self.sent = Some((wanted, Instant::now()));
        self.commit_at = Instant::now() + TURN;
        unknown.map_or(Ok(()), Err)
    }

    /// What the group's offsets are; 0 where there is none. Those that came with an error are left
    /// out, and the first of these errors is told: what is not known could be set back.
    fn known(&self, wanted: &Offsets) -> Result<(Offsets, Option<KafkaError>), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (topic, number) in wanted.keys().filter_map(|name| topics::parts(name)) {
            list.add_partition(topic, number);
        }
        let list = self.control.committed_offsets(list, Duration::from_secs(2))?;
        let mut known: Offsets = client::known_offsets(&list).into_iter().collect();
        let mut failed = None;
        for one in list.elements() {
            match one.error() {
                Ok(()) => {
                    known.entry(topics::name(one.topic(), one.partition())).or_default();
                }
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        Ok((known, failed))
    }
}

impl Shared {
    /// A client; one that reads if it is given a share.
    fn client(&self, share: Option<Share>) -> Result<Consumer, SourceError> {
        client::consumer(&self.source, &self.config, share, &self.said, &self.tokens)
    }

    /// Makes a client that reads; readers go over to it at their own positions.
    pub fn begin_reading(&self, share: Share) -> Result<(), SourceError> {
        let consumer = self.client(Some(share))?;
        let mut reading = self.reading.write();
        let generation = reading.as_ref().map_or(0, |r| r.generation) + 1;
        if generation > 1 {
            info!(source = &*self.source, generation, "a new client reads");
        }
        let before = reading.replace(Reading { generation, consumer: Arc::new(consumer) });
        self.retired.lock().extend(before.map(|r| r.consumer));
        Ok(())
    }

    /// Has all readers take hold of their partitions again.
    fn renew(&self) {
        if let Some(reading) = &mut *self.reading.write() {
            reading.generation += 1;
        }
    }
}
