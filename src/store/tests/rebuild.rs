//! `--rebuild` cut off at every operation: the old state is there, in its place or set aside.

use std::path::Path;
use std::sync::Arc;

use super::super::scripted::{Fault, ScriptedDisk};
use super::super::*;
use super::{cut, small};

const DIR: &str = "/state";

fn open(disk: &ScriptedDisk) -> Result<(Store, Option<Restored>), StoreError> {
    Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small())
}

/// Sets aside, begins anew, passes the former state, removes it.
fn rebuild(disk: &ScriptedDisk, finish: bool) -> Result<(), StoreError> {
    begin_rebuild_on(Arc::new(disk.clone()), Path::new(DIR))?;
    let (mut store, _) = open(disk)?;
    for number in 0..3 {
        store.commit(&cut(number, 10))?;
    }
    if finish { store.finish_rebuild() } else { Ok(()) }
}

fn old() -> ScriptedDisk {
    let disk = ScriptedDisk::new();
    let (mut store, _) = open(&disk).expect("a new state");
    (0..30).for_each(|number| _ = store.commit(&cut(number, 25)).expect("stored"));
    drop(store);
    disk.kill()
}

#[test]
fn the_old_state_is_never_lost_before_it_is_passed() {
    for begun in [false, true] {
        let before = old();
        if begun {
            rebuild(&before, false).expect("begun");
        }
        let whole = before.copy();
        let first = whole.operations();
        rebuild(&whole, false).expect("to the end");
        for operation in first..whole.operations() {
            let disk = before.copy();
            disk.fault_at(operation, Fault::Crash);
            // An end in the last manifest is no error: the cut itself is stored.
            let _ = rebuild(&disk, false);
            assert!(disk.crashed(), "{operation}");
            for left in [disk.kill(), disk.power_cut(operation), disk.power_cut(operation + 999)] {
                let what = format!("cut off at {operation}, begun before: {begun}");
                let (store, restored) = open(&left).unwrap_or_else(|e| panic!("{what}: {e}"));
                let former = store.former_head().expect("readable").map(|head| head.cut);
                let here = restored.map(|restored| restored.head.cut);
                assert!(here == Some(29) || former == Some(29), "{what}: {here:?}, {former:?}");
                drop(store);
                rebuild(&left, false).unwrap_or_else(|e| panic!("{what}: {e}"));
                let (mut store, restored) = open(&left).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(restored.map(|restored| restored.head.cut), Some(2), "{what}");
                let former = store.former_head().expect("readable").map(|head| head.cut);
                assert_eq!(former, Some(29), "{what}: it was passed by nobody");
                store.finish_rebuild().unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(store.former_head().expect("readable"), None, "{what}");
            }
        }
    }
}

#[test]
fn removing_the_former_state_can_be_cut_off_anywhere() {
    let begun = old();
    rebuild(&begun, false).expect("begun");
    let begun = begun.kill();
    let finish = |disk: &ScriptedDisk| open(disk).and_then(|(mut store, _)| store.finish_rebuild());
    let whole = begun.copy();
    finish(&whole).expect("removed");
    assert!(whole.files().iter().all(|file| !file.starts_with("/state/former")));
    for operation in 0..whole.operations() {
        let disk = begun.copy();
        disk.fault_at(operation, Fault::Crash);
        let _ = finish(&disk);
        assert!(disk.crashed(), "{operation}");
        for left in [disk.kill(), disk.power_cut(operation)] {
            let (mut store, restored) = open(&left).expect("a state");
            let restored = restored.expect("restored");
            assert_eq!((restored.head.cut, restored.damage.len()), (2, 0), "{operation}");
            store.finish_rebuild().expect("removed");
            assert_eq!(store.former_head().expect("readable"), None);
        }
    }
}
