//! A real Kafka broker for a test, and what is put into it and seen in it. The broker is stopped
//! when the test ends, however it does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::port::free_port;

/// A broker process.
pub struct Broker {
    dir: PathBuf,
    /// Plaintext, controller, SASL, TLS, SASL over TLS.
    ports: [u16; 5],
    child: Option<Child>,
}

impl Broker {
    /// A broker whose data are in a folder.
    pub fn start(dir: &Path) -> Self {
        let ports = [(); 5].map(|()| free_port());
        let mut broker = Broker { dir: dir.to_owned(), ports, child: None };
        broker.again();
        broker
    }

    /// Starts it again on the same data and ports.
    pub fn again(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
        // The output of a failing start is the only trace of why.
        let log = std::fs::File::create(self.dir.with_extension("broker")).expect("writable");
        let child = Command::new(script)
            .arg("start")
            .arg(&self.dir)
            .args(self.ports.map(|p| p.to_string()))
            .env("CARGO_TARGET_DIR", target())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("scripts/kafka can be started");
        self.child = Some(child);
        self.wait();
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        let start = Instant::now();
        loop {
            let asked: BaseConsumer = client(&self.address()).create().expect("a client");
            if asked.fetch_metadata(None, Duration::from_millis(500)).is_ok() {
                return;
            }
            let child = self.child.as_mut().expect("it was started");
            let gone = child.try_wait().expect("it can be waited for").is_some();
            if gone || start.elapsed() > Duration::from_mins(2) {
                let said = std::fs::read_to_string(self.dir.with_extension("broker"));
                panic!(
                    "the Kafka broker does not start (java and mvn are needed: scripts/setup \
                     test):\n{}",
                    said.unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
    }

    /// Where it listens in plain text.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Where it listens with SASL, with TLS, with both.
    pub fn secured(&self) -> [String; 3] {
        [2, 3, 4].map(|n| format!("127.0.0.1:{}", self.ports[n]))
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The folder of build results, where the broker's jars are kept.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_pinflow"));
    binary.ancestors().nth(2).expect("target/release/pinflow").to_owned()
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0");
    config
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    client(brokers).create().expect("an admin client")
}

/// Makes topics of so many partitions.
pub fn create(brokers: &str, topics: &[&str], partitions: i32) {
    create_with(brokers, topics, partitions, &[]);
}

/// [`create`], with settings.
pub fn create_with(brokers: &str, topics: &[&str], partitions: i32, settings: &[(&str, &str)]) {
    let new = topics.iter().map(|name| {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        settings.iter().fold(new, |new, (key, value)| new.set(key, value))
    });
    let new: Vec<NewTopic<'_>> = new.collect();
    let made = block(admin(brokers).create_topics(&new, &options())).expect("an answer");
    for result in made {
        result.expect("the topic can be made");
    }
}

/// Takes a topic away.
pub fn delete(brokers: &str, topic: &str) {
    let gone = block(admin(brokers).delete_topics(&[topic], &options())).expect("an answer");
    for result in gone {
        result.expect("the topic can be deleted");
    }
}

/// Gives a topic more partitions.
pub fn widen(brokers: &str, topic: &str, partitions: usize) {
    let new = NewPartitions::new(topic, partitions);
    let made = block(admin(brokers).create_partitions(&[new], &options())).expect("an answer");
    for result in made {
        result.expect("partitions can be added");
    }
}

/// Deletes what stands before an offset.
pub fn truncate(brokers: &str, topic: &str, partition: i32, before: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
    block(admin(brokers).delete_records(&list, &options())).expect("records can be deleted");
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(Duration::from_secs(20)))
        .operation_timeout(Some(Duration::from_secs(20)))
}

/// Where a record goes, when it was made (milliseconds), what is in it (none = a tombstone).
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The record's timestamp, milliseconds.
    pub at: i64,
    /// The payload.
    pub payload: Option<&'a [u8]>,
    /// The key.
    pub key: Option<&'a str>,
    /// The headers.
    pub headers: &'a [(&'a str, String)],
}

/// Puts records into topics, in order, and waits until the broker has them.
pub fn send<'a>(brokers: &str, records: impl IntoIterator<Item = Sent<'a>>) {
    let mut config = client(brokers);
    config.set("enable.idempotence", "true").set("compression.type", "lz4");
    config.set("linger.ms", "20").set("queue.buffering.max.messages", "200000");
    let producer: BaseProducer = config.create().expect("a producer");
    for sent in records {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(sent.topic).partition(sent.partition).timestamp(sent.at);
        if let Some(payload) = sent.payload {
            record = record.payload(payload);
        }
        if let Some(key) = sent.key {
            record = record.key(key.as_bytes());
        }
        if !sent.headers.is_empty() {
            let one = |headers: OwnedHeaders, (key, value): &(&str, String)| {
                headers.insert(Header { key, value: Some(value) })
            };
            record = record.headers(sent.headers.iter().fold(OwnedHeaders::new(), one));
        }
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "a record can be sent");
            producer.poll(Duration::from_millis(20));
            record = back;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_mins(1)).expect("the broker takes all");
}

/// The offsets that a group has committed, by `topic/partition`.
pub fn committed(brokers: &str, group: &str, topics: &[&str], partitions: i32) -> Committed {
    let mut config = client(brokers);
    config.set("group.id", group);
    let asked: BaseConsumer = config.create().expect("a client");
    let mut list = TopicPartitionList::new();
    for topic in topics {
        list.add_partition_range(topic, 0, partitions - 1);
    }
    let start = Instant::now();
    let known = loop {
        // A broker that has just started may not know yet that it is the one to ask.
        match asked.committed_offsets(list.clone(), Duration::from_secs(20)) {
            Ok(known) => break known,
            Err(error) => assert!(start.elapsed() < Duration::from_mins(1), "no answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let one = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
        Offset::Offset(at) => Some((format!("{}/{}", e.topic(), e.partition()), at as u64)),
        _ => None,
    };
    known.elements().iter().filter_map(one).collect()
}

/// Offsets by `topic/partition`.
pub type Committed = BTreeMap<String, u64>;
