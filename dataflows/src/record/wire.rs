//! The fields of a record as they stand on the wire: every known key, and where in the object the
//! raw JSON of its value lies. Both scanners fill this; all cleaning reads from it.

use std::borrow::Cow;

use super::column::{Column, Stream};

macro_rules! slots {
    ($($variant:ident $name:literal $kinds:literal,)*) => {
        /// A known key. The order is that of the usual rows, so that a scanner can guess.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Slot { $($variant,)* }

        /// The streams whose records have each: bit 0 pin, 1 geo, 2 user.
        const KINDS: &[u8] = &[$($kinds,)*];

        /// All known keys, in order.
        pub(super) const SLOTS: &[Slot] = &[$(Slot::$variant,)*];

        impl Slot {
            /// The key.
            pub(super) fn name(self) -> &'static str {
                match self { $(Slot::$variant => $name,)* }
            }

            /// What stands behind the key, its quotes and the colon, if a text starts with them.
            #[allow(clippy::inline_always, reason = "two scanners call it for every key")]
            #[inline(always)]
            pub(super) fn behind(self, text: &[u8]) -> Option<&[u8]> {
                match self { $(Slot::$variant => {
                    text.strip_prefix(concat!("\"", $name, "\":").as_bytes())
                })* }
            }

            /// The slot of a key.
            #[allow(non_upper_case_globals)]
            pub(super) fn of(key: &[u8]) -> Option<Slot> {
                $(const $variant: &[u8] = $name.as_bytes();)*
                match key { $($variant => Some(Slot::$variant),)* _ => None }
            }
        }
    };
}

slots! {
    Index "index" 0b111,
    UniqueId "unique_id" 0b001,
    Title "title" 0b001,
    Description "description" 0b001,
    PosterName "poster_name" 0b001,
    FollowerCount "follower_count" 0b001,
    TagList "tag_list" 0b001,
    IsImageOrVideo "is_image_or_video" 0b001,
    ImageSrc "image_src" 0b001,
    Downloaded "downloaded" 0b001,
    SaveLocation "save_location" 0b001,
    Category "category" 0b001,
    Ind "ind" 0b111,
    Timestamp "timestamp" 0b010,
    Latitude "latitude" 0b010,
    Longitude "longitude" 0b010,
    Country "country" 0b010,
    FirstName "first_name" 0b100,
    LastName "last_name" 0b100,
    Age "age" 0b100,
    DateJoined "date_joined" 0b100,
    Idx "idx" 0b111,
    Value "value" 0b000,
}

const COUNT: usize = SLOTS.len();

impl Slot {
    #[inline]
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A value on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    /// Absent or JSON null.
    Null,
    /// A string; none if it is no Unicode text (a lone surrogate).
    Text(Option<Cow<'a, str>>),
    /// The text of a number.
    Number(&'a str),
    /// A condition, an array or an object.
    Other,
}

/// The raw values of the known keys of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wire<'a> {
    /// The object.
    text: &'a str,
    /// Where in it the values lie.
    values: [(u32, u32); COUNT],
    bits: Bits,
}

/// Which keys are there, and which of their values have a backslash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    present: u32,
    escaped: u32,
}

impl Bits {
    /// Adds a key; whether it was not there before.
    #[inline]
    pub(super) fn add(&mut self, slot: Slot, escaped: bool) -> bool {
        let fresh = self.present & slot.bit() == 0;
        self.present |= slot.bit();
        self.escaped = self.escaped & !slot.bit() | u32::from(escaped) << slot as u32;
        fresh
    }
}

/// Some of the known keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots(u32);

impl Slots {
    /// All of them.
    pub(super) const ALL: Slots = Slots(u32::MAX);

    /// Those that the columns are made of, and those that decide more than a column: which record
    /// it is, whether it is late, what is said of names.
    pub(super) fn of(columns: &[Column]) -> Self {
        use Slot::{FirstName, Idx, Ind, Index, LastName, Timestamp};
        let always = [Index, Ind, Idx, Timestamp, FirstName, LastName];
        let slots = columns.iter().filter_map(|c| Slot::of(c.name().as_bytes())).chain(always);
        Slots(slots.fold(0, |all, slot| all | slot.bit()))
    }
}

impl<'a> Wire<'a> {
    /// No values yet of an object, which has fewer than 2^32 bytes.
    #[inline]
    pub(super) fn new(text: &'a str) -> Self {
        Wire { text, values: [(0, 0); COUNT], bits: Bits::default() }
    }

    /// Says which object the values are of: before there are any.
    #[inline]
    pub(super) fn set_text(&mut self, text: &'a str) {
        debug_assert!(u32::try_from(text.len()).is_ok(), "no record is that large");
        self.text = text;
    }

    /// The object.
    #[inline]
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Whether a key is there.
    #[inline]
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.bits.present & slot.bit() != 0
    }

    /// Puts a value, which is a part of the object; of a doubled key the last counts. `escaped`:
    /// it has a backslash.
    pub(super) fn put(&mut self, slot: Slot, raw: &str, escaped: bool) {
        let from = raw.as_ptr().addr() - self.text.as_ptr().addr();
        debug_assert!(from + raw.len() <= self.text.len(), "a value is a part of the object");
        self.put_raw(slot, from, from + raw.len());
        self.bits.add(slot, escaped);
    }

    /// Puts a value alone, which lies between two places of the object, neither of them within a
    /// character: its bits follow with [`Wire::set_bits`], all at once.
    #[inline]
    pub(super) fn put_raw(&mut self, slot: Slot, from: usize, to: usize) {
        self.values[slot as usize] = (from as u32, to as u32);
    }

    #[inline]
    pub(super) fn set_bits(&mut self, bits: Bits) {
        self.bits = bits;
    }

    /// Takes the values of all other keys for absent. The keys are there still.
    #[inline]
    pub(super) fn only(&mut self, slots: Slots) {
        let mut others = self.bits.present & !slots.0;
        while others != 0 {
            self.values[others.trailing_zeros() as usize] = (0, 0);
            others &= others - 1;
        }
    }

    /// The raw JSON of a value; empty if absent.
    #[inline]
    pub(super) fn raw(&self, slot: Slot) -> &'a str {
        let (from, to) = self.values[slot as usize];
        &self.text[from as usize..to as usize]
    }

    /// A value.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Raw<'a> {
        let (from, to) = self.values[slot as usize];
        let (from, to) = (from as usize, to as usize);
        if from == to {
            return Raw::Null;
        }
        match self.text.as_bytes()[from] {
            b'n' => Raw::Null,
            b'"' if self.bits.escaped & slot.bit() == 0 => {
                Raw::Text(Some(Cow::Borrowed(&self.text[from + 1..to - 1])))
            }
            b'"' => Raw::Text(unescape(self.raw(slot))),
            b'-' | b'0'..=b'9' => Raw::Number(self.raw(slot)),
            _ => Raw::Other,
        }
    }

    /// The kinds that the fields tell: bit 0 pin, 1 geo, 2 user.
    #[inline]
    pub(super) fn told(&self) -> u8 {
        let both = |a: Slot, b: Slot| self.has(a) && self.has(b);
        u8::from(both(Slot::UniqueId, Slot::Category))
            | u8::from(both(Slot::Timestamp, Slot::Country)) << 1
            | u8::from(both(Slot::FirstName, Slot::DateJoined)) << 2
    }

    /// The keys that are there and that records of a stream do not have.
    pub(super) fn strangers(&self, stream: Stream) -> impl Iterator<Item = &'static str> {
        const FOREIGN: [u32; 3] = [foreign(0), foreign(1), foreign(2)];
        let there = self.bits.present & FOREIGN[stream as usize];
        // Hardly ever one: no walk for nothing.
        let slots = if there == 0 { &[] } else { SLOTS };
        slots.iter().filter(move |s| there & s.bit() != 0).map(|s| s.name())
    }
}

/// The bits of the slots that a stream does not have.
const fn foreign(stream: u8) -> u32 {
    let (mut bits, mut n) = (0, 0);
    while n < COUNT {
        if KINDS[n] >> stream & 1 == 0 {
            bits |= 1 << n;
        }
        n += 1;
    }
    bits
}

/// The text of a JSON string, quotes included; none if it is no Unicode text.
pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Some(Cow::Borrowed(&raw[1..raw.len() - 1]));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}
