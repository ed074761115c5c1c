//! Sides of slots on disk: each is an entry of a [`block`], whose body is the content's hash, the
//! kept columns in the order of the layout, and for a pin its arrivals.
//!
//! ```text
//! body   = hash:u64 LE, cell*, (bucket, count:varint)*
//! cell   = varint: 0 null, 1 eight bytes follow, else value + 2
//! value  = a symbol: the number of its text; else the number, zigzag where it may be negative;
//!          times in seconds, degrees in 1e-4 (those that are finer take the eight bytes)
//! bucket = a cell of the distance to the arrival's second, then to the bucket before
//! ```
//!
//! Promises: what [`Encoder`] wrote [`decode`] reads, under the same layout; any other bytes give
//! an error or some side, never a panic. Texts are named by numbers, which every text keeps for
//! the state's life.

use rustc_hash::FxHashMap;

use super::arrivals::Counts;
use super::block::{self, Block, Entry, put_varint, take_varint, unzigzag, zigzag};
use super::layout::{HEADER, Header, Layout, Place, array};
use crate::metrics::value::NULL;
use crate::record::project::Form;
use crate::record::{Stream, Type};
use crate::symbol::Sym;

/// Values from here on are stored as they are.
const WIDE: u64 = 1 << 62;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

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

/// The texts of a state by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Texts(FxHashMap<u64, Sym>);

/// The texts of a state by their numbers; two texts of one number are an error.
pub fn texts<T: AsRef<str>>(list: &[(u64, T)]) -> Result<Texts, CodecError> {
    let mut texts = Texts::default();
    for (number, text) in list {
        let sym = crate::symbol::intern(text.as_ref());
        if texts.0.insert(*number, sym).is_some_and(|other| other != sym) {
            return Err(CodecError::Collision);
        }
    }
    Ok(texts)
}

/// The numbers of texts. A text that came back from disk keeps its number; a new one has its
/// symbol's id behind the greatest of those, so that workers agree without asking each other.
#[derive(Default)]
pub struct Numbers {
    base: u64,
    /// By the symbol's id; 0 = not from disk, else the number + 1.
    known: Vec<u64>,
    /// A bit for each symbol's id: a cut holds the text.
    held: Vec<u64>,
}

impl Numbers {
    /// Those of a restored state.
    pub fn restored(texts: &Texts) -> Self {
        let mut numbers = Numbers::default();
        for (number, sym) in &texts.0 {
            let id = sym.id() as usize;
            if numbers.known.len() <= id {
                numbers.known.resize(id + 1, 0);
            }
            let known = &mut numbers.known[id];
            *known = (*known).max(number.saturating_add(1));
            numbers.base = numbers.base.max(number.saturating_add(1));
            numbers.hold(*sym);
        }
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
    numbers: &'a mut Numbers,
    writer: block::Writer,
    body: Vec<u8>,
    /// The full blocks.
    pub blocks: Vec<Block>,
    /// Texts that no cut has held yet, with their numbers.
    pub texts: Vec<(u64, &'static str)>,
}

impl<'a> Encoder<'a> {
    /// An encoder without blocks.
    pub fn new(layout: &'a Layout, numbers: &'a mut Numbers) -> Self {
        Encoder {
            layout,
            numbers,
            writer: block::Writer::default(),
            body: Vec::new(),
            blocks: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Appends a side of a slot, if it is there.
    pub fn side(&mut self, index: u64, slot: &[u8], stream: Stream, arrivals: &Counts) {
        let part = self.layout.part(slot, stream);
        let Some(header) = Header::read(part) else { return };
        self.body.clear();
        self.body.extend_from_slice(&header.hash.to_le_bytes());
        for place in &self.layout.side(stream).places {
            let cell = place.get(&part[HEADER..]);
            let cell = if place.is_symbol() && cell != NULL { self.text(cell) } else { cell };
            put_cell(&mut self.body, cell, unit(place));
        }
        if stream == Stream::Pin {
            let mut last = header.origin.arrived_at.div_euclid(SECOND).wrapping_mul(SECOND);
            for (bucket, count) in arrivals {
                put_cell(&mut self.body, bucket.wrapping_sub(last), Some(SECOND));
                put_varint(&mut self.body, (*count).into());
                last = *bucket;
            }
        }
        let origin = header.origin;
        let entry = Entry { index, part: stream as u8, origin, body: &self.body };
        self.blocks.extend(self.writer.push(&entry));
    }

    /// The number of a symbol's text.
    fn text(&mut self, cell: i64) -> i64 {
        let sym = Sym::from_cell(cell);
        let number = self.numbers.of(sym);
        if self.numbers.hold(sym) {
            self.texts.push((number, sym.as_str()));
        }
        number as i64
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
    slot: &mut [u8],
) -> Result<Counts, CodecError> {
    let side = layout.side(stream(entry)?);
    let mut rest = entry.body;
    let hash = block::take(&mut rest, 8).ok_or(CodecError::Short)?;
    let part = &mut slot[side.offset..][..HEADER + side.bytes];
    for place in &side.places {
        let mut cell = take_cell(&mut rest, unit(place)).ok_or(CodecError::Short)?;
        if place.is_symbol() && cell != NULL {
            cell = texts.0.get(&(cell as u64)).ok_or(CodecError::UnknownText)?.cell();
        }
        Layout::put(place, &mut part[HEADER..], cell);
    }
    let origin = entry.origin;
    Header { origin, hash: u64::from_le_bytes(array(hash, 0)) }.write(part);
    let mut counts = Counts::new();
    let mut last = origin.arrived_at.div_euclid(SECOND).wrapping_mul(SECOND);
    while !rest.is_empty() {
        let distance = take_cell(&mut rest, Some(SECOND)).ok_or(CodecError::Short)?;
        let count = take_varint(&mut rest).and_then(|n| u32::try_from(n).ok());
        last = last.wrapping_add(distance);
        counts.push((last, count.ok_or(CodecError::Short)?));
    }
    Ok(counts)
}

/// In what unit a column's cells are stored; none = they are never negative.
fn unit(place: &Place) -> Option<i64> {
    match (place.kept.form, place.kept.column.ty()) {
        (Form::Int, Type::Time) => Some(SECOND),
        (Form::Int, Type::Fixed7) => Some(1000),
        (Form::Int, _) => Some(1),
        _ => None,
    }
}

fn put_cell(to: &mut Vec<u8>, cell: i64, unit: Option<i64>) {
    let value = match unit {
        None => cell as u64,
        Some(1) => zigzag(cell),
        Some(unit) if cell % unit == 0 => zigzag(cell / unit),
        Some(_) => WIDE,
    };
    if cell == NULL {
        to.push(0);
    } else if value < WIDE {
        put_varint(to, value + 2);
    } else {
        to.push(1);
        to.extend_from_slice(&cell.to_le_bytes());
    }
}

fn take_cell(from: &mut &[u8], unit: Option<i64>) -> Option<i64> {
    Some(match take_varint(from)? {
        0 => NULL,
        1 => i64::from_le_bytes(array(block::take(from, 8)?, 0)),
        value => match unit {
            None => (value - 2) as i64,
            Some(unit) => unzigzag(value - 2).wrapping_mul(unit),
        },
    })
}

#[cfg(test)]
mod tests;
