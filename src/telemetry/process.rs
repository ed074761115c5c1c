//! `process_*`: what the kernel says of this process, under Prometheus's usual names; and what its
//! allocator says.

use std::fs;

/// Of one moment; what cannot be read is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// CPU time of all threads.
    pub cpu_seconds: Option<f64>,
    /// In memory.
    pub resident_bytes: Option<u64>,
    /// Mapped.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it began, seconds since 1970-01-01 UTC.
    pub start_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// File descriptors allowed.
    pub max_fds: Option<u64>,
}

/// Bytes of this process that are in memory; none where the system does not say.
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Bytes that the program has asked its allocator for and not given back; what is resident beyond
/// them is free room within pages. Where the program has another allocator it is no figure of that.
pub fn allocated() -> Option<u64> {
    use tikv_jemalloc_ctl::{epoch, stats};
    // Its figures are those of when this was last called.
    epoch::advance().ok()?;
    stats::allocated::read().ok().map(|bytes| bytes as u64)
}

/// Whether whoever started the program told it to ignore a signal, as `nohup` does with SIGHUP; no
/// where the system does not say.
pub fn ignores(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Reads `/proc/self`.
pub fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name may hold blanks and brackets; fields are counted behind it.
    let fields: Vec<&str> = match stat.rfind(')') {
        Some(end) => stat[end + 1..].split_ascii_whitespace().collect(),
        None => Vec::new(),
    };
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as u64;
    let boot = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok()));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max = limits.lines().find_map(|l| l.strip_prefix("Max open files"));
    Process {
        cpu_seconds: field(14).zip(field(15)).map(|(u, s)| (u + s) as f64 / ticks),
        threads: field(20),
        start_seconds: field(22).zip(boot).map(|(t, boot)| boot + t as f64 / ticks),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as u64),
        max_fds: max.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_is_seen() {
        let p = super::read();
        assert!(super::resident() > Some(1 << 20));
        assert!(p.resident_bytes > Some(1 << 20) && p.threads > Some(0), "{p:?}");
        assert!(p.start_seconds > Some(1.6e9) && p.open_fds > Some(2), "{p:?}");
        assert!(p.cpu_seconds.is_some() && p.max_fds > p.open_fds, "{p:?}");
    }
}
