//! Kafka: what the real binary makes of topics of a real broker is what the oracle says, over
//! generated and real rows, whatever is killed.
//!
//! `PINFLOW_KAFKA_RECORDS` (200 000) says how many records are generated.

#![allow(clippy::unwrap_used)]

#[path = "kafka/broker.rs"]
mod broker;
mod oracle;
mod support;
#[path = "kafka/topics.rs"]
mod topics;

use std::path::{Path, PathBuf};

use broker::Broker;
use support::generate::Shape;
use support::process::pinflow;
use topics::{equal, generated, messages, put};

const STREAMS: [&str; 3] = ["pin", "geo", "user"];

/// The topics of a prefix.
fn names(prefix: &str) -> Vec<String> {
    STREAMS.map(|stream| format!("{prefix}.{stream}")).to_vec()
}

fn create(brokers: &str, prefix: &str, partitions: i32) {
    let names = names(prefix);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    broker::create(brokers, &names, partitions);
}

/// The arguments of a bounded run over the topics of a prefix.
fn until_latest(config: &Path, brokers: &str, prefix: &str, dir: &Path) -> (Vec<String>, PathBuf) {
    let text = |p: &Path| p.to_str().unwrap().to_string();
    let out = dir.join("out");
    let args = [
        "run",
        "--config",
        &text(config),
        "--config",
        &text(&support::config("kafka.toml")),
        "--set",
        &format!("source.kafka.brokers={brokers}"),
        "--set",
        &format!("source.kafka.prefix={prefix}"),
        "--until",
        "latest",
        "--state",
        &text(&dir.join("state")),
        "--results",
        &text(&out),
    ];
    (args.map(ToString::to_string).to_vec(), out)
}

#[test]
fn a_bounded_run_reads_to_the_ends_of_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    let brokers = broker.address();
    create(&brokers, "t", 4);
    let events = support::number("PINFLOW_KAFKA_RECORDS", 200_000) as usize / 3;
    let records = generated("t", &Shape::dirty(events, 11), 4, true);
    put(&brokers, &records);
    let config = support::config("bench.toml");
    let (args, out) = until_latest(&config, &brokers, "t", dir.path());
    pinflow(&args).ok();
    equal(&config, &out, &messages("kafka", &records));
    // What came later is taken up by the next run, which ends where the topics end then.
    let more = generated("t", &Shape::dirty(500, 12), 4, false);
    put(&brokers, &more);
    pinflow(&args).ok();
    let all: Vec<_> = records.into_iter().chain(more).collect();
    equal(&config, &out, &messages("kafka", &all));
}
