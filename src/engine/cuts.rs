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
            self.last_cut = Instant::now();
            let positions = self.sources.names().iter().map(|name| self.book.of(name)).collect();
            self.submitted.push_back((cut.head.cut, positions));
        }
        let full = kind == CutKind::Full;
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
        // What could not be written goes with the next cut, which is due even if nothing is read.
        self.book.dirty |= kept.trouble.is_some();
        if let Some(cut) = kept.cut {
            self.durable = Some(cut);
            while let Some((_, positions)) = self.submitted.pop_front_if(|s| s.0 <= cut) {
                self.sources.durable(&positions);
            }
            self.open_known();
            if self.former.as_ref().is_some_and(|former| rebuild::passed(former, &self.book)) {
                self.former = None;
                self.keep(Task::Passed);
            }
        }
        match self.phase {
            Phase::Closing if self.unanswered == 0 && kept.trouble.is_none() => {
                self.keep(Task::Finish);
                self.unanswered += 1;
                self.phase = Phase::Finishing;
            }
            Phase::Closing if self.unanswered == 0 => {
                // The last cut could not be written: another last epoch is tried.
                std::thread::sleep(RETRY);
                self.phase = Phase::Draining { ended: self.pace.ending == Some(true) };
            }
            Phase::Finishing => self.phase = Phase::Done,
            _ => {}
        }
    }
}

/// How long to wait before the last cut is tried again.
const RETRY: Duration = Duration::from_secs(1);
