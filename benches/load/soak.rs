//! `make soak`: a day of the demo's records in an hour. A daemon with the built-in metrics follows
//! files that grow; the records say when they were sent, 24 times as fast as the clock on the wall,
//! so that windows slide, fill and retire as in a day. Those of 24 hours are left out: they would
//! fill to the end. Memory is sampled; what it grows by beyond what goes with the bytes that
//! operators hold must not be more than the bound.
//!
//! From the environment: `PINFLOW_SOAK_MINUTES` (default 60), `PINFLOW_SOAK_RATE` (records a second
//! of the day; default 300), `PINFLOW_SOAK_SLOPE` (the bound: percent of memory an hour; default
//! 0.1), `PINFLOW_SOAK_DOCS` (where the curve goes; default `docs`), `BENCH_WORKERS`.
//!
//! A slope is over the bound if it is so by more than two standard errors: a short run is noise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinflow::cli::bench::cost::measured_on;
use pinflow::cli::{Failure, exit};
use pinflow::engine::clock::wall;
use pinflow::publish::print::rfc3339;
use serde::Serialize;
use serde_json::{Value, json};

use super::curve::Curve;
use super::daemon::Daemon;
use super::pool::{Pool, Pump};

/// The day goes so many times as fast as the clock on the wall.
const FASTER: u32 = 24;
/// Records are sent so often, and memory is looked at.
const STEP: Duration = Duration::from_millis(100);
const SAMPLE: Duration = Duration::from_secs(10);
/// At least so long windows fill, posts come for the first time, tables and the allocator find
/// their sizes; or a quarter of the run.
const WARM_UP: Duration = Duration::from_mins(5);
/// The windows that are left out.
const LONGEST: &str = "    { size = \"24h\", every = \"15min\" },\n";
const MIB: f64 = 1_048_576.0;

/// The daemon at a moment.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// Since the first record.
    seconds: f64,
    /// Of the process.
    resident_bytes: u64,
    /// What it asked its allocator for.
    allocated_bytes: u64,
    /// What its operators say they hold.
    held_bytes: u64,
    posts: u64,
    records: u64,
    /// Of these bytes, what each operator holds.
    #[serde(skip)]
    operators: BTreeMap<String, u64>,
}

pub fn run() -> Result<(), Failure> {
    let minutes: u64 = super::number("PINFLOW_SOAK_MINUTES", 60);
    let day_rate: f64 = super::number("PINFLOW_SOAK_RATE", 300.0);
    let bound: f64 = super::number("PINFLOW_SOAK_SLOPE", 0.1);
    let samples = sampled(minutes, day_rate)?;
    let from = (samples.last().map_or(0.0, |s| s.seconds) / 4.0).max(WARM_UP.as_secs_f64());
    let warm: Vec<Sample> = samples.iter().filter(|s| s.seconds >= from).cloned().collect();
    let mean = warm.iter().map(|s| s.resident_bytes as f64).sum::<f64>() / warm.len() as f64;
    let (slope, error) = slope(&warm);
    let (slope, error) = (slope / mean * 100.0, error / mean * 100.0);
    let last = samples.last().map_or(0, |s| s.records);
    println!(
        "{last} records in {minutes} min; memory {:.0} MiB after the warm-up; beyond what \
         operators hold it grows by {slope:.2} % an hour (+- {error:.2}), the bound is {bound}",
        mean / MIB
    );
    for (name, last) in samples.last().into_iter().flat_map(|s| &s.operators) {
        let first = warm.first().and_then(|s| s.operators.get(name)).unwrap_or(&0);
        let (first, last) = (*first as f64 / MIB, *last as f64 / MIB);
        if last > first + 0.5 {
            println!("{name}: {first:.1} -> {last:.1} MiB");
        }
    }
    let docs = std::env::var_os("PINFLOW_SOAK_DOCS").map_or_else(super::docs, PathBuf::from);
    let all = json!({
        "machine": measured_on(), "minutes": minutes,
        "records_a_second": day_rate * f64::from(FASTER),
        "slope_percent_an_hour": slope, "standard_error": error, "bound": bound,
        "held_at_the_end": samples.last().map(|s| &s.operators), "samples": samples,
    });
    super::write(&docs.join("soak.json"), &format!("{all}\n"))?;
    let line = |of: fn(&Sample) -> u64| {
        samples.iter().map(|s| (s.seconds / 60.0, of(s) as f64 / MIB)).collect()
    };
    let lines = [
        ("the process", line(|s| s.resident_bytes)),
        ("allocated", line(|s| s.allocated_bytes)),
        ("its operators", line(|s| s.held_bytes)),
    ];
    let title = "Memory over a day of records in an hour, MiB";
    let curve = Curve { title, x: "minutes", logarithmic: false, lines: &lines };
    super::write(&docs.join("images/soak.svg"), &curve.svg())?;
    // NaN, of too few samples, is no success either.
    if slope - 2.0 * error <= bound {
        return Ok(());
    }
    let what = format!("memory grows by {slope:.2} % an hour, which is more than {bound}");
    let hint = format!("see {}", docs.join("soak.json").display());
    Err(Failure::new(exit::SOFTWARE, what, hint))
}

/// Runs the day; a sample every ten seconds.
fn sampled(minutes: u64, day_rate: f64) -> Result<Vec<Sample>, Failure> {
    let dir = super::scratch("soak")?;
    let pool = Pool::new(&dir.join("pool"), 200_000, 7)?;
    let input = dir.join("in");
    let mut pump = Pump::new(&pool, &input, false)?;
    let config = dir.join("soak.toml");
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/metrics.toml");
    let metrics = std::fs::read_to_string(&built_in)
        .map_err(|e| Failure::io(format!("reading {}", built_in.display()), &e))?;
    let text = format!(
        "[engine]\nclock = \"arrival\"\n[source.files]\npaths = [{:?}]\n\
         arrival_field = \"sent_at\"\n\n{}",
        input.display().to_string(),
        metrics.replace(LONGEST, "")
    );
    super::write(&config, &text)?;
    let (workers, state) = (super::workers().to_string(), dir.join("state"));
    let args = ["--config", &config.display().to_string(), "--workers", &workers, "--state"];
    let mut args = args.map(str::to_owned).to_vec();
    args.push(state.display().to_string());
    let mut daemon = Daemon::start(&args, &dir.join("log"))?;
    daemon.wait("/readyz")?;
    let (began, length) = (Instant::now(), Duration::from_mins(minutes));
    // The day ends now: arrival times far beyond the clock on the wall would not move it.
    let start = wall() - (length * FASTER).as_micros() as i64;
    let mut samples = Vec::new();
    let mut owed = 0.0;
    for n in 0.. {
        let due = STEP * n;
        if due >= length {
            break;
        }
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let sent_at = start + (due * FASTER).as_micros() as i64;
        pump.tail = format!(",\"sent_at\":\"{}\"}}", rfc3339(sent_at));
        owed += day_rate * f64::from(FASTER) * STEP.as_secs_f64();
        owed -= pump.send(owed as u64)? as f64;
        if n > 0 && due.as_millis().is_multiple_of(SAMPLE.as_millis()) {
            samples.push(sample(&mut daemon, began)?);
        }
    }
    daemon.catch_up()?;
    samples.push(sample(&mut daemon, began)?);
    daemon.stop()?;
    Ok(samples)
}

fn sample(daemon: &mut Daemon, began: Instant) -> Result<Sample, Failure> {
    let status = daemon.status()?;
    let list = status["operators"].as_array().cloned().unwrap_or_default();
    let one = |o: &Value| Some((o["name"].as_str()?.to_owned(), o["bytes"].as_u64()?));
    let operators: BTreeMap<String, u64> = list.iter().filter_map(one).collect();
    Ok(Sample {
        seconds: began.elapsed().as_secs_f64(),
        resident_bytes: daemon.resident(),
        allocated_bytes: daemon.metric("pinflow_memory_allocated_bytes")? as u64,
        held_bytes: operators.values().sum(),
        posts: status["posts"]["held"].as_u64().unwrap_or(0),
        records: status["totals"]["read"].as_u64().unwrap_or(0),
        operators,
    })
}

/// How steeply memory grows with time, bytes an hour, and the standard error of that, by least
/// squares of memory = a + b held + c time: what operators hold explains its part of it, with
/// whatever the allocator adds to a byte that is held.
fn slope(samples: &[Sample]) -> (f64, f64) {
    let n = samples.len() as f64;
    let centred = |of: fn(&Sample) -> f64| -> Vec<f64> {
        let mean = samples.iter().map(of).sum::<f64>() / n;
        samples.iter().map(|s| of(s) - mean).collect()
    };
    let time = centred(|s| s.seconds / 3600.0);
    let held = centred(|s| s.held_bytes as f64);
    let memory = centred(|s| s.resident_bytes as f64);
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (tt, th, hh) = (sum(&time, &time), sum(&time, &held), sum(&held, &held));
    let (tm, hm) = (sum(&time, &memory), sum(&held, &memory));
    let most = samples.iter().map(|s| s.held_bytes).max().unwrap_or(0) as f64;
    // What does not move explains nothing.
    let still = (hh / n).sqrt() < most / 200.0;
    let det = tt * hh - th * th;
    let (slope, factor, spread) = if still {
        (tm / tt, 0.0, 1.0 / tt)
    } else {
        ((tm * hh - hm * th) / det, (hm * tt - tm * th) / det, hh / det)
    };
    let rest = |n: usize| memory[n] - slope * time[n] - factor * held[n];
    let squares: f64 = (0..samples.len()).map(|n| rest(n).powi(2)).sum();
    (slope, (squares / (n - 3.0) * spread).sqrt())
}
