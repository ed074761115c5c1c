//! Signals: each that asks for an end gets an orderly one, and what is to be ignored is ignored.

mod oracle;
mod support;

use std::process::Command;
use std::time::Duration;

use support::http::Api;
use support::port::free_port;
use support::process::{Running, command};

const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon of the demo, started as `prefix` has it.
fn daemon(prefix: &[&str]) -> (Running, Api, tempfile::TempDir) {
    let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let state = dir.path().join("state").display().to_string();
    let config = support::config("demo.toml").display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let ours = command(["run", "--config", &config, "--state", &state, "--listen", &listen]);
    let mut whole = Command::new(prefix[0]);
    whole.args(&prefix[1..]).arg(ours.get_program()).args(ours.get_args());
    let (mut daemon, api) = (Running::start(whole), Api::new(port));
    api.wait("/readyz", &mut daemon, PATIENCE);
    (daemon, api, dir)
}

#[test]
fn signals_that_ask_for_an_end_get_an_orderly_one() {
    // Whoever runs the tests may have told them to ignore what a terminal says that goes.
    let as_ever = ["env", "--default-signal=HUP"];
    for name in ["TERM", "INT", "HUP"] {
        let (daemon, _, _dir) = daemon(&as_ever);
        daemon.signal(name);
        let ended = daemon.wait(PATIENCE).ok();
        let said = [&format!("SIG{name}"), "stopping: what was read"];
        assert!(said.iter().all(|s| ended.stderr.contains(*s)), "{name}: {}", ended.stderr);
    }
}

#[test]
fn a_terminal_may_go_under_nohup() {
    let (mut daemon, api, _dir) = daemon(&["nohup"]);
    daemon.signal("HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(daemon.alive(), "nohup is for this");
    api.wait("/livez", &mut daemon, PATIENCE);
    daemon.terminate();
    daemon.wait(PATIENCE).ok();
}
