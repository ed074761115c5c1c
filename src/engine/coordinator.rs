//! The coordinator: one thread that opens and seals epochs, moves the clock, decides what is
//! published and what is cut, and knows when the run is over.
//!
//! Promises: results become visible only for complete epochs, in order; a partition is read only
//! once a cut that makes it known is durable; nobody is waited for without an end that is said.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dataflows::sealed::Sealed;
use dataflows::tick::{CutKind, Tick};

use super::book::Book;
use super::clock::{Now, wall};
use super::epochs::{Epochs, Flight};
use super::keeper::Task;
use super::memory::Budget;
use super::messages::{Event, PartRead, Shared, ToWorker};
use super::outputs::Outputs;
use super::rebuild::Former;
use super::report::Report;
use super::setup::ENDED;
use super::sources::{Positions, Sources, Waiting};
use super::{EngineError, Pace};
use crate::cli::Failure;
use crate::publish::{Frontier, Published, State};

/// The channels to everyone.
pub struct Lines {
    /// What is heard.
    pub events: Receiver<Event>,
    /// To the workers.
    pub workers: Vec<(Sender<ToWorker>, Thread)>,
    /// To the keeper.
    pub keeper: Sender<Task>,
}

/// How far the run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Records are read.
    Running,
    /// No more is read; what was read is being completed.
    Draining {
        /// Whether the sources came to their end.
        ended: bool,
    },
    /// The last epoch is sealed.
    Last {
        /// Whether a bounded run has come to its end.
        ended: bool,
    },
    /// The last cut is being written.
    Closing {
        /// Whether a bounded run has come to its end.
        ended: bool,
        /// The last epoch, and its clock.
        at: (u64, i64),
    },
    /// The sinks are being finished.
    Finishing,
    /// Everything is durable.
    Done,
}

/// What a coordinator is given.
pub struct Parts {
    /// Threads to talk to.
    pub lines: Lines,
    /// What the workers see.
    pub shared: Arc<Shared>,
    /// How fast and how long.
    pub pace: Pace,
    /// The clock.
    pub now: Now,
    /// Partitions and positions.
    pub book: Book,
    /// The sources.
    pub sources: Sources,
    /// Where results become visible.
    pub published: Arc<Published>,
    /// The status and counters.
    pub report: Report,
    /// The number of starts on this state.
    pub run: u64,
    /// The number of the next cut.
    pub next_cut: u64,
    /// How far the state that this one replaces had come; it goes when this one has.
    pub former: Option<Former>,
    /// Whether anyone looks at results before the end.
    pub watched: bool,
    /// What the process may hold.
    pub budget: Budget,
    /// Who is told when the last results are there.
    pub results: Option<Sender<()>>,
}

/// How a run has ended.
pub struct End {
    /// The book at its end.
    pub book: Book,
    /// What was not read to its end, each with why.
    pub refused: Vec<String>,
    /// Why the run ended before its time, in order.
    pub over: Option<Failure>,
}

/// The coordinator's state: its parts, and what it keeps itself.
pub struct Coordinator {
    pub(super) lines: Lines,
    pub(super) shared: Arc<Shared>,
    pub(super) pace: Pace,
    pub(super) now: Now,
    pub(super) book: Book,
    pub(super) sources: Sources,
    pub(super) published: Arc<Published>,
    pub(super) report: Report,
    pub(super) run: u64,
    pub(super) next_cut: u64,
    pub(super) former: Option<Former>,
    pub(super) watched: bool,
    results: Option<Sender<()>>,
    pub(super) outputs: Outputs,
    /// Ends that must be reached before results are shown, by partition; and until when.
    pub(super) awaited: Option<(BTreeMap<u32, u64>, Instant)>,
    /// Of a bounded run: partitions of which the rest is not read, each with why.
    pub(super) refused: Vec<String>,
    /// Partitions that cannot be read, each since when.
    pub(super) troubled: BTreeMap<u32, Instant>,
    /// Nothing is read because too much waits to be written.
    pub(super) paused: bool,
    /// What the process may hold, and whether it stops because that is used up.
    pub(super) budget: Budget,
    pub(super) over: bool,
    /// A new base is being written, as of the newest cut.
    pub(super) compacting: bool,
    pub(super) epochs: Epochs,
    pub(super) phase: Phase,
    /// Partitions that are being read.
    pub(super) reading: usize,
    /// Partitions waiting for a cut of this number.
    pub(super) waiting: Vec<(u64, Vec<Waiting>)>,
    /// The epoch whose completion is a cut, and when it was due.
    pub(super) cutting: Option<(u64, Instant, CutKind)>,
    /// The newest cut that is known to be durable.
    pub(super) durable: Option<u64>,
    /// Cuts that the keeper has not answered for.
    pub(super) unanswered: usize,
    pub(super) full_wanted: bool,
    /// The last cut could not be written.
    pub(super) failing: bool,
    /// When a sink wants a cut although nothing is read: a file of it is old then.
    pub(super) sinks_due: Option<Instant>,
    pub(super) last_cut: Instant,
    pub(super) unsaved_bytes: Vec<usize>,
    last_tick: Instant,
    last_publish: Instant,
    pub(super) unpublished: bool,
    /// How results may be seen from the next publication on: nobody sees those of before the
    /// first, for there are none.
    pub(super) shows: State,
    /// What is there at the start is still being found.
    pub(super) first_discovery: bool,
    pub(super) started: Instant,
    /// When the orderly stop has to be over, once it has begun.
    pub(super) stop_by: Option<Instant>,
    /// Positions by source, of cuts that the keeper has not answered for.
    pub(super) submitted: VecDeque<(u64, Vec<Positions>)>,
}

impl Coordinator {
    /// Everything is set up; nothing is read yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { lines, shared, pace, now, book, sources, published, report, .. } = parts;
        let workers = lines.workers.len();
        let start = Instant::now();
        Coordinator {
            lines,
            shared,
            pace,
            now,
            book,
            sources,
            published,
            report,
            run: parts.run,
            next_cut: parts.next_cut,
            former: parts.former,
            watched: parts.watched,
            results: parts.results,
            outputs: Outputs::default(),
            awaited: None,
            refused: Vec::new(),
            troubled: BTreeMap::new(),
            paused: false,
            budget: parts.budget,
            over: false,
            compacting: false,
            epochs: Epochs::new(workers),
            phase: Phase::Running,
            reading: 0,
            waiting: Vec::new(),
            cutting: None,
            durable: parts.next_cut.checked_sub(1),
            unanswered: 0,
            full_wanted: false,
            failing: false,
            sinks_due: None,
            last_cut: start,
            unsaved_bytes: vec![0; workers],
            last_tick: start,
            last_publish: start,
            unpublished: true,
            shows: State::Withheld,
            first_discovery: true,
            started: start,
            stop_by: None,
            submitted: VecDeque::new(),
        }
    }

    /// Runs to the end: of a bounded run, or by an orderly stop.
    pub fn run(mut self) -> Result<End, EngineError> {
        self.look_at_memory();
        self.let_read();
        while self.phase != Phase::Done {
            self.report.machine.beat();
            self.discover()?;
            if !self.first_discovery {
                self.look_at_ends();
            }
            let running = self.phase == Phase::Running;
            self.report.refresh(&self.book, &self.sources, &self.shared, running);
            self.look_at_memory();
            self.advance();
            match self.lines.events.recv_timeout(self.patience()) {
                Ok(event) => self.event(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::Died("every worker is gone".into()));
                }
            }
            while let Ok(event) = self.lines.events.try_recv() {
                self.event(event)?;
            }
            self.in_time()?;
        }
        self.report.finish();
        for worker in 0..self.lines.workers.len() {
            self.tell(worker, ToWorker::Exit);
        }
        let over = self.over();
        Ok(End { book: self.book, refused: self.refused, over })
    }

    pub(super) fn tell(&self, worker: usize, message: ToWorker) {
        let (line, thread) = &self.lines.workers[worker];
        // A worker that is gone has said so by an event.
        let _ = line.send(message);
        thread.unpark();
    }

    fn event(&mut self, event: Event) -> Result<(), EngineError> {
        match event {
            Event::Fed { epoch, full } => self.epochs.fed(epoch, full),
            Event::Closed(closed) => {
                if let Some(flight) = self.epochs.closed(closed) {
                    let arrivals: Vec<i64> = flight.read.iter().filter_map(|r| r.latest).collect();
                    let epoch = flight.epoch;
                    self.tick(epoch, &arrivals);
                }
            }
            Event::Sealed { worker, epoch, sealed, busy, sizes } => {
                self.report.busy(worker, busy);
                if let Some(sizes) = sizes {
                    self.report.sizes(worker, sizes);
                }
                if let Some(flight) = self.epochs.sealed(epoch, worker, *sealed) {
                    self.complete(flight);
                }
            }
            Event::Trouble { partition, error } => self.trouble(partition, error)?,
            Event::Kept(kept) => self.kept(kept.map_err(|e| *e)?)?,
            Event::Post { index, reply } => {
                for worker in 0..self.lines.workers.len() {
                    self.tell(worker, ToWorker::Post { index, reply: reply.clone() });
                }
            }
            Event::Stop(signal) => self.asked_to_stop(signal),
            Event::Died(what) => return Err(EngineError::Died(what)),
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, ended: bool) {
        self.shared.reading.store(false, Relaxed);
        self.phase = Phase::Draining { ended };
    }

    /// Seals the open epoch if it is time; moves the run towards its end.
    fn advance(&mut self) {
        let at_end = self.sources.complete() && self.reading == 0 && self.waiting.is_empty();
        if self.phase == Phase::Running && at_end && self.unanswered == 0 && !self.first_discovery {
            self.drain(true);
        }
        match self.phase {
            Phase::Running if self.may_seal() && self.seal_due() => self.seal(),
            Phase::Draining { ended } if self.may_seal() => {
                // One more epoch takes what is on the way; the next one is empty, and the last.
                let more = self.epochs.first.is_some() || !self.epochs.idle();
                if more {
                    if self.epochs.first.is_some() {
                        self.seal();
                    }
                } else if self.cutting.is_none() && self.unanswered == 0 {
                    self.last(ended);
                }
            }
            _ => {}
        }
    }

    fn last(&mut self, ended: bool) {
        self.sources.stop(&mut self.book);
        self.seal();
        if self.pace.marks_end {
            self.book.mark(ENDED, ended.into());
        }
        self.phase = Phase::Last { ended };
    }

    fn may_seal(&self) -> bool {
        let (tight, queued) = (&self.shared.small_epochs, &self.shared.queued_bytes);
        let little = !tight.load(Relaxed) && queued.load(Relaxed) < self.pace.under_way_bytes;
        self.epochs.may_seal(little)
    }

    fn seal(&mut self) {
        self.epochs.seal();
        self.last_tick = Instant::now();
        self.shared.open.store(self.epochs.open, Release);
        for (_, thread) in &self.lines.workers {
            thread.unpark();
        }
    }

    /// Whether the open epoch is to be sealed: full, old enough, or a tick without data is due.
    fn seal_due(&self) -> bool {
        match self.epochs.first {
            _ if self.epochs.full => true,
            Some(first) => self.age_due(first) <= Instant::now(),
            None => self.idle_due() <= Instant::now(),
        }
    }

    /// When the open epoch is old enough, whose first record came then. What comes after a pause
    /// waits for a part of the time only.
    fn age_due(&self, first: Instant) -> Instant {
        let Pace { epoch, .. } = self.pace;
        (first + epoch / 5).max(self.last_tick + 2 * epoch).min(first + epoch)
    }

    /// When an epoch without data is due, for the clock, for what is unpublished or uncut.
    pub(super) fn idle_due(&self) -> Instant {
        let mut due = self.last_tick + if self.pace.wall { self.pace.idle } else { FAR };
        if self.unpublished && self.watched && !self.withheld() {
            due = due.min(self.last_publish + self.pace.publish);
        }
        let free = self.cutting.is_none() && self.unanswered == 0;
        if free && self.pace.cuts_between {
            let wanted = if self.book.dirty { Some(self.last_cut) } else { self.sinks_due };
            due = wanted.map_or(due, |wanted| due.min(self.cut_due().max(wanted)));
        }
        due
    }

    /// How long to wait for an event.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let held = self.budget.held();
        let mut until = now + if held { LOOK_AGAIN } else { Duration::from_millis(500) };
        if self.phase == Phase::Running {
            until = until.min(self.sources.due().unwrap_or(until));
            if self.may_seal() {
                until = until.min(match self.epochs.first {
                    Some(first) => self.age_due(first),
                    None => self.idle_due(),
                });
            }
        }
        until.saturating_duration_since(now)
    }

    /// All workers have closed an epoch: its tick.
    fn tick(&mut self, epoch: u64, arrivals: &[i64]) {
        let now = self.now.advance(wall(), arrivals.iter().copied());
        let last = match self.phase {
            Phase::Last { ended } if epoch + 1 == self.epochs.open => Some(ended),
            _ => None,
        };
        self.look_at_ends();
        let publish = last.is_some() || (self.watched && !self.withheld() && self.publish_due());
        let cut = self.cut_kind(last.is_some());
        if cut != CutKind::No {
            self.cutting = Some((epoch, Instant::now(), cut));
        }
        if publish {
            self.last_publish = Instant::now();
        }
        self.unpublished = !publish;
        let ended = last == Some(true);
        let (encode_beyond, last) = (self.encode_beyond(), last.is_some() && self.lets_go());
        let tick = Tick { now, publish, cut, encode_beyond, ended, last };
        if let Some(flight) = self.epochs.flight(epoch) {
            flight.tick = Some(tick);
        }
        for worker in 0..self.lines.workers.len() {
            self.tell(worker, ToWorker::Tick { epoch, tick });
        }
    }

    fn publish_due(&self) -> bool {
        self.last_publish.elapsed() >= self.pace.publish || self.epochs.first.is_none()
    }

    /// An epoch is complete on all workers: what it gives becomes visible and is kept.
    fn complete(&mut self, mut flight: Flight) {
        let tick = flight.tick.unwrap_or_default();
        flight.read.iter().for_each(|r| self.read(r));
        let mut changes = Vec::new();
        let (mut rejects, mut rows) = (Vec::new(), Vec::new());
        let mut records = 0;
        for (worker, sealed) in &mut flight.sealed {
            let sealed: &mut Sealed = sealed;
            records += sealed.tallies.iter().map(|t| t.1.read).sum::<u64>();
            self.unsaved_bytes[*worker] = sealed.unsaved_bytes;
            self.book.sealed(*worker, sealed);
            changes.push(std::mem::take(&mut sealed.changes));
            rejects.append(&mut sealed.rejects);
            rows.append(&mut sealed.rows);
        }
        let flow = {
            let mut flow = self.shared.flow.lock();
            flow.in_flight -= records.min(flow.in_flight);
            *flow
        };
        self.report.rejects(&rejects, &self.book);
        self.output(rejects, rows);
        if let Some((epoch, due, kind)) = self.cutting
            && epoch == flight.epoch
        {
            self.cutting = None;
            let cut = self.book.cut();
            self.submit(cut, due, (flight.epoch, tick.now), kind);
            if let Phase::Last { ended } = self.phase {
                self.phase = Phase::Closing { ended, at: (flight.epoch, tick.now) };
            }
        }
        self.report.complete(flight.opened, flight.earliest);
        if tick.publish {
            let Tick { now, ended, .. } = tick;
            let frontier = Frontier { run: self.run, epoch: flight.epoch, now, ended };
            let progress = Arc::new(self.book.progress(flow));
            let last = matches!(self.phase, Phase::Closing { .. });
            self.published.apply_lists(frontier, progress, changes, last);
            self.published.set_state(self.shows);
            self.report.visible();
        }
        if let (Phase::Closing { .. }, Some(results)) = (self.phase, &self.results)
            && !self.over
        {
            // They are written while the cut is. A thread that is gone has said why at its end.
            let _ = results.try_send(());
        }
    }

    fn read(&mut self, read: &PartRead) {
        self.book.read(read);
        self.report.read(read, self.book.place(read.partition));
        self.troubled.remove(&read.partition);
        if read.ended {
            self.reading -= 1;
        }
        // What has nothing more to give has been read, whatever its end looked like: the last
        // line of a file may have no end yet.
        if let (true, Some((ends, _))) = (read.idle || read.ended, &mut self.awaited) {
            ends.remove(&read.partition);
        }
    }
}

/// While reading is held back the process is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Practically never.
const FAR: Duration = Duration::from_hours(1);
