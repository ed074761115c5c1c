//! What the topics of a real broker hold, seen by a plain consumer.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::Broker;

/// What an answer may take, also of a broker that is just coming back.
const PATIENCE: Duration = Duration::from_mins(1);

/// A consumer that belongs to no group.
fn consumer(broker: &Broker) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("group.id", "test");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "false");
    config.create().expect("a consumer")
}

/// How many records a topic has got so far; none if it is not there.
pub fn count(broker: &Broker, topic: &str) -> i64 {
    let consumer = consumer(broker);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
    let partitions = metadata.topics()[0].partitions().iter();
    let ends = partitions.map(|p| consumer.fetch_watermarks(topic, p.id(), PATIENCE));
    ends.map(|ends| ends.map_or(0, |ends| ends.1)).sum()
}

/// Waits until a topic has more records than so many; returns how many.
pub fn wait(broker: &Broker, topic: &str, more_than: i64) -> i64 {
    let start = Instant::now();
    loop {
        let count = count(broker, topic);
        if count > more_than {
            return count;
        }
        assert!(start.elapsed() < PATIENCE, "{topic} stays at {count} records");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that a topic holds: by partition, in order.
pub fn read(broker: &Broker, topic: &str) -> Vec<Vec<OwnedMessage>> {
    let consumer = consumer(broker);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
    let count = metadata.topics()[0].partitions().len();
    assert!(count > 0, "there is no topic {topic}");
    let mut list = TopicPartitionList::new();
    let mut left = Vec::new();
    for partition in 0..count as i32 {
        let ends = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("an answer");
        left.push(ends.1 - ends.0);
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("its own");
    }
    consumer.assign(&list).expect("its own");
    let mut out = vec![Vec::new(); count];
    let start = Instant::now();
    while left.iter().any(|n| *n > 0) {
        assert!(start.elapsed() < PATIENCE, "of {topic} {left:?} records do not come");
        let Some(message) = consumer.poll(Duration::from_millis(500)) else { continue };
        let message = message.expect("a record").detach();
        left[message.partition() as usize] -= 1;
        out[message.partition() as usize].push(message);
    }
    out
}
