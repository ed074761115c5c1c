//! How a group lies in memory and on its way there: words of 64 bits.
//!
//! ```text
//! entry = head  keys  sum*          sum = one word; two, the low one first, where any value of a
//!                                   column may come in (`Adds::Sum`)
//! head  = start:51|flags:3|window:10    start in milliseconds, the least number = there is none
//! keys  = one word each, or two that are short in one, the first one in the low half
//! ```
//!
//! Promises: sums of columns are of 128 bits. Counts are of rows and have 64.
//! Limits: windows start at whole milliseconds, and a node has at most [`WINDOWS`] of them; starts
//! that are 35 000 years from 1970 are one.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::declare::Expr;
use super::expr::Nth;
use super::plan::{Adds, Node};
use super::value::{Cells, NULL};
use crate::record::Type;
use crate::time::MILLISECOND;

/// Words before the keys.
pub const HEAD: usize = 1;
/// So many windows a node may have.
pub const WINDOWS: usize = (1 << WINDOW) - 1;
/// The flags of a head, which are those of whoever holds an entry, and 0 on the way.
pub const FLAGS: [i64; 3] = [1 << WINDOW, 2 << WINDOW, 4 << WINDOW];

/// Bits of a window's number, and those below the start.
const WINDOW: u32 = 10;
const START: u32 = WINDOW + FLAGS.len() as u32;
/// What stands for no start.
const NONE: i64 = i64::MIN >> START;

/// The head of an entry: a window's number, and its start in microseconds or [`NULL`].
#[inline]
pub fn head(window: u16, start: i64) -> i64 {
    let start = match start {
        NULL => NONE,
        start => (start / MILLISECOND).clamp(NONE + 1, -(NONE + 1)),
    };
    start << START | i64::from(window)
}

/// The window's number in a head.
#[inline]
pub fn window(head: i64) -> u16 {
    (head & WINDOWS as i64) as u16
}

/// The window's start in a head, microseconds or [`NULL`].
#[inline]
pub fn start(head: i64) -> i64 {
    match head >> START {
        NONE => NULL,
        start => start * MILLISECOND,
    }
}

/// What the cells of a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Symbols.
    Text,
    /// Numbers whose magnitude is less than 2^31.
    Short,
    /// Numbers.
    Long,
}

impl Form {
    /// That of an expression.
    pub fn of(expr: Expr) -> Self {
        match expr {
            _ if expr.ty() == Type::Text => Form::Text,
            Expr::Year(_) | Expr::HourOfDay => Form::Short,
            _ => Form::Long,
        }
    }

    /// What stands for null in half a word.
    fn null(self) -> u32 {
        match self {
            Form::Short => i32::MIN as u32,
            Form::Text | Form::Long => u32::MAX,
        }
    }

    /// The cell that is half a word.
    fn whole(self, half: u32) -> i64 {
        match self {
            _ if half == self.null() => NULL,
            Form::Short => (half as i32).into(),
            Form::Text | Form::Long => half.into(),
        }
    }
}

/// What makes a word of keys: the places of their cells, and what stands for null in half a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Long(Nth),
    One(Nth, u32),
    Two([(Nth, u32); 2]),
}

/// How the entries of one node lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Of each key its form, its word among those of keys, and how far it is shifted there.
    lies: Vec<(Form, usize, u32)>,
    /// The words of all keys.
    made: Vec<Made>,
    /// The first word of each sum, and whether it has two.
    sums: Vec<(usize, bool)>,
    /// No sum has two words.
    narrow: bool,
    width: usize,
}

impl Words {
    /// Those of a node.
    pub fn of(node: &Node) -> Self {
        Words::new(
            node.keys.iter().copied(),
            node.adds.iter().map(|a| matches!(a.what, Adds::Sum(_))),
        )
    }

    /// Keys of these forms, at these places of a row's cells, and sums, of which some are wide.
    pub fn new(
        keys: impl IntoIterator<Item = (Form, Nth)>,
        wide: impl IntoIterator<Item = bool>,
    ) -> Self {
        let mut made: Vec<Made> = Vec::new();
        let lie = |(form, n): (Form, Nth)| {
            if form == Form::Long {
                made.push(Made::Long(n));
                return (form, made.len() - 1, 0);
            }
            for (word, made) in made.iter_mut().enumerate() {
                if let Made::One(first, null) = *made {
                    *made = Made::Two([(first, null), (n, form.null())]);
                    return (form, word, u32::BITS);
                }
            }
            made.push(Made::One(n, form.null()));
            (form, made.len() - 1, 0)
        };
        let lies = keys.into_iter().map(lie).collect();
        let mut width = HEAD + made.len();
        let place = |wide| {
            let at = width;
            width += 1 + usize::from(wide);
            (at, wide)
        };
        let sums: Vec<(usize, bool)> = wide.into_iter().map(place).collect();
        let narrow = sums.iter().all(|(_, wide)| !wide);
        Words { lies, made, sums, narrow, width }
    }

    /// Words of an entry.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Words of all keys.
    #[inline]
    pub fn key_width(&self) -> usize {
        self.made.len()
    }

    /// How many sums there are.
    #[inline]
    pub fn sums_count(&self) -> usize {
        self.sums.len()
    }

    /// Packs the keys of rows whose cells begin at these places: into [`Words::key_width`] words a
    /// row, one row behind the other.
    #[inline]
    pub fn pack(&self, cells: &[i64], rows: impl Iterator<Item = usize> + Clone, to: &mut [i64]) {
        let half = |at: usize, (n, null): (Nth, u32)| match cells[at + n] {
            NULL => null,
            cell => cell as u32,
        };
        for (word, made) in self.made.iter().enumerate() {
            let words = to.get_mut(word..).unwrap_or_default().iter_mut().step_by(self.made.len());
            let words = rows.clone().zip(words);
            match *made {
                Made::Long(n) => words.for_each(|(at, to)| *to = cells[at + n]),
                Made::One(n, null) => words.for_each(|(at, to)| *to = half(at, (n, null)).into()),
                Made::Two([low, high]) => words.for_each(|(at, to)| {
                    *to = i64::from(half(at, high)) << u32::BITS | i64::from(half(at, low));
                }),
            }
        }
    }

    /// An entry's keys.
    pub fn keys(&self, entry: &[i64]) -> Cells {
        let cell = |(form, word, shift): &(Form, usize, u32)| match form {
            Form::Long => entry[HEAD + word],
            _ => form.whole((entry[HEAD + word] >> shift) as u32),
        };
        self.lies.iter().map(cell).collect()
    }

    /// Words of the head and of all keys.
    #[inline]
    fn behind_keys(&self) -> usize {
        HEAD + self.made.len()
    }

    /// An entry's head and keys, as they are packed.
    #[inline]
    pub fn key<'a>(&self, entry: &'a [i64]) -> &'a [i64] {
        &entry[..self.behind_keys()]
    }

    /// The words of all sums.
    #[inline]
    pub fn sums<'a>(&self, entry: &'a [i64]) -> &'a [i64] {
        &entry[self.behind_keys()..self.width]
    }

    /// The same, to be changed.
    #[inline]
    pub fn sums_mut<'a>(&self, entry: &'a mut [i64]) -> &'a mut [i64] {
        let from = self.behind_keys();
        &mut entry[from..self.width]
    }

    /// A sum.
    #[inline]
    pub fn sum(&self, entry: &[i64], n: usize) -> i128 {
        let (at, wide) = self.sums[n];
        if wide { joined(entry[at], entry[at + 1]) } else { entry[at].into() }
    }

    /// Adds `times` each of some values to the sums.
    #[inline]
    pub fn add_all(&self, entry: &mut [i64], values: &[i64], times: i64) {
        if self.narrow {
            let sums = self.sums_mut(entry).iter_mut().zip(values);
            return sums.for_each(|(sum, v)| *sum = sum.wrapping_add(v.wrapping_mul(times)));
        }
        for ((at, wide), value) in self.sums.iter().zip(values) {
            let at = *at;
            if *wide {
                let more = i128::from(*value) * i128::from(times);
                let sum = joined(entry[at], entry[at + 1]).wrapping_add(more);
                (entry[at], entry[at + 1]) = (sum as i64, (sum >> 64) as i64);
            } else {
                entry[at] = entry[at].wrapping_add(value.wrapping_mul(times));
            }
        }
    }

    /// Adds all sums of an entry to those of another, or takes them away.
    #[inline]
    pub fn merge(&self, into: &mut [i64], from: &[i64], minus: bool) {
        if self.narrow {
            let sums = self.sums_mut(into).iter_mut().zip(self.sums(from));
            let sign = if minus { -1 } else { 1 };
            return sums.for_each(|(a, b)| *a = a.wrapping_add(b.wrapping_mul(sign)));
        }
        for (at, wide) in &self.sums {
            let at = *at;
            if *wide {
                let (a, b) = (joined(into[at], into[at + 1]), joined(from[at], from[at + 1]));
                let sum = if minus { a.wrapping_sub(b) } else { a.wrapping_add(b) };
                (into[at], into[at + 1]) = (sum as i64, (sum >> 64) as i64);
            } else if minus {
                into[at] = into[at].wrapping_sub(from[at]);
            } else {
                into[at] = into[at].wrapping_add(from[at]);
            }
        }
    }
}

#[inline]
fn joined(low: i64, high: i64) -> i128 {
    i128::from(high) << 64 | i128::from(low as u64)
}

/// Whether words are equal: few, so that a call of the library's function costs more than it saves.
#[inline]
pub fn equal(a: &[i64], b: &[i64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// The hash of an entry's start and keys, but not of its window.
#[inline]
pub fn hash_of_key(key: &[i64]) -> u64 {
    let start = (key[0] >> START) as u64;
    hash(&key[HEAD..]).wrapping_add(start).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of some words.
#[inline]
pub fn hash(words: &[i64]) -> u64 {
    let mut hasher = FxHasher::default();
    words.iter().for_each(|word| hasher.write_i64(*word));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A form, and a cell that may come in it.
    fn any_key() -> impl Strategy<Value = (Form, i64)> {
        let text = prop_oneof![Just(NULL), 0..3i64, Just(i64::from(u32::MAX) - 1)];
        let most = i64::from(i32::MAX);
        let short = prop_oneof![Just(NULL), -2..3i64, Just(most), Just(-most)];
        let long = prop_oneof![Just(NULL), any::<i64>(), -2..3i64];
        prop_oneof![
            text.prop_map(|cell| (Form::Text, cell)),
            short.prop_map(|cell| (Form::Short, cell)),
            long.prop_map(|cell| (Form::Long, cell)),
        ]
    }

    #[test]
    fn heads_come_out_as_they_went_in() {
        // Of the years 1 and 9999, and what no window starts at.
        let starts = [-62_135_596_800_000_000, 253_402_300_799_999_000, -1000, 0, 1000, NULL];
        for (at, flag) in starts.into_iter().zip(FLAGS.iter().cycle()) {
            for number in [0, 1, WINDOWS as u16] {
                let head = head(number, at);
                assert_eq!((window(head), start(head), head & flag), (number, at, 0));
                assert_eq!((window(head | flag), start(head | flag)), (number, at));
            }
        }
        let far = [i64::MIN + 1, i64::MAX].map(|at| start(head(7, at)) / 1_000_000_000_000_000);
        assert_eq!(far, [-1125, 1125]);
    }

    proptest! {
        #[test]
        fn keys_are_packed_and_come_out_as_they_went_in(
            keys in prop::collection::vec(any_key(), 0..6),
        ) {
            let forms: Vec<Form> = keys.iter().map(|key| key.0).collect();
            let words = Words::new(forms.iter().copied().zip(0..), [false]);
            let mut packed = vec![7; words.key_width()];
            let row: Vec<i64> = keys.iter().map(|key| key.1).collect();
            words.pack(&row, std::iter::once(0), &mut packed);
            // Of several rows each is as it is alone.
            let (rows, mut all) = ([&row[..], &[9], &row[..]].concat(), [&packed[..]; 2].concat());
            all.fill(7);
            words.pack(&rows, [row.len() + 1, 0].into_iter(), &mut all);
            prop_assert_eq!(&all, &[&packed[..]; 2].concat());
            let long = forms.iter().filter(|form| **form == Form::Long).count();
            prop_assert_eq!(packed.len(), long + (forms.len() - long).div_ceil(2));
            let entry = [&[head(3, 5)], &packed[..], &[1]].concat();
            prop_assert_eq!(words.keys(&entry).to_vec(), row);
            prop_assert_eq!(words.key(&entry), &entry[..entry.len() - 1]);
        }

        #[test]
        fn sums_are_those_of_wide_numbers(
            changes in prop::collection::vec((any::<[i64; 2]>(), -3i64..4, any::<bool>()), 0..40),
        ) {
            for wide in [true, false] {
                let words = Words::new([(Form::Long, 0)], [false, wide]);
                let mut sums = [0i128; 2];
                let mut entry = vec![0; words.width()];
                for ([count, value], times, minus) in &changes {
                    let count = count % 1_000_000;
                    let value = if wide { *value } else { value % 1_000_000 };
                    let mut one = vec![0; words.width()];
                    words.add_all(&mut one, &[count, value], *times);
                    words.merge(&mut entry, &one, *minus);
                    let sign = if *minus { -1 } else { 1 } * i128::from(*times);
                    sums[0] += sign * i128::from(count);
                    sums[1] += sign * i128::from(value);
                    prop_assert_eq!([words.sum(&entry, 0), words.sum(&entry, 1)], sums);
                }
                let width = 2 + usize::from(wide);
                prop_assert_eq!(words.key(&entry), &[0; 2][..]);
                prop_assert_eq!(words.sums(&entry).len(), width);
            }
        }
    }
}
