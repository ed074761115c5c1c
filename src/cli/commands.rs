//! What each command does: every call from the command line into the rest is in this file.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

use clap::CommandFactory;
use dataflows::metrics::declare::{Metric, Window};
use serde_json::{Value, json};

use super::client::{Client, escape};
use super::{AskArgs, Cli, Command, ConfigArgs, Failure, PrintFormat, ResultsArgs, exit, logging};
use crate::config::{self, Env};
use crate::results;

/// Does what was asked; returns the exit code, after saying why where it is not 0.
pub fn main(cli: Cli) -> u8 {
    match dispatch(cli, &environment()) {
        Ok(()) => 0,
        Err(failure) => {
            // Nobody is left to tell if standard error is gone.
            let _ = std::io::stderr().write_all(logging::last_words(&failure).as_bytes());
            failure.exit_code
        }
    }
}

fn dispatch(cli: Cli, env: &Env) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => {
            logging::start_run(args.log_format)?;
            let (options, loaded) = args.options(env)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            options.notes.iter().for_each(|note| tracing::warn!("{note}"));
            crate::engine::run(&options)
        }
        Command::Validate(args) => super::validate::validate(&args, env),
        Command::Status(args) => super::status::status(&args, env),
        Command::Results(args) => show(&args, env),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "pinflow", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Replay(args) => super::replay::replay(&args, env),
        Command::Plan(args) => {
            let loaded = args.config.load_closed(env)?;
            print(&super::plan::printed(&loaded.config, args.format))
        }
        Command::Emulate(args) => {
            let told = super::emulate::emulate(&args, env)?;
            // Standard output is for the records.
            let _ = std::io::stderr().write_all(told.as_bytes());
            Ok(())
        }
        Command::Bench(args) => {
            let (report, wrong) = super::bench::bench(&args, env)?;
            print(&report)?;
            wrong.map_or(Ok(()), Err)
        }
    }
}

/// The environment; what is not UTF-8 is no setting of ours.
fn environment() -> Env {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_with(|out| out.write_all(text.as_bytes()))
}

/// Prints what is written; a reader that has seen enough (`| head`) is no failure.
pub(super) fn print_with(
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::io("printing", &error))
        }
        _ => Ok(()),
    }
}

/// The variable that holds the daemon's token where none is named.
const TOKEN: &str = "PINFLOW_TOKEN";

/// The daemon that is meant.
pub(super) fn client(ask: &AskArgs, config: &ConfigArgs, env: &Env) -> Result<Client, Failure> {
    let token = match &ask.token_env {
        None => env.get(TOKEN).cloned(),
        Some(name) => Some(env.get(name).cloned().ok_or_else(|| {
            let hint = format!("set it, e.g. export {name}=..., or leave out --token-env");
            let message = format!("the environment variable `{name}` (--token-env) is not set");
            Failure::new(exit::USAGE, message, hint)
        })?),
    };
    if let Some(url) = &ask.url {
        return Client::new(url, token);
    }
    let http = config.load(&[], env)?.config.http;
    let hint = "give --url http://HOST:PORT";
    let none = || Failure::new(exit::USAGE, "the configuration opens no port to ask", hint);
    let mut address = http.listen.ok_or_else(none)?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Client::new(&format!("http://{address}"), token.or(http.token.map(|t| t.0)))
}

/// The way on where a state is to be shown and nothing is said of how it was made.
const MADE_WITH: &str = "name the configuration that the state was made with: --config FILE; \
                         without it the built-in one is meant";

/// Prints a metric of a state that nobody runs.
fn stored(args: &ResultsArgs, dir: &Path, env: &Env) -> Result<(), Failure> {
    // What is damaged is said in the log.
    logging::start(None)?;
    let config = args.config.load_closed(env)?.config;
    let Some(name) = &args.name else {
        let metric = |m: &Metric| json!({"name": m.name, "meaning": m.meaning});
        let list: Vec<Value> = config.metrics.iter().map(metric).collect();
        return print(&results::catalogue(&json!({ "metrics": list }), args.format.into()));
    };
    let known = || config.metrics.iter().map(|m| m.name.as_str());
    let metric = config.metrics.iter().find(|m| m.name == *name);
    let metric = metric.ok_or_else(|| {
        let hint = config::problem::meant(name, known());
        if args.config.config.is_empty() {
            let message = format!("the built-in configuration has no metric `{name}`");
            return Failure::new(exit::USAGE, message, format!("{hint} Or {MADE_WITH}"));
        }
        Failure::new(exit::USAGE, format!("the configuration has no metric `{name}`"), hint)
    })?;
    let labels: Vec<String> = metric.windows.iter().map(Window::label).collect();
    if let Some(window) = args.window.as_ref().filter(|w| !labels.contains(w)) {
        let hint = config::problem::meant(window, labels.iter().map(String::as_str));
        let message = format!("metric `{name}` has no window `{window}`");
        return Err(Failure::new(exit::USAGE, message, hint));
    }
    let keys = places(metric, &args.keys)?;
    let (published, lost) = crate::engine::recompute(&config, dir).map_err(|mut failure| {
        if args.config.config.is_empty() && failure.exit_code == exit::CONFIG {
            failure.hint = Some(MADE_WITH.into());
        }
        failure
    })?;
    let Some(reading) = published.find(name).and_then(|n| published.read(n)) else {
        return Err(Failure::new(exit::SOFTWARE, format!("metric `{name}` is not planned"), ""));
    };
    let mut rows = results::rows(&reading, &keys, args.limit);
    let label = |row: &results::Row| labels.get(usize::from(row.window));
    rows.retain(|row| args.window.is_none() || label(row) == args.window.as_ref());
    print_with(|out| results::write(reading.schema(), &rows, args.format.into(), out))?;
    lost.map_or(Ok(()), Err)
}

/// The keys of a metric that are asked for, by their places.
fn places(metric: &Metric, keys: &[(String, String)]) -> Result<Vec<(usize, String)>, Failure> {
    let place = |(name, value): &(String, String)| {
        let place = metric.keys.iter().position(|key| key.name == *name);
        let place = place.ok_or_else(|| {
            let message = format!("metric `{}` has no key `{name}`", metric.name);
            let known = metric.keys.iter().map(|key| &*key.name);
            Failure::new(exit::USAGE, message, config::problem::meant(name, known))
        })?;
        Ok((place, value.clone()))
    };
    keys.iter().map(place).collect()
}

fn show(args: &ResultsArgs, env: &Env) -> Result<(), Failure> {
    if let Some(dir) = &args.ask.state {
        return stored(args, dir, env);
    }
    let client = client(&args.ask, &args.config, env)?;
    let Some(name) = &args.name else {
        let body = client.get("/api/v1/metrics")?;
        return match serde_json::from_str::<Value>(&body) {
            Ok(value) => print(&results::catalogue(&value, args.format.into())),
            Err(_) => print(&body),
        };
    };
    let json = args.format == PrintFormat::Json;
    let format = if json { "json" } else { "csv" };
    let mut path = format!("/api/v1/metrics/{}?format={format}", escape(name));
    if let Some(window) = &args.window {
        let _ = write!(path, "&window={}", escape(window));
    }
    if let Some(limit) = args.limit {
        let _ = write!(path, "&limit={limit}");
    }
    for (key, value) in &args.keys {
        let _ = write!(path, "&{}={}", escape(key), escape(value));
    }
    let body = client.get(&path)?;
    match args.format {
        PrintFormat::Json => print(&format!("{}\n", body.trim_end())),
        PrintFormat::Csv => print(&body),
        PrintFormat::Tsv => print(&results::csv_to_tsv(&body)),
        PrintFormat::Table => print(&results::csv_to_table(&body)),
    }
}
