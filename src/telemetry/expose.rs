//! A scrape: machine metrics, what is exact at one frontier, and the metrics of the world.
//!
//! Promises: all that is exact (frontier, positions, tallies, results) is of one frontier, so the
//! conservation equation holds in every scrape; nothing here holds up the dataflow.
//! Limits: [`MAX_PARTITIONS`] partitions and [`MAX_EVENTS`] named events are shown by name; the
//! tallies of further partitions add up under `other`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use dataflows::record::Reason;
use dataflows::sealed::Tally;
use prometheus::TextEncoder;

use super::machine::Machine;
use super::process;
use super::status::{Level, Motion, Sending, Status};
use super::world;
use crate::config::Labels;
use crate::engine::clock::wall;
use crate::publish::{Picture, Progress, Published, State};

/// Partitions shown by name; a folder of files may hold many more.
pub const MAX_PARTITIONS: usize = 256;
/// Named events shown.
pub const MAX_EVENTS: usize = 512;

/// The families that are collected at a scrape: name, type, help.
pub const FAMILIES: &[(&str, &str, &str)] = &[
    ("pinflow_build_info", "gauge", "The version that runs."),
    ("pinflow_frontier_run", "gauge", "Number of starts on this state."),
    ("pinflow_frontier_epoch", "gauge", "Epoch that the results of this scrape go up to."),
    ("pinflow_frontier_now_timestamp_seconds", "gauge", "The clock of the results of this scrape."),
    ("pinflow_results_withheld", "gauge", "1 while results are withheld after a restart."),
    ("pinflow_catching_up", "gauge", "1 while results are served before having caught up."),
    ("pinflow_records_read_total", "counter", "Records read."),
    ("pinflow_records_total", "counter", "What became of the records read."),
    ("pinflow_source_records_total", "counter", "The same by source alone, from 0 on."),
    ("pinflow_rejected_total", "counter", "Records rejected, by reason."),
    ("pinflow_handed_over_records", "gauge", "Records handed to the dataflow: read + in flight."),
    ("pinflow_in_flight_records", "gauge", "Records handed over whose epoch is not sealed."),
    ("pinflow_source_position", "gauge", "Position to read next, of this scrape's frontier."),
    ("pinflow_source_end", "gauge", "End of the partition as last seen."),
    ("pinflow_lag_records", "gauge", "Positions between the next one to read and the end."),
    ("pinflow_lag_seconds", "gauge", "Age of the latest record read where more are there, else 0."),
    ("pinflow_source_events_total", "counter", "Named events of a source, of this process."),
    ("pinflow_source_failures_total", "counter", "Errors of a source by kind, of this process."),
    ("pinflow_source_fetched_bytes_total", "counter", "Bytes that came from brokers."),
    ("pinflow_source_failing", "gauge", "1 while a source, or a part of it, cannot be read."),
    ("pinflow_source_partitions", "gauge", "Partitions by what they do."),
    (
        "pinflow_source_arrival_timestamp_seconds",
        "gauge",
        "Latest arrival time read from a source.",
    ),
    ("pinflow_posts", "gauge", "Posts held: distinct indexes."),
    ("pinflow_posts_incomplete", "gauge", "Posts that lack a side, by the side missing."),
    ("pinflow_events_total", "counter", "Named events: wrappers, placeholders, defects, late."),
    ("pinflow_memory_budget_bytes", "gauge", "What the process may hold; absent without bound."),
    ("pinflow_memory_used_bytes", "gauge", "What it held when it was last looked at."),
    ("pinflow_memory_allocated_bytes", "gauge", "Asked of the allocator and not given back."),
    ("pinflow_memory_held", "gauge", "1 while nothing is read for lack of memory."),
    ("pinflow_reading_held", "gauge", "1 while nothing is read for lack of memory or disk."),
    ("pinflow_state_bytes", "gauge", "Bytes of the state of record in memory."),
    ("pinflow_queued_bytes", "gauge", "Bytes read and not taken up yet."),
    ("pinflow_operator_records", "gauge", "Records that an operator of the plan holds."),
    ("pinflow_operator_bytes", "gauge", "Bytes that an operator of the plan holds."),
    ("pinflow_checkpoint_cut", "gauge", "Number of the newest durable cut."),
    ("pinflow_checkpoint_timestamp_seconds", "gauge", "When the newest cut became durable."),
    ("pinflow_checkpoint_disk_bytes", "gauge", "Bytes of the state on disk."),
    ("pinflow_checkpoint_unwritten_bytes", "gauge", "Bytes that wait for room on the disk."),
    ("pinflow_dead_letter_bytes", "gauge", "Bytes of dead letters kept."),
    ("pinflow_dead_letters_sent_total", "counter", "Dead letters sent to a topic."),
    ("pinflow_dead_letters_failures_total", "counter", "Failures of sending dead letters."),
    ("pinflow_dead_letters_waiting_bytes", "gauge", "Dead letters that are to be sent."),
    ("pinflow_published_groups", "gauge", "Groups that a metric's results hold."),
    ("pinflow_published_bytes", "gauge", "Bytes that a metric's results take."),
    ("pinflow_published_epochs_total", "counter", "Epochs published."),
    (
        "pinflow_published_changes_total",
        "counter",
        "Groups touched by published epochs, whether or not their rows are other ones.",
    ),
    ("pinflow_subscribers_lagged_total", "counter", "Subscribers cut off for being too slow."),
    ("process_cpu_seconds_total", "counter", "CPU time of this process."),
    ("process_resident_memory_bytes", "gauge", "Resident memory of this process."),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory of this process."),
    ("process_threads", "gauge", "Threads of this process."),
    ("process_start_time_seconds", "gauge", "When this process started."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "Open file descriptors allowed."),
];

/// Text of the Prometheus exposition format, family by family.
#[derive(Default)]
pub struct Text {
    out: String,
    name: String,
}

impl Text {
    /// Opens one of [`FAMILIES`].
    fn known(&mut self, name: &str) -> &mut Self {
        let (_, ty, help) =
            FAMILIES.iter().find(|f| f.0 == name).expect("a family of the list above");
        self.family(name, ty, help)
    }

    /// Opens a family.
    pub fn family(&mut self, name: &str, ty: &str, help: &str) -> &mut Self {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {ty}\n");
        name.clone_into(&mut self.name);
        self
    }

    /// Adds a sample to the family opened last.
    pub fn sample<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: impl std::fmt::Display,
    ) -> &mut Self {
        self.out.push_str(&self.name);
        let mut open = '{';
        for (name, value) in labels {
            self.out.push(std::mem::replace(&mut open, ','));
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        if open == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
        self
    }

    fn one(&mut self, name: &str, value: impl std::fmt::Display) {
        self.known(name).sample([], value);
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.out
    }
}

fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Renders a scrape.
pub fn scrape(
    machine: &Machine,
    published: &Published,
    status: &Status,
    labels: &Labels,
) -> String {
    let begun = Instant::now();
    let picture = published.read_all();
    let mut text = Text::default();
    if picture.state != State::Withheld {
        for (metric, folded) in world::write(&mut text, &picture, labels) {
            machine.label_overflow.with_label_values(&[metric.as_str()]).inc_by(folded);
        }
    }
    // A counter that begins with its first error tells no rate of it.
    for source in &status.sources {
        let _ = machine.source_errors.with_label_values(&[&*source.name]);
    }
    frontier(&mut text, &picture);
    records(&mut text, machine, status, &picture);
    partitions(&mut text, status, &picture.progress);
    state(&mut text, status, &picture);
    let (epochs, changes, lagged) = published.counts();
    text.one("pinflow_published_epochs_total", epochs);
    text.one("pinflow_published_changes_total", changes);
    text.one("pinflow_subscribers_lagged_total", lagged);
    of_process(&mut text);
    machine.scrape_seconds.observe(begun.elapsed().as_secs_f64());
    let counted = TextEncoder::new().encode_to_string(&machine.registry().gather());
    let mut out = counted.unwrap_or_default();
    out.push_str(&text.finish());
    out
}

fn frontier(text: &mut Text, picture: &Picture) {
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    text.known("pinflow_build_info").sample(build, 1);
    text.one("pinflow_frontier_run", picture.frontier.run);
    text.one("pinflow_frontier_epoch", picture.frontier.epoch);
    // It begins with the first record: before there is no age of it.
    if picture.frontier.now > 0 {
        text.one("pinflow_frontier_now_timestamp_seconds", seconds(picture.frontier.now));
    }
    text.one("pinflow_results_withheld", i32::from(picture.state == State::Withheld));
    text.one("pinflow_catching_up", i32::from(picture.state == State::CatchingUp));
}

/// Tallies by partition; those beyond the bound add up under `other`, by source.
fn tallies(progress: &Progress) -> (Vec<(String, String, Tally)>, usize) {
    let mut shown: Vec<(String, String, Tally)> = Vec::new();
    let mut folded = 0;
    for (n, (place, _, tally)) in progress.partitions().enumerate() {
        if n < MAX_PARTITIONS {
            shown.push((place.source.to_string(), place.partition.to_string(), tally));
            continue;
        }
        folded += 1;
        let mut rest = shown[MAX_PARTITIONS..].iter_mut();
        match rest.find(|other| *other.0 == *place.source) {
            Some(other) => other.2.add(&tally),
            None => shown.push((place.source.to_string(), "other".into(), tally)),
        }
    }
    (shown, folded)
}

/// Tallies by source, also of sources that have no partition yet: a partition's series begins with
/// what was read of it at once, which no rate tells.
fn by_source(status: &Status, progress: &Progress, published: bool) -> BTreeMap<String, Tally> {
    // Before anything is published what was read in runs before is not known either.
    let sources = status.sources.iter().filter(|_| published);
    let known = sources.map(|source| (source.name.clone(), Tally::default()));
    let mut all: BTreeMap<String, Tally> = known.collect();
    for (place, _, tally) in progress.partitions() {
        all.entry(place.source.to_string()).or_default().add(&tally);
    }
    all
}

/// Outcomes by name.
fn outcomes(tally: &Tally) -> [(&'static str, u64); 5] {
    [
        ("accepted", tally.accepted),
        ("duplicate", tally.duplicate),
        ("superseded", tally.superseded),
        ("rejected", tally.rejected),
        ("ignored", tally.ignored),
    ]
}

fn records(text: &mut Text, machine: &Machine, status: &Status, picture: &Picture) {
    let progress = &*picture.progress;
    let (shown, folded) = tallies(progress);
    if folded > 0 {
        let overflow = machine.label_overflow.with_label_values(&["pinflow_records_total"]);
        overflow.inc_by(folded as u64);
    }
    text.known("pinflow_records_read_total");
    for (source, partition, tally) in &shown {
        text.sample([("source", &**source), ("partition", partition)], tally.read);
    }
    text.known("pinflow_records_total");
    for (source, partition, tally) in &shown {
        for (outcome, n) in outcomes(tally) {
            let labels = [("source", &**source), ("partition", partition), ("outcome", outcome)];
            text.sample(labels, n);
        }
    }
    let by_source = by_source(status, progress, picture.frontier.run > 0);
    text.known("pinflow_source_records_total");
    for (source, tally) in &by_source {
        for (outcome, n) in outcomes(tally) {
            text.sample([("source", &**source), ("outcome", outcome)], n);
        }
    }
    text.known("pinflow_rejected_total");
    for source in by_source.keys() {
        let by = progress.rejected.get(&**source).copied().unwrap_or_default();
        for (reason, n) in Reason::ALL.into_iter().zip(by) {
            text.sample([("source", &**source), ("reason", reason.name())], n);
        }
    }
    text.one("pinflow_handed_over_records", progress.handed_over);
    text.one("pinflow_in_flight_records", progress.in_flight);
    text.known("pinflow_events_total");
    for (event, n) in progress.counters.iter().take(MAX_EVENTS) {
        text.sample([("event", &**event)], n);
    }
}

fn partitions(text: &mut Text, status: &Status, progress: &Progress) {
    let shown = || progress.partitions().take(MAX_PARTITIONS).enumerate();
    let end = |n: usize, next: u64| status.partitions.get(n).and_then(|p| p.end(next));
    text.known("pinflow_source_position");
    for (_, (place, next, _)) in shown() {
        text.sample([("source", &*place.source), ("partition", &place.partition)], next);
    }
    text.known("pinflow_source_end");
    for (n, (place, next, _)) in shown() {
        if let Some(end) = end(n, next) {
            let labels = [("source", &*place.source), ("partition", &*place.partition)];
            text.sample(labels, end);
        }
    }
    text.known("pinflow_lag_records");
    for (n, (place, next, _)) in shown() {
        if let Some(end) = end(n, next) {
            let labels = [("source", &*place.source), ("partition", &*place.partition)];
            text.sample(labels, end - next);
        }
    }
    text.known("pinflow_lag_seconds");
    for (n, (place, next, _)) in shown() {
        let lag = status.partitions.get(n).and_then(|p| p.lag_seconds(next, wall()));
        if let Some(lag) = lag {
            let labels = [("source", &*place.source), ("partition", &*place.partition)];
            text.sample(labels, lag);
        }
    }
    text.known("pinflow_source_events_total");
    for source in &status.sources {
        for (event, n) in &source.counters {
            text.sample([("source", &*source.name), ("event", event)], n);
        }
    }
    text.known("pinflow_source_failures_total");
    for source in &status.sources {
        for (kind, n) in &source.errors {
            text.sample([("source", &*source.name), ("kind", kind)], n);
        }
    }
    text.known("pinflow_source_fetched_bytes_total");
    for source in &status.sources {
        if let Some(bytes) = source.fetched_bytes {
            text.sample([("source", &*source.name)], bytes);
        }
    }
    sources(text, status, progress);
}

fn sources(text: &mut Text, status: &Status, progress: &Progress) {
    let of = |source: &str| -> Vec<usize> {
        let all = progress.places.iter().enumerate();
        all.filter(|(_, p)| *p.source == *source).map(|(n, _)| n).collect()
    };
    let by_source: Vec<(&str, Vec<usize>)> =
        status.sources.iter().map(|s| (s.name.as_str(), of(&s.name))).collect();
    text.known("pinflow_source_failing");
    for source in &status.sources {
        let failing = source.state == Motion::Failing;
        text.sample([("source", &*source.name)], i32::from(failing));
    }
    text.known("pinflow_source_partitions");
    for (source, numbers) in &by_source {
        for motion in Motion::ALL {
            let does = |n: &&usize| status.partitions.get(**n).map(|p| p.state) == Some(motion);
            let count = numbers.iter().filter(does).count();
            text.sample([("source", *source), ("state", motion.name())], count);
        }
    }
    text.known("pinflow_source_arrival_timestamp_seconds");
    for (source, numbers) in &by_source {
        let known = numbers.iter().filter_map(|n| status.partitions.get(*n)?.arrived_at);
        if let Some(latest) = known.max() {
            text.sample([("source", *source)], seconds(latest));
        }
    }
}

fn state(text: &mut Text, status: &Status, picture: &Picture) {
    let progress = &picture.progress;
    text.one("pinflow_posts", progress.posts);
    text.known("pinflow_posts_incomplete");
    for (missing, n) in ["pin", "geo", "user"].into_iter().zip(progress.incomplete) {
        text.sample([("missing", missing)], n);
    }
    if let Some(budget) = status.memory.budget_bytes {
        text.one("pinflow_memory_budget_bytes", budget);
    }
    text.one("pinflow_memory_used_bytes", status.memory.used_bytes);
    if let Some(bytes) = process::allocated() {
        text.one("pinflow_memory_allocated_bytes", bytes);
    }
    text.one("pinflow_memory_held", i32::from(status.memory.level == Level::Held));
    text.one("pinflow_reading_held", i32::from(status.reading_held.is_some()));
    text.one("pinflow_state_bytes", status.memory.state_bytes);
    text.one("pinflow_queued_bytes", status.memory.queued_bytes);
    text.known("pinflow_operator_records");
    for op in &status.operators {
        text.sample([("operator", &*op.name)], op.records);
    }
    text.known("pinflow_operator_bytes");
    for op in &status.operators {
        text.sample([("operator", &*op.name)], op.bytes);
    }
    text.one("pinflow_checkpoint_cut", status.checkpoints.cut);
    text.known("pinflow_checkpoint_timestamp_seconds");
    if let Some(at) = status.checkpoints.last_at {
        text.sample([], seconds(at));
    }
    text.one("pinflow_checkpoint_disk_bytes", status.checkpoints.disk_bytes);
    text.one("pinflow_checkpoint_unwritten_bytes", status.checkpoints.unwritten_bytes);
    text.one("pinflow_dead_letter_bytes", status.dead_letter_bytes);
    letters(text, status);
    text.known("pinflow_published_groups");
    for reading in &picture.readings {
        text.sample([("metric", &*reading.schema().name)], reading.table.groups());
    }
    text.known("pinflow_published_bytes");
    for reading in &picture.readings {
        text.sample([("metric", &*reading.schema().name)], reading.table.bytes());
    }
}

/// Of sources whose dead letters go to a topic.
fn letters(text: &mut Text, status: &Status) {
    let mut family = |name: &str, value: fn(&Sending) -> u64| {
        text.known(name);
        for source in &status.sources {
            if let Some(sending) = &source.dead_letters {
                text.sample([("source", &*source.name)], value(sending));
            }
        }
    };
    family("pinflow_dead_letters_sent_total", |s| s.sent);
    family("pinflow_dead_letters_failures_total", |s| s.failures);
    family("pinflow_dead_letters_waiting_bytes", |s| s.waiting_bytes);
}

fn of_process(text: &mut Text) {
    let p = process::read();
    let whole = |n: Option<u64>| n.map(|n| n as f64);
    for (name, value) in [
        ("process_cpu_seconds_total", p.cpu_seconds),
        ("process_resident_memory_bytes", whole(p.resident_bytes)),
        ("process_virtual_memory_bytes", whole(p.virtual_bytes)),
        ("process_threads", whole(p.threads)),
        ("process_start_time_seconds", p.start_seconds),
        ("process_open_fds", whole(p.open_fds)),
        ("process_max_fds", whole(p.max_fds)),
    ] {
        if let Some(value) = value {
            text.one(name, value);
        }
    }
}

/// Microseconds as seconds.
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
