//! Clients of librdkafka as this source wants them: their settings, and what they have to say.
//!
//! Promises: no setting's value is ever part of a message, so no secret is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};
use tracing::{debug, info, warn};

use crate::config::{Kafka, Sasl, Security};
use crate::source::SourceError;

/// A consumer with our context.
pub type Consumer = BaseConsumer<Context>;

/// How long a token of ours holds, where it does not say so itself; milliseconds.
const TOKEN_HOLDS: i64 = 3_600_000;

/// What all clients of a source have said.
#[derive(Debug, Default)]
pub struct Said {
    /// Errors by kind, as librdkafka names them.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// What the newest one said.
    pub newest: Mutex<Option<String>>,
    /// Bytes that came from the brokers, for records and all else.
    pub fetched: AtomicU64,
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

/// An error's kind, as librdkafka names it.
fn kind(code: Option<RDKafkaErrorCode>) -> String {
    code.map_or_else(|| "Client".into(), |code| format!("{code:?}"))
}

/// The context of our clients.
pub struct Context {
    source: String,
    sasl: Option<Sasl>,
    said: Arc<Said>,
    /// Bytes that this client had fetched when it was last heard of.
    fetched: AtomicU64,
}

impl Context {
    /// The context of a source's client.
    pub fn new(source: &str, config: &Kafka, said: &Arc<Said>) -> Self {
        let sasl = config.security.sasl.clone();
        let fetched = AtomicU64::new(0);
        Context { source: source.to_owned(), sasl, said: said.clone(), fetched }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let source = &*self.source;
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
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            _ if self.said.error(code, reason) => {
                warn!(source, reason, "librdkafka reports an error");
            }
            _ => debug!(source, reason, "librdkafka reports an error, again"),
        }
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token_now(self.sasl.as_ref())
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

/// The token of who we say we are, as of now.
pub fn token_now(sasl: Option<&Sasl>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    let sasl = sasl.ok_or("there is no `sasl` to make a token of")?;
    #[allow(clippy::disallowed_methods, reason = "tokens expire by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    Ok(token(sasl, now))
}

/// The token that is given, or an unsecured one for who we say we are.
fn token(sasl: &Sasl, now: i64) -> OAuthToken {
    let (token, lifetime_ms) = match &sasl.password {
        Some(secret) => (secret.0.clone(), expiry(&secret.0).unwrap_or(now + TOKEN_HOLDS)),
        None => {
            let (issued, expires) = (now / 1000, (now + TOKEN_HOLDS) / 1000);
            let claims = serde_json::json!({ "sub": sasl.username, "iat": issued, "exp": expires });
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims.to_string()));
            (token, expires * 1000)
        }
    };
    OAuthToken { token, principal_name: sasl.username.clone(), lifetime_ms }
}

/// When a JSON web token expires, milliseconds since 1970-01-01 UTC.
fn expiry(token: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["exp"].as_i64()?.checked_mul(1000)
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

/// What is wrong with the settings, if anything; nobody is asked.
pub fn check(config: &Kafka) -> Result<(), String> {
    settings(config).create_native_config().map(drop).map_err(|error| shown(&error))
}

/// A client; one that reads if it is given a share, else one that asks and commits.
pub fn consumer(
    source: &str,
    config: &Kafka,
    share: Option<Share>,
    said: &Arc<Said>,
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
    let context = Context::new(source, config, said);
    BaseConsumer::from_config_and_context(&c, context).map_err(|error| {
        let what =
            format!("setting up a client of {}: {}", config.brokers.join(","), shown(&error));
        SourceError::Unavailable { what }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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
    fn tokens_say_when_they_expire() {
        let mut sasl = Sasl { mechanism: "OAUTHBEARER", username: "ann".into(), password: None };
        let made = token(&sasl, 5_000);
        assert_eq!(made.principal_name, "ann");
        assert_eq!(made.lifetime_ms, 5_000 + TOKEN_HOLDS);
        assert_eq!(expiry(&made.token), Some(made.lifetime_ms));
        sasl.password = Some(Secret(made.token.clone()));
        assert_eq!(token(&sasl, 9_000).lifetime_ms, made.lifetime_ms);
        sasl.password = Some(Secret("opaque".into()));
        assert_eq!(token(&sasl, 9_000).lifetime_ms, 9_000 + TOKEN_HOLDS);
        assert!(!format!("{sasl:?}").contains("opaque"));
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
