//! The binary as people and scripts meet it: what is printed, and the exit codes.

use std::process::{Command, Output};

fn pinflow(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinflow"));
    command.args(words.split_whitespace()).env_clear();
    command.output().expect("the binary starts")
}

fn check(words: &str, code: i32, said: &str) {
    let got = pinflow(words);
    let all = [got.stdout, got.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert_eq!(got.status.code(), Some(code), "{words}: {all}");
    assert!(all.contains(said), "{words}: {all}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    for (words, code, said) in [
        ("--help", 0, "Exit codes"),
        ("run --help", 0, "Examples:"),
        ("--version", 0, "pinflow 0."),
        ("", 64, "Usage"),
        ("walk", 64, "unrecognized subcommand"),
        ("run --accept-gap", 64, "--rebuild"),
        ("validate", 0, "valid: 1 sources"),
        ("validate --config builtin:queries.toml", 0, "12 metrics"),
        ("validate --set engine.wokers=4", 78, "did you mean `workers`?"),
        ("run --once", 78, "never ends"),
        ("run --config builtin:bench.toml", 78, "nothing to read"),
        ("status --url http://127.0.0.1:1", 69, "is the daemon running?"),
        ("results x --url nowhere", 64, "is not the URL of a daemon"),
        ("results posts_by_cuntry --state /nonexistent", 64, "did you mean `posts_by_country`?"),
        ("results posts_by_country --state /nonexistent", 69, "there is no state"),
        ("replay --list --state /nonexistent", 69, "there is no state"),
        ("completions bash", 0, "_pinflow"),
    ] {
        check(words, code, said);
    }
}

#[test]
fn mistakes_are_there_for_machines_too() {
    let got = pinflow("validate --format json --set engine.wokers=4 --set state.dir=5");
    assert_eq!(got.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&got.stdout).expect("JSON");
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["errors"][0]["line"], 1);
}

#[test]
fn a_finished_run_answers_from_its_state() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(at("in")).expect("writable");
    let geo = r#"{"ind":1,"timestamp":"2018-03-04T05:06:07","country":"Chad"}"#;
    let pin =
        r#"{"index":1,"unique_id":"u","category":"art","follower_count":"2k"}"#;
    std::fs::write(at("in/geo.jsonl"), format!("{geo}\nnot JSON\n")).expect("writable");
    std::fs::write(at("in/pin.jsonl"), format!("{pin}\n")).expect("writable");
    let (input, state, out) = (at("in"), at("state"), at("out"));
    let queries = "--config builtin:queries.toml --state";
    let run = format!("run --once --workers 1 --input {input} {queries} {state} --results {out}");
    check(&format!("{run} --format csv"), 0, "");
    let top = std::fs::read_to_string(at("out/Q1_top.csv")).expect("a result");
    assert_eq!(top, "country,category,category_count\nChad,art,1\n");
    check(&format!("results Q1_top --format csv {queries} {state}"), 0, &top);
    check(&format!("replay --list --state {state}"), 0, r#"{"source":"files","partition":"#);
    check(
        &format!("replay --list --state {state}"),
        0,
        r#""reason":"not_json","payload":"not JSON""#,
    );
}
