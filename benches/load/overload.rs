//! `make overload`: half as much again as can be kept up with, for ten minutes. The lag grows, as
//! it must; memory stays within the budget, and when the load ends the lag goes, and the answers
//! are those of a run that was never pressed.
//!
//! From the environment: `OVERLOAD_MINUTES` (default 10), `OVERLOAD_MEMORY` (the budget; default
//! 1GiB), `OVERLOAD_TIMES` (of the sustainable rate; default 1.5), `BENCH_WORKERS`. What has been
//! read of the files is given back to the disk meanwhile: it holds the lag, about 300 bytes a
//! record, 20 GB after ten minutes where 230 000 records a second are sustainable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinflow::cli::bench::cost::{measure, measured_on};
use pinflow::cli::{Failure, exit};

use super::daemon::Daemon;
use super::pool::{Pool, Pump};
use super::rate::{forget, press, sustainable, waits};

/// The metric whose answers are compared.
const METRIC: &str = "posts_by_country";
const MIB: f64 = 1_048_576.0;

fn failed(what: String, hint: &str) -> Failure {
    Failure::new(exit::SOFTWARE, what, hint)
}

/// The built-in metrics over a folder, in a folder.
fn args(dir: &Path, input: &Path, memory: &str) -> Vec<String> {
    let (input, state) = (input.display().to_string(), dir.join("state").display().to_string());
    let (workers, memory) = (super::workers().to_string(), format!("engine.memory={memory}"));
    let list = ["--config", "builtin:metrics.toml", "--input", &input, "--state", &state];
    let more = ["--workers", &workers, "--set", &memory];
    list.iter().chain(&more).map(ToString::to_string).collect()
}

pub fn run() -> Result<(), Failure> {
    let minutes: u64 = super::number("OVERLOAD_MINUTES", 10);
    let times: f64 = super::number("OVERLOAD_TIMES", 1.5);
    let memory = std::env::var("OVERLOAD_MEMORY").unwrap_or_else(|_| "1GiB".into());
    let dir = super::scratch("overload")?;
    let lines = dir.join("pool");
    let pool = Pool::new(&lines, 300_000, 5)?;
    let want = unpressed(&dir, &lines, &memory)?;
    let input = dir.join("in");
    let mut pump = Pump::new(&pool, &input, false)?;
    // All lines once, so that the same again changes no answer.
    pump.send(3)?;
    pump.finish()?;
    let pressed = dir.join("pressed");
    super::write(&pressed.join("log"), "")?;
    let mut daemon = Daemon::start(&args(&pressed, &input, &memory), &pressed.join("log"))?;
    daemon.wait("/readyz")?;
    daemon.catch_up()?;
    let rate = sustainable(&mut daemon, &mut pump)?;
    println!("{}, {} workers; sustainable: {rate:.0} records/s\n", measured_on(), super::workers());
    let began = Instant::now();
    let (sent, most) = press(&mut daemon, &mut pump, rate * times, Duration::from_mins(minutes))?;
    let pressed_seconds = began.elapsed().as_secs_f64();
    let behind = forget(&mut daemon, &pump)?;
    let status = daemon.status()?;
    let (budget, read) = (status["memory"]["budget_bytes"].as_u64(), &status["totals"]["read"]);
    println!(
        "sent {:.0} records/s for {pressed_seconds:.0} s ({sent} records); {read} were read, \
         those before it included; behind by {behind:.0} MiB; at most {:.0} MiB in memory",
        sent as f64 / pressed_seconds,
        most as f64 / MIB
    );
    let over = Instant::now();
    // Whole rounds, so that the newest version of each post is that of the lines read once.
    pump.finish()?;
    daemon.catch_up()?;
    println!("the lag was gone after {:.1} s", over.elapsed().as_secs_f64());
    let (answer, _) = daemon.wait(&format!("/api/v1/metrics/{METRIC}?format=csv"))?;
    daemon.stop()?;
    let _ = std::fs::remove_dir_all(&input);
    if behind < waits(rate) {
        let what = format!("it was not pressed: only {behind:.0} MiB waited in the end");
        return Err(failed(what, "try a greater OVERLOAD_TIMES"));
    }
    let budget = budget.unwrap_or(u64::MAX);
    if most > budget {
        let what = format!("it held {most} bytes, and the budget is {budget}");
        return Err(failed(what, "the daemon's log says when reading was held back"));
    }
    if sorted(&answer) != sorted(&want) {
        let what = format!("{METRIC} is not what a run that was not pressed gives");
        return Err(failed(what, "that is a mistake of ours"));
    }
    Ok(())
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The answer of a run over the lines to their end.
fn unpressed(dir: &Path, lines: &Path, memory: &str) -> Result<String, Failure> {
    let own: PathBuf = dir.join("unpressed");
    super::write(&own.join("log"), "")?;
    let mut all: Vec<OsString> = vec!["run".into(), "--once".into()];
    all.extend(args(&own, lines, memory).into_iter().map(OsString::from));
    all.extend(["--results".into(), own.join("out").into(), "--format".into(), "csv".into()]);
    measure(Path::new(env!("CARGO_BIN_EXE_pinflow")), &all, &own.join("log"))?;
    let path = own.join("out").join(format!("{METRIC}.csv"));
    std::fs::read_to_string(&path)
        .map_err(|e| Failure::io(format!("reading {}", path.display()), &e))
}
