//! The state of the daemon as `/api/v1/status` and `pinflow status` show it.
//!
//! The engine fills [`Status`] in, about once a second and at every change of state. What is
//! exact at a frontier (positions, tallies) is not in it but in [`Progress`]; [`view`] puts both
//! together, so that a position, its lag and its tally are always of one frontier.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::record::Reason;
use dataflows::sealed::Tally;
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::clock::wall;
use crate::publish::print::rfc3339;
use crate::publish::{Frontier, Progress, State};

/// At most so many samples of rejects are kept per reason.
pub const SAMPLES: usize = 5;
/// At most so many bytes of a sample's payload are shown.
pub const SAMPLE_BYTES: usize = 256;

/// The status, shared between the engine that fills it in and those who show it.
pub type SharedStatus = Arc<RwLock<Status>>;

/// What went wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What was being done and what was seen.
    pub error: String,
    /// What to do.
    pub hint: String,
    /// When, microseconds since 1970-01-01 UTC.
    #[serde(serialize_with = "time")]
    pub at: i64,
}

/// How a source or a partition does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Motion {
    /// Nothing has been read yet.
    #[default]
    Starting,
    /// The position moves.
    Moving,
    /// There is nothing to read.
    Idle,
    /// There is something to read and the position does not move.
    Stalled,
    /// Read to its end.
    Ended,
    /// It cannot be read now; it is tried again.
    Failing,
}

impl Motion {
    /// All, in order.
    pub const ALL: [Motion; 6] = [
        Motion::Starting,
        Motion::Moving,
        Motion::Idle,
        Motion::Stalled,
        Motion::Ended,
        Motion::Failing,
    ];

    /// The label in metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            Motion::Starting => "starting",
            Motion::Moving => "moving",
            Motion::Idle => "idle",
            Motion::Stalled => "stalled",
            Motion::Ended => "ended",
            Motion::Failing => "failing",
        }
    }
}

/// A source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its kind: `demo`, `files`, `kafka`.
    pub kind: String,
    /// How it does.
    pub state: Motion,
    /// Named counts of this run.
    pub counters: BTreeMap<&'static str, u64>,
    /// Errors of this run, by kind.
    pub errors: BTreeMap<String, u64>,
    /// The last trouble with it as a whole.
    pub trouble: Option<Trouble>,
    /// Bytes that came over the network, if that is where it reads from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched_bytes: Option<u64>,
    /// How the sending of its dead letters to a topic does; none = they stay on the disk alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Sending>,
}

/// The sending of dead letters to a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sending {
    /// The topic.
    pub topic: String,
    /// Letters that this process has sent.
    pub sent: u64,
    /// Bytes of letters on the disk that are to be sent.
    pub waiting_bytes: u64,
    /// Failures of this process; what failed is tried again.
    pub failures: u64,
    /// What is wrong now.
    pub trouble: Option<Trouble>,
}

/// A partition, by its number.
#[derive(Clone, Debug, Default)]
pub struct PartitionStatus {
    /// The end as last seen, in positions; none if unknown.
    pub end: Option<u64>,
    /// How it does.
    pub state: Motion,
    /// The latest arrival time read, microseconds since 1970-01-01 UTC.
    pub arrived_at: Option<i64>,
    /// The last trouble with it.
    pub trouble: Option<Trouble>,
}

impl PartitionStatus {
    /// Notes that its source is away, or is not: while it is nothing of it can be read.
    pub fn reach(&mut self, away: bool) {
        self.state = match self.state {
            Motion::Ended | Motion::Starting => self.state,
            _ if away => Motion::Failing,
            // Whether it moves, it shows.
            Motion::Failing if self.trouble.is_none() => Motion::Moving,
            state => state,
        };
    }

    /// The end, seen from the position to read next: it is never before it, and there is nothing
    /// behind it where nothing is read any more (the file was replaced).
    pub fn end(&self, next: u64) -> Option<u64> {
        self.end.map(|end| if self.state == Motion::Ended { next } else { end.max(next) })
    }

    /// How long ago what is read next came, about: the age of the latest record read, seconds; 0
    /// where everything is read, none where that is not known. `now` in microseconds.
    pub fn lag_seconds(&self, next: u64, now: i64) -> Option<f64> {
        if self.end(next)? <= next {
            return Some(0.0);
        }
        Some((now - self.arrived_at?).max(0) as f64 / 1e6)
    }
}

/// A partition whose end of the start has not been reached: why results are withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Awaited {
    pub source: String,
    pub partition: String,
    pub position: u64,
    pub until: u64,
}

/// How the memory budget is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is room.
    #[default]
    Free,
    /// Nothing is read until there is.
    Held,
    /// The state fills it: reading goes on in small epochs.
    Tight,
}

/// Memory, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// What the process may hold (`engine.memory`); none = no bound.
    pub budget_bytes: Option<u64>,
    /// What it held when it was last looked at.
    pub used_bytes: u64,
    /// How the budget is kept.
    pub level: Level,
    /// Of the slots: the state of record.
    pub state_bytes: u64,
    /// Of batches that are read and not taken up yet.
    pub queued_bytes: u64,
}

/// An operator of the plan with live figures, under the name that `pinflow plan` gives it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// Records it holds.
    pub records: u64,
    /// Bytes it holds.
    pub bytes: u64,
}

/// Checkpoints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checkpoints {
    /// The number of the newest durable cut.
    pub cut: u64,
    /// When it became durable, microseconds since 1970-01-01 UTC; none before the first.
    #[serde(serialize_with = "maybe_time")]
    pub last_at: Option<i64>,
    /// How long it took from its due time until it was durable, seconds.
    pub last_seconds: f64,
    /// Its bytes.
    pub last_bytes: u64,
    /// Bytes that the state takes up on disk.
    pub disk_bytes: u64,
    /// Bytes that wait in memory because they could not be written.
    pub unwritten_bytes: u64,
    /// The last trouble with one.
    pub trouble: Option<Trouble>,
    /// What was found damaged at start and what it meant, in sentences.
    pub damage: Vec<String>,
}

/// A rejected record, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Where it came from.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// The message's position.
    pub position: u64,
    /// The record's number within the message.
    pub sub: u32,
    /// When it arrived, microseconds since 1970-01-01 UTC.
    #[serde(serialize_with = "time")]
    pub arrived_at: i64,
    /// The first [`SAMPLE_BYTES`] of it as text; bytes that are none are shown as U+FFFD.
    pub payload: String,
    /// Whether there is more of it.
    pub truncated: bool,
}

impl Sample {
    /// The head of a payload as it is shown, and whether there is more.
    pub fn shorten(payload: &[u8]) -> (String, bool) {
        let head = &payload[..payload.len().min(SAMPLE_BYTES)];
        (String::from_utf8_lossy(head).into_owned(), head.len() < payload.len())
    }
}

/// What the engine knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When this process started, microseconds since 1970-01-01 UTC.
    pub started_at: i64,
    /// Timely workers.
    pub workers: usize,
    /// The state's folder.
    pub state_dir: String,
    /// An orderly stop has begun.
    pub stopping: bool,
    /// Which partition holds the results back, as a sentence; none = nobody.
    pub held_by: Option<String>,
    /// Why nothing is read, for lack of memory or of room on the disk; none = it is.
    pub reading_held: Option<&'static str>,
    /// Ends of the start that have not been reached.
    pub awaited: Vec<Awaited>,
    /// When results are served at the latest, microseconds since 1970-01-01 UTC.
    pub withheld_until: Option<i64>,
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// The partitions, by number as in [`Progress::places`].
    pub partitions: Vec<PartitionStatus>,
    /// Memory.
    pub memory: Memory,
    /// Operators.
    pub operators: Vec<Operator>,
    /// Checkpoints.
    pub checkpoints: Checkpoints,
    /// The newest rejects, at most [`SAMPLES`] a reason.
    pub samples: BTreeMap<Reason, Vec<Sample>>,
    /// Bytes of dead letters kept.
    pub dead_letter_bytes: u64,
}

impl Status {
    /// Keeps a sample of a reject, in place of the oldest of its reason.
    pub fn sample(&mut self, reason: Reason, sample: Sample) {
        let list = self.samples.entry(reason).or_default();
        if list.len() >= SAMPLES {
            list.remove(0);
        }
        list.push(sample);
    }
}

/// The whole status as JSON.
pub fn view(status: &Status, frontier: Frontier, state: State, progress: &Progress) -> Value {
    let partitions: Vec<Value> = progress
        .partitions()
        .enumerate()
        .map(|(n, (place, next, tally))| {
            let known = status.partitions.get(n).cloned().unwrap_or_default();
            let end = known.end(next);
            json!({
                "source": &*place.source,
                "partition": &*place.partition,
                "state": known.state,
                "position": next,
                "end": end,
                "lag": end.map(|end| end - next),
                "lag_seconds": known.lag_seconds(next, wall()),
                "arrived_at": known.arrived_at.map(rfc3339),
                "tally": tally,
                "trouble": known.trouble,
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if status.stopping { json!("stopping") } else { json!(state) },
        "started_at": rfc3339(status.started_at),
        "workers": status.workers,
        "state_dir": status.state_dir,
        "frontier": {
            "run": frontier.run,
            "epoch": frontier.epoch,
            "now": rfc3339(frontier.now),
            "held_by": status.reading_held.or(status.held_by.as_deref()),
        },
        "withheld": (state == State::Withheld).then(|| json!({
            "until": status.withheld_until.map(rfc3339),
            "awaited": status.awaited,
        })),
        "catching_up": state == State::CatchingUp,
        "sources": status.sources,
        "partitions": partitions,
        "totals": totals(progress),
        "posts": { "held": progress.posts, "incomplete": incomplete(progress) },
        "rejects": rejects(status, progress),
        "counters": &*progress.counters,
        "memory": status.memory,
        "operators": status.operators,
        "checkpoints": status.checkpoints,
        "dead_letters": { "bytes": status.dead_letter_bytes },
    })
}

fn totals(progress: &Progress) -> Value {
    let Tally { read, accepted, duplicate, superseded, rejected, ignored } = progress.total();
    json!({
        "read": read,
        "accepted": accepted,
        "duplicate": duplicate,
        "superseded": superseded,
        "rejected": rejected,
        "ignored": ignored,
        "handed_over": progress.handed_over,
        "in_flight": progress.in_flight,
    })
}

fn incomplete(progress: &Progress) -> Value {
    let [pin, geo, user] = progress.incomplete;
    json!({ "pin": pin, "geo": geo, "user": user })
}

/// By reason: how many, and samples; reasons that never occurred are left out.
fn rejects(status: &Status, progress: &Progress) -> Vec<Value> {
    let count = |n: usize| progress.rejected.values().map(|by| by[n]).sum::<u64>();
    let all = Reason::ALL.into_iter().enumerate().map(|(n, reason)| (reason, count(n)));
    all.filter(|(_, count)| *count > 0)
        .map(|(reason, count)| {
            let samples = status.samples.get(&reason).cloned().unwrap_or_default();
            json!({ "reason": reason.name(), "count": count, "samples": samples })
        })
        .collect()
}

// Serde passes fields by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn time<S: serde::Serializer>(at: &i64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&rfc3339(*at))
}

#[allow(clippy::ref_option)]
fn maybe_time<S: serde::Serializer>(at: &Option<i64>, s: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(s)
}
