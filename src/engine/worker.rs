//! A worker: one timely worker on one thread, which reads the partitions it owns, feeds the
//! dataflow and hands over what each epoch gives.
//!
//! Promises: it never waits for anyone but by parking; a partition whose turn does not come is
//! not read, so a full epoch is back-pressure. The next epoch goes on with that partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dataflows::batch::{Batch, Dealt, Given};
use dataflows::graph::Handles;
use timely::worker::Worker;

use super::clock::Farthest;
use super::messages::{Closed, Event, PartRead, Shared, ToWorker};
use super::posts;
use crate::source::{Read, Reader};

/// How much a reader is asked for at a time.
const READ_BYTES: usize = 256 << 10;
/// How long a worker without anything to do sleeps at most.
const NAP: Duration = Duration::from_millis(500);
/// A worker says so often at most what its operators hold.
const SIZES: Duration = Duration::from_millis(500);
/// How long a partition that cannot be read is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Where memory is short an epoch holds so many times less.
const SMALLER: usize = 8;

/// Bounds of one worker's share of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of messages.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// Arrival times beyond this do not move the clock, where sources are given them.
    pub farthest: Farthest,
}

/// A partition that this worker owns.
struct Owned {
    reader: Box<dyn Reader>,
    read: PartRead,
    touched: bool,
    /// Not to be asked before.
    idle_until: Option<Instant>,
}

/// One worker's side of the engine.
pub struct Feeder {
    number: usize,
    handles: Handles,
    shared: Arc<Shared>,
    inbox: Receiver<ToWorker>,
    events: Sender<Event>,
    bounds: Bounds,
    owned: Vec<Owned>,
    /// Which of them is asked first.
    turn: usize,
    /// The epoch that is fed, and what went into it.
    epoch: u64,
    bytes: usize,
    records: usize,
    earliest: Option<i64>,
    full: bool,
    /// Epochs whose tick was sent and that are not through yet.
    under_way: VecDeque<u64>,
    /// Epochs that were closed and are not through yet, with their bytes.
    queued: VecDeque<(u64, u64)>,
    busy: Duration,
    /// When it last said what its operators hold.
    sized: Option<Instant>,
    exit: bool,
}

impl Feeder {
    /// A worker that owns nothing yet.
    pub fn new(
        number: usize,
        handles: Handles,
        shared: Arc<Shared>,
        inbox: Receiver<ToWorker>,
        events: Sender<Event>,
        bounds: Bounds,
    ) -> Self {
        Feeder {
            number,
            handles,
            shared,
            inbox,
            events,
            bounds,
            owned: Vec::new(),
            turn: 0,
            epoch: 0,
            bytes: 0,
            records: 0,
            earliest: None,
            full: false,
            under_way: VecDeque::new(),
            queued: VecDeque::new(),
            busy: Duration::ZERO,
            sized: None,
            exit: false,
        }
    }

    /// Works until it is told to exit.
    pub fn run(mut self, worker: &mut Worker) {
        while !self.exit {
            let began = Instant::now();
            self.hear();
            while self.epoch < self.shared.open.load(Acquire) {
                self.close();
            }
            let nap = self.feed();
            worker.step();
            self.deliver();
            self.busy += began.elapsed();
            if let Some(nap) = nap
                && !self.exit
                && self.inbox.is_empty()
                && self.epoch == self.shared.open.load(Acquire)
            {
                worker.step_or_park(Some(nap));
                self.deliver();
            }
        }
    }

    fn hear(&mut self) {
        loop {
            let message = match self.inbox.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => return,
                // Whoever told it what to do is gone.
                Err(TryRecvError::Disconnected) => {
                    self.exit = true;
                    return;
                }
            };
            match message {
                ToWorker::Open { partition, reader } => {
                    let read = PartRead {
                        partition,
                        next: 0,
                        latest: None,
                        last: None,
                        end: reader.end(),
                        bytes: 0,
                        idle: false,
                        ended: false,
                    };
                    self.owned.push(Owned { reader, read, touched: false, idle_until: None });
                }
                ToWorker::Tick { epoch, tick } => {
                    self.handles.ticks.advance_to(epoch);
                    self.handles.ticks.send(tick);
                    self.handles.ticks.advance_to(epoch + 1);
                    self.handles.ticks.flush();
                    self.under_way.push_back(epoch);
                }
                ToWorker::Post { index, reply } => {
                    if let Some(post) = self.handles.post(index) {
                        reply.answer(posts::to_json(&post, &self.handles.partitions()));
                    }
                }
                ToWorker::Exit => self.exit = true,
            }
        }
    }

    /// Closes the open epoch: nothing more goes into it.
    fn close(&mut self) {
        let mut read = Vec::new();
        for owned in self.owned.iter_mut().filter(|o| o.touched) {
            owned.read.end = owned.reader.end();
            read.push(owned.read.clone());
            owned.touched = false;
            owned.read.latest = None;
            owned.read.last = None;
            owned.read.bytes = 0;
        }
        self.owned.retain(|o| !o.read.ended);
        self.queued.push_back((self.epoch, self.bytes as u64));
        let closed = Closed { epoch: self.epoch, read, earliest: self.earliest.take() };
        self.epoch += 1;
        self.handles.batches.advance_to(self.epoch);
        self.handles.batches.flush();
        (self.bytes, self.records, self.full) = (0, 0, false);
        self.say(Event::Closed(closed));
    }

    /// Asks each partition once; how long there is nothing to do, if there was nothing.
    fn feed(&mut self) -> Option<Duration> {
        let mut nap = NAP;
        if self.full || !self.shared.reading.load(Relaxed) {
            return Some(nap);
        }
        let mut fed = false;
        for n in self.in_turn() {
            if let Some(until) = self.owned[n].idle_until {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() && !self.owned[n].reader.woken() {
                    nap = nap.min(left);
                    continue;
                }
            }
            if self.owned[n].read.ended {
                continue;
            }
            let records = self.bounds.records - self.records;
            match self.owned[n].reader.read(READ_BYTES, records) {
                Ok(Read::Batch(batch)) => {
                    self.owned[n].idle_until = None;
                    self.take(n, batch);
                    fed = true;
                    if self.full {
                        self.turn = n + 1;
                        break;
                    }
                }
                Ok(Read::Idle(delay)) => {
                    let owned = &mut self.owned[n];
                    owned.idle_until = Some(Instant::now() + delay);
                    nap = nap.min(delay);
                    if !owned.read.idle {
                        (owned.read.idle, owned.touched) = (true, true);
                        self.say(Event::Fed { epoch: self.epoch, full: false });
                    }
                }
                Ok(Read::Pending(delay)) => {
                    self.owned[n].idle_until = Some(Instant::now() + delay);
                    nap = nap.min(delay);
                }
                Ok(Read::End) => {
                    let owned = &mut self.owned[n];
                    (owned.read.ended, owned.touched) = (true, true);
                    self.say(Event::Fed { epoch: self.epoch, full: false });
                }
                Err(error) => {
                    let owned = &mut self.owned[n];
                    owned.idle_until = Some(Instant::now() + RETRY);
                    // When it can be read again that is news, also where nothing new is in it.
                    owned.read.idle = false;
                    let partition = owned.read.partition;
                    self.say(Event::Trouble { partition, error });
                }
            }
        }
        if fed {
            self.handles.batches.flush();
        }
        (!fed).then_some(nap)
    }

    /// The places of all partitions, from the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (turn, all) = (self.turn, self.owned.len());
        (0..all).map(move |n| (turn + n) % all)
    }

    fn take(&mut self, n: usize, batch: Batch) {
        let owned = &mut self.owned[n];
        let bytes = batch.spans.iter().map(|s| s.len as usize).sum::<usize>();
        let first = self.bytes == 0 && self.records == 0;
        owned.touched = true;
        owned.read.next = batch.next;
        let doubted = batch.arrival_given != Given::All(false) && !owned.reader.schedules();
        let until = doubted.then(|| self.bounds.farthest.get());
        owned.read.latest = owned.read.latest.max(batch.latest(until));
        let end = batch.spans.len().checked_sub(1);
        owned.read.last = end.map(|n| batch.arrival(n)).or(owned.read.last);
        owned.read.bytes += bytes as u64;
        self.bytes += bytes;
        self.records += batch.spans.len();
        let arrival = (!batch.spans.is_empty()).then(|| batch.arrival(0));
        self.earliest = self.earliest.into_iter().chain(arrival).min();
        self.shared.queued_bytes.fetch_add(bytes as u64, Relaxed);
        let to = self.shared.deal(self.number, bytes as u64) as u64;
        self.handles.batches.send(Dealt { to, batch });
        let small = self.shared.small_epochs.load(Relaxed);
        let most = if small { self.bounds.bytes / SMALLER } else { self.bounds.bytes };
        self.full = self.bytes >= most || self.records >= self.bounds.records;
        if first || self.full {
            self.say(Event::Fed { epoch: self.epoch, full: self.full });
        }
    }

    /// Hands over the epochs that are through.
    fn deliver(&mut self) {
        let decoded = self.handles.outbox.take_decoded();
        if decoded > 0 {
            let mut flow = self.shared.flow.lock();
            flow.handed_over += decoded;
            flow.in_flight += decoded;
        }
        while let Some(epoch) = self.under_way.front().copied()
            && !self.handles.probe.less_equal(&epoch)
        {
            self.under_way.pop_front();
            while let Some((_, bytes)) = self.queued.pop_front_if(|q| q.0 <= epoch) {
                self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            }
            let sealed = Box::new(self.handles.outbox.take(epoch));
            let busy = std::mem::take(&mut self.busy).as_secs_f64();
            let due = self.sized.is_none_or(|at| at.elapsed() >= SIZES);
            let sizes = due.then(|| {
                self.sized = Some(Instant::now());
                self.handles.sizes()
            });
            self.say(Event::Sealed { worker: self.number, epoch, sealed, busy, sizes });
        }
    }

    fn say(&self, event: Event) {
        // The coordinator hears until it has told all workers to exit.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests;
