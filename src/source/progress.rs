//! How far a bounded run is: a bar on a terminal; where there is none, a line in the log now and
//! then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use tracing::info;

use super::Done;

/// How often a line is written to the log.
pub const EVERY: Duration = Duration::from_secs(10);

/// The progress of a run: bytes or records done and in all, rate, time left.
pub struct Progress {
    bar: ProgressBar,
    bytes: Option<bool>,
    /// The line in the log; none where the bar is shown.
    line: Option<Line>,
}

/// A line in the log: when it was written last, and what had been done then.
struct Line {
    at: Instant,
    /// Of both, what there was when the run began does not count.
    done: Option<u64>,
    records: Option<u64>,
}

impl Progress {
    /// A bar on standard error, if that is a terminal; else lines.
    pub fn new() -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let line = (!shown).then(|| Line { at: Instant::now(), done: None, records: None });
        Progress { bar: ProgressBar::with_draw_target(Some(0), target), bytes: None, line }
    }

    /// Says how far all sources are together. `records` is what is behind them in the dataflow.
    /// Sources that count in different units, or have no end, show the records alone.
    pub fn update(&mut self, sources: &[Option<Done>], records: u64) {
        let known: Option<Vec<Done>> = sources.iter().copied().collect();
        let known = known.filter(|list| list.windows(2).all(|w| w[0].bytes == w[1].bytes));
        let known = known.filter(|list| !list.is_empty());
        let sum = |of: fn(&Done) -> u64| known.as_ref().map(|list| list.iter().map(of).sum());
        if let Some(line) = &mut self.line {
            line.update(sum(|d| d.done), sum(|d| d.total), records);
            return;
        }
        let Some(list) = known else {
            self.bar.set_message(format!("{records} records"));
            return;
        };
        if self.bytes != Some(list[0].bytes) {
            self.bytes = Some(list[0].bytes);
            self.bar.set_style(style(list[0].bytes));
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        let total: u64 = list.iter().map(|d| d.total).sum();
        self.bar.set_length(total);
        self.bar.set_position(list.iter().map(|d| d.done).sum::<u64>().min(total));
        self.bar.set_message(format!("{records} records"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    fn update(&mut self, done: Option<u64>, total: Option<u64>, records: u64) {
        let elapsed = self.at.elapsed();
        let before = *self.records.get_or_insert(records);
        self.done = self.done.or(done);
        if elapsed < EVERY {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let rate = (records.saturating_sub(before) as f64 / seconds).round() as u64;
        let share = done.zip(total).and_then(|(done, total)| share(done, total));
        let left = done.zip(total).and_then(|(done, total)| left(self.done?, done, total, seconds));
        info!(records, share, records_a_second = rate, left, "reading");
        *self = Line { at: Instant::now(), done, records: Some(records) };
    }
}

/// How much of all has been read.
fn share(done: u64, total: u64) -> Option<String> {
    (total > 0).then(|| format!("{:.1} %", done.min(total) as f64 * 100.0 / total as f64))
}

/// How long the rest takes if it goes on as in the last seconds; none where nothing has come.
fn left(before: u64, done: u64, total: u64, seconds: f64) -> Option<String> {
    let came = done.saturating_sub(before);
    let rest = total.saturating_sub(done) as f64 / came as f64 * seconds;
    (came > 0).then(|| format!("{} s", rest.round()))
}

fn style(bytes: bool) -> ProgressStyle {
    let template = if bytes {
        "{bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} {eta} left"
    } else {
        "{bar:32} {human_pos}/{human_len} {per_sec} {msg} {eta} left"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_add_up() {
        let mut bar = Progress { line: None, ..Progress::new() };
        let done = |done, total| Some(Done { done, total, bytes: true });
        bar.update(&[done(3, 10), done(4, 10)], 7);
        assert_eq!((bar.bar.position(), bar.bar.length()), (7, Some(20)));
        bar.update(&[done(5, 10), None], 9);
        assert_eq!(bar.bar.position(), 7);
        assert_eq!(bar.bar.message(), "9 records");
        bar.finish();
    }

    #[test]
    fn a_line_says_the_share_and_what_is_left() {
        assert_eq!(share(1, 3).as_deref(), Some("33.3 %"));
        assert_eq!(share(0, 0), None);
        assert_eq!(left(10, 20, 60, 5.0).as_deref(), Some("20 s"));
        assert_eq!(left(20, 20, 60, 5.0), None);
        let mut line = Line { at: Instant::now(), done: None, records: None };
        line.update(Some(1), Some(2), 3);
        assert_eq!(line.records, Some(3), "what there was");
        line.at = Instant::now().checked_sub(EVERY).expect("the machine is up for longer");
        line.update(Some(2), Some(2), 4);
        assert_eq!((line.records, line.done), (Some(4), Some(2)));
    }
}
