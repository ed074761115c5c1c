//! A run from its options to its end: plan, state, sources, threads; then the coordinator; then
//! what is written at the end.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::unbounded;
use dataflows::decode::{DecodeOptions, RowFormat};
use dataflows::graph::Restore;
use dataflows::metrics::plan::Plan;
use serde_json::json;
use tracing::{info, warn};

use super::book::{self, Book};
use super::clock::{Now, wall};
use super::coordinator::{Coordinator, Lines};
use super::fingerprint::fingerprint;
use super::keeper::{DEAD_LETTERS, Keeper, mark_name};
use super::messages::{Flow, Shared};
use super::posts::Lookup;
use super::report::Report;
use super::sources::Sources;
use super::start::{self, Setup};
use super::worker::Bounds;
use super::{EngineError, Pace};
use crate::cli::{Failure, RunOptions, exit};
use crate::config::{Config, Sink as SinkConfig, SourceKind};
use crate::http::{self, Parts, Server};
use crate::publish::Published;
use crate::sink::{self, Begin, Sink};
use crate::source::{self, progress::Progress};
use crate::store::dead::DeadLetters;
use crate::store::{Head, Options, Restored, Store};
use crate::telemetry::status::{SourceStatus, Status};
use crate::telemetry::{Machine, SharedStatus};

/// The mark that holds the wall clock of the state's first start.
const BORN: &str = "born";
/// The mark that says that the state's last run came to the end of its sources.
pub const ENDED: &str = "ended";

/// Runs until the sources end or an orderly stop.
pub fn run(options: &RunOptions) -> Result<(), Failure> {
    let plan = Plan::new(
        &options.config.metrics,
        &options.config.age_groups,
        options.config.state.all_columns,
    );
    run_plan(options, Arc::new(plan)).map_err(Failure::from)
}

fn run_plan(options: &RunOptions, plan: Arc<Plan>) -> Result<(), EngineError> {
    let config = &options.config;
    let bags = plan.has_bags();
    refuse_bags(config, bags)?;
    let dir = &config.state.dir;
    if options.rebuild || bags {
        // Bags cannot be restored: such a run reads everything again.
        crate::store::begin_rebuild(dir)?;
    }
    let (store, restored) = Store::open(dir, Options::new(fingerprint(config, &plan)))?;
    let fresh = restored.is_none();
    let mut restored = restored.unwrap_or_default();
    restored.damage.iter().for_each(|what| warn!("{what}"));
    let head = std::mem::take(&mut restored.head);
    let workers = config.engine.workers.max(1);
    let mut book = Book::new(&head, workers);
    let (dead, damage) = DeadLetters::open(
        store.disk(),
        dir,
        head.marks.get(DEAD_LETTERS),
        config.dead_letters.max_bytes,
    )?;
    restored.damage.extend(damage);
    let sinks = sinks(config, &store, &head, restored.fell_back)?;
    let machine = Arc::new(Machine::new());
    let status = shared_status(config, &restored);
    let setup = source::Setup {
        bounded: options.once,
        clock: Arc::new(wall),
        max_message: config.cleaning.max_record_bytes,
    };
    let list = config.sources.iter().map(|s| source::build_with(s, setup.clone()));
    let sources = Sources::new(list.collect::<Result<_, _>>()?, &head, &book)?;
    let born = head.marks.get(BORN).and_then(serde_json::Value::as_i64).unwrap_or_else(wall);
    if fresh {
        book.mark(BORN, json!(born));
    }
    book.mark(ENDED, json!(false));
    let shared = Arc::new(Shared::default());
    let read = book.records();
    *shared.flow.lock() = Flow { handed_over: read, in_flight: 0 };
    let restore = Arc::new(restore(restored)?);
    let began = Instant::now();
    let (events, inbox) = unbounded();
    let threads = start::workers(
        workers,
        Setup {
            plan: plan.clone(),
            options: decode_options(config, &book),
            restore: restore.clone(),
            shared: shared.clone(),
            bounds: bounds(config, workers),
        },
        &events,
    )?;
    drop(restore);
    info!(seconds = began.elapsed().as_secs_f64(), records = read, "the state is in memory");
    let partitions = book.partitions.clone();
    let keeper = Keeper { store, dead, sinks, partitions, unwritten: None, machine: machine.clone() };
    let (tasks, keeper) = start::keeper(keeper, &events)?;
    start::signals(&events)?;
    let schemas = plan.metrics.iter().map(|m| m.schema.clone()).collect();
    let published = Arc::new(Published::new(schemas));
    let server = serve(config, &published, &status, &machine, Lookup(events.clone()))?;
    let lines = Lines { events: inbox, workers: threads.lines, keeper: tasks };
    let progress = options.once.then(Progress::new).filter(Progress::shown);
    let mut coordinator = Coordinator::new(
        lines,
        shared,
        Pace::new(config, bags),
        Now::new(config.engine.clock, head.now, born),
        (book, sources),
        published.clone(),
        Report::new(machine, status, progress),
        (head.run + 1, if fresh { 0 } else { head.cut + 1 }),
    );
    coordinator.watched = server.is_some();
    coordinator.run()?;
    // All threads have been told to end; the keeper has answered for its last cut.
    drop(keeper.join());
    drop(threads.guards);
    if let Some(to) = &options.results {
        crate::results::write_all(&published, &to.dir, to.format)?;
    }
    drop(server);
    Ok(())
}

/// What bag joins cannot be combined with.
fn refuse_bags(config: &Config, bags: bool) -> Result<(), EngineError> {
    if bags && !config.sinks.is_empty() {
        let hint = "write cleaned rows by a run without join = \"bag\"";
        let what = "bag joins read everything again at each start, so rows would be doubled";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    Ok(())
}

fn sinks(
    config: &Config,
    store: &Store,
    head: &Head,
    fell_back: bool,
) -> Result<Vec<Box<dyn Sink>>, EngineError> {
    let open = |config: &SinkConfig| -> Result<Box<dyn Sink>, EngineError> {
        let mut sink = sink::open(config, store.disk());
        let mark = head.marks.get(&mark_name(&*sink));
        let started = head.positions.iter().any(|(n, at)| *at > 0 || head.tallies.contains_key(n));
        let begin = Begin { state: store.state_id(), mark, started, fell_back };
        sink.begin(&begin)?.iter().for_each(|what| warn!("{what}"));
        Ok(sink)
    };
    config.sinks.iter().map(open).collect()
}

fn shared_status(config: &Config, restored: &Restored) -> SharedStatus {
    let source = |s: &crate::config::Source| SourceStatus {
        name: s.name.clone(),
        kind: match s.kind {
            SourceKind::Demo(_) => "demo".into(),
            SourceKind::Files(_) => "files".into(),
        },
        ..SourceStatus::default()
    };
    let mut status = Status {
        started_at: wall(),
        workers: config.engine.workers,
        state_dir: config.state.dir.display().to_string(),
        sources: config.sources.iter().map(source).collect(),
        ..Status::default()
    };
    status.checkpoints.damage.clone_from(&restored.damage);
    Arc::new(parking_lot::RwLock::new(status))
}

/// What the workers take back.
pub(super) fn restore(restored: Restored) -> Result<Restore, EngineError> {
    let ledger = book::restored_ledger(&restored.ledger);
    Ok(Restore {
        texts: dataflows::assemble::codec::texts(&restored.texts)?,
        slots: restored.slots,
        ledger: ledger.ok_or(dataflows::assemble::codec::CodecError::Short)?,
    })
}

fn decode_options(config: &Config, book: &Book) -> DecodeOptions {
    let csv = |s: &SinkConfig| match s {
        SinkConfig::Files(files) => files.csv,
    };
    let rows = config.sinks.first().map(|s| {
        if csv(s) { RowFormat::Csv } else { RowFormat::Json }
    });
    DecodeOptions {
        rules: Arc::new(config.cleaning.clone()),
        partitions: book.partitions.clone(),
        rows,
    }
}

fn bounds(config: &Config, workers: usize) -> Bounds {
    let records = config.engine.max_epoch_records;
    Bounds {
        bytes: (config.engine.max_epoch_bytes / workers).max(1),
        records: records.map_or(usize::MAX, |n| (n / workers).max(1)),
    }
}

fn serve(
    config: &Config,
    published: &Arc<Published>,
    status: &SharedStatus,
    machine: &Arc<Machine>,
    lookup: Lookup,
) -> Result<Option<Server>, EngineError> {
    let Some(addr) = config.http.listen else { return Ok(None) };
    let parts = Parts {
        published: published.clone(),
        status: status.clone(),
        machine: machine.clone(),
        posts: Arc::new(lookup),
        labels: Arc::new(config.labels.clone()),
    };
    let server = http::serve(&config.http, addr, parts)?;
    info!(address = %server.addr, "listening");
    Ok(Some(server))
}
