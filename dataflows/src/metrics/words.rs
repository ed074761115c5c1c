//! How a group lies in memory and on its way there: words of 64 bits.
//!
//! ```text
//! entry = window  start  keys  sum*        sum = one word; two, the low one first, where any
//!                                          value of a column may come in (`Adds::Sum`)
//! keys  = one word each, or two that are short in one, the first one in the low half
//! ```
//!
//! Promises: sums of columns are of 128 bits. Counts are of rows and have 64.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::declare::Expr;
use super::plan::{Adds, Node};
use super::value::{Cells, NULL};
use crate::record::Type;

/// Words before the keys.
pub const HEAD: usize = 2;

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

    /// A cell as half a word.
    #[inline]
    fn halved(self, cell: i64) -> u32 {
        if cell == NULL { self.null() } else { cell as u32 }
    }

    /// The cell that was [`Form::halved`].
    fn whole(self, half: u32) -> i64 {
        match self {
            _ if half == self.null() => NULL,
            Form::Short => (half as i32).into(),
            Form::Text | Form::Long => half.into(),
        }
    }
}

/// How the entries of one node lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Of each key its form, its word among those of keys, and how far it is shifted there.
    lies: Vec<(Form, usize, u32)>,
    /// Words of all keys.
    keys: usize,
    /// The first word of each sum, and whether it has two.
    sums: Vec<(usize, bool)>,
    width: usize,
}

impl Words {
    /// Those of a node.
    pub fn of(node: &Node) -> Self {
        Words::new(&node.forms, node.adds.iter().map(|a| matches!(a.what, Adds::Sum(_))))
    }

    /// Keys of these forms, and sums, of which some are wide.
    pub fn new(forms: &[Form], wide: impl IntoIterator<Item = bool>) -> Self {
        let (mut keys, mut half) = (0, None);
        let lie = |form: &Form| match (form, half) {
            (Form::Text | Form::Short, Some(word)) => {
                half = None;
                (*form, word, 32)
            }
            _ => {
                keys += 1;
                half = if *form == Form::Long { half } else { Some(keys - 1) };
                (*form, keys - 1, 0)
            }
        };
        let lies = forms.iter().map(lie).collect();
        let mut width = HEAD + keys;
        let place = |wide| {
            let at = width;
            width += 1 + usize::from(wide);
            (at, wide)
        };
        let sums = wide.into_iter().map(place).collect();
        Words { lies, keys, sums, width }
    }

    /// Words of an entry.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Packs a row's keys, in place of what was there.
    #[inline]
    pub fn pack(&self, keys: impl Iterator<Item = i64>, to: &mut Vec<i64>) {
        to.clear();
        to.resize(self.keys, 0);
        for ((form, word, shift), cell) in self.lies.iter().zip(keys) {
            to[*word] |= match form {
                Form::Long => cell,
                _ => i64::from(form.halved(cell)) << shift,
            };
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

    /// An entry's window, start and keys, as they are packed.
    #[inline]
    pub fn key<'a>(&self, entry: &'a [i64]) -> &'a [i64] {
        &entry[..HEAD + self.keys]
    }

    /// The words of all sums.
    #[inline]
    pub fn sums<'a>(&self, entry: &'a [i64]) -> &'a [i64] {
        &entry[HEAD + self.keys..self.width]
    }

    /// The same, to be changed.
    #[inline]
    pub fn sums_mut<'a>(&self, entry: &'a mut [i64]) -> &'a mut [i64] {
        &mut entry[HEAD + self.keys..self.width]
    }

    /// A sum.
    #[inline]
    pub fn sum(&self, entry: &[i64], n: usize) -> i128 {
        let (at, wide) = self.sums[n];
        if wide { joined(entry[at], entry[at + 1]) } else { entry[at].into() }
    }

    /// Adds `times` a value to a sum.
    #[inline]
    pub fn add(&self, entry: &mut [i64], n: usize, value: i64, times: i64) {
        let (at, wide) = self.sums[n];
        if wide {
            let more = i128::from(value) * i128::from(times);
            let sum = joined(entry[at], entry[at + 1]).wrapping_add(more);
            (entry[at], entry[at + 1]) = (sum as i64, (sum >> 64) as i64);
        } else {
            entry[at] = entry[at].wrapping_add(value.wrapping_mul(times));
        }
    }

    /// Adds all sums of an entry to those of another, or takes them away.
    #[inline]
    pub fn merge(&self, into: &mut [i64], from: &[i64], minus: bool) {
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

    proptest! {
        #[test]
        fn sums_are_those_of_wide_numbers(
            changes in prop::collection::vec((any::<[i64; 2]>(), -3i64..4, any::<bool>()), 0..40),
        ) {
            let words = Words::new(&[Form::Long], [false, true]);
            let mut sums = [0i128; 2];
            let mut entry = vec![0; words.width()];
            for ([count, value], times, minus) in changes {
                let count = count % 1_000_000;
                let mut one = vec![0; words.width()];
                words.add(&mut one, 0, count, times);
                words.add(&mut one, 1, value, times);
                words.merge(&mut entry, &one, minus);
                let sign = if minus { -1 } else { 1 } * i128::from(times);
                sums[0] += sign * i128::from(count);
                sums[1] += sign * i128::from(value);
                prop_assert_eq!([words.sum(&entry, 0), words.sum(&entry, 1)], sums);
            }
            prop_assert_eq!((words.key(&entry), words.sums(&entry).len()), (&[0; 3][..], 3));
        }
    }
}
