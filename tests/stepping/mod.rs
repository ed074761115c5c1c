//! Drives the dataflow by a script: epochs with records and a clock, cuts, restarts on other
//! numbers of workers; and has every published epoch judged by the oracle.

pub mod declared;
pub mod inputs;
pub mod judge;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dataflows::assemble::Partitions;
use dataflows::assemble::block::Block as Stored;
use dataflows::assemble::codec::texts;
use dataflows::batch::{Arrivals, Batch, Block, Dealt, Given, Positions, Ruled, Span};
use dataflows::decode::DecodeOptions;
use dataflows::graph::{self, Handles, Restore};
use dataflows::metrics::declare::default_age_groups;
use dataflows::metrics::meta::{Ledger, MetaKey};
use dataflows::metrics::plan::Plan;
use dataflows::metrics::value::{GroupKey, Values};
use dataflows::record::{Rule, Stream};
use dataflows::sealed::{Sealed, Tally};
use dataflows::tick::{CutKind, Tick};
use proptest::prelude::*;

use self::declared::Declared;
use self::inputs::{PARTITIONS, Record, SECOND, START};
use crate::oracle::{self, Message};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Op {
    /// An epoch: so many messages of each partition, then the clock.
    Epoch {
        /// Messages.
        take: [u8; 3],
        /// Seconds that the clock moves on.
        advance: u32,
        /// The clock is at least the latest arrival.
        arrival: bool,
        /// Changes are published.
        publish: bool,
        /// What is handed out to be stored.
        cut: CutKind,
    },
    /// The process dies; the next one begins at the last cut.
    Restart {
        /// Workers of the next one.
        workers: u8,
        /// Whether batches of the next epoch are fed before an epoch's tick.
        ahead: bool,
    },
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Script {
    /// Everything there is to read.
    pub records: Vec<Record>,
    /// What happens; then all that is left is read and the run ends.
    pub ops: Vec<Op>,
    /// Workers of the first process.
    pub workers: u8,
}

fn op() -> impl Strategy<Value = Op> {
    let cut = prop_oneof![
        4 => Just(CutKind::No),
        3 => Just(CutKind::Changed),
        1 => Just(CutKind::Full)
    ];
    let advance = prop_oneof![
        4 => 0u32..40,
        2 => 40u32..400,
        1 => 400u32..8000,
        1 => 8000u32..200_000
    ];
    let take = prop::array::uniform3(0u8..5);
    let epoch = (take, advance, any::<bool>(), prop::bool::weighted(0.7), cut).prop_map(
        |(take, advance, arrival, publish, cut)| Op::Epoch { take, advance, arrival, publish, cut },
    );
    let restart =
        (1u8..4, any::<bool>()).prop_map(|(workers, ahead)| Op::Restart { workers, ahead });
    prop_oneof![5 => epoch, 1 => restart]
}

/// A random run of at most so many records.
pub fn script(records: usize) -> impl Strategy<Value = Script> {
    let records = prop::collection::vec(inputs::record(), 1..records);
    (records, prop::collection::vec(op(), 1..16), 1u8..4)
        .prop_map(|(records, ops, workers)| Script { records, ops, workers })
}

/// What a process goes on from.
#[derive(Clone, Default)]
struct Saved {
    read: [usize; 3],
    now: i64,
    slots: Vec<Vec<u8>>,
    texts: Vec<(u64, &'static str)>,
    ledger: BTreeMap<MetaKey, i64>,
    tallies: [Tally; 3],
}

/// An epoch as it is fed.
struct Fed {
    batches: Vec<Batch>,
    tick: Tick,
    /// Messages read up to its end.
    read: [usize; 3],
}

/// Runs a script, and judges it.
pub fn run(declared: &Declared, script: &Script) -> Result<(), TestCaseError> {
    let messages = inputs::messages(&script.records);
    let plan = Arc::new(Plan::new(&declared.metrics, &default_age_groups(), false));
    let mut saved = Saved { now: START, ..Saved::default() };
    let (mut workers, mut ahead) = (script.workers, false);
    let mut rest = &script.ops[..];
    loop {
        let n = rest.iter().position(|op| matches!(op, Op::Restart { .. }));
        let (mine, after) = rest.split_at(n.unwrap_or(rest.len()));
        let fed = fed(mine, &saved, &messages, after.is_empty());
        let process = Process { plan: &plan, declared, messages: &messages, saved: saved.clone() };
        let sealed = segment(&plan, restore(&saved), workers.into(), ahead, fed.clone());
        let last = process.judged(&fed, sealed)?;
        let Some((Op::Restart { workers: w, ahead: a }, tail)) = after.split_first() else {
            return Ok(());
        };
        if !plan.has_bags() {
            saved = last;
        }
        (workers, ahead, rest) = (*w, *a, tail);
    }
}

fn restore(saved: &Saved) -> Restore {
    let ledger: Ledger = saved
        .ledger
        .iter()
        .map(|(key, n)| (MetaKey::decode(&key.encode()).expect("a key"), *n))
        .collect();
    let texts = texts(&saved.texts).expect("no two of one number");
    Restore { now: saved.now, slots: saved.slots.clone(), texts, ledger }
}

/// The epochs that a process is fed.
fn fed(ops: &[Op], saved: &Saved, messages: &[Vec<Message>; 3], end: bool) -> Arc<Vec<Fed>> {
    let (mut read, mut now) = (saved.read, saved.now);
    let mut out = Vec::new();
    let mut epoch = |take: [usize; 3], tick: &mut dyn FnMut(i64) -> Tick| {
        let mut batches = Vec::new();
        let mut latest = i64::MIN;
        for p in 0..3 {
            let to = (read[p] + take[p]).min(messages[p].len());
            let part = &messages[p][read[p]..to];
            // Two batches, so that workers share a partition's epoch.
            let (a, b) = part.split_at(part.len() / 2);
            batches.extend([a, b].into_iter().filter(|m| !m.is_empty()).map(|m| batch(p, m)));
            latest = part.iter().map(|m| m.arrived_at).fold(latest, i64::max);
            read[p] = to;
        }
        out.push(Fed { batches, tick: tick(latest), read });
    };
    for op in ops {
        let Op::Epoch { take, advance, arrival, publish, cut } = op else { continue };
        epoch(take.map(usize::from), &mut |latest| {
            now = if *arrival { now.max(latest) } else { now } + i64::from(*advance) * SECOND;
            // Few slots change here: some are encoded ahead where it is one or two already.
            let encode_beyond = advance.is_multiple_of(2).then_some(u32::from(take[0] % 3));
            Tick { now, publish: *publish, cut: *cut, encode_beyond, ..Tick::default() }
        });
    }
    if end {
        let mut tick = |latest, ended| {
            now = now.max(latest);
            Tick {
                now,
                publish: true,
                cut: CutKind::Changed,
                ended,
                last: ended,
                encode_beyond: None,
            }
        };
        epoch([usize::MAX / 2; 3], &mut |latest| tick(latest, false));
        epoch([0; 3], &mut |latest| tick(latest, true));
    }
    Arc::new(out)
}

fn batch(partition: usize, messages: &[Message]) -> Batch {
    let mut block = Vec::new();
    let span = |m: &Message| {
        let start = block.len() as u32;
        block.extend_from_slice(&m.payload);
        Span { start, len: m.payload.len() as u32 }
    };
    let spans = messages.iter().map(span).collect();
    let rule = match PARTITIONS[partition].2 {
        oracle::Rule::Auto => Rule::Auto,
        oracle::Rule::Ignore => Rule::Ignore,
        oracle::Rule::Kind(stream) => Rule::Kind(Stream::ALL[stream as usize]),
    };
    Batch {
        partition: partition as u32,
        block: Block(Arc::new(block)),
        spans,
        positions: Positions::Each(messages.iter().map(|m| m.position).collect()),
        first_sub: 0,
        arrivals: Arrivals::Each(messages.iter().map(|m| m.arrived_at).collect()),
        arrival_given: Given::All(true),
        ruled: Ruled::All(rule),
        next: messages.last().map_or(0, |m| m.position + 1),
    }
}

/// Feeds the epochs to a dataflow; what the workers say of each.
fn segment(
    plan: &Arc<Plan>,
    restore: Restore,
    workers: usize,
    ahead: bool,
    fed: Arc<Vec<Fed>>,
) -> Vec<Vec<Sealed>> {
    let said: Arc<Mutex<Vec<Vec<Sealed>>>> =
        Arc::new(Mutex::new(fed.iter().map(|_| Vec::new()).collect()));
    let names = PARTITIONS.map(|(source, name, _)| (source.to_string(), name.to_string()));
    let options = DecodeOptions {
        rules: Arc::default(),
        known: Arc::default(),
        partitions: Partitions::new(names.to_vec().into()),
        rows: None,
    };
    let (plan, restore, out) = (plan.clone(), Arc::new(restore), said.clone());
    let config =
        if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let guards = timely::execute(config, move |worker| {
        let mut handles =
            graph::build(worker, &plan, &options, &restore).expect("what was stored comes back");
        let (me, peers) = (worker.index(), worker.peers());
        let feed = |handles: &mut Handles, epoch: usize| {
            let batches = fed.get(epoch).into_iter().flat_map(|f| &f.batches).enumerate();
            batches.filter(|(n, _)| n % peers == me).for_each(|(n, b)| {
                // Decoded elsewhere than read, every other time.
                let to = (n + n / peers % 2) as u64;
                handles.batches.send(Dealt { to, batch: b.clone() });
            });
            handles.batches.flush();
        };
        if ahead {
            feed(&mut handles, 0);
        }
        for (n, epoch) in fed.iter().enumerate() {
            let now = n as u64;
            if !ahead {
                feed(&mut handles, n);
            }
            handles.batches.advance_to(now + 1);
            if ahead {
                feed(&mut handles, n + 1);
                worker.step();
            }
            handles.ticks.advance_to(now);
            handles.ticks.send(epoch.tick);
            handles.ticks.advance_to(now + 1);
            handles.ticks.flush();
            while !ahead && handles.probe.less_equal(&now) {
                worker.step();
            }
        }
        while handles.probe.less_than(&(fed.len() as u64)) {
            worker.step();
        }
        let mut out = out.lock().expect("no panic");
        for (n, sealed) in out.iter_mut().enumerate() {
            sealed.push(handles.outbox.take(n as u64));
        }
    });
    guards.expect("it starts").join().into_iter().for_each(|r| r.expect("no worker panics"));
    std::mem::take(&mut *said.lock().expect("no panic"))
}

/// What one process is judged by.
struct Process<'a> {
    plan: &'a Plan,
    declared: &'a Declared,
    messages: &'a [Vec<Message>; 3],
    saved: Saved,
}

impl Process<'_> {
    /// Judges each epoch; what the next process goes on from.
    fn judged(mut self, fed: &[Fed], sealed: Vec<Vec<Sealed>>) -> Result<Saved, TestCaseError> {
        let mut held = self.saved.clone();
        let mut shown: BTreeMap<(u16, GroupKey), Vec<Values>> = BTreeMap::new();
        for (n, (fed, sealed)) in fed.iter().zip(sealed).enumerate() {
            (held.read, held.now) = (fed.read, fed.tick.now);
            if fed.tick.cut == CutKind::Full {
                held.slots.clear();
                held.texts.clear();
            }
            let mut posts = (0, [0; 3]);
            for worker in sealed {
                for (partition, tally) in &worker.tallies {
                    held.tallies[*partition as usize].add(tally);
                }
                for (key, n) in worker.ledger {
                    *held.ledger.entry(key).or_default() += n;
                }
                for change in worker.changes.list() {
                    prop_assert!(fed.tick.publish, "changes without being asked");
                    let key = (change.metric, change.key);
                    if change.rows.is_empty() {
                        shown.remove(&key);
                    } else {
                        shown.insert(key, change.rows);
                    }
                }
                prop_assert!(worker.slots.is_empty() || fed.tick.cut != CutKind::No);
                held.slots.extend(worker.slots.iter().map(Stored::bytes));
                held.texts.extend(worker.texts);
                posts.0 += worker.posts.0;
                (0..3).for_each(|s| posts.1[s] += worker.posts.1[s]);
            }
            let read = self.messages.iter().zip(fed.read).flat_map(|(m, n)| &m[..n]);
            let rules = oracle::Rules::default();
            let model = oracle::model::Model::new(&read.cloned().collect::<Vec<_>>(), &rules);
            judge::counts(&model, &held.tallies, posts)?;
            if fed.tick.publish {
                let frontier =
                    judge::Frontier { epoch: n, now: fed.tick.now, ended: fed.tick.ended };
                judge::results(self.plan, self.declared, &model, &shown, frontier)?;
            }
            if fed.tick.cut != CutKind::No {
                self.saved = held.clone();
            }
        }
        Ok(self.saved)
    }
}
