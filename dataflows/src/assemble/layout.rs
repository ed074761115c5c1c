//! How a post lies in memory: one slot of fixed size, its three sides one after the other, each a
//! header and the columns that the plan needs, each column as narrow as its values allow.
//!
//! A side's columns as packed bytes are also what travels from the decoder to the slot's owner.

use smallvec::SmallVec;

use super::version::{self, Versions};
use crate::metrics::value::NULL;
use crate::record::project::{self, Form};
use crate::record::{Column, Fields, Origin, Stream, Type};
use crate::time::HOUR;

/// The packed columns of one side.
pub type Packed = SmallVec<[u8; 40]>;

/// How wide a column's cell is, and which pattern in it means null: the greatest of an unsigned
/// width, the least of a signed one; a bit is never null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Bit(u8),
    U8,
    U16,
    U32,
    I32,
    /// A time in whole hours since 1970.
    Hours,
    I64,
}

impl Width {
    fn of(column: Column, form: Form) -> Self {
        match (form, column) {
            (Form::Present, _) => Width::Bit(0),
            (_, Column::Age | Column::Downloaded) => Width::U8,
            (Form::Year, _) => Width::U16,
            (Form::Hour, _) => Width::Hours,
            (Form::Symbol | Form::Length | Form::Tags, _) => Width::U32,
            (Form::Int, c) if c.ty() == Type::Fixed7 => Width::I32,
            (Form::Int, _) => Width::I64,
        }
    }

    /// Bytes; of some bits the first has the byte for all.
    fn bytes(self) -> usize {
        match self {
            Width::Bit(n) => usize::from(n == 0),
            Width::U8 => 1,
            Width::U16 => 2,
            Width::U32 | Width::I32 | Width::Hours => 4,
            Width::I64 => 8,
        }
    }
}

/// A column that slots keep, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kept {
    /// The column.
    pub column: Column,
    /// Its form.
    pub form: Form,
}

impl Kept {
    /// The name in the fingerprint and in `pinflow plan`.
    pub fn name(&self) -> String {
        format!("{}:{:?}", self.column.name(), self.form).to_lowercase()
    }

    /// The kept column of such a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let (column, form) = name.split_once(':')?;
        let form = Form::ALL.into_iter().find(|f| format!("{f:?}").to_lowercase() == form)?;
        Some(Kept { column: Column::from_name(column)?, form })
    }
}

/// Where a kept column lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What lies there.
    pub kept: Kept,
    /// The first byte within the side's packed columns.
    offset: usize,
    width: Width,
}

impl Place {
    /// The cell at this place.
    #[inline]
    pub fn get(&self, packed: &[u8]) -> i64 {
        let at = self.offset;
        match self.width {
            Width::Bit(n) => (packed[at] >> n & 1).into(),
            Width::U8 => match packed[at] {
                u8::MAX => NULL,
                v => v.into(),
            },
            Width::U16 => match u16::from_le_bytes(array(packed, at)) {
                u16::MAX => NULL,
                v => v.into(),
            },
            Width::U32 => match u32::from_le_bytes(array(packed, at)) {
                u32::MAX => NULL,
                v => v.into(),
            },
            Width::I32 => match i32::from_le_bytes(array(packed, at)) {
                i32::MIN => NULL,
                v => v.into(),
            },
            Width::Hours => match i32::from_le_bytes(array(packed, at)) {
                i32::MIN => NULL,
                v => i64::from(v) * HOUR,
            },
            Width::I64 => i64::from_le_bytes(array(packed, at)),
        }
    }

    /// Puts a cell there; the form bounds its values.
    #[inline]
    pub(crate) fn put(&self, packed: &mut [u8], cell: i64) {
        let at = self.offset;
        match self.width {
            Width::Bit(n) => packed[at] = packed[at] & !(1 << n) | u8::from(cell == 1) << n,
            Width::U8 => packed[at] = if cell == NULL { u8::MAX } else { cell as u8 },
            Width::U16 => {
                let v = if cell == NULL { u16::MAX } else { cell.min(0xFFFE) as u16 };
                packed[at..][..2].copy_from_slice(&v.to_le_bytes());
            }
            Width::U32 => {
                let v = if cell == NULL { u32::MAX } else { cell.min(0xFFFF_FFFE) as u32 };
                packed[at..][..4].copy_from_slice(&v.to_le_bytes());
            }
            Width::I32 => {
                let v = if cell == NULL { i32::MIN } else { cell as i32 };
                packed[at..][..4].copy_from_slice(&v.to_le_bytes());
            }
            Width::Hours => {
                let v = if cell == NULL { i32::MIN } else { cell.div_euclid(HOUR) as i32 };
                packed[at..][..4].copy_from_slice(&v.to_le_bytes());
            }
            Width::I64 => packed[at..][..8].copy_from_slice(&cell.to_le_bytes()),
        }
    }

    /// Bytes of the cell; of cells of a bit the first has the byte of eight, the others have none.
    pub fn bytes(&self) -> usize {
        self.width.bytes()
    }

    /// Whether the cell is a symbol.
    pub fn is_symbol(&self) -> bool {
        self.kept.form == Form::Symbol
    }
}

/// `N` bytes of a slice from a place on.
#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..][..N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// Bytes of a side's header.
pub const HEADER: usize = version::BYTES;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the held version came from.
    pub origin: Origin,
    /// Its content's hash, [`version::HASH_MASK`].
    pub hash: u64,
}

impl Header {
    /// Whether the side is there.
    #[inline]
    pub fn is_there(side: &[u8]) -> bool {
        version::is_there(side)
    }

    /// Reads a header; none where the side is not there.
    #[inline]
    pub fn read(side: &[u8], versions: &Versions) -> Option<Header> {
        Header::is_there(side).then(|| {
            let (origin, hash) = versions.get(side);
            Header { origin, hash }
        })
    }

    /// Writes the header over what was there.
    #[inline]
    pub fn write(&self, side: &mut [u8], versions: &mut Versions) {
        versions.put(side, &self.origin, self.hash);
    }

    /// Marks a side as not there.
    pub fn clear(side: &mut [u8]) {
        version::clear(side);
    }
}

/// The sides of a slot that are there, a bit for each stream.
#[inline]
pub fn present(slot: &[u8]) -> u8 {
    slot[MARKS] >> THERE
}

/// One side of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The kept columns.
    pub places: Vec<Place>,
    /// The header's first byte in the slot.
    pub offset: usize,
    /// Bytes of the packed columns.
    pub bytes: usize,
}

/// Bytes before the sides: the index, marks.
const HEAD: usize = MARKS + 1;

/// The byte of marks: the sides that no cut holds as they are ([`CHANGED`]), whether the epoch has
/// touched the slot ([`TOUCHED`]), and from bit [`THERE`] on the sides that are there.
pub const MARKS: usize = 8;
/// See [`MARKS`].
pub const CHANGED: u8 = 0b111;
/// See [`MARKS`].
pub const TOUCHED: u8 = 0b1000;
/// See [`MARKS`].
pub const THERE: u32 = 4;

/// A line of the processor's cache, and parts of it: slots that begin at these lie in fewer lines.
const LINES: [usize; 3] = [64, 32, 16];
/// So many bytes a slot may be padded with to end there.
const PADDED: usize = 8;

/// The layout of a slot: its head, then pin, geo and user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The sides.
    pub sides: [Side; 3],
    /// Bytes of a slot.
    pub stride: usize,
}

impl Layout {
    /// The layout that keeps these columns. Wide cells come first in a side.
    pub fn new(kept: impl IntoIterator<Item = Kept>) -> Self {
        let mut kept: Vec<Kept> = kept.into_iter().collect();
        let wide = |k: &Kept| std::cmp::Reverse(Width::of(k.column, k.form).bytes());
        kept.sort_by_key(|k| (wide(k), *k));
        kept.dedup();
        let mut start = HEAD;
        let sides = Stream::ALL.map(|stream| {
            let mine = kept.iter().filter(|k| k.column.stream() == stream);
            let (mut bytes, mut bits, mut byte_of_bits) = (0, 0, 0);
            let place = |k: &Kept| {
                let (mut width, mut offset) = (Width::of(k.column, k.form), bytes);
                if let Width::Bit(bit) = &mut width {
                    (*bit, bits) = (bits % 8, bits + 1);
                    byte_of_bits = if *bit == 0 { bytes } else { byte_of_bits };
                    offset = byte_of_bits;
                }
                bytes += width.bytes();
                Place { kept: *k, offset, width }
            };
            let places = mine.map(place).collect();
            let side = Side { places, offset: start, bytes };
            start += HEADER + bytes;
            side
        });
        // A slot that begins in the middle of a line lies in one line more. Where chunks begin
        // is the allocator's: at a line's beginning, if it is the one that pinflow has.
        let whole = LINES.map(|line| start.next_multiple_of(line));
        let stride = whole.into_iter().find(|whole| whole - start <= PADDED).unwrap_or(start);
        Layout { sides, stride }
    }

    /// The side of a stream.
    pub fn side(&self, stream: Stream) -> &Side {
        &self.sides[stream as usize]
    }

    /// The place of a kept column.
    pub fn place(&self, kept: Kept) -> Option<Place> {
        let side = self.side(kept.column.stream());
        side.places.iter().copied().find(|p| p.kept == kept)
    }

    /// Appends the kept columns of a record, packed: as many bytes as its side has. Texts that are
    /// to be symbols are shown to `symbol`, with where and how their cells are to be put.
    #[inline]
    pub fn pack(
        &self,
        fields: &Fields<'_>,
        out: &mut Vec<u8>,
        mut symbol: impl FnMut(&str, usize, Place),
    ) {
        let (side, from) = (self.side(fields.stream()), out.len());
        out.resize(from + side.bytes, 0);
        for place in &side.places {
            if place.is_symbol()
                && let Some(text) = project::text(fields, place.kept.column)
            {
                symbol(text, from, *place);
                continue;
            }
            let cell = project::cell(fields, place.kept.column, place.kept.form);
            place.put(&mut out[from..], cell);
        }
    }

    /// A side's header and columns within a slot.
    #[inline]
    pub fn part<'a>(&self, slot: &'a [u8], stream: Stream) -> &'a [u8] {
        let side = self.side(stream);
        &slot[side.offset..][..HEADER + side.bytes]
    }

    /// What is kept, for the fingerprint.
    pub fn names(&self) -> Vec<String> {
        self.sides.iter().flat_map(|s| s.places.iter().map(|p| p.kept.name())).collect()
    }
}
