//! Where in a text a JSON string may end: found out for a whole block of messages before they are
//! parsed, sixteen bytes at a time, so that no string has a loop of its own whose end the processor
//! must guess (Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019). And how often a
//! byte comes.

use wide::u8x16;

/// Bytes that one word tells of.
const WORD: usize = 64;

/// The bytes of a text that end or escape a JSON string, or may not stand in one: `"`, `\`, control
/// characters.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// A bit for each byte, and at least one more that is set.
    words: Vec<u64>,
}

impl Marks {
    /// Finds those of a text.
    #[inline]
    pub(super) fn find(&mut self, text: &[u8]) {
        let (words, rest) = text.as_chunks::<WORD>();
        self.words.clear();
        self.words.extend(words.iter().map(telling));
        let last = match text.last_chunk::<WORD>() {
            _ if rest.is_empty() => 0,
            // Also those before the rest, which are pushed out: copying it costs more.
            Some(last) => telling(last) >> (WORD - rest.len()),
            None => {
                let mut last = [0; WORD];
                last[..rest.len()].copy_from_slice(rest);
                telling(&last)
            }
        };
        // What is behind the last byte is a mark, too.
        self.words.push(last | u64::MAX << rest.len());
    }

    /// The first of them at a place of the text or behind it; the text's length if there is none.
    ///
    /// Panics beyond the end of the text.
    #[inline]
    pub(super) fn from(&self, at: usize) -> usize {
        let here = self.words[at / WORD] >> (at % WORD);
        if here != 0 {
            return at + here.trailing_zeros() as usize;
        }
        let mut word = at / WORD + 1;
        while self.words[word] == 0 {
            word += 1;
        }
        word * WORD + self.words[word].trailing_zeros() as usize
    }
}

/// How often a byte comes in a text, which may be short.
#[inline]
pub(super) fn count(text: &[u8], byte: u8) -> usize {
    let bits = |block: &[u8; 16]| u8x16::from(*block).simd_eq(u8x16::splat(byte)).to_bitmask();
    let (blocks, rest) = text.as_chunks::<16>();
    let whole: u32 = blocks.iter().map(|block| bits(block).count_ones()).sum();
    let last = match text.last_chunk::<16>() {
        // Those before the rest, which were counted, are pushed out.
        Some(last) => (u64::from(bits(last)) >> (16 - rest.len())).count_ones() as usize,
        None => rest.iter().filter(|b| **b == byte).count(),
    };
    whole as usize + last
}

/// A bit for each byte that tells something.
#[inline]
fn telling(bytes: &[u8; WORD]) -> u64 {
    let (blocks, _) = bytes.as_chunks::<16>();
    let bits = |block: &[u8; 16]| {
        let bytes = u8x16::from(*block);
        let is = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        u64::from((is(b'"') | is(b'\\') | control).to_bitmask())
    };
    bits(&blocks[0]) | bits(&blocks[1]) << 16 | bits(&blocks[2]) << 32 | bits(&blocks[3]) << 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tells(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..0x20)
    }

    #[test]
    fn every_byte_is_told_at_every_place() {
        for byte in 0..=255_u8 {
            for at in 0..WORD {
                let mut word = [b'a'; WORD];
                word[at] = byte;
                assert_eq!(telling(&word), u64::from(tells(byte)) << at, "{byte} at {at}");
            }
        }
    }

    const BYTES: &[u8] = b"aaaaaaaaaaaaaaaaaa\xc3\"\\\n";

    proptest! {
        #[test]
        fn bytes_are_counted(
            text in prop::collection::vec(prop::sample::select(BYTES), 0..100),
        ) {
            let all = |byte| text.iter().filter(|b| **b == byte).count();
            prop_assert_eq!((count(&text, b'a'), count(&text, 0xc3)), (all(b'a'), all(0xc3)));
        }

        #[test]
        fn marks_are_those_of_a_search(
            text in prop::collection::vec(prop::sample::select(BYTES), 0..300),
        ) {
            let mut marks = Marks::default();
            // One that was longer leaves nothing behind.
            marks.find(&[b'"'; 500]);
            marks.find(&text);
            for at in 0..=text.len() {
                let found = text[at..].iter().position(|byte| tells(*byte));
                prop_assert_eq!(marks.from(at), found.map_or(text.len(), |n| at + n));
            }
        }
    }
}
