//! `make growth`: what a post costs as posts grow. For every size the demo's posts are read from
//! files to the end as shipped, the state is then taken back by a daemon, and that is loaded.
//!
//! From the environment: `GROWTH_POSTS` (a list; default 100000,1000000,3000000,10000000),
//! `GROWTH_RUNS` (a size is read so often, the median counts; default 3), `GROWTH_SECONDS` (of
//! load; default 20), `GROWTH_DATA` (where data are kept; default below the build's folder),
//! `GROWTH_DOCS` (where the curves go; default `docs`), `BENCH_WORKERS`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinflow::cli::Failure;
use pinflow::cli::bench::cost::{Cost, measure, measured_on, median};
use pinflow::cli::bench::data;
use pinflow::engine::{stored_posts, stored_status};
use serde::Serialize;
use serde_json::json;

use super::curve::{Curve, Line};
use super::daemon::Daemon;
use super::latency::{self, Latency};
use super::pool::{Pool, Pump};

const MIB: f64 = 1_048_576.0;
/// The answer that a restart is timed by.
const METRIC: &str = "q0";

/// New files are found within this.
const FOUND: Duration = Duration::from_secs(2);

/// A size and what it cost.
#[derive(Clone, Debug, Serialize)]
struct Point {
    /// Posts held.
    posts: u64,
    /// Records read.
    records: u64,
    /// Seconds from the start to the end, the last manifest included.
    seconds: f64,
    /// Records a second.
    rate: f64,
    /// CPU seconds.
    cpu_seconds: f64,
    /// The most memory, bytes.
    peak_bytes: u64,
    /// The peak less that of a run over nothing, by posts.
    bytes_per_post: f64,
    /// Bytes of the state's folder at the end.
    state_bytes: u64,
    /// From the start of a daemon on this state to its first answer, which was right; seconds.
    recovery_seconds: f64,
    /// Memory of that daemon, bytes.
    resident_bytes: u64,
    /// Under half of the rate, while checkpoints go on.
    load: Latency,
}

pub fn run() -> Result<(), Failure> {
    let list = std::env::var("GROWTH_POSTS").unwrap_or_default();
    let mut sizes: Vec<u64> = list.split([',', ' ']).filter_map(|n| n.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 3_000_000, 10_000_000];
    }
    let dir = super::scratch("growth")?;
    let kept = std::env::var_os("GROWTH_DATA").map_or_else(|| dir.join("data"), PathBuf::from);
    let pool = Pool::new(&dir.join("pool"), 100_000, 99)?;
    println!("{}, {} workers\n", measured_on(), super::workers());
    println!("| posts | records/s | CPU s | peak MiB | bytes/post | recovery s | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    let empty = measured(&dir, &nothing(&dir)?)?.peak_bytes.unwrap_or(0);
    let mut points = Vec::new();
    for posts in sizes {
        let input = kept.join(posts.to_string());
        if !input.exists() {
            data::demo(&input, posts * 3, 1)?;
        }
        let point = one(&dir, &input, &pool, empty)?;
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {:.0} | {:.2} | {:.1} |",
            point.posts,
            point.rate,
            point.cpu_seconds,
            point.peak_bytes as f64 / MIB,
            point.bytes_per_post,
            point.recovery_seconds,
            point.load.p99_ms
        );
        points.push(point);
    }
    let docs = std::env::var_os("GROWTH_DOCS").map_or_else(super::docs, PathBuf::from);
    let (machine, workers) = (measured_on(), super::workers());
    let all = json!({ "machine": machine, "workers": workers, "points": points });
    super::write(&docs.join("growth.json"), &format!("{all:#}\n"))?;
    pictures(&docs.join("images"), &points)
}

fn nothing(dir: &Path) -> Result<PathBuf, Failure> {
    let input = dir.join("nothing");
    super::write(&input.join("pin.jsonl"), "")?;
    Ok(input)
}

/// The arguments of a run over a folder and one that grows beside it.
fn args(dir: &Path, input: &Path) -> Result<Vec<String>, Failure> {
    let live = dir.join("live");
    std::fs::create_dir_all(&live).map_err(|e| Failure::io("creating a folder", &e))?;
    let config = dir.join("growth.toml");
    let paths = json!([input, live]);
    super::write(
        &config,
        &format!("include = [\"builtin:bench.toml\"]\n[source.files]\npaths = {paths}\n"),
    )?;
    let text = |p: &Path| p.display().to_string();
    let workers = super::workers().to_string();
    let state = text(&dir.join("state"));
    let list = ["--config", &text(&config), "--state", &state, "--workers", &workers];
    Ok(list.map(str::to_owned).to_vec())
}

/// A run to the end from nothing.
fn measured(dir: &Path, input: &Path) -> Result<Cost, Failure> {
    for part in ["state", "out", "live"] {
        let _ = std::fs::remove_dir_all(dir.join(part));
    }
    let mut all: Vec<OsString> = vec!["run".into(), "--once".into()];
    all.extend(args(dir, input)?.into_iter().map(OsString::from));
    all.extend(["--results".into(), dir.join("out").into()]);
    measure(Path::new(env!("CARGO_BIN_EXE_pinflow")), &all, &dir.join("log"))
}

fn one(dir: &Path, input: &Path, pool: &Pool, empty: u64) -> Result<Point, Failure> {
    let mut costs = Vec::new();
    for _ in 0..super::number("GROWTH_RUNS", 3).max(1) {
        costs.push(measured(dir, input)?);
    }
    let middle = |of: fn(&Cost) -> f64| median(costs.iter().map(of).collect()).unwrap_or(0.0);
    let state = dir.join("state");
    let (posts, status) = (stored_posts(&state)?, stored_status(&state)?);
    let records = status["totals"]["read"].as_u64().unwrap_or(0);
    let state_bytes = data::bytes(&state);
    let seconds = middle(|c| c.seconds);
    let peak_bytes = middle(|c| c.peak_bytes.unwrap_or(0) as f64) as u64;
    let rate = records as f64 / seconds;
    let mut daemon = Daemon::start(&args(dir, input)?, &dir.join("log"))?;
    let (answer, recovery_seconds) =
        daemon.wait(&format!("/api/v1/metrics/{METRIC}?format=csv"))?;
    same(&answer, &dir.join("out").join(format!("{METRIC}.tsv")))?;
    let resident_bytes = daemon.resident();
    let mut pump = Pump::new(pool, &dir.join("live"), true)?;
    // The files of the load are found before it begins: what it would be behind by else is more
    // than a warm-up makes good at half of the rate.
    pump.send(300)?;
    std::thread::sleep(FOUND);
    daemon.catch_up()?;
    let seconds_of_load = super::number("GROWTH_SECONDS", 20);
    let load = latency::load(&mut daemon, &mut pump, rate / 2.0, seconds_of_load)?;
    daemon.stop()?;
    Ok(Point {
        posts,
        records,
        seconds,
        rate,
        cpu_seconds: middle(|c| c.cpu_seconds.unwrap_or(0.0)),
        peak_bytes,
        bytes_per_post: peak_bytes.saturating_sub(empty) as f64 / posts.max(1) as f64,
        state_bytes,
        recovery_seconds,
        resident_bytes,
        load,
    })
}

/// The first answer after a restart is that of the run before it.
fn same(csv: &str, tsv: &Path) -> Result<(), Failure> {
    let read = std::fs::read_to_string(tsv)
        .map_err(|e| Failure::io(format!("reading {}", tsv.display()), &e))?;
    let mut want: Vec<String> = read.lines().map(str::to_owned).collect();
    // A header stands first in an answer.
    let mut got: Vec<String> = csv.lines().skip(1).map(|l| l.replace(',', "\t")).collect();
    want.sort();
    got.sort();
    if want == got {
        return Ok(());
    }
    let what = format!("the first answer was {got:?}, not {want:?}");
    Err(Failure::new(pinflow::cli::exit::SOFTWARE, what, "that is a mistake of ours"))
}

fn pictures(dir: &Path, points: &[Point]) -> Result<(), Failure> {
    let line = |of: fn(&Point) -> f64| points.iter().map(|p| (p.posts as f64, of(p))).collect();
    let memory = [
        ("peak while reading", line(|p| p.peak_bytes as f64 / MIB)),
        ("after a restart", line(|p| p.resident_bytes as f64 / MIB)),
    ];
    let shown: [(&str, &str, &[Line<'_>]); 7] = [
        ("rate", "Records a second, from files to all answers", &[("", line(|p| p.rate))]),
        ("memory", "Memory, MiB", &memory),
        ("post", "Bytes of memory a post", &[("", line(|p| p.bytes_per_post))]),
        ("latency", "Append to event at half the rate, ms: p99", &[("", line(|p| p.load.p99_ms))]),
        (
            "checkpoint",
            "A checkpoint until it is durable, ms",
            &[("", line(|p| p.load.checkpoint_seconds * 1000.0))],
        ),
        (
            "checkpoint-bytes",
            "Bytes of a checkpoint, MiB",
            &[("", line(|p| p.load.checkpoint_bytes / MIB))],
        ),
        ("recovery", "Restart to the first right answer, s", &[("", line(|p| p.recovery_seconds))]),
    ];
    for (name, title, lines) in shown {
        let curve = Curve { title, x: "posts held", logarithmic: true, lines };
        super::write(&dir.join(format!("growth-{name}.svg")), &curve.svg())?;
    }
    Ok(())
}
