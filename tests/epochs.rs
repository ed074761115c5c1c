//! Property tests of the dataflow: random declarations over random records, duplicates,
//! amendments, sides in any order, late rows, windows that slide and retire, restarts from the last
//! cut on another number of workers. At every published epoch the results are the oracle's, which
//! recomputes them from nothing.

#![allow(clippy::unwrap_used)]

mod oracle;
mod stepping;

use std::cell::Cell;
use std::fmt::Debug;

use dataflows::metrics::declare::default_age_groups;
use dataflows::metrics::plan::Plan;
use proptest::test_runner::{Config, TestError, TestRunner};
use stepping::declared::{self, Declared, FACTS};
use stepping::script;

/// A failure in few lines: what was wrong, and the smallest case.
fn shown<T: Debug>(error: TestError<T>) -> String {
    match error {
        TestError::Fail(why, case) => format!("{}\nthe smallest case: {case:?}", why.message()),
        TestError::Abort(why) => why.message().to_string(),
    }
}

fn config(cases: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() }
}

#[test]
fn random_declarations_equal_the_oracle_at_every_published_epoch() {
    let strategy = (declared::random(), script(60));
    let run = |(texts, script)| stepping::run(&Declared::new(texts), &script);
    if let Err(error) = TestRunner::new(config(96)).run(&strategy, run) {
        panic!("{}", shown(error));
    }
}

/// Whose groups a metric is kept in shows in nothing that it says.
#[test]
fn metrics_kept_in_the_groups_of_others_equal_the_oracle() {
    let kept = Cell::new([0; 3]);
    let run = |(texts, script)| {
        let declared = Declared::new(texts);
        let plan = Plan::new(&declared.metrics, &default_age_groups(), false);
        for within in plan.metrics.iter().filter_map(|metric| metric.within.as_ref()) {
            let [windows, keys, rows] = kept.get();
            let [w, k, r] =
                [within.has_own_windows(), within.has_own_keys(), within.rows.is_some()];
            kept.set([windows + u32::from(w), keys + u32::from(k), rows + u32::from(r)]);
        }
        stepping::run(&declared, &script)
    };
    if let Err(error) = TestRunner::new(config(192)).run(&(declared::sharing(), script(60)), run) {
        panic!("{}", shown(error));
    }
    let kept = kept.get();
    assert!(kept.iter().all(|n| *n >= 10), "of other windows, keys and rows: {kept:?}");
}

#[test]
fn every_measure_over_every_window_of_every_fact_equals_the_oracle() {
    for fact in FACTS {
        let texts = declared::every(fact);
        for part in texts.chunks(48) {
            let part: Vec<String> = part.to_vec();
            let declared = Declared::new(part);
            let run = |script| stepping::run(&declared, &script);
            if let Err(error) = TestRunner::new(config(1)).run(&script(70), run) {
                panic!("{fact}: {}", shown(error));
            }
        }
    }
}
