//! New bases: what they leave out, what they notice, and that they can be stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::compact::{self, Failure, Input, Job};
use super::super::scripted::ScriptedDisk;
use super::super::*;
use super::{Model, cut, small};
use dataflows::assemble::block::{Entry, Writer};
use dataflows::record::Origin;

const DIR: &str = "/state";

/// A cut of the entries of some indexes, whose versions and bodies are those of `round`.
fn of(indexes: std::ops::Range<u64>, round: u64, held: u64) -> Cut {
    let mut made = cut(round, 0);
    made.head.held = held;
    let mut writer = Writer::default();
    for index in indexes {
        let origin = Origin { arrived_at: 1, partition: 0, position: round, sub: 0 };
        let body = (index * 31 + round).to_le_bytes();
        let entry = Entry { index, part: 0, origin, hash: index + round, body: &body };
        made.slots.extend(writer.push(&entry));
    }
    made.slots.extend(writer.finish());
    made
}

/// Commits cuts; the entries of the newest base, those behind it, and what is restored.
fn run(cuts: impl Iterator<Item = Cut>) -> (u64, u64, u64) {
    let disk = ScriptedDisk::new();
    let open = || Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small()).unwrap();
    let (mut store, mut model) = (open().0, Model::default());
    for cut in cuts {
        store.commit(&cut).unwrap();
        model.apply(&cut);
    }
    let base = store.closed.first().filter(|file| file.base).map_or(0, |file| file.entries);
    let logs = store.closed.iter().filter(|file| !file.base).map(|file| file.entries).sum::<u64>();
    let (logs, bases) = (logs + store.log_entries, store.figures().bases_written);
    drop(store);
    let (store, restored) = open();
    assert_eq!(Model::of(&restored.unwrap()), model);
    assert_eq!(store.log_entries, base + logs);
    (base, logs, bases)
}

#[test]
fn what_holds_no_longer_does_not_pile_up() {
    let (base, _, bases) = run((0..1000).map(|round| of(0..100, round, 100)));
    assert!(bases > 20 && base == 100, "{bases}: {base}");
    // A little of it stays.
    let held = |round| (round + 1) * 100;
    let grown =
        |round: u64| of((round * 100).saturating_sub(5)..(round + 1) * 100, round, held(round));
    let (base, logs, bases) = run((0..200).map(grown));
    assert!(bases > 5, "{bases}");
    assert_eq!(base + logs, 200 * 105 - 5, "nothing was picked out");
}

/// The job of putting two cuts into a base.
fn job(disk: &ScriptedDisk) -> (Job, PathBuf) {
    let never = Options { compact_first: u64::MAX, ..small() };
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), never).unwrap();
    store.commit(&of(0..100, 0, 100)).unwrap();
    store.commit(&of(100..200, 1, 200)).unwrap();
    let path = store.log.path.clone();
    let job = Job {
        disk: store.disk(),
        dir: DIR.into(),
        start: store.start(0, None),
        inputs: vec![Input { path: path.clone(), len: store.log.len }],
        head: store.head.clone(),
        ledger: store.ledger.clone(),
        entries: store.log_entries,
        stop: Arc::new(AtomicBool::new(false)),
        hurry: Arc::new(AtomicBool::new(true)),
    };
    (job, path)
}

#[test]
fn a_base_that_is_copied_notices_damage_of_what_it_copies() {
    for held in [200, 0] {
        let disk = ScriptedDisk::new();
        let (mut job, path) = job(&disk);
        job.head.held = held;
        assert_eq!(compact::run(&job).unwrap().1, 200);
        disk.damage(&path, |mut bytes| {
            let at = bytes.len() - 9;
            bytes[at] ^= 1;
            Some(bytes)
        });
        assert!(matches!(compact::run(&job), Err(Failure::Damaged(_))), "{held}");
    }
}

#[test]
fn a_base_that_nobody_wants_any_more_is_not_read_to_its_end() {
    let (job, _) = job(&ScriptedDisk::new());
    job.stop.store(true, Ordering::Relaxed);
    assert!(matches!(compact::run(&job), Err(Failure::Stopped)));
    assert!(matches!(
        compact::verify(&job, Path::new("/state/gen-000000/log"), 0),
        Err(Failure::Stopped)
    ));
}

#[test]
fn a_head_of_before_says_nothing_of_what_is_held() {
    let now = Head { held: 7, ..Head::default() };
    let mut text = serde_json::to_value(&now).unwrap();
    text.as_object_mut().unwrap().remove("held");
    let before: Head = serde_json::from_value(text).unwrap();
    assert_eq!(before.held, 0);
    let mut merged = now.clone();
    merged.merge(&before);
    assert_eq!(merged.held, 7);
}
