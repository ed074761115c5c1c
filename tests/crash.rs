//! `kill -9` at random moments while files grow: nothing is lost, nothing is doubled, nothing is
//! shown that an uninterrupted run would not show, and no more is read again than came since the
//! last manifest.
//!
//! `PINFLOW_CRASH_RECORDS` (1 000 000) and `PINFLOW_CRASH_KILLS` (52) say how much;
//! `PINFLOW_CRASH_SEED` repeats the moments.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::{Now, rows};
use oracle::{Message, Rules, metric, print};
use serde_json::Value;
use support::generate::{Shape, streams};
use support::http::{self, Api, Scrape};
use support::metrics::{ARRIVED, ARRIVED_LATELY, MEDIANS, REFUSED, TOPS, declared};
use support::port::free_port;
use support::process::{Running, command, once, pinflow};
use support::{Random, compare, table, wire};

const SETTINGS: &str = r#"
[engine]
workers = 2
clock = "arrival"
withhold = "100ms"

[state]
cut_interval = "100ms"
"#;

/// Declarations of this test alone.
const OWN: &str = r#"
[[metric]]
name = "days"
meaning = "posts by day and category"
of = "pin+geo"
by = ["category"]
measure = "count"
windows = ["day"]

[[metric]]
name = "persons"
meaning = "people by the year they joined"
of = "people"
by = ["join_year"]
measure = "count"
"#;

/// Declarations that it shares with others.
const SHARED: &[&str] = &[ARRIVED, ARRIVED_LATELY, MEDIANS, TOPS, REFUSED];

/// Positions by file.
type Places = BTreeMap<String, u64>;
/// Arrival times by file.
type Moments = BTreeMap<String, i64>;

const NAMES: [&str; 3] = ["pin.jsonl", "geo.jsonl", "user.jsonl"];

/// Files that grow at a pace, written in pieces that do not end at lines.
struct Growing {
    dir: PathBuf,
    whole: [Vec<u8>; 3],
    /// Of a thousand parts, how many may be written.
    allowed: AtomicU64,
    /// Bytes written.
    written: AtomicU64,
    done: AtomicBool,
}

impl Growing {
    fn new(dir: PathBuf, records: u64, seed: u64) -> Arc<Self> {
        let shape = Shape { indexes: 60_000, ..Shape::dirty(records as usize / 3, seed) };
        let whole = streams(&shape).map(|lines| lines.concat().into_bytes());
        for name in NAMES {
            std::fs::write(dir.join(name), b"").unwrap();
        }
        let (allowed, written) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Growing { dir, whole, allowed, written, done: AtomicBool::new(false) })
    }

    /// Appends until all is written, in about so much time, never beyond what is allowed.
    fn write(&self, most: Duration, seed: u64) {
        use std::io::Write;
        let mut random = Random::new(seed);
        let open = |name| std::fs::OpenOptions::new().append(true).open(self.dir.join(name));
        let mut files = NAMES.map(|name| open(name).unwrap());
        let mut places = [0usize; 3];
        let start = Instant::now();
        while !self.done.load(Ordering::Relaxed) {
            let paced = start.elapsed().as_secs_f64() / most.as_secs_f64() * 1000.0;
            let part = paced.min(self.allowed.load(Ordering::Relaxed) as f64) / 1000.0;
            let mut all = true;
            for (stream, bytes) in self.whole.iter().enumerate() {
                let target = ((bytes.len() as f64 * part) as usize).min(bytes.len());
                let piece = (random.below(60_000) + 1) as usize;
                let end = if part >= 1.0 { bytes.len() } else { target };
                let end = end.min(places[stream] + piece.max(end / 200)).max(places[stream]);
                files[stream].write_all(&bytes[places[stream]..end]).unwrap();
                self.written.fetch_add((end - places[stream]) as u64, Ordering::Relaxed);
                places[stream] = end;
                all &= end == bytes.len();
            }
            if all {
                self.done.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    /// The messages of the files between some positions; none = from the head, to the end.
    fn messages(
        &self,
        from: Option<&Places>,
        to: Option<&Places>,
        arrivals: &Moments,
    ) -> Vec<Message> {
        let mut out = Vec::new();
        for (name, bytes) in NAMES.iter().zip(&self.whole) {
            let of = |places: &Places| places.get(*name).map_or(0, |at| *at as usize);
            let (start, end) = (from.map_or(0, of), to.map_or(bytes.len(), of));
            let at = arrivals.get(*name).copied().unwrap_or(0);
            let mut part = wire::lines(&bytes[start..end], name, wire::rule(name), at);
            for message in &mut part {
                message.position += start as u64;
            }
            out.extend(part);
        }
        out
    }
}

/// What was seen of a run from outside.
#[derive(Default)]
struct Seen {
    /// Scrapes in which something had been read.
    scrapes: usize,
    /// Positions by file at (run, epoch).
    positions: BTreeMap<(u64, u64), Places>,
    /// Answers with positions, of some runs.
    answers: Vec<(&'static str, Value)>,
}

impl Seen {
    fn note(&mut self, scrape: &Scrape) {
        if scrape.conserves() > 0.0 {
            self.scrapes += 1;
        }
        let by = scrape.by("pinflow_source_position", "partition");
        let by: Places =
            by.into_iter().map(|(p, at)| (compare::file_name(&p), at as u64)).collect();
        let (run, epoch) = scrape.frontier();
        let before = self.positions.range((run, 0)..(run, epoch)).next_back();
        for (file, at) in before.into_iter().flat_map(|(_, by)| by) {
            assert!(by.get(file) >= Some(at), "{file} went back within run {run}");
        }
        self.positions.insert((run, epoch), by);
    }
}

/// The positions that a state holds durably; none if it has no manifest yet.
fn durable(state: &Path) -> Option<Places> {
    state.join("manifest.json").exists().then_some(())?;
    let state = state.to_str().unwrap();
    let said = pinflow(["status", "--state", state, "--format", "json"]).ok().stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut out = Places::new();
    for partition in said["partitions"].as_array().unwrap() {
        let n = |key: &str| partition["tally"][key].as_u64().unwrap();
        let became = ["accepted", "duplicate", "superseded", "rejected", "ignored"].map(n);
        assert_eq!(n("read"), became.iter().sum::<u64>(), "what is stored adds up: {partition}");
        let name = compare::file_name(partition["partition"].as_str().unwrap());
        out.insert(name, partition["position"].as_u64().unwrap());
    }
    Some(out)
}

fn arguments(dir: &Path, port: u16) -> Vec<String> {
    let text = |name: &str| dir.join(name).to_str().unwrap().to_string();
    let listen = format!("127.0.0.1:{port}");
    let (config, input, state) = (text("config.toml"), text("in"), text("state"));
    let cleaned = text("cleaned");
    ["run", "--config", &config, "--input", &input, "--state", &state, "--cleaned", &cleaned]
        .iter()
        .chain(&["--listen", &listen])
        .map(ToString::to_string)
        .collect()
}

/// Asserts that what is shown goes at least as far as what was durable.
fn covers(at: &Places, held: &Places, what: &str) {
    for (file, held) in held {
        let shown = at.get(file);
        assert!(shown >= Some(held), "{what}: {file} at {shown:?}, but {held} was durable");
    }
}

/// Lets the daemon live for a while, looks at it, kills it. Gives what it read again at most.
fn live(dir: &Path, life: Duration, held: &Places, seen: &Mutex<Seen>, ask: bool) {
    let port = free_port();
    let daemon = Running::start(command(arguments(dir, port)));
    let api = Api::new(port);
    let start = Instant::now();
    let mut first = true;
    while start.elapsed() < life {
        std::thread::sleep(Duration::from_millis(15));
        let Some(scrape) = api.scrape() else { continue };
        let at: Places = scrape
            .by("pinflow_source_position", "partition")
            .into_iter()
            .map(|(partition, at)| (compare::file_name(&partition), at as u64))
            .collect();
        let withheld = scrape.one("pinflow_results_withheld") > 0.5;
        let here = format!("{:?}, {:?} after a start", scrape.frontier(), start.elapsed());
        if !(withheld && at.is_empty()) {
            covers(&at, held, &here);
        }
        let sizes = NAMES.map(|n| std::fs::metadata(dir.join("in").join(n)).unwrap().len());
        let come = sizes.iter().sum::<u64>() - held.values().sum::<u64>();
        let read = scrape.by("pinflow_read_bytes_total", "source").values().sum::<f64>() as u64;
        assert!(
            read <= come,
            "{here}: {read} bytes were read, but only {come} came since the manifest; \
             shown {at:?}, durable {held:?}, withheld {withheld}, sizes {sizes:?}"
        );
        let mut seen = seen.lock().unwrap();
        seen.note(&scrape);
        if first || ask {
            for name in ["arrived", "medians", "days", "refused", "persons"] {
                let path = format!("/api/v1/metrics/{name}?positions=1");
                let known = seen.answers.len();
                if known < 1000
                    && let Some(answer) = api.json(&path)
                {
                    seen.answers.push((name, answer));
                    first = false;
                }
            }
        }
    }
    let left = daemon.kill();
    assert_eq!(left.code, None, "it ended before it was killed:\n{}{}", left.stdout, left.stderr);
}

#[test]
fn crashes_change_nothing() {
    let records = support::number("PINFLOW_CRASH_RECORDS", 1_000_000);
    let kills = support::number("PINFLOW_CRASH_KILLS", 52);
    let seed = support::number("PINFLOW_CRASH_SEED", 1);
    let room = tempfile::tempdir().unwrap();
    let dir = room.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    std::fs::write(dir.join("config.toml"), declared(SETTINGS, SHARED, OWN)).unwrap();
    let growing = Growing::new(dir.join("in"), records, seed);
    let writer = std::thread::spawn({
        let growing = growing.clone();
        move || growing.write(Duration::from_millis(kills * 1500), seed)
    });
    let seen = Mutex::new(Seen::default());
    let (mut random, mut between) = (Random::new(seed ^ 0x00C0_FFEE), 0);
    let mut held = BTreeMap::new();
    for kill in 0..kills {
        growing.allowed.store((kill + 1) * 1000 / (kills + 2), Ordering::Relaxed);
        let life =
            if random.chance(150) { 20 + random.below(300) } else { 500 + random.below(1500) };
        let life = Duration::from_millis(life);
        live(dir, life, &held, &seen, kill % 10 == 3);
        let ended = growing.done.load(Ordering::Relaxed);
        let begun = growing.written.load(Ordering::Relaxed) > 0;
        if let Some(now) = durable(&dir.join("state")) {
            between += u64::from(begun && !ended);
            let back = held.iter().any(|(file, at)| now.get(file) < Some(at));
            assert!(!back, "what was durable went from {held:?} back to {now:?}");
            held = now;
        }
    }
    growing.allowed.store(1000, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(between >= kills * 4 / 5, "only {between} of {kills} kills struck in the middle");
    let seen = seen.into_inner().unwrap();
    assert!(seen.scrapes >= kills as usize, "only {} scrapes showed anything", seen.scrapes);
    finish(dir, &growing, &seen);
}

/// Reads the rest without interruption and compares everything with the oracle.
fn finish(dir: &Path, growing: &Growing, seen: &Seen) {
    let path = |name: &str| dir.join(name);
    let mut args = once(&path("config.toml"), &path("in"), &path("state"));
    for (flag, folder) in [("--results", "out"), ("--cleaned", "cleaned")] {
        args.extend([flag.to_string(), path(folder).to_str().unwrap().to_string()]);
    }
    pinflow(&args).ok();
    let letters = compare::letters(&path("state"));
    let arrivals = compare::arrivals(&path("cleaned"), &letters);
    let model = Model::new(&growing.messages(None, None, &arrivals), &Rules::default());
    let (metrics, age_groups) = metric::load(&path("config.toml"));
    let columns = Columns { age_groups };
    let now = Now { at: model.now, ended: true };
    compare::same_results(&path("out"), "tsv", &metrics, &model, &columns, now);
    compare::same_letters(&letters, &model);
    compare::same_cleaned(&path("cleaned"), &model);
    drop(model);
    shown(growing, seen, &arrivals, &metrics, &columns);
}

/// Answers that were seen are what an uninterrupted run shows at their positions.
fn shown(
    growing: &Growing,
    seen: &Seen,
    arrivals: &Moments,
    metrics: &[metric::Metric],
    columns: &Columns,
) {
    let mut answers: Vec<(Places, &(&str, Value))> =
        seen.answers.iter().map(|a| (http::positions(&a.1), a)).collect();
    answers.sort_by_key(|(at, _)| at.values().sum::<u64>());
    let step = (answers.len() / 60).max(1);
    let (mut at, mut model) = (Places::new(), Model::new(&[], &Rules::default()));
    let (mut checked, mut passed) = (0, Vec::new());
    for (to, (name, answer)) in answers.into_iter().step_by(step) {
        // The model only grows: positions that lie behind in one of the files are passed over.
        if at.iter().any(|(file, at)| to.get(file).is_none_or(|to| to < at)) {
            passed.push(format!("{name}: {to:?} behind {at:?}"));
            continue;
        }
        for message in growing.messages(Some(&at), Some(&to), arrivals) {
            model.read(&message, &Rules::default());
        }
        let metric = metrics.iter().find(|m| m.name == *name).unwrap();
        let edges = ["window", "start", "end"];
        let names = print::header(metric).into_iter().filter(|n| !edges.contains(&&**n));
        let now = Now { at: model.now, ended: false };
        let right = rows(metric, &model, columns, now);
        let right: Vec<_> = right.iter().map(|row| print::cells(row, metric)).collect();
        let what = format!("{name} at {to:?}, {}", answer["frontier"]);
        table::same(&what, &http::rows(answer, &names.collect::<Vec<_>>()), &right);
        checked += usize::from(!right.is_empty());
        passed.push(format!("{name}: {to:?}, {} rows", right.len()));
        at = to;
    }
    let seen = seen.answers.len();
    assert!(checked >= 5, "only {checked} of {seen} answers were worth a check: {passed:#?}");
}
