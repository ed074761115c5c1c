//! Running the real binary with a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Finished {
    /// Asserts that it ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "it ended badly:\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A running process whose output is read as it comes; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    readers: Vec<JoinHandle<Vec<u8>>>,
}

/// A command of the real binary, free of the caller's settings.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinflow"));
    for (key, _) in std::env::vars_os() {
        let ours = key.to_string_lossy().starts_with("PINFLOW_");
        if ours {
            command.env_remove(&key);
        }
    }
    command.args(args);
    command
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let readers = vec![
            reader(child.stdout.take().expect("piped")),
            reader(child.stderr.take().expect("piped")),
        ];
        Running { child, readers }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("it can be killed");
        self.finish()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(status.expect("kill can be run").success(), "it had already gone");
    }

    /// Waits for its end, at most so long.
    pub fn wait(mut self, most: Duration) -> Finished {
        let start = Instant::now();
        while self.alive() {
            if start.elapsed() > most {
                self.child.kill().expect("it can be killed");
                let left = self.finish();
                panic!("it did not end within {most:?}:\n{}\n{}", left.stdout, left.stderr);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.finish()
    }

    fn finish(&mut self) -> Finished {
        let code = self.child.wait().expect("it can be waited for").code();
        let mut texts = self
            .readers
            .drain(..)
            .map(|r| String::from_utf8_lossy(&r.join().expect("the reader ends")).into_owned());
        let stdout = texts.next().expect("two readers");
        let stderr = texts.next().expect("two readers");
        Finished { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Asserts that a command ended with a code, and said these words.
pub fn refused(ended: &Finished, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word} is not said: {}", ended.stderr);
    }
}

/// Runs the binary to its end, at most two minutes.
pub fn pinflow<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Finished {
    Running::start(command(args)).wait(Duration::from_mins(2))
}

/// The arguments of `run --once` over a folder.
pub fn once(config: &Path, input: &Path, state: &Path) -> Vec<String> {
    let text = |p: &Path| p.to_str().expect("a path of UTF-8").to_string();
    let (config, input, state) = (text(config), text(input), text(state));
    ["run", "--once", "--config", &config, "--input", &input, "--state", &state]
        .map(ToString::to_string)
        .to_vec()
}
