//! Counts that cannot be rebuilt from slots, as the store sees them: sums by keys, of which it
//! knows only that they begin with a time.
//!
//! Promises: folding changes no sum over whole grains.

use std::collections::BTreeMap;

/// Sums of ledger entries by key; entries that came back to zero are left out when written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<Vec<u8>, i64>);

/// How old entries may be kept, whose keys begin with a time (i64, little-endian, microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coarser {
    /// Entries are old when their time is so long past; microseconds.
    pub after: i64,
    /// Their times become multiples of this; microseconds.
    pub grain: i64,
}

impl Ledger {
    /// Puts old entries together, so that what has been counted long ago does not grow with every
    /// stretch in which it was.
    pub fn fold(&mut self, coarser: Coarser, now: i64) {
        let before = now.saturating_sub(coarser.after);
        let grain = coarser.grain.max(1);
        let is_fine = |key: &Vec<u8>, _: &mut i64| {
            time(key).is_some_and(|at| at < before && at.rem_euclid(grain) != 0)
        };
        let fine: Vec<(Vec<u8>, i64)> = self.0.extract_if(.., is_fine).collect();
        for (mut key, n) in fine {
            if let Some(at) = time(&key) {
                let at = at.saturating_sub(at.rem_euclid(grain));
                key[..8].copy_from_slice(&at.to_le_bytes());
            }
            self.put(&key, n);
        }
    }

    fn put(&mut self, key: &[u8], value: i64) {
        if let Some(sum) = self.0.get_mut(key) {
            *sum = sum.wrapping_add(value);
            if *sum == 0 {
                self.0.remove(key);
            }
        } else if value != 0 {
            self.0.insert(key.to_vec(), value);
        }
    }

    /// Adds a block of entries.
    pub fn add(&mut self, mut block: &[u8]) -> Result<(), String> {
        Self::check(block)?;
        while let Some((len, rest)) = block.split_first_chunk::<2>() {
            let (key, rest) = rest.split_at(u16::from_le_bytes(*len) as usize);
            let (value, rest) = rest.split_first_chunk::<8>().expect("checked above");
            self.put(key, i64::from_le_bytes(*value));
            block = rest;
        }
        Ok(())
    }

    /// Whether a block is made of whole entries.
    pub fn check(block: &[u8]) -> Result<(), String> {
        let mut rest = block;
        while !rest.is_empty() {
            let len = rest.split_first_chunk::<2>().map(|(len, _)| u16::from_le_bytes(*len));
            let end = len.map_or(usize::MAX, |len| usize::from(len) + 10);
            rest = rest.get(end..).ok_or_else(|| {
                let offset = block.len() - rest.len();
                format!("the ledger entry at byte {offset} is cut off")
            })?;
        }
        Ok(())
    }

    /// All entries, in blocks of about `size` bytes.
    pub fn encode_blocks(&self, size: usize) -> Vec<Vec<u8>> {
        let mut blocks = Vec::new();
        let mut block = Vec::new();
        for (key, value) in &self.0 {
            block.extend_from_slice(&(key.len() as u16).to_le_bytes());
            block.extend_from_slice(key);
            block.extend_from_slice(&value.to_le_bytes());
            if block.len() >= size {
                blocks.push(std::mem::take(&mut block));
            }
        }
        if !block.is_empty() {
            blocks.push(block);
        }
        blocks
    }
}

/// The time that a key begins with.
fn time(key: &[u8]) -> Option<i64> {
    key.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(at: i64, rest: u8) -> Vec<u8> {
        [&at.to_le_bytes()[..], &[rest]].concat()
    }

    proptest! {
        #[test]
        fn folding_keeps_the_sums_of_grains_and_what_is_young(
            entries in prop::collection::vec((-900i64..900, 0u8..3, -4i64..5), 0..200),
            (after, grain) in (0i64..300, 1i64..50),
            now in -100i64..1000,
        ) {
            let mut ledger = Ledger::default();
            entries.iter().for_each(|(at, rest, n)| ledger.put(&key(*at, *rest), *n));
            let before = ledger.clone();
            ledger.fold(Coarser { after, grain }, now);
            let sums = |ledger: &Ledger| {
                let mut sums: BTreeMap<(i64, u8), i64> = BTreeMap::new();
                for (key, n) in &ledger.0 {
                    let at = time(key).expect("a time");
                    *sums.entry((at.div_euclid(grain), key[8])).or_insert(0) += n;
                }
                sums.retain(|_, n| *n != 0);
                sums
            };
            prop_assert_eq!(sums(&ledger), sums(&before));
            let young = |ledger: &Ledger| -> Vec<(Vec<u8>, i64)> {
                let young = |key: &[u8]| time(key).is_some_and(|at| at >= now - after);
                ledger.0.iter().filter(|e| young(e.0)).map(|e| (e.0.clone(), *e.1)).collect()
            };
            prop_assert_eq!(young(&ledger), young(&before));
            let old = ledger.0.keys().filter_map(|k| time(k)).filter(|at| *at < now - after);
            prop_assert!(old.into_iter().all(|at| at.rem_euclid(grain) == 0));
            // Once more changes nothing.
            let once = ledger.clone();
            ledger.fold(Coarser { after, grain }, now);
            prop_assert_eq!(ledger, once);
        }
    }

    #[test]
    fn the_least_time_does_not_overflow_and_other_keys_stay() {
        let mut ledger = Ledger::default();
        ledger.put(&key(i64::MIN, 1), 2);
        ledger.put(&[1, 2], 3);
        ledger.fold(Coarser { after: i64::MAX, grain: 7 }, 0);
        ledger.fold(Coarser { after: 0, grain: 7 }, 0);
        assert_eq!(ledger.0.values().sum::<i64>(), 5);
    }
}
