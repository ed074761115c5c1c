//! Sixteen bytes of a text at a time: where in them a string may end.

use wide::u8x16;

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 16;

/// The bytes that end or escape a JSON string, or may not stand in one: `"`, `\`, control
/// characters; bit n is byte n.
#[inline]
pub(super) fn telling(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::from(*block);
    let is = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    (is(b'"') | is(b'\\') | control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_at_every_place() {
        for byte in 0..=255_u8 {
            for at in 0..BLOCK {
                let mut block = *b"abcdefgh\xc3\xa9 \x7f{}:,";
                block[at] = byte;
                let want = u32::from(matches!(byte, b'"' | b'\\' | 0..0x20)) << at;
                assert_eq!(telling(&block), want, "{block:?}");
            }
        }
        assert_eq!(telling(b"\"bcdefghijklm\x1f\\p"), 0b110_0000_0000_0001);
    }
}
