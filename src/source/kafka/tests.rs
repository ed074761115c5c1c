//! Faults, injected into librdkafka's mock cluster: whatever happens, each message is given once,
//! in order, with its time. (The real broker is in `tests/kafka.rs`.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::*;
use crate::config::{Gap, Security, Start, Topics};
use crate::source::Read;

const TOPIC: &str = "t.pin";
const BROKERS: i32 = 3;
const PARTITIONS: i32 = 3;

/// A cluster of three brokers with one topic.
struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    sent: u64,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(BROKERS).expect("a cluster");
        cluster.create_topic(TOPIC, PARTITIONS, BROKERS).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "1");
        let producer = config.create().expect("a producer");
        Mock { cluster, producer, sent: 0 }
    }

    /// Sends so many records, in turn to the partitions; their times are a second apart.
    fn send(&mut self, n: u64) {
        for _ in 0..n {
            let payload = self.sent.to_string();
            let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(TOPIC)
                .partition((self.sent % PARTITIONS as u64) as i32)
                .timestamp(1_000_000 + self.sent as i64 * 1000)
                .payload(payload.as_bytes());
            assert!(self.producer.send(record).is_ok());
            self.sent += 1;
        }
        self.producer.flush(Duration::from_secs(30)).expect("all arrive");
    }

    fn config(&self) -> Kafka {
        Kafka {
            brokers: vec![self.cluster.bootstrap_servers()],
            topics: vec![Topics::Named(TOPIC.into())],
            prefix: None,
            group: "g".into(),
            commit: true,
            start: Start::Earliest,
            gap: Gap::Stop,
            fetch_memory: 4 << 20,
            refresh: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_mins(1),
            security: Security::default(),
            dead_letters: None,
            properties: BTreeMap::new(),
        }
    }

    fn leaders(&self, shift: i32) {
        for n in 0..PARTITIONS {
            let broker = (n + shift) % BROKERS + 1;
            self.cluster.partition_leader(TOPIC, n, Some(broker)).expect("a leader");
        }
    }
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !so() {
        assert!(Instant::now() < end, "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A source with its readers, and what they gave.
struct Run {
    source: KafkaSource,
    readers: Vec<Box<dyn Reader>>,
    got: Vec<(u64, i64)>,
    troubles: u64,
    memos: Memos,
}

impl Run {
    fn new(config: &Kafka, bounded: bool, memos: &Memos, positions: &[(String, u64)]) -> Self {
        let clock = Arc::new(|| 42);
        let setup =
            Setup { bounded, until: None, clock, max_message: 1 << 20, own: Arc::default() };
        let mut source = KafkaSource::new("k", config, Routes::default(), setup);
        source.restore(memos, positions).expect("its own memos");
        let mut run =
            Run { source, readers: Vec::new(), got: Vec::new(), troubles: 0, memos: Memos::new() };
        until("the brokers answer", || !run.discover(positions));
        run
    }

    /// Opens what was found; whether there is something to wait for still.
    fn discover(&mut self, positions: &[(String, u64)]) -> bool {
        let seen = self.source.discover().expect("the brokers are there");
        self.memos.extend(seen.memos);
        for found in seen.found {
            let known = positions.iter().find(|p| p.0 == found.name);
            let at = known.map_or(found.start, |p| p.1);
            let number = self.readers.len() as u32;
            self.readers.push(self.source.open(&found.name, number, at).expect("it is there"));
        }
        seen.pending
    }

    /// A partition as all see it.
    fn part(&self, number: i32) -> Arc<Part> {
        self.source.shared.parts.lock()[&topics::name(TOPIC, number)].clone()
    }

    /// Asks each reader once; whether there was anything.
    fn turn(&mut self) -> bool {
        let mut any = false;
        let mut ended = Vec::new();
        for (n, reader) in self.readers.iter_mut().enumerate() {
            match reader.read(4 << 10, 50) {
                Ok(Read::Batch(batch)) => {
                    any = true;
                    for i in 0..batch.spans.len() {
                        let text = std::str::from_utf8(batch.payload(i)).expect("a number");
                        let value = text.parse::<u64>().expect("a number");
                        assert_eq!(batch.position(i), value / PARTITIONS as u64);
                        self.got.push((value, batch.arrival(i)));
                    }
                }
                Ok(Read::Idle(_) | Read::Pending(_)) => {}
                Ok(Read::End) => ended.push(n),
                Err(SourceError::Unavailable { .. }) => self.troubles += 1,
                Err(error) => panic!("{error}"),
            }
        }
        for n in ended.into_iter().rev() {
            drop(self.readers.remove(n));
        }
        any
    }

    /// Reads until so many messages are there.
    fn read(&mut self, n: u64) {
        let until = Instant::now() + Duration::from_mins(2);
        while (self.got.len() as u64) < n {
            if !self.turn() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(Instant::now() < until, "only {} of {n}", self.got.len());
        }
    }

    /// Asserts that exactly these came, each once, with its time.
    fn is(&mut self, values: std::ops::Range<u64>) {
        for _ in 0..50 {
            self.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut got = self.got.clone();
        got.sort_unstable();
        let want: Vec<(u64, i64)> =
            values.map(|n| (n, 1_000_000_000 + n as i64 * 1_000_000)).collect();
        assert_eq!(got.len(), want.len());
        assert_eq!(got, want);
    }
}

#[test]
fn leaders_move_while_it_reads() {
    let mut mock = Mock::new();
    mock.send(3_000);
    let mut run = Run::new(&mock.config(), false, &Memos::new(), &[]);
    for shift in 1..6_u32 {
        run.read(u64::from(shift) * 400);
        mock.leaders(shift as i32);
        mock.send(300);
    }
    run.read(4_500);
    run.is(0..4_500);
}

#[test]
fn fetches_fail_and_are_slow() {
    let mut mock = Mock::new();
    mock.send(3_000);
    let mut run = Run::new(&mock.config(), false, &Memos::new(), &[]);
    run.read(300);
    mock.cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        ],
    );
    mock.send(3_000);
    run.read(4_000);
    for broker in 1..=BROKERS {
        let slow = Duration::from_millis(400);
        mock.cluster.broker_round_trip_time(broker, slow).expect("a broker");
    }
    run.read(6_000);
    run.is(0..6_000);
}

/// An offset that is said to be out of range, and is not: it is asked for what there is, and goes
/// on where it was.
#[test]
fn a_false_alarm_about_the_range_skips_nothing() {
    let mut mock = Mock::new();
    mock.send(300);
    let mut run = Run::new(&mock.config(), false, &Memos::new(), &[]);
    run.read(300);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &[error; 3]);
    mock.send(300);
    run.read(600);
    run.is(0..600);
    assert_eq!(run.source.counters()["gaps"], 0);
}

/// `PINFLOW_KAFKA_DOWN` (4) says for how many seconds the brokers are away.
#[test]
fn brokers_go_away_and_come_back() {
    let seconds = std::env::var("PINFLOW_KAFKA_DOWN").ok().and_then(|s| s.parse().ok());
    let mut mock = Mock::new();
    mock.send(300);
    let mut run = Run::new(&mock.config(), false, &Memos::new(), &[]);
    run.read(300);
    for broker in 1..=BROKERS {
        mock.cluster.broker_down(broker).expect("a broker");
    }
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(4));
    while Instant::now() < until || run.troubles == 0 || run.source.watch().trouble.is_none() {
        run.turn();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!run.source.watch().errors.is_empty());
    for broker in 1..=BROKERS {
        mock.cluster.broker_up(broker).expect("a broker");
    }
    mock.send(600);
    run.read(900);
    run.is(0..900);
    let until = Instant::now() + Duration::from_mins(1);
    while run.source.watch().trouble.is_some() {
        assert!(Instant::now() < until, "it is still said that the brokers are away");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that gives nothing, without an error, although there is something: also one that had
/// given everything before.
#[test]
fn a_silent_stall_is_noticed_and_ended() {
    let mut mock = Mock::new();
    mock.send(300);
    let config = Kafka { stall_timeout: Duration::from_secs(1), ..mock.config() };
    let mut run = Run::new(&config, false, &Memos::new(), &[]);
    run.read(300);
    until("all ends are seen", || {
        run.turn();
        (0..PARTITIONS).all(|n| run.part(n).ended.get() == Some(100))
    });
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
    let reading = run.source.shared.reading.read().clone().expect("it reads");
    reading.consumer.pause(&list).expect("it has them");
    drop(reading);
    mock.send(300);
    run.read(600);
    run.is(0..600);
    assert!(run.source.counters()["clients_stalled"] >= 1);
}

#[test]
fn a_bounded_run_keeps_to_its_ends_until_it_is_over() {
    let mut mock = Mock::new();
    mock.send(600);
    let config = mock.config();
    let mut run = Run::new(&config, true, &Memos::new(), &[]);
    let mut memos = run.memos.clone();
    assert_eq!(memos[ENDS]["t.pin/0"], 200);
    run.read(150);
    memos.extend(run.source.stop());
    let positions: BTreeMap<String, u64> = run.got.iter().fold(BTreeMap::new(), |mut all, got| {
        let (number, at) = (got.0 % PARTITIONS as u64, got.0 / PARTITIONS as u64);
        let next = all.entry(format!("{TOPIC}/{number}")).or_default();
        *next = (at + 1).max(*next);
        all
    });
    let positions: Vec<(String, u64)> = positions.into_iter().collect();
    let before = std::mem::take(&mut run.got);
    drop(run);
    mock.send(300);
    let mut run = Run::new(&config, true, &memos, &positions);
    run.got = before;
    run.read(600);
    run.is(0..600);
    assert!(run.readers.is_empty(), "every partition has ended");
    let done = run.source.progress().expect("it has an end");
    assert_eq!(done.done, done.total);
    memos.extend(run.source.stop());
    assert!(memos[ENDS].is_null());
    let positions: Vec<_> = (0..PARTITIONS).map(|n| (format!("{TOPIC}/{n}"), 200)).collect();
    let mut run = Run::new(&config, true, &memos, &positions);
    run.read(300);
    run.is(600..900);
}

/// What is durable is committed, never back, and known to whoever asks the group.
#[test]
fn durable_positions_are_committed_and_never_go_back() {
    let mut mock = Mock::new();
    mock.send(300);
    let run = Run::new(&mock.config(), false, &Memos::new(), &[]);
    let mut source = run.source;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", mock.cluster.bootstrap_servers()).set("group.id", "g");
    let asked: rdkafka::consumer::BaseConsumer = client.create().expect("a client");
    let committed = || {
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, 0);
        let known = asked.committed_offsets(list, Duration::from_secs(10)).expect("an answer");
        client::known_offsets(&known).first().map(|o| o.1)
    };
    let name = format!("{TOPIC}/0");
    let mut commits = 0;
    for (durable, want) in [(40, 40), (60, 60), (50, 60), (70, 70)] {
        source.durable(&[(name.clone(), durable)]);
        let until = Instant::now() + Duration::from_secs(30);
        while committed() != Some(want) {
            assert!(Instant::now() < until, "{durable}: {:?}", committed());
            std::thread::sleep(Duration::from_millis(20));
        }
        while durable == want && source.counters()["group_commits"] == commits {
            assert!(Instant::now() < until, "{durable}: no commit is counted");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(committed(), Some(want));
        let now = source.counters()["group_commits"];
        assert!(durable == want || now == commits, "what is behind is not committed");
        commits = now;
    }
    source.durable(&[(name, 80)]);
    // Its end commits what is still open.
    drop(source);
    assert_eq!(committed(), Some(80));
}

/// An offset of the group that cannot be had is not taken for none, and keeps no other from being
/// committed.
#[test]
fn a_position_whose_group_offset_is_unknown_is_not_committed() {
    let mut mock = Mock::new();
    mock.send(300);
    let mut source = Run::new(&mock.config(), false, &Memos::new(), &[]).source;
    source.durable(&[(format!("{TOPIC}/0"), 40), (format!("{TOPIC}/99"), 7)]);
    until("the error is counted", || {
        source.shared.said.errors.lock().contains_key("UnknownTopicOrPartition")
    });
    until("the other is committed", || source.counters()["group_commits"] == 1);
}

/// Another topic of the same name that is longer than what was read, and an offset that is said
/// to be out of range: the record before is still compared.
#[test]
fn another_topic_is_told_apart_after_an_offset_out_of_range() {
    let mut mock = Mock::new();
    mock.send(300);
    let config = Kafka { gap: Gap::Skip, ..mock.config() };
    let mut run = Run::new(&config, false, &Memos::new(), &[]);
    let name = topics::name(TOPIC, 0);
    run.source.restore_arrivals(&[(name.clone(), 7)]);
    run.readers = vec![run.source.open(&name, 0, 50).expect("it is there")];
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &[error; 3]);
    run.read(100);
    assert_eq!(run.got.iter().map(|got| got.0).min(), Some(0));
    assert_eq!(run.source.counters()["partitions_begun_anew"], 1);
}

/// A start again does not wait for a partition that nobody leads.
#[test]
fn what_has_a_leader_is_read_at_once() {
    let mut mock = Mock::new();
    mock.send(300);
    let memos = Run::new(&mock.config(), false, &Memos::new(), &[]).memos;
    mock.cluster.partition_leader(TOPIC, 2, None).expect("a partition");
    let mut run = Run::new(&mock.config(), false, &memos, &[]);
    assert_eq!(run.readers.len(), 2);
    run.read(200);
    let trouble = run.source.watch().trouble.expect("it is said");
    assert!(trouble.contains("t.pin/2"), "{trouble}");
    mock.leaders(0);
    until("it is found", || {
        run.discover(&[]);
        run.readers.len() == 3
    });
    run.read(300);
    run.is(0..300);
    assert_eq!(run.source.watch().trouble, None);
}

#[test]
fn a_start_beyond_the_end_waits_for_what_comes() {
    let mut mock = Mock::new();
    mock.send(300);
    let offsets = [("t.pin/0", 1_000), ("t.pin/1", 40)].map(|(name, at)| (name.to_owned(), at));
    let config = Kafka { start: Start::Offsets(offsets.into()), ..mock.config() };
    let mut run = Run::new(&config, false, &Memos::new(), &[]);
    run.read(160);
    assert!(run.got.iter().all(|(n, _)| n % 3 == 2 || (n % 3 == 1 && n / 3 >= 40)));
    mock.send(3);
    run.read(163);
    assert!(run.got.iter().any(|(n, _)| *n == 300));
}

/// A partition whose offsets are not to be had does not have the brokers asked all the time.
#[test]
fn what_is_gone_is_not_asked_for() {
    let mut mock = Mock::new();
    mock.send(3);
    let config = Kafka { refresh: Duration::from_hours(1), ..mock.config() };
    let run = Run::new(&config, false, &Memos::new(), &[]);
    let (gone, other) = (run.part(0), run.part(1));
    gone.gone.store(true, Relaxed);
    gone.asks.store(true, Relaxed);
    let began = Instant::now();
    until("it was asked", || other.seen.load(Relaxed) >= 3);
    let turns = began.elapsed().as_millis() / 200;
    assert!(u128::from(other.seen.load(Relaxed)) <= turns + 1, "asked too often");
}
