//! The metrics about the machine that this process counts as it goes.
//!
//! Promises: every name stands here or in [`super::expose::FAMILIES`], is documented in
//! `docs/reference/telemetry.md`, and exists before its first event where its labels are known.
//! Limits: labels are sources, routes, tables, workers and metrics, all bounded by configuration.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge};
use prometheus::{Opts, Registry};

/// The registry of this process and the counters in it; children are cheap to keep, so resolve
/// them once and add per batch.
pub struct Machine {
    registry: Registry,
    started: Instant,
    /// Milliseconds since the start at the last turn of the engine's loop; -1 before the first.
    beat: AtomicI64,
    /// Bytes of messages read, by source.
    pub read_bytes: IntCounterVec,
    /// Errors of sources, by source.
    pub source_errors: IntCounterVec,
    /// Seconds that workers were busy, by worker.
    pub worker_busy: CounterVec,
    /// From the opening of an epoch until its results are visible.
    pub epoch_seconds: Histogram,
    /// From a record's arrival until results with it are visible; the oldest of each epoch.
    pub latency_seconds: Histogram,
    /// Durable cuts.
    pub checkpoints: IntCounter,
    /// Cuts that failed.
    pub checkpoint_errors: IntCounter,
    /// Bytes written for cuts.
    pub checkpoint_bytes: IntCounter,
    /// From a cut's due time until it is durable.
    pub checkpoint_seconds: Histogram,
    /// How often reading was held back for lack of memory.
    pub memory_holds: IntCounter,
    /// Cleaned rows committed, by table.
    pub sink_rows: IntCounterVec,
    /// Bytes of cleaned rows committed, by table.
    pub sink_bytes: IntCounterVec,
    /// Requests answered, by route and status code.
    pub http_requests: IntCounterVec,
    /// Time to answer, by route, until the answer is rendered.
    pub http_seconds: CounterVec,
    /// Connections that are open.
    pub http_connections: IntGauge,
    /// Connections closed because there were too many.
    pub http_refused: IntCounter,
    /// Subscribers of change feeds.
    pub http_subscribers: IntGauge,
    /// Time to render a scrape.
    pub scrape_seconds: Histogram,
    /// Values that did not fit the bounds of series, by metric, at each scrape.
    pub label_overflow: IntCounterVec,
}

/// Seconds: from half a millisecond to half a minute.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 30.0];

impl Machine {
    /// A fresh registry.
    pub fn new() -> Self {
        let r = Registry::new();
        Machine {
            read_bytes: counters(&r, "read_bytes_total", "Bytes of messages read.", &["source"]),
            source_errors: counters(&r, "source_errors_total", "Errors of sources.", &["source"]),
            worker_busy: seconds(
                &r,
                "worker_busy_seconds_total",
                "Seconds that workers were busy.",
                "worker",
            ),
            epoch_seconds: histogram(
                &r,
                "epoch_duration_seconds",
                "From an epoch's first record until its results are visible.",
            ),
            latency_seconds: histogram(
                &r,
                "end_to_end_latency_seconds",
                "From arrival until results are visible; the oldest record of each epoch.",
            ),
            checkpoints: counter(&r, "checkpoints_total", "Durable cuts."),
            checkpoint_errors: counter(&r, "checkpoint_errors_total", "Cuts that failed."),
            checkpoint_bytes: counter(&r, "checkpoint_bytes_total", "Bytes written for cuts."),
            checkpoint_seconds: histogram(
                &r,
                "checkpoint_duration_seconds",
                "From a cut's due time until it is durable.",
            ),
            memory_holds: counter(&r, "memory_holds_total", "Reading held back to save memory."),
            sink_rows: counters(&r, "sink_rows_total", "Cleaned rows committed.", &["table"]),
            sink_bytes: counters(
                &r,
                "sink_bytes_total",
                "Bytes of cleaned rows committed.",
                &["table"],
            ),
            http_requests: counters(
                &r,
                "http_requests_total",
                "Requests answered, by route and status code.",
                &["route", "code"],
            ),
            http_seconds: seconds(
                &r,
                "http_request_seconds_total",
                "Seconds spent on answers.",
                "route",
            ),
            http_connections: gauge(&r, "http_connections", "Connections that are open."),
            http_refused: counter(
                &r,
                "http_connections_refused_total",
                "Connections closed because there were too many.",
            ),
            http_subscribers: gauge(&r, "http_subscribers", "Subscribers of change feeds."),
            scrape_seconds: histogram(&r, "scrape_duration_seconds", "Time to render a scrape."),
            label_overflow: counters(
                &r,
                "label_overflow_total",
                "Values folded into `other`, or left out, at scrapes to keep series bounded.",
                &["metric"],
            ),
            registry: r,
            started: Instant::now(),
            beat: AtomicI64::new(-1),
        }
    }

    /// The registry; other parts may register metrics of their own in it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The engine's loop has turned.
    pub fn beat(&self) {
        let at = self.started.elapsed().as_millis() as i64;
        self.beat.store(at, Ordering::Relaxed);
    }

    /// Seconds since the engine's loop last turned; none before its first turn.
    pub fn silent(&self) -> Option<f64> {
        let beat = self.beat.load(Ordering::Relaxed);
        let now = self.started.elapsed().as_millis() as i64;
        (beat >= 0).then(|| (now - beat) as f64 / 1000.0)
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("pinflow_{name}"), help)
}

/// Names and labels are constants of this file, so registering them cannot fail.
fn register<C: Collector + Clone + 'static>(r: &Registry, made: prometheus::Result<C>) -> C {
    let metric = made.expect("a valid constant name");
    r.register(Box::new(metric.clone())).expect("names are distinct");
    metric
}

fn counter(r: &Registry, name: &str, help: &str) -> IntCounter {
    register(r, IntCounter::with_opts(opts(name, help)))
}

fn gauge(r: &Registry, name: &str, help: &str) -> IntGauge {
    register(r, IntGauge::with_opts(opts(name, help)))
}

fn seconds(r: &Registry, name: &str, help: &str, label: &str) -> CounterVec {
    register(r, CounterVec::new(opts(name, help), &[label]))
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(opts(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str) -> Histogram {
    let opts = HistogramOpts::new(format!("pinflow_{name}"), help).buckets(SECONDS.to_vec());
    register(r, Histogram::with_opts(opts))
}
