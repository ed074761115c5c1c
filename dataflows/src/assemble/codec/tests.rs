//! Sides come back as they were; other bytes end in an error.
#![allow(clippy::unwrap_used)] // a test ends at the first surprise

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::assemble::layout::Kept;
use crate::record::{Column, Origin};
use crate::symbol::intern;

/// Every column in every form that its type has.
fn layout() -> Layout {
    let forms = |column: &Column| -> Vec<Form> {
        match column.ty() {
            Type::Text => vec![Form::Symbol, Form::Present, Form::Length, Form::Tags],
            Type::Time => vec![Form::Int, Form::Present, Form::Hour, Form::Year],
            _ => vec![Form::Int, Form::Present],
        }
    };
    let kept = |column| forms(column).into_iter().map(|form| Kept { column: *column, form });
    Layout::new(Column::ALL.iter().flat_map(kept))
}

/// Where a side comes from, what decides its cells, its arrivals.
type Made = (u64, usize, (i64, u32, u64, u32), u64, Vec<i64>, Vec<(i64, u32)>);

fn made() -> impl Strategy<Value = Made> {
    let time =
        || prop_oneof![any::<i64>(), 0..1_i64 << 50, (0..1_i64 << 30).prop_map(|s| s * SECOND)];
    let cell = prop_oneof![
        Just(NULL),
        Just(i64::MAX),
        any::<i64>(),
        -300..300_i64,
        (-180_000..180_000_i64).prop_map(|n| n * 1000),
        (0..1_i64 << 31).prop_map(|n| n * SECOND)
    ];
    let origin = (time(), 0..5_u32, any::<u64>(), 0..3_u32);
    let arrivals = vec((time(), any::<u32>()), 0..4);
    (0..50_u64, 0..3_usize, origin, any::<u64>(), vec(cell, 80), arrivals)
}

/// A slot with one side.
fn slot(layout: &Layout, made: &Made, versions: &mut Versions) -> Vec<u8> {
    let (index, stream, (arrived_at, partition, position, sub), hash, cells, _) = made;
    let mut slot = vec![0; layout.stride];
    slot[..8].copy_from_slice(&index.to_le_bytes());
    layout.sides.iter().for_each(|side| Header::clear(&mut slot[side.offset..]));
    let side = &layout.sides[*stream];
    let part = &mut slot[side.offset..][..HEADER + side.bytes];
    let origin =
        Origin { arrived_at: *arrived_at, partition: *partition, position: *position, sub: *sub };
    Header { origin, hash: *hash }.write(part, versions);
    for (place, cell) in side.places.iter().zip(cells) {
        let name = |n: i64| intern(&format!("text {}", n.rem_euclid(7))).cell();
        let cell = if place.is_symbol() && *cell != NULL { name(*cell) } else { *cell };
        place.put(&mut part[HEADER..], cell);
    }
    slot
}

/// Encodes sides; their blocks and texts.
fn encoded(
    layout: &Layout,
    list: &[Made],
    numbers: &mut Numbers,
) -> (Vec<Block>, Vec<(u64, &'static str)>) {
    let mut encoder = Encoder::new(layout, numbers);
    for made in list {
        let (index, stream, (arrived_at, partition, position, sub), hash, ..) = *made;
        let header = Header { origin: Origin { arrived_at, partition, position, sub }, hash };
        let slot = slot(layout, made, &mut Versions::default());
        encoder.side((index, header), &slot, Stream::ALL[stream], &made.5);
    }
    encoder.finish()
}

proptest! {
    #[test]
    fn sides_come_back_as_they_were(list in vec(made(), 1..30), cut in 0..30_usize) {
        let layout = layout();
        let mut numbers = Numbers::default();
        let (first, second) = list.split_at(cut.min(list.len()));
        let (mut blocks, mut named) = encoded(&layout, first, &mut numbers);
        // Another process goes on with the state.
        let mut numbers = Numbers::restored(&texts(&named).unwrap());
        let (more, new) = encoded(&layout, second, &mut numbers);
        prop_assert!(new.iter().all(|(_, text)| named.iter().all(|(_, known)| known != text)));
        blocks.extend(more);
        named.extend(new);
        let texts = texts(&named).unwrap();
        let blocks: Vec<Vec<u8>> = blocks.iter().map(Block::bytes).collect();
        let entries = blocks.iter().flat_map(|b| block::entries(b));
        let mut read = 0;
        for (entry, made) in entries.zip(&list) {
            let mut versions = Versions::default();
            let wanted = slot(&layout, made, &mut versions);
            let nothing = (made.0, made.1, (0, 0, 0, 0), 0, Vec::new(), Vec::new());
            let mut got = slot(&layout, &nothing, &mut versions);
            let to = (&mut got[..], &mut versions);
            let counts = decode(&layout, &entry.unwrap(), &texts, to).unwrap();
            for stream in Stream::ALL {
                let part = |slot| layout.part(slot, stream);
                let header = |slot| Header::read(part(slot), &versions);
                prop_assert_eq!(header(&got), header(&wanted));
                prop_assert_eq!(&part(&got)[HEADER..], &part(&wanted)[HEADER..]);
            }
            let arrivals = if made.1 == 0 { &made.5[..] } else { &[] };
            prop_assert_eq!(counts.as_slice(), arrivals);
            read += 1;
        }
        prop_assert_eq!(read, list.len());
    }

    #[test]
    fn damaged_bytes_never_panic(
        list in vec(made(), 1..8),
        changes in vec((any::<usize>(), any::<u8>()), 1..8),
        cut in any::<usize>(),
    ) {
        let layout = layout();
        let (blocks, named) = encoded(&layout, &list, &mut Numbers::default());
        let mut bytes = blocks[0].bytes();
        let len = bytes.len();
        changes.into_iter().for_each(|(at, byte)| bytes[at % len] = byte);
        bytes.truncate(len - cut % 4 * (cut % len) / 4);
        let texts = texts(&named).unwrap();
        let mut versions = Versions::default();
        for entry in block::entries(&bytes) {
            let mut slot = vec![0; layout.stride];
            let to = (&mut slot[..], &mut versions);
            if entry.map_err(CodecError::from)
                .and_then(|entry| decode(&layout, &entry, &texts, to)).is_err()
            {
                break;
            }
        }
    }
}

#[test]
fn bodies_that_end_early_and_texts_that_are_missing() {
    let layout = layout();
    let origin = (5 * SECOND, 0, 7, 0);
    let made: Made = (1, 0, origin, 9, vec![3; 80], vec![(4 * SECOND, 2)]);
    let (blocks, named) = encoded(&layout, &[made], &mut Numbers::default());
    let bytes = blocks[0].bytes();
    let entry = block::entries(&bytes).next().unwrap().unwrap();
    let known = texts(&named).unwrap();
    let (mut slot, mut versions) = (vec![0; layout.stride], Versions::default());
    let whole = entry.body.len();
    for len in 0..whole {
        // Without its arrivals a body is whole, too.
        let short = Entry { body: &entry.body[..len], ..entry };
        let wanted = if len == whole - 2 { Ok(Counts::new()) } else { Err(CodecError::Short) };
        assert_eq!(
            decode(&layout, &short, &known, (&mut slot, &mut versions)),
            wanted,
            "{len} of {whole}"
        );
    }
    let unknown = decode(&layout, &entry, &Texts::default(), (&mut slot, &mut versions));
    assert_eq!(unknown, Err(CodecError::UnknownText));
    let part = Entry { part: 3, ..entry };
    assert_eq!(decode(&layout, &part, &known, (&mut slot, &mut versions)), Err(CodecError::Short));
    let double = texts(&[(4, "a"), (4, "b")]).err();
    assert_eq!(double, Some(CodecError::Collision));
}

#[test]
fn a_cut_of_everything_holds_all_its_texts_again() {
    let layout = layout();
    let made: Made = (1, 0, (0, 0, 0, 0), 9, vec![3; 80], Vec::new());
    let mut numbers = Numbers::default();
    let of = |numbers: &mut Numbers| encoded(&layout, std::slice::from_ref(&made), numbers).1;
    let first = of(&mut numbers);
    assert!(!first.is_empty());
    assert_eq!(of(&mut numbers), []);
    numbers.hold_none();
    assert_eq!(of(&mut numbers), first);
}
