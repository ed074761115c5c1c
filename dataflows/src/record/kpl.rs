//! Records that the Kinesis Producer Library has aggregated: a magic number, a protobuf message
//! `AggregatedRecord`, and the MD5 sum of that message.
//!
//! ```proto
//! message AggregatedRecord {
//!   repeated string partition_key_table = 1;
//!   repeated string explicit_hash_key_table = 2;
//!   repeated Record records = 3;
//! }
//! message Record {
//!   required uint64 partition_key_index = 1;
//!   optional uint64 explicit_hash_key_index = 2;
//!   required bytes data = 3;
//! }
//! ```

use md5::{Digest, Md5};

/// What an aggregated record starts with. No UTF-8 text does.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const DIGEST_BYTES: usize = 16;
/// The field `records` of `AggregatedRecord` and the field `data` of `Record`.
const CONTENT: u64 = 3;

/// Whether this is an aggregated record, sound or not.
pub(super) fn is_aggregated(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The payloads inside, in order; none if the sum is wrong or the message is not well-formed.
pub(super) fn payloads(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let body = bytes.strip_prefix(&MAGIC)?;
    let (message, sum) = body.split_at_checked(body.len().checked_sub(DIGEST_BYTES)?)?;
    if Md5::digest(message)[..] != *sum {
        return None;
    }
    let mut out = Vec::new();
    let mut fields = Walk(message);
    while !fields.0.is_empty() {
        if let (CONTENT, Some(record)) = fields.next_field()? {
            let (mut inner, mut data) = (Walk(record), None);
            while !inner.0.is_empty() {
                if let (CONTENT, Some(bytes)) = inner.next_field()? {
                    data = Some(bytes);
                }
            }
            out.push(data?);
        }
    }
    Some(out)
}

/// The fields of a protobuf message.
struct Walk<'a>(&'a [u8]);

/// A field's number, and its bytes if it is length-delimited.
type Field<'a> = (u64, Option<&'a [u8]>);

impl<'a> Walk<'a> {
    /// The next field; none if the message is not well-formed.
    fn next_field(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let bytes = match key & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            5 => self.take(4).map(|_| None)?,
            _ => return None,
        };
        Some((key >> 3, bytes))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// Aggregates payloads as the library does.
#[cfg(test)]
pub(super) fn aggregate(payloads: &[&[u8]]) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
    }
    let mut message = Vec::new();
    field(1, b"a partition key", &mut message);
    for payload in payloads {
        let mut record = vec![1 << 3, 0];
        field(3, payload, &mut record);
        field(3, &record, &mut message);
    }
    let sum = Md5::digest(&message);
    [&MAGIC[..], &message, &sum[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_aggregated_comes_apart() {
        let long = vec![b'x'; 300];
        let bytes = aggregate(&[b"one", b"", &long]);
        assert_eq!(payloads(&bytes), Some(vec![&b"one"[..], b"", &long]));
        assert_eq!(payloads(&aggregate(&[])), Some(vec![]));
    }

    #[test]
    fn damage_is_seen() {
        let sound = aggregate(&[b"one", b"two"]);
        for at in MAGIC.len()..sound.len() {
            let mut bad = sound.clone();
            bad[at] ^= 1;
            assert_eq!(payloads(&bad), None, "byte {at}");
            assert_eq!(payloads(&sound[..at]), None, "cut at {at}");
        }
        // A right sum over what is no message.
        for message in [&b"\x1a\xff\xff"[..], b"\x1a\x02\x08\x01", b"\x0b", b"\x1a\x05ab"] {
            let bytes = [&MAGIC[..], message, &Md5::digest(message)[..]].concat();
            assert_eq!(payloads(&bytes), None);
        }
    }
}
