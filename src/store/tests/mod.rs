//! The store against a plain model.
#![allow(clippy::unwrap_used)] // a test ends at the first surprise

mod compact;
mod crash;
mod damage;
mod dead;
mod points;
mod rebuild;

use std::collections::BTreeMap;
use std::path::Path;

use dataflows::assemble::block::{self, Block, Entry, Writer};
use dataflows::record::Origin;
use dataflows::symbol::intern;

use super::*;

/// What a state holds, plainly.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub slots: BTreeMap<(u64, u8), (Origin, u64, Vec<u8>)>,
    pub ledger: BTreeMap<Vec<u8>, i64>,
    pub texts: BTreeMap<u64, String>,
    pub positions: BTreeMap<u32, u64>,
    pub cut: Option<u64>,
}

impl Model {
    pub fn apply(&mut self, cut: &Cut) {
        self.positions.extend(&cut.head.positions);
        let slots: Vec<Vec<u8>> = cut.slots.iter().map(Block::bytes).collect();
        let texts: Vec<_> = cut.texts.iter().map(|(n, text)| (*n, (*text).to_owned())).collect();
        self.take(&slots, std::slice::from_ref(&cut.ledger), &texts);
        self.cut = Some(cut.head.cut);
    }

    fn take(&mut self, slots: &[Vec<u8>], ledger: &[Vec<u8>], texts: &[(u64, String)]) {
        for entry in slots.iter().flat_map(|block| block::entries(block)) {
            let Entry { index, part, origin, hash, body } = entry.expect("whole entries");
            self.slots.insert((index, part), (origin, hash, body.to_vec()));
        }
        for mut block in ledger.iter().map(Vec::as_slice) {
            while !block.is_empty() {
                let len = usize::from(u16::from_le_bytes([block[0], block[1]]));
                let value = i64::from_le_bytes(block[2 + len..10 + len].try_into().unwrap());
                *self.ledger.entry(block[2..2 + len].to_vec()).or_default() += value;
                block = &block[10 + len..];
            }
        }
        self.ledger.retain(|_, v| *v != 0);
        self.texts.extend(texts.iter().cloned());
    }

    /// All slots and texts, as a whole cut holds them.
    pub fn whole(&self, cut: &mut Cut) {
        let mut writer = Writer::default();
        cut.slots.clear();
        for ((index, part), (origin, hash, body)) in &self.slots {
            let (index, part, origin, hash) = (*index, *part, *origin, *hash);
            cut.slots.extend(writer.push(&Entry { index, part, origin, hash, body }));
        }
        cut.slots.extend(writer.finish());
        let text = |(number, text): (&u64, &String)| (*number, intern(text).as_str());
        cut.texts = self.texts.iter().map(text).collect();
    }

    pub fn of(restored: &Restored) -> Self {
        let mut model = Model::default();
        model.take(&restored.slots, &restored.ledger, &restored.texts);
        model.positions = restored.head.positions.clone();
        model.cut = Some(restored.head.cut);
        model
    }
}

/// A made-up cut; equal numbers give equal cuts.
pub(super) fn cut(number: u64, slots: u64) -> Cut {
    let mut made = Cut::default();
    made.head = Head { cut: number, run: 1, epoch: number * 3, now: number as i64, ..made.head };
    made.head.positions.insert((number % 3) as u32, number * 10);
    // At times all that is stored is said to hold, at others it is not known what does.
    made.head.held = if (number / 10).is_multiple_of(2) { u64::MAX } else { 0 };
    let mut writers = [Writer::default(), Writer::default()];
    for n in 0..slots {
        let index = (number * 7 + n * 13) % 101;
        let body = format!("{number}/{n}").repeat((n % 5) as usize);
        let (part, partition, position) = ((n % 3) as u8, (n % 4) as u32, number * 1000 + 90 - n);
        let origin = Origin { arrived_at: number as i64, partition, position, sub: 0 };
        let entry = Entry { index, part, origin, hash: index * number, body: body.as_bytes() };
        assert!(writers[(index % 2) as usize].push(&entry).is_none());
    }
    made.slots = writers.iter_mut().filter_map(Writer::finish).collect();
    made.texts = vec![(number % 17, intern(&format!("text {}", number % 17)).as_str())];
    let key = format!("k{}", number % 5);
    made.ledger.extend_from_slice(&(key.len() as u16).to_le_bytes());
    made.ledger.extend_from_slice(key.as_bytes());
    made.ledger.extend_from_slice(&(number as i64 % 3 - 1).to_le_bytes());
    made
}

pub(super) fn options() -> Options {
    let fingerprint = Fingerprint::from([("format".to_owned(), "1".to_owned())]);
    Options { compaction: Compaction::Inline, ..Options::new(fingerprint) }
}

/// Options under which a few small cuts make a generation.
pub(super) fn small() -> Options {
    Options { compact_min: 3000, compact_first: 1500, ..options() }
}

fn reopen(dir: &Path, options: Options) -> (Store, Restored) {
    let (store, restored) = Store::open(dir, options).expect("a state");
    (store, restored.expect("something to restore"))
}

#[test]
fn old_counts_do_not_grow_with_every_stretch() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { coarser: Some(Coarser { after: 50, grain: 100 }), ..small() };
    let (mut store, _) = Store::open(folder.path(), options.clone()).unwrap();
    let mut model = Model::default();
    for number in 0..2000 {
        let mut cut = cut(number, 20);
        model.apply(&cut);
        // What holds no longer is left out of each base, so that there is one every few cuts.
        cut.head.held = model.slots.len() as u64;
        cut.ledger.clear();
        for rest in [1, 2] {
            cut.ledger.extend_from_slice(&9_u16.to_le_bytes());
            cut.ledger.extend_from_slice(&(number as i64).to_le_bytes());
            cut.ledger.push(rest);
            cut.ledger.extend_from_slice(&i64::from(rest).to_le_bytes());
        }
        store.commit(&cut).unwrap();
    }
    drop(store);
    let (_, restored) = reopen(folder.path(), options);
    let counts = Model::of(&restored).ledger;
    let of = |rest: u8| counts.iter().filter(move |(key, _)| key[8] == rest).map(|(_, n)| n);
    assert_eq!((of(1).sum::<i64>(), of(2).sum::<i64>()), (2000, 4000));
    // A new base was written some dozen cuts ago.
    assert!(counts.len() < 2 * (20 + 50 + 150), "{}", counts.len());
}

/// In memory they grew until there was a new base, which may be days away where little comes.
#[test]
fn old_counts_do_not_wait_for_a_new_base_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { coarser: Some(Coarser { after: 50, grain: 100 }), ..options() };
    let (mut store, _) = Store::open(folder.path(), options).unwrap();
    for now in 0..2000_i64 {
        let mut cut = Cut::default();
        (cut.head.cut, cut.head.now) = (now as u64, now);
        cut.ledger =
            [&9_u16.to_le_bytes()[..], &now.to_le_bytes(), &[7], &1_i64.to_le_bytes()].concat();
        store.commit(&cut).unwrap();
    }
    let held = store.ledger.encode_blocks(usize::MAX).concat().len() / 19;
    assert!(held < 20 + 50 + 100, "{held}");
}

#[test]
fn what_was_committed_is_restored_across_generations() {
    for (options, cuts) in [(options(), 5), (small(), 200)] {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let (mut store, restored) = Store::open(folder.path(), options.clone()).unwrap();
        assert!(restored.is_none());
        for number in 0..cuts {
            if number % 7 == 3 {
                drop(store);
                let restored;
                (store, restored) = reopen(folder.path(), options.clone());
                assert_eq!(Model::of(&restored), model);
                assert_eq!(restored.damage, Vec::<String>::new());
            }
            let next = cut(number, 20);
            store.commit(&next).unwrap();
            model.apply(&next);
        }
        let figures = store.figures();
        assert_eq!(figures.bases_failed, 0);
        assert_eq!(figures.generation > 3, cuts == 200, "{figures:?}");
        drop(store);
        let read = ReadOnly::open(folder.path()).unwrap().unwrap();
        assert_eq!(Model::of(&read.restored), model);
        assert!(!read.live);
    }
}

/// States as they were written before, and those that were gone on with.
#[test]
fn packed_slots_with_wide_hashes_are_restored() {
    for cuts in [5, 200] {
        let options = if cuts == 5 { options() } else { small() };
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let (mut store, _) = Store::open(folder.path(), options.clone()).unwrap();
        for number in 0..cuts {
            // All of it before, then now and then a little.
            frame::before::ON.set(number < cuts / 2 || number % 5 == 0);
            if number % 7 == 3 {
                let entries = store.log_entries;
                drop(store);
                let restored;
                (store, restored) = reopen(folder.path(), options.clone());
                assert_eq!((Model::of(&restored), &restored.damage[..]), (model.clone(), &[][..]));
                assert!(store.log_entries >= entries, "{} < {entries}", store.log_entries);
            }
            let next = cut(number, 20);
            store.commit(&next).unwrap();
            model.apply(&next);
        }
        frame::before::ON.set(false);
        let figures = store.figures();
        assert_eq!((figures.bases_failed, figures.generation > 3), (0, cuts == 200));
        drop(store);
        let (_, restored) = reopen(folder.path(), options);
        assert_eq!((Model::of(&restored), restored.damage), (model, vec![]));
    }
}

#[test]
fn a_second_process_and_another_fingerprint_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path(), options()).unwrap();
    store.commit(&cut(0, 1)).unwrap();
    let error = Store::open(folder.path(), options()).err().expect("locked");
    assert_eq!(error.exit_code(), 75);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(ReadOnly::open(folder.path()).unwrap().unwrap().live);
    drop(store);
    let mut other = options();
    other.fingerprint.insert("columns".to_owned(), "age".to_owned());
    let error = Store::open(folder.path(), other).err().expect("refused");
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("columns: nothing -> age"), "{error}");
}

#[test]
fn the_background_makes_bases_without_stopping_commits() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { compaction: Compaction::Background, ..small() };
    let (mut store, _) = Store::open(folder.path(), options.clone()).unwrap();
    let mut model = Model::default();
    for number in 0..300 {
        let next = cut(number, 20);
        store.commit(&next).unwrap();
        model.apply(&next);
        if number % 50 == 49 {
            store.wait_for_base();
        }
    }
    assert!(store.figures().bases_written > 2, "{:?}", store.figures());
    drop(store);
    let (_, restored) = reopen(folder.path(), options);
    assert_eq!(Model::of(&restored), model);
}

#[test]
fn a_rebuild_keeps_the_former_state_until_it_is_passed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path(), options()).unwrap();
    store.commit(&cut(0, 3)).unwrap();
    store.commit(&cut(1, 3)).unwrap();
    drop(store);
    for _ in 0..2 {
        begin_rebuild(folder.path()).unwrap();
        let (mut store, restored) = Store::open(folder.path(), options()).unwrap();
        assert!(restored.is_none());
        assert_eq!(store.former_head().unwrap().map(|head| head.cut), Some(1));
        store.commit(&cut(0, 1)).unwrap();
    }
    let (mut store, _) = reopen(folder.path(), options());
    store.finish_rebuild().unwrap();
    assert_eq!(store.former_head().unwrap(), None);
    store.finish_rebuild().unwrap();
}
