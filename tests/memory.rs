//! The memory budget: near it nothing is read until there is room, and the run ends as if it had
//! had all memory; where the state itself fills it the run stops in order, says so at every start,
//! and goes on with more. What comes out is always what the oracle says.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Rules, metric};
use support::generate::{Shape, write};
use support::process::{Finished, Running, command, once, pinflow};
use support::{compare, wire};

/// Events a stream: their posts take more than the least budget and less than twice as much.
const EVENTS: usize = 300_000;

struct Room {
    dir: tempfile::TempDir,
    config: PathBuf,
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        std::fs::create_dir(&input).unwrap();
        write(&Shape::bench(EVENTS, 5), &input);
        Room { dir, config: support::config("bench.toml") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run to the end under a budget, if there is one; how it ended, and its peak in bytes.
    fn run(&self, name: &str, budget: Option<&str>) -> (Finished, u64) {
        let mut args = once(&self.config, &self.path("in"), &self.path(name));
        args.extend(["--results".into(), self.path("out").to_str().unwrap().into()]);
        args.extend(["--workers".into(), "2".into()]);
        let budget = budget.map(|b| ["--set".into(), format!("engine.memory={b}")]);
        args.extend(budget.into_iter().flatten());
        let mut running = Running::start(command(&args));
        let status = format!("/proc/{}/status", running.id());
        let mut most = 0;
        while running.alive() {
            most = peak(Path::new(&status)).unwrap_or(most);
            std::thread::sleep(Duration::from_millis(5));
        }
        (running.wait(Duration::from_mins(2)), most)
    }

    fn stored(&self, name: &str) -> serde_json::Value {
        let state = self.path(name);
        let args = ["status", "--state", state.to_str().unwrap(), "--format", "json"];
        serde_json::from_str(&pinflow(args).ok().stdout).unwrap()
    }
}

/// The most bytes in memory so far.
fn peak(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Beyond the budget go at most the epochs under way, tables that grow, and a state that is taken
/// back beside its bytes.
const BEYOND: u64 = 64 << 20;

const HELD: &str = "nothing is read until it is free again";

#[test]
fn a_budget_holds_reading_back_then_stops_in_order_and_more_goes_on() {
    let room = Room::new();
    let model = Model::new(&wire::folder(&room.path("in"), 0), &Rules::default());
    let (metrics, age_groups) = metric::load(&room.config);
    let columns = Columns { age_groups };
    let right = || {
        let now = Now { at: 0, ended: true };
        compare::same_results(&room.path("out"), "tsv", &metrics, &model, &columns, now);
        std::fs::remove_dir_all(room.path("out")).unwrap();
    };

    // Room for the state, not for all that a free run would leave lying about.
    let (ended, free) = room.run("free", None);
    ended.ok();
    right();
    // What ran once can be started again: all of it was fed to the metrics in one piece.
    let (ended, again) = room.run("free", None);
    ended.ok();
    right();
    assert!(again < free / 20 * 21, "{again} bytes after a restart, {free} before");
    // By chance one run holds more than another, and reading would end before it is held back.
    let (ended, other) = room.run("other", None);
    ended.ok();
    right();
    let room_for_it = free.min(other) / 10 * 9;
    let (ended, most) = room.run("enough", Some(&format!("{}KiB", room_for_it >> 10)));
    let ended = ended.ok();
    right();
    assert!(ended.stderr.contains(HELD), "{}", ended.stderr);
    assert!(most < room_for_it + BEYOND, "{most} bytes of {room_for_it}");

    // No room for the state: it stops, with everything stored.
    let mut read = 0;
    for start in 0..2 {
        let (ended, most) = room.run("little", Some("64MiB"));
        assert_eq!(ended.code, Some(71), "start {start}: {}", ended.stderr);
        let words = ["memory budget is used up", " of 64 MiB", "posts", "the largest of it: "];
        for word in words.into_iter().chain(["engine.memory", "stored"]) {
            assert!(ended.stderr.contains(word), "start {start}: {word}: {}", ended.stderr);
        }
        assert!(most < (64 << 20) + BEYOND, "{most} bytes of 64 MiB");
        assert!(!room.path("out").exists(), "half of the answers are none");
        let status = room.stored("little");
        let now = status["totals"]["read"].as_u64().unwrap();
        assert!(now >= read && now < EVENTS as u64 * 3, "{now} records after {read}");
        read = now;
    }
    assert!(read > 0, "it got nowhere");

    // With more it goes on where it was.
    let (ended, _) = room.run("little", Some("1GiB"));
    ended.ok();
    right();
    assert_eq!(room.stored("little")["totals"]["read"], EVENTS * 3);
}

#[test]
fn a_budget_that_is_none_is_refused() {
    for (budget, word) in [("1MiB", "between"), ("much", "not a size")] {
        let ended = pinflow(["plan", "--set", &format!("engine.memory={budget}")]);
        assert_eq!(ended.code, Some(78), "{}", ended.stderr);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}
