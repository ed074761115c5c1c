//! What the command line promises: exit codes, explanations that name the place and the way on,
//! an orderly stop after which nothing is read again.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::Now;
use oracle::{Rules, metric};
use support::generate::{Shape, write};
use support::http::Api;
use support::port::free_port;
use support::process::{Running, command, once, pinflow, refused};
use support::room::Room;
use support::{compare, table, wire};

const COUNT: &str = r#"
[[metric]]
name = "pairs"
meaning = "posts by country and category"
of = "pin+geo"
by = ["country", "category"]
measure = "count"
"#;

#[test]
fn help_is_there_with_examples() {
    let help = pinflow(["--help"]).ok().stdout;
    let words = "run plan validate status results replay emulate bench completions";
    for word in words.split(' ') {
        assert!(help.contains(word), "{word} is not in --help");
        let own = pinflow([word, "--help"]).ok().stdout;
        assert!(own.contains("Usage"), "{word} --help: {own}");
    }
    let run = pinflow(["run", "--help"]).ok().stdout;
    assert!(run.contains("Examples"), "{run}");
    assert_eq!(pinflow(["run", "--nonsense"]).code, Some(64));
    assert!(!pinflow(["--version"]).ok().stdout.is_empty());
}

#[test]
fn the_shipped_configurations_are_valid() {
    for name in ["default.toml", "demo.toml", "bench.toml", "queries.toml"] {
        let config = support::config(name);
        pinflow(["validate", "--config", config.to_str().unwrap()]).ok();
    }
}

#[test]
fn plans_are_printed_in_every_form() {
    let config = support::config("default.toml");
    for format in ["text", "json", "dot"] {
        let args = ["plan", "--config", config.to_str().unwrap(), "--format", format];
        let plan = pinflow(args).ok().stdout;
        assert!(plan.contains("category_popularity"), "{format}: {plan}");
        match format {
            "json" => drop(serde_json::from_str::<serde_json::Value>(&plan).unwrap()),
            "dot" => assert!(plan.contains("digraph"), "{plan}"),
            _ => {
                for mark in ["timely", "differential", "own"] {
                    assert!(plan.contains(mark), "no operator is marked {mark}: {plan}");
                }
            }
        }
    }
}

#[test]
fn mistakes_are_named_all_at_once_with_line_and_column() {
    let room = Room::new();
    let text = "[engine]\nworkrs = 2\n\n[[metric]]\nname = \"m\"\nmeaning = \"x\"\nof = \"pin\"\n\
                by = [\"categry\"]\nmeasure = \"count\"\nwindow = [\"day\"]\n";
    let config = room.write("bad.toml", text);
    let state = room.text("state");
    for args in
        [vec!["validate", "--config", &config], vec!["run", "--config", &config, "--state", &state]]
    {
        let ended = pinflow(args);
        let words =
            ["bad.toml:2:1", "workers", "bad.toml:8:7", "category", "bad.toml:10:1", "windows"];
        refused(&ended, 78, &words);
    }
    assert!(!room.path("state").exists(), "a mistake leaves nothing behind");
}

#[test]
fn settings_come_from_flags_and_the_environment_too() {
    let room = Room::new();
    let config = room.write("c.toml", COUNT);
    let set = ["validate", "--config", &config, "--set", "engine.wrkers=2"];
    refused(&pinflow(set), 78, &["workers"]);
    let mut with = command(["validate", "--config", &config]);
    with.env("PINFLOW_ENGINE__WRKERS", "2");
    let ended = Running::start(with).wait(Duration::from_secs(30));
    refused(&ended, 78, &["workers"]);
    for (name, meant) in [
        ("PINFLOW_HTTP_LISTEN", "PINFLOW_HTTP__LISTEN"),
        ("PINFLOW_SEVER__LISTEN", "`listen` belongs to [http]"),
    ] {
        let mut with = command(["run", "--config", &config, "--state", &room.text("state")]);
        with.env(name, "127.0.0.1:1");
        let ended = Running::start(with).wait(Duration::from_secs(30));
        refused(&ended, 78, &[name, meant]);
    }
}

#[test]
fn input_that_is_not_there_is_69() {
    let room = Room::new();
    let config = room.write("c.toml", COUNT);
    let ended = pinflow(once(Path::new(&config), &room.path("none"), &room.path("state")));
    refused(&ended, 69, &["none"]);
}

/// A start that failed after the workers were up never ended.
#[test]
fn a_port_that_is_taken_is_69() {
    let room = Room::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = support::config("demo.toml");
    let listen = taken.local_addr().unwrap().to_string();
    let (config, state) = (config.to_str().unwrap(), room.text("state"));
    let args = ["run", "--config", config, "--state", &state, "--listen", &listen];
    refused(&pinflow(args), 69, &[&listen]);
}

/// A bounded run over a damaged file ended with 0 and results that lacked its rows.
#[test]
fn a_damaged_compressed_file_is_65() {
    let room = Room::new();
    let config = room.write("c.toml", COUNT);
    std::fs::create_dir(room.path("damaged")).unwrap();
    let file = room.path("damaged").join("pin.jsonl.gz");
    std::fs::write(file, b"\x1f\x8b\x08 no more gzip").unwrap();
    let ended = pinflow(once(Path::new(&config), &room.path("damaged"), &room.path("state")));
    refused(&ended, 65, &["pin.jsonl.gz"]);
}

#[test]
fn an_address_beyond_loopback_needs_a_token_or_a_word() {
    let room = Room::new();
    let config = support::config("demo.toml");
    let listen = format!("0.0.0.0:{}", free_port());
    let (config, state) = (config.to_str().unwrap(), room.text("state"));
    let args = ["run", "--config", config, "--state", &state, "--listen", &listen];
    refused(&pinflow(args), 78, &["token"]);
}

fn daemon(config: &Path, state: &str, more: &[&str]) -> (Running, Api) {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut args = vec!["run", "--config", config.to_str().unwrap(), "--state", state];
    args.extend(["--listen", &listen]);
    args.extend(more);
    (Running::start(command(args)), Api::new(port))
}

#[test]
fn a_second_daemon_on_a_state_is_75() {
    let room = Room::new();
    let config = support::config("demo.toml");
    let (mut first, api) = daemon(&config, &room.text("state"), &[]);
    api.wait("/readyz", &mut first, Duration::from_mins(1));
    let (second, _) = daemon(&config, &room.text("state"), &[]);
    let ended = second.wait(Duration::from_secs(30));
    refused(&ended, 75, &["state"]);
    first.terminate();
    first.wait(Duration::from_secs(30)).ok();
}

#[test]
fn an_orderly_stop_reads_nothing_again() {
    let room = Room::new();
    write(&Shape::dirty(3000, 8), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let input = room.text("in");
    let more = ["--input", &*input];
    let sizes: u64 = ["pin", "geo", "user"]
        .map(|n| std::fs::metadata(room.path("in").join(format!("{n}.jsonl"))).unwrap().len())
        .iter()
        .sum();
    let (mut first, api) = daemon(&config, &room.text("state"), &more);
    let all = wait_for(&api, &mut first, sizes);
    let asked = "/api/v1/metrics/pairs?format=csv";
    let rows = api.wait(asked, &mut first, Duration::from_secs(30));
    first.terminate();
    first.wait(Duration::from_secs(30)).ok();
    let (mut second, api) = daemon(&config, &room.text("state"), &more);
    api.wait("/readyz", &mut second, Duration::from_mins(1));
    std::thread::sleep(Duration::from_millis(500));
    let scrape = api.scrape().unwrap();
    let again: f64 = scrape.by("pinflow_read_bytes_total", "source").values().sum();
    assert!(again < 0.5, "{again} bytes were read again");
    assert!((scrape.conserves() - all).abs() < 0.5, "the tallies are kept");
    assert_eq!(scrape.frontier().0, 2, "the second start on this state");
    let (_, after) = api.get(asked).unwrap();
    assert_eq!(rows, after, "the same answer");
    second.terminate();
    second.wait(Duration::from_secs(30)).ok();
}

/// Waits until so many bytes lie behind the positions; gives how many records were read.
fn wait_for(api: &Api, daemon: &mut Running, bytes: u64) -> f64 {
    for _ in 0..3000 {
        assert!(daemon.alive(), "the daemon ended");
        if let Some(scrape) = api.scrape() {
            let at: f64 = scrape.by("pinflow_source_position", "partition").values().sum();
            if at as u64 == bytes {
                return scrape.conserves();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the files were not read to their ends");
}

#[test]
fn input_that_has_changed_is_65() {
    let room = Room::new();
    write(&Shape::bench(200, 9), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let path = room.path("in").join("pin.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let cut = whole.len() - 20;
    std::fs::write(&path, &whole[..cut]).unwrap();
    let args = once(&config, &room.path("in"), &room.path("state"));
    pinflow(&args).ok();
    // A line that was being written is read once it is whole; then it has to stay.
    std::fs::write(&path, &whole).unwrap();
    pinflow(&args).ok();
    std::fs::write(&path, &whole[..cut]).unwrap();
    refused(&pinflow(&args), 65, &["pin.jsonl"]);
}

#[test]
fn a_state_of_other_rules_is_78_and_rebuild_is_the_way_out() {
    let room = Room::new();
    write(&Shape::bench(300, 10), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let mut args = once(&config, &room.path("in"), &room.path("state"));
    pinflow(&args).ok();
    args.extend(["--set".into(), "cleaning.max_depth=20".into()]);
    refused(&pinflow(&args), 78, &["--rebuild", "max_depth"]);
    args.extend(["--rebuild".into(), "--results".into(), room.text("out")]);
    pinflow(&args).ok();
    let model = Model::new(&wire::folder(&room.path("in"), 0), &Rules::default());
    let columns = Columns { age_groups: metric::default_age_groups() };
    let now = Now { at: 0, ended: true };
    let metrics = metric::from_text(COUNT);
    compare::same_results(&room.path("out"), "tsv", &metrics, &model, &columns, now);
}

#[test]
fn results_of_a_finished_run_are_printed_from_its_state() {
    let room = Room::new();
    write(&Shape::dirty(500, 11), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let mut args = once(&config, &room.path("in"), &room.path("state"));
    args.extend(["--results".into(), room.text("out")]);
    args.extend(["--format".into(), "csv".into()]);
    pinflow(&args).ok();
    let written = table::read(&room.path("out").join("pairs.csv"));
    let (config, state) = (config.to_str().unwrap(), room.text("state"));
    let args = ["results", "pairs", "--config", config, "--state", &state, "--format", "csv"];
    let printed = table::csv(&pinflow(args).ok().stdout);
    table::same("printed", &printed, &written);
    // Of what is asked for the first.
    let (head, rows) = written.split_first().unwrap();
    let country = format!("country={}", rows[0][0]);
    let of = [&args[..], &["--where", &country, "--limit", "2"]].concat();
    let mut wanted: Vec<_> = rows.iter().filter(|row| row[0] == rows[0][0]).cloned().collect();
    assert!(wanted.len() > 2 && wanted.len() < rows.len());
    wanted.truncate(2);
    wanted.insert(0, head.clone());
    assert_eq!(table::csv(&pinflow(of).ok().stdout), wanted);
    let wrong = pinflow([&args[..], &["--where", "contry=x"]].concat());
    assert!(wrong.stderr.contains("did you mean `country`?"), "{}", wrong.stderr);
    assert_eq!(wrong.code, Some(64));
    for wrong in [&["pairs", "--where", "limit=2"][..], &["--where", "country=x"]] {
        assert_eq!(pinflow([&["results"], wrong].concat()).code, Some(64));
    }
}

#[test]
fn files_are_read_packed_and_in_folders_as_well() {
    let room = Room::new();
    write(&Shape::dirty(400, 12), &room.path("in"));
    let plain = wire::folder(&room.path("in"), 0);
    let deep = room.path("packed/topics/some.topic/partition=0");
    std::fs::create_dir_all(&deep).unwrap();
    let read = |name: &str| std::fs::read(room.path("in").join(name)).unwrap();
    std::fs::write(deep.join("pin.json"), read("pin.jsonl")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &read("geo.jsonl")).unwrap();
    std::fs::write(deep.join("geo.jsonl.gz"), gz.finish().unwrap()).unwrap();
    let packed = zstd::encode_all(&read("user.jsonl")[..], 3).unwrap();
    std::fs::write(room.path("packed").join("users.jsonl.zst"), packed).unwrap();
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let mut args = once(&config, &room.path("packed"), &room.path("state"));
    args.extend(["--results".into(), room.text("out")]);
    pinflow(&args).ok();
    let model = Model::new(&plain, &Rules::default());
    let columns = Columns { age_groups: metric::default_age_groups() };
    let now = Now { at: 0, ended: true };
    let metrics = metric::from_text(COUNT);
    compare::same_results(&room.path("out"), "tsv", &metrics, &model, &columns, now);
}

/// A file that was cut off was only warned of, and the run ended with 0.
#[test]
fn a_compressed_file_without_its_end_is_65_after_what_could_be_read() {
    let room = Room::new();
    write(&Shape::bench(2000, 13), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let path = room.path("in").join("geo.jsonl");
    let packed = zstd::encode_all(&std::fs::read(&path).unwrap()[..], 3).unwrap();
    std::fs::rename(&path, room.path("geo.jsonl")).unwrap();
    let path = room.path("in").join("geo.jsonl.zst");
    std::fs::write(&path, &packed[..packed.len() - 5]).unwrap();
    let mut args = once(&config, &room.path("in"), &room.path("state"));
    args.extend(["--results".into(), room.text("out")]);
    let words = ["geo.jsonl.zst", "its end is missing", "the results lack", "hint"];
    refused(&pinflow(&args), 65, &words);
    assert!(room.path("out").join("pairs.tsv").exists(), "what could be read is published");
    refused(&pinflow(&args), 65, &words);
    std::fs::write(&path, &packed).unwrap();
    pinflow(&args).ok();
    std::fs::rename(room.path("geo.jsonl"), room.path("in").join("geo.jsonl")).unwrap();
    let model = Model::new(&wire::folder(&room.path("in"), 0), &Rules::default());
    let columns = Columns { age_groups: metric::default_age_groups() };
    let now = Now { at: 0, ended: true };
    let metrics = metric::from_text(COUNT);
    compare::same_results(&room.path("out"), "tsv", &metrics, &model, &columns, now);
}

#[test]
fn an_empty_folder_is_said_to_be_empty() {
    let room = Room::new();
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let ended = pinflow(once(&config, &room.path("in"), &room.path("state")));
    refused(&ended, 0, &["nothing to read", "pin, geo or user", &room.text("in")]);
}

/// Unknown figures were shown as 0 and as moments of 1970.
#[test]
fn of_a_stored_state_only_what_is_known_is_shown() {
    let room = Room::new();
    write(&Shape::dirty(300, 14), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    pinflow(once(&config, &room.path("in"), &room.path("state"))).ok();
    let state = room.text("state");
    let summary = pinflow(["status", "--state", &state]).ok().stdout;
    assert!(summary.starts_with("stored, run 1") && summary.lines().count() <= 15, "{summary}");
    let text = pinflow(["status", "--all", "--state", &state]).ok().stdout;
    assert!(!text.contains("1970") && text.contains("started_at: -"), "{text}");
    let json = pinflow(["status", "--state", &state, "--format", "json"]).ok().stdout;
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    let unknown = ["/started_at", "/workers", "/memory", "/checkpoints/last_at"];
    for path in unknown.into_iter().chain(["/checkpoints/disk_bytes", "/partitions/0/state"]) {
        assert_eq!(status.pointer(path), Some(&serde_json::Value::Null), "{path}: {status:#}");
    }
    assert_eq!(status["state"], "stored");
    assert!(status["dead_letters"]["bytes"].as_u64() > Some(0), "{status:#}");
    assert!(status["partitions"][0]["arrived_at"].is_string(), "{status:#}");
}

/// It said `valid`, and nobody had been asked.
#[test]
fn connecting_to_nobody_is_refused() {
    let refuses = pinflow(["validate", "--connect"]);
    refused(&refuses, 64, &["nobody to connect to", "--config"]);
}

#[test]
fn what_a_state_cannot_show_names_the_command_that_helps() {
    let room = Room::new();
    write(&Shape::bench(200, 15), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    pinflow(once(&config, &room.path("in"), &room.path("state"))).ok();
    let outcomes = "[[metric]]\nname = \"outcomes\"\nmeaning = \"what became of records\"\n\
                    of = \"records\"\nby = [\"outcome\"]\nmeasure = \"count\"\n";
    let wider = room.write("wider.toml", &format!("{COUNT}{outcomes}"));
    let state = room.text("state");
    refused(&pinflow(["results", "count", "--state", &state]), 64, &["--config FILE"]);
    let words = ["records are counted now, for metric outcomes", "`pinflow run --rebuild`"];
    refused(&pinflow(["results", "outcomes", "--config", &wider, "--state", &state]), 78, &words);
    let mut args = once(Path::new(&wider), &room.path("in"), &room.path("state"));
    refused(&pinflow(&args), 78, &words);
    args.push("--rebuild".into());
    pinflow(&args).ok();
    pinflow(["results", "outcomes", "--config", &wider, "--state", &state]).ok();
    // Without the metric it goes on counting, and the metric may come back.
    let config = config.to_str().unwrap();
    pinflow(once(Path::new(config), &room.path("in"), &room.path("state"))).ok();
    pinflow(["results", "outcomes", "--config", &wider, "--state", &state]).ok();
}

/// The list ended at the first damaged line.
#[test]
fn dead_letters_are_listed_but_for_damaged_ones() {
    let room = Room::new();
    write(&Shape::dirty(600, 16), &room.path("in"));
    let config = PathBuf::from(room.write("c.toml", COUNT));
    pinflow(once(&config, &room.path("in"), &room.path("state"))).ok();
    let args = ["replay", "--list", "--state", &room.text("state")];
    let whole = pinflow(args).ok().stdout;
    let count = whole.lines().count();
    assert!(count > 5, "{whole}");
    let file = room.path("state").join("dead-letters-0.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] = b'x';
    std::fs::write(&file, bytes).unwrap();
    let damaged = pinflow(args);
    refused(&damaged, 65, &["line 1 is no letter", "dead-letters-0.jsonl"]);
    let rest: Vec<&str> = whole.lines().skip(1).collect();
    assert_eq!(damaged.stdout.lines().collect::<Vec<_>>(), rest);
}

/// A followed folder that vanished was not noticed.
#[test]
fn a_followed_folder_may_go_and_come_back() {
    let room = Room::new();
    let first = "{\"index\":1,\"unique_id\":\"a\",\"category\":\"art\"}\n";
    room.write("in/pin.jsonl", first);
    let config = PathBuf::from(room.write("c.toml", COUNT));
    let port = free_port();
    let (config, state, input) = (config.to_str().unwrap(), room.text("state"), room.text("in"));
    let listen = format!("localhost:{port}");
    let mut args = vec!["run", "--config", config, "--state", &state, "--input", &input];
    args.extend(["--listen", &listen]);
    let (mut running, api) = (Running::start(command(args)), Api::new(port));
    api.wait("/readyz", &mut running, Duration::from_mins(1));
    let until = |running: &mut Running, what: &dyn Fn(&serde_json::Value) -> bool| {
        for _ in 0..3000 {
            assert!(running.alive(), "the daemon ended");
            let status = api.json("/api/v1/status");
            if status.as_ref().is_some_and(what) {
                return status.unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{:#}", api.json("/api/v1/status").unwrap());
    };
    until(&mut running, &|s| s["totals"]["read"] == 1);
    std::fs::rename(room.path("in"), room.path("away")).unwrap();
    let status = until(&mut running, &|s| s["sources"][0]["state"] == "failing");
    let trouble = &status["sources"][0]["trouble"];
    assert!(trouble["error"].as_str().unwrap().contains(&input), "{trouble}");
    let errors = |api: &Api| api.scrape().unwrap().by("pinflow_source_errors_total", "source");
    while errors(&api)["files"] < 3.0 {
        assert!(running.alive());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Appended: a file that is written anew is empty for a moment, and then another one.
    let mut file = std::fs::File::options().append(true).open(room.path("away/pin.jsonl")).unwrap();
    std::io::Write::write_all(&mut file, first.replace("1,", "2,").as_bytes()).unwrap();
    std::fs::rename(room.path("away"), room.path("in")).unwrap();
    until(&mut running, &|s| s["totals"]["read"] == 2 && s["sources"][0]["trouble"].is_null());
    running.terminate();
    let said = running.wait(Duration::from_mins(1)).ok().stderr;
    assert_eq!(said.matches("the source cannot be read").count(), 1, "{said}");
    assert_eq!(said.matches("the source can be read again").count(), 1, "{said}");
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let room = Room::new();
    write(&Shape::bench(100, 3), &room.path("in"));
    let files = "[source.files]\npaths = [\"nowhere\"]\narrival_field = \"sent_at\"\n";
    let config = room.write("c.toml", files);
    let said = pinflow(["validate", "--config", &config]).ok().stdout;
    assert!(said.contains("nowhere is not there now") && said.contains("no metric"), "{said}");
    let ended = pinflow(once(Path::new(&config), &room.path("in"), &room.path("state")));
    refused(&ended, 0, &["no metric is declared", "whose arrival_field say", "source.files.paths"]);
}
