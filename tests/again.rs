//! Further runs on a state: what the runs before left out, or what became of their files, is said.

mod oracle;
mod support;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dataflows::assemble::block::entries;
use pinflow::store::ReadOnly;
use support::process::{Finished, pinflow};

/// A folder with files to read.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(place.path("in")).expect("a folder");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of three pins.
    fn file(&self, name: &str) {
        let row =
            |n| format!("{{\"index\": {n}, \"unique_id\": \"{name}\", \"category\": \"art\"}}\n");
        let path = self.path("in").join(name).with_extension("jsonl");
        std::fs::write(path, (0..3).map(row).collect::<String>()).expect("a file");
    }

    /// A run that writes cleaned rows.
    fn run_with_rows(&self) -> Finished {
        self.run(&["--cleaned", &self.path("cleaned").display().to_string()])
    }

    fn run(&self, more: &[&str]) -> Finished {
        let text = |path: &Path| path.display().to_string();
        let (input, state) = (text(&self.path("in")), text(&self.path("state")));
        let args = ["run", "--once", "--input", &input, "--state", &state];
        pinflow(args.into_iter().chain(more.iter().copied()))
    }
}

#[test]
fn a_sink_that_was_left_out_cannot_come_back_with_rows_missing() {
    let place = Place::new();
    place.file("a");
    place.run_with_rows().ok();
    // Nothing is read without it.
    assert!(place.run(&[]).ok().stderr.contains("cleaned rows went there before"));
    place.file("b");
    place.run_with_rows().ok();
    place.file("c");
    place.run(&[]).ok();
    // However the folder is written.
    let other = place.path("in/../cleaned").display().to_string();
    for refused in [place.run_with_rows(), place.run(&["--cleaned", &other])] {
        assert_eq!(refused.code, Some(78), "{}", refused.stderr);
        assert!(refused.stderr.contains("their rows are missing"), "{}", refused.stderr);
    }
    place.run(&[]).ok();
}

#[test]
fn a_sink_may_rest_while_there_are_no_rows_for_it() {
    let place = Place::new();
    place.file("a");
    std::fs::write(place.path("in/b.jsonl"), "no JSON\n").expect("a file");
    place.run_with_rows().ok();
    // A letter that is rejected again, and one more.
    let state = place.path("state").display().to_string();
    pinflow(["replay", "--state", &state]).ok();
    std::fs::write(place.path("in/c.jsonl"), "no JSON\n").expect("a file");
    place.run(&[]).ok();
    place.file("d");
    place.run_with_rows().ok();
    let rows = std::fs::read_to_string(place.path("cleaned/pin-000001.jsonl")).expect("rows");
    assert_eq!(rows.lines().count(), 3, "those of the last file");
}

#[test]
fn a_sink_that_was_begun_and_left_out_before_its_first_rows_cannot_come_back() {
    let place = Place::new();
    place.run_with_rows().ok();
    place.file("a");
    place.run(&[]).ok();
    assert_eq!(place.run_with_rows().code, Some(78));
}

/// A state says how many of its stored entries hold: a new base is written after that.
#[test]
fn a_state_knows_how_much_of_it_holds() {
    let place = Place::new();
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        // The same pins anew, and a geo and more pins with each file.
        place.file(name);
        let mut rows = String::new();
        for index in n * 10..n * 20 + 5 {
            let geo = r#""timestamp": "2020-01-01 00:00:00", "country": "Peru""#;
            writeln!(rows, "{{\"ind\": {index}, {geo}}}").expect("a string grows");
        }
        std::fs::write(place.path("in").join(format!("geo-{name}.jsonl")), rows).expect("a file");
        place.run(&["--workers", "2"]).ok();
        let state = ReadOnly::open(&place.path("state")).expect("readable").expect("a state");
        let entries = state.restored.slots.iter().flat_map(|block| entries(block));
        let sides: HashSet<(u64, u8)> =
            entries.map(|entry| entry.expect("whole")).map(|e| (e.index, e.part)).collect();
        assert_eq!(state.restored.head.held, sides.len() as u64, "{name}");
    }
}

#[test]
fn results_that_cannot_be_written_are_refused_before_anything_is_read() {
    let place = Place::new();
    place.file("a");
    let file = place.path("in/a.jsonl").display().to_string();
    let refused = place.run(&["--results", &file]);
    assert_eq!(refused.code, Some(74), "{}", refused.stderr);
    assert!(refused.stderr.contains("writing results to"), "{}", refused.stderr);
    assert!(!place.path("state").exists());
}

#[test]
fn a_damaged_state_is_not_shown_without_a_word() {
    let place = Place::new();
    place.file("a");
    place.run(&[]).ok();
    let log = place.path("state/gen-000000/log");
    let mut bytes = std::fs::read(&log).expect("a log");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, bytes).expect("a file");
    let state = place.path("state").display().to_string();
    for args in [&["results", "rejection_share"][..], &["status"], &["status", "--json"]] {
        let shown = pinflow(args.iter().copied().chain(["--state", &state]));
        assert!(shown.stderr.contains("damaged"), "{args:?}: {} {}", shown.stdout, shown.stderr);
    }
}

#[test]
fn a_run_of_nothing_but_rejects_says_so() {
    let place = Place::new();
    std::fs::write(place.path("in/a.jsonl"), "no record\n").expect("a file");
    let ended = place.run(&[]).ok();
    let look = format!("pinflow replay --list --state {}", place.path("state").display());
    let said = |ended: &Finished| {
        ["no record could be used", &*look].map(|words| ended.stderr.contains(words))
    };
    assert_eq!(said(&ended), [true; 2], "{}", ended.stderr);
    std::fs::write(place.path("in/b.jsonl"), "no record either\n").expect("a file");
    place.file("c");
    let ended = place.run(&[]).ok();
    assert_eq!(said(&ended), [false; 2], "{}", ended.stderr);
    let letters = look.split(' ').skip(1).map(str::to_owned);
    assert_eq!(pinflow(letters).ok().stdout.lines().count(), 2);
}

/// Of a text that the state holds its length was asked for in vain.
#[test]
fn a_state_of_all_columns_goes_on_with_any_metric_of_theirs() {
    let place = Place::new();
    let rows = ["one", "Zw\u{f6}lf M\u{f6}bel", ""].iter().enumerate().map(|(n, title)| {
        format!(
            "{{\"index\": {n}, \"unique_id\": \"u\", \"category\": \"art\", \
             \"title\": \"{title}\", \"tag_list\": \"a,b,{title}\"}}\n"
        )
    });
    std::fs::write(place.path("in/pin.jsonl"), rows.collect::<String>()).expect("a file");
    let metric = |measures: &str| {
        format!(
            "state.columns = \"all\"\n[[metric]]\nname = \"m\"\nmeaning = \"a test\"\n\
             of = \"pin\"\nmeasures = [{measures}]\n"
        )
    };
    let path = place.path("m.toml").display().to_string();
    let (out, fresh) = (place.path("out"), place.path("fresh"));
    let run = |measures: &str, to: &Path| {
        std::fs::write(&path, metric(measures)).expect("a file");
        let to = to.display().to_string();
        place.run(&["--config", &path, "--results", &to, "--format", "csv"]).ok();
    };
    run("{ count = \"*\", name = \"n\" }", &out);
    let more = "{ sum = \"length(title)\", name = \"l\" }, { max = \"tags\", name = \"t\" }, \
                { sum = \"length(tag_list)\", name = \"g\" }";
    run(more, &out);
    std::fs::remove_dir_all(place.path("state")).expect("there is one");
    run(more, &fresh);
    let read = |dir: &Path| std::fs::read_to_string(dir.join("m.csv")).expect("results");
    assert_eq!(read(&out), "l,t,g\n14,3,26\n");
    assert_eq!(read(&fresh), read(&out));
}
