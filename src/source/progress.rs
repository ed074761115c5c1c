//! A bar on a terminal for what is being read; silent where there is no terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Done;

/// A progress bar of a run: bytes or records done and in all, rate, time left.
pub struct Progress {
    bar: ProgressBar,
    bytes: Option<bool>,
}

impl Progress {
    /// A bar on standard error, if that is a terminal.
    pub fn new() -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Progress { bar: ProgressBar::with_draw_target(Some(0), target), bytes: None }
    }

    /// Whether anybody sees it; if not there is no need to update it.
    pub fn shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Says how far all sources are together. `records` is what is behind them in the dataflow.
    /// Sources that count in different units, or have no end, show the records alone.
    pub fn update(&mut self, sources: &[Option<Done>], records: u64) {
        let known: Option<Vec<Done>> = sources.iter().copied().collect();
        let known = known.filter(|list| list.windows(2).all(|w| w[0].bytes == w[1].bytes));
        let Some(list) = known.filter(|list| !list.is_empty()) else {
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
    fn sources_add_up_and_no_terminal_is_silent() {
        let mut bar = Progress::new();
        let done = |done, total| Some(Done { done, total, bytes: true });
        bar.update(&[done(3, 10), done(4, 10)], 7);
        assert_eq!((bar.bar.position(), bar.bar.length()), (7, Some(20)));
        bar.update(&[done(5, 10), None], 9);
        assert_eq!(bar.bar.position(), 7);
        assert_eq!(bar.bar.message(), "9 records");
        bar.finish();
    }
}
