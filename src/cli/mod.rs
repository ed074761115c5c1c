//! The command line: what can be asked of the binary, and in which words.

pub mod bench;
mod client;
mod commands;
mod emulate;
mod failure;
mod logging;
mod options;
mod plan;
mod replay;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use commands::main;
pub use emulate::EmulateArgs;
pub use failure::{Failure, exit};
pub use logging::last_words;
pub use options::{ResultsTo, RunOptions};

use crate::config::RESERVED;
use crate::results::Format;

/// Joins, cleans and measures three streams (pin, geo, user), live and exactly.
#[derive(Debug, Parser)]
#[command(name = "pinflow", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:
  pinflow run                                            the built-in demo, on http://127.0.0.1:8765
  pinflow run --once --input DIR --results OUT           files to the end, OUT/<metric>.tsv
  pinflow validate --config my.toml                      what is wrong with a configuration
  pinflow results top_category_by_country                a metric of the running daemon

Exit codes: 0 done, 64 usage, 65 damaged state, damaged or changed input, 69 source unavailable,
70 internal error, 71 memory budget used up, 74 disk, 75 state in use or not ready yet,
78 configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // built once
pub enum Command {
    /// Read the sources, keep the metrics, serve them
    Run(RunArgs),
    /// Show the dataflow that the declarations become: operators, keys, windows, memory
    Plan(PlanArgs),
    /// Check a configuration; every mistake with its line, and what was meant
    Validate(ValidateArgs),
    /// Show sources, positions, the frontier and who holds it back
    Status(StatusArgs),
    /// Print a metric, of a running daemon or of a finished run's state
    Results(ResultsArgs),
    /// Read rejected records again, or list them
    Replay(ReplayArgs),
    /// Send posts as the producers do: to standard output, to files, to Kafka
    Emulate(EmulateArgs),
    /// Measure this machine: throughput, CPU, memory, with durable state on
    Bench(BenchArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
}

/// Where settings come from.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// A configuration file; may be repeated, later wins. Without: the built-in default
    #[arg(long, value_name = "FILE", env = "PINFLOW_CONFIG")]
    pub config: Vec<PathBuf>,
    /// Set one key; may be repeated, wins over files and over PINFLOW_A__B variables
    #[arg(long, value_name = "A.B=V")]
    pub set: Vec<String>,
}

/// Settings of `run`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow run
  pinflow run --config config/demo.toml --state /tmp/pinflow --listen 127.0.0.1:9000
  pinflow run --rate max --set source.demo.indexes=1000000
  pinflow run --once --config config/queries.toml --input DIR --state S --results OUT --format csv
  pinflow run --once --input DIR --state S --cleaned OUT
  pinflow run --config config/metrics.toml --config config/kafka.toml --until latest --state S

--input DIR: if DIR has any of pin|geo|user.jsonl[.gz|.zst] only these are read, each as what it is
called; else every file below it, as its fields tell.")]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Read to the end, publish, exit; opens no port without --listen
    #[arg(long)]
    pub once: bool,
    /// Read to the ends that there are now, or to a time, publish, exit; started again it
    /// keeps to them. Opens no port without --listen
    #[arg(long, value_name = "latest|TIME")]
    pub until: Option<Until>,
    /// Read the files of a folder instead of the configured sources
    #[arg(long, value_name = "DIR")]
    pub input: Option<PathBuf>,
    /// The folder of durable state (state.dir)
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Write every metric to DIR/METRIC.FORMAT at the end
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// The format of --results
    #[arg(long, value_name = "FORMAT", default_value = "tsv")]
    pub format: FileFormat,
    /// Write the cleaned rows below a folder
    #[arg(long, value_name = "DIR")]
    pub cleaned: Option<PathBuf>,
    /// The address to serve (http.listen): IP:PORT or localhost:PORT; none opens no port
    #[arg(long, value_name = "ADDR", value_parser = crate::config::units::listen)]
    pub listen: Option<String>,
    /// Records a second of the demo, or `max`
    #[arg(long, value_name = "N|max")]
    pub rate: Option<String>,
    /// Workers (engine.workers)
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Read everything again into a new state; the old one is kept until the new one has passed it
    #[arg(long)]
    pub rebuild: bool,
    /// With --rebuild: go on although the sources no longer reach back to the beginning
    #[arg(long, requires = "rebuild")]
    pub accept_gap: bool,
    /// How logs look; text on a terminal, json otherwise
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Where a bounded run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the ends of its first start.
    Latest,
    /// Before what came at this time or later; microseconds since 1970-01-01 UTC.
    Time(i64),
}

impl std::str::FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Until::Latest),
            _ => crate::config::units::time(text)
                .map(Until::Time)
                .ok_or("it is `latest`, or a time like 2026-11-25T18:46:10Z"),
        }
    }
}

/// Formats of result files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Tab-separated; tab, line end and backslash within a text are `\t`, `\n`, `\\`
    #[default]
    Tsv,
    /// Comma-separated, quoted where needed
    Csv,
    /// One JSON document
    Json,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Tsv => Format::Tsv,
            FileFormat::Csv => Format::Csv,
            FileFormat::Json => Format::Json,
        }
    }
}

/// Formats of printed results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrintFormat {
    /// Aligned columns
    #[default]
    Table,
    /// One JSON document
    Json,
    /// Comma-separated, quoted where needed
    Csv,
    /// Tab-separated
    Tsv,
}

impl From<PrintFormat> for Format {
    fn from(format: PrintFormat) -> Self {
        match format {
            PrintFormat::Table => Format::Table,
            PrintFormat::Json => Format::Json,
            PrintFormat::Csv => Format::Csv,
            PrintFormat::Tsv => Format::Tsv,
        }
    }
}

/// Formats of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Formats of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
}

/// Formats of the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
    /// A graph for Graphviz
    Dot,
}

/// Settings of `plan`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow plan --config config/bench.toml
  pinflow plan --format dot | dot -Tsvg > plan.svg")]
pub struct PlanArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: PlanFormat,
}

/// Settings of `validate`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow validate --config my.toml
  pinflow validate --config my.toml --config production.toml --origins")]
pub struct ValidateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
    /// Say where each setting comes from
    #[arg(long)]
    pub origins: bool,
    /// Ask the Kafka brokers: whether they and the topics are there, and we may read them
    #[arg(long)]
    pub connect: bool,
}

/// Which daemon or state to ask.
#[derive(Args, Clone, Debug, Default)]
pub struct AskArgs {
    /// A running daemon; without --state the configured http.listen
    #[arg(long, value_name = "URL", conflicts_with = "state")]
    pub url: Option<String>,
    /// The state of a finished run
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The environment variable that holds the daemon's token. Without: PINFLOW_TOKEN
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
}

/// Settings of `status`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow status                                        in a few lines
  pinflow status --all
  pinflow status --url http://127.0.0.1:9000 --json
  pinflow status --state /tmp/pinflow")]
pub struct StatusArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ask: AskArgs,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
    /// Everything, not only a summary
    #[arg(long, conflicts_with = "json")]
    pub all: bool,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

/// The name of a key, and what it is to be printed as.
fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as country=Brazil")?;
    if RESERVED.contains(&key) {
        return Err(format!("{key} is no key of a metric; for some there is a flag, as --window"));
    }
    Ok((key.into(), value.into()))
}

/// Settings of `results`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow results                                  the metrics that there are
  pinflow results posts_by_country
  pinflow results category_popularity --window 1h --limit 20 --format csv
  pinflow results category_popularity --where country=Brazil --where category=art
  pinflow results Q1_top --config config/queries.toml --state S")]
pub struct ResultsArgs {
    /// The metric; without: a list of all
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ask: AskArgs,
    /// One window of the metric: hour, day, month, year or a size
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<String>,
    /// Rows of which a key is this, as the API prints it (empty: null); all given must hold
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = key_value, requires = "name")]
    pub keys: Vec<(String, String)>,
    /// At most so many rows a window
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: PrintFormat,
}

/// Settings of `replay`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  pinflow replay --state S --list            rejected records as JSON Lines
  pinflow replay --state S                   read them again, by a version that understands more
  pinflow replay --state S --from-topic --config my.toml       the same, as the topic holds them

What is still rejected is counted once more, in every metric over records too. They are judged
under the cleaning rules that the state was made with. Under other rules everything
has to be read again: pinflow run --rebuild.")]
pub struct ReplayArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// The folder of durable state (state.dir)
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print them instead, as JSON Lines
    #[arg(long)]
    pub list: bool,
    /// Take them from the topics that they were sent to (dead_letters of a Kafka source)
    #[arg(long)]
    pub from_topic: bool,
}

/// Settings of `bench`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  pinflow bench                              the demo's streams, made for it
  pinflow bench --records 3000000 --runs 3 --workers 2
  pinflow bench --input DATA --reference DATA/ref --format json

Without --config the five answers of the built-in bench.toml are measured.")]
pub struct BenchArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// The folder to read; without: data are generated
    #[arg(long, value_name = "DIR")]
    pub input: Option<PathBuf>,
    /// So many records are generated
    #[arg(long, value_name = "N", default_value = "900000", conflicts_with = "input")]
    pub records: std::num::NonZeroU64,
    /// Equal seeds give equal data
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "input")]
    pub seed: u64,
    /// Compare the results with the .tsv files of a folder
    #[arg(long, value_name = "DIR")]
    pub reference: Option<PathBuf>,
    /// How often
    #[arg(long, value_name = "N", default_value = "1")]
    pub runs: std::num::NonZeroU32,
    /// Workers (engine.workers)
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// Settings of `completions`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  pinflow completions bash > /etc/bash_completion.d/pinflow
  pinflow completions zsh > ~/.zfunc/_pinflow")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}
