//! Random declarations over random histories: inserts, duplicates, amendments, sides in any order,
//! late rows, dirt, several sources, restarts and crashes at random points, one to three workers,
//! epochs of any size. After each phase every result is the oracle's.
//!
//! `PINFLOW_CASES` (40) says how many; `PINFLOW_SEED` repeats one of them.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Message, Rule, Rules, metric, parse, print, unwrap};
use support::declare::{KINDS, RECORDS, WINDOWS};
use support::process::{Running, command};
use support::{Random, compare, declare, wire};

/// 2024-03-01 00:00:00 UTC, in seconds.
const START: i64 = 1_709_251_200;

/// The files of a case: source, name, routing rule.
const FILES: [(&str, &str, Rule); 6] = [
    ("a", "pins.jsonl", Rule::Auto),
    ("a", "mixed.jsonl", Rule::Auto),
    ("a", "others.jsonl", Rule::Ignore),
    ("b", "all.jsonl", Rule::Auto),
    ("b", "geo.jsonl", Rule::Kind(oracle::Stream::Geo)),
    ("b", "later.jsonl", Rule::Auto),
];

struct Case {
    dir: tempfile::TempDir,
    random: Random,
    /// The files that are there, as written so far.
    files: BTreeMap<usize, Vec<u8>>,
    /// Lines that were sent, to be sent again.
    sent: Vec<String>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut config = String::new();
        for source in ["a", "b"] {
            let path = dir.path().join(source);
            std::fs::create_dir(&path).unwrap();
            write!(
                config,
                "[source.{source}]\nkind = \"files\"\npaths = [\"{}\"]\narrival_field = \"at\"\n\
                 route = [{{ partition = \"*others*\", as = \"ignore\" }}, \
                 {{ partition = \"*geo.jsonl\", as = \"geo\" }}]\n\n",
                path.display()
            )
            .unwrap();
        }
        for n in 0..7 {
            let kind = KINDS[(seed as usize * 7 + n) % KINDS.len()];
            let window = WINDOWS[(seed as usize + n) % WINDOWS.len()];
            config.push_str(&declare::metric(&format!("m{n}"), kind, window, &mut random));
            config.push('\n');
        }
        config.push_str(RECORDS);
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        Case { dir, random, files: BTreeMap::new(), sent: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Appends lines to some of the files; new ones begin with a good line.
    fn grow(&mut self) {
        for (place, (source, name, _)) in FILES.iter().enumerate() {
            if self.random.chance(300) {
                continue;
            }
            let mut bytes = Vec::new();
            for n in 0..=self.random.below(40) {
                let fresh = n == 0 && !self.files.contains_key(&place);
                bytes.extend(line(&mut self.random, &mut self.sent, fresh).bytes());
                bytes.push(b'\n');
            }
            let path = self.path(source).join(name);
            let whole = self.files.entry(place).or_default();
            whole.extend(bytes);
            std::fs::write(path, whole).unwrap();
        }
    }

    /// Runs to the end, perhaps after a run that was cut off.
    fn run(&mut self) {
        let dir = self.dir.path().to_path_buf();
        let text = |name: &str| dir.join(name).to_str().unwrap().to_string();
        let workers = 1 + self.random.below(3);
        let epoch = *self.random.pick(&[1, 3, 10, 1000]);
        let mut args: Vec<String> = ["run", "--once", "--format", "csv"].map(Into::into).to_vec();
        for (flag, value) in [
            ("--config", text("config.toml")),
            ("--state", text("state")),
            ("--results", text("out")),
            ("--cleaned", text("cleaned")),
            ("--set", format!("engine.workers={workers}")),
            ("--set", format!("engine.max_epoch_records={epoch}")),
            ("--set", "state.cut_interval=\"10ms\"".to_string()),
        ] {
            args.extend([flag.to_string(), value]);
        }
        if self.random.chance(500) {
            let at =
                ["after_log_append", "after_log_write", "after_manifest_write", "after_sink_sync"];
            let fault = format!("{}:{}", self.random.pick(&at), 1 + self.random.below(6));
            let mut cut_off = command(&args);
            cut_off.env("PINFLOW_FAULT", fault);
            let ended = Running::start(cut_off).wait(Duration::from_mins(1));
            let fine = ended.code.is_none() || ended.code == Some(0);
            assert!(fine, "it was to be cut off: {:?}\n{}", ended.code, ended.stderr);
        }
        Running::start(command(&args)).wait(Duration::from_mins(1)).ok();
    }

    fn messages(&self) -> Vec<Message> {
        let mut out = Vec::new();
        for (place, bytes) in &self.files {
            let (source, name, rule) = FILES[*place];
            let mut messages = wire::lines(bytes, name, rule, 0);
            let mut latest = 0;
            for message in &mut messages {
                message.source = source.into();
                message.given = true;
                latest = arrival(&message.payload).unwrap_or(latest);
                message.arrived_at = latest;
            }
            out.extend(messages);
        }
        out
    }

    fn check(&mut self, seed: u64, phase: u32) {
        let (metrics, age_groups) = metric::load(&self.path("config.toml"));
        let model = Model::new(&self.messages(), &Rules::default());
        let now = Now { at: model.now, ended: true };
        let columns = Columns { age_groups };
        let text = std::fs::read_to_string(self.path("config.toml")).unwrap();
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
            compare::same_results(&self.path("out"), "csv", &metrics, &model, &columns, now);
            compare::same_cleaned(&self.path("cleaned"), &model);
        }));
        if caught.is_err() {
            self.dir.disable_cleanup(true);
            let kept = self.dir.path().display();
            let now = print::moment(i128::from(now.at) * 1000);
            panic!("seed {seed}, phase {phase}, now {now}, kept in {kept}; see above\n{text}");
        }
    }
}

/// The arrival time that a row holds in its field `at`.
fn arrival(payload: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(payload).ok()?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let pairs = unwrap::pairs(text.trim());
    let raw = &pairs.iter().rev().find(|(key, _)| key == "at")?.1;
    let nanos = parse::timestamp(raw.trim_matches('"'), &[])?;
    Some(nanos.div_euclid(1000) as i64)
}

fn moment(seconds: i64) -> String {
    print::moment(i128::from(seconds) * 1_000_000_000)
}

/// A line: one that was sent before, or a new one, or dirt.
fn line(random: &mut Random, sent: &mut Vec<String>, fresh: bool) -> String {
    let at = moment(START + random.below(3 * 3600) as i64);
    if !fresh && random.chance(40) {
        return random
            .pick(&["", "null", "{\"ind\": 1}", "[]", "nonsense", "{\"ind\":", "[1,{\"a\":2}]"])
            .to_string();
    }
    if !fresh && random.chance(200) && !sent.is_empty() {
        // The same content: at the same arrival, which the row itself holds.
        return random.pick(sent).clone();
    }
    let index = random.below(14);
    let body = match random.below(3) {
        0 => pin(index, random),
        1 => geo(index, random),
        _ => user(index, random),
    };
    let row = format!("{{{body}, \"at\": \"{at}\"}}");
    sent.push(row.clone());
    row
}

fn or_null(random: &mut Random, of_thousand: u64, text: String) -> String {
    if random.chance(of_thousand) { "null".into() } else { text }
}

fn pin(index: u64, random: &mut Random) -> String {
    let category = *random.pick(&["art", "beauty", "travel", "Ärger", "a,\\\"b"]);
    let category = or_null(random, 80, format!("\"{category}\""));
    let poster = *random.pick(&["Ann", "Bob", "Cé", "User Info Error", "Zoë", "ann"]);
    let followers = *random.pick(&["5", "17", "1k", "1.5k", "2M", "User Info Error", "x", "0"]);
    let title = *random.pick(&["No Title Data Available", "t", "longer title", "  ", "ü"]);
    let tags = *random.pick(&["a,b", "a", "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e", "a,b,c,d"]);
    let kind = *random.pick(&["image", "video"]);
    let downloaded = random.below(3);
    format!(
        "\"index\": {index}, \"unique_id\": \"u{index}\", \"title\": \"{title}\", \
         \"poster_name\": \"{poster}\", \"follower_count\": \"{followers}\", \
         \"tag_list\": \"{tags}\", \"is_image_or_video\": \"{kind}\", \
         \"downloaded\": {downloaded}, \"category\": {category}"
    )
}

fn geo(index: u64, random: &mut Random) -> String {
    let spans = [3600, 86_400, 90 * 86_400, 4 * 365 * 86_400];
    let span = *random.pick(&spans);
    let back = random.below(span) as i64;
    let time = or_null(random, 50, format!("\"{}\"", moment(START + 1800 - back)));
    let country = *random.pick(&["Albania", "Cote d'Ivoire", "Zimbabwe", "Åland"]);
    let country = or_null(random, 60, format!("\"{country}\""));
    let lat = random.below(2000) as f64 / 10.0 - 100.0;
    let lon = random.below(3600) as f64 / 10.0 - 180.0;
    format!(
        "\"ind\": {index}, \"timestamp\": {time}, \"latitude\": {lat:.1}, \
         \"longitude\": {lon:.1}, \"country\": {country}"
    )
}

fn user(index: u64, random: &mut Random) -> String {
    let first = *random.pick(&["\"A\"", "\"B\"", "\"C\"", "null"]);
    let last = or_null(random, 200, "\"Z\"".into());
    let age = *random.pick(&["17", "18", "24", "25", "51", "\"36\"", "200", "null"]);
    let year = 2015 + random.below(3);
    format!(
        "\"ind\": {index}, \"first_name\": {first}, \"last_name\": {last}, \"age\": {age}, \
         \"date_joined\": \"{year}-10-21 03:17:47\""
    )
}

fn case(seed: u64) {
    let mut case = Case::new(seed);
    let phases = 2 + case.random.below(3) as u32;
    for phase in 0..phases {
        case.grow();
        if case.files.is_empty() {
            continue;
        }
        case.run();
        case.check(seed, phase);
    }
}

#[test]
fn properties_hold_after_every_phase() {
    if let Ok(seed) = std::env::var("PINFLOW_SEED") {
        return case(seed.parse().unwrap());
    }
    let cases = support::number("PINFLOW_CASES", 40);
    let broken: Vec<u64> =
        (0..cases).filter(|seed| std::panic::catch_unwind(|| case(*seed)).is_err()).collect();
    assert!(broken.is_empty(), "of {cases} these seeds are wrong: {broken:?}");
}
