//! Cost against growth, latency under load, and a long soak, by the real daemon:
//!
//! ```text
//! cargo bench --bench load -- growth     make growth
//! cargo bench --bench load -- figures    make figures
//! cargo bench --bench load -- overload   make overload
//! cargo bench --bench load -- soak       make soak
//! ```
//!
//! Without a word it says so and does nothing: these take minutes to hours, and want the machine
//! for themselves. Each module says what it reads from the environment.

#![allow(clippy::print_stdout, clippy::print_stderr)] // what is found, and how far it is

mod curve;
mod daemon;
mod figures;
mod growth;
mod latency;
mod overload;
mod pool;
#[path = "../../tests/support/port.rs"]
mod port;
mod rate;
mod soak;
#[path = "../yardstick/mod.rs"]
mod yardstick;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use pinflow::cli::Failure;

fn main() {
    let word = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    // `cargo test --benches` wants to know only whether it starts.
    let only_starts = std::env::args().any(|a| a == "--test");
    let done = match word.as_deref() {
        Some("growth") if !only_starts => growth::run(),
        Some("figures") if !only_starts => figures::run(),
        Some("overload") if !only_starts => overload::run(),
        Some("soak") if !only_starts => soak::run(),
        _ => {
            println!("load: say which: make growth, make figures, make overload, make soak");
            Ok(())
        }
    };
    if let Err(failure) = done {
        println!("load: {failure}");
        std::process::exit(i32::from(failure.exit_code));
    }
}

/// A number that an environment variable gives, or a default.
fn number<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Workers: `BENCH_WORKERS`, or one a core, at most 2.
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    number("BENCH_WORKERS", cores.min(2))
}

/// A folder of this bench, empty.
fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)
        .map_err(|e| Failure::io(format!("creating {}", dir.display()), &e))?;
    Ok(dir)
}

/// Where curves are kept.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text))
        .map_err(|e| Failure::io(format!("writing {}", path.display()), &e))
}
