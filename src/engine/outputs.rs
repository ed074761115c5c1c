//! What complete epochs give besides results, on its way to the keeper.
//!
//! Promises: results are not held up while the keeper waits for a slow disk: what it has no room
//! for waits here, up to [`MOST`], and goes with the next epoch, or before the next cut.

use dataflows::sealed::{CleanRows, Reject};

use super::coordinator::Coordinator;
use super::keeper::Task;

/// So much waits before results do; bytes.
const MOST: usize = 8 << 20;

/// Rejections and cleaned rows that the keeper has not been given.
#[derive(Default)]
pub struct Outputs {
    rejects: Vec<Reject>,
    rows: Vec<CleanRows>,
    bytes: usize,
}

impl Coordinator {
    /// Takes up those of an epoch, and hands over what there is room for.
    pub(super) fn output(&mut self, rejects: Vec<Reject>, rows: Vec<CleanRows>) {
        let payload = |reject: &Reject| size_of::<Reject>() + reject.payload.len();
        self.outputs.bytes += rejects.iter().map(payload).sum::<usize>();
        self.outputs.bytes += rows.iter().map(|rows| rows.bytes.len()).sum::<usize>();
        self.outputs.rejects.extend(rejects);
        self.outputs.rows.extend(rows);
        if !self.lines.keeper.is_full() || self.outputs.bytes > MOST {
            self.hand_over();
        }
    }

    /// Hands over all that waits, and waits for room if need be.
    pub(super) fn hand_over(&mut self) {
        let Outputs { rejects, rows, .. } = std::mem::take(&mut self.outputs);
        if !(rejects.is_empty() && rows.is_empty()) {
            self.keep(Task::Epoch { rejects, rows });
        }
    }
}
