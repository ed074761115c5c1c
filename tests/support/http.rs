//! Asking a running daemon, and reading what it answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::Running;

/// Where a daemon answers.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    /// On a port of this machine.
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .build();
        Api { base: format!("http://127.0.0.1:{port}"), agent: config.into() }
    }

    /// The status and the text of a path; none if nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_with(path, &[])
    }

    /// The same with parameters, which are escaped.
    pub fn get_with(&self, path: &str, parameters: &[(&str, &str)]) -> Option<(u16, String)> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut response = request.query_pairs(parameters.iter().copied()).call().ok()?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string().ok()?;
        Some((status, body))
    }

    /// The JSON of a path, if it is answered with 200.
    pub fn json(&self, path: &str) -> Option<Value> {
        let (status, body) = self.get(path)?;
        (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
    }

    /// Asks until a path is answered with 200, while the daemon lives.
    pub fn wait(&self, path: &str, daemon: &mut Running, most: Duration) -> String {
        let start = Instant::now();
        loop {
            if let Some((200, body)) = self.get(path) {
                return body;
            }
            assert!(daemon.alive(), "the daemon ended before it answered {path}");
            assert!(start.elapsed() < most, "{path} was not answered within {most:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A scrape; none if nobody answers.
    pub fn scrape(&self) -> Option<Scrape> {
        let (status, body) = self.get("/metrics")?;
        (status == 200).then(|| Scrape::parse(&body))
    }
}

/// The labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// The samples of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Samples by name.
    pub samples: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Scrape {
    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Self {
        let mut scrape = Scrape::default();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (head, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = head.split_once('{').map_or((head, ""), |(name, rest)| {
                (name, rest.strip_suffix('}').expect("labels are closed"))
            });
            let value = match value {
                "+Inf" => f64::INFINITY,
                "NaN" => f64::NAN,
                other => other.parse().unwrap_or_else(|_| panic!("no number in {line}")),
            };
            let list = scrape.samples.entry(name.to_string()).or_default();
            list.push((read_labels(labels), value));
        }
        scrape
    }

    /// The one value of a name without labels.
    pub fn one(&self, name: &str) -> f64 {
        match self.samples.get(name).map(Vec::as_slice) {
            Some([(_, value)]) => *value,
            other => panic!("{name} is not there once: {other:?}"),
        }
    }

    /// The values of a name by a label.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        for (labels, value) in self.samples.get(name).into_iter().flatten() {
            *out.entry(labels.get(label).cloned().unwrap_or_default()).or_insert(0.0) += value;
        }
        out
    }

    /// Asserts `read = accepted + duplicate + superseded + rejected + ignored` for each
    /// partition, and `handed_over = read + in_flight`; gives how many records were read.
    pub fn conserves(&self) -> f64 {
        let read = self.by("pinflow_records_read_total", "partition");
        let became = self.by("pinflow_records_total", "partition");
        for (partition, n) in &read {
            let sum = became.get(partition).copied().unwrap_or(0.0);
            assert!((n - sum).abs() < 0.5, "{partition}: {n} read, {sum} accounted for");
        }
        let all: f64 = read.values().sum();
        let handed = self.one("pinflow_handed_over_records");
        let flight = self.one("pinflow_in_flight_records");
        assert!(
            (handed - all - flight).abs() < 0.5,
            "{handed} handed over, but {all} read and {flight} in flight"
        );
        all
    }

    /// The run and the epoch of the frontier.
    pub fn frontier(&self) -> (u64, u64) {
        (self.one("pinflow_frontier_run") as u64, self.one("pinflow_frontier_epoch") as u64)
    }
}

/// Reads `a="x",b="y"`.
fn read_labels(text: &str) -> Labels {
    let mut out = Labels::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (mut value, mut end) = (String::new(), after.len());
        let mut chars = after.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => {}
                },
                other => value.push(other),
            }
        }
        out.insert(name.trim_start_matches(',').to_string(), value);
        rest = after.get(end + 1..).unwrap_or("");
    }
    out
}

/// The rows of an answer as text: window, start, end where there are any, then the cells in the
/// order of the given columns.
pub fn rows(answer: &Value, columns: &[String]) -> Vec<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut out = Vec::new();
    for window in answer["windows"].as_array().expect("windows") {
        for row in window["rows"].as_array().expect("rows") {
            let edge = |key: &str| window.get(key).filter(|v| !v.is_null()).map(text);
            let edges = ["window", "start", "end"].iter().filter_map(|key| edge(key));
            let cells = columns.iter().map(|column| text(&row[column]));
            out.push(edges.chain(cells).collect());
        }
    }
    out
}

/// The positions of an answer by the file's name.
pub fn positions(answer: &Value) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for partitions in answer["positions"].as_object().expect("positions").values() {
        for (partition, position) in partitions.as_object().expect("by partition") {
            let name = super::compare::file_name(partition);
            out.insert(name, position.as_u64().expect("a number"));
        }
    }
    out
}
