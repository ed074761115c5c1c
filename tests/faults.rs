//! The state is cut off at every named step of its writing, and every file of it is damaged in
//! several ways: a restart gives the same results as if nothing had been, or says why it cannot.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Rules, metric};
use support::generate::{Shape, streams};
use support::metrics::{ARRIVED, MEDIANS, declared};
use support::process::{Finished, Running, command, once};
use support::{Random, compare, wire};

const SETTINGS: &str = r#"
[engine]
workers = 2
max_epoch_records = 150

[state]
cut_interval = "10ms"
cut_bytes = "64KiB"
"#;

/// Declarations of this test alone.
const OWN: &str = r#"
[[metric]]
name = "pairs"
meaning = "posts by country and category"
of = "pin+geo"
by = ["country", "category"]
measure = "count"

[[metric]]
name = "outcomes"
meaning = "records by outcome and reason"
of = "records"
by = ["outcome", "reason"]
measure = "count"
"#;

/// Declarations that it shares with others.
const SHARED: &[&str] = &[ARRIVED, MEDIANS];

/// The names of the fault points, from the text of the store.
fn points() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/fault.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let list = text.split_once("POINTS").unwrap().1.split_once('=').unwrap().1;
    let list = list.split_once(';').unwrap().0;
    let names: Vec<String> = list.split('"').skip(1).step_by(2).map(Into::into).collect();
    assert!(names.len() >= 10, "the list of fault points: {names:?}");
    names
}

/// A folder with some input and a configuration; `part` of a thousand lines are there.
struct Room {
    dir: tempfile::TempDir,
    lines: [Vec<String>; 3],
}

impl Room {
    fn new(events: usize, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("config.toml"), declared(SETTINGS, SHARED, OWN)).unwrap();
        Room { dir, lines: streams(&Shape::dirty(events, seed)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the first lines of the files.
    fn grow(&self, part: usize) {
        for (name, lines) in ["pin", "geo", "user"].iter().zip(&self.lines) {
            let text = lines[..lines.len() * part / 1000].concat();
            std::fs::write(self.path("in").join(format!("{name}.jsonl")), text).unwrap();
        }
    }

    /// Runs to the end on a state, with a fault if one is named.
    fn run(&self, state: &str, fault: Option<&str>) -> Finished {
        let mut args = once(&self.path("config.toml"), &self.path("in"), &self.path(state));
        let cleaned = format!("{state}-cleaned");
        for (flag, folder) in [("--results", "out"), ("--cleaned", &*cleaned)] {
            args.extend([flag.to_string(), self.path(folder).to_str().unwrap().to_string()]);
        }
        let mut command = command(&args);
        if let Some(fault) = fault {
            command.env("PINFLOW_FAULT", fault);
        }
        Running::start(command).wait(std::time::Duration::from_mins(2))
    }

    /// Asserts that results, dead letters and cleaned rows are the oracle's; the letters unless
    /// it was said that they are lost.
    fn check(&self, state: &str, said: &str) {
        let lost = ["lost", "damaged"].iter().any(|w| said.contains(w));
        let letters = compare::letters(&self.path(state));
        let cleaned = self.path(&format!("{state}-cleaned"));
        let arrivals = compare::arrivals(&cleaned, &letters);
        let mut messages = wire::folder(&self.path("in"), 0);
        for message in &mut messages {
            message.arrived_at = arrivals[&*message.partition];
        }
        let model = Model::new(&messages, &Rules::default());
        let (metrics, age_groups) = metric::load(&self.path("config.toml"));
        let now = Now { at: model.now, ended: true };
        let columns = Columns { age_groups };
        compare::same_results(&self.path("out"), "tsv", &metrics, &model, &columns, now);
        if !(lost && said.contains("dead-letters")) {
            compare::same_letters(&letters, &model);
        }
        compare::same_cleaned(&cleaned, &model);
    }
}

#[test]
fn faults_at_every_step_of_a_cut_change_nothing() {
    let mut never = Vec::new();
    let room = Room::new(700, 5);
    for name in points() {
        let mut struck = 0;
        for count in [1, 2, 7] {
            let state = format!("state-{name}-{count}");
            room.grow(600);
            let first = room.run(&state, Some(&format!("{name}:{count}")));
            struck += usize::from(first.code.is_none());
            let fine = first.code.is_none() || first.code == Some(0);
            assert!(fine, "{name}:{count} ended it with {:?}:\n{}", first.code, first.stderr);
            room.grow(1000);
            room.run(&state, None).ok();
            room.check(&state, "");
        }
        if struck == 0 {
            never.push(name);
        }
    }
    let must = "before_log_append after_log_write after_log_append after_manifest_write \
                after_manifest_rename after_dead_letters_sync after_sink_sync";
    let missed: Vec<_> = never.iter().filter(|n| must.contains(&***n)).collect();
    assert!(missed.is_empty(), "never passed: {missed:?} (and of all: {never:?})");
}

/// Every file below a folder, as a path relative to it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(files(&path).into_iter().map(|p| path.join(p)));
        } else {
            out.push(path);
        }
    }
    out.iter().map(|p| p.strip_prefix(dir).unwrap_or(p).to_path_buf()).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), target).unwrap();
    }
}

/// Ways to damage a file; none if it does not apply.
fn damage(how: &str, bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    if bytes.is_empty() {
        return None;
    }
    let at = random.below(bytes.len() as u64) as usize;
    let mut out = bytes.to_vec();
    match how {
        "flipped early" => out[at.min(7)] ^= 1 << random.below(8),
        "flipped" => out[at] ^= 1 << random.below(8),
        "zeroed" => out[at..].iter_mut().take(64).for_each(|b| *b = 0),
        "cut" => out.truncate(at),
        "emptied" => out.clear(),
        "longer" => out.extend_from_slice(b"\0\x01garbage"),
        _ => return None,
    }
    (out != bytes).then_some(out)
}

#[test]
fn faults_in_any_file_of_the_state_are_found_and_mended_or_explained() {
    let room = Room::new(500, 6);
    room.grow(700);
    room.run("state", None).ok();
    room.grow(1000);
    let list: Vec<PathBuf> =
        files(&room.path("state")).into_iter().filter(|f| f != Path::new("lock")).collect();
    assert!(list.len() >= 2, "the state is more than {list:?}");
    let (mut random, mut wrong) = (Random::new(17), Vec::new());
    let ways =
        ["flipped early", "flipped", "flipped", "zeroed", "cut", "emptied", "longer", "gone"];
    for (n, file) in list.iter().enumerate() {
        for (m, how) in ways.iter().enumerate() {
            let state = format!("state-{n}-{m}");
            copy(&room.path("state"), &room.path(&state));
            let cleaned = format!("{state}-cleaned");
            copy(&room.path("state-cleaned"), &room.path(&cleaned));
            let path = room.path(&state).join(file);
            if *how == "gone" {
                std::fs::remove_file(&path).unwrap();
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let Some(bytes) = damage(how, &bytes, &mut random) else { continue };
                std::fs::write(&path, bytes).unwrap();
            }
            let what = format!("{} {how}", file.display());
            let ended = room.run(&state, None);
            let explained = |said: &str| {
                ["hint", "--rebuild", "backup", "damaged"].iter().any(|w| said.contains(w))
            };
            let fine = match ended.code {
                Some(0) => {
                    std::panic::catch_unwind(AssertUnwindSafe(|| room.check(&state, &ended.stderr)))
                        .is_ok()
                }
                Some(65) => explained(&ended.stderr),
                _ => false,
            };
            if !fine {
                wrong.push(format!("{what}: {:?} {}", ended.code, ended.stderr.trim()));
            }
            std::fs::remove_dir_all(room.path(&state)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "neither mended nor explained:\n{}", wrong.join("\n"));
}
