//! `pinflow validate --connect`: whether the brokers are there, the topics are, and we may read
//! them. Nothing is kept or committed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};
use serde::Serialize;

use super::client::{self, Consumer, Said, Share};
use super::look::{self, Listed, Unseen};
use super::shared::Part;
use super::token::Tokens;
use super::topics;
use crate::config::{Kafka, Start, Topics};
use crate::source::{Clock, SourceError};

/// How long a record is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a broker is waited for at a time: what keeps it away is heard in between.
const SHORT: Duration = Duration::from_millis(300);
/// A record that is further ahead of our clock than this is said, seconds.
const AHEAD: f64 = 5.0;

/// What the brokers of a source answered.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The source.
    pub source: String,
    /// All brokers, `HOST:PORT` as they say it themselves.
    pub brokers: Vec<String>,
    /// The topics that are read, in order.
    pub topics: Vec<Topic>,
    /// The topic of dead letters, and how many partitions it has; null if none is configured.
    pub dead_letters: Option<(String, usize)>,
}

/// A topic.
#[derive(Debug, Serialize)]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// Whether we may read it; null where nothing stands in it to try.
    pub readable: Option<bool>,
    /// When the newest record of its first partition with any was made; null if it does not say.
    pub newest: Option<Newest>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A record's time.
#[derive(Debug, Serialize)]
pub struct Newest {
    /// RFC 3339.
    pub at: String,
    /// Whose clock: `producer` or `broker`.
    pub clock: &'static str,
    /// Seconds that it is ahead of our clock; less than 0 if it is older.
    pub ahead_seconds: f64,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// The offset of the oldest record,
    pub begin: u64,
    /// and the one behind the newest.
    pub end: u64,
}

/// Asks the brokers of a source.
pub fn connect(name: &str, config: &Kafka, clock: &Clock) -> Result<Answer, SourceError> {
    let asker = Asker::new(name, config, &format!("source `{name}`"))?;
    let failed = |seen| asker.failed(seen);
    let client = &asker.client;
    let listed = asker.reach(config, &config.topics)?;
    if let Start::Offsets(given) = &config.start {
        let strange = look::strangers(given, &listed);
        if !strange.is_empty() {
            let what = format!(
                "{}: `start` names {}, which are not there",
                asker.doing,
                strange.join(", ")
            );
            let hint = "mend `start`, or leave it out".into();
            return Err(SourceError::Unreachable { what, hint });
        }
    }
    let parts: Vec<Arc<Part>> =
        listed.parts.iter().map(|(t, n)| Arc::new(Part::new(t, *n))).collect();
    let asked = |what| look::asked(client, &parts, what, look::PATIENCE).map_err(failed);
    let (begins, ends) = (asked(Offset::Beginning)?, asked(Offset::End)?);
    let mut topics: Vec<Topic> = Vec::new();
    for part in &parts {
        let offset = |of: &look::Offsets| of.get(&part.name).copied().unwrap_or_default();
        let (begin, end) = (offset(&begins), offset(&ends));
        if topics.last().is_none_or(|last| last.topic != part.topic) {
            let (topic, partitions) = (part.topic.clone(), Vec::new());
            topics.push(Topic { topic, readable: None, newest: None, partitions });
        }
        let topic = topics.last_mut().expect("it was pushed");
        topic.partitions.push(Partition { number: part.number, begin, end });
        // One partition a topic tells whether we may read it.
        if topic.readable.is_none() && end > begin {
            topic.newest = newest(client, part, end, clock).map_err(|w| failed(w.into()))?;
            topic.readable = Some(true);
        }
    }
    let metadata = client.fetch_metadata(parts.first().map(|p| &*p.topic), PATIENCE);
    let metadata = metadata.map_err(|e| failed(client::shown(&e).into()))?;
    let brokers = metadata.brokers().iter().map(|b| format!("{}:{}", b.host(), b.port()));
    let letters = |topic: &String| {
        let listed = asker.reach(config, &[Topics::Named(topic.clone())]);
        let listed = listed.map_err(|error| match error {
            SourceError::Unreachable { what, .. } if what.ends_with(look::ABSENT) => {
                let hint = "make the topic of the dead letters, or mend `dead_letters`".into();
                SourceError::Unreachable { what, hint }
            }
            other => other,
        })?;
        Ok((topic.clone(), listed.parts.len()))
    };
    Ok(Answer {
        source: name.to_owned(),
        brokers: brokers.collect(),
        topics,
        dead_letters: config.dead_letters.as_ref().map(letters).transpose()?,
    })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let brokers = self.brokers.join(", ");
        writeln!(f, "source `{}`: {count} partitions are there, at {brokers}", self.source)?;
        for topic in &self.topics {
            let mut said = match (&topic.newest, topic.readable) {
                (Some(newest), _) => newest.to_string(),
                (None, Some(_)) => ", readable; the newest record has no timestamp".to_owned(),
                (None, None) => String::new(),
            };
            for partition in &topic.partitions {
                let Partition { number, begin, end } = partition;
                let of = if end > begin { std::mem::take(&mut said) } else { String::new() };
                let name = topics::name(&topic.topic, *number);
                writeln!(f, "  {name}: offsets {begin} to {end}{of}")?;
            }
        }
        if let Some((topic, partitions)) = &self.dead_letters {
            writeln!(f, "  dead letters go to {topic}: {partitions} partitions")?;
        }
        Ok(())
    }
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.clock == "broker" { "the broker's" } else { "its producer's" };
        write!(f, ", readable; the newest record is of {} by {whose} clock", self.at)?;
        if self.ahead_seconds > AHEAD {
            let seconds = self.ahead_seconds;
            write!(f, ", {seconds:.0} s ahead of ours: set the clocks right")?;
        }
        Ok(())
    }
}

/// A client that asks the brokers of a source.
pub struct Asker {
    /// The client.
    pub client: Consumer,
    /// What is done, for what is said of failures.
    doing: String,
    said: Arc<Said>,
    tokens: Arc<Tokens>,
}

impl Asker {
    /// A client of a source; nobody is asked yet. `doing` is said of failures.
    pub fn new(source: &str, config: &Kafka, doing: &str) -> Result<Self, SourceError> {
        let said = Arc::new(Said::default());
        let tokens = Arc::new(Tokens::new(source, &config.security));
        let share = Share::new(config.fetch_memory, 1);
        let client = client::consumer(source, config, Some(share), &said, &tokens)?;
        Ok(Asker { client, doing: doing.to_owned(), said, tokens })
    }

    /// What it means that something was not seen.
    pub fn failed(&self, seen: Unseen) -> SourceError {
        let what = format!("{}: {}", self.doing, seen.with(self.said.newest.lock().as_deref()));
        match self.said.refusal.lock().clone() {
            Some(refusal) => SourceError::Unreachable { what, hint: refusal.hint },
            None => SourceError::Unavailable { what },
        }
    }

    /// The partitions of topics, once the brokers answer; all topics are there.
    pub fn reach(&self, config: &Kafka, wanted: &[Topics]) -> Result<Listed, SourceError> {
        let (client, said) = (&self.client, &self.said);
        let until = Instant::now() + config.connect_timeout;
        self.tokens.wait(config.connect_timeout).map_err(|what| self.failed(what.into()))?;
        let (mut patience, mut waits) = (SHORT, false);
        let mut listed = loop {
            // A token is asked for, and what is wrong is told, by what polls.
            (0..16).for_each(|_| drop(client.poll(Duration::from_millis(10))));
            let hopeless = said.refusal.lock().as_ref().is_some_and(|refusal| refusal.definite);
            let last = hopeless || Instant::now() >= until;
            match look::listed(client, wanted, patience) {
                Ok(listed) if listed.failed.is_empty() || last => break listed,
                Err(seen) if last => {
                    (0..64).for_each(|_| drop(client.poll(Duration::ZERO)));
                    return Err(self.failed(seen));
                }
                Err(seen) if seen.kind == look::Kind::Slow => {
                    patience = (patience * 2).min(look::PATIENCE);
                }
                Err(seen) if !std::mem::replace(&mut waits, true) => {
                    let long = until.saturating_duration_since(Instant::now()).as_secs();
                    let why = self.failed(seen);
                    tracing::warn!("{why}; it is tried for {long} s more (connect_timeout)");
                }
                Ok(_) | Err(_) => {}
            }
        };
        if let Some((_, what)) = listed.failed.pop_first() {
            return Err(self.failed(what.into()));
        }
        if !listed.missing.is_empty() {
            let what = format!("{}: {}", self.doing, look::absent(&listed.missing));
            let hint = look::absent_hint(config, &listed.missing);
            return Err(SourceError::Unreachable { what, hint });
        }
        Ok(listed)
    }
}

/// Reads the newest record of a partition; when it was made, if it says.
fn newest(
    client: &Consumer,
    part: &Part,
    end: u64,
    clock: &Clock,
) -> Result<Option<Newest>, String> {
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
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => return Err(failed(error)),
            None => continue,
        };
        let (whose, at) = match stamp {
            Timestamp::CreateTime(at) => ("producer", at),
            Timestamp::LogAppendTime(at) => ("broker", at),
            Timestamp::NotAvailable => return Ok(None),
        };
        let micros = at.saturating_mul(1000);
        return Ok(Some(Newest {
            at: crate::publish::print::rfc3339(micros),
            clock: whose,
            ahead_seconds: micros.saturating_sub(clock()) as f64 / 1e6,
        }));
    }
    Err(format!("reading {}: nothing came within {PATIENCE:?}", part.name))
}
