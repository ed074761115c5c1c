//! From a record in a followed file to the event that shows it: drops of 20 ms are appended to
//! three files, and a drop's latency ends when an event of `/api/v1/metrics/q0/changes` comes whose
//! positions cover all of it. Checkpoints and new bases go on meanwhile.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinflow::cli::{Failure, exit};
use serde_json::Value;

use super::daemon::Daemon;
use super::pool::{Pool, Pump};
use super::rate::sustainable;

/// A drop is sent so often.
const DROP: Duration = Duration::from_millis(20);
/// Drops of so long at the beginning are not counted.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the last drops are waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// The metric that is listened to: it changes with nearly every record.
const METRIC: &str = "q0";

/// What came of a load.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Latency {
    /// Records a second that were sent.
    pub rate: f64,
    /// Drops that were counted.
    pub drops: usize,
    /// Half of them were shown within, milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
    /// How late one was sent at most, milliseconds: the sender shares the daemon's cores.
    pub late_ms: f64,
    /// CPU seconds of the daemon for a million records.
    pub cpu_seconds_a_million: f64,
    /// Checkpoints meanwhile.
    pub checkpoints: f64,
    /// Seconds each took, from its due time until it was durable: the mean.
    pub checkpoint_seconds: f64,
    /// Bytes of each: the mean.
    pub checkpoint_bytes: f64,
}

/// A drop that has not been shown: when it was sent, and where the files ended with it.
type Sent = Arc<Mutex<VecDeque<(Instant, [u64; 3])>>>;

/// In place of a drop: nothing more comes.
const END: [u64; 3] = [u64::MAX; 3];

/// Loads a running daemon that follows the pump's files for so long.
pub fn load(
    daemon: &mut Daemon,
    pump: &mut Pump<'_>,
    rate: f64,
    seconds: u64,
) -> Result<Latency, Failure> {
    let sent = Sent::default();
    let names: Vec<String> = pump.paths.iter().map(|p| p.display().to_string()).collect();
    let feed = daemon.stream(&format!("/api/v1/metrics/{METRIC}/changes?positions=1"))?;
    let listener = {
        let sent = sent.clone();
        std::thread::spawn(move || listen(feed, &names, &sent))
    };
    let each = (rate * DROP.as_secs_f64()).max(1.0) as u64;
    let began = Instant::now();
    let mut from = None;
    let (mut records, mut late) = (0, Duration::ZERO);
    for n in 0.. {
        let due = DROP * n;
        if due >= WARM_UP + Duration::from_secs(seconds) {
            break;
        }
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        if due >= WARM_UP && from.is_none() {
            from = Some((Instant::now(), Counts::of(daemon)?));
        }
        let done = pump.send(each)?;
        if from.is_some() {
            records += done;
            late = late.max(began.elapsed().saturating_sub(due));
        }
        sent.lock().expect("no panic holds it").push_back((Instant::now(), pump.ends));
    }
    let (since, before) = from.unwrap_or((began, Counts::default()));
    let rate = records as f64 / since.elapsed().as_secs_f64();
    let last = Instant::now();
    while !sent.lock().expect("no panic holds it").is_empty() {
        if last.elapsed() > PATIENCE || listener.is_finished() {
            let what = "the last drops were not shown within a minute";
            return Err(Failure::new(exit::SOFTWARE, what, "is the rate beyond what it can take?"));
        }
        std::thread::sleep(DROP);
    }
    let after = Counts::of(daemon)?;
    sent.lock().expect("no panic holds it").push_back((Instant::now(), END));
    // The next event, at the latest that of a second without changes, ends the listener.
    let shown = listener.join().map_err(|_| Failure::new(exit::SOFTWARE, "listening", ""))?;
    let counted = shown.into_iter().filter(|(at, _)| *at >= since).map(|(_, took)| took);
    let late_ms = late.as_secs_f64() * 1000.0;
    Ok(Latency { rate, late_ms, ..summed(counted.collect(), &before, &after, records) })
}

fn summed(mut ms: Vec<f64>, before: &Counts, after: &Counts, records: u64) -> Latency {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share) as usize).min(ms.len() - 1)).copied();
    let at = |share: f64| if ms.is_empty() { 0.0 } else { at(share).unwrap_or(0.0) };
    let checkpoints = after.checkpoints - before.checkpoints;
    let mean = |sum: f64| if checkpoints > 0.0 { sum / checkpoints } else { 0.0 };
    Latency {
        rate: 0.0,
        late_ms: 0.0,
        drops: ms.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
        cpu_seconds_a_million: (after.cpu - before.cpu) * 1e6 / records.max(1) as f64,
        checkpoints,
        checkpoint_seconds: mean(after.seconds - before.seconds),
        checkpoint_bytes: mean(after.bytes - before.bytes),
    }
}

/// What a daemon has counted so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    cpu: f64,
    checkpoints: f64,
    seconds: f64,
    bytes: f64,
}

impl Counts {
    fn of(daemon: &mut Daemon) -> Result<Self, Failure> {
        Ok(Counts {
            cpu: daemon.cpu_seconds(),
            checkpoints: daemon.metric("pinflow_checkpoints_total")?,
            seconds: daemon.metric("pinflow_checkpoint_duration_seconds_sum")?,
            bytes: daemon.metric("pinflow_checkpoint_bytes_total")?,
        })
    }
}

/// Hears events until the mark of the end; each drop with when it was sent and milliseconds.
fn listen(feed: impl Read, names: &[String], sent: &Sent) -> Vec<(Instant, f64)> {
    let mut shown = Vec::new();
    for line in BufReader::with_capacity(1 << 20, feed).lines() {
        let Ok(line) = line else { return shown };
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let now = Instant::now();
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        if sent.lock().expect("no panic holds it").front().is_some_and(|(_, ends)| *ends == END) {
            return shown;
        }
        let Some(positions) = event.get("positions") else { continue };
        let sources = positions.as_object().into_iter().flat_map(|o| o.values());
        let parts: Vec<_> = sources.filter_map(Value::as_object).collect();
        let at = |name: &String| parts.iter().find_map(|p| p.get(name)?.as_u64()).unwrap_or(0);
        let reached: Vec<u64> = names.iter().map(at).collect();
        let mut sent = sent.lock().expect("no panic holds it");
        while let Some((when, ends)) = sent.front().copied() {
            if !ends.iter().zip(&reached).all(|(end, reached)| reached >= end) {
                break;
            }
            sent.pop_front();
            shown.push((when, now.duration_since(when).as_secs_f64() * 1000.0));
        }
    }
    shown
}

/// A daemon of the bench's answers that follows a folder, with so many posts held, loaded.
pub struct Setup<'a> {
    /// Lines to send.
    pub pool: &'a Pool,
    /// An empty folder.
    pub dir: &'a Path,
    /// Posts that are there before.
    pub posts: u64,
    /// Further settings, `A.B=V`.
    pub set: &'a [String],
}

impl Setup<'_> {
    /// Starts it, fills it and loads it.
    pub fn run(&self, rate: f64, seconds: u64) -> Result<Latency, Failure> {
        self.with(|daemon, pump| load(daemon, pump, rate, seconds))
    }

    /// The greatest rate that it keeps up with, records a second.
    pub fn sustainable(&self) -> Result<f64, Failure> {
        self.with(sustainable)
    }

    fn with<T>(
        &self,
        measure: impl FnOnce(&mut Daemon, &mut Pump<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let input = self.dir.join("in");
        let mut pump = Pump::new(self.pool, &input, true)?;
        let mut left = self.posts * 3;
        while left > 0 {
            left = left.saturating_sub(pump.send(left.min(30_000))?);
        }
        let text = |p: &Path| p.display().to_string();
        let mut args = vec!["--config".into(), "builtin:bench.toml".into()];
        args.extend(["--workers".into(), super::workers().to_string()]);
        args.extend(["--input".into(), text(&input), "--state".into()]);
        args.push(text(&self.dir.join("state")));
        self.set.iter().for_each(|set| args.extend(["--set".into(), set.clone()]));
        let mut daemon = Daemon::start(&args, &self.dir.join("log"))?;
        daemon.wait("/readyz")?;
        if self.posts > 0 {
            daemon.catch_up()?;
        }
        let measured = measure(&mut daemon, &mut pump)?;
        daemon.stop()?;
        Ok(measured)
    }
}
