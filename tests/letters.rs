//! One topic for all, and a topic for what is rejected: records ruled by their keys and headers
//! give what the oracle says, and every letter of the disk comes to the topic of dead letters,
//! whatever is killed; read again from there they are what they are from the disk.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "kafka/broker.rs"]
mod broker;
#[allow(dead_code)]
#[path = "kafka/held.rs"]
mod held;
mod oracle;
mod support;
#[allow(dead_code)]
#[path = "kafka/topics.rs"]
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use broker::{Broker, Sent};
use oracle::model::Model;
use oracle::{Rule, Rules, Stream};
use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde_json::Value;
use support::generate::Shape;
use support::http::Api;
use support::metrics::{ARRIVED, MEDIANS, declared};
use support::port::free_port;
use support::process::{Finished, Running, command};
use support::{Random, compare, number};
use topics::{Record, equal, generated, messages, put};

/// Settings of its runs.
const SETTINGS: &str = r#"
[engine]
clock = "arrival"

[state]
cut_interval = "50ms"

[http]
listen = "none"
"#;

/// Declarations of this test alone.
const OWN: &str = r#"
[[metric]]
name = "rows"
meaning = "records read, by stream, outcome and reason"
of = "records"
by = ["stream", "outcome", "reason"]
measure = "count"
"#;

/// Declarations that it shares with others.
const SHARED: &[&str] = &[ARRIVED, MEDIANS];

/// How records of the shared topic are ruled.
const ROUTES: &str = r#"[
    { topic = "other*", as = "pin" },
    { key = "foreign-[0-9]*", as = "ignore" },
    { topic = "shared", key = "pin-*", as = "pin" },
    { key = "geo-*", as = "geo" },
    { key = "user-*", as = "user" },
    { header = { kind = "pin", from = "*" }, as = "pin" },
    { header = { kind = "geo" }, as = "geo" },
    { header = { kind = "user" }, as = "user" },
    { partition = "shared/[1-3]", as = "auto" },
    { as = "ignore" },
]"#;

/// Runs over one topic, with one state.
struct Case {
    dir: PathBuf,
    port: u16,
}

impl Case {
    /// Reads `topic`; what is rejected goes to `topic.rejected` too.
    fn new(dir: &Path, brokers: &str, topic: &str, routes: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let source = format!(
            "[source.kafka]\nbrokers = \"{brokers}\"\ntopics = [\"{topic}\"]\nroute = {routes}\n\
             dead_letters = {{ topic = \"{topic}.rejected\" }}\nrefresh = \"300ms\"\n"
        );
        std::fs::write(
            dir.join("run.toml"),
            format!("{}\n{source}", declared(SETTINGS, SHARED, OWN)),
        )
        .unwrap();
        Case { dir: dir.to_owned(), port: free_port() }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("run.toml")
    }

    fn command(&self, word: &[&str], state: &str) -> Command {
        let mut args: Vec<String> = word.iter().map(ToString::to_string).collect();
        for (flag, path) in [("--config", self.config()), ("--state", self.dir.join(state))] {
            args.extend([flag.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        command(args)
    }

    fn daemon(&self) -> Command {
        self.command(&["run", "--listen", &format!("127.0.0.1:{}", self.port)], "state")
    }

    fn to_the_end(&self) -> Finished {
        let out = self.out();
        let words = ["run", "--until", "latest", "--results", out.to_str().unwrap()];
        Running::start(self.command(&words, "state")).wait(Duration::from_mins(2)).ok()
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// A replay of a state, and what it says.
    fn replay(&self, more: &[&str], state: &str) -> String {
        let words: Vec<&str> = ["replay"].iter().chain(more).copied().collect();
        let done = Running::start(self.command(&words, state)).wait(Duration::from_mins(2));
        done.ok().stdout
    }

    /// What a state holds: every metric, and its letters.
    fn holds(&self, state: &str) -> Vec<String> {
        let ask = |name: &str| {
            let words = ["results", name, "--format", "tsv"];
            Running::start(self.command(&words, state)).wait(Duration::from_mins(1)).ok().stdout
        };
        let mut holds: Vec<String> = ["arrived", "rows", "medians"].map(ask).to_vec();
        // They stand in the order in which they were rejected, and again rejected.
        let list = self.replay(&["--list"], state);
        let mut lines: Vec<&str> = list.lines().collect();
        lines.sort_unstable();
        holds.push(lines.join("\n"));
        holds
    }

    fn copy(&self, to: &str) {
        let (from, to) = (self.dir.join("state"), self.dir.join(to));
        let done = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
        assert!(done.success());
    }
}

/// A letter as it is compared: key, payload, reason, arrival, whether it was cut, how it was ruled.
type Seen = (String, Vec<u8>, [String; 4]);

/// The letters of the disk as the topic is to hold them.
fn of_disk(letters: &[Value]) -> BTreeSet<Seen> {
    use base64::Engine;
    let engine = &base64::engine::general_purpose::STANDARD;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |letter: &Value| {
        let place = ["source", "partition"].map(|key| text(&letter[key])).join("/");
        let payload = match letter["payload_base64"].as_str() {
            Some(coded) => engine.decode(coded).unwrap(),
            None => text(&letter["payload"]).into_bytes(),
        };
        let truncated = letter["truncated"].to_string();
        let said =
            [text(&letter["reason"]), text(&letter["arrived_at"]), truncated, text(&letter["as"])];
        (format!("{place}/{}/{}", letter["position"], letter["sub"]), payload, said)
    };
    letters.iter().map(one).collect()
}

fn header(message: &OwnedMessage, name: &str) -> String {
    let all = message.headers().unwrap().iter();
    let found = all.filter(|h| h.key == name).map(|h| h.value.unwrap_or_default());
    found.map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

/// The letters that a topic holds, and how many records that are.
fn of_topic(broker: &Broker, topic: &str) -> (BTreeSet<Seen>, usize) {
    let records: Vec<OwnedMessage> = held::read(broker, topic).into_iter().flatten().collect();
    let one = |m: &OwnedMessage| {
        let key = String::from_utf8(m.key().unwrap().to_vec()).unwrap();
        let said = ["reason", "arrival", "truncated", "as"].map(|name| header(m, name));
        (key, m.payload().unwrap_or_default().to_vec(), said)
    };
    (records.iter().map(one).collect(), records.len())
}

/// Waits until a daemon's source answers a question.
fn until<T>(case: &Case, daemon: &mut Running, what: &str, ask: impl Fn(&Value) -> Option<T>) -> T {
    let (api, start) = (Api::new(case.port), Instant::now());
    loop {
        let status = api.json("/api/v1/status").unwrap_or_default();
        if let Some(answer) = ask(&status) {
            return answer;
        }
        assert!(daemon.alive(), "the daemon ended before {what}");
        assert!(start.elapsed() < Duration::from_mins(1), "not {what}: {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_letter_comes_to_the_topic_whatever_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("kafka"));
    let brokers = broker.address();
    broker::create(&brokers, &["l.pin"], 4);
    let case = Case::new(&dir.path().join("case"), &brokers, "l.pin", "[]");
    let seed = number("PINFLOW_KAFKA_SEED", 3);
    let mut random = Random::new(seed);
    let shape = Shape { malformed: 100, ..Shape::dirty(20_000, seed) };
    let all = generated("l", &shape, 4, true).into_iter().filter(|r| r.topic == "l.pin");
    let all: Vec<Record> = all.collect();
    let (early, rest) = all.split_at(2_000);
    without_topic(&case, &broker, early);
    let kills = number("PINFLOW_LETTER_KILLS", 12) as usize;
    let points = ["after_dead_letters_sync", "after_log_append", "after_manifest_rename"];
    for (kill, part) in rest.chunks(rest.len() / kills + 1).enumerate() {
        let mut daemon = case.daemon();
        if kill % 3 == 1 {
            let point = random.pick(&points);
            daemon.env("PINFLOW_FAULT", format!("{point}:{}", 2 + random.below(8)));
        }
        let daemon = Running::start(daemon);
        put(&brokers, part);
        std::thread::sleep(Duration::from_millis(100 + random.below(900)));
        if kill % 5 == 3 {
            broker.kill();
            std::thread::sleep(Duration::from_millis(random.below(500)));
            broker.again();
        }
        let left = daemon.kill();
        assert_eq!(left.code, None, "it had ended by itself:\n{}", left.stderr);
    }
    away(&case, &mut broker);
    case.to_the_end();
    let messages = messages("kafka", &all);
    equal(&case.config(), &case.out(), &messages);
    let letters = compare::letters(&case.dir.join("state"));
    compare::same_letters(&letters, &Model::new(&messages, &Rules::default()));
    let (sent, records) = of_topic(&broker, "l.pin.rejected");
    let disk = of_disk(&letters);
    assert!(disk.len() > 1_000, "{} letters", disk.len());
    let few = |list: Vec<&Seen>| list.into_iter().take(3).cloned().collect::<Vec<_>>();
    let (lost, other) =
        (few(disk.difference(&sent).collect()), few(sent.difference(&disk).collect()));
    assert!(lost.is_empty() && other.is_empty(), "not sent: {lost:?}\nno letter: {other:?}");
    // At least once, and not all of them again at each start.
    assert!(records < 4 * disk.len(), "{records} records of {} letters", disk.len());
    replayed(&case, &brokers, &letters);
}

/// The topic is not there yet: that is said, letters wait for it, and nothing waits for them.
fn without_topic(case: &Case, broker: &Broker, records: &[Record]) {
    let mut daemon = Running::start(case.daemon());
    put(&broker.address(), records);
    let all = records.len() as u64;
    until(case, &mut daemon, "it has read all", |status| {
        (status["totals"]["read"].as_u64() >= Some(all)).then_some(())
    });
    until(case, &mut daemon, "it says that letters cannot be sent", |status| {
        let sending = &status["sources"][0]["dead_letters"];
        let said = sending["trouble"]["error"].as_str().unwrap_or_default();
        let waits = sending["waiting_bytes"].as_u64() > Some(0) && sending["sent"] == 0;
        (waits && said.contains("l.pin.rejected")).then_some(())
    });
    let metrics = Api::new(case.port).get("/metrics").unwrap().1;
    let failures = "pinflow_dead_letters_failures_total{source=\"kafka\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(failures));
    assert!(line.is_some_and(|n| n.parse::<u64>().unwrap() > 0), "{line:?}");
    broker::create(&broker.address(), &["l.pin.rejected"], 3);
    until(case, &mut daemon, "letters are sent", |status| {
        let sending = &status["sources"][0]["dead_letters"];
        (sending["sent"].as_u64() > Some(0) && sending["trouble"].is_null()).then_some(())
    });
    assert_eq!(daemon.kill().code, None, "it had ended by itself");
}

/// While the broker is away nothing of the letters is lost.
fn away(case: &Case, broker: &mut Broker) {
    broker.kill();
    let mut daemon = Running::start(case.daemon());
    std::thread::sleep(Duration::from_secs(1));
    broker.again();
    until(case, &mut daemon, "all letters are sent", |status| {
        let sending = &status["sources"][0]["dead_letters"];
        let done = sending["waiting_bytes"] == 0 && sending["trouble"].is_null();
        done.then_some(())
    });
    daemon.terminate();
    let left = daemon.wait(Duration::from_mins(1)).ok();
    assert!(!left.stderr.contains("panicked"), "{}", left.stderr);
}

/// Letters read again from the topic and from the disk give the same, and none is taken up twice.
fn replayed(case: &Case, brokers: &str, letters: &[Value]) {
    case.copy("disk");
    case.copy("topic");
    let from_disk = case.replay(&[], "disk");
    assert!(from_disk.starts_with(&format!("{} dead letters read again", letters.len())));
    assert_eq!(case.replay(&["--from-topic"], "topic"), from_disk);
    assert_eq!(case.holds("topic"), case.holds("disk"));
    // Letters that the disk has lost are still in the topic.
    case.copy("lost");
    let file = case.dir.join("lost/dead-letters-0.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 1);
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(case.replay(&["--from-topic"], "lost"), from_disk);
    assert_eq!(case.holds("lost"), case.holds("disk"));
    let listed = case.replay(&["--list", "--from-topic"], "state");
    assert_eq!(listed.lines().count(), letters.len());
    // A letter that was mended in the topic is taken up, once.
    let broken = letters.iter().find(|l| l["reason"] == "not_json").unwrap();
    let key = format!(
        "kafka/{}/{}/{}",
        broken["partition"].as_str().unwrap(),
        broken["position"],
        broken["sub"]
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers = [
        ("reason", text(&broken["reason"])),
        ("arrival", text(&broken["arrived_at"])),
        ("truncated", "false".to_owned()),
    ];
    let payload = br#"{"index": 9000000001, "unique_id": "u", "category": "mended"}"#;
    for partition in 0..3 {
        let (topic, payload) = ("l.pin.rejected", Some(&payload[..]));
        let sent = Sent { topic, partition, at: 1, payload, key: Some(&key), headers: &headers };
        broker::send(brokers, [sent]);
    }
    let taken = case.replay(&["--from-topic"], "state");
    assert!(taken.contains("1 records taken up"), "{taken}");
    let mended = |holds: &[String]| holds[0].lines().any(|line| line == "mended\t1");
    let before = case.holds("state");
    assert!(mended(&before), "{before:?}");
    let again = case.replay(&["--from-topic"], "state");
    assert!(again.contains("0 records taken up") && again.contains("passed over"), "{again}");
    assert!(mended(&case.holds("state")));
}

#[test]
fn records_of_one_topic_are_ruled_by_key_and_header() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    let brokers = broker.address();
    broker::create(&brokers, &["shared", "shared.rejected"], 4);
    let case = Case::new(&dir.path().join("case"), &brokers, "shared", ROUTES);
    let mut random = Random::new(8);
    let shape = Shape { malformed: 40, ..Shape::dirty(4_000, 8) };
    let mut records = generated("x", &shape, 4, true);
    for record in &mut records {
        "shared".clone_into(&mut record.topic);
        let Rule::Kind(stream) = record.rule else { continue };
        // Some are sent as what they are not.
        let said = if random.chance(50) { *random.pick(&Stream::ALL) } else { stream };
        let kind = ("kind", said.name().to_owned());
        let none = if record.partition == 0 { Rule::Ignore } else { Rule::Auto };
        record.rule = Rule::Kind(said);
        match random.below(6) {
            0 | 1 => record.key = Some(format!("{}-{}", said.name(), random.below(100))),
            2 => record.headers = vec![("kind", "pin".into()), ("from", "a".into()), kind],
            3 if said != Stream::Pin => record.headers = vec![kind],
            4 => {
                record.key = Some(format!("foreign-{}", random.below(100)));
                record.headers = vec![kind];
                record.rule = Rule::Ignore;
            }
            5 => (record.key, record.rule) = (Some("foreign-x".into()), none),
            _ => record.rule = none,
        }
    }
    let (first, second) = records.split_at(records.len() / 2);
    put(&brokers, first);
    case.to_the_end();
    put(&brokers, second);
    case.to_the_end();
    let messages = messages("kafka", &records);
    equal(&case.config(), &case.out(), &messages);
    let letters = compare::letters(&case.dir.join("state"));
    compare::same_letters(&letters, &Model::new(&messages, &Rules::default()));
    let mut by_rule: BTreeMap<String, u64> = BTreeMap::new();
    for letter in &letters {
        *by_rule.entry(letter["as"].as_str().unwrap().into()).or_default() += 1;
    }
    assert_eq!(by_rule.keys().collect::<Vec<_>>(), ["auto", "geo", "pin", "user"]);
    assert_eq!(of_topic(&broker, "shared.rejected").0, of_disk(&letters));
    // Read again they are ruled as they were.
    let before = case.holds("state");
    case.replay(&[], "state");
    let after = case.holds("state");
    assert!(after[3] == before[3], "letters are others than before they were read again");
    let twice = |text: &str| -> BTreeMap<String, u64> {
        let rows = text.lines().skip(1).filter(|line| line.contains("rejected"));
        let row = |line: &str| {
            let (name, count) = line.rsplit_once('\t').unwrap();
            (name.to_owned(), count.parse().unwrap())
        };
        rows.map(row).collect()
    };
    let doubled: BTreeMap<String, u64> =
        twice(&before[1]).into_iter().map(|(name, count)| (name, 2 * count)).collect();
    assert_eq!(twice(&after[1]), doubled);
    too_large(&broker, &dir.path().join("large"));
}

/// A letter that is larger than the topic takes is cut, and holds up none of the others.
fn too_large(broker: &Broker, dir: &Path) {
    let brokers = broker.address();
    broker::create(&brokers, &["large"], 1);
    let most = [("max.message.bytes", "20000")];
    broker::create_with(&brokers, &["large.rejected"], 1, &most);
    let case = Case::new(dir, &brokers, "large", "[]");
    // No text that can be packed: how large a record is, is how large it is on its way.
    let mut random = Random::new(4);
    let long: String = (0..100_000).map(|_| (b'A' + random.below(26) as u8) as char).collect();
    let texts = ["one", &*long, "three"];
    let records = texts.map(|text| Record {
        topic: "large".into(),
        partition: 0,
        at: topics::BEGAN,
        payload: Some(text.as_bytes().to_vec()),
        rule: Rule::Auto,
        key: None,
        headers: Vec::new(),
    });
    put(&brokers, &records);
    case.to_the_end();
    let (sent, _) = of_topic(broker, "large.rejected");
    let sent: BTreeMap<String, (Vec<u8>, String)> =
        sent.into_iter().map(|(key, payload, said)| (key, (payload, said[2].clone()))).collect();
    let at = |position: usize| &sent[&format!("kafka/large/0/{position}/0")];
    assert_eq!(sent.len(), 3);
    for whole in [0, 2] {
        assert_eq!(*at(whole), (texts[whole].as_bytes().to_vec(), "false".to_owned()));
    }
    let (payload, truncated) = at(1);
    assert!(long.as_bytes().starts_with(payload) && truncated == "true");
    assert!(payload.len() > 5_000, "{} bytes", payload.len());
    let disk = compare::letters(&dir.join("state"));
    assert_eq!(disk[1]["payload"].as_str(), Some(&*long));
}
