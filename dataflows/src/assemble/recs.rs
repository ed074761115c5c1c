//! Decoded records on their way to the slots of their indexes: a list for each worker that owns
//! some, so that a record is written once and not moved again.
//!
//! Promises: records come out in the order in which they went in.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Place};
use super::version::HASH_MASK;
use crate::pooled;
use crate::record::{Origin, Record, Stream};
use crate::symbol::Queue;

/// Bits of a content's hash; the stream lies above them.
const HASH_BITS: u32 = HASH_MASK.count_ones();

/// What is known of a record beside its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The index.
    pub index: u64,
    /// The content's hash, and the stream.
    hash: u64,
    arrived_at: i64,
    position: u64,
    partition: u32,
    sub: u32,
}

impl Head {
    fn new(record: &Record<'_>, origin: &Origin) -> Self {
        let stream = record.fields.stream() as u64;
        Head {
            index: record.index,
            hash: record.hash & HASH_MASK | stream << HASH_BITS,
            arrived_at: origin.arrived_at,
            position: origin.position,
            partition: origin.partition,
            sub: origin.sub,
        }
    }

    /// The content's hash, [`HASH_MASK`].
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash & HASH_MASK
    }

    /// The stream.
    #[inline]
    pub fn stream(&self) -> Stream {
        let [pin, geo, user] = Stream::ALL;
        match self.hash >> HASH_BITS {
            0 => pin,
            1 => geo,
            _ => user,
        }
    }

    /// The partition that it came from.
    #[inline]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Where it came from.
    #[inline]
    pub fn origin(&self) -> Origin {
        Origin {
            arrived_at: self.arrived_at,
            partition: self.partition,
            position: self.position,
            sub: self.sub,
        }
    }
}

/// Records of indexes that one worker owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recs {
    /// The worker.
    pub to: u64,
    heads: Vec<Head>,
    /// See [`Recs::packed`].
    packed: Vec<u8>,
}

impl Recs {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The records without their columns, in order.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The packed columns, those of a record as many bytes as its side has in the layout.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The records, in order, with their packed columns.
    pub fn each<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = (&'a Head, &'a [u8])> {
        let mut rest = &self.packed[..];
        self.heads.iter().map(move |head| {
            let (packed, behind) = rest.split_at(layout.side(head.stream()).bytes);
            rest = behind;
            (head, packed)
        })
    }

    /// Gives its lists to be used again.
    pub fn give_back(self) {
        pooled::give_back(self.heads);
        pooled::give_back(self.packed);
    }
}

/// Records that come in one by one. Their texts become symbols some records later: see [`Queue`].
#[derive(Debug)]
pub struct Filling {
    recs: Recs,
    /// Where a side's packed columns begin, and the symbol's place in them.
    texts: Queue<(usize, Place)>,
}

impl Filling {
    /// No records for a worker.
    pub fn new(to: u64) -> Self {
        Filling { recs: Recs { to, ..Recs::default() }, texts: Queue::default() }
    }

    /// Adds a record.
    #[inline]
    pub fn push(&mut self, layout: &Layout, record: &Record<'_>, origin: &Origin) {
        let Filling { recs, texts } = self;
        if recs.heads.capacity() == 0 {
            (recs.heads, recs.packed) = (pooled::take(), pooled::take());
        }
        recs.heads.push(Head::new(record, origin));
        let mut many = false;
        layout.pack(&record.fields, &mut recs.packed, |text, from, place| {
            many |= texts.push(text, (from, place));
        });
        if many {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let Filling { recs, texts } = self;
        texts.drain(|(from, place), sym| place.put(&mut recs.packed[from..], sym.cell()));
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.recs.is_empty()
    }

    /// Whether no more should come in: lists are to be used again.
    #[inline]
    pub fn is_full(&self) -> bool {
        let heads = &self.recs.heads;
        heads.len() == heads.capacity() && !heads.is_empty()
    }

    /// What came in; from here on nothing has.
    pub fn take(&mut self) -> Recs {
        self.settle();
        let to = self.recs.to;
        std::mem::replace(&mut self.recs, Recs { to, ..Recs::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::layout::Kept;
    use crate::record::project::Form;
    use crate::record::{Cell, Column, Fields, Geo, User};
    use crate::symbol::intern;

    #[test]
    fn records_come_out_as_they_went_in() {
        let numbers = [Column::Age, Column::Latitude, Column::Longitude];
        let kept = numbers.map(|column| Kept { column, form: Form::Int });
        let name = Kept { column: Column::UserName, form: Form::Symbol };
        let layout = Layout::new(kept.into_iter().chain([name]));
        let mut recs = Filling::new(3);
        let (mut given, mut lists) = (Vec::new(), Vec::new());
        for n in 0..2000 {
            let number = Cell::Value(n % 150);
            let fields = if n % 3 == 0 {
                let name = (n % 2 == 0).then(|| format!("user {}", n % 9).into());
                let (user_name, date_joined) = (name.map_or(Cell::Null, Cell::Value), Cell::Null);
                Fields::User(User { user_name, age: number, date_joined })
            } else {
                let (country, timestamp) = (Cell::Null, Cell::Null);
                Fields::Geo(Geo { country, latitude: number, longitude: Cell::Null, timestamp })
            };
            let record =
                Record { index: n as u64, hash: u64::MAX - n as u64, misrouted: false, fields };
            let origin = Origin { arrived_at: -n, partition: 7, position: 1 << 50, sub: n as u32 };
            recs.push(&layout, &record, &origin);
            let mut packed = Vec::new();
            let mut symbols = Vec::new();
            layout.pack(&record.fields, &mut packed, |text, _, place| {
                symbols.push((intern(text).cell(), place));
            });
            symbols.iter().for_each(|(cell, place)| place.put(&mut packed, *cell));
            given.push((
                record.index,
                record.hash & HASH_MASK,
                record.fields.stream(),
                origin,
                packed,
            ));
            if recs.is_full() {
                lists.push(recs.take());
                assert!(recs.is_empty());
            }
        }
        lists.push(recs.take());
        assert!(lists.len() > 1 && lists.iter().all(|list| list.to == 3) && recs.recs.to == 3);
        let all = lists.iter().flat_map(|list| list.each(&layout));
        let out = all.map(|(head, packed)| {
            (head.index, head.hash(), head.stream(), head.origin(), packed.to_vec())
        });
        assert!(out.eq(given));
        let bytes: usize = lists.iter().flat_map(|l| l.each(&layout)).map(|(_, p)| p.len()).sum();
        assert_eq!(bytes, lists.iter().map(|list| list.packed().len()).sum::<usize>());
    }
}
