//! Which version a side holds, in twenty bytes: when it arrived, its content's hash, and where it
//! came from.
//!
//! Promises: what [`Versions::put`] was given [`Versions::get`] gives. What does not fit (files
//! beyond a terabyte, messages of thousands of records) stands in a list.
//! Limits: 2^32 versions in the list of a worker.
//!
//! ```text
//! version = arrival:56 | hash:48 | word:56
//! word = partition:14 | position:40 | 0:2             the first record of a message
//!      | sub:14 | partition:10 | position:30 | 1:2
//!      | place in the list:54 | 2:2
//!      | 3:2                                          there is no version
//! ```

use crate::record::Origin;

/// Bytes of a version.
pub const BYTES: usize = 20;
/// The bits of a content's hash that count: of two contents one in 2^48 passes for the other, and
/// is then counted as a duplicate.
pub const HASH_MASK: u64 = (1 << 48) - 1;

/// What versions need beside their bytes: the list of those that fit into no word.
#[derive(Debug, Default)]
pub struct Versions {
    list: Vec<Origin>,
    /// Places that are free.
    free: Vec<u32>,
}

const TAG: u32 = 54;
const PLAIN: u64 = 0;
const INNER: u64 = 1;
const LISTED: u64 = 2;
const NONE: u8 = 3;

/// Whether there is a version.
#[inline]
pub fn is_there(version: &[u8]) -> bool {
    version[BYTES - 1] >> 6 != NONE
}

/// Puts none.
pub fn clear(version: &mut [u8]) {
    version[BYTES - 1] = NONE << 6;
}

impl Versions {
    /// Puts a version over what was there; of the hash the bits of [`HASH_MASK`].
    #[inline]
    pub fn put(&mut self, version: &mut [u8], origin: &Origin, hash: u64) {
        if is_there(version) {
            let word = number(version, 13, 7);
            if word >> TAG == LISTED {
                self.free.push(word as u32);
            }
        }
        let arrival = origin.arrived_at;
        let word = near(origin).filter(|_| signed(arrival as u64) == arrival);
        let word = word.unwrap_or_else(|| self.listed(origin));
        version[..7].copy_from_slice(&arrival.to_le_bytes()[..7]);
        version[7..13].copy_from_slice(&hash.to_le_bytes()[..6]);
        version[13..20].copy_from_slice(&word.to_le_bytes()[..7]);
    }

    fn listed(&mut self, origin: &Origin) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.list.push(*origin);
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 versions in the list")
        });
        self.list[place as usize] = *origin;
        LISTED << TAG | u64::from(place)
    }

    /// Where a version that is there came from, and its hash.
    #[inline]
    pub fn get(&self, version: &[u8]) -> (Origin, u64) {
        let (arrived_at, hash) = (signed(number(version, 0, 7)), number(version, 7, 6));
        let word = number(version, 13, 7);
        let bits = |from: u32, count: u32| word >> from & ((1 << count) - 1);
        let (partition, position, sub) = match word >> TAG {
            PLAIN => (bits(40, 14) as u32, bits(0, 40), 0),
            INNER => (bits(30, 10) as u32, bits(0, 30), bits(40, 14) as u32),
            _ => return (self.list[bits(0, 32) as usize], hash),
        };
        (Origin { arrived_at, partition, position, sub }, hash)
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

/// A number of 56 bits with its sign.
#[inline]
fn signed(number: u64) -> i64 {
    (number << 8) as i64 >> 8
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
            made in prop::collection::vec(
                (0..33_u32, 0..65_u32, 0..33_u32, 0..65_u32, any::<u64>()),
                1..50,
            ),
        ) {
            let cut = |random: u64, width: u32| random & ((1_u128 << width) - 1) as u64;
            type Held = ([u8; BYTES], Origin, u64);
            let (mut list, mut held) = (Versions::default(), Vec::<Held>::new());
            let mut empty = [0; BYTES];
            clear(&mut empty);
            prop_assert!(!is_there(&empty));
            for (n, (partition, position, sub, arrival, random)) in made.into_iter().enumerate() {
                let origin = Origin {
                    arrived_at: cut(random.rotate_left(7), arrival) as i64,
                    partition: cut(random, partition) as u32,
                    position: cut(random.rotate_left(20), position),
                    sub: cut(random.rotate_left(40), sub) as u32,
                };
                // Every third goes over one that is there.
                let mut bytes = if n % 3 == 2 { held.swap_remove(n / 3).0 } else { empty };
                list.put(&mut bytes, &origin, random);
                held.push((bytes, origin, random & HASH_MASK));
            }
            let listed = |held: &&Held| held.0[BYTES - 1] >> 6 == 2;
            let count = held.iter().filter(listed).count();
            prop_assert_eq!(list.list.len() - list.free.len(), count);
            for (bytes, origin, hash) in held {
                prop_assert!(is_there(&bytes));
                prop_assert_eq!(list.get(&bytes), (origin, hash));
            }
        }
    }

    #[test]
    fn usual_versions_are_not_listed() {
        let mut list = Versions::default();
        let year = 365 * 86_400_000_000_i64;
        for (n, arrived_at) in [0, -1, -1000 * year, 1000 * year].into_iter().enumerate() {
            let origin = Origin { arrived_at, partition: 16_000, position: 1 << 39, sub: 0 };
            let mut bytes = [0xFF; BYTES];
            list.put(&mut bytes, &origin, n as u64);
            assert_eq!(list.get(&bytes), (origin, n as u64));
        }
        assert_eq!(list.bytes(), 0);
    }
}
