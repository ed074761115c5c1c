//! `make bench`: the workload beside the program that is written for it alone, in one run,
//! interleaved, medians; the answers checked.
//!
//! From the environment, beside what [`yardstick`] reads: `BENCH_EVENTS` (lines a stream, a list;
//! default 200000), `BENCH_SEEDS` (a list; default 1), `BENCH_RUNS` (default 3), `BENCH_WORKERS`
//! (default: one a core, at most 2).

#![allow(clippy::print_stdout)]

mod yardstick;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinflow::cli::bench::cost::{Cost, measure, measured_on, median};
use pinflow::cli::bench::{Bench, Run, data};
use pinflow::cli::{ConfigArgs, Failure};
use yardstick::{Yardstick, input};

const MIB: f64 = 1_048_576.0;

fn main() {
    // `cargo test --benches` wants to know only whether it starts.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    if let Err(failure) = workload() {
        println!("workload: {failure}");
        std::process::exit(i32::from(failure.exit_code));
    }
}

fn list(name: &str, default: u64) -> Vec<u64> {
    let text = std::env::var(name).unwrap_or_default();
    let list: Vec<u64> = text.split([',', ' ']).filter_map(|p| p.parse().ok()).collect();
    if list.is_empty() { vec![default] } else { list }
}

fn workload() -> Result<(), Failure> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let yardstick = Yardstick::find();
    let limit = yardstick.as_ref().and_then(|y| limit(y, &tmp.join("limit")));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = list("BENCH_WORKERS", cores.min(2) as u64)[0] as usize;
    let runs = list("BENCH_RUNS", 3)[0];
    let scratch = tmp.join("bench-scratch");
    std::fs::create_dir_all(&scratch).map_err(|e| Failure::io("creating a folder", &e))?;
    let bench = Bench {
        program: env!("CARGO_BIN_EXE_pinflow").into(),
        config: ConfigArgs { config: vec!["builtin:bench.toml".into()], set: Vec::new() },
        workers,
        scratch: scratch.clone(),
    };
    println!("{}, {cores} cores; {workers} workers; medians of {runs}, interleaved", measured_on());
    let empty = bench.empty()?;
    for events in list("BENCH_EVENTS", 200_000) {
        for seed in list("BENCH_SEEDS", 1) {
            let (dir, given) = input(yardstick.as_ref(), events, seed)?;
            let beside = given.map(|yardstick| (yardstick, limit.as_deref()));
            compare(&bench, &dir, beside, runs, empty, &format!("{events} events, seed {seed}"))?;
        }
    }
    Ok(())
}

/// The program that does this job alone; says so if it cannot be built.
fn limit(yardstick: &Yardstick, target: &Path) -> Option<PathBuf> {
    let manifest = yardstick.dir.join("limit/Cargo.toml");
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(target)
        .status();
    if !cargo.is_ok_and(|s| s.success()) {
        println!("left out: `limit` ({} cannot be built)", manifest.display());
        return None;
    }
    Some(target.join("release/limit"))
}

/// Whether answers are those of the reference.
fn check(yardstick: &Yardstick, dir: &Path, out: &Path) -> String {
    match yardstick.python("check.py", &[&dir.join("ref"), out]) {
        Some(verdict) if verdict.matches("\"ok\"").count() == 5 => "right".into(),
        Some(verdict) => format!("WRONG {}", verdict.trim()),
        None => "not checked".into(),
    }
}

fn compare(
    bench: &Bench,
    dir: &Path,
    yardstick: Option<(&Yardstick, Option<&Path>)>,
    runs: u64,
    empty: Option<u64>,
    title: &str,
) -> Result<(), Failure> {
    let limit = yardstick.and_then(|(_, limit)| limit);
    let limit_out = bench.scratch.join("limit-out");
    let args: Vec<OsString> = vec![
        "batch".into(),
        dir.into(),
        limit_out.clone().into(),
        bench.workers.to_string().into(),
    ];
    let (mut ours, mut theirs): (Vec<Run>, Vec<Cost>) = Default::default();
    for _ in 0..runs {
        ours.push(bench.run(dir, None, empty)?);
        if let Some(limit) = limit {
            std::fs::create_dir_all(&limit_out)
                .map_err(|e| Failure::io("creating a folder", &e))?;
            theirs.push(measure(limit, &args, &bench.scratch.join("limit-log"))?);
        }
    }
    let verdict = |out: &Path| yardstick.map_or("not checked".into(), |(y, _)| check(y, dir, out));
    let (records, posts) = (ours[0].records, ours[0].posts);
    println!(
        "\n{title}: {records} records, {posts} posts, {:.0} MiB\n",
        data::bytes(dir) as f64 / MIB
    );
    println!("| program | wall s | CPU s | peak MiB | bytes/post | records/s | answers |");
    println!("|---|---|---|---|---|---|---|");
    let costs: Vec<Cost> = ours.iter().map(|r| r.cost).collect();
    let pinflow =
        row("pinflow", &costs, records, posts, empty, &verdict(&bench.scratch.join("out")));
    if theirs.is_empty() {
        return Ok(());
    }
    let other = row("limit", &theirs, records, posts, None, &verdict(&limit_out));
    let ratio = |n: usize| match (pinflow[n], other[n]) {
        (Some(a), Some(b)) if b > 0.0 => format!("{:.2}", a / b),
        _ => "-".into(),
    };
    println!("| ratio | {} | {} | {} | | | |", ratio(0), ratio(1), ratio(2));
    Ok(())
}

/// Prints a program's line; its wall time, CPU time and peak.
fn row(
    name: &str,
    costs: &[Cost],
    records: u64,
    posts: u64,
    empty: Option<u64>,
    verdict: &str,
) -> [Option<f64>; 3] {
    let middle = |of: fn(&Cost) -> Option<f64>| median(costs.iter().filter_map(of).collect());
    let wall = middle(|c| Some(c.seconds));
    let (cpu, peak) = (middle(|c| c.cpu_seconds), middle(|c| c.peak_bytes.map(|b| b as f64)));
    let held = peak.map(|p| (p - empty.unwrap_or(0) as f64) / posts.max(1) as f64);
    let cell = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
    let list: Vec<f64> = costs.iter().map(|c| c.seconds).collect();
    let least = list.iter().copied().fold(f64::MAX, f64::min);
    let most = list.iter().copied().fold(0.0, f64::max);
    println!(
        "| {name} | {} ({least:.2}..{most:.2}) | {} | {} | {} | {} | {verdict} |",
        cell(wall, 2),
        cell(cpu, 2),
        cell(peak.map(|p| p / MIB), 0),
        cell(held, 0),
        cell(wall.map(|w| records as f64 / w), 0),
    );
    [wall, cpu, peak]
}
