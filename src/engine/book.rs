//! The book: what is known of partitions, positions, tallies and counters at the newest complete
//! epoch, and which of it no cut holds yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataflows::assemble::Partitions;
use dataflows::metrics::meta::Ledger;
use dataflows::record::Reason;
use dataflows::sealed::{Counters, Sealed, Tally};
use rustc_hash::FxHashMap;

use super::messages::{Flow, PartRead};
use crate::publish::{Place, Progress};
use crate::source::Memos;
use crate::store::{Cut, Head, Partition};

/// Counters of rejections in the stored counters: `rejected:<source>:<reason>`.
const REJECTED: &str = "rejected:";

/// What is known at the newest complete epoch.
pub struct Book {
    /// The names, shared with the dataflow.
    pub partitions: Partitions,
    places: Arc<Vec<Place>>,
    /// The numbers of partitions, by source and name.
    numbers: FxHashMap<Arc<str>, FxHashMap<Arc<str>, u32>>,
    next: Vec<u64>,
    /// The arrival time of the last message read, by partition.
    last: Vec<Option<i64>>,
    tallies: Vec<Tally>,
    rejected: BTreeMap<Arc<str>, [u64; Reason::ALL.len()]>,
    counters: Arc<Counters>,
    posts: Vec<(u64, [u64; 3])>,
    /// What the next cut must hold.
    pending: Cut,
    new_counters: BTreeSet<String>,
    ledger: Ledger,
    /// Whether anything was read since the last cut.
    pub dirty: bool,
}

impl Book {
    /// The book of a state, for so many workers.
    pub fn new(head: &Head, workers: usize) -> Self {
        let mut book = Book {
            partitions: Partitions::default(),
            places: Arc::default(),
            numbers: FxHashMap::default(),
            next: Vec::new(),
            last: Vec::new(),
            tallies: Vec::new(),
            rejected: BTreeMap::new(),
            counters: Arc::default(),
            posts: vec![(0, [0; 3]); workers],
            pending: Cut::default(),
            new_counters: BTreeSet::new(),
            ledger: Ledger::default(),
            dirty: false,
        };
        for partition in &head.partitions {
            book.enter(partition.clone(), 0);
        }
        for (n, next) in &head.positions {
            book.next[*n as usize] = *next;
        }
        for (n, last) in &head.arrivals {
            book.last[*n as usize] = Some(*last);
        }
        for (n, tally) in &head.tallies {
            book.tallies[*n as usize] = *tally;
        }
        for (name, count) in &head.counters {
            if !book.restore_rejected(name, *count) {
                Arc::make_mut(&mut book.counters).insert(name.clone(), *count);
            }
        }
        book.pending = Cut::default();
        book
    }

    fn restore_rejected(&mut self, name: &str, count: u64) -> bool {
        let parts = name.strip_prefix(REJECTED).and_then(|rest| rest.rsplit_once(':'));
        let found = parts.and_then(|(source, reason)| {
            let place = Reason::ALL.iter().position(|r| r.name() == reason)?;
            Some((source, place))
        });
        if let Some((source, place)) = found {
            self.rejected.entry(source.into()).or_default()[place] = count;
        }
        found.is_some()
    }

    /// Enters a new partition; its number.
    pub fn enter(&mut self, partition: Partition, start: u64) -> u32 {
        let number = self.next.len() as u32;
        let place = Place {
            source: partition.source.as_str().into(),
            partition: partition.name.as_str().into(),
        };
        self.partitions.write().push((partition.source.clone(), partition.name.clone()));
        self.rejected.entry(place.source.clone()).or_default();
        let numbers = self.numbers.entry(place.source.clone()).or_default();
        numbers.insert(place.partition.clone(), number);
        Arc::make_mut(&mut self.places).push(place);
        self.next.push(start);
        self.last.push(None);
        self.tallies.push(Tally::default());
        self.pending.head.partitions.push(partition);
        self.pending.head.positions.insert(number, start);
        number
    }

    /// The number of a known partition.
    pub fn number(&self, source: &str, name: &str) -> Option<u32> {
        self.numbers.get(source)?.get(name).copied()
    }

    /// Whether any partition of a source is known.
    pub fn knows(&self, source: &str) -> bool {
        self.numbers.get(source).is_some_and(|names| !names.is_empty())
    }

    /// The names of a partition.
    pub fn place(&self, number: u32) -> &Place {
        &self.places[number as usize]
    }

    /// How many partitions are known.
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// The position to read next of a partition.
    pub fn next(&self, number: u32) -> u64 {
        self.next[number as usize]
    }

    /// Records read since the state began.
    pub fn records(&self) -> u64 {
        self.tallies.iter().map(|t| t.read).sum()
    }

    /// All tallies added up.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|t| total.add(t));
        total
    }

    /// The known partitions of a source with their positions.
    pub fn of(&self, source: &str) -> Vec<(String, u64)> {
        let mine = self.places.iter().zip(&self.next).filter(|(p, _)| &*p.source == source);
        mine.map(|(p, next)| (p.partition.to_string(), *next)).collect()
    }

    /// The arrival time of the last message read, of the partitions of a source.
    pub fn arrivals_of(&self, source: &str) -> Vec<(String, i64)> {
        let mine = self.places.iter().zip(&self.last).filter(|(p, _)| &*p.source == source);
        mine.filter_map(|(p, last)| Some((p.partition.to_string(), (*last)?))).collect()
    }

    /// Keeps a mark with the next cut.
    pub fn mark(&mut self, name: &str, value: serde_json::Value) {
        self.pending.head.marks.insert(name.into(), value);
    }

    /// Keeps a source's memos.
    pub fn memos(&mut self, source: &str, memos: Memos) {
        if !memos.is_empty() {
            self.pending.head.memos.entry(source.into()).or_default().extend(memos);
        }
    }

    /// An epoch read this.
    pub fn read(&mut self, read: &PartRead) {
        let n = read.partition as usize;
        if read.bytes == 0 && read.last.is_none() {
            return;
        }
        self.dirty = true;
        self.next[n] = read.next;
        self.pending.head.positions.insert(read.partition, read.next);
        if let Some(last) = read.last {
            self.last[n] = Some(last);
            self.pending.head.arrivals.insert(read.partition, last);
        }
    }

    /// An epoch is complete: a worker's share of it.
    pub fn sealed(&mut self, worker: usize, sealed: &mut Sealed) {
        for (n, tally) in &sealed.tallies {
            let whole = &mut self.tallies[*n as usize];
            whole.add(tally);
            self.pending.head.tallies.insert(*n, *whole);
        }
        for reject in &sealed.rejects {
            let source = self.places[reject.partition as usize].source.clone();
            let count =
                &mut self.rejected.entry(source.clone()).or_default()[reject.reason as usize];
            *count += 1;
            let name = format!("{REJECTED}{source}:{}", reject.reason.name());
            self.pending.head.counters.insert(name, *count);
        }
        if !sealed.counters.is_empty() {
            let counters = Arc::make_mut(&mut self.counters);
            for (name, n) in &sealed.counters {
                *counters.entry(name.clone()).or_insert(0) += n;
                self.new_counters.insert(name.clone());
            }
        }
        for (key, n) in sealed.ledger.drain() {
            *self.ledger.entry(key).or_insert(0) += n;
        }
        self.posts[worker] = sealed.posts;
        self.pending.slots.append(&mut sealed.slots);
        self.pending.texts.append(&mut sealed.texts);
    }

    /// Takes only what makes new partitions and memos known: positions, slots and outputs of the
    /// epochs since the last cut stay together for the next whole one.
    pub fn introduce(&mut self) -> Cut {
        let known = self.len() - self.pending.head.partitions.len();
        let mut cut = Cut::default();
        cut.head.partitions = std::mem::take(&mut self.pending.head.partitions);
        cut.head.memos = std::mem::take(&mut self.pending.head.memos);
        cut.head.marks = std::mem::take(&mut self.pending.head.marks);
        for number in known..self.len() {
            let number = number as u32;
            if let Some(start) = self.pending.head.positions.remove(&number) {
                cut.head.positions.insert(number, start);
            }
        }
        cut
    }

    /// Takes what the next cut must hold; the caller numbers it.
    pub fn cut(&mut self) -> Cut {
        for name in std::mem::take(&mut self.new_counters) {
            let count = self.counters.get(&name).copied().unwrap_or(0);
            self.pending.head.counters.insert(name, count);
        }
        for (key, n) in self.ledger.drain() {
            let key = key.encode();
            let ledger = &mut self.pending.ledger;
            ledger.extend_from_slice(&(key.len() as u16).to_le_bytes());
            ledger.extend_from_slice(&key);
            ledger.extend_from_slice(&n.to_le_bytes());
        }
        self.dirty = false;
        std::mem::take(&mut self.pending)
    }

    /// Posts held: distinct indexes.
    pub fn posts(&self) -> u64 {
        self.posts.iter().map(|p| p.0).sum()
    }

    /// Sides of posts held.
    pub fn sides(&self) -> u64 {
        self.posts.iter().flat_map(|p| p.1).sum()
    }

    /// Positions, tallies and counters as readers see them.
    pub fn progress(&self, flow: Flow) -> Progress {
        let posts = self.posts();
        let present = |s: usize| self.posts.iter().map(|p| p.1[s]).sum::<u64>();
        Progress {
            places: self.places.clone(),
            next: self.next.clone(),
            tallies: self.tallies.clone(),
            rejected: self.rejected.clone(),
            handed_over: flow.handed_over,
            in_flight: flow.in_flight,
            posts,
            incomplete: [0, 1, 2].map(|s| posts - present(s)),
            counters: self.counters.clone(),
        }
    }
}

/// The ledger of a stored state; none if its bytes are not one.
pub fn restored_ledger(blocks: &[Vec<u8>]) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for block in blocks {
        let mut rest = &block[..];
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let (key, tail) = tail.split_at_checked(u16::from_le_bytes(*len) as usize)?;
            let (n, tail) = tail.split_first_chunk::<8>()?;
            let key = dataflows::metrics::meta::MetaKey::decode(key)?;
            *ledger.entry(key).or_insert(0) += i64::from_le_bytes(*n);
            rest = tail;
        }
    }
    Some(ledger)
}
