//! Sides of slots on disk: each is an entry of a [`block`], whose body is the kept columns in the
//! order of the layout, and for a pin its arrivals.
//!
//! ```text
//! body   = cell* (bucket count:varint)*
//! cell   = varint: 0 null, 1 the cell follows in eight bytes, else value + 2
//! value  = a symbol: the number of its text; else the number, zigzag where it may be negative;
//!          times in seconds or, where only these are kept, in hours, degrees in 1e-4 (those that
//!          are finer take the eight bytes)
//! bucket = a cell of the distance to the arrival's second, then to the bucket before
//! ```
//!
//! Promises: what [`Encoder`] wrote [`decode`] reads, under the same layout; any other bytes give
//! an error or some side, never a panic. Texts are named by numbers, which every text keeps for
//! the state's life.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::arrivals::{Count, Counts};
use super::block::{self, Block, Entry, VARINT, put, take_varint, unzigzag, zigzag};
use super::layout::{HEADER, Header, Layout, Place, Side};
use super::version::Versions;
use crate::metrics::value::NULL;
use crate::record::project::Form;
use crate::record::{Stream, Type};
use crate::symbol::Sym;
use crate::time::HOUR;

/// Values from here on are stored as they are.
const WIDE: u64 = 1 << 62;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// Units of degrees in 1e-4 of a degree.
const ANGLE: i64 = 1000;

/// What can be wrong with stored slots.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// Bytes end too early, or lengths disagree.
    #[error("a stored slot is cut short")]
    Short,
    /// A text is not among the stored ones.
    #[error("a stored slot names a text that is not stored")]
    UnknownText,
    /// Two texts have one number.
    #[error("two stored texts have the same number")]
    Collision,
}

impl From<block::Malformed> for CodecError {
    fn from(_: block::Malformed) -> Self {
        CodecError::Short
    }
}

/// The texts of a state by their numbers, and the numbers by the texts.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    by_number: FxHashMap<u64, Sym>,
    /// By the symbol's id; 0 = not from disk, else the number + 1.
    known: Arc<Vec<u64>>,
}

/// The texts of a state by their numbers; two texts of one number are an error.
pub fn texts<T: AsRef<str>>(list: &[(u64, T)]) -> Result<Texts, CodecError> {
    let (mut by_number, mut known) = (FxHashMap::default(), Vec::new());
    for (number, text) in list {
        let sym = crate::symbol::intern_once(text.as_ref());
        if by_number.insert(*number, sym).is_some_and(|other| other != sym) {
            return Err(CodecError::Collision);
        }
        let id = sym.id() as usize;
        if known.len() <= id {
            known.resize(id + 1, 0);
        }
        known[id] = known[id].max(number.saturating_add(1));
    }
    Ok(Texts { by_number, known: Arc::new(known) })
}

/// The numbers of texts. A text that came back from disk keeps its number; a new one has its
/// symbol's id behind the greatest of those, so that workers agree without asking each other.
#[derive(Default)]
pub struct Numbers {
    base: u64,
    /// As [`Texts`] has them; all workers have the same.
    known: Arc<Vec<u64>>,
    /// A bit for each symbol's id: a cut holds the text.
    held: Vec<u64>,
}

impl Numbers {
    /// Those of a restored state.
    pub fn restored(texts: &Texts) -> Self {
        let known = texts.known.clone();
        let base = known.iter().copied().max().unwrap_or(0);
        let mut numbers = Numbers { base, known, held: Vec::new() };
        texts.by_number.values().for_each(|sym| {
            numbers.hold(*sym);
        });
        numbers
    }

    /// The next cut holds all texts that it uses.
    pub fn hold_none(&mut self) {
        self.held.clear();
    }

    /// A text's number.
    fn of(&self, sym: Sym) -> u64 {
        match self.known.get(sym.id() as usize) {
            Some(known) if *known > 0 => known - 1,
            _ => self.base + u64::from(sym.id()),
        }
    }

    /// Notes that a cut holds the text; whether that is new.
    fn hold(&mut self, sym: Sym) -> bool {
        let (word, bit) = (sym.id() as usize / 64, 1 << (sym.id() % 64));
        if self.held.len() <= word {
            self.held.resize(word + 1, 0);
        }
        let is_new = self.held[word] & bit == 0;
        self.held[word] |= bit;
        is_new
    }
}

/// Puts sides of slots into blocks.
pub struct Encoder<'a> {
    layout: &'a Layout,
    /// The units of the cells of each side.
    units: [Vec<Unit>; 3],
    numbers: &'a mut Numbers,
    writer: block::Writer,
    /// Room for a side's body.
    body: Vec<u8>,
    /// The full blocks.
    pub blocks: Vec<Block>,
    /// Texts that no cut has held yet, with their numbers.
    pub texts: Vec<(u64, &'static str)>,
}

impl<'a> Encoder<'a> {
    /// An encoder without blocks.
    pub fn new(layout: &'a Layout, numbers: &'a mut Numbers) -> Self {
        let units = |side: &Side| side.places.iter().map(Unit::of).collect();
        Encoder {
            layout,
            units: layout.sides.each_ref().map(units),
            numbers,
            writer: block::Writer::default(),
            body: Vec::new(),
            blocks: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Appends a side of a slot.
    pub fn side(
        &mut self,
        (index, header): (u64, Header),
        slot: &[u8],
        stream: Stream,
        arrivals: &[Count],
    ) {
        let part = &self.layout.part(slot, stream)[HEADER..];
        let places = &self.layout.side(stream).places;
        let room = VARINT * (places.len() + 2 * arrivals.len());
        if self.body.len() < room {
            self.body.resize(room, 0);
        }
        let (body, mut at) = (&mut self.body[..], 0);
        for (place, unit) in places.iter().zip(&self.units[stream as usize]) {
            let mut cell = place.get(part);
            if place.is_symbol() && cell != NULL {
                let sym = Sym::from_cell(cell);
                let number = self.numbers.of(sym);
                if self.numbers.hold(sym) {
                    self.texts.push((number, sym.as_str()));
                }
                cell = number as i64;
            }
            put_cell(body, &mut at, cell, *unit);
        }
        if stream == Stream::Pin {
            let mut last = header.origin.arrived_at.div_euclid(SECOND).wrapping_mul(SECOND);
            for (bucket, count) in arrivals {
                put_cell(body, &mut at, bucket.wrapping_sub(last), Unit::Second);
                put(body, &mut at, (*count).into());
                last = *bucket;
            }
        }
        let Header { origin, hash } = header;
        let entry = Entry { index, part: stream as u8, origin, hash, body: &body[..at] };
        self.blocks.extend(self.writer.push(&entry));
    }

    /// All blocks, and the texts that are new with them.
    pub fn finish(mut self) -> (Vec<Block>, Vec<(u64, &'static str)>) {
        self.blocks.extend(self.writer.finish());
        (self.blocks, self.texts)
    }
}

/// The stream that an entry is of.
pub fn stream(entry: &Entry<'_>) -> Result<Stream, CodecError> {
    Stream::ALL.get(usize::from(entry.part)).copied().ok_or(CodecError::Short)
}

/// Puts a stored side into a slot; gives its arrivals.
pub fn decode(
    layout: &Layout,
    entry: &Entry<'_>,
    texts: &Texts,
    (slot, versions): (&mut [u8], &mut Versions),
) -> Result<Counts, CodecError> {
    let side = layout.side(stream(entry)?);
    let mut rest = entry.body;
    let part = &mut slot[side.offset..][..HEADER + side.bytes];
    for place in &side.places {
        let mut cell = take_cell(&mut rest, Unit::of(place)).ok_or(CodecError::Short)?;
        if place.is_symbol() && cell != NULL {
            cell = texts.by_number.get(&(cell as u64)).ok_or(CodecError::UnknownText)?.cell();
        }
        place.put(&mut part[HEADER..], cell);
    }
    let Entry { origin, hash, .. } = *entry;
    Header { origin, hash }.write(part, versions);
    let mut counts = Counts::new();
    let mut last = origin.arrived_at.div_euclid(SECOND).wrapping_mul(SECOND);
    while !rest.is_empty() {
        let distance = take_cell(&mut rest, Unit::Second).ok_or(CodecError::Short)?;
        let count = take_varint(&mut rest).and_then(|n| u32::try_from(n).ok());
        last = last.wrapping_add(distance);
        counts.push((last, count.ok_or(CodecError::Short)?));
    }
    Ok(counts)
}

/// In what unit cells are stored.
#[derive(Clone, Copy)]
enum Unit {
    /// As they are; they are never negative.
    Natural,
    /// As they are.
    Whole,
    /// Times, in seconds.
    Second,
    /// Times of whole hours, in hours.
    Hour,
    /// Degrees of 1e-7, in 1e-4.
    Angle,
}

impl Unit {
    fn of(place: &Place) -> Self {
        match (place.kept.form, place.kept.column.ty()) {
            (Form::Int, Type::Time) => Unit::Second,
            (Form::Hour, _) => Unit::Hour,
            (Form::Int, Type::Fixed7) => Unit::Angle,
            (Form::Int, _) => Unit::Whole,
            _ => Unit::Natural,
        }
    }
}

/// Puts a cell where there is room for [`VARINT`] bytes.
#[inline]
fn put_cell(to: &mut [u8], at: &mut usize, cell: i64, unit: Unit) {
    // Divisors that the compiler knows cost a tenth of others.
    let value = match unit {
        Unit::Natural => cell as u64,
        Unit::Whole => zigzag(cell),
        Unit::Hour => zigzag(cell / HOUR),
        Unit::Second if cell % SECOND == 0 => zigzag(cell / SECOND),
        Unit::Angle if cell % ANGLE == 0 => zigzag(cell / ANGLE),
        Unit::Second | Unit::Angle => WIDE,
    };
    if cell == NULL {
        put(to, at, 0);
    } else if value < WIDE {
        put(to, at, value + 2);
    } else {
        put(to, at, 1);
        to[*at..][..8].copy_from_slice(&cell.to_le_bytes());
        *at += 8;
    }
}

fn take_cell(from: &mut &[u8], unit: Unit) -> Option<i64> {
    let value = match take_varint(from)? {
        0 => return Some(NULL),
        1 => {
            let (cell, rest) = from.split_first_chunk::<8>()?;
            *from = rest;
            return Some(i64::from_le_bytes(*cell));
        }
        value => value - 2,
    };
    Some(match unit {
        Unit::Natural => value as i64,
        Unit::Whole => unzigzag(value),
        Unit::Second => unzigzag(value).wrapping_mul(SECOND),
        Unit::Hour => unzigzag(value).wrapping_mul(HOUR),
        Unit::Angle => unzigzag(value).wrapping_mul(ANGLE),
    })
}

#[cfg(test)]
mod tests;
