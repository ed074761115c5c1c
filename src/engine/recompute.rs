//! The results of a state that nobody runs: the metrics are rebuilt from its slots, nothing is read
//! and nothing is written.

use std::path::Path;
use std::sync::Arc;

use dataflows::assemble::block::entries;
use dataflows::assemble::codec::{self, CodecError};
use dataflows::decode::DecodeOptions;
use dataflows::graph;
use dataflows::metrics::plan::Plan;
use dataflows::tick::Tick;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tracing::warn;

use super::EngineError;
use super::book::Book;
use super::build::restore;
use super::differences::explained;
use super::fingerprint::fingerprint;
use super::keeper::DEAD_LETTERS;
use super::messages::Flow;
use super::setup::ENDED;
use crate::cli::{Failure, exit};
use crate::config::Config;
use crate::publish::print::rfc3339;
use crate::publish::{Frontier, Published, State};
use crate::store::{Fingerprint, Head, ReadOnly, check_fingerprint, dead};
use crate::telemetry::status::{Status, view};

/// The way out where a state that is to be shown is of other settings.
const SHOW_UNDER: &str = "show it with the configuration that it was made with (--config), or make \
                          it anew with `pinflow run --rebuild`";

/// The results of the state in a folder, as its newest undamaged cut holds them; and what there is
/// to say of them where later cuts are lost.
pub fn recompute(config: &Config, dir: &Path) -> Result<(Published, Option<Failure>), Failure> {
    let mut config = config.clone();
    config.state.dir = dir.to_path_buf();
    let config = &config;
    let plan = super::fingerprint::plan(config, false);
    let state = open(dir)?;
    if plan.has_bags() {
        let hint = "run it again with --results DIR";
        let what = "bag joins are not stored and cannot be shown from a state";
        return Err(Failure::new(exit::CONFIG, what, hint));
    }
    // Nothing is read: which sources there were (`--input` replaces them) does not matter here.
    let meaning = |all: &Fingerprint| -> Fingerprint {
        let meaning = all.iter().filter(|(name, _)| !name.starts_with("source."));
        meaning.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let (stored, wanted) = (meaning(&state.fingerprint), meaning(&fingerprint(config, &plan)));
    check_fingerprint(dir, &stored, &wanted).map_err(|e| explained(e, config, SHOW_UNDER))?;
    let lost = state.restored.fell_back.then(|| lost(dir, &state.restored.head));
    Ok((replayed(plan, state)?, lost))
}

/// What is said of results that are not the newest which the state once held.
fn lost(dir: &Path, head: &Head) -> Failure {
    let what = format!(
        "the state in {} is damaged: the results printed are those of cut {}, anything stored \
         after it is not in them",
        dir.display(),
        head.cut
    );
    let hint = "run it again: what is lost is read again from the sources";
    Failure::new(exit::DATA, what, hint)
}

/// The status of the state in a folder, as its newest cut holds it: `state` is `stored`, and what
/// only a running process knows is null.
pub fn stored_status(dir: &Path) -> Result<Value, Failure> {
    let state = open(dir)?;
    let head = &state.restored.head;
    let book = Book::new(head, 1);
    let flow = Flow { handed_over: book.records(), in_flight: 0 };
    let mut progress = book.progress(flow);
    (progress.posts, progress.incomplete) = posts(&state)?;
    let mut status = Status { state_dir: dir.display().to_string(), ..Status::default() };
    status.checkpoints.cut = head.cut;
    status.checkpoints.damage.clone_from(&state.restored.damage);
    let frontier = frontier(head, false);
    let mut view = view(&status, frontier, State::Live, &progress);
    only_known(&mut view, head);
    view["live"] = state.live.into();
    Ok(view)
}

/// Where a state stands, at the end of a bounded run or before.
fn frontier(head: &Head, ended: bool) -> Frontier {
    Frontier { run: head.run, epoch: head.epoch, now: head.now, ended }
}

/// Leaves of the status what the state itself can tell: what only a running process knows is null.
fn only_known(view: &mut Value, head: &Head) {
    const OF_A_PROCESS: [&str; 12] = [
        "/started_at",
        "/workers",
        "/withheld",
        "/catching_up",
        "/sources",
        "/memory",
        "/operators",
        "/checkpoints/last_at",
        "/checkpoints/last_seconds",
        "/checkpoints/last_bytes",
        "/checkpoints/disk_bytes",
        "/checkpoints/unwritten_bytes",
    ];
    for path in OF_A_PROCESS {
        if let Some(value) = view.pointer_mut(path) {
            *value = Value::Null;
        }
    }
    view["state"] = "stored".into();
    if head.now == 0 {
        // Nothing has been read, so the clock has not begun.
        view["frontier"]["now"] = Value::Null;
    }
    let arrived = |n: usize| head.arrivals.get(&u32::try_from(n).ok()?).map(|at| rfc3339(*at));
    for (n, partition) in view["partitions"].as_array_mut().into_iter().flatten().enumerate() {
        partition["state"] = Value::Null;
        partition["arrived_at"] = arrived(n).into();
    }
    let letters = head.marks.get(DEAD_LETTERS).map_or(Some(0), dead::marked_bytes);
    view["dead_letters"]["bytes"] = letters.into();
}

/// How many posts a stopped run's state holds.
pub fn stored_posts(dir: &Path) -> Result<u64, Failure> {
    Ok(posts(&open(dir)?)?.0)
}

/// How many posts a state holds, and how many of them lack a pin, a geo, a user.
fn posts(state: &ReadOnly) -> Result<(u64, [u64; 3]), EngineError> {
    let mut sides: FxHashMap<u64, u8> = FxHashMap::default();
    for entry in state.restored.slots.iter().flat_map(|b| entries(b)) {
        let entry = entry.map_err(CodecError::from)?;
        *sides.entry(entry.index).or_default() |= 1 << codec::stream(&entry)? as u8;
    }
    let lack = |s: u8| sides.values().filter(|there| **there & (1 << s) == 0).count() as u64;
    Ok((sides.len() as u64, [lack(0), lack(1), lack(2)]))
}

/// The state in a folder; what is damaged of it is said.
fn open(dir: &Path) -> Result<ReadOnly, Failure> {
    let state = ReadOnly::open(dir).map_err(EngineError::from)?.ok_or_else(|| {
        let what = format!("there is no state in {}", dir.display());
        Failure::new(exit::UNAVAILABLE, what, "name the folder with --state")
    })?;
    state.restored.damage.iter().for_each(|what| warn!("{what}"));
    Ok(state)
}

/// One worker in this thread feeds the slots to the metrics.
fn replayed(plan: Plan, mut state: ReadOnly) -> Result<Published, EngineError> {
    let plan = Arc::new(plan);
    let head = std::mem::take(&mut state.restored.head);
    let book = Book::new(&head, 1);
    let ended = head.marks.get(ENDED) == Some(&Value::Bool(true));
    let tick = Tick { now: head.now, publish: true, ended, last: true, ..Tick::default() };
    let options = DecodeOptions {
        rules: Arc::default(),
        known: Arc::default(),
        partitions: book.partitions.clone(),
        rows: None,
    };
    let restore = Arc::new(restore(state.restored, head.now)?);
    let schemas = plan.metrics.iter().map(|m| m.schema.clone()).collect();
    let sealed = timely::execute_directly(move |worker| {
        let mut handles = graph::build(worker, &plan, &options, &restore)?;
        drop(restore);
        handles.ticks.send(tick);
        handles.ticks.advance_to(1);
        handles.batches.advance_to(1);
        worker.step_while(|| handles.probe.less_than(&1));
        Ok::<_, EngineError>(handles.outbox.take(0))
    })?;
    let published = Published::new(schemas);
    let frontier = frontier(&head, ended);
    let read = book.records();
    let progress = book.progress(Flow { handed_over: read, in_flight: 0 });
    published.apply(frontier, Arc::new(progress), sealed.changes);
    published.set_state(State::Live);
    Ok(published)
}
