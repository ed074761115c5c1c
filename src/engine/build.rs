//! From the configuration and the stored state to the parts of a run: dead letters as a source,
//! sinks, what the workers are given, the port.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dataflows::decode::{DecodeOptions, RowFormat};
use dataflows::graph::Restore;
use dataflows::metrics::meta;
use dataflows::metrics::plan::Plan;
use serde_json::Value;
use tracing::{info, warn};

use super::EngineError;
use super::book::{self, Book};
use super::clock::Farthest;
use super::keeper::{BEGUN, LEFT, SINK, mark_name};
use super::posts::Lookup;
use super::setup::{From, Replayed};
use super::worker::Bounds;
use crate::config::{self, Config, Sink as SinkConfig, SourceKind};
use crate::http::{self, Parts, Server};
use crate::publish::Published;
use crate::sink::letters::{self, Outlet};
use crate::sink::{self, Begin, Sink, SinkError};
use crate::source::replay::{self, ReplaySource};
use crate::source::{Source, kafka};
use crate::store::dead::{DeadLetters, Letter, LetterId};
use crate::store::{Coarser, Head, Restored, Store};
use crate::telemetry::{Machine, SharedStatus};

/// Who sends letters to topics, each going on where it was.
pub fn outlets(
    config: &Config,
    store: &Store,
    dead: &DeadLetters,
) -> Result<Vec<Outlet>, EngineError> {
    let start = |route: letters::Route| {
        let place = letters::Place { disk: store.disk(), dir: config.state.dir.clone() };
        let at = dead.sent(&letters::name(&route));
        Outlet::start(route, place, dead.extent(), at)
            .map_err(|e| EngineError::Died(format!("starting a thread: {e}")))
    };
    routes(config, store.state_id()).map(start).collect()
}

/// The topics of dead letters that a configuration names.
fn routes<'c>(config: &'c Config, state: &'c str) -> impl Iterator<Item = letters::Route> + 'c {
    config.sources.iter().filter_map(move |source| {
        let SourceKind::Kafka(kafka) = &source.kind else { return None };
        Some(letters::Route {
            source: source.name.clone(),
            kafka: (**kafka).clone(),
            topic: kafka.dead_letters.clone()?,
            state: state.to_owned(),
        })
    })
}

/// Letters that are to be read again, and how many others stand beside them.
pub struct Taken {
    letters: Vec<Letter>,
    others: u64,
}

/// The letters that are to be read again: those of the disk; or those of topics, as far as they are
/// still dead. They are if the disk holds them, or if nothing was ever read again of this state:
/// then a letter that the disk has lost is one, too.
pub fn taken(
    dead: &DeadLetters,
    book: &Book,
    config: &Config,
    (from, state): (From, &str),
) -> Result<Taken, EngineError> {
    let on_disk = dead.list()?;
    if from == From::Disk {
        return Ok(Taken { letters: on_disk.collect::<Result<_, _>>()?, others: 0 });
    }
    let never = book.of(replay::NAME).iter().all(|(_, next)| *next == 0);
    let there: HashSet<LetterId> = on_disk.flatten().map(|letter| letter.id()).collect();
    let read: HashMap<(String, String), u64> = book
        .partitions
        .read()
        .iter()
        .zip(0..)
        .map(|(name, number)| (name.clone(), book.next(number)))
        .collect();
    let was_read = |letter: &Letter| {
        let next = read.get(&(letter.source.clone(), letter.partition.clone()));
        next.is_some_and(|next| letter.position < *next)
    };
    let mut taken = Taken { letters: Vec::new(), others: 0 };
    for route in routes(config, state) {
        let sent = kafka::letters::read(&route.source, &route.kafka, &route.topic)?;
        taken.others += sent.others;
        for (id, (letter, of)) in sent.letters {
            if there.contains(&id) || (never && of == state && was_read(&letter)) {
                taken.letters.push(letter);
            } else {
                taken.others += 1;
            }
        }
    }
    Ok(taken)
}

/// Letters as a source; they are taken out of the store, in force with the next cut.
pub fn letters(
    dead: &mut DeadLetters,
    book: &Book,
    config: &Config,
    taken: Taken,
    replayed: &mut Replayed,
) -> Result<Box<dyn Source>, EngineError> {
    let mut again = Vec::new();
    replayed.passed_over = taken.others;
    for letter in taken.letters {
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

/// How a state keeps old counts of records and fields, whose keys begin with their bucket.
pub fn coarser(plan: &Plan) -> Coarser {
    let (after, grain) = meta::coarser(plan);
    Coarser { after, grain }
}

/// The sinks, in the state of their marks.
pub fn sinks(
    config: &Config,
    store: &Store,
    head: &Head,
    fell_back: bool,
) -> Result<Vec<Box<dyn Sink>>, EngineError> {
    let next = &super::rebuild::positions(head);
    let open = |config: &SinkConfig| -> Result<Box<dyn Sink>, EngineError> {
        let mut sink = sink::open(config, store.disk());
        let mark = mark_of(&*sink, head);
        if mark.is_some_and(|mark| mark.get(LEFT).is_some()) {
            let what = format!(
                "this state has taken up records without the sink `{}` since it wrote there: \
                 their rows are missing (`--rebuild` reads them again)",
                sink.name()
            );
            return Err(SinkError::Refused { what }.into());
        }
        let started = head.positions.iter().any(|(n, at)| *at > 0 || head.tallies.contains_key(n));
        let begin = Begin { state: store.state_id(), mark, next, started, fell_back };
        sink.begin(&begin)?.iter().for_each(|what| warn!("{what}"));
        Ok(sink)
    };
    config.sinks.iter().map(open).collect()
}

/// A sink's mark. Before sinks into folders were named by their full paths, theirs stood under the
/// path as it was written.
fn mark_of<'a>(sink: &dyn Sink, head: &'a Head) -> Option<&'a Value> {
    let name = mark_name(sink);
    let former = || head.marks.iter().find(|(mark, _)| full_name(mark) == name);
    head.marks.get(&name).or_else(|| former().map(|(_, mark)| mark))
}

/// The name of a mark of a sink into a folder, by the folder's full path.
fn full_name(mark: &str) -> String {
    let dir = mark.strip_prefix(SINK).and_then(|name| name.strip_prefix("files:"));
    dir.map_or_else(|| mark.to_owned(), |dir| format!("{SINK}{}", sink::files::name(dir.as_ref())))
}

/// The marks of sinks that this state has begun and that are not there any more. Once something is
/// taken up without them they cannot come back: they would lack its rows.
pub fn left(sinks: &[Box<dyn Sink>], head: &Head) -> Vec<String> {
    let here: Vec<String> = sinks.iter().map(|sink| mark_name(&**sink)).collect();
    let marks = head.marks.iter().filter_map(|(name, mark)| match name.strip_prefix(BEGUN) {
        Some(begun) if !head.marks.contains_key(begun) => Some(begun),
        None if name.starts_with(SINK) && mark.get(LEFT).is_none() => Some(name.as_str()),
        _ => None,
    });
    let left = marks.filter(|name| !here.contains(&full_name(name))).map(ToOwned::to_owned);
    let left: Vec<String> = left.collect();
    // A folder may have marks of two names.
    for name in left.iter().map(|name| full_name(name)).collect::<BTreeSet<_>>() {
        let sink = name.strip_prefix(SINK).unwrap_or(&name);
        warn!(
            sink,
            "cleaned rows went there before; once records are read without it, no more can"
        );
    }
    left
}

/// What the workers take back, of a state whose clock stood at `now`.
pub fn restore(restored: Restored, now: i64) -> Result<Restore, EngineError> {
    let ledger = book::restored_ledger(&restored.ledger);
    Ok(Restore {
        now,
        texts: dataflows::assemble::codec::texts(&restored.texts)?,
        slots: restored.slots,
        ledger: ledger.ok_or(dataflows::assemble::codec::CodecError::Short)?,
    })
}

/// How records are decoded.
pub fn decode_options(config: &Config, book: &Book) -> DecodeOptions {
    let csv = |s: &SinkConfig| match s {
        SinkConfig::Files(files) => files.csv,
    };
    let rows = config.sinks.first().map(|s| if csv(s) { RowFormat::Csv } else { RowFormat::Json });
    let arrival = |s: &config::Source| match &s.kind {
        SourceKind::Files(files) => files.arrival_field.as_deref().map(Box::from),
        SourceKind::Demo(_) | SourceKind::Kafka(_) => None,
    };
    DecodeOptions {
        rules: Arc::new(config.cleaning.clone()),
        known: config.sources.iter().filter_map(arrival).collect(),
        partitions: book.partitions.clone(),
        rows,
    }
}

/// Of the memory budget an epoch is at most this part: the bytes of [`UNDER_WAY`] and of the open
/// one are in memory at a time, with what becomes of them.
///
/// [`UNDER_WAY`]: super::epochs::UNDER_WAY
const BUDGET_PART: u64 = 96;

/// An epoch's bytes at most: as configured, or less where memory is little.
pub fn epoch_bytes(config: &Config) -> usize {
    let part = config.engine.memory.map_or(u64::MAX, |bytes| bytes / BUDGET_PART);
    (config.engine.max_epoch_bytes as u64).min(part) as usize
}

/// Bounds of a worker's share of an epoch, and of arrival times that move the clock.
pub fn bounds(config: &Config, workers: usize, farthest: Farthest) -> Bounds {
    let records = config.engine.max_epoch_records;
    Bounds {
        bytes: (epoch_bytes(config) / workers).max(1),
        records: records.map_or(usize::MAX, |n| (n / workers).max(1)),
        farthest,
    }
}

/// The port, if one is to be opened.
pub fn serve(
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
