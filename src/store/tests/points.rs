//! Every named fault point, in a process of its own that really ends there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dataflows::record::Reason;
use dataflows::sealed::{CleanRows, Reject};

use super::super::dead::{DeadLetters, Letters};
use super::super::disk::RealDisk;
use super::super::*;
use super::{Model, cut, small};
use crate::config::FilesSink as Config;
use crate::sink::files::FilesSink;
use crate::sink::{Begin, Sink};

const CUTS: u64 = 25;
const FOLDER: &str = "PINFLOW_TEST_FOLDER";

fn partitions() -> Vec<Partition> {
    vec![Partition { source: "s".into(), name: "p".into() }]
}

fn row(number: u64) -> CleanRows {
    let place = format!("\"_source\":\"s\",\"_partition\":\"p\",\"_position\":{number},\"_sub\":0");
    let bytes = format!("{{\"ind\":{number},{place}}}\n").into_bytes();
    CleanRows { table: 0, partition: 0, ends: vec![(number, 0, bytes.len() as u32)], bytes }
}

/// Commits from where the state stands to the end; each number goes to `confirmed` afterwards.
fn run(folder: &Path) {
    let state = folder.join("state");
    let (mut store, restored) = Store::open(&state, small()).unwrap();
    let Restored { head, fell_back, .. } = restored.clone().unwrap_or_default();
    let from = restored.map_or(0, |restored| restored.head.cut + 1);
    let disk = store.disk();
    let (mut letters, _) =
        DeadLetters::open(Arc::clone(&disk), &state, head.marks.get("dead"), 1 << 20).unwrap();
    let (csv, rotate_bytes) = (false, 300);
    let rotate_interval = Duration::from_hours(1);
    let config = Config { dir: folder.join("out"), csv, rotate_bytes, rotate_interval };
    let mut sink = FilesSink::new(config, disk);
    let mark = head.marks.get("sink");
    let next = partitions().into_iter().map(|p| ((p.source, p.name), from)).collect();
    let (state, next, started) = (store.state_id(), &next, from > 0);
    sink.begin(&Begin { state, mark, next, started, fell_back }).unwrap();
    let mut append = std::fs::OpenOptions::new();
    let confirmed = append.append(true).create(true).open(folder.join("confirmed"));
    let mut confirmed = confirmed.unwrap();
    for number in from..CUTS {
        let (payload, reason) = (b"x".to_vec(), Reason::NotJson);
        let (partition, position, sub, arrived_at) = (0, number, 0, 0);
        let reject = Reject { partition, position, sub, arrived_at, reason, payload, rule: None };
        letters.append(&partitions(), vec![reject]).unwrap();
        sink.write(&partitions(), vec![row(number)]).unwrap();
        let mut next = cut(number, 25);
        next.head.marks.insert("sink".into(), sink.prepare_cut().unwrap());
        next.head.marks.insert("dead".into(), letters.sync().unwrap());
        store.commit(&next).unwrap();
        letters.after_cut();
        writeln!(confirmed, "{number}").unwrap();
        sink.after_cut().unwrap();
    }
    sink.finish().unwrap();
}

/// Not a test of its own: the process that ends at a fault point.
#[test]
#[ignore = "run by `each_point_can_be_the_last`"]
fn process() {
    run(&PathBuf::from(std::env::var_os(FOLDER).unwrap()));
}

fn check(folder: &Path, what: &str) {
    let confirmed = std::fs::read_to_string(folder.join("confirmed")).unwrap_or_default();
    let confirmed = confirmed.lines().last().map(|line| line.parse::<u64>().unwrap());
    let read = ReadOnly::open(&folder.join("state")).unwrap();
    let found = read.as_ref().map(|read| read.restored.head.cut);
    assert!(found >= confirmed, "{what}: {found:?} after {confirmed:?}");
    if let Some(read) = read {
        let mut model = Model::default();
        (0..=read.restored.head.cut).for_each(|number| model.apply(&cut(number, 25)));
        assert_eq!(Model::of(&read.restored), model, "{what}");
        assert_eq!(read.restored.damage, Vec::<String>::new(), "{what}");
    }
}

#[test]
fn each_point_can_be_the_last() {
    for point in fault::POINTS {
        for count in [1, 3] {
            // In memory where that is possible: a kill does not care, and syncs are many.
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let (folder, what) = (folder.path(), format!("{point}:{count}"));
            let ended = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "store::tests::points::process"])
                .env("PINFLOW_FAULT", &what)
                .env(FOLDER, folder)
                .output()
                .unwrap();
            assert!(ended.status.code().is_none() || count > 1, "{what} was not passed: {ended:?}");
            check(folder, &what);
            run(folder);
            check(folder, &what);
            let state = folder.join("state");
            let head = ReadOnly::open(&state).unwrap().unwrap().restored.head;
            let letters = Letters::of(&RealDisk, &state, head.marks.get("dead")).unwrap();
            let letters: Vec<u64> = letters.map(|letter| letter.unwrap().position).collect();
            assert_eq!(letters, (0..CUTS).collect::<Vec<_>>(), "{what}");
            let files: BTreeSet<PathBuf> = std::fs::read_dir(folder.join("out"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
                .collect();
            let rows: String =
                files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
            let expected: Vec<u8> = (0..CUTS).flat_map(|number| row(number).bytes).collect();
            assert_eq!(rows.into_bytes(), expected, "{what}");
        }
    }
}
