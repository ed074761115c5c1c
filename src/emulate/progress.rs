//! A line on a terminal that tells how far the sending is.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Sent;

/// How often the line changes at most.
const TICK: Duration = Duration::from_millis(100);

/// The line.
pub struct Progress {
    bar: ProgressBar,
    updated: Instant,
}

impl Progress {
    /// A line on standard error, if it is wanted and that is a terminal. `total` posts will come;
    /// none = nobody knows.
    pub fn new(wanted: bool, total: Option<u64>) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{bar:32} {human_pos}/{human_len} posts, {msg}, {eta} left",
            None => "{spinner} {human_pos} posts, {msg}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, updated: Instant::now() }
    }

    /// Tells what was sent, now and then.
    pub fn update(&mut self, sent: &Sent) {
        if self.bar.is_hidden() || self.updated.elapsed() < TICK {
            return;
        }
        self.updated = Instant::now();
        self.bar.set_position(sent.posts + sent.missing);
        let rate = self.bar.per_sec() * sent.sum() as f64 / sent.posts.max(1) as f64;
        self.bar.set_message(format!("{} records, {rate:.0} records/s", sent.sum()));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
