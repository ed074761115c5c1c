//! A real Prometheus over the real binary: it takes what is scraped, every panel of the dashboards
//! has something to show, the alert rules can be evaluated, and they fire when they ought to.
//!
//! `prometheus` and `promtool` must be there (`make test` installs them).

#![allow(clippy::unwrap_used)]

#[allow(unused)]
mod oracle;
mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::Api;
use support::port::free_port;
use support::process::{Running, command};

/// What a Prometheus may take until it has scraped often enough; five seconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Panels with a query that answers nothing where all is well and dead letters go to no topic, and
/// how many of those queries.
const EMPTY: [(&str, usize); 4] = [
    ("Partitions by state", 1),
    ("Dead letters to topics", 2),
    ("Dead letters waiting", 1),
    ("Series folded", 1),
];

fn grafana(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(name)
}

/// A server with a folder and a port of its own; killed when dropped.
struct Prometheus {
    api: Api,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one with the committed configuration, for a daemon at a port, scraped every second.
    fn start(daemon: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(grafana("prometheus.yml")).unwrap();
        assert!(text.contains("127.0.0.1:8765") && text.contains("scrape_interval: 5s"));
        let text = text
            .replace("127.0.0.1:8765", &format!("127.0.0.1:{daemon}"))
            .replace("scrape_interval: 5s", "scrape_interval: 1s\n  evaluation_interval: 1s");
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, text).unwrap();
        std::fs::copy(grafana("alerts.yml"), dir.path().join("alerts.yml")).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("said")).unwrap())
            .spawn()
            .expect("prometheus is there: scripts/setup test installs it");
        Prometheus { api: Api::new(port), child, _dir: dir }
    }

    /// What a query answers now; none while the server does not answer.
    fn ask(&self, query: &str) -> Option<Vec<Value>> {
        let (status, body) = self.api.get_with("/api/v1/query", &[("query", query)])?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        assert_eq!((status, &answer["status"]), (200, &"success".into()), "{query}: {body}");
        Some(answer["data"]["result"].as_array().unwrap().clone())
    }

    /// Waits until a query answers something.
    fn wait(&mut self, query: &str, daemon: &mut Running) {
        let start = Instant::now();
        while self.ask(query).is_none_or(|rows| rows.is_empty()) {
            assert!(self.child.try_wait().unwrap().is_none(), "prometheus ended");
            assert!(daemon.alive(), "the daemon ended");
            assert!(start.elapsed() < PATIENCE, "{query} was not answered within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The title and the query of every target of a dashboard, its variables as Grafana fills them in.
fn queries(board: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(grafana(&format!("dashboards/{board}.json"))).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "10s").replace("$window", "5min");
            let query = ["$job", "$instance", "$country"]
                .iter()
                .fold(query, |query, all| query.replace(all, ".+"));
            assert!(!query.contains('$'), "{query} has a variable that is not known here");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

#[test]
fn every_panel_shows_something_and_no_alert_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (config, port) = (support::config("demo.toml"), free_port());
    let (state, cleaned, listen) = (path("state"), path("cleaned"), format!("127.0.0.1:{port}"));
    let args = ["run", "--config", config.to_str().unwrap(), "--rate", "3000"];
    let paths = ["--state", &state, "--cleaned", &cleaned, "--listen", &listen];
    let mut daemon = Running::start(command(args.iter().chain(&paths)));
    Api::new(port).wait("/readyz", &mut daemon, PATIENCE);
    let mut prometheus = Prometheus::start(port);
    // Ten scrapes, and two checkpoints that cleaned rows came with: a rate needs two values.
    prometheus.wait("count_over_time(up{job=\"pinflow\"}[1h]) >= 10", &mut daemon);
    prometheus.wait("sum(rate(pinflow_sink_rows_total[10s])) > 0", &mut daemon);
    assert_eq!(prometheus.ask("up == 0"), Some(vec![]), "every scrape was taken");

    let mut empty: Vec<String> = Vec::new();
    let all = ["overview", "insights"].map(queries).concat();
    assert!(all.len() > 60, "{} queries", all.len());
    for (title, query) in all {
        if prometheus.ask(&query).unwrap().is_empty() {
            empty.push(title);
        }
    }
    let right = EMPTY.iter().flat_map(|(title, n)| vec![(*title).to_owned(); *n]);
    assert_eq!(empty, right.collect::<Vec<_>>());

    let rules = prometheus.api.json("/api/v1/rules").unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 10, "{} rules", rules.len());
    for rule in rules {
        assert_eq!((&rule["health"], &rule["state"]), (&"ok".into(), &"inactive".into()), "{rule}");
    }
}

#[test]
fn alerts_fire_when_they_ought_to() {
    let rules = Command::new("promtool")
        .args(["test", "rules"])
        .arg(grafana("alerts_test.yml"))
        .output()
        .expect("promtool is there: scripts/setup test installs it");
    let said = String::from_utf8_lossy(&rules.stdout) + String::from_utf8_lossy(&rules.stderr);
    assert!(rules.status.success(), "{said}");
}
