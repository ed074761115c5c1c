//! Facts about records: what was read, and what became of every field, counted by arrival bucket
//! where the record is decoded. These cannot be rebuilt from posts, so their counts are stored: the
//! ledger.

use rustc_hash::FxHashMap;

use super::declare::{Fact, Shape};
use super::plan::Plan;
use super::update::Combine;
use super::value::{Cells, NULL};
use super::window::gcd;
use crate::symbol::{Sym, intern};
use crate::time::HOUR;

/// A kind of record or field, in one bucket of arrival time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetaKey {
    /// Start of the bucket, microseconds.
    pub bucket: i64,
    /// About fields, not records.
    pub fields: bool,
    /// The cells of [`super::plan::RECORD_METAS`] or [`super::plan::FIELD_METAS`].
    pub cells: Cells,
}

/// How many more there are of each kind.
pub type Ledger = FxHashMap<MetaKey, i64>;

impl MetaKey {
    /// The key as bytes: `[bucket i64][fields u8]`, then each cell as `[len u8][text]`, null as a
    /// length of 255.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.bucket.to_le_bytes().to_vec();
        out.push(self.fields.into());
        for cell in &self.cells {
            if *cell == NULL {
                out.push(u8::MAX);
            } else {
                let text = Sym::from_cell(*cell).as_str();
                let len = u8::try_from(text.len()).ok().filter(|len| *len < u8::MAX);
                out.push(len.expect("names of streams, columns, states and reasons are short"));
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    /// The inverse of [`MetaKey::encode`]; none if the bytes are not a key.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bucket, rest) = bytes.split_first_chunk::<8>()?;
        let (fields, mut rest) = rest.split_first()?;
        let mut cells = Cells::new();
        while let Some((len, tail)) = rest.split_first() {
            if *len == u8::MAX {
                cells.push(NULL);
                rest = tail;
            } else {
                let (text, tail) = tail.split_at_checked(*len as usize)?;
                cells.push(intern(std::str::from_utf8(text).ok()?).cell());
                rest = tail;
            }
        }
        Some(MetaKey { bucket: i64::from_le_bytes(*bucket), fields: *fields == 1, cells })
    }
}

/// How entries may be kept that are no longer changing: those whose bucket is this long past, with
/// their buckets as multiples of the second; microseconds. No window of the plan tells them apart
/// then. What is declared later sees an hour as one moment.
pub fn coarser(plan: &Plan) -> (i64, i64) {
    let nodes = plan.nodes.iter().filter(|n| matches!(n.fact, Fact::Records | Fact::Fields));
    let (mut longest, mut grain) = (0, HOUR);
    for window in nodes.flat_map(|node| &node.windows) {
        match window.shape {
            Shape::Sliding { size, .. } if window.slides() => longest = longest.max(size),
            _ => grain = gcd(grain, window.grain()),
        }
    }
    (longest.saturating_add(HOUR), grain)
}

/// The group changes that a ledger's entries make.
pub fn updates<'a>(
    plan: &Plan,
    entries: impl Iterator<Item = (&'a MetaKey, &'a i64)>,
    combine: &mut Combine,
) {
    for (key, diff) in entries {
        let fact = if key.fields { Fact::Fields } else { Fact::Records };
        for (n, node) in plan.nodes.iter().enumerate().filter(|(_, n)| n.fact == fact) {
            combine.row(n, node, &key.cells, key.bucket, *diff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        let cells: Cells = [intern("pin").cell(), NULL, intern("").cell()].into_iter().collect();
        let key = MetaKey { bucket: -5, fields: true, cells };
        assert_eq!(MetaKey::decode(&key.encode()), Some(key));
        assert_eq!(MetaKey::decode(&[1, 2]), None);
    }
}
