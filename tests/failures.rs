//! How commands end that cannot do what was asked, and what they say of it: to people in words, in
//! a log of JSON as an object; and which of them need a secret.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::process::{Finished, Running, command, once, pinflow, refused};
use support::room::Room;

const METRIC: &str = "[[metric]]\nname = \"pins\"\nmeaning = \"pins\"\nof = \"pin\"\n\
                      measure = \"count\"\n";

/// Reads two pins into a state, in two runs.
fn stored(room: &Room, config: &str) {
    for index in 1..3 {
        let pin = format!("{{\"index\":{index},\"unique_id\":\"a\",\"category\":\"art\"}}\n");
        room.write(&format!("in/pin{index}.jsonl"), &pin);
        pinflow(once(Path::new(config), &room.path("in"), &room.path("state"))).ok();
    }
}

/// The last line that was said, as an object.
fn object(ended: &Finished) -> Value {
    let last = ended.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("no object: {}", ended.stderr))
}

/// An empty table was printed with exit code 0.
#[test]
fn results_of_a_state_that_lost_cuts_are_printed_and_65() {
    let room = Room::new();
    let config = room.write("c.toml", METRIC);
    stored(&room, &config);
    let state = room.text("state");
    let args = ["results", "pins", "--config", &config, "--state", &state, "--format", "csv"];
    assert_eq!(pinflow(args).ok().stdout, "count\n2\n");
    let log = room.path("state/gen-000000/log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.len() - 9;
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let shown = pinflow(args);
    assert!(shown.stdout.starts_with("count\n"), "{}", shown.stdout);
    refused(&shown, 65, &["pinflow: the state in", "is damaged", "hint: run it again"]);
}

/// In a log of JSON the reason of the end was the one line that is none.
#[test]
fn where_logs_are_json_the_last_words_are_too() {
    let room = Room::new();
    let config = room.write("c.toml", METRIC);
    let wrong = room.write("wrong.toml", "[engine]\nwokers = 2\n");
    let gone = once(Path::new(&config), &room.path("gone"), &room.path("state"));
    let bad = once(Path::new(&wrong), &room.path("in"), &room.path("state"));
    for (mut args, code, part) in [(gone, 69, "gone"), (bad, 78, "wokers")] {
        let mut quiet = command(&args);
        quiet.env("PINFLOW_LOG", "off");
        let ended = Running::start(quiet).wait(Duration::from_mins(1));
        let said = object(&ended);
        assert_eq!((&said["level"], &said["exit_code"]), (&"ERROR".into(), &code.into()), "{said}");
        assert!(said["message"].as_str().unwrap().contains(part), "{said}");
        assert!(said["timestamp"].is_string() && said.get("hint").is_some(), "{said}");
        assert_eq!(ended.code, Some(code));
        args.extend(["--log-format".into(), "text".into()]);
        refused(&pinflow(&args), code, &["pinflow: ", part]);
    }
    refused(&pinflow(["validate", "--config", &wrong]), 78, &["pinflow: ", "wrong.toml:2:1"]);
}

/// What the address lacks decides what to do; it was always `stop what holds the port`.
#[test]
fn an_address_that_cannot_be_had_is_69_with_what_to_do() {
    let room = Room::new();
    let config = support::config("demo.toml");
    let (config, state) = (config.to_str().unwrap(), room.text("state"));
    // 192.0.2.0/24 is nobody's.
    let set = ["--set", "http.insecure=true", "--listen", "192.0.2.1:8765"];
    let run = ["run", "--config", config, "--state", &state].into_iter().chain(set);
    let ended = pinflow(run);
    refused(&ended, 69, &["an address that this machine has"]);
    assert!(!ended.stderr.contains("stop what holds"), "{}", ended.stderr);
}

/// Neither opens a port, and both wanted the token of one.
#[test]
fn a_token_is_wanted_only_where_a_port_is_opened() {
    let room = Room::new();
    let config = room.write("c.toml", METRIC);
    stored(&room, &config);
    let token = "[http]\ntoken = { env = \"NOT_SET_ANYWHERE\" }\n";
    let config = room.write("token.toml", &format!("{METRIC}{token}"));
    let state = room.text("state");
    pinflow(["plan", "--config", &config]).ok();
    pinflow(["results", "pins", "--config", &config, "--state", &state]).ok();
    pinflow(["replay", "--list", "--config", &config, "--state", &state]).ok();
    let unset = ["`NOT_SET_ANYWHERE` is not set", "export NOT_SET_ANYWHERE=..."];
    refused(&pinflow(["validate", "--config", &config]), 78, &unset);
    refused(&pinflow(["run", "--config", &config, "--state", &state]), 78, &unset);
    // One that stands in the file itself is a mistake all the same.
    let config = room.write("bare.toml", &format!("{METRIC}[http]\ntoken = \"hunter2\"\n"));
    refused(&pinflow(["plan", "--config", &config]), 78, &["a secret does not stand"]);
}

/// It was asked without a token, and the daemon's refusal named another variable.
#[test]
fn a_variable_that_is_named_for_the_token_must_be_set() {
    for command in ["status", "results"] {
        let args = [command, "--url", "http://127.0.0.1:1", "--token-env", "NOT_SET_ANYWHERE"];
        refused(&pinflow(args), 64, &["`NOT_SET_ANYWHERE`", "export NOT_SET_ANYWHERE=..."]);
    }
}

#[test]
fn the_list_of_metrics_is_printed_in_the_format_that_is_asked_for() {
    let room = Room::new();
    let config = room.write("c.toml", METRIC);
    stored(&room, &config);
    let state = room.text("state");
    for (format, want) in
        [("csv", "metric,meaning\npins,pins\n"), ("tsv", "metric\tmeaning\npins\tpins\n")]
    {
        let args = ["results", "--config", &config, "--state", &state, "--format", format];
        assert_eq!(pinflow(args).ok().stdout, want);
    }
}
