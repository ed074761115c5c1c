//! `pinflow bench`: what this machine makes of a workload. The real binary reads files to their
//! end with durable state on, as often as asked, and what it took is printed.
//!
//! Limits: CPU time and peak memory are read from `/proc`; without it they are not shown. Bytes
//! per post are the peak less that of a run over nothing, by posts.

pub mod cost;
pub mod data;
mod print;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::cost::Cost;
use super::{BenchArgs, ConfigArgs, Failure, ReportFormat, exit};
use crate::config::{Env, load};

/// What is measured where nothing is said.
const CONFIG: &str = "builtin:bench.toml";

/// A folder that is gone when this is.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder among the system's temporary ones.
    pub fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("pinflow-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .map_err(|e| Failure::io(format!("creating {}", dir.display()), &e))?;
        Ok(Scratch(dir))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies where the system clears up by itself.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run took, and what it left.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Seconds, CPU seconds, peak memory.
    #[serde(flatten)]
    pub cost: Cost,
    /// Records read.
    pub records: u64,
    /// Of these so many were rejected.
    pub rejected: u64,
    /// Posts held at the end.
    pub posts: u64,
    /// Records a second.
    pub records_per_second: f64,
    /// The peak less that of a run over nothing, by posts.
    pub bytes_per_post: Option<f64>,
    /// Bytes of the state on disk at the end.
    pub state_bytes: u64,
    /// Checkpoints written.
    pub cuts: u64,
    /// Results that differ from the reference; none if there is none.
    pub wrong: Option<Vec<String>>,
}

/// All runs of a workload.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version.
    pub version: &'static str,
    /// The machine.
    pub machine: String,
    /// Cores.
    pub cores: usize,
    /// Timely workers.
    pub workers: usize,
    /// The files of the configuration, and what was set beside.
    pub config: Vec<String>,
    /// What was read.
    pub input: String,
    /// Its bytes.
    pub input_bytes: u64,
    /// Peak memory of a run over nothing, bytes.
    pub empty_peak_bytes: Option<u64>,
    /// The runs.
    pub runs: Vec<Run>,
}

/// Does what was asked; the text to print, and what is wrong if results differ from a reference.
pub fn bench(args: &BenchArgs, env: &Env) -> Result<(String, Option<Failure>), Failure> {
    let scratch = Scratch::new()?;
    let mut config = args.config.clone();
    if config.config.is_empty() {
        config.config.push(CONFIG.into());
    }
    // Bounded as it is where it is configured.
    let workers = args.workers.map(|workers| format!("engine.workers={workers}"));
    let set: Vec<String> = config.set.iter().cloned().chain(workers).collect();
    let loaded = load(&config.config, &set, env).map_err(|p| Failure::config(&p))?;
    let workers = loaded.config.engine.workers;
    for dir in args.input.iter().chain(&args.reference) {
        std::fs::read_dir(dir).map_err(|e| {
            let what = format!("reading {}: {e}", dir.display());
            Failure::new(exit::UNAVAILABLE, what, "name a folder that is there")
        })?;
    }
    let (input, what) = if let Some(dir) = &args.input {
        (dir.clone(), dir.display().to_string())
    } else {
        let dir = scratch.path().join("input");
        data::demo(&dir, args.records.get(), args.seed)?;
        (dir, format!("{} records of the demo, seed {}", args.records, args.seed))
    };
    let program =
        std::env::current_exe().map_err(|e| Failure::io("finding the program that runs", &e))?;
    let files = config.config.iter().map(|file| file.display().to_string());
    let named = files.chain(config.set.iter().map(|set| format!("--set {set}"))).collect();
    let bench = Bench { program, config, workers, scratch: scratch.path().into() };
    let empty = bench.empty()?;
    let mut runs = Vec::new();
    for _ in 0..args.runs.get() {
        runs.push(bench.run(&input, args.reference.as_deref(), empty)?);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: cost::machine(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        workers,
        config: named,
        input: what,
        input_bytes: data::bytes(&input),
        empty_peak_bytes: empty,
        runs,
    };
    let wrong = report.runs.iter().any(|r| r.wrong.as_ref().is_some_and(|wrong| !wrong.is_empty()));
    let wrong = wrong
        .then(|| Failure::new(exit::DATA, "results differ from the reference", "see which above"));
    let text = match args.format {
        ReportFormat::Text => print::text(&report),
        ReportFormat::Json => format!("{:#}\n", serde_json::json!(report)),
    };
    Ok((text, wrong))
}

/// How runs are started.
pub struct Bench {
    /// The binary.
    pub program: PathBuf,
    /// Its configuration.
    pub config: ConfigArgs,
    /// Its workers.
    pub workers: usize,
    /// Where states and results are put.
    pub scratch: PathBuf,
}

impl Bench {
    fn cost(&self, input: &Path) -> Result<Cost, Failure> {
        for part in ["state", "out"] {
            let dir = self.scratch.join(part);
            if dir.exists() {
                std::fs::remove_dir_all(&dir)
                    .map_err(|e| Failure::io(format!("clearing {}", dir.display()), &e))?;
            }
        }
        let run = ["run", "--once", "--log-format", "text"];
        let mut args: Vec<OsString> = run.map(Into::into).to_vec();
        for file in &self.config.config {
            args.extend(["--config".into(), file.into()]);
        }
        for set in &self.config.set {
            args.extend(["--set".into(), set.into()]);
        }
        args.extend(["--workers".into(), self.workers.to_string().into()]);
        args.extend(["--input".into(), input.into()]);
        args.extend(["--state".into(), self.scratch.join("state").into()]);
        args.extend(["--results".into(), self.scratch.join("out").into()]);
        cost::measure(&self.program, &args, &self.scratch.join("log"))
    }

    /// Peak memory of a run over nothing, bytes.
    pub fn empty(&self) -> Result<Option<u64>, Failure> {
        let dir = self.scratch.join("nothing");
        let write =
            std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join("pin.jsonl"), ""));
        write.map_err(|e| Failure::io(format!("writing to {}", dir.display()), &e))?;
        Ok(self.cost(&dir)?.peak_bytes)
    }

    /// One run over a folder.
    pub fn run(
        &self,
        input: &Path,
        reference: Option<&Path>,
        empty: Option<u64>,
    ) -> Result<Run, Failure> {
        let cost = self.cost(input)?;
        let state = self.scratch.join("state");
        let state_bytes = data::bytes(&state);
        let status = crate::engine::stored_status(&state)?;
        let posts = crate::engine::stored_posts(&state)?;
        let total = |name| status["totals"][name].as_u64().unwrap_or(0);
        let records = total("read");
        let held = cost.peak_bytes.zip(empty).map(|(peak, empty)| peak.saturating_sub(empty));
        let wrong = reference.map(|dir| wrong(dir, &self.scratch.join("out"))).transpose()?;
        Ok(Run {
            records,
            rejected: total("rejected"),
            posts,
            records_per_second: records as f64 / cost.seconds,
            bytes_per_post: held.filter(|_| posts > 0).map(|held| held as f64 / posts as f64),
            state_bytes,
            // The cut of the start is number 0.
            cuts: status["checkpoints"]["cut"].as_u64().unwrap_or(0) + 1,
            wrong,
            cost,
        })
    }
}

/// The files of a reference whose rows are not, in some order, those of the results; said of those
/// that have none.
fn wrong(reference: &Path, out: &Path) -> Result<Vec<String>, Failure> {
    let read = |path: &Path| -> Result<Vec<String>, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::io(format!("reading {}", path.display()), &e))?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines)
    };
    let entries = std::fs::read_dir(reference)
        .map_err(|e| Failure::io(format!("reading {}", reference.display()), &e))?;
    let mut names: Vec<OsString> = entries.flatten().map(|e| e.file_name()).collect();
    names.retain(|n| Path::new(n).extension().is_some_and(|e| e == "tsv"));
    names.sort();
    if names.is_empty() {
        let what = format!("there is no .tsv file in {}", reference.display());
        return Err(Failure::new(exit::UNAVAILABLE, what, "name the folder that holds them"));
    }
    let mut wrong = Vec::new();
    for name in names {
        let (given, made) = (reference.join(&name), out.join(&name));
        let name = name.to_string_lossy();
        if !made.exists() {
            wrong.push(format!("{name} (the configuration has no such metric)"));
        } else if read(&given)? != read(&made)? {
            wrong.push(name.into_owned());
        }
    }
    Ok(wrong)
}
