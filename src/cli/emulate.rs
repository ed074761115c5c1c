//! `pinflow emulate`: its flags, and what they mean together.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dataflows::record::Stream;

use super::{ConfigArgs, Failure, exit};
use crate::config::{Config, Demo, Env, Kafka, Rate, Secret, SourceKind, Topics};
use crate::emulate::draw::Order;
use crate::emulate::feed::{self, Feed, Tables};
use crate::emulate::mysql::{self, Credentials, Database};
use crate::emulate::pace::{self, Pace};
use crate::emulate::stop::Stop;
use crate::emulate::target::{
    Cluster, FilesTarget, KafkaTarget, Key, StdoutTarget, Target, decided,
};
use crate::emulate::{self, Options, Sent};
use crate::source::demo::Posts;

/// The seed of the stock script, and of nearly all that were made from it.
const SEED: u64 = 100;
/// The pauses that the seed systems say they make.
const PAUSES: Pace = Pace::Interval(Duration::ZERO, Duration::from_secs(2));

/// Settings of `emulate`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  pinflow emulate                                            the demo's posts, on the terminal
  pinflow emulate --to files --out DIR --count 1000          pin.jsonl, geo.jsonl, user.jsonl
  pinflow emulate --from DIR --to kafka --brokers 127.0.0.1:9092 --prefix 0a1b --rate 300
  pinflow emulate --from DIR --stock --count 100 --rate max  the rows that the stock script draws
  pinflow emulate --load --from DIR --credentials db_creds.yaml        fills a database
  pinflow emulate --from mysql --credentials db_creds.yaml --stock     and sends from it

A post is what the three streams say of one index. Without --interval and --rate there are pauses
of 0..2s between posts (--stock: those of the stock script) to kafka and on a terminal, else none.
Ctrl-C stops: what was taken is delivered, then what was sent is told on standard error.")]
pub struct EmulateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Where posts come from: `demo`, `mysql` (the tables pinterest_data, geolocation_data,
    /// user_data), or a folder with pin.jsonl, geo.jsonl, user.jsonl
    #[arg(long, value_name = "demo|mysql|DIR", default_value = "demo")]
    pub from: PathBuf,
    /// Where records go
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    pub to: To,
    /// With --to files: the folder of pin.jsonl, geo.jsonl and user.jsonl, which must be new
    #[arg(long, value_name = "DIR", required_if_eq("to", "files"))]
    pub out: Option<PathBuf>,
    /// With --to kafka: some brokers, by commas; without: those of the configured source, whose
    /// `sasl`, `tls` and `properties` hold here too
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: Option<String>,
    /// With --to kafka: the topics are PREFIX.pin, PREFIX.geo and PREFIX.user; without: the
    /// prefix of the configured source
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// With --to kafka: create topics that are not there, with so many partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// With --to kafka: the key of a message; the seed systems send none
    #[arg(long, value_name = "KEY", default_value = "none")]
    pub key: KeyOf,
    /// With --to kafka: a further setting of librdkafka; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub property: Vec<String>,
    /// The database: a file with HOST, USER, PASSWORD, DATABASE and PORT, as YAML like the course's
    /// db_creds.yaml or as .toml; what it leaves out is taken from MYSQL_HOST, MYSQL_USER, ...
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// Send nothing: create the three tables in the database and fill them from --from DIR
    #[arg(long, requires = "from", conflicts_with_all = [
        "to", "out", "brokers", "prefix", "partitions", "key", "property", "order", "stock",
        "streams", "count", "seed", "interval", "rate",
    ])]
    pub load: bool,
    /// With --load: drop the three tables first, if they are there
    #[arg(long, requires = "load")]
    pub replace: bool,
    /// How posts are chosen: each once, one after the other; or any, again and again
    #[arg(long, value_name = "ORDER", default_value = "sequence")]
    pub order: OrderOf,
    /// Choose as the stock script: random.seed(SEED), then a sleep and a row up to 11000, for ever
    #[arg(long, conflicts_with = "order")]
    pub stock: bool,
    /// Which records of a post are sent, and in which order
    #[arg(long, value_name = "STREAMS", value_delimiter = ',', default_value = "pin,geo,user")]
    pub streams: Vec<StreamOf>,
    /// At most so many posts
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Equal seeds send equal posts with equal pauses
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The pause between posts: 500ms, or any in 0..2s
    #[arg(long, value_name = "PAUSE", value_parser = pace::interval, conflicts_with = "rate")]
    pub interval: Option<Pace>,
    /// Records a second, or `max`
    #[arg(long, value_name = "N|max", value_parser = pace::rate)]
    pub rate: Option<Pace>,
}

/// Where records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// One line a record, all streams as they come
    #[default]
    Stdout,
    /// One file a stream, as `run --input` reads them
    Files,
    /// One topic a stream, confirmed by the brokers
    Kafka,
}

/// Keys of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyOf {
    /// No key: records spread over the partitions
    #[default]
    None,
    /// The index: its records are in one partition, in order
    Index,
}

/// Orders of posts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OrderOf {
    /// Each once, as they stand there; the demo's never end
    #[default]
    Sequence,
    /// Any of them, drawn for ever, so that many come again
    Random,
}

/// Streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamOf {
    /// What was posted
    Pin,
    /// Where and when
    Geo,
    /// By whom
    User,
}

/// Sends, or loads; returns what is to be told.
pub fn emulate(args: &EmulateArgs, env: &Env) -> Result<String, Failure> {
    let config = args.config.load_closed(env)?.config;
    let stop = Stop::at_signals()?;
    if args.load {
        return args.fill(env, &stop);
    }
    args.fitting()?;
    let options = args.options()?;
    let mut feed = args.feed(&config, env, options.order)?;
    let endless = options.order != Order::Sequence || feed.posts().is_none();
    if args.to == To::Files && endless && options.count.is_none() && options.pace == Pace::Max {
        let message = "the posts never end, and files would fill the disk";
        let hint = "say how many with --count, or how fast with --rate or --interval";
        return Err(Failure::new(exit::USAGE, message, hint));
    }
    let mut target = args.target(&config)?;
    let name = target.name();
    let sent = emulate::run(&mut *feed, &mut *target, &options, &stop)?;
    Ok(told(&sent, &name))
}

impl EmulateArgs {
    /// Refuses what is of another target than the one that is meant: it would do nothing.
    fn fitting(&self) -> Result<(), Failure> {
        let given = [
            (To::Kafka, "--brokers", self.brokers.is_some()),
            (To::Kafka, "--prefix", self.prefix.is_some()),
            (To::Kafka, "--partitions", self.partitions.is_some()),
            (To::Kafka, "--key", self.key != KeyOf::None),
            (To::Kafka, "--property", !self.property.is_empty()),
            (To::Files, "--out", self.out.is_some()),
        ];
        let strange = given.into_iter().find(|(to, _, given)| *given && *to != self.to);
        let Some((to, flag, _)) = strange else { return Ok(()) };
        let word = if to == To::Kafka { "kafka" } else { "files" };
        let hint = format!("add --to {word}, or leave {flag} out");
        Err(Failure::new(exit::USAGE, format!("{flag} is for --to {word}"), hint))
    }

    fn options(&self) -> Result<Options, Failure> {
        let mut streams: Vec<Stream> = Vec::new();
        for stream in &self.streams {
            let stream = match stream {
                StreamOf::Pin => Stream::Pin,
                StreamOf::Geo => Stream::Geo,
                StreamOf::User => Stream::User,
            };
            if streams.contains(&stream) {
                let message = format!("--streams names {} twice", stream.name());
                return Err(Failure::new(exit::USAGE, message, "name each once"));
            }
            streams.push(stream);
        }
        let terminal = std::io::stdout().is_terminal();
        let paced = match self.to {
            To::Kafka => true,
            To::Stdout => terminal,
            To::Files => false,
        };
        let pace = self.rate.or(self.interval).unwrap_or(match (paced, self.stock) {
            (false, _) => Pace::Max,
            (true, false) => PAUSES,
            (true, true) => Pace::Stock,
        });
        Ok(Options {
            order: match (self.stock, self.order) {
                (true, _) => Order::Stock,
                (false, OrderOf::Sequence) => Order::Sequence,
                (false, OrderOf::Random) => Order::Random,
            },
            seed: self.seed.unwrap_or(SEED),
            count: self.count,
            pace,
            streams,
            progress: !(self.to == To::Stdout && terminal),
        })
    }

    fn database(&self, env: &Env) -> Result<Database, Failure> {
        Database::connect(&Credentials::read(self.credentials.as_deref(), env)?)
    }

    fn feed(&self, config: &Config, env: &Env, order: Order) -> Result<Box<dyn Feed>, Failure> {
        let (name, tables) = match self.from.to_str() {
            Some("demo") => {
                let demo = demo(config);
                let seed = self.seed.unwrap_or(demo.seed);
                return Ok(Box::new(Posts::new(seed, demo.indexes)));
            }
            Some("mysql") => ("the database".into(), mysql::tables(&mut self.database(env)?)?),
            _ => (self.from.display().to_string(), feed::folder(&self.from)?),
        };
        Ok(Box::new(Tables::new(name, tables, order)?))
    }

    /// Creates and fills the tables of the database.
    fn fill(&self, env: &Env, stop: &Stop) -> Result<String, Failure> {
        if ["demo", "mysql"].iter().any(|other| self.from.as_os_str() == *other) {
            let message = "--load fills the tables from a folder";
            let hint = "name it: --from DIR; the demo's posts go to one with \
                        `pinflow emulate --to files --out DIR --count 1000`";
            return Err(Failure::new(exit::USAGE, message, hint));
        }
        let tables = feed::folder(&self.from)?;
        let loaded = mysql::load(&mut self.database(env)?, &tables, self.replace, stop)?;
        let mut text = String::from("loaded");
        for (stream, rows) in Stream::ALL.into_iter().zip(loaded.rows) {
            let comma = if stream == Stream::Pin { "" } else { "," };
            text += &format!("{comma} {rows} rows into {}", mysql::table(stream));
        }
        text.push('\n');
        if let Some(first) = loaded.first {
            let count = loaded.left_out;
            text += &format!("{count} records were left out, the first of them {first}\n");
        }
        Ok(text)
    }

    fn target(&self, config: &Config) -> Result<Box<dyn Target>, Failure> {
        Ok(match self.to {
            To::Stdout => Box::new(StdoutTarget::new()),
            To::Files => Box::new(FilesTarget::create(self.out.as_deref().unwrap_or("".as_ref()))?),
            To::Kafka => Box::new(KafkaTarget::connect(self.cluster(config)?)?),
        })
    }

    /// The brokers and topics that are meant: those of the flags, else of the configured source.
    fn cluster(&self, config: &Config) -> Result<Cluster, Failure> {
        let given = self.settings()?;
        let mut kinds = config.sources.iter().map(|source| &source.kind);
        let source =
            kinds.find_map(|kind| if let SourceKind::Kafka(k) = kind { Some(k) } else { None });
        let brokers = self.brokers.clone().or_else(|| Some(source?.brokers.join(",")));
        let prefix = self.prefix.clone().or_else(|| prefix(source?));
        let lacks = |flag: &str| {
            let message = format!("--to kafka lacks {flag}, and the configuration does not tell");
            let hint = "give --brokers HOST:PORT --prefix PREFIX, or a configuration with \
                        [source.kafka]";
            Failure::new(exit::USAGE, message, hint)
        };
        let mut settings = source.map_or_else(BTreeMap::new, |source| source.properties.clone());
        settings.extend(given);
        Ok(Cluster {
            brokers: brokers.ok_or_else(|| lacks("--brokers"))?,
            prefix: prefix.ok_or_else(|| lacks("--prefix"))?,
            key: match self.key {
                KeyOf::None => Key::None,
                KeyOf::Index => Key::Index,
            },
            partitions: self.partitions,
            security: source.map(|source| source.security.clone()).unwrap_or_default(),
            settings,
        })
    }

    /// What is set by flags, if it is for them to say; others would be silently overwritten.
    fn settings(&self) -> Result<BTreeMap<String, Secret>, Failure> {
        let one = |text: &String| {
            let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = parts.ok_or_else(|| {
                let message = format!("--property {text} is not a name and a value");
                Failure::new(exit::USAGE, message, "write it like --property linger.ms=20")
            })?;
            if let Some(why) = decided(name) {
                let message = format!("--property cannot set {name}");
                return Err(Failure::new(exit::USAGE, message, why));
            }
            Ok((name.to_string(), Secret(value.to_string())))
        };
        self.property.iter().map(one).collect()
    }
}

/// What the topics that a source reads begin with, if they are three of one prefix.
fn prefix(source: &Kafka) -> Option<String> {
    let named = source.topics.iter().find_map(|topics| match topics {
        Topics::Named(name) => name.strip_suffix(".pin"),
        Topics::Matching(_) => None,
    });
    named.map(str::to_string)
}

/// The first demo of the configuration, or the one that it would be by default.
fn demo(config: &Config) -> Demo {
    let mut kinds = config.sources.iter().map(|source| &source.kind);
    let demo = kinds.find_map(|kind| if let SourceKind::Demo(d) = kind { Some(d) } else { None });
    let usual = Demo { seed: SEED, rate: Rate::Max(1.0), indexes: 100_000, records: None };
    demo.cloned().unwrap_or(usual)
}

/// What was sent, in a line or two.
fn told(sent: &Sent, name: &str) -> String {
    let [pin, geo, user] = sent.records;
    let mut text = format!(
        "sent {} records (pin {pin}, geo {geo}, user {user}) of {} posts to {name}{}\n",
        sent.sum(),
        sent.posts,
        if sent.stopped { ", then was stopped" } else { "" }
    );
    if sent.missing > 0 {
        text += &format!("{} posts were drawn that are not there\n", sent.missing);
    }
    text
}
