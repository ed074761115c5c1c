//! A topic of dead letters as its producer sees it: how a letter looks as a record, and a
//! delivery that is all or nothing.
//!
//! Promises: the producer is idempotent, and a delivery has succeeded only when all in-sync
//! replicas have every letter of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::Route;
use crate::source::kafka::client::{self, Context, Said};
use crate::source::kafka::token::Tokens;
use crate::store::dead::{Letter, LetterId};

/// How long it is waited for what a token is made of.
const CREDENTIALS: Duration = Duration::from_secs(3);

/// The header that says why a record was rejected.
pub const REASON: &str = "reason";
/// The header that says when it arrived, RFC 3339.
pub const ARRIVAL: &str = "arrival";
/// The header that says whether the payload was cut off: `true` or `false`.
pub const TRUNCATED: &str = "truncated";
/// The header that holds the id of the state that the letter is of.
pub const STATE: &str = "state";
/// The header that says what the routing rules said of it, where they look at each record.
pub const RULED: &str = "as";

/// What a record of a letter may be: as much as a producer sends unless it is told otherwise.
pub const MOST: usize = 1_000_000;
/// It is not made smaller than this.
pub const LEAST: usize = 4_000;
/// So much of it is for the key and the headers.
const ROOM: usize = 2_000;
/// How long a record may take, tries again included; what takes longer is sent anew.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a topic may be unknown to the brokers before that is a failure.
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long is waited at a time for confirmations.
const STEP: Duration = Duration::from_millis(50);
/// How long nothing may be confirmed before what librdkafka said is told.
const SILENT: Duration = Duration::from_secs(2);

/// The key of a letter: `source/partition/position/sub`.
pub fn key(letter: &Letter) -> String {
    let Letter { source, partition, position, sub, .. } = letter;
    format!("{source}/{partition}/{position}/{sub}")
}

/// Which letter a key is of; none if it is of none.
pub fn id_of_key(key: &str) -> Option<LetterId> {
    let (source, rest) = key.split_once('/')?;
    let (rest, sub) = rest.rsplit_once('/')?;
    let (partition, position) = rest.rsplit_once('/')?;
    Some((source.to_owned(), partition.to_owned(), position.parse().ok()?, sub.parse().ok()?))
}

/// Why letters were not delivered.
pub enum Undelivered {
    /// One is larger than the brokers take.
    TooLarge,
    /// It was told to stop.
    Stopped,
    /// What was seen.
    Failed(String),
}

/// What became of a delivery so far.
#[derive(Default)]
struct Seen {
    confirmed: usize,
    failed: Option<RDKafkaErrorCode>,
    unlike: Option<String>,
}

struct Reports {
    context: Context,
    seen: Mutex<Seen>,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.context.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut seen = self.seen.lock();
        match result {
            Ok(_) => seen.confirmed += 1,
            Err((error, _)) => {
                // What is too large stays so; of all else the first tells.
                let code = error.rdkafka_error_code();
                if seen.failed.is_none() || code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                    seen.failed = code.or(seen.failed);
                }
                seen.unlike.get_or_insert_with(|| client::shown(error));
            }
        }
    }
}

/// A producer of letters for one topic.
pub struct Topic {
    name: String,
    brokers: String,
    state: String,
    most: usize,
    said: Arc<Said>,
    producer: BaseProducer<Reports>,
}

impl Topic {
    /// A producer whose records are at most so large; no broker is asked yet.
    pub fn open(route: &Route, most: usize) -> Result<Self, String> {
        let said = Arc::new(Said::default());
        let tokens = Arc::new(Tokens::new(&route.source, &route.kafka.security));
        tokens.wait(CREDENTIALS)?;
        let mut config = client::common(&route.kafka);
        config
            .set("enable.idempotence", "true")
            .set("message.max.bytes", most.to_string())
            .set("batch.size", most.min(100_000).to_string())
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("topic.metadata.propagation.max.ms", UNKNOWN.as_millis().to_string())
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let context = Context::new(&route.source, &route.kafka, &said, &tokens);
        let reports = Reports { context, seen: Mutex::default() };
        let brokers = route.kafka.brokers.join(",");
        let producer = BaseProducer::from_config_and_context(&config, reports);
        let producer = producer.map_err(|error| {
            format!("setting up a producer for {brokers}: {}", client::shown(&error))
        })?;
        let (name, state) = (route.topic.clone(), route.state.clone());
        Ok(Topic { name, brokers, state, most, said, producer })
    }

    /// Sends letters and waits until all are there. `silent` hears why none is confirmed.
    pub fn deliver(
        &mut self,
        letters: &[Letter],
        stop: &AtomicBool,
        silent: impl Fn(String),
    ) -> Result<(), Undelivered> {
        *self.producer.context().seen.lock() = Seen::default();
        let mut since = Instant::now();
        let mut confirmed = 0;
        let mut wait = |topic: &Self| {
            topic.producer.poll(STEP);
            let now = topic.producer.context().seen.lock().confirmed;
            if now > confirmed {
                (confirmed, since) = (now, Instant::now());
            } else if since.elapsed() >= SILENT
                && let Some(why) = topic.said.newest.lock().clone()
            {
                silent(topic.what(&why));
            }
            if stop.load(Relaxed) { Err(Undelivered::Stopped) } else { Ok(()) }
        };
        for letter in letters {
            while !self.send(letter)? {
                wait(self)?;
            }
        }
        while self.producer.in_flight_count() > 0 {
            wait(self)?;
        }
        let seen = std::mem::take(&mut *self.producer.context().seen.lock());
        match seen.failed {
            None if seen.confirmed == letters.len() => Ok(()),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Err(Undelivered::TooLarge),
            _ => {
                let why = seen.unlike.unwrap_or_else(|| "not every letter was confirmed".into());
                let newest = self.said.newest.lock().clone();
                let why = newest.map_or_else(|| why.clone(), |n| format!("{why} ({n})"));
                Err(Undelivered::Failed(self.what(&why)))
            }
        }
    }

    fn what(&self, why: &str) -> String {
        format!("sending dead letters to topic {} of {}: {why}", self.name, self.brokers)
    }

    /// Hands a letter to the producer; whether there was room.
    fn send(&self, letter: &Letter) -> Result<bool, Undelivered> {
        let key = key(letter);
        let mut payload = letter.bytes().unwrap_or_default();
        let cut = payload.len() > self.most.saturating_sub(ROOM + key.len());
        if cut {
            payload.truncate(self.most.saturating_sub(ROOM + key.len()));
        }
        let truncated = if cut || letter.truncated { "true" } else { "false" };
        let headers = OwnedHeaders::new_with_capacity(5);
        let mut headers = [
            (REASON, &*letter.reason),
            (ARRIVAL, &letter.arrived_at),
            (TRUNCATED, truncated),
            (STATE, &self.state),
        ]
        .into_iter()
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        if let Some(rule) = &letter.ruled {
            headers = headers.insert(Header { key: RULED, value: Some(rule) });
        }
        let record = BaseRecord::to(&self.name).key(&key).payload(&payload).headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Ok(false),
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Err(Undelivered::TooLarge),
                _ => Err(Undelivered::Failed(self.what(&client::shown(&error)))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_which_letter_it_is_of() {
        let letter = Letter {
            source: "kafka".into(),
            partition: "0a1b.pin/3".into(),
            position: 17,
            sub: 2,
            arrived_at: "2026-11-25T18:46:10Z".into(),
            reason: "empty".into(),
            payload: None,
            payload_base64: None,
            truncated: false,
            ruled: None,
        };
        assert_eq!(key(&letter), "kafka/0a1b.pin/3/17/2");
        assert_eq!(id_of_key(&key(&letter)), Some(letter.id()));
        for other in ["", "kafka", "kafka/t/0/x/1", "a/1/2"] {
            assert_eq!(id_of_key(other), None, "{other}");
        }
    }
}
