//! Real rows: the seed systems' queries, every built-in metric, every cleaned cell, every
//! rejection are what the oracle says. `REAL_DIR` names a folder with pin.jsonl, geo.jsonl,
//! user.jsonl, malformed.jsonl and kinesis_records.jsonl; without it the committed sample is used.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use oracle::clean::Verdict;
use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Rules, Stream, metric};
use serde_json::Value;
use support::compare;
use support::process::{once, pinflow};
use support::wire;

fn real() -> PathBuf {
    support::folder("REAL_DIR", "real")
}

/// A folder to work in, with an input folder.
fn room() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir(&input).unwrap();
    (dir, input)
}

/// Runs over the input folder with everything switched on; returns what the oracle makes of it.
fn run(dir: &Path, config: &Path) -> Model {
    let path = |name: &str| dir.join(name);
    let mut args = once(config, &path("in"), &path("state"));
    for (flag, folder) in [("--results", "out"), ("--cleaned", "cleaned")] {
        args.extend([flag.to_string(), path(folder).to_str().unwrap().to_string()]);
    }
    pinflow(&args).ok();
    let letters = compare::letters(&path("state"));
    let arrivals = compare::arrivals(&path("cleaned"), &letters);
    let mut messages = wire::folder(&path("in"), 0);
    for message in &mut messages {
        message.arrived_at = arrivals[&*message.partition];
    }
    let model = Model::new(&messages, &Rules::default());
    compare::same_letters(&letters, &model);
    compare::same_cleaned(&path("cleaned"), &model);
    model
}

fn check_results(dir: &Path, config: &Path, ending: &str, model: &Model) {
    let (metrics, age_groups) = metric::load(config);
    assert!(!metrics.is_empty(), "{} declares nothing", config.display());
    let now = Now { at: model.now, ended: true };
    let columns = Columns { age_groups };
    compare::same_results(&dir.join("out"), ending, &metrics, model, &columns, now);
}

fn copy_streams(to: &Path) {
    for stream in Stream::ALL {
        let name = format!("{}.jsonl", stream.name());
        std::fs::copy(real().join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn real_rows_answer_the_seed_queries() {
    let (dir, input) = room();
    copy_streams(&input);
    let config = support::config("queries.toml");
    let path = |name: &str| dir.path().join(name);
    let mut args = once(&config, &input, &path("state"));
    args.extend(["--results".into(), path("out").to_str().unwrap().into()]);
    args.extend(["--format".into(), "csv".into()]);
    pinflow(&args).ok();
    let model = Model::new(&wire::folder(&input, 0), &Rules::default());
    check_results(dir.path(), &config, "csv", &model);
    let right = "Q1_category_per_country Q1_top Q2_category_per_year Q2_top \
                 Q3a_top_user_per_country Q3b_country_of_top_user Q4_category_per_age_group Q4_top \
                 Q5_median_per_age_group Q6_users_joined_per_year Q7_median_per_join_year \
                 Q8_median_per_join_year_and_age_group";
    for name in right.split_whitespace() {
        assert!(path("out").join(format!("{name}.csv")).exists(), "{name}.csv is missing");
    }
}

#[test]
fn real_rows_give_the_built_in_metrics_and_cleaned_tables() {
    let (dir, input) = room();
    copy_streams(&input);
    let config = support::config("default.toml");
    let model = run(dir.path(), &config);
    assert!(model.seen.len() > 100);
    check_results(dir.path(), &config, "tsv", &model);
}

/// Payloads with the class that is given for each.
fn malformed() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(real().join("malformed.jsonl")).unwrap();
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let get = |key: &str| value[key].as_str().unwrap().to_string();
        (get("class"), get("payload"))
    };
    text.lines().map(line).collect()
}

/// What is known of the classes: a stream, or a reason.
fn known(class: &str) -> Option<&'static str> {
    let head = class.split(' ').next().unwrap();
    Some(match head {
        "empty_json_string" => "empty",
        "geo_with_key_index_instead_of_ind" => "geo",
        "object_of_other_shape:index" => "pin",
        "object_of_other_shape:age,index,name,role" | "object_of_other_shape:example_field" => {
            "unknown_kind"
        }
        "user_date_joined_without_day"
        | "user_record_on_pin_stream"
        | "user_with_key_index_instead_of_ind" => "user",
        "json_array_of_value_wrappers" | "object_of_other_shape:value" => "accepted",
        _ => return None,
    })
}

fn check_malformed(file: &str) {
    let payloads = malformed();
    let (dir, input) = room();
    let lines: Vec<&str> = payloads.iter().map(|(_, payload)| &**payload).collect();
    std::fs::write(input.join(file), lines.join("\n") + "\n").unwrap();
    let model = run(dir.path(), &support::config("default.toml"));
    let mut by: BTreeMap<u64, Vec<&Verdict>> = BTreeMap::new();
    for seen in &model.seen {
        by.entry(seen.version.position).or_default().push(&seen.verdict);
    }
    let singles = payloads.iter().all(|(_, payload)| !payload.contains('\n'));
    assert!(singles && by.len() == payloads.len(), "one message a payload");
    for ((class, payload), verdicts) in payloads.iter().zip(by.values()) {
        let Some(right) = known(class) else { continue };
        for verdict in verdicts {
            let ours = match verdict {
                Verdict::Kept(_) if right == "accepted" => "accepted",
                Verdict::Kept(record) => record.stream.name(),
                Verdict::Rejected(reason, _) => reason.name(),
                Verdict::Ignored => "ignored",
            };
            assert_eq!(ours, right, "{class}: {payload}");
        }
    }
}

#[test]
fn real_rows_that_are_malformed_are_taken_or_refused_with_their_reason() {
    check_malformed("everything.jsonl");
}

#[test]
fn real_rows_that_are_malformed_are_the_same_on_a_ruled_stream() {
    check_malformed("pin.jsonl");
}

#[test]
fn real_rows_of_kinesis_are_taken_as_base64_and_as_they_are() {
    let text = std::fs::read_to_string(real().join("kinesis_records.jsonl")).unwrap();
    let engine = &base64::engine::general_purpose::STANDARD;
    let (mut coded, mut bare) = (String::new(), Vec::new());
    for line in text.lines().filter(|l| !l.is_empty()) {
        let envelope: Value = serde_json::from_str(line).unwrap();
        let data = envelope["data"].as_str().unwrap();
        coded.push_str(data);
        coded.push('\n');
        bare.extend(engine.decode(data).unwrap());
        bare.push(b'\n');
    }
    let run = |bytes: &[u8]| {
        let (dir, input) = room();
        std::fs::write(input.join("shard.jsonl"), bytes).unwrap();
        let model = run(dir.path(), &support::config("default.toml"));
        check_results(dir.path(), &support::config("default.toml"), "tsv", &model);
        model
    };
    let (coded, bare) = (run(coded.as_bytes()), run(&bare));
    let kept = |model: &Model| model.seen.iter().filter(|s| s.kept().is_some()).count();
    assert!(kept(&coded) > 0 && kept(&coded) == kept(&bare), "the wrapper changes nothing");
}
