//! The coordinator's part in cuts: when an epoch is one, and what becomes of it.

use std::time::{Duration, Instant};

use dataflows::tick::CutKind;

use super::coordinator::{Coordinator, Phase};
use super::keeper::Task;
use super::messages::Kept;
use super::rebuild;
use crate::store::Cut;

impl Coordinator {
    /// Whether an epoch is a cut: when one is due and no other is under way.
    pub(super) fn cut_kind(&self, last: bool) -> CutKind {
        let free = self.cutting.is_none() && self.unanswered == 0;
        let due = self.last_cut.elapsed() >= self.pace.cut_interval
            || self.unsaved_bytes.iter().sum::<usize>() >= self.pace.cut_bytes;
        match last || (free && due && self.pace.cuts_between && self.book.dirty) {
            false => CutKind::No,
            true if self.full_wanted => CutKind::Full,
            true => CutKind::Changed,
        }
    }

    pub(super) fn submit(&mut self, cut: Cut, due: Instant, whole: bool) {
        self.submit_at(cut, due, (self.epochs.open, self.now.get()), whole);
    }

    pub(super) fn submit_at(&mut self, mut cut: Cut, due: Instant, at: (u64, i64), whole: bool) {
        cut.head.cut = self.next_cut;
        cut.head.run = self.run;
        (cut.head.epoch, cut.head.now) = at;
        self.next_cut += 1;
        self.unanswered += 1;
        if whole {
            self.last_cut = Instant::now();
        }
        let full = whole && self.full_wanted;
        self.keep(Task::Cut { cut: Box::new(cut), due, whole, full });
    }

    pub(super) fn keep(&self, task: Task) {
        // A keeper that is gone has said why by an event.
        let _ = self.lines.keeper.send(task);
    }

    pub(super) fn kept(&mut self, kept: Kept) {
        self.unanswered -= 1;
        self.report.kept(&kept);
        self.full_wanted = kept.full_wanted;
        if let Some(cut) = kept.cut {
            self.open_known(cut);
            if self.former.as_ref().is_some_and(|former| rebuild::passed(former, &self.book)) {
                self.former = None;
                self.keep(Task::Passed);
            }
        }
        if self.phase == Phase::Closing && self.unanswered == 0 {
            self.phase = if kept.trouble.is_none() { Phase::Done } else { self.retry_last() };
        }
    }

    /// The last cut could not be written: it is tried again, because nothing else is left to do.
    fn retry_last(&mut self) -> Phase {
        std::thread::sleep(Duration::from_secs(1));
        self.submit(Cut::default(), Instant::now(), true);
        Phase::Closing
    }
}
