//! Records as the topics hold them and as the oracle sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::broker::{Sent, send};
use crate::oracle::measure::Columns;
use crate::oracle::model::Model;
use crate::oracle::rows::Now;
use crate::oracle::{Message, Rule, Rules, Stream, metric};
use crate::support::generate::{Shape, streams};
use crate::support::{Random, compare, data};

/// When the first record of a test was made, milliseconds since 1970-01-01 UTC.
pub const BEGAN: i64 = 1_760_000_000_000;

/// A record of a topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The timestamp, milliseconds.
    pub at: i64,
    /// The payload; none = a tombstone.
    pub payload: Option<Vec<u8>>,
    /// What it is ruled to be.
    pub rule: Rule,
    /// The key.
    pub key: Option<String>,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
}

/// The records of generated streams: one topic each (`prefix.pin`), the partition drawn, so that
/// the same index comes from several; a record every 40 ms or up to 5 s before. One in a thousand
/// is a tombstone if that is wanted.
pub fn generated(prefix: &str, shape: &Shape, partitions: u64, tombstones: bool) -> Vec<Record> {
    let mut random = Random::new(shape.seed + 1);
    let lists = streams(shape);
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = Vec::new();
    for n in 0..longest {
        for (stream, lines) in Stream::ALL.into_iter().zip(&lists) {
            let Some(line) = lines.get(n) else { continue };
            let none = tombstones && random.chance(1);
            let payload = line.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
            out.push(Record {
                topic: format!("{prefix}.{}", stream.name()),
                partition: random.below(partitions) as i32,
                at: BEGAN + out.len() as i64 * 40 - random.below(5_000) as i64,
                payload: (!none).then_some(payload),
                rule: Rule::Kind(stream),
                key: None,
                headers: Vec::new(),
            });
        }
    }
    out
}

/// The committed real rows as records: each file in its topic, dealt to four partitions.
pub fn real(prefix: &str) -> Vec<Record> {
    let mut out = Vec::new();
    for stream in Stream::ALL {
        let path = data("real").join(format!("{}.jsonl", stream.name()));
        let text = std::fs::read_to_string(&path).expect("the sample is there");
        for (n, line) in text.lines().filter(|l| !l.trim().is_empty()).enumerate() {
            out.push(Record {
                topic: format!("{prefix}.{}", stream.name()),
                partition: (n % 4) as i32,
                at: BEGAN + n as i64,
                payload: Some(line.as_bytes().to_vec()),
                rule: Rule::Kind(stream),
                key: None,
                headers: Vec::new(),
            });
        }
    }
    out
}

/// The offset behind the last record of each partition.
pub fn next_offsets(records: &[Record]) -> BTreeMap<String, u64> {
    let mut next = BTreeMap::new();
    for record in records {
        *next.entry(format!("{}/{}", record.topic, record.partition)).or_insert(0) += 1;
    }
    next
}

/// Puts records into their topics.
pub fn put(brokers: &str, records: &[Record]) {
    send(
        brokers,
        records.iter().map(|r| Sent {
            topic: &r.topic,
            partition: r.partition,
            at: r.at,
            payload: r.payload.as_deref(),
            key: r.key.as_deref(),
            headers: &r.headers,
        }),
    );
}

/// Records as the oracle sees them, in order, from offset 0 of each partition on.
pub fn messages(source: &str, records: &[Record]) -> Vec<Message> {
    let mut next: BTreeMap<(String, i32), u64> = BTreeMap::new();
    let source: Arc<str> = source.into();
    let one = |r: &Record| {
        let at = next.entry((r.topic.clone(), r.partition)).or_insert(0);
        *at += 1;
        Message {
            source: source.clone(),
            partition: format!("{}/{}", r.topic, r.partition).into(),
            position: *at - 1,
            payload: r.payload.clone().unwrap_or_default(),
            rule: r.rule,
            arrived_at: r.at * 1000,
            given: true,
        }
    };
    records.iter().map(one).collect()
}

/// [`equal`] over what a run was to read; `name` says which one it was.
pub fn equal_to_rows(config: &Path, out: &Path, messages: &[Message], name: &str) {
    let read = |m: &metric::Metric| out.join(format!("{}.tsv", m.name)).exists();
    let (metrics, _) = metric::load(config);
    assert!(metrics.iter().all(read), "{name} wrote all its results");
    equal(config, out, messages);
}

/// Asserts that what a run wrote is what the oracle says of some messages.
pub fn equal(config: &Path, out: &Path, messages: &[Message]) {
    let (metrics, age_groups) = metric::load(config);
    let model = Model::new(messages, &Rules::default());
    let at = messages.iter().map(|m| m.arrived_at).max().unwrap_or(0);
    let now = Now { at, ended: true };
    compare::same_results(out, "tsv", &metrics, &model, &Columns { age_groups }, now);
}
