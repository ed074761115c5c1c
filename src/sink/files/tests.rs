//! A small engine over the scripted disk: cleaned rows and dead letters stand there exactly once,
//! whatever is cut off, full, or damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dataflows::record::Reason;
use dataflows::sealed::{CleanRows, Reject};

use super::*;
use crate::sink::{Begin, Sink};
use crate::store::dead::{DeadLetters, Letter};
use crate::store::scripted::{Dice, Fault, ScriptedDisk};
use crate::store::{Compaction, Cut, Options, Restored, Store, StoreError};

const STATE: &str = "/state";
const OUT: &str = "/out";
const PARTITIONS: u32 = 2;
const RECORDS: u64 = 60;

fn partitions() -> Vec<Partition> {
    let name = |n| Partition { source: "files".into(), name: format!("a, \"{n}\".jsonl") };
    (0..PARTITIONS).map(name).collect()
}

fn config(csv: bool) -> config::FilesSink {
    config::FilesSink {
        dir: PathBuf::from(OUT),
        csv,
        rotate_bytes: 700,
        rotate_interval: Duration::from_hours(1),
    }
}

fn row(csv: bool, partition: u32, position: u64, sub: u32) -> String {
    let name = &partitions()[partition as usize].name;
    if csv {
        let name = name.replace('"', "\"\"");
        return format!("{position},\"x\ny\",files,\"{name}\",{position},{sub},t\n");
    }
    let name = serde_json::to_string(name).expect("text");
    format!(
        "{{\"ind\":{position},\"_source\":\"files\",\"_partition\":{name},\
         \"_position\":{position},\"_sub\":{sub},\"_arrived_at\":\"t\"}}\n"
    )
}

/// What is at a position: a reject, or one or two rows of a table.
fn record(csv: bool, partition: u32, position: u64) -> Result<CleanRows, Reject> {
    if position % 5 == 2 {
        let payload = vec![b'x', position as u8, 0xff * (position % 2) as u8];
        let (sub, reason, arrived_at) = (0, Reason::NotJson, position as i64);
        return Err(Reject { partition, position, sub, arrived_at, reason, payload, rule: None });
    }
    let mut rows = CleanRows { table: (position % 3) as u8, partition, ..CleanRows::default() };
    for sub in 0..=(position % 2) as u32 {
        rows.bytes.extend(row(csv, partition, position, sub).bytes());
        rows.ends.push((position, sub, rows.bytes.len() as u32));
    }
    Ok(rows)
}

struct Engine {
    store: Store,
    sink: FilesSink,
    letters: DeadLetters,
    positions: BTreeMap<u32, u64>,
    cut: Cut,
    next: u64,
}

/// What can end a run.
#[derive(Debug)]
enum Ended {
    Store(StoreError),
    Sink(SinkError),
}

impl From<StoreError> for Ended {
    fn from(e: StoreError) -> Self {
        Ended::Store(e)
    }
}

impl From<SinkError> for Ended {
    fn from(e: SinkError) -> Self {
        Ended::Sink(e)
    }
}

impl Ended {
    fn is_transient(&self) -> bool {
        match self {
            Ended::Store(e) => e.is_transient(),
            Ended::Sink(e) => e.is_transient(),
        }
    }
}

impl Engine {
    fn open(disk: &ScriptedDisk, csv: bool) -> Result<Self, Ended> {
        let options = Options {
            compact_min: 3000,
            compact_first: 1500,
            compaction: Compaction::Inline,
            ..Options::new(BTreeMap::new())
        };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (mut store, restored) = Store::open_on(Arc::clone(&shared), Path::new(STATE), options)?;
        let first = restored.is_none();
        let Restored { head, fell_back, .. } = restored.unwrap_or_default();
        let (letters, damage) =
            DeadLetters::open(Arc::clone(&shared), Path::new(STATE), head.marks.get("dead"), 500)?;
        assert_eq!(damage, Vec::<String>::new());
        let mut sink = FilesSink::new(config(csv), shared);
        if first {
            let mut zero = Cut::default();
            zero.head.partitions = partitions();
            store.commit(&zero)?;
        }
        let started = head.positions.values().any(|position| *position > 0);
        let mark = head.marks.get("sink");
        let name = |n: &u32| partitions().swap_remove(*n as usize);
        let place = |(n, next): (&u32, &u64)| ((name(n).source, name(n).name), *next);
        let (state, next) = (store.state_id(), &head.positions.iter().map(place).collect());
        sink.begin(&Begin { state, mark, next, started, fell_back })?;
        let next = head.cut + 1;
        Ok(Engine { store, sink, letters, positions: head.positions, cut: Cut::default(), next })
    }

    /// Reads on in epochs of `step` records; at the end everything is cut and finished.
    fn run(&mut self, csv: bool, step: u64) -> Result<(), Ended> {
        for epoch in 0.. {
            let (mut rows, mut rejects) = (Vec::new(), Vec::new());
            let mut ended = true;
            for partition in (0..PARTITIONS).rev() {
                let from = self.positions.get(&partition).copied().unwrap_or(0);
                let to = (from + step).min(RECORDS);
                ended &= from == RECORDS;
                for position in from..to {
                    match record(csv, partition, position) {
                        Ok(clean) => rows.push(clean),
                        Err(reject) => rejects.push(reject),
                    }
                }
                self.positions.insert(partition, to);
            }
            self.letters.append(&partitions(), rejects)?;
            self.sink.write(&partitions(), rows)?;
            if ended || epoch % 3 == 2 {
                let mut attempts = 0;
                loop {
                    match self.commit() {
                        Err(e) if e.is_transient() && ended && attempts < 200 => attempts += 1,
                        Err(e) if !e.is_transient() => return Err(e),
                        _ => break,
                    }
                }
            }
            if ended {
                self.sink.finish()?;
                return Ok(());
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Ended> {
        self.cut.head.cut = self.next;
        self.cut.head.positions.extend(&self.positions);
        let marks = &mut self.cut.head.marks;
        marks.insert("sink".into(), self.sink.prepare_cut()?);
        marks.insert("dead".into(), self.letters.sync()?);
        self.store.commit(&self.cut)?;
        (self.cut, self.next) = (Cut::default(), self.next + 1);
        self.letters.after_cut();
        self.sink.after_cut()?;
        Ok(())
    }
}

fn finished(disk: &ScriptedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let out = |path: &PathBuf| path.starts_with(OUT) && parse_name(&name(path)).is_some();
    let files = disk.files().into_iter().filter(out).filter(|f| !is_part(f));
    files.map(|path| (path.clone(), disk.read(&path).expect("listed"))).collect()
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// All rows once, in the order of positions; no `.part`; all dead letters once.
fn check(disk: &ScriptedDisk, csv: bool, what: &str) {
    let left = disk.files();
    assert!(!left.iter().any(|file| is_part(file)), "{what}: {left:?}");
    let files = finished(disk);
    for (number, stream) in dataflows::record::Stream::ALL.into_iter().enumerate() {
        let (table, columns) = (stream.name(), dataflows::record::table::columns(stream));
        let mut found: BTreeMap<String, Vec<(u64, u32)>> = BTreeMap::new();
        for (path, bytes) in &files {
            if !name(path).starts_with(table) {
                continue;
            }
            let mut rest = &bytes[..];
            if csv {
                let header = format!("{},_source,_partition", columns.join(","));
                assert!(rest.starts_with(header.as_bytes()), "{what}");
                rest = &rest[rows::row_len(rest, true).expect("a header")..];
            }
            while let Some(len) = rows::row_len(rest, csv) {
                let origin = rows::provenance(&rest[..len], csv).expect("a whole row");
                let place = (origin.position, origin.sub);
                found.entry(origin.partition.into_owned()).or_default().push(place);
                rest = &rest[len..];
            }
            assert!(rest.is_empty(), "{what}: {} has a torn end", path.display());
        }
        for (partition, place) in partitions().iter().zip(0..) {
            let rows = (0..RECORDS).filter_map(|at| record(csv, place, at).ok());
            let expected: Vec<(u64, u32)> = rows
                .filter(|rows| usize::from(rows.table) == number)
                .flat_map(|rows| rows.ends.into_iter().map(|(position, sub, _)| (position, sub)))
                .collect();
            assert_eq!(found.get(&partition.name), Some(&expected), "{what}: {table}");
        }
    }
    let engine = Engine::open(disk, csv).expect(what);
    let letters: Vec<Letter> = engine.letters.list().expect(what).map(|l| l.expect(what)).collect();
    let places = |number: u32| {
        let partition = &partitions()[number as usize].name;
        let of = letters.iter().filter(|letter| letter.partition == *partition);
        of.map(|letter| letter.position).collect::<Vec<u64>>()
    };
    let expected: Vec<u64> = (0..RECORDS).filter(|at| at % 5 == 2).collect();
    assert_eq!((places(0), places(1)), (expected.clone(), expected), "{what}");
}

#[test]
fn every_operation_can_be_the_last() {
    for csv in [false, true] {
        let whole = ScriptedDisk::new();
        Engine::open(&whole, csv).expect("opened").run(csv, 4).expect("to the end");
        assert!(finished(&whole).len() > 5, "{:?}", whole.files());
        check(&whole.kill(), csv, "the whole story");
        for operation in 0..whole.operations() {
            let disk = ScriptedDisk::new();
            disk.fault_at(operation, Fault::Crash);
            let ended = Engine::open(&disk, csv).and_then(|mut e| e.run(csv, 4));
            assert!(ended.is_err() && disk.crashed(), "{operation}");
            let next = if operation % 2 == 0 { disk.kill() } else { disk.power_cut(operation) };
            let what = format!("cut off at {operation}, csv {csv}");
            // What readers may have seen does not change.
            let seen = finished(&next);
            let mut engine = Engine::open(&next, csv).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            engine.run(csv, 3 + operation % 3).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            drop(engine);
            check(&next, csv, &what);
            let now = finished(&next);
            assert!(seen.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "{what}");
        }
    }
}

#[test]
fn an_older_state_writes_no_row_twice() {
    let mut survived = 0;
    'seeds: for seed in 0..80 {
        let (mut dice, csv) = (Dice(seed), seed % 2 == 0);
        let disk = ScriptedDisk::new();
        disk.fault_at(60 + dice.roll(120), Fault::Crash);
        let ended = Engine::open(&disk, csv).and_then(|mut e| e.run(csv, 2));
        let disk = disk.kill();
        let logs: Vec<PathBuf> = disk.files().into_iter().filter(|f| f.ends_with("log")).collect();
        disk.damage(logs.last().expect("a log"), |mut bytes| {
            let from = bytes.len() * dice.roll(3) as usize / 4;
            bytes[from..].fill(0xee);
            Some(bytes)
        });
        let what = format!("seed {seed}, first {ended:?}");
        let seen = finished(&disk);
        let mut disk = disk;
        for crash in 0.. {
            if crash < 2 {
                disk.fault_at(30 + dice.roll(60), Fault::Crash);
            }
            let ended = Engine::open(&disk, csv).and_then(|mut e| e.run(csv, 3));
            match ended {
                Ok(()) => break,
                Err(Ended::Store(StoreError::Damaged { .. })) => continue 'seeds,
                Err(e) => assert!(crash < 2, "{what}: {e:?}"),
            }
            disk = disk.kill();
        }
        check(&disk.kill(), csv, &what);
        let now = finished(&disk);
        assert!(seen.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "{what}");
        survived += 1;
    }
    assert!(survived > 40, "{survived}");
}

/// After the state had fallen back, rows of replayed records were taken for such as are there.
#[test]
fn a_replay_after_a_fallback_writes_what_is_not_there() {
    // Whether 2 was replayed before, to where the state falls back, and what was read before that.
    let rows = |to: u64| (3..to).collect::<Vec<u64>>();
    for (replayed_before, fell_to, read) in
        [(false, 3, rows(5)), (true, 3, rows(5)), (true, 2, rows(5)), (true, 2, rows(3))]
    {
        let disk = ScriptedDisk::new();
        // A start of the sink as the state has read up to a position, with what it is given.
        let start = |mark: Option<&Value>, to: u64, fell_back: bool, given: &[&[u64]]| {
            let config = config::FilesSink { rotate_bytes: 1 << 20, ..config(false) };
            let mut sink = FilesSink::new(config, Arc::new(disk.clone()));
            let name = partitions().swap_remove(0);
            let (state, next) = ("s", &BTreeMap::from([((name.source, name.name), to)]));
            let begin = Begin { state, mark, next, started: to > 0, fell_back };
            sink.begin(&begin).expect("its own folder");
            let mut marks = Vec::new();
            for positions in given {
                let mut rows = CleanRows::default();
                for position in *positions {
                    rows.bytes.extend(row(false, 0, *position, 0).bytes());
                    rows.ends.push((*position, 0, rows.bytes.len() as u32));
                }
                sink.write(&partitions(), vec![rows]).expect("there is room");
                marks.push(sink.prepare_cut().expect("there is room"));
                sink.after_cut().expect("there is room");
            }
            marks
        };
        // 2 is rejected at first.
        let again: &[&[u64]] = if replayed_before { &[&[2]] } else { &[] };
        let marks = start(None, 0, false, &[&[0, 1][..], &read[..]]);
        start(marks.last(), 3 + read.len() as u64, false, again);
        let marks = start(marks.first(), fell_to, true, &[&[3, 4]]);
        let marks = start(marks.last(), 5, false, &[&[2]]);
        start(marks.last(), 5, false, &[&[5]]);
        let text = disk.read(&PathBuf::from(OUT).join("pin-000000.jsonl.part")).expect("there");
        let text = String::from_utf8(text).expect("rows");
        let inds = text.lines().map(|line| line[7..8].parse().expect("a digit"));
        let mut inds: Vec<u64> = inds.collect();
        inds.sort_unstable();
        assert_eq!(inds, [0, 1, 2, 3, 4, 5], "{replayed_before} {fell_to} {read:?}");
    }
}

#[test]
fn a_full_disk_passes_without_a_restart() {
    for from in 0..40 {
        let disk = ScriptedDisk::new();
        let mut engine = Engine::open(&disk, false).expect("opened");
        for operation in 0..20 {
            disk.fault_at(disk.operations() + from * 4 + operation, Fault::Full);
        }
        engine.run(false, 2).expect("there is room again");
        drop(engine);
        check(&disk.kill(), false, &format!("full from {from}"));
    }
}

/// It went unnoticed until the stop, and with it all rows since.
#[test]
fn a_file_that_is_taken_away_while_it_is_written_ends_the_run_at_the_next_cut() {
    for replaced in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let part = dir.path().join("out/pin-000000.jsonl.part");
        let config = config::FilesSink { dir: dir.path().join("out"), ..config(false) };
        let mut sink = FilesSink::new(config, Arc::new(crate::store::disk::RealDisk));
        let next = &BTreeMap::new();
        let begin = Begin { state: "s", mark: None, next, started: false, fell_back: false };
        sink.begin(&begin).expect("a new folder");
        sink.write(&partitions(), vec![record(false, 0, 0).expect("rows")]).expect("there is room");
        sink.prepare_cut().expect("it is there");
        sink.after_cut().expect("it is there");
        std::fs::remove_file(&part).expect("there");
        if replaced {
            std::fs::write(&part, "").expect("written");
        }
        let error = sink.prepare_cut().expect_err("it is noticed");
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("out/pin-000000.jsonl.part was taken away"), "{error}");
    }
}

#[test]
fn a_file_is_due_at_its_age_and_closed_by_the_next_cut() {
    let disk = ScriptedDisk::new();
    let config = config::FilesSink { rotate_interval: Duration::ZERO, ..config(false) };
    let mut sink = FilesSink::new(config, Arc::new(disk.clone()));
    let next = &BTreeMap::new();
    let begin = Begin { state: "s", mark: None, next, started: false, fell_back: false };
    sink.begin(&begin).expect("a new folder");
    assert!(sink.due().is_none(), "there is nothing");
    sink.write(&partitions(), vec![record(false, 0, 0).expect("rows")]).expect("there is room");
    sink.flush(0).expect("there is room");
    assert!(sink.due().is_some_and(|due| due <= Instant::now()));
    sink.prepare_cut().expect("there is room");
    sink.after_cut().expect("there is room");
    assert!(sink.due().is_none() && finished(&disk).len() == 1, "{:?}", disk.files());
}

#[test]
fn another_states_folder_is_refused() {
    let disk = ScriptedDisk::new();
    Engine::open(&disk, false).expect("opened").run(false, 4).expect("to the end");
    let begin = |config: config::FilesSink, state: &str, started: bool| {
        let mut sink = FilesSink::new(config, Arc::new(disk.clone()));
        let begin = Begin { state, mark: None, next: &BTreeMap::new(), started, fell_back: false };
        sink.begin(&begin).map_err(|e| (e.exit_code(), e.to_string()))
    };
    let (code, text) = begin(config(false), "another", false).expect_err("refused");
    assert!(code == 78 && text.contains("another state"), "{text}");
    let new = config::FilesSink { dir: "/new".into(), ..config(false) };
    let (code, text) = begin(new.clone(), "s", true).expect_err("refused");
    assert!(code == 78 && text.contains("is new to a state"), "{text}");
    begin(new.clone(), "s", false).expect("a new folder for a new state");
    begin(new.clone(), "s", false).expect("the same again");
    let (code, text) = begin(config::FilesSink { csv: true, ..new }, "s", false).expect_err("csv");
    assert!(code == 78 && text.contains("jsonl"), "{text}");
    disk.damage(&sidecar(Path::new(OUT)), |_| None);
    let (code, text) = begin(config(false), "s", false).expect_err("refused");
    assert!(code == 78 && text.contains("not those of this state"), "{text}");
}
