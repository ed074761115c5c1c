//! How far the sending is: a line on a terminal that changes; where there is none, a line now and
//! then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Sent;

/// How often the line changes at most.
const TICK: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// The line.
pub struct Progress {
    bar: ProgressBar,
    updated: Instant,
    /// Lines are written instead; when, and what had been sent at the last one.
    lines: Option<(Instant, u64)>,
    total: Option<u64>,
}

impl Progress {
    /// A line on standard error, if it is wanted and that is a terminal. `total` posts will come;
    /// none = nobody knows.
    pub fn new(wanted: bool, total: Option<u64>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let shown = wanted && terminal;
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
        let now = Instant::now();
        let lines = (wanted && !terminal).then_some((now, 0));
        Progress { bar, updated: now, lines, total }
    }

    /// Tells what was sent, now and then.
    pub fn update(&mut self, sent: &Sent) {
        if let Some((at, before)) = &mut self.lines
            && at.elapsed() >= EVERY
        {
            super::tell(&line(sent, self.total, *before, at.elapsed()));
            (*at, *before) = (Instant::now(), sent.sum());
        }
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

/// A line of its own.
fn line(sent: &Sent, total: Option<u64>, before: u64, since: Duration) -> String {
    let rate = sent.sum().saturating_sub(before) as f64 / since.as_secs_f64();
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    let posts = sent.posts + sent.missing;
    format!("{posts}{of} posts, {} records sent, {rate:.0} records/s", sent.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let sent = Sent { posts: 30, records: [30, 30, 30], ..Sent::default() };
        let since = Duration::from_secs(10);
        let want = "30 of 100 posts, 90 records sent, 6 records/s";
        assert_eq!(line(&sent, Some(100), 30, since), want);
        assert_eq!(line(&sent, None, 90, since), "30 posts, 90 records sent, 0 records/s");
    }
}
