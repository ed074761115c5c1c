//! What the engine says of itself: counters as it goes, the status about twice a second and at
//! every change of state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use dataflows::names;
use dataflows::sealed::Reject;
use dataflows::size::Size;
use tracing::{info, warn};

use super::book::Book;
use super::clock::wall;
use super::messages::{Kept, PartRead, Shared};
use super::repeats::Repeats;
use super::sources::Sources;
use crate::publish::Place;
use crate::sink::letters::Sent;
use crate::source::SourceError;
use crate::source::progress::Progress;
use crate::telemetry::status::{
    Awaited, Level, Motion, Operator, PartitionStatus, Sample, Status, Trouble,
};
use crate::telemetry::{Machine, SharedStatus};

/// How often the parts of the status that move are brought up to date.
const REFRESH: Duration = Duration::from_millis(400);
/// A partition with something to read whose position has not moved for so long is stalled.
const STALLED: Duration = Duration::from_secs(10);
/// So many epochs are remembered until they are visible: those of a minute and more, where results
/// are withheld.
const UNSEEN: usize = 1 << 14;

/// What the engine says of itself.
pub struct Report {
    /// Counters.
    pub machine: Arc<Machine>,
    status: SharedStatus,
    /// The progress bar of a bounded run.
    progress: Option<Progress>,
    refreshed: Instant,
    moved: Vec<Option<Instant>>,
    /// Which troubles of partitions have been said.
    repeats: Repeats,
    /// What each worker's operators hold.
    sizes: BTreeMap<usize, Vec<Size>>,
    /// Letters on their way to topics.
    sending: Vec<Arc<Sent>>,
    /// Epochs that are complete and not visible: when each began, and its oldest arrival.
    unseen: Vec<(Instant, Option<i64>)>,
}

impl Report {
    /// Reports into these.
    pub fn new(machine: Arc<Machine>, status: SharedStatus, progress: Option<Progress>) -> Self {
        Report {
            machine,
            status,
            progress,
            refreshed: Instant::now(),
            moved: Vec::new(),
            repeats: Repeats::default(),
            sizes: BTreeMap::new(),
            sending: Vec::new(),
            unseen: Vec::new(),
        }
    }

    /// Tells of letters on their way to topics too.
    pub fn with(mut self, sending: Vec<Arc<Sent>>) -> Self {
        self.sending = sending;
        self
    }

    /// Ends that are waited for before results are shown.
    pub fn awaited(&self, ends: &BTreeMap<u32, u64>, until: Instant, book: &Book) {
        let left = until.saturating_duration_since(Instant::now());
        let mut status = self.status.write();
        status.withheld_until = (!ends.is_empty()).then(|| wall() + left.as_micros() as i64);
        let one = |(n, end): (&u32, &u64)| Awaited {
            source: book.place(*n).source.to_string(),
            partition: book.place(*n).partition.to_string(),
            position: book.next(*n),
            until: *end,
        };
        status.awaited = ends.iter().map(one).collect();
        status.held_by = status
            .awaited
            .first()
            .map(|a| format!("{}/{} is at {} of {}", a.source, a.partition, a.position, a.until));
    }

    fn partition(&mut self, number: u32, change: impl FnOnce(&mut PartitionStatus)) {
        let n = number as usize;
        self.moved.resize(self.moved.len().max(n + 1), None);
        let mut status = self.status.write();
        if status.partitions.len() <= n {
            status.partitions.resize(n + 1, PartitionStatus::default());
        }
        change(&mut status.partitions[n]);
    }

    /// A partition is read from now on.
    pub fn opened(&mut self, number: u32, end: Option<u64>) {
        self.partition(number, |p| p.end = end);
        self.moved[number as usize] = Some(Instant::now());
    }

    /// A partition is known and not read: it was, to its end. Followed, there may be more of it.
    pub fn still(&mut self, number: u32, end: u64, followed: bool) {
        let state = if followed { Motion::Idle } else { Motion::Ended };
        self.partition(number, |p| (p.end, p.state) = (Some(end), state));
    }

    /// An epoch read this.
    pub fn read(&mut self, read: &PartRead, place: &Place) {
        // At its end because the rest is refused: that stays to be seen.
        let recovered = !read.ended;
        if recovered && self.repeats.gone(read.partition) {
            info!(source = &*place.source, partition = &*place.partition, "it is read again");
        }
        self.machine.read_bytes.with_label_values(&[&*place.source]).inc_by(read.bytes);
        self.partition(read.partition, |p| {
            p.end = read.end.or(p.end);
            p.arrived_at = read.latest.or(read.last).or(p.arrived_at);
            p.trouble = p.trouble.take().filter(|_| !recovered);
            p.state = match (read.ended, &p.trouble) {
                (true, Some(_)) => Motion::Failing,
                (true, None) => Motion::Ended,
                (false, _) => Motion::Moving,
            };
        });
        self.moved[read.partition as usize] = Some(Instant::now());
    }

    /// A partition cannot be read now.
    pub fn trouble(&mut self, number: u32, place: &Place, error: &SourceError) {
        let hint = match error {
            SourceError::Refused { .. } => {
                "the rest of it is not read; mend it and start again, then it is read on"
            }
            _ => "it is tried again every second; see that it is there and readable",
        };
        let error = error.to_string();
        let (source, partition) = (&*place.source, &*place.partition);
        self.machine.source_errors.with_label_values(&[source]).inc();
        if let Some(times) = self.repeats.came(number, &error, Instant::now()) {
            warn!(source, partition, error, times, "cannot read");
        }
        let trouble = Trouble { error, hint: hint.into(), at: wall() };
        self.partition(number, |p| {
            p.state = Motion::Failing;
            p.trouble = Some(trouble);
        });
    }

    /// A worker was busy for so long.
    pub fn busy(&self, worker: usize, seconds: f64) {
        self.machine.worker_busy.with_label_values(&[&worker.to_string()]).inc_by(seconds);
    }

    /// What a worker's operators hold.
    pub fn sizes(&mut self, worker: usize, sizes: Vec<Size>) {
        self.sizes.insert(worker, sizes);
    }

    /// Samples of rejected records.
    pub fn rejects(&self, rejects: &[Reject], book: &Book) {
        if rejects.is_empty() {
            return;
        }
        let mut status = self.status.write();
        for reject in rejects.iter().rev().take(64).rev() {
            let place = book.place(reject.partition);
            let (payload, truncated) = Sample::shorten(&reject.payload);
            status.sample(
                reject.reason,
                Sample {
                    source: place.source.to_string(),
                    partition: place.partition.to_string(),
                    position: reject.position,
                    sub: reject.sub,
                    arrived_at: reject.arrived_at,
                    payload,
                    truncated,
                },
            );
        }
    }

    /// An epoch is complete, and visible with the next that is published.
    pub fn complete(&mut self, opened: Instant, earliest: Option<i64>) {
        // Beyond that they are later ones, which wait for less.
        if self.unseen.len() < UNSEEN {
            self.unseen.push((opened, earliest));
        }
    }

    /// All epochs that are complete became visible.
    pub fn visible(&mut self) {
        let now = wall();
        for (opened, earliest) in self.unseen.drain(..) {
            self.machine.epoch_seconds.observe(opened.elapsed().as_secs_f64());
            if let Some(arrived) = earliest {
                self.machine.latency_seconds.observe((now - arrived).max(0) as f64 / 1e6);
            }
        }
    }

    /// The keeper is done with a cut.
    pub fn kept(&self, kept: &Kept) {
        let mut status = self.status.write();
        if kept.cut.is_some() {
            status.dead_letter_bytes = kept.dead_letter_bytes;
        }
        let checkpoints = &mut status.checkpoints;
        checkpoints.unwritten_bytes = kept.unwritten_bytes;
        if let Some(cut) = kept.cut {
            checkpoints.cut = cut;
            checkpoints.last_at = Some(wall());
            checkpoints.last_seconds = kept.took.as_secs_f64();
            checkpoints.last_bytes = kept.bytes;
            checkpoints.disk_bytes = kept.disk_bytes;
            checkpoints.trouble = None;
        }
        if let Some(error) = &kept.trouble {
            let hint = "free space on the disk of the path that is named; what could not be \
                        written is kept in memory and written with the next checkpoint";
            checkpoints.trouble =
                Some(Trouble { error: error.clone(), hint: hint.into(), at: wall() });
        }
    }

    /// What holds reading back: the disk, the memory budget, or nothing.
    pub fn holding(&self, disk: bool, memory: bool) {
        let why = match (disk, memory) {
            (true, _) => Some("nothing is read until what waits for room on the disk is written"),
            (_, true) => {
                Some("nothing is read until there is room in the memory budget (engine.memory)")
            }
            _ => None,
        };
        self.status.write().reading_held = why;
    }

    /// What the process holds, and how the budget is kept.
    pub fn memory(&self, used: u64, level: Level, changed: bool) {
        if changed && level == Level::Held {
            self.machine.memory_holds.inc();
        }
        let memory = &mut self.status.write().memory;
        (memory.used_bytes, memory.level) = (used, level);
    }

    /// What operators hold, as last told.
    pub fn holders(&self) -> Vec<Operator> {
        operators(&self.sizes)
    }

    /// The orderly stop has begun.
    pub fn stopping(&self) {
        self.status.write().stopping = true;
    }

    /// Brings up to date what moves, if it is time.
    pub fn refresh(&mut self, book: &Book, sources: &Sources, shared: &Shared, running: bool) {
        if self.refreshed.elapsed() < REFRESH {
            return;
        }
        self.refreshed = Instant::now();
        if let Some(progress) = &mut self.progress {
            progress.update(&sources.progress(), book.records());
        }
        let mut status = self.status.write();
        if running {
            watched(&mut status, book, sources);
        }
        status.memory.queued_bytes = shared.queued_bytes.load(Relaxed);
        status.operators = operators(&self.sizes);
        let state = |o: &&Operator| [names::ASSEMBLE.name, names::ARRIVALS].contains(&&*o.name);
        status.memory.state_bytes = status.operators.iter().filter(state).map(|o| o.bytes).sum();
        for (n, partition) in status.partitions.iter_mut().enumerate() {
            let moved = self.moved.get(n).copied().flatten();
            let still = moved.map_or(STALLED, |m| m.elapsed());
            let behind = partition.end.is_some_and(|end| end > book.next(n as u32));
            if partition.state == Motion::Moving && still > REFRESH && !behind {
                partition.state = Motion::Idle;
            } else if matches!(partition.state, Motion::Moving | Motion::Idle)
                && behind
                && running
                && still >= STALLED
            {
                partition.state = Motion::Stalled;
            }
        }
        let states: Vec<(String, Motion)> = status
            .partitions
            .iter()
            .enumerate()
            .map(|(n, p)| (book.place(n as u32).source.to_string(), p.state))
            .collect();
        for (source, sending) in self.sending.iter().map(|sent| sent.status()) {
            if let Some(status) = status.sources.iter_mut().find(|s| s.name == source) {
                status.dead_letters = Some(sending);
            }
        }
        for source in &mut status.sources {
            let mine = states.iter().filter(|(name, _)| *name == source.name).map(|s| s.1);
            let trouble = sources.troubles().find(|(name, _)| *name == source.name);
            source.trouble = trouble.and_then(|t| t.1.cloned()).or(source.trouble.take());
            let all = mine.chain(source.trouble.iter().map(|_| Motion::Failing));
            source.state = match overall(all) {
                // Of the partitions that it has nothing more comes; there may be others yet.
                Motion::Ended if !sources.is_complete(&source.name) => Motion::Idle,
                state => state,
            };
        }
    }

    /// The end: the progress bar is taken away.
    pub fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }
}

/// What sources see beside their readers.
fn watched(status: &mut Status, book: &Book, sources: &Sources) {
    for (name, watch, counters) in sources.watch() {
        for (n, partition) in status.partitions.iter_mut().enumerate() {
            let place = book.place(n as u32);
            if *place.source != *name {
                continue;
            }
            if let Some(end) = watch.ends.get(&*place.partition) {
                partition.end = Some(*end);
            } else if watch.away {
                partition.end = None;
            }
            partition.reach(watch.away);
        }
        let Some(source) = status.sources.iter_mut().find(|s| s.name == name) else { continue };
        source.counters = counters;
        source.errors = watch.errors;
        source.fetched_bytes = watch.fetched;
        let usual = "it is tried again; see that the brokers are there, and that we may use them";
        let hint = watch.hint.map_or(usual.into(), |hint| format!("it is tried again; {hint}"));
        let trouble = |error| Trouble { error, hint, at: wall() };
        source.trouble = watch.trouble.map(trouble);
    }
}

/// The workers' operators, each once with what it holds on all of them.
fn operators(sizes: &BTreeMap<usize, Vec<Size>>) -> Vec<Operator> {
    let mut out: Vec<Operator> = Vec::new();
    for size in sizes.values().flatten() {
        match out.iter_mut().find(|o| o.name == size.name) {
            Some(operator) => {
                operator.records += size.records;
                operator.bytes += size.bytes;
            }
            None => out.push(Operator {
                name: size.name.clone(),
                records: size.records,
                bytes: size.bytes,
            }),
        }
    }
    out
}

/// A source does as the worst of its partitions, unless that has ended.
fn overall(partitions: impl Iterator<Item = Motion>) -> Motion {
    let rank = |m: &Motion| match m {
        Motion::Failing => 5,
        Motion::Stalled => 4,
        Motion::Moving => 3,
        Motion::Idle => 2,
        Motion::Starting => 1,
        Motion::Ended => 0,
    };
    partitions.max_by_key(rank).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trouble of a file whose rest is refused was gone a second later, when it had ended.
    #[test]
    fn a_refusal_stays_and_another_trouble_goes() {
        let status = SharedStatus::default();
        let mut report = Report::new(Arc::new(Machine::new()), Arc::clone(&status), None);
        let place = Place { source: "s".into(), partition: "p".into() };
        let what = || "reading p".to_owned();
        let mut read = PartRead {
            partition: 0,
            next: 0,
            latest: None,
            last: None,
            end: None,
            bytes: 0,
            idle: true,
            ended: false,
        };
        let seen = || {
            let partition = &status.read().partitions[0];
            (partition.state, partition.trouble.as_ref().map(|t| t.hint.contains("start again")))
        };
        report.trouble(0, &place, &SourceError::Unavailable { what: what() });
        assert_eq!(seen(), (Motion::Failing, Some(false)));
        report.read(&read, &place);
        assert_eq!(seen(), (Motion::Moving, None));
        report.trouble(0, &place, &SourceError::Refused { what: what() });
        read.ended = true;
        report.read(&read, &place);
        assert_eq!(seen(), (Motion::Failing, Some(true)));
        status.write().partitions[0].reach(false);
        assert_eq!(seen(), (Motion::Failing, Some(true)));
    }

    /// Of ten epochs that are shown together the one that publishes was counted.
    #[test]
    fn each_epoch_is_counted_once_it_is_visible() {
        let machine = Arc::new(Machine::new());
        let mut report = Report::new(Arc::clone(&machine), SharedStatus::default(), None);
        let counts = || {
            let of = |histogram: &prometheus::Histogram| histogram.get_sample_count();
            (of(&machine.epoch_seconds), of(&machine.latency_seconds))
        };
        for earliest in [Some(0), None, Some(0)] {
            report.complete(Instant::now(), earliest);
        }
        assert_eq!(counts(), (0, 0));
        report.visible();
        report.visible();
        assert_eq!(counts(), (3, 2));
    }

    #[test]
    fn what_is_not_read_as_nothing_is_left_has_no_lag() {
        let status = SharedStatus::default();
        let mut report = Report::new(Arc::new(Machine::new()), Arc::clone(&status), None);
        report.still(1, 7, true);
        let partitions = status.read().partitions.clone();
        let seen = |n: usize| (partitions[n].state, partitions[n].end(7));
        assert_eq!([seen(0), seen(1)], [(Motion::Starting, None), (Motion::Idle, Some(7))]);
        assert_eq!(partitions[1].lag_seconds(7, 1_000_000), Some(0.0));
        // Read on, it has not been behind for as long as it was still.
        report.opened(1, Some(9));
        assert!(report.moved[1].is_some_and(|moved| moved.elapsed() < STALLED));
    }
}
