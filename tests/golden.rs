//! Query results of public repositories are reproduced by the real binary from their inputs:
//! every query is a declaration, run over generated wire files. `GOLDEN_DIR` names a folder of
//! further files of that form; without it the committed sample is used.

#![allow(clippy::unwrap_used)]

#[allow(unused)]
mod oracle;
mod support;

use std::fmt::Write as _;

use support::golden::{Golden, TIES, load};
use support::process::{once, pinflow};
use support::table;

#[test]
fn golden_queries_are_reproduced() {
    let mut wrong = Vec::new();
    let mut right = 0;
    for golden in load(&support::folder("GOLDEN_DIR", "golden")) {
        for (inputs, _) in golden.runs() {
            let before = wrong.len();
            let tried = run(&golden, inputs, &mut wrong);
            right += tried - (wrong.len() - before);
        }
    }
    assert!(wrong.is_empty(), "{right} right, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs the queries over some inputs; returns how many, and says which were wrong.
fn run(golden: &Golden, inputs: &[String], wrong: &mut Vec<String>) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("in")).unwrap();
    golden.write(inputs, &path("in"));
    let streams = golden.streams(inputs);
    let queries = &golden.runs()[inputs];
    let mut config = String::new();
    for (n, query) in queries.iter().enumerate() {
        for ties in TIES {
            let name = format!("m{n}_{ties}");
            write!(config, "{}", query.declaration(&name, &streams, ties)).unwrap();
        }
    }
    std::fs::write(path("config.toml"), config).unwrap();
    let mut args = once(&path("config.toml"), &path("in"), &path("state"));
    args.extend(["--results".into(), path("out").to_str().unwrap().into()]);
    args.extend(["--format".into(), "csv".into()]);
    pinflow(&args).ok();
    for (n, query) in queries.iter().enumerate() {
        let [all, first] = TIES.map(|ties| {
            let mut rows = table::read(&path("out").join(format!("m{n}_{ties}.csv")));
            assert_eq!(rows.remove(0), query.columns, "the header of {}", query.name);
            rows
        });
        if let Some(why) = query.differs(&all, &first) {
            wrong.push(format!("{} {} ({}): {why}", golden.repo, query.name, query.semantics));
        }
    }
    queries.len()
}
