//! A daemon of scripted data behind the page, and the page in a real browser against it.

use std::process::Command;
use std::sync::Arc;

use dataflows::metrics::declare::{Expr, Fraction, Kind};
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Change, Value};
use dataflows::record::{Column, Reason};
use dataflows::sealed::Tally;
use dataflows::time::{DAY, HOUR, SECOND};

use super::tests::{config, get, local, parts};
use super::{Parts, Server, serve};
use crate::engine::clock::wall;
use crate::publish::samples::{measure, metric, returning, row, sliding};
use crate::publish::{Frontier, Place, Progress, Published, State};
use crate::telemetry::status::{Checkpoints, Motion, PartitionStatus, Sample, SourceStatus};

const COUNTRIES: [&str; 18] = [
    "United States of America",
    "Brazil",
    "Japan",
    "Germany",
    "France",
    "Mexico",
    "India",
    "Poland",
    "Albania",
    "Bosnia and Herzegovina",
    "Aruba",
    "Chile",
    "Kenya",
    "Norway",
    "Armenia",
    "Bouvet Island",
    "Cote d'Ivoire",
    "Samoa",
];
const CATEGORIES: [&str; 13] = [
    "art",
    "beauty",
    "christmas",
    "diy-and-crafts",
    "education",
    "event-planning",
    "finance",
    "home-decor",
    "mens-fashion",
    "quotes",
    "tattoos",
    "travel",
    "vehicles",
];
const AGES: [&str; 5] = ["under 18", "18-24", "25-35", "36-50", "50+"];
const SOURCES: [&str; 3] = ["pin", "geo", "user"];

fn schemas() -> Vec<Schema> {
    let count = || vec![measure("count", Kind::Count)];
    let followers = Expr::Column(Column::FollowerCount);
    let half = Fraction { num: 1, den: 2 };
    let median = Kind::Quantile { of: followers, q: half, interpolated: false };
    let category = Expr::Column(Column::Category);
    let top = returning("category", "count", Kind::Top { k: 1, of: category });
    let windows = sliding(&[300 * SECOND, HOUR, DAY]);
    [
        metric("category_popularity", &["country", "category"], count(), windows),
        metric(
            "median_followers_by_age_group",
            &["age_group"],
            vec![measure("median_follower_count", median)],
            Vec::new(),
        ),
        metric("top_category_by_country", &["country"], vec![top], Vec::new()),
    ]
    .iter()
    .map(Schema::of)
    .collect()
}

/// A small stream of numbers that looks random and is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Small numbers more often.
    fn heavy(&mut self, n: usize) -> usize {
        let n = 1 + self.roll(n);
        self.roll(n)
    }
}

/// The scripted daemon's state.
struct Script {
    dice: Dice,
    counts: Vec<[[i64; 13]; 18]>,
    tallies: [Tally; 3],
    rejected: [u64; 10],
    epoch: u64,
}

impl Script {
    fn new() -> Self {
        let counts = vec![[[0; 13]; 18]; 3];
        Script { dice: Dice(7), counts, tallies: Default::default(), rejected: [0; 10], epoch: 0 }
    }

    /// Some records and what they change.
    fn step(&mut self, records: usize) -> Vec<Change> {
        for _ in 0..records {
            let source = self.dice.roll(3);
            let tally = &mut self.tallies[source];
            tally.read += 1;
            match self.dice.roll(100) {
                0 => {
                    tally.rejected += 1;
                    self.rejected[[4, 4, 7, 5, 8, 9][self.dice.heavy(6)]] += 1;
                }
                1..5 => tally.superseded += 1,
                5..14 => tally.duplicate += 1,
                _ => tally.accepted += 1,
            }
            let (a, b) = (self.dice.heavy(18), self.dice.heavy(13));
            for (window, counts) in self.counts.iter_mut().enumerate() {
                counts[a][(b * 5 + a * 3) % 13] += 1;
                // Windows empty as they slide.
                let (old, cat) = (self.dice.heavy(18), self.dice.roll(13));
                if window == 0 && self.dice.roll(10) < 9 && counts[old][cat] > 0 {
                    counts[old][cat] -= 1;
                }
            }
        }
        self.epoch += 1;
        let mut changes = Vec::new();
        for (w, counts) in self.counts.iter().enumerate() {
            for (country, row_) in COUNTRIES.iter().zip(counts) {
                for (category, n) in CATEGORIES.iter().zip(row_) {
                    let value = [Value::Int((*n).into())];
                    let values = if *n == 0 { &[][..] } else { &value[..] };
                    let country = (*country != "Samoa").then_some(*country);
                    changes.push(row(0, w as u16, &[country, Some(*category)], values));
                }
            }
        }
        for (n, age) in AGES.iter().enumerate() {
            let value =
                Value::Int([412, 1_850, 12_400, 8_300, 2_100][n] + self.dice.roll(90) as i128);
            changes.push(row(1, 0, &[Some(*age)], &[value]));
        }
        for (n, country) in COUNTRIES.iter().enumerate() {
            let best = (0..13).max_by_key(|c| self.counts[2][n][*c]).unwrap_or(0);
            let text = Value::Text(dataflows::symbol::intern(CATEGORIES[best]));
            let count = Value::Int(self.counts[2][n][best].into());
            changes.push(row(2, 0, &[Some(*country)], &[text, count]));
        }
        changes
    }

    fn progress(&self) -> Progress {
        let place = |s: &&str| Place { source: "demo".into(), partition: (*s).into() };
        let read: u64 = self.tallies.iter().map(|t| t.read).sum();
        Progress {
            places: Arc::new(SOURCES.iter().map(place).collect()),
            next: self.tallies.iter().map(|t| t.read).collect(),
            tallies: self.tallies.to_vec(),
            rejected: [("demo".into(), self.rejected)].into(),
            handed_over: read + 12,
            in_flight: 12,
            posts: (read / 3).min(100_000),
            incomplete: [31, 124, 87],
            ..Progress::default()
        }
    }

    fn publish(&mut self, published: &Published, records: usize, now: i64) {
        let changes = self.step(records);
        let frontier = Frontier { run: 2, epoch: self.epoch, now, ended: false };
        published.show(frontier, Arc::new(self.progress()), changes);
    }
}

fn start() -> (Server, Parts) {
    let parts = parts(Published::new(schemas()));
    {
        let mut status = parts.status.write();
        status.workers = 2;
        status.started_at = 1_520_139_967_000_000;
        status.sources =
            vec![SourceStatus { name: "demo".into(), kind: "demo".into(), ..Default::default() }];
        let moving = PartitionStatus { state: Motion::Moving, end: Some(0), ..Default::default() };
        status.partitions = vec![moving; 3];
        status.checkpoints = Checkpoints { cut: 9, ..Default::default() };
        let sample = |payload: &[u8]| {
            let (payload, truncated) = Sample::shorten(payload);
            Sample {
                source: "demo".into(),
                partition: "pin".into(),
                position: 1_204,
                sub: 0,
                arrived_at: 1_520_139_967_000_000,
                payload,
                truncated,
            }
        };
        status.sample(Reason::NotJson, sample(b"{\"index\": 12, \"unique_id\": \"ab"));
        status.sample(Reason::NotJson, sample(b"<html>502 Bad Gateway</html>"));
        status.sample(Reason::UnknownKind, sample(b"{\"hello\": \"world\"}"));
    }
    let server = serve(&config(None, 64), local(), parts.clone()).expect("serves");
    (server, parts)
}

/// The first browser there is, if any.
fn browser() -> Option<&'static str> {
    let all = ["chromium", "chromium-browser", "google-chrome"];
    all.into_iter().find(|b| Command::new(b).arg("--version").output().is_ok())
}

/// The page as a real browser shows it.
fn rendered(browser: &str, url: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"])
        .arg("--dump-dom")
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(url)
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn values_on_the_page_are_those_of_the_api() {
    let browser = browser().expect("a browser is there: make test installs chromium");
    let (server, parts) = start();
    let mut script = Script::new();
    script.publish(&parts.published, 4_000, wall());
    parts.published.set_state(State::Live);
    let url = format!("http://{}/", server.addr);
    // The budget of virtual time may run out before the feed's first event is there.
    let shown = (0..8)
        .map(|_| rendered(browser, &url))
        .find(|page| page.contains("data-country=") && page.contains("data-outcome="))
        .expect("the page shows results");
    let holds = |part: &str| assert!(shown.contains(part), "{part} is not in {shown}");
    let path = "/api/v1/metrics/category_popularity?window=5min";
    let answer = get(server.addr, path).json();
    let rows = answer["windows"][0]["rows"].as_array().expect("rows").clone();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
    let mut checked = 0;
    for row in &rows {
        let (country, category) = (text(row, "country"), text(row, "category"));
        let cell = format!("data-country=\"{country}\" data-category=\"{category}\"");
        if shown.contains(&cell) {
            holds(&format!("{cell} data-window=\"5min\" data-value=\"{}\"", row["count"]));
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} cells are shown");
    let status = get(server.addr, "/api/v1/status").json();
    for outcome in ["accepted", "duplicate", "superseded", "rejected", "ignored"] {
        let n = &status["totals"][outcome];
        holds(&format!("data-outcome=\"{outcome}\" data-value=\"{n}\""));
    }
    for reject in status["rejects"].as_array().expect("rejects") {
        let (reason, count) = (text(reject, "reason"), &reject["count"]);
        holds(&format!("data-reason=\"{reason}\" data-value=\"{count}\""));
    }
    holds("data-state=\"live\"");
    holds(&format!("data-epoch=\"{}\"", answer["frontier"]["epoch"]));
}
