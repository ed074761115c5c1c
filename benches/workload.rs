//! `make bench`: the workload beside the program that is written for it alone, in one run,
//! interleaved, medians; the answers checked.
//!
//! From the environment: `BENCH_DIR` (the folder of the generator, the reference and the program;
//! default `../shared/bench`), `BENCH_EVENTS` (lines a stream, a list; default 200000),
//! `BENCH_SEEDS` (a list; default 1), `BENCH_RUNS` (default 3), `BENCH_WORKERS` (default: one a
//! core, at most 2), `BENCH_DATA` (where data are kept; default below the build's folder).
//! Without that folder or Python the demo's data are read, and what was left out is said.

#![allow(clippy::print_stdout)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinflow::cli::bench::cost::{Cost, measure, measured_on, median};
use pinflow::cli::bench::{Bench, Run, data};
use pinflow::cli::{ConfigArgs, Failure};

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

/// The yardstick: generator, reference, check and the program that does this job alone.
struct Yardstick {
    dir: PathBuf,
    limit: Option<PathBuf>,
}

impl Yardstick {
    /// Finds it, and builds the program; says what is left out.
    fn find(target: &Path) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let given = std::env::var_os("BENCH_DIR").map(PathBuf::from);
        let near = || root.ancestors().map(|a| a.join("../shared/bench")).find(|d| d.exists());
        let Some(dir) = given.or_else(near).filter(|d| d.join("gen.py").exists()) else {
            println!("left out: the generator, the reference and `limit` (BENCH_DIR is not set)");
            return None;
        };
        if !succeeds(Command::new("python3").arg("--version")) {
            println!("left out: the generator, the reference and `limit` (there is no python3)");
            return None;
        }
        let built = target.join("release/limit");
        let manifest = dir.join("limit/Cargo.toml");
        let cargo = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(target)
            .status();
        let limit = cargo.is_ok_and(|s| s.success()).then_some(built);
        if limit.is_none() {
            println!("left out: `limit` ({} cannot be built)", manifest.display());
        }
        Some(Yardstick { dir, limit })
    }

    fn python(&self, script: &str, args: &[&Path]) -> Option<String> {
        let done = Command::new("python3").arg(self.dir.join(script)).args(args).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Data of a size and a seed with their reference, made once.
    fn data(&self, dir: &Path, events: u64, seed: u64) -> bool {
        if dir.join("ref/q4.tsv").exists() {
            return true;
        }
        let (events, seed) = (events.to_string(), seed.to_string());
        let [n, s, out] = ["--events", "--seed", "--out"].map(Path::new);
        let args = [n, Path::new(&events), s, Path::new(&seed), out, dir];
        self.python("gen.py", &args).is_some() && self.python("ref.py", &[dir]).is_some()
    }

    fn check(&self, dir: &Path, out: &Path) -> String {
        match self.python("check.py", &[&dir.join("ref"), out]) {
            Some(verdict) if verdict.matches("\"ok\"").count() == 5 => "right".into(),
            Some(verdict) => format!("WRONG {}", verdict.trim()),
            None => "not checked".into(),
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

fn workload() -> Result<(), Failure> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = std::env::var_os("BENCH_DATA").map_or_else(|| tmp.join("bench"), PathBuf::from);
    let yardstick = Yardstick::find(&tmp.join("limit"));
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
            let given = yardstick.as_ref();
            let (dir, given) = input(&kept, events, seed, given)?;
            compare(&bench, &dir, given, runs, empty, &format!("{events} events, seed {seed}"))?;
        }
    }
    Ok(())
}

/// The folder to read; with the yardstick if it made it.
fn input<'a>(
    kept: &Path,
    events: u64,
    seed: u64,
    yardstick: Option<&'a Yardstick>,
) -> Result<(PathBuf, Option<&'a Yardstick>), Failure> {
    let dir = kept.join(format!("{events}-{seed}"));
    if let Some(yardstick) = yardstick {
        if yardstick.data(&dir, events, seed) {
            return Ok((dir, Some(yardstick)));
        }
        println!("left out: the generator failed; the demo's data are read");
    }
    let dir = kept.join(format!("demo-{events}-{seed}"));
    if !dir.exists() {
        data::demo(&dir, events * 3, seed)?;
    }
    Ok((dir, None))
}

fn compare(
    bench: &Bench,
    dir: &Path,
    yardstick: Option<&Yardstick>,
    runs: u64,
    empty: Option<u64>,
    title: &str,
) -> Result<(), Failure> {
    let limit = yardstick.and_then(|y| y.limit.as_ref());
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
    let verdict = |out: &Path| yardstick.map_or("not checked".into(), |y| y.check(dir, out));
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
