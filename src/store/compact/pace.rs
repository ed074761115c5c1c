//! How the thread that writes a base steps back behind those that work on records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After so much work (CPU time) a rest is due, so many times as long, and at most so long.
const WORK: Duration = Duration::from_millis(1);
const RESTS: u32 = 3;
const REST_MAX: Duration = Duration::from_millis(10);

/// How far the thread steps back (`nice`).
#[cfg(target_os = "linux")]
const STEP_BACK: i32 = 10;

/// Makes this thread take less of the processors where others want them, if the system lets it.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), STEP_BACK);
    }
}

/// Rests between pieces of work. Stepping back is not enough: a system that finds one processor
/// with this thread alone and another with two that work on records leaves them there for tens of
/// milliseconds (at half of the maximum rate the worst hundredth of latencies was 60 to 90 ms
/// without rests, 50 with them).
pub(super) struct Pace<'a> {
    /// Set when there is no time for rests.
    hurry: &'a AtomicBool,
    /// CPU time of the thread at the last rest.
    since: Duration,
}

impl<'a> Pace<'a> {
    /// For this thread.
    pub(super) fn new(hurry: &'a AtomicBool) -> Self {
        Pace { hurry, since: worked() }
    }

    /// Rests, if it has worked for long enough.
    pub(super) fn rest(&mut self) {
        if self.hurry.load(Ordering::Relaxed) {
            return;
        }
        let work = worked().saturating_sub(self.since);
        if work >= WORK {
            std::thread::sleep((work * RESTS).min(REST_MAX));
            self.since = worked();
        }
    }
}

/// CPU time of this thread.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
