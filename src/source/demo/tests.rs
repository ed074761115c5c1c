//! The demo as a source: the same records whenever and from wherever they are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dataflows::batch::Batch;
use serde_json::Value;

use crate::config::{self, Demo, Rate, SourceKind};
use crate::source::{Clock, Memos, Read, Source, SourceError, build};

fn config(demo: Demo) -> config::Source {
    config::Source { name: "demo".into(), kind: SourceKind::Demo(demo), routes: Vec::new() }
}

fn demo(rate: Rate, records: Option<u64>) -> Demo {
    Demo { seed: 7, rate, indexes: 2_000, records }
}

fn clock(at: &Arc<AtomicI64>) -> Clock {
    let at = at.clone();
    Arc::new(move || at.load(Ordering::Relaxed))
}

fn started(demo: Demo, at: &Arc<AtomicI64>, memos: &Memos, next: u64) -> (Box<dyn Source>, Memos) {
    let mut source = build(&config(demo), false, clock(at)).expect("a demo");
    let positions = ["pin", "geo", "user"].map(|name| (name.to_owned(), next));
    source.restore(memos, if next > 0 { &positions } else { &[] }).expect("its own memos");
    let found = source.discover().expect("a demo is there");
    assert!(found.complete);
    (source, found.memos)
}

/// Payloads and arrival times of a stream from a record on.
fn take(source: &mut dyn Source, name: &str, at: u64, n: usize) -> Vec<(Vec<u8>, i64)> {
    let mut reader = source.open(name, 0, at).expect("a stream");
    let mut got = Vec::new();
    while got.len() < n {
        match reader.read(20_000, 100).expect("no error") {
            Read::Batch(batch) => {
                assert_eq!(batch.position(0), at + got.len() as u64);
                assert_eq!(batch.next, batch.position(0) + batch.spans.len() as u64);
                got.extend((0..batch.spans.len()).map(|i| row(&batch, i)));
            }
            _ => break,
        }
    }
    got.truncate(n);
    got
}

fn row(batch: &Batch, i: usize) -> (Vec<u8>, i64) {
    (batch.payload(i).to_vec(), batch.arrival(i))
}

#[test]
fn the_same_from_any_position() {
    let at = Arc::new(AtomicI64::new(1_000_000));
    let (mut a, memos) = started(demo(Rate::Max(3e5), None), &at, &Memos::new(), 0);
    at.store(77_000_000, Ordering::Relaxed);
    for name in ["pin", "geo", "user"] {
        let all = take(&mut *a, name, 0, 5_000);
        assert!(all.is_sorted_by_key(|r| r.1));
        for from in [0, 1, 63, 64, 999, 4_990] {
            let (mut b, more) = started(demo(Rate::Max(3e5), None), &at, &memos, from);
            assert!(more.is_empty());
            let n = (5_000 - from as usize).min(200);
            assert_eq!(take(&mut *b, name, from, n), all[from as usize..][..n], "{name} {from}");
        }
    }
}

#[test]
fn only_what_is_due_is_read_and_a_crash_is_caught_up_with() {
    let at = Arc::new(AtomicI64::new(0));
    let slow = demo(Rate::PerSecond(300.0), None);
    let (mut source, memos) = started(slow.clone(), &at, &Memos::new(), 0);
    let mut reader = source.open("pin", 0, 0).expect("pin");
    let count = |read: Read| match read {
        Read::Batch(b) => b.spans.len(),
        Read::Idle(wait) => {
            assert!(wait >= Duration::from_millis(1) && wait <= Duration::from_secs(1));
            0
        }
        Read::Pending(_) | Read::End => panic!("endless"),
    };
    for (now, want) in [(0, 1), (0, 0), (9_999, 0), (10_000, 1), (1_000_000, 99), (1_000_000, 0)] {
        at.store(now, Ordering::Relaxed);
        assert_eq!(count(reader.read(1 << 20, 1 << 20).expect("ok")), want, "at {now}");
    }
    assert_eq!(reader.end(), Some(101));
    // A crash, and a start long after: what would have come is there at once, in bounded steps.
    at.store(1_000_000_000, Ordering::Relaxed);
    let (mut again, more) = started(slow, &at, &memos, 101);
    assert!(more.is_empty());
    let mut reader = again.open("pin", 0, 101).expect("pin");
    assert_eq!(count(reader.read(1 << 30, 1 << 30).expect("ok")), 4096);
    let Ok(Read::Batch(batch)) = reader.read(1 << 30, 10) else { panic!("more is due") };
    assert_eq!(batch.arrival(0), (101 + 4096) * 10_000);
}

#[test]
fn a_stop_starts_a_new_segment_and_another_seed_is_refused() {
    let at = Arc::new(AtomicI64::new(0));
    let slow = demo(Rate::PerSecond(300.0), None);
    let (mut source, first) = started(slow.clone(), &at, &Memos::new(), 0);
    assert_eq!(first.len(), 1);
    at.store(500_000, Ordering::Relaxed);
    take(&mut *source, "pin", 0, 50);
    let stopped = source.stop();
    at.store(60_000_000, Ordering::Relaxed);
    let (mut next, opened) = started(slow.clone(), &at, &stopped, 50);
    assert_eq!(opened["schedule"]["segments"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        take(&mut *next, "pin", 50, 10).iter().map(|r| r.1).collect::<Vec<_>>(),
        [60_000_000]
    );
    for other in [Demo { seed: 8, ..slow.clone() }, Demo { indexes: 9, ..slow }] {
        let mut source = build(&config(other), false, clock(&at)).expect("a demo");
        let refused = source.restore(&opened, &[]);
        assert!(matches!(refused, Err(SourceError::Changed { .. })));
    }
}

#[test]
fn a_bounded_demo_ends() {
    let at = Arc::new(AtomicI64::new(0));
    for records in [0, 1, 2, 3, 100, 101] {
        let config = demo(Rate::Max(1e6), Some(records));
        let mut source = build(&super::tests::config(config), true, clock(&at)).expect("a demo");
        let found = source.discover().expect("there").found;
        let got: usize =
            found.iter().map(|f| take(&mut *source, &f.name, f.start, 1_000).len()).sum();
        assert_eq!(got as u64, records);
        let done = source.progress().expect("bounded");
        assert_eq!((done.done, done.total), (records, records));
    }
}

#[test]
fn believable_and_dirty() {
    let at = Arc::new(AtomicI64::new(0));
    let (mut source, _) = started(demo(Rate::Max(1e6), None), &at, &Memos::new(), 0);
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    let mut indexes = [const { std::collections::BTreeSet::new() }; 3];
    let mut distinct = std::collections::BTreeSet::new();
    for (s, name) in ["pin", "geo", "user"].into_iter().enumerate() {
        for (payload, _) in take(&mut *source, name, 0, 20_000) {
            let Ok(value) = serde_json::from_slice::<Value>(&payload) else {
                *tally.entry("not json").or_default() += 1;
                continue;
            };
            distinct.insert(payload);
            let key = ["index", "ind", "idx"].iter().find_map(|k| value[k].as_u64());
            let Some(index) = key else {
                *tally.entry("wrapped").or_default() += 1;
                continue;
            };
            assert!(index < 2_000, "a closed set");
            indexes[s].insert(index);
            let is = |field: &str, text: &str| value[field].as_str() == Some(text);
            let mut count = |what, holds: bool| *tally.entry(what).or_default() += holds as u64;
            count("title", is("title", "No Title Data Available"));
            count("story", is("description", "No description available Story format"));
            count("image", is("image_src", "Image src error."));
            count("millions", value["follower_count"].as_str().is_some_and(|f| f.ends_with('M')));
            count("old", value["age"].as_u64().is_some_and(|a| a > 50));
        }
    }
    assert!(indexes.iter().all(|set| set.len() > 1_950));
    assert!(distinct.len() < 40_000, "rows are sent again: {}", distinct.len());
    let check = |what: &str, from: u64, upto: u64| {
        let n = tally.get(what).copied().unwrap_or(0);
        assert!((from..upto).contains(&n), "{what}: {n}, expected {from}..{upto} in {tally:?}");
    };
    check("not json", 10, 100);
    check("wrapped", 200, 1_200);
    check("title", 80, 400);
    check("story", 1_000, 2_000);
    check("image", 300, 700);
    check("millions", 500, 3_000);
    check("old", 800, 3_500);
}
