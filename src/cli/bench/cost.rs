//! What a process takes: time, CPU time, peak memory.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::{Failure, exit};

/// How often a process's peak memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a process took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Wall time.
    pub seconds: f64,
    /// CPU time of all its threads; none where the system does not say.
    pub cpu_seconds: Option<f64>,
    /// The most memory it had; none where the system does not say.
    pub peak_bytes: Option<u64>,
}

/// Runs a program to its end. What it says goes to a file, whose end is shown if it fails.
pub fn measure(program: &Path, args: &[OsString], log: &Path) -> Result<Cost, Failure> {
    let starting = || format!("starting {}", program.display());
    let file =
        File::create(log).map_err(|e| Failure::io(format!("writing {}", log.display()), &e))?;
    let before = children_cpu();
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .map_err(|e| Failure::io(starting(), &e))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_bytes = None;
    let status = loop {
        peak_bytes = peak(&status_file).or(peak_bytes);
        match child.try_wait().map_err(|e| Failure::io(starting(), &e))? {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    if !status.success() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let what = format!("{} ended with {status}: {}", program.display(), why(&said));
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Err(Failure::new(code.unwrap_or(exit::SOFTWARE), what, ""));
    }
    let cpu_seconds = before.zip(children_cpu()).map(|(before, after)| after - before);
    Ok(Cost { seconds, cpu_seconds, peak_bytes })
}

/// Why a program failed, of what it said: from its own last word on, or the end of it.
fn why(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("pinflow: "));
    lines[last.unwrap_or(lines.len().saturating_sub(5))..].join("\n")
}

fn peak(status_file: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status_file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU seconds of all children that have been waited for.
fn children_cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field may hold blanks; it ends at the last parenthesis.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The processor and its memory, as far as the system says.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let cpu = value(&read("/proc/cpuinfo"), "model name");
    let cpu = cpu.unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|m| m.trim_end_matches(" kB").parse::<u64>().ok());
    match kib {
        Some(kib) => format!("{cpu}, {:.0} GiB", kib as f64 / (1 << 20) as f64),
        None => cpu,
    }
}

/// The machine and the versions that figures are of.
pub fn measured_on() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    format!("{}; pinflow {version}, Linux {}", machine(), kernel.trim())
}

/// The middle of some numbers.
pub fn median(mut list: Vec<f64>) -> Option<f64> {
    list.sort_by(f64::total_cmp);
    let n = list.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(list[n / 2]),
        _ => Some(f64::midpoint(list[n / 2 - 1], list[n / 2])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let log = std::env::temp_dir().join(format!("pinflow-cost-{}", std::process::id()));
        let shell = Path::new("/bin/sh");
        let args = |script: &str| vec!["-c".into(), script.into()];
        let cost = measure(shell, &args("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), &log);
        let cost = cost.expect("it ends well");
        assert!(cost.seconds > 0.0);
        if cfg!(target_os = "linux") {
            assert!(cost.cpu_seconds.is_some());
        }
        let error = measure(shell, &args("echo why >&2; exit 3"), &log).expect_err("it fails");
        assert!(error.to_string().contains("why") && error.exit_code == 3, "{error}");
        let error = measure(shell, &args("echo '{}' >&2; echo 'pinflow: why' >&2; exit 69"), &log);
        let error = error.expect_err("it fails");
        assert!(error.message.ends_with(": pinflow: why"), "{error}");
        let _ = std::fs::remove_file(&log);
    }

    #[test]
    fn medians() {
        for (list, want) in
            [(vec![], None), (vec![3.0, 1.0, 2.0], Some(2.0)), (vec![1.0, 2.0], Some(1.5))]
        {
            assert_eq!(median(list), want);
        }
    }
}
