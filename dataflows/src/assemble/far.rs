//! Which version a side holds, in nineteen bytes: when it arrived, from where, and its content's
//! hash.
//!
//! Promises: what [`Far::put`] was given [`Far::get`] gives, but of the hash only [`HASH`] bits.
//! What does not fit (arrivals years apart, files beyond a terabyte, messages of thousands of
//! records) stands in a list. Limits: 2^32 such versions a worker.
//!
//! ```text
//! version = arrival:48 since a base | hash:48 | word:56
//! word = partition:14 | position:40 | 0:2             the first record of a message
//!      | sub:14 | partition:10 | position:30 | 1:2
//!      | place in the list:54 | 2:2
//!      | 3:2                                          there is no version
//! ```

use crate::record::Origin;

/// Bytes of a version.
pub const VERSION: usize = 19;
/// The bits of a hash that are kept: of two contents one in 2^48 passes for the other.
pub const HASH: u64 = (1 << 48) - 1;

/// The list of those that fit into no word.
#[derive(Debug, Default)]
pub struct Far {
    /// The arrival time that 0 stands for, microseconds.
    base: Option<i64>,
    list: Vec<Origin>,
    /// Places that are free.
    free: Vec<u32>,
}

const TAG: u32 = 54;
const PLAIN: u64 = 0;
const INNER: u64 = 1;
const LISTED: u64 = 2;
const NONE: u8 = 3;
/// Arrivals are this much after the base at first: later ones may lie on both sides.
const MIDDLE: i64 = 1 << 47;

/// Whether there is a version.
#[inline]
pub fn is_there(version: &[u8]) -> bool {
    version[VERSION - 1] >> 6 != NONE
}

/// Puts none.
pub fn clear(version: &mut [u8]) {
    version[VERSION - 1] = NONE << 6;
}

impl Far {
    /// Puts a version over what was there.
    #[inline]
    pub fn put(&mut self, version: &mut [u8], origin: &Origin, hash: u64) {
        if is_there(version) {
            let word = number(version, 12, 7);
            if word >> TAG == LISTED {
                self.free.push(word as u32);
            }
        }
        let base = *self.base.get_or_insert(origin.arrived_at.wrapping_sub(MIDDLE));
        let arrival = origin.arrived_at.wrapping_sub(base) as u64;
        let word = near(origin).filter(|_| arrival >> 48 == 0);
        let word = word.unwrap_or_else(|| self.listed(origin));
        version[..6].copy_from_slice(&arrival.to_le_bytes()[..6]);
        version[6..12].copy_from_slice(&hash.to_le_bytes()[..6]);
        version[12..19].copy_from_slice(&word.to_le_bytes()[..7]);
    }

    fn listed(&mut self, origin: &Origin) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.list.push(*origin);
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 far versions a worker")
        });
        self.list[place as usize] = *origin;
        LISTED << TAG | u64::from(place)
    }

    /// Where a version that is there came from, and its hash.
    #[inline]
    pub fn get(&self, version: &[u8]) -> (Origin, u64) {
        let word = number(version, 12, 7);
        let bits = |from: u32, count: u32| word >> from & ((1 << count) - 1);
        let (partition, position, sub) = match word >> TAG {
            PLAIN => (bits(40, 14) as u32, bits(0, 40), 0),
            INNER => (bits(30, 10) as u32, bits(0, 30), bits(40, 14) as u32),
            _ => return (self.list[bits(0, 32) as usize], number(version, 6, 6)),
        };
        let arrived_at = self.base.unwrap_or(0).wrapping_add(number(version, 0, 6) as i64);
        (Origin { arrived_at, partition, position, sub }, number(version, 6, 6))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Origin>() + self.free.capacity() * 4
    }
}

/// The word of an origin that fits into one.
#[inline]
fn near(origin: &Origin) -> Option<u64> {
    let (partition, position) = (u64::from(origin.partition), origin.position);
    let sub = u64::from(origin.sub);
    if sub == 0 && partition >> 14 == 0 && position >> 40 == 0 {
        return Some(PLAIN << TAG | partition << 40 | position);
    }
    (sub >> 14 == 0 && partition >> 10 == 0 && position >> 30 == 0)
        .then_some(INNER << TAG | sub << 40 | partition << 30 | position)
}

/// A number of so many bytes, least first.
#[inline]
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut number = [0; 8];
    number[..width].copy_from_slice(&bytes[at..][..width]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn versions_come_back(
            list in prop::collection::vec(
                (0..33_u32, 0..65_u32, 0..33_u32, 0..65_u32, any::<u64>()),
                1..50,
            ),
        ) {
            let cut = |random: u64, width: u32| random & ((1_u128 << width) - 1) as u64;
            let (mut far, mut held) = (Far::default(), Vec::<([u8; VERSION], Origin, u64)>::new());
            let mut empty = [0; VERSION];
            clear(&mut empty);
            prop_assert!(!is_there(&empty));
            for (n, (partition, position, sub, arrival, random)) in list.into_iter().enumerate() {
                let origin = Origin {
                    arrived_at: cut(random.rotate_left(7), arrival) as i64,
                    partition: cut(random, partition) as u32,
                    position: cut(random.rotate_left(20), position),
                    sub: cut(random.rotate_left(40), sub) as u32,
                };
                // Every third goes over one that is there.
                let mut bytes = if n % 3 == 2 { held.swap_remove(n / 3).0 } else { empty };
                far.put(&mut bytes, &origin, random);
                held.push((bytes, origin, random & HASH));
            }
            let listed = |held: &&([u8; VERSION], Origin, u64)| held.0[VERSION - 1] >> 6 == 2;
            let count = held.iter().filter(listed).count();
            prop_assert_eq!(far.list.len() - far.free.len(), count);
            for (bytes, origin, hash) in held {
                prop_assert!(is_there(&bytes));
                prop_assert_eq!(far.get(&bytes), (origin, hash));
            }
        }
    }

    #[test]
    fn usual_versions_are_not_listed() {
        let mut far = Far::default();
        let year = 365 * 86_400_000_000_i64;
        for (n, arrived_at) in [0, 1, -4 * year, 4 * year].into_iter().enumerate() {
            let origin = Origin { arrived_at, partition: 16_000, position: 1 << 39, sub: 0 };
            let mut bytes = [0xFF; VERSION];
            far.put(&mut bytes, &origin, n as u64);
            assert_eq!(far.get(&bytes), (origin, n as u64));
        }
        assert_eq!(far.bytes(), 0);
    }
}
