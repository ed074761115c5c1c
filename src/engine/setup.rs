//! A run from its options to its end: plan, state, sources, threads; then the coordinator; then
//! what is written at the end.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::unbounded;
use dataflows::metrics::plan::Plan;
use dataflows::record::Stream;
use dataflows::sealed::Tally;
use serde_json::json;
use tracing::{info, warn};

use super::book::Book;
use super::clock::{Farthest, Now, wall};
use super::coordinator::{self, Coordinator, End, Lines};
use super::differences::explained;
use super::fingerprint::{self, fingerprint};
use super::keeper::{BEGUN, DEAD_LETTERS, Keeper, mark_name};
use super::memory::{self, Budget};
use super::messages::{Flow, Shared};
use super::posts::Lookup;
use super::rebuild::{self, Former};
use super::repeats::Repeats;
use super::report::Report;
use super::sources::Sources;
use super::start::{self, Setup};
use super::writer::Writer;
use super::{EngineError, Pace, build, refuse};
use crate::cli::{Failure, RunOptions};
use crate::config::{self, Config, limits};
use crate::publish::Published;
use crate::sink::Sink;
use crate::sink::letters::Outlet;
use crate::source::{self, Source, progress::Progress};
use crate::store::dead::DeadLetters;
use crate::store::{Head, Options, Restored, Store};
use crate::telemetry::status::{SourceStatus, Status};
use crate::telemetry::{Machine, SharedStatus};

/// The mark that holds the wall clock at which the last bounded run began.
const BEGAN: &str = "began";
/// The mark that says that the state's last run came to the end of its sources.
pub const ENDED: &str = "ended";

/// Runs until the sources end or an orderly stop.
pub fn run(options: &RunOptions) -> Result<(), Failure> {
    if let Some(to) = &options.results {
        crate::results::check(&to.dir)?;
    }
    let began = Instant::now();
    let Tally { read, accepted, duplicate, superseded, rejected, ignored } =
        start(options, None).map_err(Failure::from)?.tally;
    let seconds = began.elapsed().as_secs_f64();
    let results = options.results.as_ref().map(|to| to.dir.display().to_string());
    info!(
        read,
        accepted, duplicate, superseded, rejected, ignored, seconds, results, "the run is over"
    );
    if rejected > 0 && accepted + duplicate + superseded + ignored == 0 {
        let dir = options.config.state.dir.display();
        let look = format!("pinflow replay --list --state {dir}");
        warn!(rejected, look, "no record could be used: all were rejected");
    }
    Ok(())
}

/// Where dead letters are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From the disk.
    Disk,
    /// From the topics that they were sent to.
    Topics,
}

/// What became of dead letters that were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that were read again.
    pub letters: u64,
    /// Letters that were cut short and stay.
    pub truncated: u64,
    /// What topics hold beside: letters of other states, letters that were read again before.
    pub passed_over: u64,
    /// What became of their records.
    pub tally: Tally,
}

/// Reads a state's dead letters again; they leave the store in the cut that takes them up.
pub fn replay(options: &RunOptions, from: From) -> Result<Replayed, Failure> {
    start(options, Some(from)).map_err(Failure::from)
}

/// Opens the state, starts all threads and coordinates them to the end.
fn start(options: &RunOptions, replay: Option<From>) -> Result<Replayed, EngineError> {
    let config = &options.config;
    memory::guard(limits::memory());
    let plan = Arc::new(plan(options, replay.is_some()));
    let bags = plan.has_bags();
    refuse::bags(config, bags, replay.is_some())?;
    let dir = &config.state.dir;
    if options.rebuild || bags {
        refuse::old_sinks(config)?;
        if !options.rebuild {
            refuse::others_state(dir)?;
        }
        if options.rebuild && !options.accept_gap {
            rebuild::check(dir, sources(options)?)?;
        }
        // Bags cannot be restored: such a run reads everything again.
        crate::store::begin_rebuild(dir)?;
    }
    let mut fingerprint = fingerprint(config, &plan);
    if replay.is_some() {
        fingerprint::keep_sources(&mut fingerprint, dir)?;
    }
    let hint = if replay.is_some() { refuse::REPLAY_UNDER } else { refuse::GO_BACK };
    let refused = |error| explained(error, config, hint);
    let using = Options { coarser: Some(build::coarser(&plan)), ..Options::new(fingerprint) };
    let (store, restored) = Store::open(dir, using).map_err(refused)?;
    let fresh = restored.is_none();
    let mut restored = restored.unwrap_or_default();
    let head = std::mem::take(&mut restored.head);
    let mut book = Book::new(&head, config.engine.workers.max(1));
    let (mark, most) = (head.marks.get(DEAD_LETTERS), config.dead_letters.max_bytes);
    let (mut dead, damage) = DeadLetters::open(store.disk(), dir, mark, most)?;
    damage.iter().for_each(|what| warn!("{what}"));
    restored.damage.extend(damage);
    let former = Former::of(&store, &head, &mut book, options, replay.is_some())?;
    let sinks = build::sinks(config, &store, &head, restored.fell_back)?;
    let mut replayed = Replayed::default();
    let list = match replay {
        Some(from) => {
            let letters = build::taken(&dead, &book, config, (from, store.state_id()))?;
            vec![build::letters(&mut dead, &book, config, letters, &mut replayed)?]
        }
        None => sources(options)?,
    };
    let sources = Sources::new(list, &head, &book, options.once)?;
    let began_at = began_at(&head);
    if replay.is_none() {
        book.mark(BEGAN, if options.once { began_at.into() } else { serde_json::Value::Null });
        book.mark(ENDED, json!(false));
    }
    sinks.iter().for_each(|sink| book.mark(&format!("{BEGUN}{}", mark_name(&**sink)), json!(true)));
    let before = book.total();
    let mut pace = Pace::new(config, bags || replay.is_some());
    pace.marks_end = replay.is_none();
    pace.bounded = options.once;
    let outlets =
        if replay.is_some() { Vec::new() } else { build::outlets(config, &store, &dead)? };
    let keep = Keep { left: build::left(&sinks, &head), store, dead, sinks, outlets };
    let known = Known { head, book, sources, began_at, fresh, former };
    let end = conduct(options, plan, pace, keep, known, restored)?;
    if let Some(over) = end.over {
        return Err(over.into());
    }
    refuse::incomplete(&end.refused)?;
    replayed.tally = end.book.total().minus(&before);
    Ok(replayed)
}

/// The wall clock at which a bounded run began: the one that goes on with this start, if it did not
/// come to its end and is no older than what it lets arrival times be ahead, or a new one.
fn began_at(head: &Head) -> i64 {
    let (now, mark) = (wall(), |name| head.marks.get(name));
    let ended = mark(ENDED).and_then(serde_json::Value::as_bool) == Some(true);
    let goes_on = |began: &i64| !ended && Farthest::Of(*began).get() > now;
    mark(BEGAN).and_then(serde_json::Value::as_i64).filter(goes_on).unwrap_or(now)
}

/// The plan of a run. A replay keeps the columns that the state does.
fn plan(options: &RunOptions, replays: bool) -> Plan {
    let config = &options.config;
    let all = config.state.all_columns && !replays;
    if options.rebuild {
        return Plan::new(&config.metrics, &config.age_groups, all);
    }
    fingerprint::plan(config, all)
}

/// What the keeper is given.
struct Keep {
    store: Store,
    dead: DeadLetters,
    sinks: Vec<Box<dyn Sink>>,
    left: Vec<String>,
    outlets: Vec<Outlet>,
}

impl Keep {
    fn keeper(self, book: &Book, machine: &Arc<Machine>) -> Keeper {
        let Keep { store, dead, sinks, left, outlets } = self;
        // A counter that begins with its first rows tells no rate of them.
        for table in Stream::ALL.iter().map(|s| s.name()).filter(|_| !sinks.is_empty()) {
            let _ = machine.sink_rows.with_label_values(&[table]);
            let _ = machine.sink_bytes.with_label_values(&[table]);
        }
        Keeper {
            store,
            dead,
            sinks,
            left,
            outlets,
            newest: Head::default(),
            partitions: book.partitions.clone(),
            unwritten: None,
            owed: None,
            cleaned: Default::default(),
            machine: machine.clone(),
            repeats: Repeats::default(),
        }
    }
}

/// What the coordinator is given.
struct Known {
    head: Head,
    book: Book,
    sources: Sources,
    began_at: i64,
    fresh: bool,
    former: Option<Former>,
}

/// Starts the threads and coordinates them to the end.
fn conduct(
    options: &RunOptions,
    plan: Arc<Plan>,
    pace: Pace,
    keep: Keep,
    known: Known,
    restored: Restored,
) -> Result<End, EngineError> {
    let (config, book, head) = (&options.config, known.book, known.head);
    let workers = config.engine.workers.max(1);
    let machine = Arc::new(Machine::new());
    let status = shared_status(config, &restored);
    let shared = Arc::new(Shared::new(workers));
    *shared.flow.lock() = Flow { handed_over: book.records(), in_flight: 0 };
    #[allow(clippy::disallowed_methods, reason = "a few per epoch under way, partition, request")]
    let (events, inbox) = unbounded();
    let began = Instant::now();
    let farthest = if options.once { Farthest::Of(known.began_at) } else { Farthest::OfNow };
    let setup = Setup {
        plan: plan.clone(),
        options: build::decode_options(config, &book),
        restore: Arc::new(build::restore(restored, head.now)?),
        shared: shared.clone(),
        bounds: build::bounds(config, workers, farthest),
    };
    let threads = start::workers(workers, setup, &events)?;
    let seconds = began.elapsed().as_secs_f64();
    info!(seconds, records = book.records(), "the state is in memory");
    let sending = keep.outlets.iter().map(Outlet::sent).collect();
    let (tasks, kept) = start::keeper(keep.keeper(&book, &machine), &events)?;
    start::signals(&events)?;
    let schemas = plan.metrics.iter().map(|m| m.schema.clone()).collect();
    let published = Arc::new(Published::new(schemas));
    let server = build::serve(config, &published, &status, &machine, Lookup(events.clone()))?;
    let lines = Lines { events: inbox, workers: threads.lines, keeper: tasks };
    let progress = options.once.then(Progress::new);
    let (writer, results) = Writer::start(options.results.clone(), &published)?.unzip();
    let coordinator = Coordinator::new(coordinator::Parts {
        lines,
        shared,
        pace,
        now: Now::new(config.engine.clock, head.now),
        book,
        sources: known.sources,
        published,
        report: Report::new(machine, status, progress).with(sending),
        run: head.run + 1,
        next_cut: if known.fresh { 0 } else { head.cut + 1 },
        former: known.former,
        watched: server.is_some(),
        budget: Budget::new(config.engine.memory),
        results,
    });
    let end = match coordinator.run() {
        Ok(end) => end,
        Err(error) => {
            // The process is about to end, and the workers have not been told to.
            std::mem::forget(threads.guards);
            return Err(error);
        }
    };
    // All threads have been told to end; the keeper has answered for its last cut.
    drop(kept.join());
    drop(threads.guards);
    drop(server);
    if end.over.is_none() {
        writer.map_or(Ok(()), Writer::finish)?;
    }
    Ok(end)
}

/// The configured sources, fresh.
fn sources(options: &RunOptions) -> Result<Vec<Box<dyn Source>>, EngineError> {
    let sinks = options.config.sinks.iter().map(|sink| match sink {
        config::Sink::Files(files) => files.dir.clone(),
    });
    let results = options.results.iter().map(|to| to.dir.clone());
    let setup = source::Setup {
        own: sinks.chain(results).chain([options.config.state.dir.clone()]).collect(),
        bounded: options.once,
        until: options.until,
        clock: Arc::new(wall),
        max_message: options.config.cleaning.max_record_bytes,
    };
    let build = |s| source::build_with(s, setup.clone());
    Ok(options.config.sources.iter().map(build).collect::<Result<_, _>>()?)
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
    status.memory.budget_bytes = config.engine.memory;
    status.checkpoints.damage.clone_from(&restored.damage);
    Arc::new(parking_lot::RwLock::new(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_run_that_is_over_or_old_is_not_gone_on_with() {
        let began = |at: serde_json::Value, ended: bool| {
            let marks = [(BEGAN.to_owned(), at), (ENDED.to_owned(), ended.into())].into();
            began_at(&Head { marks, ..Head::default() })
        };
        let before = wall();
        let (lately, long_ago) = (before - 5, before - dataflows::time::DAY);
        assert_eq!(began(lately.into(), false), lately);
        assert!(began(lately.into(), true) >= before);
        assert!(began(long_ago.into(), false) >= before);
        assert!(began(serde_json::Value::Null, false) >= before);
        assert!(began_at(&Head::default()) >= before);
    }
}
