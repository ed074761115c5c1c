//! Clients of librdkafka as this source wants them: their settings, and what they have to say.
//!
//! Promises: no setting's value is ever part of a message, so no secret is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};
use tracing::{debug, info, warn};

use super::refusal::{self, Refusal};
use super::token::Tokens;
use crate::config::{Kafka, Security};
use crate::source::SourceError;

/// A consumer with our context.
pub type Consumer = BaseConsumer<Context>;

/// What all clients of a source have said.
#[derive(Debug, Default)]
pub struct Said {
    /// Errors by kind, as librdkafka names them.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// What the newest one said.
    pub newest: Mutex<Option<String>>,
    /// Bytes that came from the brokers, for records and all else.
    pub fetched: AtomicU64,
    /// What it means that brokers do not let us in, where that can be told.
    pub refusal: Mutex<Option<Refusal>>,
    /// Brokers have answered once: they speak as we do.
    pub met: AtomicBool,
    /// When an error of a kind was last logged.
    logged: Mutex<BTreeMap<String, Instant>>,
}

/// An error that goes on is logged again after so long.
const AGAIN: Duration = Duration::from_mins(1);

impl Said {
    /// Counts an error.
    pub fn count(&self, code: Option<RDKafkaErrorCode>) {
        *self.errors.lock().entry(kind(code)).or_insert(0) += 1;
    }

    /// Counts an error, and keeps what was said of it; whether that is news for the log.
    pub fn error(&self, code: Option<RDKafkaErrorCode>, reason: &str) -> bool {
        if follows(code, self.newest.lock().is_some()) {
            return false;
        }
        self.count(code);
        *self.newest.lock() = Some(reason.to_owned());
        let mut logged = self.logged.lock();
        let news = logged.get(&kind(code)).is_none_or(|at| at.elapsed() >= AGAIN);
        if news {
            logged.insert(kind(code), Instant::now());
        }
        news
    }
}

/// Whether an error only follows from what has been said: that all brokers are down comes with
/// every attempt at any of them, and why they are has been said.
pub fn follows(code: Option<RDKafkaErrorCode>, said: bool) -> bool {
    said && code == Some(RDKafkaErrorCode::AllBrokersDown)
}

impl Said {
    /// Notes what a failure means; what is certain holds over what is likely.
    fn refused(&self, refusal: Option<Refusal>) {
        let mut known = self.refusal.lock();
        let weaker = |new: &Refusal| known.as_ref().is_some_and(|k| k.definite && !new.definite);
        if let Some(refusal) = refusal.filter(|new| !weaker(new)) {
            *known = Some(refusal);
        }
    }
}

/// An error's kind, as librdkafka names it.
fn kind(code: Option<RDKafkaErrorCode>) -> String {
    code.map_or_else(|| "Client".into(), |code| format!("{code:?}"))
}

/// The context of our clients.
pub struct Context {
    source: String,
    security: Security,
    tokens: Arc<Tokens>,
    said: Arc<Said>,
    /// Bytes that this client had fetched when it was last heard of.
    fetched: AtomicU64,
}

impl Context {
    /// The context of a source's client.
    pub fn new(source: &str, config: &Kafka, said: &Arc<Said>, tokens: &Arc<Tokens>) -> Self {
        Context {
            source: source.to_owned(),
            security: config.security.clone(),
            tokens: tokens.clone(),
            said: said.clone(),
            fetched: AtomicU64::new(0),
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let source = &*self.source;
        let strange = !self.said.met.load(Relaxed);
        if strange && facility == "FAIL" && text.contains("Disconnected") {
            // A connection that is closed is no error to librdkafka.
            let refusal = refusal::closed(text, &self.security);
            if refusal.is_some() {
                let thread = text.find("]: ").map_or(0, |at| at + 3);
                *self.said.newest.lock() = Some(text[thread..].to_owned());
            }
            self.said.refused(refusal);
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => info!(source, facility, text, "librdkafka says"),
            _ => debug!(source, facility, text, "librdkafka says"),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Fetched {
            rx_bytes: u64,
        }
        // The rest of it, which is much, is passed over.
        if let Ok(Fetched { rx_bytes }) = serde_json::from_slice(json) {
            let before = self.fetched.swap(rx_bytes, Relaxed);
            self.said.fetched.fetch_add(rx_bytes.saturating_sub(before), Relaxed);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Errors of single partitions come by here too; that one has ended is none.
        let (code, source) = (error.rdkafka_error_code(), &*self.source);
        match code {
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            _ if self.said.error(code, reason) => {
                warn!(source, reason, "librdkafka reports an error");
            }
            _ => debug!(source, reason, "librdkafka reports an error, again"),
        }
        self.said.refused(refusal::of(code, reason, &self.security));
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.token()
    }
}

impl ConsumerContext for Context {}

/// The partitions of a list that have an offset.
pub fn known_offsets(list: &TopicPartitionList) -> Vec<(String, u64)> {
    let one = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let offset = e.offset().to_raw().and_then(|n| u64::try_from(n).ok())?;
        e.error().is_ok().then(|| (super::topics::name(e.topic(), e.partition()), offset))
    };
    list.elements().iter().filter_map(one).collect()
}

/// An error as it is shown: what was wrong with which setting, never its value.
pub fn shown(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => format!("{what} (`{key}`)"),
        KafkaError::ClientCreation(what) => what.clone(),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

/// What a client that reads may hold: for so many partitions within so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bytes of a partition that are queued before no more are asked for.
    pub queued: usize,
    /// Messages, for what a message costs beside its bytes.
    pub messages: usize,
    /// Bytes of a partition that are asked for at a time.
    pub fetch: usize,
}

impl Share {
    /// Half of a partition's part is queued, half may be on its way.
    pub fn new(memory: u64, partitions: usize) -> Self {
        let half = (memory as usize / partitions.max(1) / 2).max(32 << 10);
        Share { queued: half, messages: (half / 512).clamp(100, 100_000), fetch: half.min(1 << 20) }
    }
}

/// The settings that every client of a source has, whether it reads or writes.
pub fn common(config: &Kafka) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("client.id", "pinflow")
        .set("enable.metrics.push", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", config.refresh.as_millis().to_string());
    for (key, value) in &config.properties {
        c.set(key, &value.0);
    }
    c.set("bootstrap.servers", config.brokers.join(","));
    security(&mut c, &config.security);
    c
}

/// The settings that every client of a source has that reads.
fn settings(config: &Kafka) -> ClientConfig {
    let mut c = common(config);
    let usual = [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
    ];
    for (key, value) in usual.into_iter().filter(|(key, _)| !config.properties.contains_key(*key)) {
        c.set(key, value);
    }
    c.set("group.id", &config.group);
    c
}

/// The settings that say how brokers are spoken to.
pub fn security(c: &mut ClientConfig, security: &Security) {
    let protocol = match (security.tls, &security.sasl) {
        (false, None) => "plaintext",
        (true, None) => "ssl",
        (false, Some(_)) => "sasl_plaintext",
        (true, Some(_)) => "sasl_ssl",
    };
    c.set("security.protocol", protocol);
    // Why connections are closed is told from lines of this level, whatever is logged of them.
    if !matches!(c.log_level, RDKafkaLogLevel::Debug) {
        c.set_log_level(RDKafkaLogLevel::Info);
    }
    if let Some(sasl) = &security.sasl {
        c.set("sasl.mechanism", sasl.mechanism);
        if sasl.mechanism != "OAUTHBEARER" {
            c.set("sasl.username", &sasl.username);
            c.set("sasl.password", sasl.password.as_ref().map_or("", |p| &p.0));
        }
    }
    for (key, path) in [
        ("ssl.ca.location", &security.ca),
        ("ssl.certificate.location", &security.certificate),
        ("ssl.key.location", &security.key),
    ] {
        if let Some(path) = path {
            c.set(key, path.display().to_string());
        }
    }
    if let Some(password) = &security.key_password {
        c.set("ssl.key.password", &password.0);
    }
}

/// Why librdkafka does not take a setting, if so. The value is not shown.
pub fn takes(key: &str, value: &str) -> Result<(), String> {
    let config = ClientConfig::new().set(key, value).create_native_config();
    config.map(drop).map_err(|error| shown(&error))
}

/// A client; one that reads if it is given a share, else one that asks and commits.
pub fn consumer(
    source: &str,
    config: &Kafka,
    share: Option<Share>,
    said: &Arc<Said>,
    tokens: &Arc<Tokens>,
) -> Result<Consumer, SourceError> {
    let mut c = settings(config);
    if let Some(share) = share {
        c.set("queued.max.messages.kbytes", (share.queued >> 10).to_string())
            .set("queued.min.messages", share.messages.to_string())
            .set("fetch.message.max.bytes", share.fetch.to_string())
            .set("fetch.max.bytes", (config.fetch_memory / 4).clamp(1 << 20, 50 << 20).to_string())
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.wait.max.ms", "250")
            .set("statistics.interval.ms", "2000");
    }
    let context = Context::new(source, config, said, tokens);
    BaseConsumer::from_config_and_context(&c, context).map_err(|error| {
        let what =
            format!("setting up a client of {}: {}", config.brokers.join(","), shown(&error));
        SourceError::Unavailable { what }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_bounded_by_memory_and_by_what_is_sensible() {
        let share = Share::new(64 << 20, 12);
        assert!((share.queued + share.fetch) * 12 <= 64 << 20);
        assert_eq!(share.fetch, 1 << 20);
        let many = Share::new(64 << 20, 1000);
        assert!((many.queued + many.fetch) * 1000 <= 66 << 20);
        assert_eq!(Share::new(1 << 20, 0).messages, 1024);
    }

    /// While the brokers were away every attempt was a line in the log and a count.
    #[test]
    fn an_error_that_goes_on_is_news_once_and_its_consequence_is_none() {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
        let said = Said::default();
        assert!(said.error(Some(BrokerTransportFailure), "refused"));
        assert!(!said.error(Some(AllBrokersDown), "1/1 brokers are down"));
        assert!(!said.error(Some(BrokerTransportFailure), "refused"));
        assert_eq!(said.newest.lock().as_deref(), Some("refused"));
        let errors = said.errors.lock();
        assert_eq!((errors.len(), errors["BrokerTransportFailure"]), (1, 2));
    }

    #[test]
    fn no_value_of_a_setting_is_shown() {
        let c = ClientConfig::new().set("sasl.password", "a\0b").clone();
        let error = c.create::<BaseConsumer>().err();
        assert!(!error.as_ref().map(shown).unwrap_or_default().contains("a\0b"), "{error:?}");
        let c = ClientConfig::new().set("no.such.setting", "secret").clone();
        let error = shown(&c.create::<BaseConsumer>().err().expect("refused"));
        assert!(error.contains("no.such.setting") && !error.contains("secret"), "{error}");
    }
}
