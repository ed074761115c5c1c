//! The workload that we and others are measured on, where it is at hand: its generator, reference,
//! check, and the program that does this job alone. Without them the demo's data are read.
//!
//! From the environment: `BENCH_DIR` (their folder; default `../shared/bench`), `BENCH_DATA` (where
//! data are kept; default below the build's folder).

use std::path::{Path, PathBuf};
use std::process::Command;

use pinflow::cli::Failure;
use pinflow::cli::bench::data;

/// Where they are.
pub struct Yardstick {
    /// Their folder.
    pub dir: PathBuf,
}

impl Yardstick {
    /// Finds them; says what is left out if it cannot.
    pub fn find() -> Option<Self> {
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
        Some(Yardstick { dir })
    }

    /// What one of its scripts prints, if it ends well.
    pub fn python(&self, script: &str, args: &[&Path]) -> Option<String> {
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
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

/// A folder to read, with so many lines a stream; and the yardstick if it made it.
pub fn input(
    yardstick: Option<&Yardstick>,
    events: u64,
    seed: u64,
) -> Result<(PathBuf, Option<&Yardstick>), Failure> {
    let below = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let kept = std::env::var_os("BENCH_DATA").map_or_else(below, PathBuf::from);
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
