//! Reads one partition, on the worker that decodes it: messages are copied once, from
//! librdkafka's buffers into a block.
//!
//! Promises: it goes on where it is told whatever becomes of the client; a message is given once;
//! what cannot be given is counted and said. It never blocks.
//! Limits: a queue that is not drained stops being filled at the partition's share of
//! `fetch_memory`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use dataflows::batch::{Arrivals, Batch, Given, Positions, Ruled, Span};
use dataflows::record::Rule;
use dataflows::time::in_range;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::warn;

use super::client::{self, Context};
use super::shared::{Part, Reading, Shared};
use crate::config::Gap;
use crate::source::glob::Routing;
use crate::source::pool::Pool;
use crate::source::{Read, Reader, SourceError};

/// How long it is not asked when everything has been read, unless it is woken.
const IDLE: Duration = Duration::from_millis(500);
/// How long it is not asked while something is on its way, unless it is woken.
const SOON: Duration = Duration::from_millis(50);
/// How often it says that the same thing is wrong.
const AGAIN: Duration = Duration::from_secs(30);
/// How long brokers may be silent before it says so.
const SILENT: Duration = Duration::from_secs(3);

/// What its partition is.
pub struct Known {
    /// What all know of it.
    pub part: Arc<Part>,
    /// Its number in batches.
    pub partition: u32,
    /// What its records are.
    pub routing: Routing,
    /// The arrival time of the message before the first one to read, microseconds; none if there
    /// was none.
    pub last: Option<i64>,
    /// When the source began, for a message without a time that nothing came before.
    pub born: i64,
    /// A message is cut behind so many bytes.
    pub max_message: usize,
}

/// The reader of a partition.
pub struct KafkaReader {
    shared: Arc<Shared>,
    known: Known,
    next: u64,
    hold: Option<Hold>,
    /// Whether the message before the next one is still to be compared with what was read.
    compare: bool,
    /// It waits to be told what offsets there are, since they had been seen so often (a number
    /// that they were never seen: what is known will do).
    asked: Option<u64>,
    /// What came behind the last batch.
    ending: Option<Ending>,
    woken: Arc<AtomicBool>,
    pool: Pool,
    said: Option<(String, Instant)>,
}

/// Its hold on a client. The queue is let go of first: a client waits for its queues to end.
struct Hold {
    queue: PartitionQueue<Context>,
    reading: Reading,
}

/// A batch being put together.
#[derive(Default)]
struct Filling {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    positions: Vec<u64>,
    arrivals: Vec<i64>,
    /// Whether the message has a time of its own.
    given: Vec<bool>,
    /// Where routes look at each record.
    rules: Vec<Rule>,
}

/// What ends the taking of messages.
enum Ending {
    /// The next one lies beyond what is to be read.
    Beyond,
    /// The one before the next is not what was read.
    Another,
    /// The partition has an error.
    Failed(KafkaError),
}

impl KafkaReader {
    /// A reader from an offset on.
    pub fn new(shared: Arc<Shared>, known: Known, at: u64) -> Self {
        known.part.next.set(Some(at));
        let compare = known.last.is_some();
        // What was read before is compared with what was seen of the partition when it was found.
        let asked = compare.then_some(u64::MAX);
        KafkaReader {
            shared,
            known,
            next: at,
            hold: None,
            compare,
            asked,
            ending: None,
            woken: Arc::default(),
            pool: Pool::default(),
            said: None,
        }
    }

    fn trouble(&mut self, what: String) -> Result<Read, SourceError> {
        let fresh = self.said.as_ref().is_none_or(|(w, at)| *w != what || at.elapsed() >= AGAIN);
        if !fresh {
            return Ok(Read::Pending(SOON));
        }
        self.said = Some((what.clone(), Instant::now()));
        Err(SourceError::Unavailable { what })
    }

    fn changed(&self, what: &str) -> SourceError {
        let name = &self.known.part.name;
        let what = format!("reading {name} at {}: {what}; gap = \"skip\" goes on", self.next);
        SourceError::Changed { what }
    }

    /// Takes hold of the client that reads, if it is another one than before; whether there is.
    fn attach(&mut self) -> Result<bool, SourceError> {
        let Some(reading) = self.shared.reading.read().clone() else { return Ok(false) };
        if self.hold.as_ref().is_some_and(|h| h.reading.generation == reading.generation) {
            return Ok(true);
        }
        self.let_go();
        let part = &self.known.part;
        let failed = |what: String| SourceError::Unavailable {
            what: format!("taking up {}: {what}", part.name),
        };
        // Before it is assigned, so that none of its messages goes elsewhere.
        let queue = reading.consumer.split_partition_queue(&part.topic, part.number);
        let mut queue = queue.ok_or_else(|| failed("there is no such partition".into()))?;
        let (woken, thread) = (self.woken.clone(), std::thread::current());
        queue.set_nonempty_callback(move || {
            woken.store(true, Release);
            thread.unpark();
        });
        let from = if self.compare { self.next.saturating_sub(1) } else { self.next };
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(from as i64);
        list.add_partition_offset(&part.topic, part.number, offset)
            .and_then(|()| reading.consumer.incremental_assign(&list))
            .map_err(|e| failed(client::shown(&e)))?;
        self.hold = Some(Hold { queue, reading });
        Ok(true)
    }

    /// Gives the partition back to its client.
    fn let_go(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.known.part.topic, self.known.part.number);
        // A client that does not have it has nothing to give back.
        let _ = hold.reading.consumer.incremental_unassign(&list);
        self.known.part.at_end.store(false, Relaxed);
    }

    fn done(&mut self) -> Read {
        self.let_go();
        self.pool.clear();
        self.known.part.done.store(true, Relaxed);
        self.known.part.waits.set(None);
        Read::End
    }

    /// Asks what offsets there are, and settles where to go on once that is known.
    fn settle(&mut self) -> Result<Option<Read>, SourceError> {
        let Some(before) = self.asked else { return Ok(None) };
        let part = self.known.part.clone();
        if part.seen.load(Acquire) == before {
            part.asks.store(true, Relaxed);
            return self.nothing().map(Some);
        }
        self.asked = None;
        let (Some(begin), Some(end)) = (part.begin.get(), part.end.get()) else { return Ok(None) };
        if self.next < begin {
            self.skip(begin)?;
        } else if self.next > end {
            self.anew(begin, &format!("the partition ends at {end}"))?;
        } else if self.hold.is_none() {
            // It may be another topic that is as long: the record before is there to tell.
            self.compare = self.known.last.is_some() && begin < self.next;
        }
        Ok(None)
    }

    /// Goes on behind records that are no more.
    fn skip(&mut self, begin: u64) -> Result<(), SourceError> {
        let what = format!("the brokers hold nothing before {begin}");
        if self.shared.config.gap == Gap::Stop {
            return Err(self.changed(&what));
        }
        let (source, partition) = (&*self.shared.source, &*self.known.part.name);
        let skipped = begin - self.next;
        warn!(source, partition, from = self.next, to = begin, skipped, "{what}; they are skipped");
        self.shared.counts.skipped.fetch_add(skipped, Relaxed);
        self.shared.counts.gaps.fetch_add(1, Relaxed);
        self.go_to(begin);
        Ok(())
    }

    /// Goes on at the beginning of what is another topic now.
    fn anew(&mut self, begin: u64, what: &str) -> Result<(), SourceError> {
        let what = format!("{what}, so it is not the one that was read");
        if self.shared.config.gap == Gap::Stop {
            return Err(self.changed(&what));
        }
        let (source, partition) = (&*self.shared.source, &*self.known.part.name);
        warn!(source, partition, from = self.next, to = begin, "{what}; it is read anew");
        self.shared.counts.recreated.fetch_add(1, Relaxed);
        self.go_to(begin);
        Ok(())
    }

    fn go_to(&mut self, at: u64) {
        self.let_go();
        self.next = at;
        self.compare = false;
        self.known.part.next.set(Some(at));
    }

    /// What an error of the partition means.
    fn failed(&mut self, error: &KafkaError) -> Result<Read, SourceError> {
        let code = error.rdkafka_error_code();
        let name = &self.known.part.name;
        match code {
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => {
                self.let_go();
                self.asked = Some(self.known.part.seen.load(Acquire));
                self.known.part.asks.store(true, Relaxed);
                Ok(Read::Pending(SOON))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let what = format!(
                    "reading {name}: we are not allowed to; allow Read and Describe on the topic"
                );
                self.trouble(what)
            }
            _ => {
                use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
                let what = format!("reading {name} at {}: {}", self.next, client::shown(error));
                if matches!(code, Some(UnknownPartition | UnknownTopic | UnknownTopicOrPartition)) {
                    // One of its name may come back, and the client would go on in it by itself.
                    self.known.part.denied.store(true, Relaxed);
                    self.let_go();
                    self.compare = self.known.last.is_some();
                }
                self.trouble(what)
            }
        }
    }

    fn nothing(&mut self) -> Result<Read, SourceError> {
        let part = self.known.part.clone();
        if part.at_end.load(Relaxed) && self.compare {
            // What was read is to lie before the end.
            self.compare = false;
            self.asked = Some(part.seen.load(Acquire));
            return Ok(Read::Pending(SOON));
        }
        if part.at_end.load(Relaxed) {
            if part.stop.get().is_some() {
                return Ok(self.done());
            }
            if !part.beyond() {
                part.waits.set(None);
                self.pool.clear();
                return Ok(Read::Idle(IDLE));
            }
        }
        if part.waits.get().is_none() {
            part.waits.set(Some(self.shared.millis()));
        }
        if part.gone.load(Relaxed) {
            let what = format!("reading {} at {}: the topic is not there", part.name, self.next);
            return self.trouble(what);
        }
        let silent = self.shared.trouble.lock().clone();
        match silent.filter(|trouble| trouble.since.elapsed() >= SILENT) {
            Some(trouble) => self.trouble(trouble.what),
            None => Ok(Read::Pending(SOON)),
        }
    }
}

impl Known {
    /// Takes a message into the batch; the offset to read next.
    fn take(&mut self, message: &BorrowedMessage<'_>, into: &mut Filling) -> u64 {
        let offset = message.offset() as u64;
        let stamp = stamp(message);
        let arrival = stamp.or(self.last).unwrap_or(self.born);
        let payload = message.payload().unwrap_or_default();
        let len = payload.len().min(self.max_message + 1);
        into.spans.push(Span { start: into.bytes.len() as u32, len: len as u32 });
        into.bytes.extend_from_slice(&payload[..len]);
        into.positions.push(offset);
        into.arrivals.push(arrival);
        into.given.push(stamp.is_some());
        if self.routing.by_record() {
            into.rules.push(self.routing.of(message.key(), |name| header(message, name)));
        }
        self.last = Some(arrival);
        offset + 1
    }
}

/// What the last header of a name holds.
fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    let headers = message.headers()?.iter();
    headers.filter(|header| header.key == name).last()?.value
}

/// The time of a message, microseconds since 1970-01-01 UTC, if it has one of the years 1 to 9999.
fn stamp(message: &BorrowedMessage<'_>) -> Option<i64> {
    let micros = message.timestamp().to_millis()?.checked_mul(1000)?;
    in_range(micros).then_some(micros)
}

impl KafkaReader {
    /// Takes what is queued, up to a bound; what ended it, if it was not that the queue is empty.
    fn drain(&mut self, bytes: usize, records: usize, into: &mut Filling) -> Option<Ending> {
        let hold = self.hold.as_ref()?;
        let part = self.known.part.clone();
        while into.bytes.len() < bytes && into.spans.len() < records.max(1) {
            let message = match hold.queue.poll(Duration::ZERO)? {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(_)) => {
                    part.came_to_end();
                    continue;
                }
                Err(error) => return Some(Ending::Failed(error)),
            };
            part.at_end.store(false, Relaxed);
            let compare = std::mem::take(&mut self.compare);
            let before = compare && message.offset() as u64 + 1 == self.next;
            if before && stamp(&message).is_some_and(|at| Some(at) != self.known.last) {
                return Some(Ending::Another);
            }
            if part.stop.get().is_some_and(|stop| message.offset() as u64 >= stop) {
                return Some(Ending::Beyond);
            }
            if message.offset() as u64 >= self.next {
                self.next = self.known.take(&message, into);
                if message.payload().is_none() {
                    self.shared.counts.tombstones.fetch_add(1, Relaxed);
                }
            }
        }
        None
    }

    fn ended(&mut self, ending: Ending) -> Result<Read, SourceError> {
        match ending {
            Ending::Failed(error) => self.failed(&error),
            Ending::Beyond => Ok(self.done()),
            Ending::Another => {
                let begin = self.known.part.begin.get().unwrap_or(0);
                self.anew(begin, "the record before it is another one than was read")?;
                Ok(Read::Pending(SOON))
            }
        }
    }

    fn batch(&mut self, filling: Filling) -> Batch {
        let Filling { bytes, spans, positions, arrivals, given, rules } = filling;
        let first = positions.first().copied().unwrap_or_default();
        let counted = positions.last().is_some_and(|l| l - first + 1 == positions.len() as u64);
        let routing = &self.known.routing;
        let ruled =
            if routing.by_record() { Ruled::Each(rules) } else { Ruled::All(routing.otherwise()) };
        Batch {
            partition: self.known.partition,
            block: self.pool.give(bytes),
            spans,
            positions: if counted { Positions::Counted(first) } else { Positions::Each(positions) },
            first_sub: 0,
            arrivals: Arrivals::Each(arrivals),
            arrival_given: Given::from(given),
            ruled,
            next: self.next,
        }
    }

    /// Whether its topic went away and one of its name came back: then it is looked at again.
    fn returned(&mut self) {
        if self.known.part.returned.swap(false, Acquire) {
            self.let_go();
            self.compare = self.known.last.is_some();
            self.asked = Some(self.known.part.seen.load(Acquire));
        }
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError> {
        if let Some(ending) = self.ending.take() {
            return self.ended(ending);
        }
        let part = self.known.part.clone();
        if part.absent() {
            self.let_go();
            return self.nothing();
        }
        self.returned();
        if let Some(wait) = self.settle()? {
            return Ok(wait);
        }
        // What was read up to its end may still be another topic than is there now.
        if part.stop.get().is_some_and(|stop| self.next >= stop) && !self.compare {
            return Ok(self.done());
        }
        if !self.attach()? {
            return self.nothing();
        }
        self.woken.store(false, Release);
        let mut filling = Filling { bytes: self.pool.take(max_bytes), ..Filling::default() };
        let ending = self.drain(max_bytes, max_records, &mut filling);
        if filling.spans.is_empty() {
            drop(self.pool.give(filling.bytes));
            return match ending {
                Some(ending) => self.ended(ending),
                None => self.nothing(),
            };
        }
        self.ending = ending;
        self.said = None;
        part.next.set(Some(self.next));
        part.waits.set(None);
        Ok(Read::Batch(self.batch(filling)))
    }

    fn woken(&self) -> bool {
        self.woken.load(Acquire)
    }

    fn end(&self) -> Option<u64> {
        let part = &self.known.part;
        (part.stop.get().is_some() || !self.shared.away()).then(|| part.end()).flatten()
    }
}
