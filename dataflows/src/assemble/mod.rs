//! Assemble: the state of record. It keeps the newest version of each side of each index and turns
//! the records of an epoch into changes of posts.
//!
//! Promises: what is held of an index is the greatest version read of each side, whatever the order
//! of reading; per epoch each changed post is taken back once as it was and added once as it is.
//! Limits: nothing held of an index is dropped before the last epoch, but arrivals that no window
//! reaches any more.
//! An own operator: one table look-up a record costs a seventh of differential's joins of three
//! arrangements, and does not slow as the state grows.

pub mod arrivals;
pub mod block;
pub mod codec;
mod cut;
pub mod layout;
pub mod recs;
mod restore;
mod rows;
pub mod table;
pub mod version;

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::metrics::plan::Plan;
use crate::metrics::update::Combine;
use crate::record::{Origin, Stream};
use crate::sealed::{Sealed, Tally};
use crate::tick::Tick;
use crate::time::floor;
use arrivals::{Arrivals, Count};
use codec::Numbers;
use cut::Unsaved;
use layout::{HEADER, Header, present};
use recs::{Head, Recs};
use rows::Lot;
use table::{AHEAD, Table};

/// The bits of all streams.
const ALL_SIDES: u8 = (1 << Stream::ALL.len()) - 1;

/// The partitions' (source, name) by number: they decide between versions of equal arrival time.
pub type Partitions = Arc<RwLock<Vec<(String, String)>>>;

/// The order of versions: arrival time, source, partition, position, number in the message.
pub fn newer(a: &Origin, b: &Origin, partitions: &Partitions) -> bool {
    let names = || {
        if a.partition == b.partition {
            return Ordering::Equal;
        }
        let list = partitions.read();
        list.get(a.partition as usize).cmp(&list.get(b.partition as usize))
    };
    a.arrived_at
        .cmp(&b.arrived_at)
        .then_with(names)
        .then_with(|| (a.position, a.sub).cmp(&(b.position, b.sub)))
        .is_gt()
}

/// What an epoch has touched, as it was before.
#[derive(Default)]
struct Before {
    /// The slots; those of posts that gave rows with how many arrivals are kept of them.
    slots: Vec<(u32, Option<u32>)>,
    /// The kept slots' bytes, one after the other.
    bytes: Vec<u8>,
    /// Likewise their arrivals.
    arrivals: Vec<Count>,
}

impl Before {
    /// Keeps a slot as it is, if it gave rows, with its arrivals.
    #[inline]
    fn remember(&mut self, slot: u32, gave: Option<(&[u8], &[Count])>) {
        self.slots.push((slot, gave.map(|(_, arrivals)| arrivals.len() as u32)));
        if let Some((bytes, arrivals)) = gave {
            self.bytes.extend_from_slice(bytes);
            self.arrivals.extend(arrivals);
        }
    }
}

/// The state of record of one worker.
pub struct Assemble {
    plan: Arc<Plan>,
    partitions: Partitions,
    table: Table,
    arrivals: Arrivals,
    /// Whether a post gives rows, by the sides that are there.
    gives: [bool; 1 << Stream::ALL.len()],
    /// How many slots have each side.
    present: [u64; 3],
    /// What the next cut hands out.
    unsaved: Unsaved,
    /// What the epoch has touched; empty between epochs.
    before: Before,
    /// The numbers of texts on disk.
    numbers: Numbers,
    /// Posts that are to be looked at by the metrics; empty between epochs.
    lot: Lot,
    /// Slots that came back from disk and are to be fed to the metrics.
    unfed: Range<u32>,
    combine: Combine,
}

impl Assemble {
    /// An empty state; changes of groups are for so many workers.
    pub fn new(plan: Arc<Plan>, partitions: Partitions, workers: usize) -> Self {
        Assemble {
            table: Table::new(&plan.layout),
            combine: Combine::of_rows(&plan, workers),
            partitions,
            arrivals: Arrivals::default(),
            gives: std::array::from_fn(|sides| plan.has_rows(sides as u8)),
            present: [0; 3],
            unsaved: Unsaved::default(),
            before: Before::default(),
            numbers: Numbers::default(),
            lot: Lot::default(),
            unfed: 0..0,
            plan,
        }
    }

    /// Takes up an epoch's records; gives the changes of groups and of distinct rows. What came
    /// back from disk has been fed before ([`Assemble::feed`]).
    pub fn epoch(
        &mut self,
        recs: impl IntoIterator<Item = Recs>,
        tick: &Tick,
        sealed: &mut Sealed,
    ) -> &mut Combine {
        debug_assert!(self.unfed.is_empty(), "what is fed later would count twice");
        // One count for all: workers share the plan, and its counter with it.
        let plan = self.plan.clone();
        let mut tallies: Vec<(u32, Tally)> = Vec::new();
        for recs in recs {
            self.take_up(&plan, &recs, &mut tallies);
            recs.give_back();
        }
        sealed.tallies.append(&mut tallies);
        self.arrivals.retire(self.oldest(tick.now));
        let mut before = std::mem::take(&mut self.before);
        let mut kept = before.bytes.chunks_exact(plan.layout.stride);
        let mut arrivals = &before.arrivals[..];
        for (n, (slot, kept_arrivals)) in before.slots.iter().enumerate() {
            // The epoch's records have driven most slots out of the cache by now.
            if let Some((slot, _)) = before.slots.get(n + SOON) {
                self.table.near(*slot);
                self.arrivals.near(*slot);
            }
            let old = kept_arrivals.and_then(|n| {
                let (old, rest) = arrivals.split_at(n as usize);
                arrivals = rest;
                Some((kept.next()?, old))
            });
            if self.changed(&plan, *slot, old) {
                self.lot.give(&plan, &mut self.combine);
            }
        }
        self.lot.give(&plan, &mut self.combine);
        before.slots.clear();
        before.bytes.clear();
        before.arrivals.clear();
        self.before = before;
        self.cut(tick, sealed);
        sealed.unsaved_bytes = self.unsaved.bytes;
        sealed.posts = (self.table.len() as u64, self.present);
        if tick.last {
            self.table = Table::new(&self.plan.layout);
            self.arrivals = Arrivals::default();
        }
        &mut self.combine
    }

    /// Brings records to the slots of their indexes.
    fn take_up(&mut self, plan: &Plan, recs: &Recs, tallies: &mut Vec<(u32, Tally)>) {
        let layout = &plan.layout;
        let (mut packed, mut slots) = (recs.packed(), [0; AHEAD]);
        for heads in recs.heads().chunks(AHEAD) {
            let slots = self.table.find_or_add_all(layout, heads, |head| head.index, &mut slots);
            if plan.arrivals {
                slots.iter().for_each(|slot| self.arrivals.near(*slot));
            }
            for (head, slot) in heads.iter().zip(slots) {
                if tallies.last().is_none_or(|t| t.0 != head.partition()) {
                    tallies.push((head.partition(), Tally::default()));
                }
                if let Some((_, tally)) = tallies.last_mut() {
                    packed = self.apply(*slot, head, packed, tally);
                }
            }
        }
    }

    /// Applies the version rule to one record, whose columns come first; those that follow.
    fn apply<'a>(
        &mut self,
        slot: u32,
        head: &Head,
        packed: &'a [u8],
        tally: &mut Tally,
    ) -> &'a [u8] {
        let (stream, origin, hash) = (head.stream(), head.origin(), head.hash());
        let (bytes, versions) = self.table.slot_and_versions(slot);
        if table::touch(bytes) {
            let gave = self.gives[usize::from(present(bytes))];
            self.before.remember(slot, gave.then(|| (&*bytes, self.arrivals.of(slot))));
        }
        let arrives = self.plan.arrivals && stream == Stream::Pin;
        if arrives {
            self.arrivals.add(slot, floor(origin.arrived_at, self.plan.bucket), 1);
        }
        let side = self.plan.layout.side(stream);
        let (columns, behind) = packed.split_at(side.bytes);
        let wins = match Header::read(&bytes[side.offset..], versions) {
            None => {
                tally.accepted += 1;
                self.present[stream as usize] += 1;
                true
            }
            Some(held) => {
                let wins = newer(&origin, &held.origin, &self.partitions);
                match (held.hash == hash, wins) {
                    (true, _) => tally.duplicate += 1,
                    (false, true) => tally.accepted += 1,
                    (false, false) => tally.superseded += 1,
                }
                wins
            }
        };
        if wins || arrives {
            if wins {
                let part = &mut bytes[side.offset..][..HEADER + side.bytes];
                Header { origin, hash }.write(part, versions);
                part[HEADER..].copy_from_slice(columns);
            }
            let (slot_is_new, side_is_new) = table::mark(bytes, stream);
            if slot_is_new {
                self.unsaved.slots.push(slot);
            }
            self.unsaved.bytes += if side_is_new { HEADER + side.bytes } else { 0 };
        }
        behind
    }

    /// The first bucket of arrivals that any window reaches at `now`.
    fn oldest(&self, now: i64) -> i64 {
        let of = |horizon| floor(now.saturating_sub(horizon), self.plan.bucket);
        self.plan.horizon.map_or(i64::MIN, of)
    }

    /// A post was touched: what it gave, if it gave anything, is to be taken back, what it gives
    /// to be added. Whether the lot of such is to be given to the metrics.
    fn changed(&mut self, plan: &Plan, slot: u32, old: Option<(&[u8], &[Count])>) -> bool {
        let new = self.table.settle(slot);
        if old.is_none() && !self.gives[usize::from(present(new))] {
            return false;
        }
        let is_same = |s: &Stream| {
            let Some((old, _)) = old else { return false };
            let (a, b) = (plan.layout.part(old, *s), plan.layout.part(new, *s));
            Header::is_there(a) == Header::is_there(b) && a[HEADER..] == b[HEADER..]
        };
        let changed = Stream::ALL.iter().filter(|s| !is_same(s)).fold(0, |bits, s| bits | s.bit());
        self.lot.add(plan, old, (new, self.arrivals.of(slot)), changed)
    }

    /// A post as the state holds it: its sides' headers and cells by name.
    pub fn look_up(&self, index: u64) -> Option<Post> {
        let slot = self.table.find(index)?;
        let side = |stream| {
            let side = self.plan.layout.side(stream);
            let header = self.table.header(slot, side.offset)?;
            let part = self.plan.layout.part(self.table.slot(slot), stream);
            let cells = side.places.iter().map(|p| (p.kept, p.get(&part[HEADER..]))).collect();
            Some(PostSide { header, cells })
        };
        Some(Post { index, sides: Stream::ALL.map(side) })
    }

    /// What is held: slots, then arrivals, as (entries, bytes).
    pub fn sizes(&self) -> [(usize, usize); 2] {
        [(self.table.len(), self.table.bytes()), (self.arrivals.len(), self.arrivals.bytes())]
    }
}

/// So many slots before one is worked on the processor is asked for it: with half as many they
/// were still waited for.
const SOON: usize = 16;

/// A post as the state holds it.
#[derive(Clone, Debug)]
pub struct Post {
    /// The index.
    pub index: u64,
    /// Pin, geo, user.
    pub sides: [Option<PostSide>; 3],
}

/// One side of a post.
#[derive(Clone, Debug)]
pub struct PostSide {
    /// Where it came from, and its content's hash.
    pub header: Header,
    /// The kept columns with their cells.
    pub cells: Vec<(layout::Kept, i64)>,
}
