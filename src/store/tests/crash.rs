//! A process cut off at every operation, by a kill and by the power; full disks and failed syncs.

use std::path::Path;
use std::sync::Arc;

use super::super::scripted::{Dice, Fault, ScriptedDisk};
use super::super::*;
use super::{Model, cut, small};

const DIR: &str = "/state";
const CUTS: u64 = 30;

/// What was asked for and what was confirmed, as models after each cut.
struct Story {
    after: Vec<Model>,
    confirmed: Option<u64>,
}

/// How many seeds to try; `PINFLOW_SEEDS` says otherwise.
fn seeds(usual: u64) -> u64 {
    std::env::var("PINFLOW_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Commits cuts until the end or the crash.
fn commit_all(disk: &ScriptedDisk, story: &mut Story) {
    let Ok((mut store, _)) = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small()) else {
        return;
    };
    let from = story.confirmed.map_or(0, |cut| cut + 1);
    for number in from..CUTS {
        if store.commit(&cut(number, 25)).is_err() {
            return;
        }
        story.confirmed = Some(number);
    }
}

fn models() -> Vec<Model> {
    let mut model = Model::default();
    let step = |number| {
        model.apply(&cut(number, 25));
        model.clone()
    };
    (0..CUTS).map(step).collect()
}

/// Opens what is left and compares: nothing confirmed is missing, nothing is half there, and a
/// mere crash is no damage.
fn check(disk: &ScriptedDisk, story: &mut Story, what: &str) {
    let opened = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
    let (store, restored) = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
    let Some(restored) = restored else {
        assert_eq!(story.confirmed, None, "{what}: nothing is left");
        return;
    };
    assert_eq!(restored.damage, Vec::<String>::new(), "{what}");
    let (found, confirmed) = (restored.head.cut, story.confirmed);
    let next = confirmed.map_or(0, |cut| cut + 1);
    assert!(Some(found) == confirmed || found == next, "{what}: {found}, not {confirmed:?}");
    assert_eq!(Model::of(&restored), story.after[found as usize], "{what}");
    assert_eq!(store.head().cut, found);
    story.confirmed = Some(found);
}

#[test]
fn every_operation_can_be_the_last() {
    let after = models();
    let whole = ScriptedDisk::new();
    let mut story = Story { after: after.clone(), confirmed: None };
    commit_all(&whole, &mut story);
    assert_eq!(story.confirmed, Some(CUTS - 1));
    check(&whole.kill(), &mut story, "the whole story");
    let operations = whole.operations();
    assert!(operations > 250, "{operations}");
    for operation in 0..operations {
        let disk = ScriptedDisk::new();
        disk.fault_at(operation, Fault::Crash);
        let mut story = Story { after: after.clone(), confirmed: None };
        commit_all(&disk, &mut story);
        assert!(disk.crashed());
        let killed = Story { after: after.clone(), confirmed: story.confirmed };
        check(&disk.kill(), &mut { killed }, &format!("killed at {operation}"));
        for seed in 0..2 {
            let what = format!("power cut {seed} at {operation}");
            let left = disk.power_cut(operation * 31 + seed);
            let mut story = Story { after: after.clone(), confirmed: story.confirmed };
            check(&left, &mut story, &what);
            if operation % 11 == seed {
                commit_all(&left, &mut story);
                assert_eq!(story.confirmed, Some(CUTS - 1), "{what}");
                check(&left.power_cut(seed), &mut story, &format!("{what}, again"));
            }
        }
    }
}

#[test]
fn crash_after_crash_loses_nothing() {
    let after = models();
    for seed in 0..seeds(60) {
        let mut dice = Dice(seed);
        let mut disk = ScriptedDisk::new();
        let mut story = Story { after: after.clone(), confirmed: None };
        for crash in 0.. {
            disk.fault_at(dice.roll(120), Fault::Crash);
            commit_all(&disk, &mut story);
            if story.confirmed == Some(CUTS - 1) || crash > 60 {
                break;
            }
            let roll = dice.roll(1 << 32);
            disk = if roll.is_multiple_of(3) { disk.kill() } else { disk.power_cut(roll) };
            check(&disk.copy(), &mut story, &format!("seed {seed}, crash {crash}"));
        }
    }
}

#[test]
fn a_full_disk_passes_without_a_restart() {
    let after = models();
    for from in 0..seeds(60) {
        let disk = ScriptedDisk::new();
        let open = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
        let mut store = open.expect("a new state").0;
        for operation in 0..25 {
            disk.fault_at(disk.operations() + from * 3 + operation, Fault::Full);
        }
        let mut waiting: Option<Cut> = None;
        for number in 0..CUTS {
            let mut next = cut(number, 25);
            if let Some(mut before) = waiting.take() {
                before.merge(next);
                next = before;
            }
            match store.commit(&next) {
                Ok(_) => {}
                Err(e) => {
                    assert!(e.is_transient(), "{e}");
                    waiting = Some(next);
                }
            }
        }
        if let Some(rest) = waiting {
            let stored = (0..40).any(|_| store.commit(&rest).is_ok());
            assert!(stored, "there is room again");
        }
        drop(store);
        let mut story = Story { after: after.clone(), confirmed: Some(CUTS - 1) };
        check(&disk.power_cut(from), &mut story, &format!("full from {from}"));
    }
}

#[test]
fn a_failed_sync_is_never_trusted() {
    let after = models();
    let whole = ScriptedDisk::new();
    commit_all(&whole, &mut Story { after: after.clone(), confirmed: None });
    for operation in 8..whole.operations() {
        let disk = ScriptedDisk::new();
        disk.fault_at(operation, Fault::SyncFails);
        let mut story = Story { after: after.clone(), confirmed: None };
        commit_all(&disk, &mut story);
        assert_eq!(story.confirmed, Some(CUTS - 1), "sync failed at {operation}");
        check(&disk.power_cut(operation), &mut story, &format!("sync failed at {operation}"));
    }
}

#[test]
fn a_whole_cut_needs_none_of_the_files_before() {
    let disk = ScriptedDisk::new();
    let open = || Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
    let (mut store, _) = open().expect("a new state");
    let mut model = Model::default();
    let mut number = 0;
    let mut damaged = false;
    // A log is damaged while it is being used; the next base finds it.
    while !store.needs_full() {
        store.commit(&cut(number, 25)).expect("stored");
        model.apply(&cut(number, 25));
        if number == 9 {
            let generation = store.figures().generation;
            let log = log::generation_dir(Path::new(DIR), generation).join("log");
            disk.damage(&log, |mut bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                Some(bytes)
            });
            damaged = true;
        }
        number += 1;
        assert!(number < CUTS, "the damage was not found");
    }
    assert!(damaged);
    let error = store.commit(&cut(number, 1)).expect_err("refused");
    assert!(matches!(error, StoreError::NeedsFull { .. }), "{error}");
    let mut whole = cut(number, 25);
    model.apply(&whole);
    model.whole(&mut whole);
    store.commit_full(&whole).expect("stored");
    for number in number + 1..number + 30 {
        store.commit(&cut(number, 25)).expect("stored");
        model.apply(&cut(number, 25));
    }
    drop(store);
    let (_, restored) = open().expect("a state");
    assert_eq!(Model::of(&restored.expect("restored")), model);
}

/// An engine that does all it may: merges what could not be stored, cuts whole when asked to.
#[test]
fn any_mixture_of_accidents_keeps_what_was_confirmed() {
    for seed in 0..seeds(150) {
        let mut dice = Dice(seed);
        let mut disk = ScriptedDisk::new();
        let (mut all, mut confirmed): (Model, Option<Model>) = (Model::default(), None);
        for life in 0..6 {
            let what = format!("seed {seed}, life {life}");
            let opened = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
            let (mut store, restored) = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
            let found = restored.map(|restored| {
                // A manifest that could not be written is no damage of what was stored.
                assert!(!restored.damage.iter().any(|s| s.contains("lost;")), "{what}");
                Model::of(&restored)
            });
            assert!(found == confirmed || found.as_ref() == Some(&all), "{what}");
            (all, confirmed) = (found.clone().unwrap_or_default(), found);
            let mut waiting: Option<Cut> = None;
            for _ in 0..8 {
                let accident = match dice.roll(12) {
                    0 => Fault::Crash,
                    1 | 2 => Fault::SyncFails,
                    _ => Fault::Full,
                };
                disk.fault_at(disk.operations() + dice.roll(160), accident);
            }
            for _ in 0..dice.roll(40) {
                let number = all.cut.map_or(0, |cut| cut + 1);
                let next = cut(number, dice.roll(40));
                all.apply(&next);
                let mut merged = waiting.take().unwrap_or_default();
                merged.merge(next);
                let stored = if store.needs_full() {
                    let mut whole = merged.clone();
                    all.whole(&mut whole);
                    store.commit_full(&whole)
                } else {
                    store.commit(&merged)
                };
                match stored {
                    Ok(_) => confirmed = Some(all.clone()),
                    Err(_) if disk.crashed() => break,
                    Err(_) => waiting = Some(merged),
                }
            }
            drop(store);
            let roll = dice.roll(1 << 32);
            disk = if roll.is_multiple_of(2) { disk.kill() } else { disk.power_cut(roll) };
        }
    }
}
