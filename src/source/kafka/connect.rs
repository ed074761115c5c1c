//! `pinflow validate --connect`: whether the brokers are there, the topics are, and we may read
//! them. Nothing is kept or committed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};

use super::client::{self, Consumer, Said, Share};
use super::look::{self, Listed};
use super::shared::Part;
use crate::config::{Kafka, Topics};
use crate::source::{Clock, SourceError};

/// How long a record is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A record that is further ahead of our clock than this is said, microseconds.
const AHEAD: i64 = 5_000_000;

/// Asks the brokers of a source; what they answered, a line each.
pub fn connect(name: &str, config: &Kafka, clock: &Clock) -> Result<String, SourceError> {
    let said = Arc::new(Said::default());
    let share = Share::new(config.fetch_memory, 1);
    let client = client::consumer(name, config, Some(share), &said)?;
    let failed =
        |what: String| SourceError::Unavailable { what: format!("source `{name}`: {what}") };
    let listed = reach(&client, config, &config.topics, &said).map_err(failed)?;
    let parts: Vec<Arc<Part>> =
        listed.parts.iter().map(|(t, n)| Arc::new(Part::new(t, *n))).collect();
    let begins = look::asked(&client, &parts, Offset::Beginning).map_err(failed)?;
    let ends = look::asked(&client, &parts, Offset::End).map_err(failed)?;
    let mut text = format!("source `{name}`: {} partitions are there\n", parts.len());
    let mut topic = String::new();
    for part in &parts {
        let offset = |of: &look::Offsets| of.get(&part.name).copied().unwrap_or_default();
        let (begin, end) = (offset(&begins), offset(&ends));
        let _ = write!(text, "  {}: offsets {begin} to {end}", part.name);
        // One partition a topic tells whether we may read it.
        if topic != part.topic && end > begin {
            topic.clone_from(&part.topic);
            text += &newest(&client, part, end, clock).map_err(failed)?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// The partitions of topics, once the brokers answer; all topics are there.
pub fn reach(
    client: &Consumer,
    config: &Kafka,
    wanted: &[Topics],
    said: &Said,
) -> Result<Listed, String> {
    let until = Instant::now() + config.connect_timeout;
    let failed = |what: String| {
        let why = said.newest.lock().clone().map_or(String::new(), |why| format!(" ({why})"));
        format!("{what}{why}")
    };
    let mut listed = loop {
        // A token is asked for, and what is wrong is told, by what polls.
        (0..16).for_each(|_| drop(client.poll(Duration::from_millis(10))));
        match look::listed(client, wanted) {
            Ok(listed) if listed.failed.is_empty() || Instant::now() >= until => break listed,
            Err(what) if Instant::now() >= until => {
                (0..64).for_each(|_| drop(client.poll(Duration::ZERO)));
                return Err(failed(what));
            }
            Ok(_) | Err(_) => {}
        }
    };
    if let Some((_, what)) = listed.failed.pop_first() {
        return Err(failed(what));
    }
    if !listed.missing.is_empty() {
        let names = listed.missing.join(", ");
        return Err(failed(format!("topic {names} is not there; make it, or mend its name")));
    }
    Ok(listed)
}

/// Reads the newest record of a partition; when it was made.
fn newest(client: &Consumer, part: &Part, end: u64, clock: &Clock) -> Result<String, String> {
    let failed = |e: KafkaError| format!("reading {}: {}", part.name, client::shown(&e));
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(end as i64 - 1);
    list.add_partition_offset(&part.topic, part.number, offset).map_err(failed)?;
    client.assign(&list).map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let stamp = match client.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => message.timestamp(),
            // Only a mark of a transaction stands there.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(", readable".into()),
            Some(Err(error)) => return Err(failed(error)),
            None => continue,
        };
        let (whose, at) = match stamp {
            Timestamp::CreateTime(at) => ("its producer's", at),
            Timestamp::LogAppendTime(at) => ("the broker's", at),
            Timestamp::NotAvailable => return Ok(", readable; records have no timestamp".into()),
        };
        let ahead = at.saturating_mul(1000) - clock();
        let when = crate::publish::print::rfc3339(at.saturating_mul(1000));
        let mut text = format!(", readable; the newest record is of {when} by {whose} clock");
        if ahead > AHEAD {
            let seconds = ahead / 1_000_000;
            let _ = write!(text, ", {seconds} s ahead of ours: set the clocks right");
        }
        return Ok(text);
    }
    Err(format!("reading {}: nothing came within {PATIENCE:?}", part.name))
}
