//! When a new base begins, and what becomes of it.
//!
//! Promises: one is written at a time, and commits never wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tracing::{info, warn};

use super::{Closed, Compaction, Store, compact, log};

/// A base being written takes no more rests once the logs are so many times as large as when the
/// next is due.
const HURRY: u64 = 2;

/// A base that is being written.
pub(super) struct Running {
    generation: u64,
    inputs: usize,
    pub(super) stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    pub(super) thread: JoinHandle<Result<(u64, u64), compact::Failure>>,
}

impl Store {
    /// Waits for a base that is being written.
    pub fn wait_for_base(&mut self) {
        if let Some(running) = self.running.take() {
            self.end_base(running);
        }
    }

    /// Begins a new base if one is due.
    pub(super) fn begin_base(&mut self) {
        let logs = self.log_bytes();
        let base = self.closed.first().filter(|file| file.base).map(|file| file.len);
        let most = base.unwrap_or_default().max(self.options.compact_min);
        if let Some(running) = &self.running {
            // It is not to be outrun.
            running.hurry.fetch_or(logs > HURRY * most, Ordering::Relaxed);
            return;
        }
        let due = logs > if base.is_some() { most } else { self.options.compact_first };
        let due = self.compact_now || (due && logs >= self.compact_not_before);
        if !due || self.lost.is_some() {
            return;
        }
        self.compact_now = false;
        if let Err(e) = self.next_generation() {
            warn!(error = %e, "no new generation");
            self.base_failed();
            return;
        }
        let generation = self.log.generation;
        let stop = Arc::new(AtomicBool::new(false));
        let inline = self.options.compaction == Compaction::Inline;
        let hurry = Arc::new(AtomicBool::new(inline));
        let input = |file: &Closed| compact::Input {
            path: log::generation_dir(&self.dir, file.generation).join(file.name()),
            len: file.len,
        };
        let job = compact::Job {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            start: self.start(generation, None),
            inputs: self.closed.iter().map(input).collect(),
            head: self.head.clone(),
            ledger: self.ledger.clone(),
            entries: self.closed.iter().map(|file| file.entries).sum(),
            stop: Arc::clone(&stop),
            hurry: Arc::clone(&hurry),
        };
        let inputs = self.closed.len();
        if inline {
            let done = compact::run(&job);
            self.base_done(generation, inputs, done);
            return;
        }
        let named = std::thread::Builder::new().name("compact".to_owned());
        let work = move || {
            compact::step_back();
            compact::run(&job)
        };
        match named.spawn(work) {
            Ok(thread) => self.running = Some(Running { generation, inputs, stop, hurry, thread }),
            Err(e) => {
                warn!(error = %e, "no thread to write a base");
                self.base_failed();
            }
        }
    }

    /// Takes up a base that has been written meanwhile.
    pub(super) fn take_base(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.thread.is_finished()) {
            self.end_base(running);
        }
    }

    fn end_base(&mut self, running: Running) {
        match running.thread.join() {
            Ok(done) => self.base_done(running.generation, running.inputs, done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn base_done(
        &mut self,
        generation: u64,
        inputs: usize,
        done: Result<(u64, u64), compact::Failure>,
    ) {
        match done {
            Ok((len, entries)) => {
                info!(generation, bytes = len, entries, "a new base");
                self.closed.splice(..inputs, [Closed { generation, base: true, len, entries }]);
                self.starts.insert(generation, true);
                self.figures.bases_written += 1;
                self.figures.bases_written_bytes += len;
                if let Some(fallback) = self.starts.keys().rev().nth(1).copied() {
                    self.starts = self.starts.split_off(&fallback);
                    self.oldest = self.oldest.max(fallback);
                }
            }
            Err(compact::Failure::Stopped) => {}
            Err(compact::Failure::Damaged(what)) => {
                warn!(what, "a file of the state is damaged, a whole cut is needed");
                self.lost = Some(what);
                self.base_failed();
            }
            Err(compact::Failure::Io(e)) => {
                warn!(error = %e, "no new base");
                self.base_failed();
            }
        }
    }

    fn base_failed(&mut self) {
        self.figures.bases_failed += 1;
        self.compact_not_before = self.log_bytes() + self.options.compact_min / 4;
    }

    pub(super) fn stop_base(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            self.end_base(running);
        }
    }
}
