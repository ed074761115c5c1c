//! `[[sink]]`: where cleaned rows go.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Place;
use super::section::Section;
use super::{FilesSink, Sink, folders, keys};

/// When a file is rotated if nothing is said: at this size,
pub const ROTATE_BYTES: u64 = 128 << 20;
/// and at this age.
pub const ROTATE_INTERVAL: Duration = Duration::from_hours(1);

/// The sinks.
pub fn sinks(top: &Section<'_>) -> Vec<Sink> {
    let mut sinks = Vec::new();
    let mut taken: Vec<(PathBuf, Place)> = Vec::new();
    for node in top.list("sink", false).unwrap_or(&[]) {
        let Some(table) = top.element("sink", node) else { continue };
        let place = table.entries.first().map_or(&node.place, |e| &e.place);
        let s = Section::new(top.problems, keys::title("sink"), place, table, &["sink"]);
        if !s.has("kind") {
            s.missing("kind");
        }
        s.choice("kind", &[("files", ())]);
        if !s.has("dir") {
            s.missing("dir");
        }
        let dir: PathBuf = s.filled("dir").unwrap_or("cleaned").into();
        let full = folders::full(&dir);
        if let Some((_, other)) = taken.iter().find(|(d, _)| *d == full) {
            let message = format!("two sinks write to `{}`", dir.display());
            s.problems.error(s.place_of("dir"), message, format!("the other stands at {other}"));
        }
        taken.push((full, s.place_of("dir").clone()));
        let csv = s.choice("format", &[("jsonl", false), ("csv", true)]).unwrap_or(false);
        if let Some(Sink::Files(first)) = sinks.first()
            && first.csv != csv
        {
            let message = "sinks of two formats: a row is written out once, for all of them";
            s.problems.error(s.place_of("format"), message, "give all of them one `format`");
        }
        sinks.push(Sink::Files(FilesSink {
            dir,
            csv,
            rotate_bytes: s.size("rotate_size", "4KiB", "1024GiB").unwrap_or(ROTATE_BYTES),
            rotate_interval: s.duration("rotate_interval", "1s", "365d").unwrap_or(ROTATE_INTERVAL),
        }));
    }
    sinks
}
