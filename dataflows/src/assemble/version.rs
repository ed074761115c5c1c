//! Which version a side holds, in nineteen bytes: when it arrived, its content's hash, and where it
//! came from.
//!
//! Promises: what [`Versions::put`] was given [`Versions::get`] gives. What does not fit (files
//! beyond 256 GiB, messages of thousands of records, arrivals before 1970) stands in a list.
//! Limits: 2^32 versions in the list of a worker.
//!
//! ```text
//! version = hash:48 | arrival:52 | word:52           arrival in microseconds: up to the year 2112
//! word = position:38 | partition:12 | 0:2             the first record of a message
//!      | position:28 | partition:10 | sub:12 | 1:2
//!      | place in the list:50 | 2:2
//!      | 3:2                                          there is no version
//! ```

use super::layout::array;
use crate::record::Origin;

/// Bytes of a version.
pub const BYTES: usize = 19;
/// The bits of a content's hash that count: of two contents one in 2^48 passes for the other, and
/// is then counted as a duplicate.
pub const HASH_MASK: u64 = (1 << HASH) - 1;

/// Bits of an arrival, of a hash, of a word.
const ARRIVAL: u32 = 52;
const HASH: u32 = 48;
const WORD: u32 = 52;

/// What versions need beside their bytes: the list of those that fit into no word.
#[derive(Debug, Default)]
pub struct Versions {
    list: Vec<Origin>,
    /// Places that are free.
    free: Vec<u32>,
}

/// Where a word's tag begins.
const TAG: u32 = WORD - 2;
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
            let word = Parts::read(version).word;
            if word >> TAG == LISTED {
                self.free.push(word as u32);
            }
        }
        let arrival = origin.arrived_at as u64;
        let word = near(origin).filter(|_| arrival >> ARRIVAL == 0);
        let word = word.unwrap_or_else(|| self.listed(origin));
        Parts { arrival: arrival & ((1 << ARRIVAL) - 1), hash, word }.write(version);
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
        let Parts { arrival, hash, word } = Parts::read(version);
        let bits = |from: u32, count: u32| word >> from & ((1 << count) - 1);
        let (partition, position, sub) = match word >> TAG {
            PLAIN => (bits(38, 12) as u32, bits(0, 38), 0),
            INNER => (bits(28, 10) as u32, bits(0, 28), bits(38, 12) as u32),
            _ => return (self.list[bits(0, 32) as usize], hash),
        };
        (Origin { arrived_at: arrival as i64, partition, position, sub }, hash)
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
    if sub == 0 && partition >> 12 == 0 && position >> 38 == 0 {
        return Some(PLAIN << TAG | partition << 38 | position);
    }
    (sub >> 12 == 0 && partition >> 10 == 0 && position >> 28 == 0)
        .then_some(INNER << TAG | sub << 38 | partition << 28 | position)
}

/// What a version's bytes say.
struct Parts {
    arrival: u64,
    hash: u64,
    word: u64,
}

/// Where the arrival begins, behind the hash; the word follows it within its last byte. Numbers are
/// read and written with what is beside them, eight bytes at a time.
const BEHIND: usize = HASH as usize / 8;
/// Bits of the arrival in the last eight bytes.
const BEFORE: u32 = 8 * (BYTES - 8 - BEHIND) as u32;

impl Parts {
    #[inline]
    fn read(version: &[u8]) -> Self {
        let middle = u64::from_le_bytes(array(version, BEHIND));
        let last = u64::from_le_bytes(array(version, BYTES - 8));
        Parts {
            arrival: middle & ((1 << ARRIVAL) - 1),
            hash: u64::from_le_bytes(array(version, 0)) & HASH_MASK,
            word: last >> (ARRIVAL - BEFORE),
        }
    }

    /// The arrival and the word have no bits but theirs.
    #[inline]
    fn write(&self, version: &mut [u8]) {
        let last = self.arrival >> BEFORE | self.word << (ARRIVAL - BEFORE);
        version[..8].copy_from_slice(&self.hash.to_le_bytes());
        version[BEHIND..][..8].copy_from_slice(&self.arrival.to_le_bytes());
        version[BYTES - 8..][..8].copy_from_slice(&last.to_le_bytes());
    }
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
        for (n, arrived_at) in [0, 50 * year, 142 * year].into_iter().enumerate() {
            let origin = Origin { arrived_at, partition: 4000, position: 1 << 37, sub: 0 };
            let mut bytes = [0xFF; BYTES];
            list.put(&mut bytes, &origin, n as u64);
            assert_eq!(list.get(&bytes), (origin, n as u64));
        }
        assert_eq!(list.bytes(), 0);
        for arrived_at in [-1, 143 * year, i64::MIN] {
            let (origin, mut bytes) =
                (Origin { arrived_at, partition: 0, position: 0, sub: 0 }, [0xFF; BYTES]);
            list.put(&mut bytes, &origin, 7);
            assert_eq!(list.get(&bytes), (origin, 7));
        }
        assert_eq!(list.list.len(), 3);
    }
}
