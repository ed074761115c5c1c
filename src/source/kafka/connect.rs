//! `pinflow validate --connect`: whether the brokers are there, the topics are, and we may read
//! them. Nothing is kept or committed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};

use super::client::{self, Consumer, Said, Share};
use super::look;
use super::shared::Part;
use super::token::Tokens;
use crate::config::Kafka;
use crate::source::{Clock, SourceError};

/// How long a record is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a broker is waited for at a time: what keeps it away is heard in between.
const SHORT: Duration = Duration::from_millis(300);
/// A record that is further ahead of our clock than this is said, microseconds.
const AHEAD: i64 = 5_000_000;

/// Asks the brokers of a source; what they answered, a line each.
pub fn connect(name: &str, config: &Kafka, clock: &Clock) -> Result<String, SourceError> {
    let said = Arc::new(Said::default());
    let tokens = Arc::new(Tokens::new(name, &config.security));
    let share = Share::new(config.fetch_memory, 1);
    let client = client::consumer(name, config, Some(share), &said, &tokens)?;
    let until = Instant::now() + config.connect_timeout;
    let failed = |seen: look::Unseen| {
        let what = format!("source `{name}`: {}", seen.with(said.newest.lock().as_deref()));
        match said.refusal.lock().clone() {
            Some(refusal) => SourceError::Unreachable { what, hint: refusal.hint },
            None => SourceError::Unavailable { what },
        }
    };
    let other = |what: String| failed(what.into());
    tokens.wait(config.connect_timeout).map_err(other)?;
    let mut patience = SHORT;
    let listed = loop {
        // A token is asked for, and what is wrong is told, by what polls.
        (0..16).for_each(|_| drop(client.poll(Duration::from_millis(10))));
        let hopeless = said.refusal.lock().as_ref().is_some_and(|refusal| refusal.definite);
        let last = hopeless || Instant::now() >= until;
        match look::listed(&client, &config.topics, patience) {
            Ok(listed) if listed.failed.is_empty() || last => break listed,
            Err(seen) if last => {
                (0..64).for_each(|_| drop(client.poll(Duration::ZERO)));
                return Err(failed(seen));
            }
            Err(seen) if seen.kind == look::Kind::Slow => {
                patience = (patience * 2).min(look::PATIENCE);
            }
            Ok(_) | Err(_) => {}
        }
    };
    if let Some(what) = listed.failed.into_values().next() {
        return Err(other(what));
    }
    if !listed.missing.is_empty() {
        let what = format!("source `{name}`: {}", look::absent(&listed.missing));
        let hint = look::absent_hint(config, &listed.missing);
        return Err(SourceError::Unreachable { what, hint });
    }
    let parts: Vec<Arc<Part>> =
        listed.parts.iter().map(|(t, n)| Arc::new(Part::new(t, *n))).collect();
    let begins = look::asked(&client, &parts, Offset::Beginning, look::PATIENCE).map_err(failed)?;
    let ends = look::asked(&client, &parts, Offset::End, look::PATIENCE).map_err(failed)?;
    let mut text = format!("source `{name}`: {} partitions are there\n", parts.len());
    let mut topic = String::new();
    for part in &parts {
        let offset = |of: &look::Offsets| of.get(&part.name).copied().unwrap_or_default();
        let (begin, end) = (offset(&begins), offset(&ends));
        let _ = write!(text, "  {}: offsets {begin} to {end}", part.name);
        // One partition a topic tells whether we may read it.
        if topic != part.topic && end > begin {
            topic.clone_from(&part.topic);
            text += &newest(&client, part, end, clock).map_err(other)?;
        }
        text.push('\n');
    }
    Ok(text)
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
