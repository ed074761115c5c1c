//! Where a version came from, in eight bytes: partition, position and number in the message.
//!
//! Promises: what [`Far::put`] was given [`Far::get`] gives. What does not fit into a word (files
//! beyond a terabyte, messages of more than a million records) stands in a list.
//! Limits: 2^32 such versions a worker.
//!
//! ```text
//! word = 0:2 | partition:22 | position:40        the first record of a message
//!      | 1:2 | sub:20 | partition:18 | position:24
//!      | 2:2 | place in the list
//! ```

use crate::record::Origin;

/// The list of those that fit into no word.
#[derive(Debug, Default)]
pub struct Far {
    list: Vec<(u32, u64, u32)>,
    /// Places that are free.
    free: Vec<u32>,
}

const TAG: u32 = 62;
const PLAIN: u64 = 0;
const INNER: u64 = 1;
const LISTED: u64 = 2;

impl Far {
    /// Where an origin lies, as a word.
    pub fn put(&mut self, origin: &Origin) -> u64 {
        let Origin { partition, position, sub, .. } = *origin;
        let (part, sub_bits) = (u64::from(partition), u64::from(sub));
        if sub == 0 && part >> 22 == 0 && position >> 40 == 0 {
            return PLAIN << TAG | part << 40 | position;
        }
        if sub_bits >> 20 == 0 && part >> 18 == 0 && position >> 24 == 0 {
            return INNER << TAG | sub_bits << 42 | part << 24 | position;
        }
        let entry = (partition, position, sub);
        let place = self.free.pop().unwrap_or_else(|| {
            self.list.push(entry);
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 far versions a worker")
        });
        self.list[place as usize] = entry;
        LISTED << TAG | u64::from(place)
    }

    /// The origin that a word stands for.
    #[inline]
    pub fn get(&self, arrived_at: i64, word: u64) -> Origin {
        let bits = |from: u32, count: u32| word >> from & ((1 << count) - 1);
        let (partition, position, sub) = match word >> TAG {
            PLAIN => (bits(40, 22) as u32, bits(0, 40), 0),
            INNER => (bits(24, 18) as u32, bits(0, 24), bits(42, 20) as u32),
            _ => self.list[bits(0, 32) as usize],
        };
        Origin { arrived_at, partition, position, sub }
    }

    /// A word that is not used any more.
    #[inline]
    pub fn drop(&mut self, word: u64) {
        if word >> TAG == LISTED {
            self.free.push(word as u32);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<(u32, u64, u32)>() + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn origins_come_back(
            list in prop::collection::vec((0..33_u32, 0..65_u32, 0..33_u32, any::<u64>()), 1..50),
        ) {
            let (mut far, mut words) = (Far::default(), Vec::new());
            let cut = |random: u64, width: u32| random & ((1_u128 << width) - 1) as u64;
            for (n, (partition, position, sub, random)) in list.into_iter().enumerate() {
                let origin = Origin {
                    arrived_at: n as i64,
                    partition: cut(random, partition) as u32,
                    position: cut(random.rotate_left(20), position),
                    sub: cut(random.rotate_left(40), sub) as u32,
                };
                words.push((far.put(&origin), origin));
                if n % 3 == 2 {
                    far.drop(words.swap_remove(n / 3).0);
                }
            }
            let listed = words.iter().filter(|w| w.0 >> TAG == LISTED).count();
            prop_assert_eq!(far.list.len() - far.free.len(), listed);
            for (word, origin) in words {
                prop_assert_eq!(far.get(origin.arrived_at, word), origin);
            }
        }
    }
}
