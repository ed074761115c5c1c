//! What a scrape and the status say of records adds up, also beyond the bounds of labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::record::Reason;
use dataflows::sealed::Tally;

use super::expose::{MAX_PARTITIONS, scrape};
use super::status::{Motion, PartitionStatus, SAMPLE_BYTES, SAMPLES, Sample, SourceStatus, view};
use super::{Machine, Status};
use crate::config::Labels;
use crate::publish::samples::{at, change, popularity};
use crate::publish::{Place, Progress, State};

fn progress(partitions: u64) -> Progress {
    let place = |n: u64| Place {
        source: if n.is_multiple_of(3) { "a".into() } else { "b\"\\".into() },
        partition: format!("p{n}").into(),
    };
    let tally = |n: u64| Tally {
        read: 15 * n + 5,
        accepted: 5 * n + 2,
        duplicate: 4 * n + 1,
        superseded: 3 * n,
        rejected: 2 * n + 1,
        ignored: n + 1,
    };
    let mut rejected: BTreeMap<Arc<str>, [u64; Reason::ALL.len()]> = BTreeMap::new();
    for n in 0..partitions {
        let by = rejected.entry(place(n).source).or_default();
        by[n as usize % Reason::ALL.len()] += tally(n).rejected;
    }
    let mut progress = Progress {
        places: Arc::new((0..partitions).map(place).collect()),
        next: (0..partitions).map(|n| 20 * n).collect(),
        tallies: (0..partitions).map(tally).collect(),
        rejected,
        in_flight: 7,
        ..Progress::default()
    };
    progress.handed_over = progress.total().read + 7;
    progress
}

/// Sums of a family by the values of some of its labels.
fn sums(text: &str, family: &str, labels: &[&str]) -> BTreeMap<Vec<String>, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(family) else { continue };
        if !rest.starts_with(['{', ' ']) {
            continue;
        }
        let (inside, value) = rest.rsplit_once(' ').expect("a value");
        let label = |name: &&str| {
            let from = inside.find(&format!("{name}=\"")).expect("the label") + name.len() + 2;
            let end = inside[from..].find("\",").or(inside[from..].find("\"}")).expect("its end");
            inside[from..from + end].to_owned()
        };
        let key = labels.iter().map(label).collect();
        *sums.entry(key).or_default() += value.parse::<u64>().expect("an integer");
    }
    sums
}

#[test]
fn records_are_conserved_in_a_scrape() {
    for partitions in [0, 1, 5, MAX_PARTITIONS as u64 + 40] {
        let published = popularity();
        let progress = progress(partitions);
        let total = progress.total();
        published.show(at(1), Arc::new(progress), vec![change(Some("A"), "art", 1)]);
        published.set_state(State::Live);
        let labels = Labels { named: BTreeMap::new(), max_series: 9, max_series_per_metric: 9 };
        let status = Status { sources: vec![SourceStatus::default()], ..Status::default() };
        let text = scrape(&Machine::new(), &published, &status, &labels);
        let place = ["source", "partition"];
        let read = sums(&text, "pinflow_records_read_total", &place);
        assert_eq!(read, sums(&text, "pinflow_records_total", &place));
        assert!(read.len() <= MAX_PARTITIONS + 2, "{} partitions", read.len());
        let reasons = sums(&text, "pinflow_rejected_total", &["source"]);
        let outcomes = sums(&text, "pinflow_records_total", &["source", "outcome"]);
        let mut of_sources = sums(&text, "pinflow_source_records_total", &["source", "outcome"]);
        // A source of which nothing is known yet begins at 0.
        let idle = |source: &str| source == SourceStatus::default().name;
        assert_eq!(of_sources.keys().filter(|k| idle(&k[0])).count(), 5);
        of_sources.retain(|k, n| !idle(&k[0]) || *n > 0);
        assert_eq!(of_sources, outcomes);
        for (source, n) in reasons.into_iter().filter(|(source, _)| !idle(&source[0])) {
            assert_eq!(outcomes.get(&vec![source[0].clone(), "rejected".into()]), Some(&n));
        }
        let one = |family: &str| sums(&text, family, &[])[&Vec::new()];
        let handed = one("pinflow_handed_over_records");
        assert_eq!(handed, total.read + one("pinflow_in_flight_records"));
        assert_eq!(read.values().sum::<u64>(), total.read);
        assert!(text.contains("pinflow_world_category_popularity{"));
    }
}

#[test]
fn a_scrape_is_well_formed() {
    let published = popularity();
    published.show(at(1), Arc::new(progress(4)), Vec::new());
    let labels = Labels { named: BTreeMap::new(), max_series: 9, max_series_per_metric: 9 };
    let text = scrape(&Machine::new(), &published, &Status::default(), &labels);
    let mut families = std::collections::BTreeSet::new();
    let mut series = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().expect("a name");
            assert!(families.insert(name.to_owned()), "{name} twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name.to_owned()), "{line} twice");
        }
    }
    assert!(text.contains("pinflow_source_position{source=\"b\\\"\\\\\",partition=\"p1\"} 20"));
    assert!(!text.contains("pinflow_world"), "results are withheld");
}

#[test]
fn the_status_shows_lag_and_samples() {
    let mut status = Status::default();
    let known = PartitionStatus { end: Some(30), state: Motion::Moving, ..Default::default() };
    status.partitions = vec![known.clone(); 3];
    // Of a file that was replaced nothing is read any more.
    let replaced = PartitionStatus { state: Motion::Ended, ..known };
    assert_eq!((replaced.end(10), replaced.lag_seconds(10, 9)), (Some(10), Some(0.0)));
    let refused = PartitionStatus { state: Motion::Failing, ..replaced };
    assert_eq!(refused.end(10), Some(30));
    for n in 0..9u32 {
        let (payload, truncated) = Sample::shorten(&[b'x'; SAMPLE_BYTES + 1]);
        status.sample(
            Reason::Empty,
            Sample {
                source: "a".into(),
                partition: "p0".into(),
                position: n.into(),
                sub: 0,
                arrived_at: 0,
                payload,
                truncated,
            },
        );
    }
    let shown = view(&status, at(3), State::CatchingUp, &progress(4));
    assert_eq!((&shown["state"], &shown["catching_up"]), (&"catching_up".into(), &true.into()));
    let lags: Vec<_> = (0..4).map(|n| shown["partitions"][n]["lag"].clone()).collect();
    // The end that was seen is older than the position of the third; of the fourth none is known.
    assert_eq!(lags, [30.into(), 10.into(), 0.into(), serde_json::Value::Null]);
    let samples = shown["rejects"][1]["samples"].as_array().expect("samples");
    assert_eq!((samples.len(), &samples[0]["position"]), (SAMPLES, &4.into()));
    assert_eq!(samples[0]["payload"].as_str().map(str::len), Some(SAMPLE_BYTES));
    assert_eq!(samples[0]["truncated"], true);
}
