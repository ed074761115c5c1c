//! Files that are renamed, and others that come in their place.

use super::super::common::Counts;
use super::super::known::Known;
use super::super::scan::{Packing, Seen};
use super::*;

/// A time on the clock that files are written long before; microseconds since 1970-01-01 UTC.
const FAR: i64 = 4_000_000_000_000_000;

#[test]
fn a_file_is_itself_by_inode_and_head() {
    let place = Place::new();
    place.put("log.jsonl", "{\"n\":1}\n");
    let mut run = place.start(false, None).expect("readable");
    let changed = |run: &Run| run.source.counters()["files_changed"];
    // Rotation: the old file goes on under its name, the new one is a new partition.
    fs::rename(place.path("log.jsonl"), place.path("log.1.jsonl")).expect("rename");
    place.append("log.1.jsonl", "{\"n\":2}\n");
    place.put("log.jsonl", "{\"new\":1}\n");
    assert_eq!(run.go().expect("ok"), 2);
    let name = place.name("log.jsonl");
    assert_eq!(run.positions, BTreeMap::from([(name.clone(), 16), (format!("{name}#2"), 10)]));
    assert_eq!(changed(&run), 0);
    // A copy to the same place is the same file, here and over a restart.
    let copy = fs::read(place.path("log.jsonl")).expect("there");
    fs::remove_file(place.path("log.jsonl")).expect("there");
    place.put("log.jsonl", [copy, b"{\"new\":2}\n".to_vec()].concat());
    let run = place.start(false, Some(&run)).expect("ok");
    assert_eq!(run.texts(), ["{\"new\":2}"]);
    assert_eq!(run.positions.len(), 2);
    // Another head, and shorter: another file.
    for content in ["{\"other\":1}\n{\"other\":1}\n{\"other\":1}\n", "{\"o\":1}\n"] {
        place.put("log.jsonl", content);
        let run = place.start(false, Some(&run)).expect("ok");
        assert!(!run.rows.is_empty());
        assert_eq!(changed(&run), 1);
        assert!(run.positions.contains_key(&format!("{name}#3")));
    }
    let refused = place.start(true, Some(&run));
    assert!(matches!(refused, Err(SourceError::Changed { .. })));
}

/// Rotated while nobody looked, and the new name says nothing: what is left is read, once.
#[test]
fn a_rotated_file_is_read_on_under_any_name() {
    for (old, rotated) in [("app.jsonl", "app.jsonl.1"), ("app.jsonl.gz", "app.jsonl.gz-old")] {
        for folder in [true, false] {
            let mut place = Place::new();
            let packed = |rows: &str| {
                if old.ends_with("gz") { gz(rows.as_bytes()) } else { rows.as_bytes().to_vec() }
            };
            if !folder {
                place.files.paths = vec![place.path(old)];
            }
            place.put(old, packed("1\n2\n"));
            let first = place.start(false, None).expect("readable");
            assert_eq!(first.texts(), ["1", "2"]);
            append_to(&place.path(old), &packed("3\n"));
            fs::rename(place.path(old), place.path(rotated)).expect("renamed");
            // By its name it is not read, and it is nothing that is known.
            place.put("other.1", "9\n");
            place.put(old, packed("4\n"));
            let mut second = place.start(false, Some(&first)).expect("readable");
            let mut texts = second.texts();
            texts.sort_unstable();
            assert_eq!(texts, ["3", "4"], "{old} {folder}");
            assert_eq!(second.go().expect("readable"), 0);
            let third = place.start(true, Some(&second)).expect("readable");
            assert_eq!(third.texts(), Vec::<String>::new());
        }
    }
}

/// Rotated between a scan and the opening: the rest of it was lost, or all of it read again.
#[test]
fn a_file_that_is_rotated_before_it_is_opened_is_read_on() {
    for (old, rotated) in [("app.jsonl", "app.jsonl.1"), ("app.jsonl.gz", "app.1.jsonl.gz")] {
        let packed = |rows: &str| match rows {
            "" => Vec::new(),
            rows if old.ends_with("gz") => gz(rows.as_bytes()),
            rows => rows.as_bytes().to_vec(),
        };
        for new in [["", ""], ["4\n", "5\n"], ["1\n", "6\n"]] {
            let place = Place::new();
            place.put(old, packed("1\n2\n"));
            place.now.store(FAR, Ordering::Relaxed);
            let mut run = place.started(false, None).expect("nothing to take back");
            for (more, new) in ["", "3\n"].into_iter().zip(new) {
                if !more.is_empty() {
                    // It is closed once it has long been still.
                    place.now.fetch_add(3_600_000_000, Ordering::Relaxed);
                    assert_eq!(run.read().expect("readable"), 0);
                    append_to(&place.path(rotated), &packed(more));
                    fs::rename(place.path(rotated), place.path(old)).expect("renamed");
                }
                run.look().expect("readable");
                fs::rename(place.path(old), place.path(rotated)).expect("renamed");
                place.put(old, packed(new));
                assert_eq!(run.read().expect("readable"), 0, "nobody knows where it is");
                run.go().expect("readable");
                fs::remove_file(place.path(old)).expect("there");
            }
            let mut texts = run.texts();
            texts.sort_unstable();
            let mut want = ["1", "2", "3"].to_vec();
            want.extend(new.map(str::trim_end).iter().filter(|row| !row.is_empty()));
            want.sort_unstable();
            assert_eq!(texts, want, "{old} {new:?}");
            assert_eq!(run.source.counters()["files_changed"], 0);
        }
    }
}

/// Its reader had the old one open, of which no more came.
#[test]
fn a_copy_in_the_same_place_is_read_on_while_the_old_one_is_open() {
    for old in ["1\n", "1\n2"] {
        let place = Place::new();
        place.put("log.jsonl", old);
        let mut run = place.start(false, None).expect("readable");
        place.put("copy", "1\n2\n");
        fs::rename(place.path("copy"), place.path("log.jsonl")).expect("renamed");
        assert_eq!(run.read().expect("readable"), 0);
        run.go().expect("readable");
        run.go().expect("readable");
        assert_eq!(run.texts(), ["1", "2"], "{old:?}");
        assert_eq!(run.positions, BTreeMap::from([(place.name("log.jsonl"), 4)]));
    }
}

/// Two files of one path, of which the one that is there had another name: it was read again.
#[test]
fn a_file_that_was_renamed_over_another_is_the_same_after_a_restart() {
    let place = Place::new();
    place.put("current.jsonl", "1\n");
    place.put("previous.jsonl", "0\n");
    let mut run = place.start(false, None).expect("readable");
    fs::rename(place.path("current.jsonl"), place.path("previous.jsonl")).expect("renamed");
    place.put("current.jsonl", "2\n");
    run.go().expect("readable");
    place.append("previous.jsonl", "3\n");
    let again = place.start(false, Some(&run)).expect("readable");
    assert_eq!(again.texts(), ["3"]);
    assert!(place.start(true, Some(&again)).is_ok());
}

/// An inode is used again: of all files that had it one was asked, not the one that was rotated.
#[test]
fn a_rotated_file_is_found_among_all_that_had_its_inode() {
    let place = Place::new();
    place.put("app.jsonl", "1\n");
    let mut run = place.start(false, None).expect("readable");
    let inode = run.memos[&place.name("app.jsonl")]["ino"].clone();
    // Twelve versions, of which names are not in order of numbers (#10 before #4).
    for n in 2..13 {
        place.now.fetch_add(1, Ordering::Relaxed);
        place.put("app.jsonl", format!("{n}\n"));
        run = place.start(false, Some(&run)).expect("readable");
        assert_eq!(run.texts(), [n.to_string()]);
    }
    assert!(run.memos.len() == 12 && run.memos.values().all(|memo| memo["ino"] == inode));
    place.append("app.jsonl", "more\n");
    fs::rename(place.path("app.jsonl"), place.path("app.jsonl.1")).expect("renamed");
    let run = place.start(false, Some(&run)).expect("readable");
    assert_eq!(run.texts(), ["more"]);
}

/// A file that grew, and was read on, between a scan's look at it and this one was taken for
/// another file and read anew.
#[test]
fn a_file_that_is_read_beyond_what_a_scan_saw_is_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("pin.jsonl");
    std::fs::write(&path, "{\"ind\":1}\n{\"ind\":2}\n").expect("written");
    let seen = |size, modified| Seen {
        path: path.clone(),
        text: "pin.jsonl".into(),
        size,
        modified,
        renamed: false,
        inode: (1, 2),
        rule: Rule::Auto,
        packing: Packing::Plain,
        may_be_array: false,
    };
    let (mut known, counts, mut memos) = (Known::default(), Counts::default(), Memos::new());
    let mut resolve = |known: &mut Known, seen| {
        known.resolve("s", vec![seen], 1, false, &counts, &mut memos).expect("readable").0
    };
    assert_eq!(resolve(&mut known, seen(10, 1)).len(), 1);
    known.get("pin.jsonl").expect("known").shared.at.store(20, Ordering::Relaxed);
    assert!(resolve(&mut known, seen(15, 2)).is_empty());
    assert!(known.get("pin.jsonl#2").is_none());
    known.get("pin.jsonl").expect("known").shared.at.store(21, Ordering::Relaxed);
    assert_eq!(resolve(&mut known, seen(15, 3))[0].name, "pin.jsonl#2");
}
