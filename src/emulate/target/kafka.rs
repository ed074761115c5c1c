//! Three topics of Apache Kafka, `PREFIX.pin`, `PREFIX.geo` and `PREFIX.user`.
//!
//! Promises: the producer is idempotent, so a retry neither doubles nor reorders the records of a
//! partition; every record's delivery is confirmed by all in-sync replicas before it counts as
//! sent; the first that cannot be delivered ends the sending.
//! Limits, unless set otherwise: at most [`QUEUED_KIB`] of records wait in memory; one that is not
//! confirmed within [`PATIENCE`] has failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataflows::record::Stream;
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message};

use crate::cli::{Failure, exit};
use crate::config::{self, Secret, Security};
use crate::source::kafka::client;
use crate::source::kafka::refusal::{self, Refusal};
use crate::source::kafka::token::Tokens;

use super::{Record, Target};

/// What waits to be sent at most; KiB.
const QUEUED_KIB: &str = "65536";
/// How long a record may take, tries again included.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long brokers may take to say which topics there are.
const HELLO: Duration = Duration::from_secs(10);
/// How long one question waits for its answer.
const TRY: Duration = Duration::from_secs(2);
/// How long nothing may be confirmed before that is said.
const SILENT: Duration = Duration::from_secs(5);
/// How long is waited at a time for room in the queue, or for confirmations.
const STEP: Duration = Duration::from_millis(50);

/// What is the key of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// None, as the seed systems send: the producer spreads records over the partitions.
    None,
    /// The index in decimal: all records of an index are in one partition, in order.
    Index,
}

/// Where to, and how. It has no `Debug`: settings may be secrets.
#[derive(Clone)]
pub struct Cluster {
    /// `HOST:PORT` of some brokers, by commas.
    pub brokers: String,
    /// What the topics' names begin with.
    pub prefix: String,
    /// The messages' key.
    pub key: Key,
    /// Topics that are not there are created with so many partitions; none = they have to be.
    pub partitions: Option<i32>,
    /// How brokers are spoken to.
    pub security: Security,
    /// Further settings of librdkafka; what [`decided`] answers to is overwritten.
    pub settings: BTreeMap<String, Secret>,
}

/// What is said of a setting of librdkafka that is decided here; none if it can be set.
pub fn decided(name: &str) -> Option<String> {
    match name {
        "bootstrap.servers" | "metadata.broker.list" => Some("it is --brokers".into()),
        "client.id" => Some("it is always pinflow-emulate".into()),
        "enable.idempotence" => Some("it is always on: without it a retry doubles records".into()),
        other => config::ours(other).map(|why| format!("in [source.kafka] {why}")),
    }
}

impl Cluster {
    fn topic(&self, stream: Stream) -> String {
        format!("{}.{}", self.prefix, stream.name())
    }

    /// The settings of a client: what is usual with us, then what was asked for.
    fn client(&self, usual: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        let settings = self.settings.iter().map(|(name, value)| (&**name, &*value.0));
        for (name, value) in usual.iter().copied().chain(settings) {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("client.id", "pinflow-emulate");
        client::security(&mut config, &self.security);
        config
    }

    fn producer(&self) -> ClientConfig {
        let patience = PATIENCE.as_millis().to_string();
        let mut config = self.client(&[
            // Larger requests for a few milliseconds of delay; what waits is bounded in bytes.
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.kbytes", QUEUED_KIB),
            ("queue.buffering.max.messages", "0"),
            // The partition of a key is the one that other people's clients would choose.
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", &patience),
        ]);
        config.set("enable.idempotence", "true");
        config
    }
}

/// What became of the records, and what librdkafka said last.
#[derive(Debug, Default)]
struct Seen {
    delivered: [u64; 3],
    failed: u64,
    /// Why the first failed.
    first: Option<String>,
    /// The last trouble with the brokers, which may pass.
    trouble: Option<String>,
    /// What to do about it, where that can be told.
    refusal: Option<Refusal>,
}

struct Reports {
    seen: Mutex<Seen>,
    security: Security,
    tokens: Arc<Tokens>,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.token()
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut seen = self.seen.lock();
        let code = error.rdkafka_error_code();
        seen.refusal = refusal::of(code, reason, &self.security).or(seen.refusal.take());
        if !client::follows(code, seen.trouble.is_some()) {
            seen.trouble = Some(reason.to_string());
        }
    }
}

impl Reports {
    fn new(security: &Security, tokens: &Arc<Tokens>) -> Self {
        let (security, tokens) = (security.clone(), tokens.clone());
        Reports { seen: Mutex::default(), security, tokens }
    }
}

impl ProducerContext for Reports {
    /// The stream's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, stream: usize) {
        let mut seen = self.seen.lock();
        match result {
            Ok(_) => seen.delivered[stream] += 1,
            Err((error, message)) => {
                seen.failed += 1;
                let text = || format!("topic {}: {error}", message.topic());
                seen.first.get_or_insert_with(text);
            }
        }
    }
}

/// The topics as a target.
pub struct KafkaTarget {
    cluster: Cluster,
    topics: [String; 3],
    producer: BaseProducer<Reports>,
    key: String,
    polled: Instant,
    /// How many records had been confirmed when that last changed, and when it did.
    confirmed: (u64, Instant),
    /// That none is confirmed any more has been said.
    silent: bool,
}

impl KafkaTarget {
    /// Connects; the topics are there afterwards.
    pub fn connect(cluster: Cluster) -> Result<Self, Failure> {
        let config = cluster.producer();
        let tokens = Arc::new(Tokens::new("emulate", &cluster.security));
        tokens.wait(HELLO).map_err(|why| {
            let hint = "see that this machine, or the profile, may use the credentials of AWS";
            Failure::new(exit::UNAVAILABLE, format!("logging in to Kafka: {why}"), hint)
        })?;
        let reports = Reports::new(&cluster.security, &tokens);
        let producer: BaseProducer<Reports> =
            config.create_with_context(reports).map_err(|e| refused(&e))?;
        let topics = Stream::ALL.map(|stream| cluster.topic(stream));
        let now = Instant::now();
        let target = KafkaTarget {
            cluster,
            topics,
            producer,
            key: String::new(),
            polled: now,
            confirmed: (0, now),
            silent: false,
        };
        let missing = target.missing()?;
        match target.cluster.partitions {
            _ if missing.is_empty() => {}
            Some(partitions) => target.create(&missing, partitions)?,
            None => {
                let message = format!("{} has no topic {}", target.name(), missing.join(", "));
                let hint = "create it, or let it be created: --partitions 4";
                return Err(Failure::new(exit::UNAVAILABLE, message, hint));
            }
        }
        Ok(target)
    }

    /// The topics that are not there.
    fn missing(&self) -> Result<Vec<&str>, Failure> {
        let mut missing = Vec::new();
        for topic in &self.topics {
            // Asking for one topic may create it, if the brokers do that by themselves.
            let answer = self.ask(topic)?;
            let error = answer.topics().first().and_then(MetadataTopic::error);
            match error.map(RDKafkaErrorCode::from) {
                None => {}
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::LeaderNotAvailable,
                ) => missing.push(&**topic),
                Some(code) => {
                    let message =
                        format!("asking {} for topic {topic}: {code}", self.cluster.brokers);
                    let hint = "see what this user may do with the topic";
                    return Err(Failure::new(exit::UNAVAILABLE, message, hint));
                }
            }
        }
        Ok(missing)
    }

    /// What the brokers say of a topic, asked for until they answer, or do not let us in.
    fn ask(&self, topic: &str) -> Result<Metadata, Failure> {
        let start = Instant::now();
        loop {
            match self.producer.client().fetch_metadata(Some(topic), TRY) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => {
                    // What the brokers' connections met comes as an event.
                    self.producer.poll(2 * STEP);
                    let refusal = self.producer.context().seen.lock().refusal.clone();
                    if refusal.is_some_and(|r| r.definite) || start.elapsed() >= HELLO {
                        return Err(self.unreachable("asking for topics", &error));
                    }
                }
            }
        }
    }

    fn create(&self, missing: &[&str], partitions: i32) -> Result<(), Failure> {
        let (client, tokens) = (self.cluster.client(&[]), &self.producer.context().tokens);
        let reports = Reports::new(&self.cluster.security, tokens);
        let admin: AdminClient<Reports> =
            client.create_with_context(reports).map_err(|e| refused(&e))?;
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            // As many copies as the brokers make by default.
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(-1)))
            .collect();
        let options =
            AdminOptions::new().request_timeout(Some(HELLO)).operation_timeout(Some(HELLO));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|e| Failure::io("starting to create topics", &e))?;
        let created = runtime.block_on(admin.create_topics(&topics, &options));
        for result in created.map_err(|e| self.unreachable("creating topics", &e))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let brokers = &self.cluster.brokers;
                    let message = format!("creating topic {topic} on {brokers}: {code}");
                    let hint = "create it as the operators of the brokers want it";
                    return Err(Failure::new(exit::UNAVAILABLE, message, hint));
                }
            }
        }
        Ok(())
    }

    fn unreachable(&self, doing: &str, error: &KafkaError) -> Failure {
        let trouble = self.producer.context().seen.lock().trouble.clone();
        let trouble = trouble.map_or(String::new(), |t| format!(" ({t})"));
        let message = format!("{doing} at {}: {error}{trouble}", self.cluster.brokers);
        let usual = "is a broker running there? give --brokers HOST:PORT and, where brokers ask \
                     who it is, the `sasl` and `tls` of [source.kafka]";
        let refusal = self.producer.context().seen.lock().refusal.clone();
        let hint = refusal.filter(|r| r.definite).map_or(usual.into(), |r| r.hint);
        Failure::new(exit::UNAVAILABLE, message, hint)
    }

    /// A record that could not be delivered is the end.
    fn check(&self) -> Result<(), Failure> {
        let seen = self.producer.context().seen.lock();
        let Some(first) = &seen.first else {
            return Ok(());
        };
        let trouble = seen.trouble.as_ref().map_or(String::new(), |t| format!(" ({t})"));
        let (failed, delivered) = (seen.failed, seen.delivered.iter().sum::<u64>());
        let message = format!(
            "delivering to {first}{trouble}; {delivered} records were delivered, {failed} or more \
             were not"
        );
        let hint = "see the brokers' log; what was delivered stays";
        Err(Failure::new(exit::UNAVAILABLE, message, hint))
    }

    fn poll(&mut self, most: Duration) -> Result<(), Failure> {
        self.producer.poll(most);
        self.polled = Instant::now();
        self.say();
        self.check()
    }

    /// Says that brokers are away while records wait for them, and that they are back.
    fn say(&mut self) {
        let (now, trouble) = {
            let seen = self.producer.context().seen.lock();
            (seen.delivered.iter().sum::<u64>(), seen.trouble.clone())
        };
        let brokers = &self.cluster.brokers;
        if now != self.confirmed.0 || self.producer.in_flight_count() == 0 {
            self.confirmed = (now, self.polled);
            if std::mem::take(&mut self.silent) {
                crate::emulate::tell(&format!("{brokers} takes records again"));
            }
        } else if self.confirmed.1.elapsed() >= SILENT && !self.silent {
            self.silent = true;
            let why = trouble.map_or(String::new(), |why| format!(" ({why})"));
            crate::emulate::tell(&format!(
                "nothing is confirmed by {brokers}{why}; it is tried for {} s",
                PATIENCE.as_secs()
            ));
        }
    }
}

impl Target for KafkaTarget {
    fn name(&self) -> String {
        format!("{} of {}", self.topics.join(", "), self.cluster.brokers)
    }

    fn send(&mut self, record: Record<'_>) -> Result<bool, Failure> {
        use std::fmt::Write as _;
        let stream = record.stream as usize;
        self.key.clear();
        if let (Key::Index, Some(index)) = (self.cluster.key, record.index) {
            let _ = write!(self.key, "{index}");
        }
        loop {
            let mut message: BaseRecord<'_, str, [u8], usize> =
                BaseRecord::with_opaque_to(&self.topics[stream], stream).payload(record.bytes);
            if !self.key.is_empty() {
                message = message.key(&self.key);
            }
            match self.producer.send(message) {
                Ok(()) => break,
                Err((error, _)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => self.poll(STEP)?,
                    _ => {
                        self.check()?;
                        let topic = &self.topics[stream];
                        let message = format!("sending to topic {topic}: {error}");
                        let hint = "is the record larger than --property message.max.bytes=...?";
                        return Err(Failure::new(exit::UNAVAILABLE, message, hint));
                    }
                },
            }
        }
        if self.polled.elapsed() > STEP {
            self.poll(Duration::ZERO)?;
        }
        Ok(true)
    }

    fn idle(&mut self, pause: Duration) -> Result<(), Failure> {
        self.poll(pause)
    }

    fn finish(&mut self) -> Result<[u64; 3], Failure> {
        // Each record is confirmed or fails in its time, so this ends.
        while self.producer.in_flight_count() > 0 {
            self.poll(STEP)?;
        }
        self.check()?;
        Ok(self.producer.context().seen.lock().delivered)
    }
}

/// Settings that librdkafka does not take.
fn refused(error: &KafkaError) -> Failure {
    let message = format!("setting up the Kafka client: {}", client::shown(error));
    let hint = "see librdkafka's CONFIGURATION.md for the names and values of --property";
    Failure::new(exit::CONFIG, message, hint)
}
