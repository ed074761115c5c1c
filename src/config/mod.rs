//! What the user wrote, checked: a [`Config`] cannot be built invalid.

mod build;
mod environment;
pub mod folders;
mod kafka;
pub mod keys;
pub mod limits;
mod load;
mod mask;
mod metric;
pub mod problem;
mod properties;
#[cfg(test)]
mod reference;
mod section;
mod security;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod tree;
pub mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dataflows::metrics::declare::{AgeGroup, Metric};
use dataflows::record::{Rule, Rules};

pub use kafka::{Gap, Kafka, Start, Topics, ours};
pub use load::{BUILTIN, Env, Loaded, Override, load, load_with};
pub use metric::names::RESERVED;
pub use metric::scope::{FACTS, fact_name};
pub use security::{Iam, Sasl, Security};
pub use sink::{ROTATE_BYTES, ROTATE_INTERVAL};
pub use source::{MAX_UNPACKED, SCAN_INTERVAL};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine.
    pub engine: Engine,
    /// At least one.
    pub sources: Vec<Source>,
    /// Cleaning rules.
    pub cleaning: Rules,
    /// The age groups, in order.
    pub age_groups: Vec<AgeGroup>,
    /// Durable state.
    pub state: State,
    /// Rejected records.
    pub dead_letters: DeadLetters,
    /// Sinks of cleaned rows.
    pub sinks: Vec<Sink>,
    /// The HTTP port.
    pub http: Http,
    /// Bounds of exported label sets.
    pub labels: Labels,
    /// The declared metrics.
    pub metrics: Vec<Metric>,
}

/// Which clock `now` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock, never going back.
    Wall,
    /// The greatest arrival time read.
    Arrival,
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Timely workers; default one per core.
    pub workers: usize,
    /// `now`; `--once` and the demo's `rate = "max"` imply `arrival`.
    pub clock: Clock,
    /// An epoch is sealed this long after its first record, when nothing is behind.
    pub epoch: Duration,
    /// An epoch holds at most so many bytes of messages.
    pub max_epoch_bytes: usize,
    /// An epoch holds at most so many records; none = bounded by bytes alone.
    pub max_epoch_records: Option<usize>,
    /// After a restart results are withheld at most so long until the sources' ends of the
    /// start are reached.
    pub withhold: Duration,
    /// How long an orderly stop may take.
    pub shutdown_timeout: Duration,
    /// The process is to hold at most so many bytes; none where it is not given and the system
    /// does not say what it has.
    pub memory: Option<u64>,
}

/// A source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, unique; part of provenance and of the version order.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Routing rules in order; the first that matches holds, else `auto`.
    pub routes: Vec<Route>,
}

/// The kinds of sources.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// The seeded generator.
    Demo(Demo),
    /// JSON Lines files and folders.
    Files(Files),
    /// Topics of Apache Kafka.
    Kafka(Box<Kafka>),
}

impl SourceKind {
    /// What it is called in configurations and answers.
    pub fn name(&self) -> &'static str {
        match self {
            SourceKind::Demo(_) => "demo",
            SourceKind::Files(_) => "files",
            SourceKind::Kafka(_) => "kafka",
        }
    }
}

/// The demo generator's settings.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// Records per second over all three streams.
    pub rate: Rate,
    /// Distinct indexes.
    pub indexes: u64,
    /// Stop after so many records; none = endless. A bounded demo is a bounded source.
    pub records: Option<u64>,
}

/// A rate of records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Per second.
    PerSecond(f64),
    /// As fast as they are taken; arrival times follow this nominal rate per second.
    Max(f64),
}

/// The files source's settings.
#[derive(Clone, Debug)]
pub struct Files {
    /// Files, folders (what below them is JSON Lines by name).
    pub paths: Vec<PathBuf>,
    /// How often folders are scanned for new files.
    pub scan_interval: Duration,
    /// A compressed file may unpack to at most so many bytes.
    pub max_unpacked_bytes: u64,
    /// A field of the row that holds its arrival time; none = when the file was first seen.
    pub arrival_field: Option<String>,
    /// Set by `--input`: pin|geo|user.jsonl[.gz|.zst] alone, if any is there, ruled by name.
    pub input_layout: bool,
}

/// A routing rule: all that is given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A glob over the partition's name (file path, topic and number, stream).
    pub partition: String,
    /// A glob over the topic.
    pub topic: Option<String>,
    /// A glob over the record's key.
    pub key: Option<String>,
    /// Globs over headers of the record, by their names.
    pub headers: Vec<(String, String)>,
    /// What it is.
    pub rule: Rule,
}

impl Route {
    /// A rule over partitions alone.
    pub fn of(partition: &str, rule: Rule) -> Self {
        let partition = partition.to_owned();
        Route { partition, topic: None, key: None, headers: Vec::new(), rule }
    }
}

impl std::fmt::Display for Route {
    /// As the state's fingerprint holds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.partition)?;
        self.topic.iter().try_for_each(|glob| write!(f, ",topic:{glob}"))?;
        self.key.iter().try_for_each(|glob| write!(f, ",key:{glob}"))?;
        self.headers.iter().try_for_each(|(name, glob)| write!(f, ",header:{name}:{glob}"))?;
        write!(f, "={:?}", self.rule)
    }
}

/// Durable state.
#[derive(Clone, Debug)]
pub struct State {
    /// The folder; created with mode 0700.
    pub dir: PathBuf,
    /// A cut is due after this time.
    pub cut_interval: Duration,
    /// Or after so many bytes of changed slots.
    pub cut_bytes: usize,
    /// Slots hold all columns, not only those that the declared metrics need.
    pub all_columns: bool,
}

/// Dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// Of each partition the first so many bytes of payload are kept.
    pub max_bytes: u64,
}

/// A sink of cleaned rows.
#[derive(Clone, Debug)]
pub enum Sink {
    /// Files of rows.
    Files(FilesSink),
}

/// The files sink's settings.
#[derive(Clone, Debug)]
pub struct FilesSink {
    /// The folder.
    pub dir: PathBuf,
    /// JSON Lines, or CSV.
    pub csv: bool,
    /// Rotate at a cut when a file is larger than this.
    pub rotate_bytes: u64,
    /// Rotate at a cut when a file is older than this.
    pub rotate_interval: Duration,
}

/// The HTTP port.
#[derive(Clone, Debug)]
pub struct Http {
    /// None = no port.
    pub listen: Option<SocketAddr>,
    /// Asked for as `Authorization: Bearer ...` on every route but `/livez`.
    pub token: Option<Secret>,
    /// Allow an address that is not loopback without a token.
    pub insecure: bool,
    /// Connections at a time.
    pub max_connections: usize,
}

/// A text that prints as `***`.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Bounds of label sets.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Named values by key (`country`, `category`); all else is `other`.
    pub named: BTreeMap<String, Vec<String>>,
    /// Series in all.
    pub max_series: usize,
    /// Series a metric.
    pub max_series_per_metric: usize,
}
