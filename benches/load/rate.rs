//! Sending at a rate, and the greatest that a daemon which follows the files keeps up with, beside
//! who sends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinflow::cli::Failure;

use super::daemon::Daemon;
use super::pool::Pump;

/// Records are sent so often, and memory is looked at.
const STEP: Duration = Duration::from_millis(20);
/// What has been read is given back so often.
const FORGET: Duration = Duration::from_secs(2);
/// Records by which a first rate is found; from there on it climbs.
const PROBE: u64 = 3_000_000;
/// Each rate that is tried is so many times the one before, and is held so long.
const CLIMB: f64 = 1.1;
const TRIED: Duration = Duration::from_secs(5);
/// A rate can be kept up with if no more than it gives in this time waits in the end.
const WAITS: Duration = Duration::from_millis(500);
/// Of a rate that is tried so much has to be sent: else the sender is at its end.
const SENT: f64 = 0.95;
/// Bytes of a record, about.
const RECORD: f64 = 300.0;
const MIB: f64 = 1_048_576.0;

/// MiB that may wait where a rate can be kept up with.
pub fn waits(rate: f64) -> f64 {
    rate * WAITS.as_secs_f64() * RECORD / MIB
}

/// How many records a second it takes of what is sent, beside who sends them: the greatest rate
/// that was held. What was sent meanwhile is read.
pub fn sustainable(daemon: &mut Daemon, pump: &mut Pump<'_>) -> Result<f64, Failure> {
    let began = Instant::now();
    let probed = pump.send(PROBE)?;
    std::thread::sleep(Duration::from_millis(500));
    daemon.catch_up()?;
    // As fast as it goes the sender takes more of the machine than at this rate.
    let mut rate = probed as f64 / began.elapsed().as_secs_f64();
    while !is_held(daemon, pump, rate)? {
        rate /= CLIMB;
    }
    while is_held(daemon, pump, rate * CLIMB)? {
        rate *= CLIMB;
    }
    Ok(rate)
}

/// Whether a rate can be sent, and kept up with; it is caught up with in any case.
fn is_held(daemon: &mut Daemon, pump: &mut Pump<'_>, rate: f64) -> Result<bool, Failure> {
    let (sent, _) = press(daemon, pump, rate, TRIED)?;
    let waiting = forget(daemon, pump)?;
    daemon.catch_up()?;
    let owed = rate * TRIED.as_secs_f64();
    Ok(waiting <= waits(rate) && sent as f64 > SENT * owed)
}

/// Sends so many records a second for so long; how many, and the most memory that was held.
pub fn press(
    daemon: &mut Daemon,
    pump: &mut Pump<'_>,
    rate: f64,
    length: Duration,
) -> Result<(u64, u64), Failure> {
    let (began, mut forgot) = (Instant::now(), Instant::now());
    let (mut most, mut sent) = (0, 0);
    while began.elapsed() < length {
        let owed = (rate * began.elapsed().as_secs_f64()) as u64;
        sent += pump.send(owed.saturating_sub(sent).max(3))?;
        most = most.max(daemon.resident());
        if forgot.elapsed() >= FORGET {
            let behind = forget(daemon, pump)?;
            eprint!("\r{:.0} s, behind by {:.0} MiB ", began.elapsed().as_secs_f64(), behind);
            forgot = Instant::now();
        }
        std::thread::sleep(STEP);
    }
    eprintln!();
    Ok((sent, most))
}

/// Gives back to the disk what the daemon has read of the files; MiB that it has not read.
pub fn forget(daemon: &mut Daemon, pump: &Pump<'_>) -> Result<f64, Failure> {
    let status = daemon.status()?;
    let parts = status["partitions"].as_array().cloned().unwrap_or_default();
    let of = |path: &PathBuf| parts.iter().find(|p| p["partition"].as_str() == path.to_str());
    let read = |path| of(path).and_then(|p| p["position"].as_u64()).unwrap_or(0);
    pump.forget([0, 1, 2].map(|n| read(&pump.paths[n])))?;
    let lag: u64 = parts.iter().filter_map(|p| p["lag"].as_u64()).sum();
    Ok(lag as f64 / MIB)
}
