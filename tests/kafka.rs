//! Kafka: what the real binary makes of topics of a real broker is what the oracle says, over
//! generated and real rows, whatever is killed, and whatever becomes of the topics.
//!
//! `PINFLOW_KAFKA_RECORDS` (150 000) says how many records are generated, `PINFLOW_KAFKA_KILLS`
//! (30) how often pinflow is killed; `PINFLOW_KAFKA_SEED` repeats the moments.

#![allow(clippy::unwrap_used)]

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/login.rs"]
mod login;
#[path = "kafka/msk.rs"]
mod msk;
mod oracle;
#[path = "kafka/runs.rs"]
mod runs;
mod support;
#[path = "kafka/topics.rs"]
mod topics;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::{Broker, committed};
use runs::{Run, create, names};
use support::generate::{Shape, streams};
use support::metrics::{ARRIVED, ARRIVED_LATELY, MEDIANS, REFUSED, TOPS, declared};
use support::process::Running;
use support::{Random, number};
use topics::{Record, equal, equal_to_rows, generated, messages, put, real};

/// Settings of its runs.
const SETTINGS: &str = r#"
[engine]
clock = "arrival"

[state]
cut_interval = "100ms"

[http]
listen = "none"
"#;

/// Declarations of this test alone.
const OWN: &str = r#"
[[metric]]
name = "rows"
meaning = "records read, by stream"
of = "records"
by = ["stream"]
measure = "count"
"#;

/// Declarations that it shares with others.
const SHARED: &[&str] = &[ARRIVED, ARRIVED_LATELY, MEDIANS, TOPS, REFUSED];

fn config(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("metrics.toml");
    std::fs::write(&path, declared(SETTINGS, SHARED, OWN)).unwrap();
    path
}

#[test]
fn a_bounded_run_reads_to_the_ends_of_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "t", 4);
    let events = number("PINFLOW_KAFKA_RECORDS", 150_000) as usize / 3;
    let records = generated("t", &Shape::dirty(events, 11), 4, true);
    put(&broker.address(), &records);
    let bench = support::config("bench.toml");
    let run = Run::new(&bench, &broker.address(), "t", dir.path());
    run.to_the_end(&[]).ok();
    equal(&bench, &run.out, &messages("kafka", &records));
    // What came later is taken up by the next run, which ends where the topics end then.
    let more = generated("t", &Shape::dirty(500, 12), 4, false);
    put(&broker.address(), &more);
    run.to_the_end(&[]).ok();
    let all: Vec<_> = records.into_iter().chain(more).collect();
    equal(&bench, &run.out, &messages("kafka", &all));
    real_rows(&broker, dir.path());
    starts(&broker, dir.path(), &all);
    mixed(&broker, &dir.path().join("mixed"));
}

/// Pins by one cluster, places by another, people from files.
fn mixed(broker: &Broker, dir: &Path) {
    std::fs::create_dir_all(dir.join("rest")).unwrap();
    let other = Broker::start(&dir.join("other"));
    let shape = Shape::bench(3_000, 21);
    let users = &streams(&shape)[2];
    std::fs::write(dir.join("rest/user.jsonl"), users.concat()).unwrap();
    let all = generated("mixed", &shape, 3, false);
    let sent = |topic: &str, to: &Broker| -> Vec<Record> {
        let records: Vec<Record> = all.iter().filter(|r| r.topic == topic).cloned().collect();
        broker::create(&to.address(), &[topic], 3);
        put(&to.address(), &records);
        records
    };
    let (pins, geos) = (sent("mixed.pin", broker), sent("mixed.geo", &other));
    let sources = format!(
        "[source.kafka]\nbrokers = \"{}\"\ntopics = [\"^mixed[.]p\"]\n\
         [source.other]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopics = [\"mixed.geo\"]\n\
         [source.rest]\nkind = \"files\"\npaths = [\"{}\"]\n",
        broker.address(),
        other.address(),
        dir.join("rest").display(),
    );
    let (bench, config) = (support::config("bench.toml"), dir.join("mixed.toml"));
    std::fs::write(&config, sources).unwrap();
    let path = |p: &Path| p.to_str().unwrap().to_string();
    let (state, out) = (dir.join("state"), dir.join("out"));
    let mut args = ["run", "--until", "latest"].map(ToString::to_string).to_vec();
    for (flag, value) in
        [("--config", &bench), ("--config", &config), ("--state", &state), ("--results", &out)]
    {
        args.extend([flag.to_string(), path(value)]);
    }
    support::process::pinflow(&args).ok();
    let mut all = messages("kafka", &pins);
    all.extend(messages("other", &geos));
    all.extend(support::wire::folder(&dir.join("rest"), 0));
    equal(&bench, &out, &all);
}

/// The committed real rows, through the seed systems' queries.
fn real_rows(broker: &Broker, dir: &Path) {
    create(&broker.address(), "real", 4);
    let records = real("real");
    put(&broker.address(), &records);
    let queries = support::config("queries.toml");
    let run = Run::new(&queries, &broker.address(), "real", &dir.join("real"));
    run.to_the_end(&[]).ok();
    equal(&queries, &run.out, &messages("kafka", &records));
}

/// Where a first start begins, and where a run up to a time ends.
fn starts(broker: &Broker, dir: &Path, records: &[Record]) {
    let config = config(dir);
    let all = messages("kafka", records);
    let middle = records[records.len() / 2].at;
    let time = |ms: i64| {
        let at = chrono::DateTime::from_timestamp_millis(ms).unwrap();
        at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    };
    // The first offset of each partition whose record is of this time or later.
    let first = |partition: &str| {
        let late =
            |m: &&oracle::Message| &*m.partition == partition && m.arrived_at >= middle * 1000;
        all.iter().find(late).map_or(u64::MAX, |m| m.position)
    };
    let mut firsts: BTreeMap<String, u64> = BTreeMap::new();
    for message in &all {
        let name = message.partition.to_string();
        firsts.entry(name.clone()).or_insert_with(|| first(&name));
    }
    let check = |name: &str, settings: &[String], keep: &dyn Fn(&str, u64) -> bool| {
        let run = Run::new(&config, &broker.address(), "t", &dir.join(name));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        run.to_the_end(&settings).ok();
        let kept = all.iter().filter(|m| keep(&m.partition, m.position)).cloned();
        equal_to_rows(&config, &run.out, &kept.collect::<Vec<_>>(), name);
    };
    let set = |value: String| vec!["--set".into(), format!("source.kafka.start={value}")];
    check("from", &set(format!("\"{}\"", time(middle))), &|name, at| at >= firsts[name]);
    check("latest", &set("latest".into()), &|_, _| false);
    let offsets = "{ \"t.pin/0\" = 700, \"t.geo/3\" = 11 }";
    check("offsets", &set(offsets.into()), &|name, at| match name {
        "t.pin/0" => at >= 700,
        "t.geo/3" => at >= 11,
        _ => true,
    });
    strangers(broker, &config, &dir.join("strangers"));
    came_later(broker, &config, &dir.join("later"), &set(format!("\"{}\"", time(middle))));
    check("until", &["--until".into(), time(middle)], &|name, at| at < firsts[name]);
}

/// Partitions that came after the first start are read from their oldest record, which may be older
/// than what that began with.
fn came_later(broker: &Broker, config: &Path, dir: &Path, start: &[String]) {
    let (run, start) = (Run::new(config, &broker.address(), "l", dir), start.iter());
    let start: Vec<&str> = start.map(String::as_str).collect();
    create(&broker.address(), "l", 1);
    run.to_the_end(&start).ok();
    runs::names("l").iter().for_each(|topic| broker::widen(&broker.address(), topic, 2));
    let mut records = generated("l", &Shape::bench(50, 5), 1, false);
    records.iter_mut().for_each(|record| record.partition = 1);
    put(&broker.address(), &records);
    run.to_the_end(&start).ok();
    equal_to_rows(config, &run.out, &messages("kafka", &records), "later");
}

/// What `validate --connect` says: all of it as JSON, and what is not there.
fn strangers(broker: &Broker, config: &Path, dir: &Path) {
    let run = Run::new(config, &broker.address(), "t", dir);
    let seen = run.validate(&["--format", "json"]).ok().stdout;
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let answer = &seen["connected"][0];
    assert_eq!(answer["brokers"][0], broker.address());
    let topic = &answer["topics"][1];
    assert_eq!((&topic["topic"], &topic["readable"]), (&"t.pin".into(), &true.into()));
    assert!(topic["newest"]["ahead_seconds"].as_f64() < Some(0.0), "{topic}");
    assert_eq!(topic["partitions"][3]["begin"].as_u64(), Some(0));
    assert!(topic["partitions"][3]["end"].as_u64() > Some(0), "{topic}");
    let set = ["--set", "source.kafka.start={ \"t.pin/9\" = 1, \"other/0\" = 1, \"t.pin/0\" = 1 }"];
    let refused = run.validate(&set);
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains("`start` names other/0, t.pin/9"), "{}", refused.stderr);
    let warned = run.to_the_end(&set).ok().stderr;
    assert_eq!(warned.matches("names a partition that is not there").count(), 2, "{warned}");
}

/// The committed offsets of the group; none of them may ever go back.
struct Group {
    brokers: String,
    seen: BTreeMap<String, u64>,
}

impl Group {
    fn look(&mut self) {
        let names = names("c");
        let topics: Vec<&str> = names.iter().map(String::as_str).collect();
        for (partition, at) in committed(&self.brokers, "pinflow", &topics, 4) {
            let before = self.seen.insert(partition.clone(), at).unwrap_or(0);
            assert!(at >= before, "{partition} went back from {before} to {at} in the group");
        }
    }
}

#[test]
fn kill_9_of_pinflow_and_of_the_broker_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("kafka"));
    let brokers = broker.address();
    create(&brokers, "c", 4);
    let seed = number("PINFLOW_KAFKA_SEED", 5);
    let kills = number("PINFLOW_KAFKA_KILLS", 30);
    let events = number("PINFLOW_KAFKA_RECORDS", 150_000) as usize / 3;
    let records = generated("c", &Shape { indexes: 20_000, ..Shape::dirty(events, seed) }, 4, true);
    let mut random = Random::new(seed);
    let config = config(dir.path());
    let run = Run::new(&config, &brokers, "c", dir.path());
    let mut group = Group { brokers: brokers.clone(), seen: BTreeMap::new() };
    // Before each kill a part of the records comes, while pinflow runs.
    let part = records.len() / kills as usize + 1;
    let mut parts = records.chunks(part);
    for kill in 0..kills {
        // As many workers as there are cores, then one, then as many again.
        let workers = if (kills / 3..kills * 2 / 3).contains(&kill) { "1" } else { "2" };
        let daemon = Running::start(run.command(&["--workers", workers]));
        if let Some(part) = parts.next() {
            put(&brokers, part);
        }
        std::thread::sleep(Duration::from_millis(100 + random.below(700)));
        if kill % 6 == 2 {
            broker.kill();
            std::thread::sleep(Duration::from_millis(random.below(500)));
            broker.again();
        }
        let left = daemon.kill();
        assert_eq!(left.code, None, "it had ended by itself:\n{}", left.stderr);
        group.look();
    }
    for part in parts {
        put(&brokers, part);
    }
    // The end is fixed at the first start; what comes then is not of this run.
    let daemon = Running::start(run.command(&["--until", "latest", "--workers", "1"]));
    std::thread::sleep(Duration::from_millis(400));
    drop(daemon.kill());
    run.to_the_end(&["--workers", "2"]).ok();
    equal(&config, &run.out, &messages("kafka", &records));
    group.look();
    let next = topics::next_offsets(&records);
    let most: Vec<_> = group.seen.iter().filter(|(p, at)| next[*p] < **at).collect();
    assert!(most.is_empty(), "committed beyond the end: {most:?}");
    assert_eq!(group.seen, next, "everything is committed at the end");
}

/// Waits until a daemon's status answers a question.
fn until<T>(
    run: &Run,
    daemon: &mut Running,
    what: &str,
    ask: impl Fn(&runs::Status) -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = run.status().as_ref().and_then(&ask) {
            return answer;
        }
        let seen = run.status().map(|s| s.0.to_string());
        assert!(daemon.alive(), "the daemon ended before {what}: {seen:?}");
        assert!(start.elapsed() < Duration::from_mins(1), "not {what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the metrics have all of `there` and nothing of `absent`: each partition notices by
/// itself what becomes of the brokers.
fn shows(run: &Run, daemon: &mut Running, there: &[&str], absent: &[&str]) {
    let start = Instant::now();
    loop {
        let metrics = run.metrics();
        let is = |text: &&str| metrics.contains(*text);
        if there.iter().all(is) && !absent.iter().any(is) {
            return;
        }
        assert!(daemon.alive() && start.elapsed() < Duration::from_mins(1), "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn topics_change_under_a_running_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("kafka"));
    let brokers = broker.address();
    create(&brokers, "f", 1);
    let config = config(dir.path());
    let run = Run::new(&config, &brokers, "f", dir.path());
    let mut daemon = Running::start(run.serving());
    let read = |n: u64| move |s: &runs::Status| (s.read() == n).then_some(());
    let first = generated("f", &Shape::bench(1_000, 1), 1, false);
    put(&brokers, &first);
    let mut count = first.len() as u64;
    until(&run, &mut daemon, "it has read all", read(count));
    // Partitions are added while it runs.
    broker::widen(&brokers, "f.pin", 3);
    let more = generated("f", &Shape::bench(1_000, 2), 3, false);
    let more: Vec<Record> = more.into_iter().filter(|r| r.topic == "f.pin").collect();
    put(&brokers, &more);
    count += more.len() as u64;
    until(&run, &mut daemon, "it has read the new partitions", read(count));
    // The broker is away for a while: that is said, and it goes on.
    broker.kill();
    until(&run, &mut daemon, "it says that the broker is away", runs::Status::trouble);
    unknown(&run, &mut daemon);
    broker.again();
    put(&brokers, &more);
    count += more.len() as u64;
    until(&run, &mut daemon, "it goes on", read(count));
    until(&run, &mut daemon, "nothing is said any more", |s| s.trouble().is_none().then_some(()));
    let lag = until(&run, &mut daemon, "everything is read", |s| {
        let lags = s.lags();
        lags.iter().all(|l| *l == Some(0.0)).then_some(lags.len())
    });
    assert_eq!(lag, 5);
    let well = [
        "pinflow_source_failing{source=\"kafka\"} 0",
        "pinflow_source_partitions{source=\"kafka\",state=\"failing\"} 0",
    ];
    shows(&run, &mut daemon, &well, &[]);
    let geos = remade(&run, &mut daemon, &brokers);
    count += geos;
    until(&run, &mut daemon, "it has read the topic that was made anew", read(count));
    drop(daemon.kill());
    skipped(&run, &brokers, &more, count);
    early(&run, &mut broker);
    recreated(&run, &brokers);
}

/// Started while the broker is away a daemon shows what it has in the end, but not as if that were
/// all there is: nobody has told it. That was called live.
fn early(run: &Run, broker: &mut Broker) {
    let marked = |is: bool| move |s: &runs::Status| (s.0["catching_up"] == is).then_some(());
    broker.kill();
    let mut command = run.serving();
    command.args(["--set", "engine.withhold=1s"]);
    let mut daemon = Running::start(command);
    until(run, &mut daemon, "what it has is marked", marked(true));
    broker.again();
    until(run, &mut daemon, "it has caught up", marked(false));
    let lags = until(run, &mut daemon, "the ends are known", |s| {
        s.lags().into_iter().collect::<Option<Vec<f64>>>()
    });
    assert!(lags.iter().all(|lag| *lag == 0.0), "{lags:?}");
    drop(daemon.kill());
}

/// While the broker is away nobody knows how far the daemon is behind: that is no 0.
fn unknown(run: &Run, daemon: &mut Running) {
    until(run, daemon, "its lag is unknown", |s| {
        s.lags().iter().all(Option::is_none).then_some(())
    });
    let there = [
        "pinflow_source_failing{source=\"kafka\"} 1",
        "pinflow_source_partitions{source=\"kafka\",state=\"failing\"} 5",
        "pinflow_source_fetched_bytes_total{source=\"kafka\"}",
    ];
    let absent = ["pinflow_lag_records{", "pinflow_lag_seconds{", "pinflow_source_end{"];
    shows(run, daemon, &there, &absent);
    let summary = run.summary();
    assert!(summary.contains("source kafka: failing, 5 partitions, lag unknown"), "{summary}");
    assert!(summary.lines().count() <= 15, "{summary}");
}

/// A topic is deleted and made anew while it is read, longer than it was; how many records it has.
fn remade(run: &Run, daemon: &mut Running, brokers: &str) -> u64 {
    broker::delete(brokers, "f.geo");
    until(run, daemon, "it says that the topic is gone", |s| s.partition_trouble("f.geo/0"));
    // It has looked for topics several times then.
    std::thread::sleep(Duration::from_secs(2));
    broker::create(brokers, &["f.geo"], 1);
    let records = generated("f", &Shape::bench(2_000, 4), 1, false);
    let geos = records.into_iter().filter(|r| r.topic == "f.geo");
    let geos: Vec<Record> = geos.map(|r| Record { at: r.at + 86_400_000, ..r }).collect();
    put(brokers, &geos);
    let all = geos.len() as u64;
    until(run, daemon, "it has read the new topic", |s| {
        let anew = s.counter("partitions_begun_anew") == Some(1);
        (anew && s.position("f.geo/0") == Some(all)).then_some(())
    });
    all
}

/// Records are deleted before they were read.
fn skipped(run: &Run, brokers: &str, more: &[Record], mut count: u64) {
    let of = |n: i32| more.iter().filter(move |r| r.partition == n);
    put(brokers, more);
    let had = 2 * of(2).count() as i64;
    let new = of(2).count() as i64;
    broker::truncate(brokers, "f.pin", 2, had + new - 10);
    let stop = ["--set", "source.kafka.gap=stop"];
    let refused = run.to_the_end(&stop);
    assert_eq!(refused.code, Some(65), "{}", refused.stderr);
    assert!(refused.stderr.contains("f.pin/2"), "{}", refused.stderr);
    let mut daemon = Running::start(run.serving());
    count += more.len() as u64 - (new as u64 - 10);
    until(run, &mut daemon, "it has read what there is", |s| (s.read() == count).then_some(()));
    // The source's counts come to the status a moment after what was read.
    let skipped = until(run, &mut daemon, "it says so", |s| {
        s.counter("records_skipped").filter(|skipped| *skipped > 0)
    });
    assert_eq!(skipped, new as u64 - 10);
    drop(daemon.kill());
}

/// A topic is deleted and made anew, longer than the one that was read.
fn recreated(run: &Run, brokers: &str) {
    broker::delete(brokers, "f.user");
    broker::create(brokers, &["f.user"], 1);
    let records = generated("f", &Shape::bench(3_000, 3), 1, false);
    let users: Vec<Record> = records.into_iter().filter(|r| r.topic == "f.user").collect();
    let later = users.into_iter().map(|r| Record { at: r.at + 86_400_000, ..r });
    let users: Vec<Record> = later.collect();
    put(brokers, &users);
    let stop = ["--set", "source.kafka.gap=stop"];
    let refused = run.to_the_end(&stop);
    assert_eq!(refused.code, Some(65), "{}", refused.stderr);
    assert!(refused.stderr.contains("is not the one that was read"), "{}", refused.stderr);
    let mut daemon = Running::start(run.serving());
    let anew = |s: &runs::Status| s.counter("partitions_begun_anew").filter(|n| *n > 0);
    until(run, &mut daemon, "it begins anew", anew);
    let all = users.len() as u64;
    until(run, &mut daemon, "it has read the new topic", |s| {
        (s.position("f.user/0") == Some(all)).then_some(())
    });
    drop(daemon.kill());
    // With fewer records, and with as many: a bounded run, which has nothing to read up to its
    // end, sees it as well.
    for (day, count) in [(2, users.len() / 3), (3, users.len() / 3)] {
        broker::delete(brokers, "f.user");
        broker::create(brokers, &["f.user"], 1);
        let later = |r: &Record| Record { at: r.at + day * 86_400_000, ..r.clone() };
        let again: Vec<Record> = users.iter().take(count).map(later).collect();
        put(brokers, &again);
        let refused = run.to_the_end(&stop);
        assert_eq!(refused.code, Some(65), "{}", refused.stderr);
        let done = run.to_the_end(&[]).ok();
        let read = format!("\"read\":{count},");
        assert!(done.stderr.contains(&read), "not {read} {}", done.stderr);
    }
}
