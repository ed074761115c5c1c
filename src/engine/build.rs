//! From the configuration and the stored state to the parts of a run: dead letters as a source,
//! sinks, what the workers are given, the port.

use std::sync::Arc;

use dataflows::decode::{DecodeOptions, RowFormat};
use dataflows::graph::Restore;
use tracing::{info, warn};

use super::EngineError;
use super::book::{self, Book};
use super::keeper::mark_name;
use super::posts::Lookup;
use super::setup::Replayed;
use super::worker::Bounds;
use crate::config::{Config, Sink as SinkConfig};
use crate::http::{self, Parts, Server};
use crate::publish::Published;
use crate::sink::{self, Begin, Sink};
use crate::source::Source;
use crate::source::replay::ReplaySource;
use crate::store::dead::DeadLetters;
use crate::store::{Head, Restored, Store};
use crate::telemetry::{Machine, SharedStatus};

/// The state's letters as a source; they are taken out of the store, in force with the next cut.
pub fn letters(
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

/// The sinks, in the state of their marks.
pub fn sinks(
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

/// What the workers take back.
pub fn restore(restored: Restored) -> Result<Restore, EngineError> {
    let ledger = book::restored_ledger(&restored.ledger);
    Ok(Restore {
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
    DecodeOptions {
        rules: Arc::new(config.cleaning.clone()),
        partitions: book.partitions.clone(),
        rows,
    }
}

/// Of the memory budget an epoch is at most this part: three are in memory at a time, each with
/// what becomes of it.
const BUDGET_PART: u64 = 64;

/// An epoch's bytes at most: as configured, or less where memory is little.
pub fn epoch_bytes(config: &Config) -> usize {
    let part = config.engine.memory.map_or(u64::MAX, |bytes| bytes / BUDGET_PART);
    (config.engine.max_epoch_bytes as u64).min(part) as usize
}

/// Bounds of a worker's share of an epoch.
pub fn bounds(config: &Config, workers: usize) -> Bounds {
    let records = config.engine.max_epoch_records;
    Bounds {
        bytes: (epoch_bytes(config) / workers).max(1),
        records: records.map_or(usize::MAX, |n| (n / workers).max(1)),
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
