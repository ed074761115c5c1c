//! How a group lies in memory and on its way there: words of 64 bits.
//!
//! ```text
//! entry = window  start  key*  sum*        sum = one word; two, the low one first, where any
//!                                          value of a column may come in (`Adds::Sum`)
//! ```
//!
//! Promises: sums of columns are of 128 bits. Counts are of rows and have 64.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::plan::{Adds, Node};

/// Words before the keys.
pub const HEAD: usize = 2;

/// How the entries of one node lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    keys: usize,
    /// The first word of each sum, and whether it has two.
    sums: Vec<(usize, bool)>,
    width: usize,
}

impl Words {
    /// Those of a node.
    pub fn of(node: &Node) -> Self {
        Words::new(node.keys.len(), node.adds.iter().map(|a| matches!(a.what, Adds::Sum(_))))
    }

    /// So many keys, and sums, of which some are wide.
    pub fn new(keys: usize, wide: impl IntoIterator<Item = bool>) -> Self {
        let mut width = HEAD + keys;
        let place = |wide| {
            let at = width;
            width += 1 + usize::from(wide);
            (at, wide)
        };
        let sums = wide.into_iter().map(place).collect();
        Words { keys, sums, width }
    }

    /// Words of an entry.
    pub fn width(&self) -> usize {
        self.width
    }

    /// An entry's window, start and keys.
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
            let words = Words::new(1, [false, true]);
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
