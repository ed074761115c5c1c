//! Blocks of versions, the form in which the state of record is stored: entries one after the
//! other, each with only what differs from the entries before it in the block; behind them their
//! hashes.
//!
//! ```text
//! block = entry* (hash:u48)* entries_len:u31 1:1                  numbers little-endian
//!       | entry* (hash:u64)* entries_len:u31 0:1                  in states of format 2
//! entry = flags:u8 [index] [partition] [arrival] position [sub] len body
//!         all but flags and body varints; index and position as distances, their signs in the
//!         flags; arrival as a zigzag distance; distances are to the block's last entry (index) or
//!         to its last entry of the same part
//! ```
//!
//! Promises: what a [`Writer`] made is read back entry by entry; any other bytes give entries or
//! an error, never a panic. Blocks do not depend on each other.
//! Limits: the entries of a block have fewer than 2^31 bytes; three parts.

use crate::record::Origin;

/// A block is full when it holds so many bytes.
pub const FULL: usize = 128 << 10;

/// Bytes of a hash, and in blocks of before: there 48 bits of it count, too.
const HASH: usize = 6;
const HASH_BEFORE: usize = 8;

// None of the bits of a hash that count is lost.
const _: () = assert!(super::version::HASH_MASK == (1 << (8 * HASH)) - 1);

/// Bytes behind the hashes.
const TAIL: usize = 4;
/// In these the bit of a block whose hashes are of [`HASH`] bytes.
const SHORT: u32 = 1 << 31;

/// The parts of an index, by number below this.
pub const PARTS: usize = 3;

const PART: u8 = 0b11;
const INDEX: u8 = 1 << 2;
const INDEX_BACK: u8 = 1 << 3;
const PARTITION: u8 = 1 << 4;
const ARRIVAL: u8 = 1 << 5;
const SUB: u8 = 1 << 6;
const POSITION_BACK: u8 = 1 << 7;

/// Bytes of either part that a block may have more than the one before it without growing.
const SPARE: usize = 2 << 10;

/// More than an entry takes up before its body.
const HEAD: usize = 64;

/// Bytes that are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of versions is cut short or damaged")]
pub struct Malformed;

/// A version of one part of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The index.
    pub index: u64,
    /// The part, below [`PARTS`].
    pub part: u8,
    /// Where the version came from.
    pub origin: Origin,
    /// The content's hash: its lower 48 bits, those above are lost.
    pub hash: u64,
    /// The rest of it.
    pub body: &'a [u8],
}

/// A block that a [`Writer`] made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    entries: Vec<u8>,
    hashes: Vec<u8>,
}

impl Block {
    /// Its bytes, which are not worth packing, in two parts.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.entries, &self.hashes]
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        count(&self.hashes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

/// What the next entry differs from.
#[derive(Clone, Debug)]
struct Last {
    index: u64,
    origins: [Origin; PARTS],
}

impl Last {
    const NONE: Self = Last {
        index: 0,
        origins: [Origin { arrived_at: 0, partition: 0, position: 0, sub: 0 }; PARTS],
    };
}

/// Writes blocks.
pub struct Writer {
    block: Block,
    last: Last,
    /// Bytes of entries and of hashes that a block is made for.
    usual: (usize, usize),
}

impl Default for Writer {
    fn default() -> Self {
        Writer { block: Block::default(), last: Last::NONE, usual: (FULL - FULL / 4, FULL / 4) }
    }
}

impl Writer {
    /// Appends an entry; the block, if it is full now.
    pub fn push(&mut self, entry: &Entry<'_>) -> Option<Block> {
        let Block { entries, hashes } = &mut self.block;
        if entries.is_empty() {
            // As much as the block before took: room that is not used is memory all the same.
            entries.reserve_exact(self.usual.0);
            hashes.reserve_exact(self.usual.1);
        }
        let last = &mut self.last.origins[usize::from(entry.part)];
        let now = entry.origin;
        let mut head = [0; HEAD];
        head[0] = entry.part;
        let mut at = 1;
        let distance = entry.index.wrapping_sub(self.last.index) as i64;
        if distance != 0 {
            head[0] |= if distance < 0 { INDEX | INDEX_BACK } else { INDEX };
            put(&mut head, &mut at, distance.unsigned_abs());
        }
        if now.partition != last.partition {
            head[0] |= PARTITION;
            put(&mut head, &mut at, now.partition.into());
        }
        if now.arrived_at != last.arrived_at {
            head[0] |= ARRIVAL;
            put(&mut head, &mut at, zigzag(now.arrived_at.wrapping_sub(last.arrived_at)));
        }
        let distance = now.position.wrapping_sub(last.position) as i64;
        head[0] |= if distance < 0 { POSITION_BACK } else { 0 };
        put(&mut head, &mut at, distance.unsigned_abs());
        if now.sub != 0 {
            head[0] |= SUB;
            put(&mut head, &mut at, now.sub.into());
        }
        put(&mut head, &mut at, entry.body.len() as u64);
        *last = now;
        self.last.index = entry.index;
        entries.extend_from_slice(&head[..at]);
        entries.extend_from_slice(entry.body);
        hashes.extend_from_slice(&entry.hash.to_le_bytes()[..HASH]);
        (entries.len() + hashes.len() >= FULL).then(|| self.take())
    }

    /// The block so far, if it holds anything.
    pub fn finish(&mut self) -> Option<Block> {
        (!self.block.entries.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Block {
        self.last = Last::NONE;
        let mut block = std::mem::take(&mut self.block);
        debug_assert!(block.entries.len() < SHORT as usize, "a block is not that large");
        let tail = block.entries.len() as u32 | SHORT;
        block.hashes.extend_from_slice(&tail.to_le_bytes());
        self.usual = (block.entries.len() + SPARE, block.hashes.len() + SPARE);
        block
    }
}

/// What is before a block's tail, how many bytes of that are entries, and the bytes of a hash.
fn tail(block: &[u8]) -> Option<(&[u8], usize, usize)> {
    let (rest, tail) = block.split_last_chunk::<TAIL>()?;
    let tail = u32::from_le_bytes(*tail);
    let width = if tail & SHORT == 0 { HASH_BEFORE } else { HASH };
    Some((rest, (tail & !SHORT) as usize, width))
}

/// How many entries a block has whose second part is this.
pub fn count(hashes: &[u8]) -> u64 {
    tail(hashes).map_or(0, |(hashes, _, width)| hashes.len() / width) as u64
}

/// How many entries a block has; it is not looked into.
pub fn len(block: &[u8]) -> u64 {
    tail(block).map_or(0, |(rest, entries, width)| rest.len().saturating_sub(entries) / width)
        as u64
}

/// The entries of a block.
pub fn entries(block: &[u8]) -> Entries<'_> {
    let split = || {
        let (rest, entries, width) = tail(block)?;
        Some((rest.split_at_checked(entries)?, width))
    };
    // Hashes without an entry are an error that the first step finds.
    let ((rest, hashes), width) = split().unwrap_or(((&[], block), HASH));
    Entries { rest, hashes, width, last: Last::NONE }
}

/// The entries of a block, in order; after an error there are none.
pub struct Entries<'a> {
    rest: &'a [u8],
    hashes: &'a [u8],
    /// Bytes of a hash.
    width: usize,
    last: Last,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.hashes.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            (self.rest, self.hashes) = (&[], &[]);
        }
        Some(entry.ok_or(Malformed))
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Option<Entry<'a>> {
        let rest = &mut self.rest;
        let flags = take(rest, 1)?[0];
        let part = flags & PART;
        let last = self.last.origins.get_mut(usize::from(part))?;
        if flags & INDEX != 0 {
            let distance = apart(take_varint(rest)?, flags & INDEX_BACK != 0);
            self.last.index = self.last.index.wrapping_add(distance);
        }
        if flags & PARTITION != 0 {
            last.partition = u32::try_from(take_varint(rest)?).ok()?;
        }
        if flags & ARRIVAL != 0 {
            last.arrived_at = last.arrived_at.wrapping_add(unzigzag(take_varint(rest)?));
        }
        let distance = apart(take_varint(rest)?, flags & POSITION_BACK != 0);
        last.position = last.position.wrapping_add(distance);
        last.sub = match flags & SUB {
            0 => 0,
            _ => u32::try_from(take_varint(rest)?).ok()?,
        };
        let len = usize::try_from(take_varint(rest)?).ok()?;
        let body = take(rest, len)?;
        let mut hash = [0; 8];
        hash[..HASH].copy_from_slice(&take(&mut self.hashes, self.width)?[..HASH]);
        let hash = u64::from_le_bytes(hash);
        Some(Entry { index: self.last.index, part, origin: *last, hash, body })
    }
}

/// A distance with its sign.
fn apart(distance: u64, back: bool) -> u64 {
    if back { distance.wrapping_neg() } else { distance }
}

/// A signed number as one that is small where it is near 0.
#[inline]
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// The number that [`zigzag`] was given.
#[inline]
pub fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Bytes of a varint at most.
pub const VARINT: usize = 10;

/// Puts a varint where there is room for [`VARINT`] bytes: seven bits a byte, low ones first, all
/// but the last byte with the high bit. What is behind it there may be overwritten.
///
/// May panic if there is not.
#[inline]
pub fn put(to: &mut [u8], at: &mut usize, mut n: u64) {
    // Nearly all numbers have at most 56 bits, and how many is not to be guessed: each seven of
    // them are moved into a byte of their own, half of the word at a time.
    if n < 1 << 56 {
        let more = (n | 1).ilog2() / 7;
        n = (n & 0x00FF_FFFF_F000_0000) << 4 | n & 0x0FFF_FFFF;
        n = (n & 0x0FFF_C000_0FFF_C000) << 2 | n & 0x0000_3FFF_0000_3FFF;
        n = (n & 0x3F80_3F80_3F80_3F80) << 1 | n & 0x007F_007F_007F_007F;
        let bytes = n | 0x8080_8080_8080_8080 & ((1 << (8 * more)) - 1);
        to[*at..][..8].copy_from_slice(&bytes.to_le_bytes());
        *at += more as usize + 1;
        return;
    }
    while n >= 0x80 {
        to[*at] = n as u8 | 0x80;
        *at += 1;
        n >>= 7;
    }
    to[*at] = n as u8;
    *at += 1;
}

/// Takes a varint off the front; none if there is no whole one of 64 bits.
#[inline]
pub fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let (mut n, mut shift) = (0, 0);
    loop {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if *byte < 0x80 {
            return Some(n);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Takes so many bytes off the front.
#[inline]
pub fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(n)?;
    *from = tail;
    Some(head)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test ends at the first surprise
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Made = (u64, u8, (i64, u32, u64, u32), u64, Vec<u8>);

    fn entry(made: &Made) -> Entry<'_> {
        let (index, part, (arrived_at, partition, position, sub), hash, body) = made;
        let origin = Origin {
            arrived_at: *arrived_at,
            partition: *partition,
            position: *position,
            sub: *sub,
        };
        Entry { index: *index, part: *part, origin, hash: *hash, body }
    }

    /// Small and extreme values alike.
    fn any_entry() -> impl Strategy<Value = Made> {
        let near = |n: u64| prop_oneof![Just(n), any::<u64>(), n..n + 300];
        let origin = (
            prop_oneof![Just(i64::MAX), any::<i64>(), 0..300_i64],
            prop_oneof![Just(0), any::<u32>()],
            near(1 << 20),
            prop_oneof![Just(0), any::<u32>()],
        );
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        (near(7), 0..PARTS as u8, origin, 0..1_u64 << (8 * HASH), body)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in proptest::collection::vec(any_entry(), 0..60)) {
            let mut writer = Writer::default();
            let mut blocks = Vec::new();
            for (n, made) in list.iter().enumerate() {
                blocks.extend(writer.push(&entry(made)));
                if n % 23 == 22 {
                    blocks.extend(writer.finish());
                }
            }
            blocks.extend(writer.finish());
            let all = blocks.iter().map(Block::entries).sum::<u64>();
            let blocks: Vec<Vec<u8>> = blocks.iter().map(Block::bytes).collect();
            prop_assert_eq!(all, list.len() as u64);
            prop_assert_eq!(blocks.iter().map(|b| len(b)).sum::<u64>(), all);
            let read: Vec<_> = blocks.iter().flat_map(|b| entries(b)).collect();
            let wanted: Vec<_> = list.iter().map(|made| Ok(entry(made))).collect();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn any_bytes_end(
            list in proptest::collection::vec(any_entry(), 1..20),
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8),
            cut in any::<usize>(),
        ) {
            let mut writer = Writer::default();
            list.iter().for_each(|made| assert!(writer.push(&entry(made)).is_none()));
            let mut bytes = writer.finish().unwrap().bytes();
            let len = bytes.len();
            changes.into_iter().for_each(|(at, byte)| bytes[at % len] = byte);
            bytes.truncate(cut % (len + 1));
            prop_assert!(entries(&bytes).count() <= len);
        }

        #[test]
        fn varints(
            n in prop_oneof![any::<u64>(), 0..300_u64, (0..64_u32).prop_map(|b| u64::MAX >> b)],
            m in any::<i64>(),
        ) {
            let plain = |mut n: u64| {
                let mut bytes = Vec::new();
                while n >= 0x80 {
                    bytes.push(n as u8 | 0x80);
                    n >>= 7;
                }
                bytes.push(n as u8);
                bytes
            };
            let (mut bytes, mut len) = ([0; 2 * VARINT], 0);
            put(&mut bytes, &mut len, n);
            put(&mut bytes, &mut len, zigzag(m));
            prop_assert_eq!(&bytes[..len], [plain(n), plain(zigzag(m))].concat());
            let mut rest = &bytes[..len];
            prop_assert_eq!(take_varint(&mut rest), Some(n));
            prop_assert_eq!(take_varint(&mut rest).map(unzigzag), Some(m));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_block_is_handed_out_when_it_is_full() {
        let mut writer = Writer::default();
        let body = [7; 100];
        let origin = Last::NONE.origins[0];
        let entry = |index| Entry { index, part: 1, origin, hash: index, body: &body };
        let full = (0..).find_map(|index| writer.push(&entry(index))).unwrap().bytes();
        assert!((FULL..FULL + 200).contains(&full.len()));
        assert!(writer.finish().is_none());
        assert!(entries(&full).zip(0..).all(|(e, index)| e == Ok(entry(index))));
        for wrong in [&full[..full.len() - 1], &full[8..], &full[..3], &[9, 0, 0, 0], &[0; 12]] {
            assert_eq!(entries(wrong).last(), Some(Err(Malformed)));
        }
    }

    /// A block as it was written before: hashes of eight bytes, no bit in the tail.
    #[test]
    fn blocks_of_before_are_read() {
        let body = *b"body";
        let origin = Origin { arrived_at: 5, partition: 2, position: 77, sub: 0 };
        let list =
            [3, 4].map(|index| Entry { index, part: 1, origin, hash: index << 40, body: &body });
        let mut writer = Writer::default();
        list.iter().for_each(|entry| assert!(writer.push(entry).is_none()));
        let block = writer.finish().unwrap();
        let [entries_now, hashes_now] = block.parts();
        assert_eq!(hashes_now.len(), 2 * HASH + TAIL);
        let mut before = entries_now.to_vec();
        list.iter().for_each(|entry| before.extend_from_slice(&entry.hash.to_le_bytes()));
        before.extend_from_slice(&(entries_now.len() as u32).to_le_bytes());
        assert_eq!((len(&before), count(&before[entries_now.len()..])), (2, 2));
        assert_eq!((block.entries(), len(&block.bytes())), (2, 2));
        for bytes in [before, block.bytes()] {
            assert!(entries(&bytes).eq(list.map(Ok)));
        }
    }

    #[test]
    fn varints_that_do_not_end_or_are_too_long() {
        for bytes in [&[][..], &[0x80], &[0xFF; 9], &[0xFF; 11], &[0x80, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(take_varint(&mut &*bytes), None, "{bytes:?}");
        }
        let mut most = [0xFF; 10];
        most[9] = 1;
        assert_eq!(take_varint(&mut &most[..]), Some(u64::MAX));
        most[9] = 2;
        assert_eq!(take_varint(&mut &most[..]), None);
    }
}
