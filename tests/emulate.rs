//! What `pinflow emulate` promises, seen from outside: the records that go in come out, byte for
//! byte, through files, a real MariaDB and a real Kafka broker; the stock order is that of a real
//! Python; an end by a signal loses nothing.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // shared with the tests of the source
#[path = "kafka/broker.rs"]
mod broker;
#[path = "support/database.rs"]
mod database;
#[path = "kafka/held.rs"]
mod held;
mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use broker::Broker;
use database::{DATABASE, Database, PASSWORD, USER};
use pinflow::emulate::draw::{Draws, Order, Place};
use rdkafka::message::Message;
use serde_json::Value;
use support::process::{Finished, Running, command, pinflow};

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/real");
const STREAMS: [&str; 3] = ["pin", "geo", "user"];

/// `pinflow emulate` with these words, to its end.
fn emulate(words: &[&str]) -> Finished {
    pinflow([&["emulate"], words].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn file(dir: &Path, stream: &str) -> String {
    std::fs::read_to_string(dir.join(format!("{stream}.jsonl"))).unwrap()
}

/// A sample of the course's own rows.
fn real(stream: &str) -> String {
    file(Path::new(REAL), stream)
}

fn refused(ended: &Finished, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word} is not said: {}", ended.stderr);
    }
}

/// The index that a record names.
fn index(record: &str) -> u64 {
    let record: Value = serde_json::from_str(record).unwrap();
    let index = ["index", "ind", "idx"].iter().find_map(|key| record.get(*key));
    index.and_then(Value::as_u64).unwrap()
}

#[test]
fn files_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    std::fs::create_dir(&from).unwrap();
    // Rows in one order, rows without a partner, dirt, a last line without its end.
    let lines = [
        "{\"index\":1}\n{\"index\":2,\"title\":\"\u{1f600}\"}\nnonsense\n{\"index\":2}\n",
        "{\"ind\":2}\n{\"ind\":3}\n\"\"\n{\"ind\":1}\n",
        "{\"idx\":\"3\"}\n{\"value\":{\"ind\":1}}\n{\"ind\":7}",
    ];
    for (stream, lines) in STREAMS.iter().zip(lines) {
        std::fs::write(from.join(format!("{stream}.jsonl")), lines).unwrap();
    }
    let words = ["--from", text(&from), "--to", "files", "--out", text(&out)];
    let told = emulate(&words).ok().stderr;
    assert!(told.contains("sent 11 records (pin 4, geo 4, user 3)"), "{told}");
    for (stream, lines) in STREAMS.iter().zip(lines) {
        assert_eq!(file(&out, stream).trim_end(), lines.trim_end(), "{stream}");
    }
    refused(&emulate(&words), 64, &["pin.jsonl", "is not overwritten"]);
    for stream in STREAMS {
        let lines: Vec<String> = real(stream).lines().map(str::to_string).collect();
        let only = emulate(&["--from", REAL, "--streams", stream]).ok().stdout;
        assert_eq!(only.lines().collect::<Vec<_>>(), lines, "{stream}");
    }
}

#[test]
fn a_post_is_sent_as_three_records_of_one_index() {
    let sent = emulate(&["--from", REAL, "--streams", "user,geo,pin"]).ok().stdout;
    let kind = |line: &str| match line {
        _ if line.contains("\"date_joined\"") => "user",
        _ if line.contains("\"latitude\"") => "geo",
        _ => "pin",
    };
    let lines: Vec<(u64, &str)> = sent.lines().map(|line| (index(line), kind(line))).collect();
    let whole = lines.windows(3).filter(|post| {
        let one = post[1].0 == post[0].0 && post[2].0 == post[0].0;
        one && post.iter().map(|record| record.1).eq(["user", "geo", "pin"])
    });
    let pins: Vec<u64> = real("pin").lines().map(index).collect();
    let [geos, users] = ["geo", "user"].map(|stream| real(stream).lines().map(index).collect());
    let knows = |list: &Vec<u64>, index| list.contains(index);
    let all = pins.iter().filter(|index| knows(&geos, index) && knows(&users, index)).count();
    assert!(all > 20, "the sample has posts that all three streams know");
    assert_eq!(whole.count(), all);
}

#[test]
fn the_demo_gives_equal_posts_to_equal_seeds() {
    let demo = |words: &[&str]| emulate(&[words, &["--count", "500"]].concat()).ok().stdout;
    let first = demo(&["--seed", "5"]);
    assert_eq!(first.lines().count(), 1500);
    assert_eq!(first, demo(&["--seed", "5", "--set", "source.demo.seed=9"]));
    assert_eq!(first, demo(&["--set", "source.demo.seed=5"]));
    assert_ne!(first, demo(&["--seed", "6"]));
    let random = demo(&["--seed", "5", "--order", "random"]);
    assert_eq!(random, demo(&["--seed", "5", "--order", "random"]));
    assert_ne!(random, first);
    let few = demo(&["--set", "source.demo.indexes=3"]);
    let known = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    assert!(few.lines().filter(known).count() > 1400);
    assert!(few.lines().filter(|line| line.contains(":2,")).count() > 300);
}

#[test]
fn an_order_at_random_draws_from_all_posts_again_and_again() {
    let words = ["--from", REAL, "--order", "random", "--count", "2000"];
    let drawn = emulate(&[&words[..], &["--streams", "user"]].concat()).ok().stdout;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in drawn.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let users = real("user");
    assert!(users.lines().all(|line| counts.contains_key(line)), "every row was drawn");
    assert!(counts.values().any(|n| *n > 10));
}

#[test]
fn the_records_of_a_post_stay_together_through_files() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let few = ["--set", "source.demo.indexes=500", "--count", "5000"];
    emulate(&[&["--to", "files", "--out", text(&out)], &few[..]].concat()).ok();
    let again = emulate(&["--from", text(&out)]).ok();
    // Every index is sent about ten times, and some records name none.
    let posts = again.stderr.split(" of ").nth(1).unwrap().split(' ').next().unwrap();
    let posts: u64 = posts.parse().unwrap();
    assert!((5000..5050).contains(&posts), "{}", again.stderr);
    assert!(again.stderr.contains("(pin 5000, geo 5000, user 5000)"), "{}", again.stderr);
}

/// What a real Python draws as the stock script does: sleeps and rows.
fn python(seed: u64, draws: usize) -> Vec<(u32, u64)> {
    let script = format!(
        "import random\nrandom.seed({seed})\nfor _ in range({draws}):\n    \
         print(random.randrange(0, 2), random.randint(0, 11000))"
    );
    let output = Command::new("python3").args(["-c", &script]).output();
    let output = output.expect("python3 is there: scripts/setup test installs it");
    assert!(output.status.success(), "{output:?}");
    let line = |line: &str| {
        let (sleep, row) = line.split_once(' ').unwrap();
        (sleep.parse().unwrap(), row.parse().unwrap())
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

#[test]
fn the_stock_order_is_that_of_a_real_python() {
    for seed in [100, 0, 7, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let ours: Vec<(u32, u64)> = Draws::new(Order::Stock, seed, None)
            .take(20_000)
            .map(|draw| match draw.place {
                Place::Index(row) => (draw.sleep_seconds, row),
                Place::Nth(_) => panic!("the stock script draws rows"),
            })
            .collect();
        assert!(ours == python(seed, 20_000), "seed {seed}");
    }
}

#[test]
fn the_stock_script_draws_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..11_154).map(|n| format!("{{\"ind\":{n}}}\n")).collect();
    std::fs::write(dir.path().join("user.jsonl"), rows.concat()).unwrap();
    let drawn = |words: &[&str]| {
        let all = [&["--from", text(dir.path()), "--stock", "--rate", "max"], words].concat();
        let sent = emulate(&all).ok();
        (sent.stdout.lines().map(index).collect::<Vec<u64>>(), sent.stderr)
    };
    let (rows, _) = drawn(&["--count", "5000"]);
    assert!(rows.iter().copied().eq(python(100, 5000).into_iter().map(|(_, row)| row)));
    // What was written down of the course's own emulator.
    let first = std::fs::read_to_string(support::data("stock_first_100.json")).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let first: Vec<u64> =
        first["row"].as_array().unwrap().iter().map(|row| row.as_u64().unwrap()).collect();
    assert_eq!((first.len(), &rows[..100]), (100, &first[..]));
    let (other, _) = drawn(&["--count", "5", "--seed", "7"]);
    assert!(other.iter().copied().eq(python(7, 5).into_iter().map(|(_, row)| row)));
    // Rows that are not there are draws too, and are told.
    std::fs::write(dir.path().join("user.jsonl"), "{\"ind\":5730}\n").unwrap();
    let (few, told) = drawn(&["--count", "100"]);
    assert_eq!(few, [5730]);
    assert!(told.contains("99 posts were drawn that are not there"), "{told}");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    for (words, code, said) in [
        (&["--to", "files"][..], 64, "--out"),
        (&["--to", "kafka", "--prefix", "p"], 64, "--brokers"),
        (&["--to", "files", "--out", out], 64, "never end"),
        (&["--to", "files", "--out", out, "--stock", "--from", "."], 69, "no pin.jsonl"),
        (&["--brokers", "b:1"], 64, "is for --to kafka"),
        (&["--interval", "2s..1s"], 64, "the shorter pause comes first"),
        (&["--interval", "1s", "--rate", "5"], 64, "cannot be used with"),
        (&["--rate", "0"], 64, "above 0"),
        (&["--streams", "pin,pin"], 64, "twice"),
        (&["--order", "random", "--stock"], 64, "cannot be used with"),
        (&["--from", "nowhere"], 69, "no pin.jsonl"),
        (&["--from", "mysql"], 78, "name no user"),
        (&["--from", "mysql", "--credentials", "nowhere.yaml"], 78, "nowhere.yaml"),
        (&["--load"], 64, "--from"),
        (&["--load", "--from", "demo"], 64, "from a folder"),
        (&["--load", "--from", ".", "--to", "files"], 64, "cannot be used with"),
        (&["--to", "kafka", "--brokers", "b:1", "--prefix", "p", "--property", "x"], 64, "a value"),
        (
            &["--to", "kafka", "--brokers", "b:1", "--prefix", "p", "--property", "acks=1"],
            78,
            "acks",
        ),
        (
            &["--to", "kafka", "--brokers", "127.0.0.1:1", "--prefix", "p"],
            69,
            "is a broker running there",
        ),
    ] {
        refused(&emulate(words), code, &[said]);
    }
}

/// What is decided elsewhere was silently overwritten: a login meant to be encrypted was not.
#[test]
fn a_property_that_is_decided_elsewhere_is_refused() {
    for (property, said) in [
        ("security.protocol=SASL_SSL", "`tls`"),
        ("sasl.password=hunter2", "env = "),
        ("ssl.key.password=hunter2", "key_password"),
        ("bootstrap.servers=b:2", "--brokers"),
        ("client.id=me", "pinflow-emulate"),
        ("enable.idempotence=false", "doubles records"),
    ] {
        let name = property.split('=').next().unwrap();
        let words = ["--to", "kafka", "--brokers", "b:1", "--prefix", "p", "--property", property];
        let ended = emulate(&words);
        refused(&ended, 64, &[&format!("--property cannot set {name}"), said]);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[test]
fn a_signal_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let words = ["emulate", "--to", "files", "--rate", "3000", "--out", text(&out)];
    let running = Running::start(command(words));
    while !out.join("user.jsonl").exists() || file(&out, "user").lines().count() < 300 {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.terminate();
    let told = running.wait(Duration::from_secs(30)).ok().stderr;
    let counts = STREAMS.map(|stream| {
        let text = file(&out, stream);
        assert!(text.ends_with('\n'), "{stream}: the last line is whole");
        text.lines().count()
    });
    let [pin, geo, user] = counts;
    assert!(pin >= 300 && pin == geo && geo == user, "{counts:?}");
    assert!(told.contains(&format!("(pin {pin}, geo {geo}, user {user})")), "{told}");
    assert!(told.contains("then was stopped"), "{told}");
}

/// The environment and the file of a database's credentials.
fn credentials(database: &Database, dir: &Path) -> String {
    let path = dir.join("db_creds.yaml");
    let quoted = PASSWORD.replace('\'', "''");
    let yaml = format!(
        "HOST: 127.0.0.1\nUSER: {USER}\nPASSWORD: '{quoted}'\nDATABASE: {DATABASE}\nPORT: {}\n",
        database.port
    );
    std::fs::write(&path, yaml).unwrap();
    text(&path).to_string()
}

#[test]
fn mysql_tables_are_filled_and_sent_as_they_were() {
    let database = Database::start();
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials(&database, dir.path());
    let from = ["--from", "mysql", "--credentials", &credentials];
    refused(&emulate(&from), 69, &["pinterest_data", "emulate --load"]);
    let load = ["--load", "--from", REAL, "--credentials", &credentials];
    let told = emulate(&load).ok().stderr;
    for table in ["pinterest_data", "geolocation_data", "user_data"] {
        assert!(told.contains(&format!("60 rows into {table}")), "{told}");
        let rows = database.ask(&format!("SELECT COUNT(*) FROM {table}")).unwrap();
        assert_eq!(rows.trim(), "60");
    }
    let out = dir.path().join("out");
    emulate(&[&from[..], &["--to", "files", "--out", text(&out)]].concat()).ok();
    for stream in STREAMS {
        assert_eq!(file(&out, stream), real(stream), "{stream}");
    }
    // The course's columns of coordinates are FLOAT.
    database.ask("ALTER TABLE geolocation_data MODIFY latitude FLOAT").unwrap();
    let geo = emulate(&[&from[..], &["--streams", "geo"]].concat()).ok().stdout;
    assert_eq!(geo, real("geo"));
    refused(&emulate(&load), 64, &["pinterest_data", "has rows already", "--replace"]);
    dirty_rows(&database, dir.path(), &credentials);
    let wrong = dir.path().join("wrong.toml");
    let toml = format!("user = '{USER}'\npassword = 'hidden'\nport = {}", database.port);
    std::fs::write(&wrong, toml).unwrap();
    let ended = emulate(&["--from", "mysql", "--credentials", text(&wrong)]);
    refused(&ended, 69, &["connecting to database", "Access denied"]);
    assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
}

/// Rows with every letter and without some; records that are no rows; replaced tables; the
/// credentials from the environment.
fn dirty_rows(database: &Database, dir: &Path, credentials: &str) {
    let from = dir.join("dirty");
    std::fs::create_dir(&from).unwrap();
    let title = "quotes \\\"'`; DROP TABLE x -- \\\\ \u{1f600} \\t \\u0001";
    let pin = format!("{{\"index\":7528,\"title\":\"{title}\",\"category\":null}}\n");
    std::fs::write(from.join("pin.jsonl"), format!("{pin}\"\"\nnull\n")).unwrap();
    let user = "{\"ind\":7528,\"age\":20,\"date_joined\":\"2017-01-01T10:11:12\"}\n";
    let day = "{\"ind\":5,\"date_joined\":\"2017-01- 10:11:12\"}\n";
    std::fs::write(from.join("user.jsonl"), format!("{user}{day}")).unwrap();
    let load = ["--load", "--replace", "--from", text(&from), "--credentials", credentials];
    let told = emulate(&load).ok().stderr;
    assert!(told.contains("loaded 1 rows into pinterest_data, 0 rows into geolocation"), "{told}");
    assert!(told.contains("3 records were left out, the first of them pin 2"), "{told}");
    let mut stock = command(["emulate", "--from", "mysql", "--stock", "--count", "3"]);
    stock.args(["--rate", "max"]).env("MYSQL_USER", USER).env("MYSQL_PASSWORD", PASSWORD);
    stock.env("MYSQL_PORT", database.port.to_string()).env("MYSQL_DATABASE", DATABASE);
    let sent = Running::start(stock).wait(Duration::from_mins(1)).ok().stdout;
    let sent: Vec<Value> = sent.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(sent.len(), 2, "a post of a pin and a user: {sent:?}");
    let right: Value = serde_json::from_str(&pin).unwrap();
    assert_eq!(sent[0]["title"], right["title"]);
    assert!(sent[0]["category"].is_null() && sent[0].as_object().unwrap().len() == 12);
    assert_eq!(sent[1]["date_joined"], "2017-01-01 10:11:12");
}

/// The payloads of a topic, sorted.
fn payloads(broker: &Broker, topic: &str) -> Vec<Vec<u8>> {
    let messages = held::read(broker, topic).into_iter().flatten();
    let mut all: Vec<Vec<u8>> = messages.map(|m| m.payload().unwrap().to_vec()).collect();
    all.sort();
    all
}

/// The lines of a file, sorted.
fn sorted(dir: &Path, stream: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(dir.join(format!("{stream}.jsonl"))).unwrap();
    let mut lines: Vec<Vec<u8>> =
        bytes.trim_ascii_end().split(|b| *b == b'\n').map(Vec::from).collect();
    lines.sort();
    lines
}

#[test]
fn kafka_gets_every_record_once() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&data.path().join("kafka"));
    let address = broker.address();
    let to = ["--to", "kafka", "--brokers", &address, "--rate", "max", "--prefix"];
    let missing = emulate(&[&to[..], &["none"]].concat());
    refused(&missing, 69, &["no topic none.pin, none.geo, none.user", "--partitions"]);
    // The real rows, their index as the key.
    let words = ["real", "--partitions", "4", "--key", "index", "--from", REAL];
    let told = emulate(&[&to[..], &words].concat()).ok().stderr;
    assert!(told.contains("sent 180 records"), "{told}");
    for stream in STREAMS {
        let topic = format!("real.{stream}");
        let partitions = held::read(&broker, &topic);
        assert!(partitions.len() == 4 && partitions.iter().all(|p| !p.is_empty()));
        for message in partitions.iter().flatten() {
            let record = std::str::from_utf8(message.payload().unwrap()).unwrap();
            assert_eq!(message.key().unwrap(), index(record).to_string().as_bytes());
        }
        assert_eq!(payloads(&broker, &topic), sorted(Path::new(REAL), stream), "{stream}");
    }
    // The demo, without keys, is what it is as files.
    let dir = tempfile::tempdir().unwrap();
    let demo = ["--count", "20000", "--seed", "3"];
    emulate(&[&["--to", "files", "--out", text(dir.path())], &demo[..]].concat()).ok();
    emulate(&[&to[..], &["demo", "--partitions", "4"], &demo].concat()).ok();
    for stream in STREAMS {
        assert!(payloads(&broker, &format!("demo.{stream}")) == sorted(dir.path(), stream));
    }
    assert!(held::read(&broker, "demo.pin").iter().flatten().all(|m| m.key().is_none()));
    secured(&broker, dir.path());
    killed(&mut broker, dir.path());
    gone(&mut broker);
}

/// Brokers that ask who it is, and that encrypt: as the configured source says.
fn secured(broker: &Broker, dir: &Path) {
    let path = dir.join("kafka.toml");
    let send = |address: &str, security: &str, password: &str| {
        let toml =
            format!("[source.kafka]\nbrokers = \"{address}\"\nprefix = \"real\"\n{security}");
        std::fs::write(&path, toml).unwrap();
        let mut sending = command(["emulate", "--to", "kafka", "--rate", "max", "--from", REAL]);
        sending.args(["--config", text(&path)]).env("KAFKA_PASSWORD", password);
        Running::start(sending).wait(Duration::from_mins(1))
    };
    let sasl = |mechanism: &str| {
        let password = match mechanism {
            "OAUTHBEARER" => "",
            _ => ", password = { env = \"KAFKA_PASSWORD\" }",
        };
        format!("sasl = {{ mechanism = \"{mechanism}\", username = \"alice\"{password} }}\n")
    };
    let tls = format!("tls = {{ ca = \"{}\" }}\n", broker.authority().display());
    let [plain, ssl, both] = broker.secured();
    let mut sent = 60;
    for (address, security) in [
        (&plain, sasl("SCRAM-SHA-256")),
        (&plain, sasl("OAUTHBEARER")),
        (&ssl, tls.clone()),
        (&both, sasl("PLAIN") + &tls),
    ] {
        send(address, &security, "alice-secret").ok();
        sent += 60;
        assert_eq!(held::count(broker, "real.pin"), sent, "{security}");
    }
    let ended = send(&plain, &sasl("SCRAM-SHA-256"), "wrong-secret");
    refused(&ended, 69, &["asking for topics", "uthentication failed"]);
    assert!(!ended.stderr.contains("wrong-secret"), "{}", ended.stderr);
}

/// The broker is killed while records are sent, and comes back; then a signal comes: what is told
/// is there, nothing is lost or doubled.
fn killed(broker: &mut Broker, dir: &Path) {
    let address = broker.address();
    let mut words = vec!["emulate", "--to", "kafka", "--brokers", &address, "--prefix", "killed"];
    words.extend(["--partitions", "4", "--seed", "3", "--rate", "6000"]);
    let running = Running::start(command(words));
    let mut there = 0;
    for _ in 0..2 {
        there = held::wait(broker, "killed.pin", there + 500);
        broker.kill();
        broker.again();
    }
    held::wait(broker, "killed.pin", there + 500);
    running.terminate();
    let told = running.wait(Duration::from_mins(1)).ok().stderr;
    let posts = payloads(broker, "killed.pin").len().to_string();
    assert!(told.contains(&format!("(pin {posts}, geo {posts}, user {posts})")), "{told}");
    assert!(told.contains("then was stopped"), "{told}");
    let right = dir.join("killed");
    emulate(&["--to", "files", "--out", text(&right), "--seed", "3", "--count", &posts]).ok();
    for stream in STREAMS {
        let got = payloads(broker, &format!("killed.{stream}"));
        assert!(got == sorted(&right, stream), "{stream}");
    }
}

/// The broker goes while records are sent, and does not come back: the failure is told.
fn gone(broker: &mut Broker) {
    let address = broker.address();
    let mut words = vec!["emulate", "--to", "kafka", "--brokers", &address, "--prefix", "gone"];
    words.extend(["--partitions", "2", "--rate", "3000"]);
    words.extend(["--property", "message.timeout.ms=8000"]);
    let running = Running::start(command(&words));
    held::wait(broker, "gone.pin", 500);
    broker.kill();
    let ended = running.wait(Duration::from_mins(1));
    refused(
        &ended,
        69,
        &["nothing is confirmed by", "delivering to topic gone.", "records were delivered"],
    );
}
