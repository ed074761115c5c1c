//! The demo behind its port: every route answers, every scrape adds up, answers of one frontier
//! agree with each other.

#![allow(clippy::unwrap_used)]

#[allow(unused)]
mod oracle;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use support::http::{Api, Scrape};
use support::port::free_port;
use support::process::{Running, command};

struct Demo {
    daemon: Running,
    api: Api,
    port: u16,
    _dir: tempfile::TempDir,
}

fn demo(rate: &str) -> Demo {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").to_str().unwrap().to_string();
    let config = support::config("demo.toml");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let config = config.to_str().unwrap();
    let args = ["run", "--config", config, "--state", &state, "--listen", &listen, "--rate", rate];
    let mut daemon = Running::start(command(args));
    let api = Api::new(port);
    api.wait("/readyz", &mut daemon, Duration::from_mins(1));
    Demo { daemon, api, port, _dir: dir }
}

impl Demo {
    fn stop(self) {
        self.daemon.terminate();
        self.daemon.wait(Duration::from_secs(30)).ok();
    }
}

#[test]
fn http_routes_answer() {
    let demo = demo("1000");
    std::thread::sleep(Duration::from_secs(1));
    let (api, status) = (&demo.api, |path: &str| demo.api.get(path).unwrap().0);
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/v1/status", "/api/v1/metrics"] {
        assert_eq!(status(path), 200, "{path}");
    }
    let list = api.json("/api/v1/metrics").unwrap();
    let list = list["metrics"].as_array().unwrap();
    assert!(list.len() >= 15, "the built-in metrics are listed");
    for entry in list {
        let name = entry["name"].as_str().unwrap();
        assert!(entry["meaning"].as_str().is_some_and(|m| m.len() > 5), "{name} means something");
        let answer = api.json(&format!("/api/v1/metrics/{name}?limit=3&positions=1")).unwrap();
        assert_eq!(answer["metric"], name);
        assert!(answer["frontier"]["epoch"].is_u64() && answer["positions"].is_object());
        for window in answer["windows"].as_array().unwrap() {
            assert!(window["rows"].as_array().unwrap().len() <= 3, "{name} keeps the limit");
        }
        let (code, csv) = api.get(&format!("/api/v1/metrics/{name}?format=csv&limit=3")).unwrap();
        assert!(code == 200 && csv.lines().count() >= 1, "{name} as CSV");
    }
    let rows = |path: &str| api.json(path).unwrap()["windows"][0]["rows"].clone();
    let all = rows("/api/v1/metrics/posts_by_country");
    let country = all[0]["country"].as_str().unwrap().replace(' ', "%20");
    let one = rows(&format!("/api/v1/metrics/posts_by_country?country={country}"));
    assert_eq!(one.as_array().unwrap().len(), 1, "a key chooses its row: {one}");
    for (path, right) in [
        ("/nonsense", 404),
        ("/api/v1/metrics/nonsense", 404),
        ("/api/v1/metrics/posts_by_country?limit=x", 400),
        ("/api/v1/metrics/posts_by_country?nonsense=1", 400),
        ("/api/v1/posts/99999999", 404),
    ] {
        assert_eq!(status(path), right, "{path}");
    }
    let held = (0..100_000).find(|i| status(&format!("/api/v1/posts/{i}")) == 200);
    assert!(held.is_some(), "some post is held");
    demo.stop();
}

#[test]
fn http_scrapes_add_up_and_grow() {
    let demo = demo("3000");
    let (mut last, mut agreed): (Option<Scrape>, usize) = (None, 0);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        let scrape = demo.api.scrape().unwrap();
        let read = scrape.conserves();
        agreed += usize::from(agree(&scrape));
        if let Some(last) = &last {
            assert!(read >= last.conserves() && scrape.frontier() >= last.frontier());
            for (partition, at) in last.by("pinflow_source_position", "partition") {
                let now = scrape.by("pinflow_source_position", "partition")[&partition];
                assert!(now >= at, "{partition} went back");
            }
        }
        last = Some(scrape);
    }
    assert!(agreed > 10, "only {agreed} scrapes showed posts");
    let read = last.unwrap().conserves();
    assert!(read > 3000.0, "only {read} records were read");
    demo.stop();
}

/// What a scrape says of the world comes from one frontier: parts add up to the same whole.
/// Gives whether there was anything to add up.
fn agree(scrape: &Scrape) -> bool {
    let world = |name: &str| -> f64 {
        let samples = scrape.samples.get(&format!("pinflow_world_{name}"));
        samples.into_iter().flatten().map(|(_, value)| value).sum()
    };
    let whole = world("posts_by_country");
    for name in ["category_by_year", "posts_by_hour_of_day"] {
        let parts = world(name);
        assert!((whole - parts).abs() < 0.5, "{whole} posts by country, {parts} by {name}");
    }
    whole > 0.5
}

#[test]
fn http_answers_of_one_frontier_agree() {
    let demo = demo("20");
    std::thread::sleep(Duration::from_secs(3));
    let ask = |name: &str| demo.api.json(&format!("/api/v1/metrics/{name}")).unwrap();
    let sum = |answer: &Value, measure: &str| -> f64 {
        let rows = answer["windows"][0]["rows"].as_array().unwrap();
        rows.iter().map(|row| row[measure].as_f64().unwrap()).sum()
    };
    let mut agreed = 0;
    for _ in 0..200 {
        let (a, b) = (ask("posts_by_country"), ask("posts_by_hour_of_day"));
        if a["frontier"] == b["frontier"] {
            let (a, b) = (sum(&a, "count"), sum(&b, "count"));
            assert!((a - b).abs() < 0.5, "{a} posts by country, {b} by hour at one frontier");
            agreed += usize::from(a > 0.5);
        }
    }
    assert!(agreed > 3, "only {agreed} pairs of answers were of one frontier");
    demo.stop();
}

#[test]
fn http_changes_follow_a_snapshot() {
    let demo = demo("500");
    let mut stream = TcpStream::connect(("127.0.0.1", demo.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let path = "/api/v1/metrics/posts_by_country/changes?positions=1";
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", demo.port);
    stream.write_all(request.as_bytes()).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), [0u8; 8192]);
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(_) => {}
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("text/event-stream"), "{}", &text[..text.len().min(500)]);
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
        .collect();
    assert!(events.len() >= 3, "a snapshot and changes: {} events", events.len());
    let epochs: Vec<u64> =
        events.iter().map(|e| e["frontier"]["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted(), "changes come in order: {epochs:?}");
    demo.stop();
}
