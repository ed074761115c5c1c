//! A run from its options to its end: plan, state, sources, threads; then the coordinator; then
//! what is written at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::unbounded;
use dataflows::decode::{DecodeOptions, RowFormat};
use dataflows::graph::Restore;
use dataflows::metrics::plan::Plan;
use dataflows::sealed::Tally;
use serde_json::json;
use tracing::{info, warn};

use super::book::{self, Book};
use super::clock::{Now, wall};
use super::coordinator::{Coordinator, Lines};
use super::fingerprint::{self, fingerprint};
use super::keeper::{DEAD_LETTERS, Keeper, mark_name};
use super::messages::{Flow, Shared};
use super::posts::Lookup;
use super::report::Report;
use super::sources::Sources;
use super::start::{self, Setup};
use super::worker::Bounds;
use super::{EngineError, Pace, rebuild};
use crate::cli::{Failure, RunOptions, exit};
use crate::config::{Config, Sink as SinkConfig};
use crate::http::{self, Parts, Server};
use crate::publish::Published;
use crate::sink::{self, Begin, Sink};
use crate::source::replay::ReplaySource;
use crate::source::{self, Source, progress::Progress};
use crate::store::dead::DeadLetters;
use crate::store::{Fingerprint, Head, Options, ReadOnly, Restored, Store};
use crate::telemetry::status::{SourceStatus, Status};
use crate::telemetry::{Machine, SharedStatus};

/// The mark that holds the wall clock of the state's first start.
const BORN: &str = "born";
/// The mark that says that the state's last run came to the end of its sources.
pub const ENDED: &str = "ended";

/// Runs until the sources end or an orderly stop.
pub fn run(options: &RunOptions) -> Result<(), Failure> {
    start(options, false).map(drop).map_err(Failure::from)
}

/// What became of dead letters that were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that were read again.
    pub letters: u64,
    /// Letters that were cut short and stay.
    pub truncated: u64,
    /// What became of their records.
    pub tally: Tally,
}

/// Reads a state's dead letters again; they leave the store in the cut that takes them up.
pub fn replay(options: &RunOptions) -> Result<Replayed, Failure> {
    start(options, true).map_err(Failure::from)
}

/// Opens the state, starts all threads and coordinates them to the end.
fn start(options: &RunOptions, replay: bool) -> Result<Replayed, EngineError> {
    let config = &options.config;
    let plan = Arc::new(if options.rebuild {
        Plan::new(&config.metrics, &config.age_groups, config.state.all_columns)
    } else {
        fingerprint::plan(config)
    });
    let bags = plan.has_bags();
    refuse_bags(config, bags, replay)?;
    let dir = &config.state.dir;
    if options.rebuild || bags {
        refuse_old_sinks(config)?;
        if options.rebuild && !options.accept_gap {
            rebuild::check(dir, sources(options)?)?;
        }
        // Bags cannot be restored: such a run reads everything again.
        crate::store::begin_rebuild(dir)?;
    }
    let mut fingerprint = fingerprint(config, &plan);
    if replay {
        keep_sources(&mut fingerprint, dir)?;
    }
    let (store, restored) = Store::open(dir, Options::new(fingerprint))?;
    let fresh = restored.is_none();
    let mut restored = restored.unwrap_or_default();
    let head = std::mem::take(&mut restored.head);
    let mut book = Book::new(&head, config.engine.workers.max(1));
    let mark = head.marks.get(DEAD_LETTERS);
    let max_bytes = config.dead_letters.max_bytes;
    let (mut dead, damage) = DeadLetters::open(store.disk(), dir, mark, max_bytes)?;
    damage.iter().for_each(|what| warn!("{what}"));
    restored.damage.extend(damage);
    let former = store.former_head()?.map(|head| rebuild::former(&head));
    let sinks = sinks(config, &store, &head, restored.fell_back)?;
    let mut replayed = Replayed::default();
    let list = if replay {
        vec![letters(&mut dead, &book, config, &mut replayed)?]
    } else {
        sources(options)?
    };
    let sources = Sources::new(list, &head, &book, options.once)?;
    let born = head.marks.get(BORN).and_then(serde_json::Value::as_i64).unwrap_or_else(wall);
    if fresh {
        book.mark(BORN, json!(born));
    }
    if !replay {
        book.mark(ENDED, json!(false));
    }
    let before = book.total();
    let mut pace = Pace::new(config, bags || replay);
    pace.marks_end = !replay;
    pace.bounded = options.once;
    let keep = Keep { store, dead, sinks };
    let known = Known { head, book, sources, born, fresh, former };
    let (book, published) = conduct(options, plan, pace, keep, known, restored)?;
    if let Some(to) = &options.results {
        crate::results::write_all(&published, &to.dir, to.format)?;
    }
    replayed.tally = book.total().minus(&before);
    Ok(replayed)
}

/// What the keeper is given.
struct Keep {
    store: Store,
    dead: DeadLetters,
    sinks: Vec<Box<dyn Sink>>,
}

/// What the coordinator is given.
struct Known {
    head: Head,
    book: Book,
    sources: Sources,
    born: i64,
    fresh: bool,
    former: Option<rebuild::Former>,
}

/// Starts the threads and coordinates them to the end.
fn conduct(
    options: &RunOptions,
    plan: Arc<Plan>,
    pace: Pace,
    keep: Keep,
    known: Known,
    restored: Restored,
) -> Result<(Book, Arc<Published>), EngineError> {
    let (config, book, head) = (&options.config, known.book, known.head);
    let workers = config.engine.workers.max(1);
    let machine = Arc::new(Machine::new());
    let status = shared_status(config, &restored);
    let shared = Arc::new(Shared::default());
    *shared.flow.lock() = Flow { handed_over: book.records(), in_flight: 0 };
    let (events, inbox) = unbounded();
    let began = Instant::now();
    let setup = Setup {
        plan: plan.clone(),
        options: decode_options(config, &book),
        restore: Arc::new(restore(restored)?),
        shared: shared.clone(),
        bounds: bounds(config, workers),
    };
    let threads = start::workers(workers, setup, &events)?;
    let seconds = began.elapsed().as_secs_f64();
    info!(seconds, records = book.records(), "the state is in memory");
    let Keep { store, dead, sinks } = keep;
    let partitions = book.partitions.clone();
    let keeper =
        Keeper { store, dead, sinks, partitions, unwritten: None, machine: machine.clone() };
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
        pace,
        Now::new(config.engine.clock, head.now, known.born),
        (book, known.sources),
        published.clone(),
        Report::new(machine, status, progress),
        (head.run + 1, if known.fresh { 0 } else { head.cut + 1 }),
    );
    coordinator.watched = server.is_some();
    coordinator.former = known.former;
    let book = match coordinator.run() {
        Ok(book) => book,
        Err(error) => {
            // The process is about to end, and the workers have not been told to.
            std::mem::forget(threads.guards);
            return Err(error);
        }
    };
    // All threads have been told to end; the keeper has answered for its last cut.
    drop(keeper.join());
    drop(threads.guards);
    drop(server);
    Ok((book, published))
}

/// The configured sources, fresh.
fn sources(options: &RunOptions) -> Result<Vec<Box<dyn Source>>, EngineError> {
    let setup = source::Setup {
        bounded: options.once,
        until: options.until,
        clock: Arc::new(wall),
        max_message: options.config.cleaning.max_record_bytes,
    };
    let build = |s| source::build_with(s, setup.clone());
    Ok(options.config.sources.iter().map(build).collect::<Result<_, _>>()?)
}

/// The state's letters as a source; they are taken out of the store, in force with the next cut.
fn letters(
    dead: &mut DeadLetters,
    book: &Book,
    config: &Config,
    replayed: &mut Replayed,
) -> Result<Box<dyn Source>, EngineError> {
    let mut again = Vec::new();
    for letter in dead.list()? {
        let letter = letter?;
        match letter.bytes() {
            Ok(payload) if !letter.truncated => again.push((letter, payload)),
            _ => replayed.truncated += 1,
        }
    }
    replayed.letters = again.len() as u64;
    let known = book.partitions.read().clone();
    let gone = again.iter().map(|(letter, _)| letter.id()).collect();
    dead.remove(&super::keeper::partitions(&known), &gone)?;
    Ok(Box::new(ReplaySource::new(again, &known, &config.sources)))
}

/// A replay reads from no source: what the state was made from is taken as it is.
fn keep_sources(fingerprint: &mut Fingerprint, dir: &Path) -> Result<(), EngineError> {
    let Some(state) = ReadOnly::open(dir)? else {
        let what = format!("there is no state in {}", dir.display());
        return Err(Failure::new(exit::UNAVAILABLE, what, "name the folder with --state").into());
    };
    fingerprint.retain(|item, _| !item.starts_with("source."));
    let sources = state.fingerprint.into_iter().filter(|(item, _)| item.starts_with("source."));
    fingerprint.extend(sources);
    Ok(())
}

/// What bag joins cannot be combined with.
fn refuse_bags(config: &Config, bags: bool, replay: bool) -> Result<(), EngineError> {
    if bags && replay {
        let hint = "run it again; every run with join = \"bag\" reads everything";
        let what = "bag joins are not stored, so nothing can be added to them later";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    if bags && !config.sinks.is_empty() {
        let hint = "write cleaned rows by a run without join = \"bag\"";
        let what = "bag joins read everything again at each start, so rows would be doubled";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    Ok(())
}

/// A new state begins with new outputs: a sink's folder that holds anything belongs to another.
fn refuse_old_sinks(config: &Config) -> Result<(), EngineError> {
    for SinkConfig::Files(files) in &config.sinks {
        let used = std::fs::read_dir(&files.dir).is_ok_and(|mut list| list.next().is_some());
        if used {
            let what = format!("{} holds the rows of another state", files.dir.display());
            let hint = "give --rebuild a new folder for cleaned rows";
            return Err(Failure::new(exit::CONFIG, what, hint).into());
        }
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
        kind: s.kind.name().into(),
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
    let rows = config.sinks.first().map(|s| if csv(s) { RowFormat::Csv } else { RowFormat::Json });
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
