//! The coordinator's part in cuts: when an epoch is one, and what becomes of it.

use std::time::{Duration, Instant};

use dataflows::tick::CutKind;
use tracing::{info, warn};

use super::EngineError;
use super::coordinator::{Coordinator, Phase};
use super::keeper::Task;
use super::messages::Kept;
use crate::cli::{Failure, exit};
use crate::store::Cut;

/// So many changed slots are encoded in a millisecond or two.
const FEW: u32 = 4096;

impl Coordinator {
    /// Whether an epoch is a cut: when one is due and no other is under way.
    pub(super) fn cut_kind(&self, last: bool) -> CutKind {
        let free = self.cutting.is_none() && self.unanswered == 0;
        let due = self.last_cut.elapsed() >= self.pace.cut_interval
            || self.cuts_at_once()
            || self.unsaved_bytes.iter().sum::<usize>() >= self.pace.cut_bytes;
        let wanted = self.book.dirty || self.sinks_due.is_some_and(|at| at <= Instant::now());
        match last || (free && due && self.pace.cuts_between && wanted) {
            false => CutKind::No,
            true if self.full_wanted => CutKind::Full,
            true => CutKind::Changed,
        }
    }

    /// Whether a cut is not waited for, as what it holds is to leave memory; after one that could
    /// not be written it is, but not for long.
    pub(super) fn cuts_at_once(&self) -> bool {
        self.budget.held() && (!self.failing || self.last_cut.elapsed() >= RETRY)
    }

    /// When the next cut is due.
    pub(super) fn cut_due(&self) -> Instant {
        match self.budget.held() {
            false => self.last_cut + self.pace.cut_interval,
            true if self.failing => self.last_cut + RETRY.min(self.pace.cut_interval),
            true => Instant::now(),
        }
    }

    /// Beyond how many changed slots of a worker some are encoded ahead: once half of the way to
    /// the next cut is behind us. What is encoded is held: while a cut waits for the disk no more
    /// of it than two cuts have.
    pub(super) fn encode_beyond(&self) -> Option<u32> {
        let (pace, unsaved) = (&self.pace, self.unsaved_bytes.iter().sum::<usize>());
        let half = 2 * self.last_cut.elapsed() >= pace.cut_interval
            || unsaved.saturating_mul(2) >= pace.cut_bytes;
        let held = self.cutting.is_none() && unsaved < pace.cut_bytes.saturating_mul(2);
        (half && held && pace.cuts_between && self.book.dirty).then_some(FEW)
    }

    /// Hands a cut to the keeper: of an epoch (up to which it then goes, with its outputs), or one
    /// that only makes partitions and memos known.
    pub(super) fn submit(&mut self, mut cut: Cut, due: Instant, at: (u64, i64), kind: CutKind) {
        let whole = kind != CutKind::No;
        cut.head.cut = self.next_cut;
        cut.head.run = self.run;
        (cut.head.epoch, cut.head.now) = at;
        self.next_cut += 1;
        self.unanswered += 1;
        if whole {
            self.hand_over();
            cut.head.held = self.book.sides();
            self.last_cut = Instant::now();
            if self.unanswered == 1 {
                // Those before could not be written: this one goes with them, and beyond.
                self.submitted.clear();
            }
            let positions = self.sources.names().iter().map(|name| self.book.of(name)).collect();
            self.submitted.push_back((cut.head.cut, positions));
        }
        let full = kind == CutKind::Full;
        self.keep(Task::Cut { cut: Box::new(cut), due, whole, full });
    }

    /// Stops reading while too much waits to be written, and goes on when it is written.
    fn pause(&mut self, pause: bool) {
        if pause == self.paused {
            return;
        }
        self.paused = pause;
        if pause {
            warn!("nothing more is read until what waits for room on the disk is written");
        } else {
            info!("reading goes on");
        }
        self.let_read();
    }

    pub(super) fn keep(&self, task: Task) {
        // A keeper that is gone has said why by an event.
        let _ = self.lines.keeper.send(task);
    }

    pub(super) fn kept(&mut self, kept: Kept) -> Result<(), EngineError> {
        self.unanswered -= 1;
        self.report.kept(&kept);
        self.full_wanted = kept.full_wanted;
        self.failing = kept.trouble.is_some();
        self.compacting = kept.compacting;
        self.sinks_due = kept.sinks_due;
        // What could not be written goes with the next cut, which is due even if nothing is read.
        self.book.dirty |= kept.trouble.is_some();
        self.pause(kept.unwritten_bytes > WAITING_MAX);
        if let Some(cut) = kept.cut {
            self.durable = Some(cut);
            while let Some((_, positions)) = self.submitted.pop_front_if(|s| s.0 <= cut) {
                self.sources.durable(&positions);
            }
            self.open_known();
            let well = self.sources.troubles().all(|(_, trouble)| trouble.is_none());
            let found = well && !self.first_discovery && !self.sources.pending();
            if self.former.as_ref().is_some_and(|former| former.is_passed(&self.book, found)) {
                self.former = None;
                self.keep(Task::Passed);
            }
        }
        match self.phase {
            Phase::Closing { .. } if self.unanswered == 0 && kept.trouble.is_none() => {
                self.keep(Task::Finish);
                self.unanswered += 1;
                self.phase = Phase::Finishing;
            }
            Phase::Closing { ended, at } if self.unanswered == 0 => self.close_again(ended, at)?,
            Phase::Finishing => self.phase = Phase::Done,
            _ => {}
        }
        Ok(())
    }

    /// The last cut could not be written: the keeper has it still, and writes it with one more of
    /// the same epoch. Where the files need all slots anew another last epoch hands them out.
    fn close_again(&mut self, ended: bool, at: (u64, i64)) -> Result<(), EngineError> {
        std::thread::sleep(RETRY);
        if !self.full_wanted {
            let cut = self.book.cut();
            self.submit(cut, Instant::now(), at, CutKind::Changed);
        } else if self.lets_go() {
            let what = "the last checkpoint could not be written, and the files before it can no \
                        longer be added to";
            let hint = "see to the disk and start again: it goes on from the checkpoint before";
            return Err(Failure::new(exit::IO, what, hint).into());
        } else {
            self.phase = Phase::Draining { ended };
        }
        Ok(())
    }

    /// Whether the last epoch leaves nothing in the operators: nobody asks for posts then, and the
    /// end of the budget has been told with what they hold.
    pub(super) fn lets_go(&self) -> bool {
        !self.watched && !self.over
    }
}

/// So much may wait for room on a disk; beyond it nothing more is read until it is written. Bytes.
const WAITING_MAX: u64 = 64 << 20;

/// How long to wait before a cut is tried again that has to be: the last one, or one that memory
/// waits for.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use crossbeam_channel::{Receiver, bounded};

    use super::super::Pace;
    use super::super::book::Book;
    use super::super::clock::Now;
    use super::super::coordinator::{Lines, Parts};
    use super::super::memory::Budget;
    use super::super::messages::Shared;
    use super::super::report::Report;
    use super::super::sources::Sources;
    use super::*;
    use crate::config::{Clock, Env, load};
    use crate::publish::Published;
    use crate::store::Head;
    use crate::telemetry::{Machine, SharedStatus};

    fn coordinator(status: &SharedStatus) -> Coordinator {
        with_keeper(status).0
    }

    /// A coordinator, and what its keeper is told.
    fn with_keeper(status: &SharedStatus) -> (Coordinator, Receiver<Task>) {
        let config = load(&[], &[], &Env::new()).expect("the default").config;
        let (worker, events, keeper) = (bounded(9), bounded(9), bounded(9));
        let book = Book::new(&Head::default(), 1);
        let coordinator = Coordinator::new(Parts {
            lines: Lines {
                events: events.1,
                workers: vec![(worker.0, std::thread::current())],
                keeper: keeper.0,
            },
            shared: Arc::new(Shared::new(1)),
            pace: Pace::new(&config, false),
            now: Now::new(Clock::Arrival, 0),
            sources: Sources::new(Vec::new(), &Head::default(), &book, false).expect("none"),
            book,
            published: Arc::new(Published::new(Vec::new())),
            report: Report::new(Arc::new(Machine::new()), Arc::clone(status), None),
            run: 1,
            next_cut: 1,
            former: None,
            watched: false,
            budget: Budget::new(None),
            results: None,
        });
        (coordinator, keeper.1)
    }

    /// A second last epoch would have handed out what the first had let go: nothing, as the whole
    /// state.
    #[test]
    fn a_last_cut_that_cannot_be_written_is_tried_again_without_another_epoch() {
        let status = SharedStatus::default();
        let (mut coordinator, keeper) = with_keeper(&status);
        let at = (7, 1_500_000);
        let closing = |phase| matches!(phase, Phase::Closing { at: (7, 1_500_000), .. });
        coordinator.phase = Phase::Closing { ended: true, at };
        coordinator.unanswered = 1;
        let trouble = || Some("no space left".to_owned());
        let full = || Kept { trouble: trouble(), ..Kept::default() };
        coordinator.kept(full()).expect("it is tried again");
        let Ok(Task::Cut { cut, whole: true, full: false, .. }) = keeper.try_recv() else {
            panic!("not the same cut again");
        };
        assert_eq!((cut.head.epoch, cut.head.now), at);
        assert!(closing(coordinator.phase) && coordinator.unanswered == 1);
        // Where the files need everything anew, there is nothing to hand out any more.
        let lost = || Kept { trouble: trouble(), full_wanted: true, ..Kept::default() };
        assert!(coordinator.kept(lost()).is_err());
        coordinator.watched = true;
        coordinator.unanswered = 1;
        coordinator.kept(lost()).expect("the state is still held");
        assert!(matches!(coordinator.phase, Phase::Draining { ended: true }));
    }

    /// A stop whose last checkpoint found no room on the disk went on for ever.
    #[test]
    fn a_stop_that_is_not_over_in_its_time_is_given_up() {
        let mut coordinator = coordinator(&SharedStatus::default());
        let code = |c: &Coordinator| match c.in_time() {
            Ok(()) => None,
            Err(error) => Some(Failure::from(error).exit_code),
        };
        coordinator.pace.shutdown = Duration::ZERO;
        assert_eq!(code(&coordinator), None);
        coordinator.stop_early();
        assert_eq!(code(&coordinator), Some(exit::IO));
        // Asked for while the sources' own end cannot be written, it had no effect.
        coordinator.stop_by = None;
        coordinator.phase = Phase::Closing { ended: true, at: (7, 1_500_000) };
        assert_eq!(code(&coordinator), None);
        coordinator.asked_to_stop("SIGTERM");
        assert_eq!(code(&coordinator), Some(exit::IO));
        coordinator.phase = Phase::Done;
        assert_eq!(code(&coordinator), None);
        coordinator.phase = Phase::Running;
        coordinator.pace.shutdown = Duration::from_mins(9);
        coordinator.asked_to_stop("SIGTERM");
        assert_eq!(code(&coordinator), None);
    }

    /// Each that failed was remembered, and where memory was held the next one followed at once.
    #[test]
    fn cuts_that_cannot_be_written_neither_pile_up_nor_follow_each_other_at_once() {
        let status = SharedStatus::default();
        let (mut coordinator, keeper) = with_keeper(&status);
        coordinator.budget = Budget::new(Some(1));
        coordinator.look_at_memory();
        assert!(coordinator.budget.held() && coordinator.cuts_at_once());
        let mut answered = |trouble: Option<String>| {
            coordinator.submit(Cut::default(), Instant::now(), (1, 1), CutKind::Changed);
            keeper.try_iter().for_each(drop);
            let cut = trouble.is_none().then_some(coordinator.next_cut - 1);
            coordinator.kept(Kept { cut, trouble, ..Kept::default() }).expect("it runs");
            (coordinator.submitted.len(), coordinator.cuts_at_once())
        };
        for _ in 0..9 {
            assert_eq!(answered(Some("no space left".into())), (1, false));
        }
        assert_eq!(answered(None), (0, true));
        // However far apart they are else, it is tried again soon.
        assert_eq!(answered(Some("no space left".into())), (1, false));
        coordinator.pace.cut_interval = Duration::from_hours(1);
        let due = coordinator.cut_due().duration_since(coordinator.last_cut);
        assert_eq!(due, RETRY);
        coordinator.last_cut = Instant::now().checked_sub(RETRY).expect("it is up");
        assert!(coordinator.cuts_at_once());
    }

    /// Where only the last epoch is a cut, epochs without data came one after the other.
    #[test]
    fn no_epoch_is_due_for_a_cut_that_does_not_come() {
        let mut coordinator = coordinator(&SharedStatus::default());
        coordinator.book.dirty = true;
        coordinator.last_cut =
            Instant::now().checked_sub(Duration::from_secs(9)).expect("it is up");
        for between in [true, false] {
            coordinator.pace.cuts_between = between;
            assert_eq!(coordinator.idle_due() <= Instant::now(), between);
        }
    }

    /// The last rows of a stream that had become quiet were in an unfinished file for ever.
    #[test]
    fn a_cut_is_due_when_a_sink_wants_one_though_nothing_is_read() {
        let mut coordinator = coordinator(&SharedStatus::default());
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(9)).expect("it is up");
        for (wants, last_cut, want) in [
            (None, before, CutKind::No),
            (Some(now + Duration::from_hours(1)), before, CutKind::No),
            (Some(now), now, CutKind::No),
            (Some(now), before, CutKind::Changed),
        ] {
            coordinator.unanswered = 1;
            let kept = Kept { cut: Some(1), sinks_due: wants, ..Kept::default() };
            coordinator.kept(kept).expect("it runs");
            coordinator.last_cut = last_cut;
            assert_eq!(coordinator.cut_kind(false), want, "{wants:?}");
            let due = want == CutKind::Changed;
            assert_eq!(coordinator.idle_due() <= Instant::now(), due, "{wants:?}");
        }
        coordinator.submit(Cut::default(), now, (1, 1), CutKind::Changed);
        assert_eq!(coordinator.cut_kind(false), CutKind::No, "one at a time");
    }

    #[test]
    fn sides_are_encoded_ahead_from_half_of_the_way_to_a_cut_and_no_more_than_two_cuts_have() {
        let mut coordinator = coordinator(&SharedStatus::default());
        let (interval, bytes) = (coordinator.pace.cut_interval, coordinator.pace.cut_bytes);
        let mut ahead = |elapsed, unsaved, change: fn(&mut Coordinator)| {
            let began = Instant::now().checked_sub(elapsed).expect("it is up");
            (coordinator.last_cut, coordinator.unsaved_bytes[0]) = (began, unsaved);
            (coordinator.book.dirty, coordinator.pace.cuts_between) = (true, true);
            coordinator.cutting = None;
            change(&mut coordinator);
            coordinator.encode_beyond().is_some()
        };
        let nothing = |_: &mut Coordinator| {};
        assert!(!ahead(interval / 4, bytes / 4, nothing));
        assert!(ahead(interval / 2, bytes / 4, nothing));
        assert!(ahead(interval / 4, bytes / 2, nothing));
        assert!(ahead(interval * 9, 2 * bytes - 1, nothing));
        assert!(!ahead(interval * 9, 2 * bytes, nothing));
        assert!(!ahead(interval, bytes, |c| c.book.dirty = false));
        assert!(!ahead(interval, bytes, |c| c.pace.cuts_between = false));
        let cutting = |c: &mut Coordinator| c.cutting = Some((1, Instant::now(), CutKind::Changed));
        assert!(!ahead(interval, bytes, cutting));
    }

    /// A sync of two seconds held up the results of two seconds.
    #[test]
    fn a_slow_disk_does_not_hold_up_results() {
        use dataflows::record::Reason;
        let status = SharedStatus::default();
        let (mut coordinator, keeper) = with_keeper(&status);
        let reject = |position, bytes| dataflows::sealed::Reject {
            partition: 0,
            position,
            sub: 0,
            arrived_at: 0,
            reason: Reason::Empty,
            payload: vec![b' '; bytes],
            rule: None,
        };
        for position in 0..20 {
            coordinator.output(vec![reject(position, 9)], Vec::new());
        }
        let sizes = |task| match task {
            Task::Epoch { rejects, .. } => rejects.len(),
            _ => panic!("no epoch"),
        };
        assert_eq!(keeper.len(), 9, "there is no more room");
        keeper.try_iter().take(9).map(sizes).for_each(|n| assert_eq!(n, 1));
        coordinator.submit(Cut::default(), Instant::now(), (1, 1), CutKind::Changed);
        assert_eq!(keeper.try_recv().map(sizes), Ok(11), "before the cut that counts on them");
        assert!(matches!(keeper.try_recv(), Ok(Task::Cut { .. })));
        // What is not held in memory for long is waited for.
        (0..9).for_each(|n| coordinator.output(vec![reject(n, 9)], Vec::new()));
        let slow = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            keeper.iter().map(sizes).sum::<usize>()
        });
        coordinator.output(vec![reject(20, 9 << 20)], Vec::new());
        drop(coordinator);
        assert_eq!(slow.join().expect("it counts"), 10);
    }

    /// A bounded run waited for ever for a file that had gone.
    #[test]
    fn a_bounded_run_waits_for_an_end_and_a_daemon_goes_on() {
        use crate::source::SourceError;
        let what = || "opening p".to_owned();
        for bounded in [false, true] {
            let mut coordinator = coordinator(&SharedStatus::default());
            coordinator.pace.bounded = bounded;
            let partition = crate::store::Partition { source: "s".into(), name: "p".into() };
            assert_eq!(coordinator.book.enter(partition, 0), 0);
            coordinator.trouble(0, SourceError::Refused { what: what() }).expect("status");
            assert_eq!(coordinator.refused.len(), usize::from(bounded));
            coordinator.trouble(0, SourceError::Unavailable { what: what() }).expect("status");
            let long_ago = Instant::now().checked_sub(Duration::from_secs(31));
            coordinator.troubled.insert(0, long_ago.expect("the machine is up so long"));
            let ended = coordinator.trouble(0, SourceError::Unavailable { what: what() });
            assert_eq!(ended.is_err(), bounded);
            let changed = coordinator.trouble(0, SourceError::Changed { what: what() });
            assert!(changed.is_err());
        }
    }

    /// What could not be written grew in memory as long as the disk was full.
    #[test]
    fn nothing_is_read_while_too_much_waits_for_room() {
        let status = SharedStatus::default();
        let mut coordinator = coordinator(&status);
        coordinator.shared.reading.store(true, Relaxed);
        let mut after = |kept: Kept| {
            coordinator.unanswered = 1;
            coordinator.kept(kept).expect("no last cut");
            let (reading, status) = (coordinator.shared.reading.load(Relaxed), status.read());
            assert_eq!(status.reading_held.is_none(), reading, "{:?}", status.reading_held);
            reading
        };
        let full = |unwritten_bytes| {
            let trouble = Some("no space left".to_owned());
            Kept { trouble, unwritten_bytes, ..Kept::default() }
        };
        assert!(after(full(WAITING_MAX)), "so much may wait");
        assert!(!after(full(WAITING_MAX + 1)));
        assert!(!after(full(WAITING_MAX + 1)), "it stays so");
        assert!(after(Kept { cut: Some(4), ..Kept::default() }), "it is written");
        assert!(!after(full(WAITING_MAX + 1)));
        // What the results wait for is told beside it, and was told instead.
        coordinator.report.awaited(&<_>::default(), Instant::now(), &coordinator.book);
        assert!(status.read().reading_held.is_some_and(|why| why.contains("disk")));
    }
}
