//! A topic of dead letters, read to its end: what `pinflow replay --from-topic` takes.
//!
//! Promises: a letter that was sent twice is given once. What is no letter is counted.
//! Limits: all letters of the topic are in memory at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client;
use super::connect::Asker;
use super::look::{self, Offsets};
use super::shared::Part;
use super::topics;
use crate::config::{Kafka, Topics};
use crate::sink::letters::{ARRIVAL, REASON, RULED, STATE, TRUNCATED, id_of_key};
use crate::source::SourceError;
use crate::store::dead::{Letter, LetterId};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a topic holds.
#[derive(Debug, Default)]
pub struct Sent {
    /// The letters, each with the id of the state that it is of, in the order of their ids.
    pub letters: BTreeMap<LetterId, (Letter, String)>,
    /// Records that are no letters.
    pub others: u64,
}

/// Reads the topic of a source's letters up to the end that it has now.
pub fn read(source: &str, config: &Kafka, topic: &str) -> Result<Sent, SourceError> {
    let doing = format!("reading the dead letters in topic {topic}");
    let asker = Asker::new(source, config, &doing)?;
    let unavailable = |what: String| asker.failed(what.into());
    let client = &asker.client;
    let listed = asker.reach(config, &[Topics::Named(topic.to_owned())])?;
    let parts: Vec<Arc<Part>> =
        listed.parts.iter().map(|(t, n)| Arc::new(Part::new(t, *n))).collect();
    let asked = |what| look::asked(client, &parts, what, look::PATIENCE);
    let begins = asked(Offset::Beginning).map_err(|seen| asker.failed(seen))?;
    let ends = asked(Offset::End).map_err(|seen| asker.failed(seen))?;
    let failed = |error: &KafkaError| unavailable(client::shown(error));
    let mut list = TopicPartitionList::new();
    let mut left: HashMap<i32, u64> = HashMap::new();
    for part in &parts {
        let at = |of: &Offsets| of.get(&part.name).copied().unwrap_or_default();
        if at(&ends) > at(&begins) {
            let from = Offset::Offset(at(&begins) as i64);
            list.add_partition_offset(topic, part.number, from).map_err(|e| failed(&e))?;
            left.insert(part.number, at(&ends));
        }
    }
    client.assign(&list).map_err(|e| failed(&e))?;
    let (mut sent, mut since) = (Sent::default(), Instant::now());
    while !left.is_empty() {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                since = Instant::now();
                let next = message.offset() as u64 + 1;
                match letter(&message) {
                    Some((letter, state)) => {
                        drop(sent.letters.insert(letter.id(), (letter, state)));
                    }
                    None => sent.others += 1,
                }
                left.retain(|number, end| *number != message.partition() || next < *end);
            }
            Some(Err(KafkaError::PartitionEOF(number))) => drop(left.remove(&number)),
            Some(Err(error)) => return Err(failed(&error)),
            None if since.elapsed() >= PATIENCE => {
                let names: BTreeSet<String> =
                    left.keys().map(|number| topics::name(topic, *number)).collect();
                let what = format!("nothing came of {names:?} within {PATIENCE:?}");
                return Err(unavailable(what));
            }
            None => {}
        }
    }
    Ok(sent)
}

/// The letter that a record is, and the state that it is of.
fn letter(message: &BorrowedMessage<'_>) -> Option<(Letter, String)> {
    let key = std::str::from_utf8(message.key()?).ok()?;
    let (source, partition, position, sub) = id_of_key(key)?;
    let header = |name: &str| -> Option<String> {
        let found = message.headers()?.iter().filter(|header| header.key == name).last()?;
        Some(std::str::from_utf8(found.value?).ok()?.to_owned())
    };
    let payload = message.payload().unwrap_or_default();
    let text = std::str::from_utf8(payload).ok();
    let letter = Letter {
        source,
        partition,
        position,
        sub,
        arrived_at: header(ARRIVAL)?,
        reason: header(REASON)?,
        payload: text.map(str::to_owned),
        payload_base64: text.is_none().then(|| STANDARD.encode(payload)),
        truncated: header(TRUNCATED)? == "true",
        ruled: header(RULED),
    };
    Some((letter, header(STATE).unwrap_or_default()))
}
