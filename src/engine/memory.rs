//! The memory budget: what the process holds, and what is done when that is too much.
//!
//! ```text
//! free -- 85 % --> held -- below 80 % --> free
//!                   |  nothing is read; what is queued is worked off, a checkpoint is written
//!                   |  what is left then is the state
//!                   |-- at most 97 % --> tight (small epochs) -- 100 % --> held
//!                   '-- more ----------> over: the orderly stop, with its own exit code
//! ```
//!
//! Promises: the figure is the kernel's (resident memory), not a sum of guesses; reading stops
//! before anything else does; the stop leaves everything stored.
//! Limits: for a moment memory may go beyond the budget by what the epochs under way and a growing
//! table take; [`guard`] ends the process before the kernel would.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::coordinator::{Coordinator, Phase};
use super::error::EngineError;
use crate::cli::{Failure, exit, last_words};
use crate::telemetry::process::resident;
use crate::telemetry::status::{Level, Operator};

/// Shares of the budget, in hundredths: reading stops, goes on, and is not worth going on with.
const FIRST: u64 = 85;
const RESUME: u64 = 80;
const LAST: u64 = 97;
/// How often at most the process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// So long after everything is worked off the allocator may take to give memory back: it waits
/// two seconds itself, or ten where it was built without `.cargo/config.toml`.
const SETTLE: Duration =
    Duration::from_secs(if option_env!("JEMALLOC_SYS_WITH_MALLOC_CONF").is_some() {
        3
    } else {
        12
    });

/// What comes of a look at the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Changed,
    Over,
}

/// The budget, and how it is kept.
pub struct Budget {
    /// Bytes; none = no bound.
    bytes: Option<u64>,
    /// What the process held at the last look, bytes.
    used: u64,
    level: Level,
    looked: Option<Instant>,
    /// Since when everything has been worked off.
    settled: Option<Instant>,
}

impl Budget {
    /// A budget of so many bytes; none = no bound.
    pub fn new(bytes: Option<u64>) -> Self {
        Budget { bytes, used: 0, level: Level::Free, looked: None, settled: None }
    }

    /// Whether nothing is to be read.
    pub fn held(&self) -> bool {
        self.level == Level::Held
    }

    fn share(&self, hundredths: u64) -> u64 {
        self.bytes.map_or(u64::MAX, |bytes| bytes / 100 * hundredths)
    }

    /// What a process that holds `used` bytes is to do; `settled`: nothing is left that would
    /// shrink by waiting.
    fn step(&mut self, used: u64, settled: bool, now: Instant) -> Verdict {
        self.used = used;
        let before = self.level;
        match self.level {
            Level::Free if used >= self.share(FIRST) => self.level = Level::Held,
            Level::Tight if used >= self.share(100) => self.level = Level::Held,
            Level::Held | Level::Tight if used < self.share(RESUME) => self.level = Level::Free,
            Level::Held if settled => {
                let since = *self.settled.get_or_insert(now);
                if now.duration_since(since) >= SETTLE {
                    if used > self.share(LAST) {
                        return Verdict::Over;
                    }
                    self.level = Level::Tight;
                }
            }
            _ => {}
        }
        if !settled || self.level != Level::Held {
            self.settled = None;
        }
        if self.level == before { Verdict::Same } else { Verdict::Changed }
    }
}

impl Coordinator {
    /// Looks at what the process holds, and holds reading back or stops where it is too much.
    pub(super) fn look_at_memory(&mut self) {
        let now = Instant::now();
        let due = self.budget.looked.is_none_or(|at| now.duration_since(at) >= LOOK);
        if self.budget.bytes.is_none() || self.phase != Phase::Running || !due {
            return;
        }
        self.budget.looked = Some(now);
        let Some(used) = resident() else { return };
        let settled = self.settled();
        let verdict = self.budget.step(used, settled, now);
        self.report.memory(used, self.budget.level, verdict != Verdict::Same);
        if self.budget.held() && self.compacting {
            // Only a cut learns that the new base is there.
            self.book.dirty = true;
        }
        match verdict {
            Verdict::Same => {}
            Verdict::Changed => {
                let tight = self.budget.level == Level::Tight;
                self.shared.small_epochs.store(tight, Relaxed);
                let (used_bytes, budget_bytes) = (used, self.budget.bytes);
                match self.budget.level {
                    Level::Held => warn!(used_bytes, budget_bytes, "{HELD}"),
                    Level::Tight => warn!(used_bytes, budget_bytes, "{TIGHT}"),
                    Level::Free => info!(used_bytes, budget_bytes, "memory is free again"),
                }
                self.let_read();
            }
            Verdict::Over => {
                warn!("the memory budget is used up: what was read is completed and stored");
                self.over = true;
                self.stop_early();
            }
        }
    }

    /// Workers read, unless something holds them back.
    pub(super) fn let_read(&mut self) {
        let held = self.paused || self.budget.held();
        self.report.holding(self.paused, self.budget.held());
        if self.phase == Phase::Running {
            self.shared.reading.store(!held, Relaxed);
            self.lines.workers.iter().for_each(|(_, thread)| thread.unpark());
        }
    }

    /// Somebody asked for the end: it begins, or the one that is under way has its time.
    pub(super) fn asked_to_stop(&mut self, signal: &str) {
        if self.phase == Phase::Running {
            info!(signal, "stopping: what was read is completed and stored");
            self.stop_early();
        } else {
            self.stop_by.get_or_insert(Instant::now() + self.pace.shutdown);
        }
    }

    /// The orderly end before the sources': what was read is completed and stored.
    pub(super) fn stop_early(&mut self) {
        self.report.stopping();
        self.stop_by = Some(Instant::now() + self.pace.shutdown);
        self.drain(false);
    }

    /// An orderly stop that does not end, as where a disk is full, is given up.
    pub(super) fn in_time(&self) -> Result<(), EngineError> {
        let late = self.stop_by.is_some_and(|by| by <= Instant::now());
        if !late || self.phase == Phase::Done {
            return Ok(());
        }
        let most = self.pace.shutdown;
        let what = format!(
            "what was read could not be completed and stored within {most:?} \
             (engine.shutdown_timeout)"
        );
        let hint = "the log says what it waited for, such as room on a disk; start again: it goes \
                    on from the newest checkpoint, and nothing is lost";
        Err(Failure::new(exit::IO, what, hint).into())
    }

    /// Whether nothing is left that would shrink by waiting: all is worked off and written.
    fn settled(&self) -> bool {
        // Epochs without data come and go meanwhile.
        let worked_off = self.epochs.first.is_none() && self.shared.queued_bytes.load(Relaxed) == 0;
        let written = self.cutting.is_none() && self.unanswered == 0 && !self.compacting;
        worked_off && written && (!self.book.dirty || !self.pace.cuts_between)
    }

    /// Why the run ended before its sources: the budget is used up.
    pub(super) fn over(&self) -> Option<Failure> {
        let posts = self.book.posts();
        let budget = self.budget.bytes.filter(|_| self.over)?;
        let cut = self.durable.filter(|_| self.pace.cuts_between);
        let mut holders = self.report.holders();
        let all = self.published.read_all();
        holders.push(Operator {
            name: "results".into(),
            records: 0,
            bytes: all.readings.iter().map(|r| r.table.bytes() as u64).sum(),
        });
        Some(used_up(self.budget.used, budget, posts, cut, &holders))
    }
}

const HELD: &str = "the memory budget is nearly used up: nothing is read until it is free again";
const TIGHT: &str = "the state fills the memory budget: reading goes on in small epochs; raise \
                     engine.memory, or keep less";

/// The operators that are named: those that hold most.
const NAMED: usize = 4;

fn used_up(used: u64, budget: u64, posts: u64, cut: Option<u64>, all: &[Operator]) -> Failure {
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    let mut all: Vec<&Operator> = all.iter().filter(|o| o.bytes > 0).collect();
    all.sort_by_key(|o| std::cmp::Reverse(o.bytes));
    let named: Vec<String> =
        all.iter().take(NAMED).map(|o| format!("{} {}", o.name, mib(o.bytes))).collect();
    let mut what = format!(
        "the memory budget is used up: {} of {} (engine.memory) after {posts} posts",
        mib(used),
        mib(budget)
    );
    if !named.is_empty() {
        what += &format!("; the largest of it: {}", named.join(", "));
    }
    if let Some(cut) = cut {
        what += &format!("; all that was read is stored (checkpoint {cut})");
    }
    let hint = "raise engine.memory and start again, it goes on where it was; or keep less: fewer \
                metrics and keys, `retain` on windows (`pinflow plan` says what each costs)";
    Failure::new(exit::MEMORY, what, hint)
}

/// Of what the machine lets us have, in hundredths: beyond it the kernel may end the process at
/// any moment, so it ends itself.
const CLIFF: u64 = 97;
/// No process fills memory faster, bytes a second: so long it need not be looked at.
const FILLS: u64 = 4 << 30;

/// Watches from now on that the process does not reach the end of the machine's memory (or the
/// container's): it would end itself at once, saying so, and the newest cut is the recovery. It is
/// the last resort where the budget's own bounds came too late.
pub fn guard(limit: Option<u64>) {
    let Some(cliff) = limit.map(|bytes| bytes / 100 * CLIFF) else { return };
    let watch = move || {
        while let Some(used) = resident() {
            if used >= cliff {
                let mib = |bytes: u64| bytes >> 20;
                let what = format!(
                    "memory is at its end: {} MiB of the {} MiB that this machine or container \
                     gives; ending before the kernel does it, the newest checkpoint holds",
                    mib(used),
                    mib(cliff / CLIFF * 100)
                );
                let hint = "give it more memory, or lower engine.memory: then it stops earlier, \
                            in order";
                let said = last_words(&Failure::new(exit::MEMORY, what, hint));
                let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
                std::process::exit(exit::MEMORY.into());
            }
            let nap = Duration::from_millis((cliff - used) * 1000 / FILLS);
            std::thread::sleep(nap.clamp(Duration::from_millis(5), Duration::from_millis(500)));
        }
    };
    // Without it the run is as good as one without a bound.
    drop(std::thread::Builder::new().name("guard".into()).spawn(watch));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps a fifth of [`SETTLE`] apart, each (bytes held, settled) with the level after it.
    fn steps(script: &[(u64, bool, Level)]) -> (Budget, Verdict) {
        let (mut budget, mut verdict) = (Budget::new(Some(1000)), Verdict::Same);
        let start = Instant::now();
        for (n, (used, settled, level)) in script.iter().enumerate() {
            let now = start + SETTLE / 5 * n as u32;
            verdict = budget.step(*used, *settled, now);
            assert_eq!(budget.level, *level, "step {n}");
        }
        (budget, verdict)
    }

    #[test]
    fn reading_stops_first_and_goes_on_when_what_was_queued_is_gone() {
        use Level::{Free, Held};
        let script = [
            (849, false, Free),
            (850, false, Held),
            (990, false, Held),
            (820, true, Held),
            (799, true, Free),
            (840, false, Free),
        ];
        assert_eq!(steps(&script).1, Verdict::Same);
    }

    #[test]
    fn a_state_that_fills_the_budget_goes_on_in_small_epochs_and_then_stops() {
        use Level::{Held, Tight};
        let mut script = vec![(960, true, Held); 6];
        script.extend([(960, true, Tight), (999, false, Tight), (1000, false, Held)]);
        let (_, verdict) = steps(&script);
        assert_eq!(verdict, Verdict::Changed);
        script.extend([(980, false, Held); 9]);
        assert_eq!(steps(&script).1, Verdict::Same, "what is under way may still shrink");
        script.extend([(980, true, Held); 5]);
        assert_eq!(steps(&script).1, Verdict::Same, "the allocator may still give back");
        script.push((971, true, Held));
        assert_eq!(steps(&script).1, Verdict::Over);
        script.pop();
        script.extend([(970, true, Tight), (790, true, Level::Free)]);
        assert_eq!(steps(&script).1, Verdict::Changed);
    }

    #[test]
    fn without_a_budget_nothing_is_held() {
        let mut budget = Budget::new(None);
        assert_eq!(budget.step(u64::MAX - 1, true, Instant::now()), Verdict::Same);
    }

    #[test]
    fn the_message_names_what_holds_most() {
        let one = |name: &str, bytes| Operator { name: name.into(), records: 1, bytes };
        let all = [one("a", 1 << 20), one("none", 0), one("b", 5 << 20)];
        let said = used_up(250 << 20, 256 << 20, 7, Some(3), &all).to_string();
        let head = "the memory budget is used up: 250 MiB of 256 MiB (engine.memory) after 7 \
                    posts; the largest of it: b 5 MiB, a 1 MiB; all that was read is stored \
                    (checkpoint 3)\nhint: ";
        assert!(said.starts_with(head), "{said}");
    }
}
