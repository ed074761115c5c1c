//! KPL-aggregated Kinesis records: taken apart, and made for tests.
//!
//! Layout: four magic bytes, a protobuf message, its MD5. Of the message only field 3 (the
//! records) and of each record only field 3 (its data) matter here.

/// The magic bytes at the head.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The payloads of the records in it; none if it is damaged.
pub fn take_apart(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let body = bytes.strip_prefix(&MAGIC)?;
    let (message, sum) = body.split_at_checked(body.len().checked_sub(16)?)?;
    if md5(message) != sum {
        return None;
    }
    let mut out = Vec::new();
    for (field, data) in fields(message)? {
        if field == 3 {
            let parts = fields(&data)?;
            out.push(parts.into_iter().rev().find(|(f, _)| *f == 3)?.1);
        }
    }
    Some(out)
}

/// An aggregated record of these payloads.
pub fn put_together(payloads: &[&[u8]]) -> Vec<u8> {
    let mut message = field(1, b"key");
    for payload in payloads {
        let mut record = vec![8, 0];
        record.extend(field(3, payload));
        message.extend(field(3, &record));
    }
    let sum = md5(&message);
    [&MAGIC, &message[..], &sum].concat()
}

fn field(number: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = data.len();
    while len > 127 {
        out.push(len as u8 | 128);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(data);
    out
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let len = match tag & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes)? as usize,
            5 => 4,
            _ => return None,
        };
        let (data, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        if tag & 7 == 2 {
            out.push((tag >> 3, data.to_vec()));
        }
    }
    Some(out)
}

/// MD5 (RFC 1321), written from its text.
pub fn md5(message: &[u8]) -> [u8; 16] {
    const TURNS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let table: Vec<u32> =
        (0..64).map(|i| (f64::from(i + 1).sin().abs() * 4_294_967_296.0) as u32).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> =
            block.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), 7 * i % 16),
            };
            let sum = a.wrapping_add(mix).wrapping_add(table[i]).wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(TURNS[i / 16][i % 4]));
        }
        for (slot, add) in state.iter_mut().zip([a, b, c, d]) {
            *slot = slot.wrapping_add(add);
        }
    }
    let mut out = [0; 16];
    for (to, from) in out.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    out
}
