//! A running daemon and what it takes: memory, CPU time, what it says of itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pinflow::cli::{Failure, exit};
use serde_json::Value;

use crate::port::free_port;

/// How long a daemon may run here.
const PATIENCE: Duration = Duration::from_hours(12);
/// And how long its lag may stand still.
const STALLED: Duration = Duration::from_mins(5);

/// A daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    base: String,
    agent: ureq::Agent,
    /// When it was started.
    pub started: Instant,
}

impl Daemon {
    /// Starts `pinflow run` with these arguments and a port of its own.
    pub fn start(args: &[String], log: &Path) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::io("starting the daemon", &e);
        let port = free_port();
        let said = File::create(log).map_err(failed)?;
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_pinflow"))
            .arg("run")
            .args(args)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(failed)?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Ok(Daemon {
            child,
            log: log.into(),
            base: format!("http://127.0.0.1:{port}"),
            agent: config.into(),
            started,
        })
    }

    fn gone(&self, what: &str) -> Failure {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(4).collect();
        let what = format!("the daemon {what}: {}", last.join(" / "));
        Failure::new(exit::SOFTWARE, what, format!("see {}", self.log.display()))
    }

    /// The text of a path, if it is answered with 200.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call().ok()?;
        let fine = response.status().as_u16() == 200;
        fine.then(|| response.body_mut().with_config().limit(1 << 30).read_to_string().ok())?
    }

    /// The body of a path as it comes.
    pub fn stream(&self, path: &str) -> Result<impl std::io::Read + Send + 'static, Failure> {
        let response = self.agent.get(format!("{}{path}", self.base)).call();
        let failed = |e| Failure::new(exit::UNAVAILABLE, format!("asking the daemon: {e}"), "");
        Ok(response.map_err(failed)?.into_body().into_reader())
    }

    /// Asks until a path is answered; the answer, and seconds since the start.
    pub fn wait(&mut self, path: &str) -> Result<(String, f64), Failure> {
        loop {
            if let Some(text) = self.get(path) {
                return Ok((text, self.started.elapsed().as_secs_f64()));
            }
            self.look("ended before it answered")?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Fails if it has ended or takes too long.
    fn look(&mut self, what: &str) -> Result<(), Failure> {
        let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
        if ended || self.started.elapsed() > PATIENCE { Err(self.gone(what)) } else { Ok(()) }
    }

    /// Waits until everything is read.
    pub fn catch_up(&mut self) -> Result<(), Failure> {
        let (mut moved, mut last) = (Instant::now(), None);
        loop {
            let status = self.status()?;
            let parts = status["partitions"].as_array().cloned().unwrap_or_default();
            if !parts.is_empty() && parts.iter().all(|p| p["lag"] == 0) {
                return Ok(());
            }
            let lag = Some(parts.iter().filter_map(|p| p["lag"].as_u64()).sum::<u64>());
            if lag != last {
                (moved, last) = (Instant::now(), lag);
            }
            if moved.elapsed() > STALLED {
                return Err(self.gone("has more to read, and does not"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The status.
    pub fn status(&mut self) -> Result<Value, Failure> {
        let (text, _) = self.wait("/api/v1/status")?;
        serde_json::from_str(&text).map_err(|_| self.gone("answered no JSON"))
    }

    /// The value of a metric of a scrape, without labels.
    pub fn metric(&mut self, name: &str) -> Result<f64, Failure> {
        let (text, _) = self.wait("/metrics")?;
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.parse().ok()).ok_or_else(|| self.gone(&format!("shows no {name}")))
    }

    fn stat(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let text = text.unwrap_or_default();
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect()
    }

    /// CPU seconds so far, of all threads.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.stat();
        let ticks = stat.get(11).unwrap_or(&0) + stat.get(12).unwrap_or(&0);
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Bytes in memory.
    pub fn resident(&self) -> u64 {
        self.stat().get(21).unwrap_or(&0) * rustix::param::page_size() as u64
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn stop(mut self) -> Result<(), Failure> {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        if !sent.is_ok_and(|s| s.success()) {
            return Err(self.gone("had already ended"));
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.gone(&format!("ended with {status}"))),
            Err(error) => Err(Failure::io("waiting for the daemon", &error)),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
