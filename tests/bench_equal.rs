//! The bench's workload: the five answers of the real binary are the oracle's on several seeds
//! and sizes, and, where the bench's own generator and reference are at hand (`BENCH_DIR`, or
//! beside the project) and Python is, the reference's too.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Rules, metric};
use support::generate::{Shape, write};
use support::process::{once, pinflow};
use support::{compare, table, wire};

/// Runs the bench's declarations over a folder.
fn answers(input: &Path, dir: &Path, workers: usize) -> PathBuf {
    let out = dir.join("out");
    let mut args = once(&support::config("bench.toml"), input, &dir.join("state"));
    args.extend(["--results".into(), out.to_str().unwrap().into()]);
    args.extend(["--set".into(), format!("engine.workers={workers}")]);
    pinflow(&args).ok();
    out
}

fn check(input: &Path, out: &Path) {
    let config = support::config("bench.toml");
    let (metrics, age_groups) = metric::load(&config);
    let model = Model::new(&wire::folder(input, 0), &Rules::default());
    let now = Now { at: 0, ended: true };
    for name in ["q0", "q1", "q2", "q3", "q4"] {
        let found = metrics.iter().any(|m| m.name == name && !m.header);
        assert!(found, "{name} is declared, without a header");
    }
    compare::same_results(out, "tsv", &metrics, &model, &Columns { age_groups }, now);
}

#[test]
fn bench_answers_equal_the_oracle() {
    for (events, seed, workers) in [(60, 1, 1), (3000, 2, 2), (6000, 3, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        std::fs::create_dir(&input).unwrap();
        write(&Shape::bench(events, seed), &input);
        check(&input, &answers(&input, dir.path(), workers));
    }
}

#[test]
fn bench_answers_equal_the_oracle_on_dirty_input() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir(&input).unwrap();
    write(&Shape::dirty(5000, 4), &input);
    check(&input, &answers(&input, dir.path(), 2));
}

/// The bench's own folder, if it and Python are there.
fn bench() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = match std::env::var_os("BENCH_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => root.ancestors().map(|a| a.join("../shared/bench")).find(|d| d.exists())?,
    };
    let python = Command::new("python3").arg("--version").output().ok()?;
    (dir.join("gen.py").exists() && python.status.success()).then_some(dir)
}

fn python(script: &Path, args: &[&str]) -> String {
    let done = Command::new("python3").arg(script).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{}: {said}", script.display());
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn bench_answers_equal_the_reference_where_it_is_at_hand() {
    let Some(bench) = bench() else { return };
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    let text = input.to_str().unwrap();
    let args = ["--events", "20000", "--seed", "7", "--out", text];
    python(&bench.join("gen.py"), &args);
    python(&bench.join("ref.py"), &[text]);
    check_reference(&input);
    let out = answers(&input, dir.path(), 2);
    check(&input, &out);
    let reference = input.join("ref");
    let args = [reference.to_str().unwrap(), out.to_str().unwrap()];
    let verdict = python(&bench.join("check.py"), &args);
    for name in ["q0", "q1", "q2", "q3", "q4"] {
        assert!(verdict.contains(&format!("\"{name}\": \"ok\"")), "{verdict}");
    }
}

/// The oracle agrees with the reference, so that it may stand for it elsewhere.
fn check_reference(input: &Path) {
    let (metrics, age_groups) = metric::load(&support::config("bench.toml"));
    let model = Model::new(&wire::folder(input, 0), &Rules::default());
    let columns = Columns { age_groups };
    for metric in &metrics {
        let now = Now { at: 0, ended: true };
        let shown = oracle::rows::rows(metric, &model, &columns, now);
        let ours: Vec<_> = shown.iter().map(|r| oracle::print::cells(r, metric)).collect();
        let right = table::read(&input.join("ref").join(format!("{}.tsv", metric.name)));
        table::same(&format!("the oracle's {}", metric.name), &ours, &right);
    }
}

#[test]
fn a_bench_whose_results_are_wrong_or_whose_folder_is_not_there_fails() {
    let ended = pinflow(["bench", "--input", "nowhere"]);
    assert!(ended.code == Some(69) && ended.stderr.contains("name a folder"), "{}", ended.stderr);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("q0.tsv"), "none\t1\n").unwrap();
    let reference = dir.path().to_str().unwrap();
    let ended = pinflow(["bench", "--records", "300", "--reference", reference]);
    assert!(ended.code == Some(65) && ended.stderr.contains("differ"), "{}", ended.stderr);
    assert!(ended.stdout.contains("reference: q0.tsv\n"), "{}", ended.stdout);
    std::fs::rename(dir.path().join("q0.tsv"), dir.path().join("other.tsv")).unwrap();
    let ended = pinflow(["bench", "--records", "300", "--reference", reference]);
    assert_eq!(ended.code, Some(65), "{}", ended.stderr);
    assert!(ended.stdout.contains("other.tsv (the configuration has no"), "{}", ended.stdout);
}
