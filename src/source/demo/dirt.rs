//! What producers send now and then instead of a row: about one record in a thousand.

use super::dice::{Dice, key};
use super::world::World;

/// Spoils the row of record `n` that was written since `start`, if its turn has come.
pub fn spoil(world: &World, stream: usize, n: u64, start: usize, out: &mut Vec<u8>) {
    let mut dice = Dice::new(key(world.seed ^ (stream as u64 + 41), n));
    if !dice.chance(66) {
        return;
    }
    let len = out.len() - start;
    match dice.below(8) {
        // Cut off on the way, now and then within a letter.
        0 | 1 => out.truncate(start + len * (20 + dice.below(70) as usize) / 100),
        2 => instead(out, start, b"\"\""),
        3 => instead(out, start, br#"{"index":1,"name":"Maya","age":25,"role":"engineer"}"#),
        4 => instead(out, start, br#"{"example_field": "example_value_pin"}"#),
        5 => without_index(out, start),
        6 if stream == 2 => day_less(out, start),
        6 => instead(out, start, b"null"),
        _ => {
            // A byte that is no UTF-8.
            let at = start + len / 2;
            out[at] = 0xff;
        }
    }
}

fn instead(out: &mut Vec<u8>, start: usize, payload: &[u8]) {
    out.truncate(start);
    out.extend_from_slice(payload);
}

/// Takes the first member away.
fn without_index(out: &mut Vec<u8>, start: usize) {
    if let (Some(open), Some(comma)) = (
        memchr::memchr(b'{', &out[start..]).map(|at| start + at),
        memchr::memchr(b',', &out[start..]).map(|at| start + at),
    ) {
        out.drain(open + 1..=comma);
    }
}

/// `2015-11-21` becomes `2015-11-`: a typo in a pattern that was really used.
fn day_less(out: &mut Vec<u8>, start: usize) {
    let name = b"\"date_joined\":\"";
    if let Some(at) = memchr::memmem::find(&out[start..], name) {
        let day = start + at + name.len() + 8;
        out.drain(day..day + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirt_is_rare_and_of_all_kinds() {
        let world = World::new(1, 1000);
        let row = concat!(
            r#"{"ind":7,"first_name":"A","last_name":"B","age":3,"#,
            r#""date_joined":"2015-11-21 11:23:51"}"#
        );
        let row = row.as_bytes();
        let mut kinds = std::collections::BTreeSet::new();
        let mut dirty = 0;
        for n in 0..100_000 {
            let mut out = b"before".to_vec();
            out.extend_from_slice(row);
            spoil(&world, 2, n, 6, &mut out);
            assert_eq!(&out[..6], b"before");
            if &out[6..] != row {
                dirty += 1;
                kinds.insert(out);
            }
        }
        assert!((60..150).contains(&dirty), "{dirty} of about 100");
        let has = |text: &[u8]| kinds.iter().any(|k| memchr::memmem::find(k, text).is_some());
        assert!(has(b"before\"\"") && has(b"Maya") && has(b"2015-11- 11:23:51"));
        assert!(has(b"before{\"first_name\"") && has(b"\xff") && has(b"example_field"));
    }
}
