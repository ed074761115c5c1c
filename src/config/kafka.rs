//! A source of kind `kafka`: where its brokers are, what is read of them, and how they are
//! spoken to. Secrets come from the environment or a file, never from the configuration itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::Env;
use super::problem::Place;
use super::properties::Weight;
use super::section::Section;
use super::security::{self, Security};
use super::tree::{Entry, Value};
use super::{Secret, properties, units};

/// The settings of a Kafka source.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `HOST:PORT` of some brokers, at least one.
    pub brokers: Vec<String>,
    /// What is read.
    pub topics: Vec<Topics>,
    /// What the names of three of them were made of, if they were.
    pub prefix: Option<String>,
    /// The consumer group that durable positions are committed to.
    pub group: String,
    /// Whether they are.
    pub commit: bool,
    /// Where a partition that was there at the first start begins.
    pub start: Start,
    /// What becomes of records that the brokers no longer hold.
    pub gap: Gap,
    /// Bytes that are fetched ahead, over all partitions.
    pub fetch_memory: u64,
    /// How often topics are looked for.
    pub refresh: Duration,
    /// How long brokers may be out of reach before a bounded run gives up, at its start.
    pub connect_timeout: Duration,
    /// A partition that has something to read and gives nothing for so long is opened anew.
    pub stall_timeout: Duration,
    /// How brokers are spoken to.
    pub security: Security,
    /// The topic that rejected records go to as well; none = they stay on the disk alone.
    pub dead_letters: Option<String>,
    /// Further settings of librdkafka; what they are set to may be secret.
    pub properties: BTreeMap<String, Secret>,
}

/// Which topics.
#[derive(Clone, Debug)]
pub enum Topics {
    /// The topic of this name.
    Named(String),
    /// All that match.
    Matching(regex_lite::Regex),
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// At the first record of this time or later: microseconds since 1970-01-01 UTC.
    At(i64),
    /// At these offsets, by partition (`topic/0`); others at the oldest record.
    Offsets(BTreeMap<String, u64>),
}

/// What becomes of records that the brokers no longer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// They are skipped, said and counted.
    Skip,
    /// The run ends.
    Stop,
}

/// What is read ahead if nothing is said.
const FETCH_MEMORY: u64 = 64 << 20;

/// A source that says nothing.
pub fn plain() -> Kafka {
    Kafka {
        brokers: Vec::new(),
        topics: Vec::new(),
        prefix: None,
        group: "pinflow".into(),
        commit: true,
        start: Start::Earliest,
        gap: Gap::Skip,
        fetch_memory: FETCH_MEMORY,
        refresh: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(30),
        stall_timeout: Duration::from_mins(1),
        security: Security::default(),
        dead_letters: None,
        properties: BTreeMap::new(),
    }
}

/// The table of a source of this kind.
pub fn kafka(s: &Section<'_>, env: &Env) -> Kafka {
    let before = s.problems.count();
    let plain = base(s);
    // A file that cannot be read may name them.
    let unread = s.problems.count() > before;
    let gaps = [("skip", Gap::Skip), ("stop", Gap::Stop)];
    let mut settings = plain.properties.clone();
    settings.extend(further(s));
    let topics = topics(s);
    let mut kafka = Kafka {
        brokers: brokers(s).unwrap_or(plain.brokers),
        dead_letters: dead_letters(s, &topics),
        topics,
        prefix: s.filled("prefix").map(str::to_string),
        group: s.filled("group").map_or(plain.group, str::to_string),
        commit: s.flag("commit").unwrap_or(plain.commit),
        start: start(s).unwrap_or(plain.start),
        gap: s.choice("gap", &gaps).unwrap_or(plain.gap),
        fetch_memory: s.size("fetch_memory", "1MiB", "64GiB").unwrap_or(plain.fetch_memory),
        refresh: s.duration("refresh", "100ms", "1h").unwrap_or(plain.refresh),
        connect_timeout: s.duration("connect_timeout", "1s", "1h").unwrap_or(plain.connect_timeout),
        stall_timeout: s.duration("stall_timeout", "1s", "24h").unwrap_or(plain.stall_timeout),
        security: security::security(s, env, plain.security),
        properties: settings,
    };
    if kafka.brokers.is_empty() && !s.has("brokers") && !unread {
        s.missing("brokers");
    }
    security::region(s, env, &kafka.brokers, &mut kafka.security);
    kafka
}

/// What the table is laid over: nothing, or what a Java client's file says.
fn base(s: &Section<'_>) -> Kafka {
    let mut kafka = plain();
    let Some(path) = s.filled("client_properties") else { return kafka };
    let place = &s.get("client_properties").expect("it was read").place;
    match std::fs::read_to_string(path) {
        Ok(text) => {
            for said in properties::lay_over(&text, &mut kafka) {
                let message = format!("{path}:{}: {}", said.line, said.why);
                match said.weight {
                    Weight::Wrong(hint) => s.problems.error(place, message, hint),
                    Weight::Login if !s.has("sasl") => {
                        s.problems.error(place, message, "or write `sasl` yourself");
                    }
                    _ => s.problems.warn(place, message, "the line is passed over"),
                }
            }
        }
        Err(error) => {
            let hint = "name a file of key=value lines";
            s.problems.error(place, format!("`{path}` cannot be read: {error}"), hint);
        }
    }
    kafka
}

fn brokers(s: &Section<'_>) -> Option<Vec<String>> {
    if !s.has("brokers") {
        return None;
    }
    let mut out = Vec::new();
    for node in s.list("brokers", true).unwrap_or(&[]) {
        let Some(text) = node.as_text() else {
            s.wrong("brokers", node, "HOST:PORT, or several");
            continue;
        };
        for one in text.split(',').map(str::trim) {
            let port = one.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            match port {
                Some((host, Ok(_))) if !host.is_empty() => out.push(one.to_string()),
                _ => {
                    let message = format!("`{one}` is not the address of a broker");
                    s.problems.error(&node.place, message, "write HOST:PORT, like 127.0.0.1:9092");
                }
            }
        }
    }
    Some(out)
}

fn topics(s: &Section<'_>) -> Vec<Topics> {
    let mut out = Vec::new();
    if let Some(prefix) = s.filled("prefix") {
        for stream in ["pin", "geo", "user"] {
            let name = format!("{prefix}.{stream}");
            check_topic(s, &name, &s.get("prefix").expect("it was read").place);
            out.push(Topics::Named(name));
        }
    }
    for node in s.list("topics", true).unwrap_or(&[]) {
        let Some(text) = node.as_text() else {
            s.wrong("topics", node, "names of topics");
            continue;
        };
        if text.starts_with('^') {
            match regex_lite::Regex::new(text) {
                Ok(regex) => out.push(Topics::Matching(regex)),
                Err(error) => {
                    let message = format!("`{text}` is not a regular expression: {error}");
                    s.problems.error(&node.place, message, "for example \"^0a.*[.]pin$\"");
                }
            }
        } else {
            check_topic(s, text, &node.place);
            out.push(Topics::Named(text.to_string()));
        }
    }
    if !s.has("prefix") && !s.has("topics") {
        s.missing("topics");
    } else if out.is_empty() {
        let hint = "for example topics = [\"0a1b.pin\", \"^shared\"]";
        s.problems.error(s.place_of("topics"), "no topic is named", hint);
    }
    out
}

/// The topic of dead letters; it is none of those that are read.
fn dead_letters(s: &Section<'_>, read: &[Topics]) -> Option<String> {
    s.table("dead_letters")?;
    let d = s.section("dead_letters", &["source.kafka.dead_letters"]);
    if !d.has("topic") {
        d.missing("topic");
    }
    let topic = d.filled("topic")?;
    let place = &d.get("topic")?.place;
    check_topic(s, topic, place);
    let is_read = |one: &Topics| match one {
        Topics::Named(name) => name == topic,
        Topics::Matching(regex) => regex.is_match(topic),
    };
    if read.iter().any(is_read) {
        let message = format!("dead letters cannot go to `{topic}`: it is one of the topics read");
        let hint = "they would be read and rejected for ever; name another topic";
        s.problems.error(place, message, hint);
    }
    Some(topic.to_string())
}

fn check_topic(s: &Section<'_>, name: &str, place: &Place) {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 249 || !name.chars().all(good) {
        let hint = "topics have at most 249 letters, digits, `.`, `_`, `-`; \
                    a regular expression begins with ^";
        s.problems.error(place, format!("`{name}` cannot be a topic"), hint);
    }
}

fn start(s: &Section<'_>) -> Option<Start> {
    let node = s.get("start")?;
    let wanted = "\"earliest\", \"latest\", a time, or offsets by partition";
    match &node.value {
        Value::Table(table) => Some(Start::Offsets(offsets(s, &table.entries))),
        Value::Text(text) => match text.as_str() {
            "earliest" => Some(Start::Earliest),
            "latest" => Some(Start::Latest),
            other => {
                let at = units::time(other);
                if at.is_none() {
                    let message = format!("`start` cannot be `{other}`");
                    s.problems.error(&node.place, message, format!("it is {wanted}"));
                }
                at.map(Start::At)
            }
        },
        _ => {
            s.wrong("start", node, wanted);
            None
        }
    }
}

fn offsets(s: &Section<'_>, entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for entry in entries {
        let named = entry.key.rsplit_once('/').is_some_and(|(_, n)| n.parse::<u32>().is_ok());
        match &entry.node.value {
            Value::Int(n) if named && *n >= 0 => drop(out.insert(entry.key.clone(), *n as u64)),
            _ => {
                let message = format!("`{}` is not the offset of a partition", entry.key);
                let hint = "for example start = { \"0a1b.pin/0\" = 1200 }";
                s.problems.error(&entry.place, message, hint);
            }
        }
    }
    out
}

/// How the password is given.
const PASSWORD: &str = "it is `sasl = { password = { env = \"NAME\" } }`";
/// How certificates are.
const KEY: &str = "name PEM files: `tls = { certificate = \"...\", key = \"...\" }`";

/// Settings of librdkafka that pinflow decides itself, or takes from where secrets may stand.
const OURS: [(&str, &str); 15] = [
    ("bootstrap.servers", "it is `brokers`"),
    ("metadata.broker.list", "it is `brokers`"),
    ("group.id", "it is `group`"),
    ("enable.auto.commit", "positions are committed when they are durable; see `commit`"),
    ("auto.offset.reset", "it is `start` and `gap`"),
    ("enable.partition.eof", "pinflow needs it"),
    ("security.protocol", "it follows from `sasl` and `tls`"),
    ("sasl.mechanism", "it is `sasl = { mechanism = \"...\" }`"),
    ("sasl.mechanisms", "it is `sasl = { mechanism = \"...\" }`"),
    ("sasl.username", "it is `sasl = { username = \"...\" }`"),
    ("sasl.password", PASSWORD),
    (
        "sasl.oauthbearer.client.secret",
        "give the token itself: `sasl = { mechanism = \"OAUTHBEARER\", password = ... }`",
    ),
    ("ssl.key.password", "it is `tls = { key_password = { env = \"NAME\" } }`"),
    ("ssl.key.pem", KEY),
    ("ssl.keystore.password", KEY),
];

/// What is said of a setting of librdkafka that cannot be set as it is; none if it can.
pub fn ours(name: &str) -> Option<&'static str> {
    OURS.iter().find(|o| o.0 == name).map(|o| o.1)
}

fn further(s: &Section<'_>) -> BTreeMap<String, Secret> {
    let mut out = BTreeMap::new();
    let Some((table, _)) = s.table("properties") else { return out };
    for entry in &table.entries {
        if let Some(hint) = ours(&entry.key) {
            let message = format!("`{}` cannot be set here", entry.key);
            s.problems.error(&entry.place, message, hint);
            continue;
        }
        let value = match &entry.node.value {
            Value::Text(text) => text.clone(),
            Value::Int(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            _ => {
                s.wrong("properties", &entry.node, "texts, integers, true or false");
                continue;
            }
        };
        if let Err(what) = crate::source::kafka::takes(&entry.key, &value) {
            let hint = "librdkafka's CONFIGURATION.md lists names and values";
            s.problems.error(&entry.place, what, hint);
            continue;
        }
        out.insert(entry.key.clone(), Secret(value));
    }
    out
}
