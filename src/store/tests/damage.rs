//! Each file of a state flipped, cut off, zeroed, removed: recovered with a sentence, or refused
//! with an explanation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::scripted::{Dice, ScriptedDisk};
use super::super::*;
use super::{Model, cut, small};

const DIR: &str = "/state";

/// A state of several generations, with the models after each cut; so many cuts, or more until the
/// manifest names every base (that one is gone which it does not, nobody can tell).
fn state(cuts: u64) -> (ScriptedDisk, Vec<Model>) {
    let disk = ScriptedDisk::new();
    let open = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
    let (mut store, _) = open.expect("a new state");
    let mut model = Model::default();
    let mut models = Vec::new();
    for number in 0.. {
        let bases = store.figures().bases_written;
        store.commit(&cut(number, 25)).expect("stored");
        model.apply(&cut(number, 25));
        models.push(model.clone());
        if number + 1 >= cuts && bases == store.figures().bases_written {
            break;
        }
    }
    drop(store);
    (disk, models)
}

type Edit = fn(Vec<u8>, &mut Dice) -> Option<Vec<u8>>;

const EDITS: [(&str, Edit); 5] = [
    ("flipped", |mut bytes, dice| {
        let at = dice.roll(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.roll(8);
        Some(bytes)
    }),
    ("cut off", |mut bytes, dice| {
        bytes.truncate(dice.roll(bytes.len() as u64) as usize);
        Some(bytes)
    }),
    ("zeroed", |mut bytes, dice| {
        let from = dice.roll(bytes.len() as u64) as usize;
        let to = (from + 1 + dice.roll(512) as usize).min(bytes.len());
        // A stretch that is zero already would be no damage.
        bytes[from] = u8::from(bytes[from] == 0);
        bytes[from + 1..to].fill(0);
        Some(bytes)
    }),
    ("emptied", |_, _| Some(Vec::new())),
    ("removed", |_, _| None),
];

fn check(disk: &ScriptedDisk, models: &[Model], what: &str) -> bool {
    let read = ReadOnly::open_on(disk, Path::new(DIR));
    let opened = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
    let (mut store, restored) = match opened {
        Ok((store, Some(restored))) => (store, restored),
        Ok((_, None)) => panic!("{what}: taken for a new state"),
        Err(e) => {
            assert_eq!(e.exit_code(), 65, "{what}: {e}");
            assert!(e.to_string().contains("--rebuild"), "{what}: {e}");
            assert_eq!(read.expect_err(what).exit_code(), 65);
            return false;
        }
    };
    let read = read.expect(what).expect(what).restored;
    assert_eq!((&read.damage, read.fell_back), (&restored.damage, restored.fell_back), "{what}");
    assert!(!restored.damage.is_empty(), "{what}: not noticed");
    let found = restored.head.cut as usize;
    assert_eq!(Model::of(&restored), models[found], "{what}");
    let lost = found + 1 < models.len();
    assert!(!lost || restored.fell_back, "{what}: {found} of {}", models.len());
    // It goes on, is whole again, and says it only once.
    let mut model = models[found].clone();
    for number in found as u64 + 1..found as u64 + 12 {
        store.commit(&cut(number, 25)).expect(what);
        model.apply(&cut(number, 25));
    }
    drop(store);
    let again = disk.power_cut(found as u64);
    let opened = Store::open_on(Arc::new(again), Path::new(DIR), small());
    let (_, restored) = opened.unwrap_or_else(|e| panic!("{what}, again: {e}"));
    let restored = restored.expect(what);
    assert_eq!(restored.damage, Vec::<String>::new(), "{what}, again");
    assert_eq!(Model::of(&restored), model, "{what}, again");
    true
}

#[test]
fn each_damaged_file_is_noticed_and_survived() {
    let mut recovered = (0, 0);
    for cuts in [4, 12, 30, 47] {
        let (whole, models) = state(cuts);
        for file in whole.files().iter().filter(|file| !file.ends_with("lock")) {
            for (name, edit) in EDITS {
                for seed in 0..if matches!(name, "emptied" | "removed") { 1 } else { 12 } {
                    let disk = whole.copy();
                    disk.damage(file, |bytes| edit(bytes, &mut Dice(seed * 977 + cuts)));
                    let what = format!("{} {name}, {seed}, {cuts} cuts", file.display());
                    recovered.0 += u32::from(check(&disk, &models, &what));
                    recovered.1 += 1;
                }
            }
        }
    }
    assert!(recovered.0 * 10 > recovered.1 * 8, "{recovered:?}");
}

#[test]
fn a_damaged_base_costs_nothing_and_is_kept_aside() {
    let (disk, models) = state(47);
    let bases: Vec<PathBuf> =
        disk.files().into_iter().filter(|file| file.ends_with("base")).collect();
    assert_eq!(bases.len(), 2, "{bases:?}");
    disk.damage(&bases[1], |mut bytes| {
        let at = bytes.len() - 60;
        bytes[at] ^= 4;
        Some(bytes)
    });
    let opened = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), small());
    let (store, restored) = opened.expect("a state");
    let restored = restored.expect("restored");
    assert_eq!(restored.head.cut + 1, models.len() as u64);
    assert_eq!(Some(&Model::of(&restored)), models.last());
    assert!(!restored.fell_back);
    assert!(restored.damage.last().is_some_and(|s| s.starts_with("nothing is lost")));
    drop(store);
    let aside = aside_folder(Path::new(DIR));
    assert!(disk.files().iter().any(|file| file.starts_with(&aside)));
}

#[test]
fn both_generations_lost_is_explained() {
    let (disk, _) = state(47);
    for file in disk.files().iter().filter(|f| f.ends_with("base") || f.ends_with("log")) {
        disk.damage(file, |_| Some(vec![7; 100]));
    }
    let error = Store::open_on(Arc::new(disk), Path::new(DIR), small()).err().expect("refused");
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("generation"), "{error}");
}

/// It was said to have "neither a base nor a log", though its log was there and damaged.
#[test]
fn a_single_log_that_is_damaged_at_its_head_is_named() {
    for (byte, says) in [(0, "its log is damaged: its beginning is damaged"), (9, "its log")] {
        let disk = ScriptedDisk::new();
        let open = Store::open_on(Arc::new(disk.clone()), Path::new(DIR), super::options());
        let (mut store, _) = open.expect("a new state");
        for number in 0..3 {
            store.commit(&cut(number, 9)).expect("stored");
        }
        drop(store);
        let log = generation_path(Path::new(DIR), 0).join("log");
        disk.damage(&log, |mut bytes| {
            bytes[byte] ^= 1;
            Some(bytes)
        });
        let open = Store::open_on(Arc::new(disk), Path::new(DIR), super::options());
        let error = open.err().expect("refused");
        assert_eq!(error.exit_code(), 65, "{error}");
        let said = error.to_string();
        assert!(said.contains("generation 0") && said.contains(says), "{said}");
        assert!(said.contains("it has no base") && !said.contains("neither"), "{said}");
    }
}

#[test]
fn a_later_format_is_refused_not_damaged() {
    let (disk, _) = state(4);
    let manifest = Path::new(DIR).join(manifest::NAME);
    let later = manifest::FORMAT + 1;
    let text = format!(r#"{{"format": {later}, "all": "new"}}"#);
    disk.damage(&manifest, |_| Some(text.into_bytes()));
    let error = Store::open_on(Arc::new(disk), Path::new(DIR), small()).err().expect("refused");
    assert!(matches!(error, StoreError::Format { found, .. } if found == later), "{error}");
    assert_eq!(error.exit_code(), 78);
}
