//! Runs of the real binary over the topics of a prefix.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::broker;
use crate::support;
use crate::support::http::Api;
use crate::support::port::free_port;
use crate::support::process::{Finished, Running, command};

/// The topics of a prefix.
pub fn names(prefix: &str) -> Vec<String> {
    ["pin", "geo", "user"].map(|stream| format!("{prefix}.{stream}")).to_vec()
}

/// Makes the topics of a prefix.
pub fn create(brokers: &str, prefix: &str, partitions: i32) {
    let names = names(prefix);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    broker::create(brokers, &names, partitions);
}

/// A configuration over the topics of a prefix, and one state.
pub struct Run {
    /// Where results go.
    pub out: PathBuf,
    config: PathBuf,
    brokers: String,
    prefix: String,
    dir: PathBuf,
    port: u16,
}

impl Run {
    /// State and results lie below `dir`.
    pub fn new(config: &Path, brokers: &str, prefix: &str, dir: &Path) -> Self {
        Run {
            out: dir.join("out"),
            config: config.to_owned(),
            brokers: brokers.to_owned(),
            prefix: prefix.to_owned(),
            dir: dir.to_owned(),
            port: free_port(),
        }
    }

    fn source(&self) -> Vec<String> {
        let text = |p: &Path| p.to_str().unwrap().to_string();
        [
            "--config",
            &text(&self.config),
            "--config",
            &text(&support::config("kafka.toml")),
            "--set",
            &format!("source.kafka.brokers={}", self.brokers),
            "--set",
            &format!("source.kafka.prefix={}", self.prefix),
            "--set",
            "source.kafka.refresh=300ms",
        ]
        .map(ToString::to_string)
        .to_vec()
    }

    /// A run that goes on.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut args = vec!["run".to_string()];
        args.extend(self.source());
        for (flag, path) in [("--state", self.dir.join("state")), ("--results", self.out.clone())] {
            args.extend([flag.to_string(), path.to_str().unwrap().to_string()]);
        }
        args.extend(more.iter().map(ToString::to_string));
        command(args)
    }

    /// A run that goes on and answers.
    pub fn serving(&self) -> Command {
        self.command(&["--listen", &format!("127.0.0.1:{}", self.port)])
    }

    /// A run to the end, at most two minutes.
    pub fn to_the_end(&self, more: &[&str]) -> Finished {
        let latest: &[&str] = if more.contains(&"--until") { &[] } else { &["--until", "latest"] };
        let all: Vec<&str> = latest.iter().chain(more).copied().collect();
        Running::start(self.command(&all)).wait(Duration::from_mins(2))
    }

    /// `validate --connect`.
    pub fn validate(&self, more: &[&str]) -> Finished {
        let mut args = vec!["validate".to_string(), "--connect".to_string()];
        args.extend(self.source());
        args.extend(more.iter().map(ToString::to_string));
        Running::start(command(args)).wait(Duration::from_mins(2))
    }

    /// What a serving run gives to Prometheus.
    pub fn metrics(&self) -> String {
        Api::new(self.port).get("/metrics").expect("it answers").1
    }

    /// What `pinflow status` says of a serving run.
    pub fn summary(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        Running::start(command(["status", "--url", &url])).wait(Duration::from_mins(1)).ok().stdout
    }

    /// What a serving run says of itself; none while it does not answer.
    pub fn status(&self) -> Option<Status> {
        Api::new(self.port).json("/api/v1/status").map(Status)
    }
}

/// The status of a daemon with one source.
pub struct Status(pub Value);

impl Status {
    /// Records read.
    pub fn read(&self) -> u64 {
        self.0["totals"]["read"].as_u64().unwrap()
    }

    /// What is wrong with the source.
    pub fn trouble(&self) -> Option<String> {
        self.0["sources"][0]["trouble"]["error"].as_str().map(ToString::to_string)
    }

    /// What is wrong with a partition.
    pub fn partition_trouble(&self, name: &str) -> Option<String> {
        let partitions = self.0["partitions"].as_array().unwrap();
        let one = partitions.iter().find(|p| p["partition"] == name)?;
        one["trouble"]["error"].as_str().map(ToString::to_string)
    }

    /// A count of the source.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.0["sources"][0]["counters"][name].as_u64()
    }

    /// The lag of each partition, in records.
    pub fn lags(&self) -> Vec<Option<f64>> {
        let partitions = self.0["partitions"].as_array().unwrap();
        partitions.iter().map(|p| p["lag"].as_f64()).collect()
    }

    /// The position of a partition.
    pub fn position(&self, name: &str) -> Option<u64> {
        let partitions = self.0["partitions"].as_array().unwrap();
        partitions.iter().find(|p| p["partition"] == name)?["position"].as_u64()
    }
}
