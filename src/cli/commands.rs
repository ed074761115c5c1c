//! What each command does: every call from the command line into the rest is in this file.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

use clap::CommandFactory;
use dataflows::metrics::declare::{Metric, Window};
use serde_json::{Value, json};

use super::RunOptions;
use super::client::{Client, escape};
use super::{
    AskArgs, Cli, Command, ConfigArgs, Failure, PrintFormat, ReplayArgs, ReportFormat, ResultsArgs,
    StatusArgs, ValidateArgs, exit, logging,
};
use crate::config::{self, Env};
use crate::engine::{DEAD_LETTERS, EngineError};
use crate::results;
use crate::store::dead::Letters;
use crate::store::disk::RealDisk;
use crate::store::{ReadOnly, StoreError};

/// Does what was asked; returns the exit code, after saying why where it is not 0.
pub fn main(cli: Cli) -> u8 {
    match dispatch(cli, &environment()) {
        Ok(()) => 0,
        Err(failure) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "pinflow: {failure}");
            failure.exit_code
        }
    }
}

fn dispatch(cli: Cli, env: &Env) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => {
            let (options, loaded) = args.options(env)?;
            logging::start(args.log_format)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            crate::engine::run(&options)
        }
        Command::Validate(args) => validate(&args, env),
        Command::Status(args) => status(&args, env),
        Command::Results(args) => show(&args, env),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "pinflow", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Replay(args) if args.list => list(&args, env),
        Command::Replay(args) => replay(&args, env),
        Command::Plan(args) => {
            let loaded = args.config.load(&[], env)?;
            print(&super::plan::printed(&loaded.config, args.format))
        }
        Command::Emulate(args) => {
            let told = super::emulate::emulate(&args, env)?;
            // Standard output is for the records.
            let _ = std::io::stderr().write_all(told.as_bytes());
            Ok(())
        }
        Command::Bench(args) => print(&super::bench::bench(&args, env)?),
    }
}

/// The environment; what is not UTF-8 is no setting of ours.
fn environment() -> Env {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn print(text: &str) -> Result<(), Failure> {
    print_with(|out| out.write_all(text.as_bytes()))
}

/// Prints what is written; a reader that has seen enough (`| head`) is no failure.
fn print_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::io("printing", &error))
        }
        _ => Ok(()),
    }
}

fn validate(args: &ValidateArgs, env: &Env) -> Result<(), Failure> {
    let loaded = config::load(&args.config.config, &args.config.set, env);
    if args.format == ReportFormat::Json {
        let list = |l: &[config::problem::Problem]| -> Vec<Value> {
            l.iter().map(config::problem::Problem::to_json).collect()
        };
        let report = match &loaded {
            Ok(l) => {
                let warnings = list(&l.warnings);
                let mut report = json!({"valid": true, "warnings": warnings, "errors": []});
                if args.origins {
                    report["origins"] = json!(l.origins);
                }
                report
            }
            Err(errors) => json!({"valid": false, "errors": list(errors)}),
        };
        print(&format!("{report:#}\n"))?;
        if let (true, Ok(loaded)) = (args.connect, &loaded) {
            connect(&loaded.config, &mut String::new())?;
        }
        let failed = |errors: Vec<_>| {
            let message = format!("{} mistakes in the configuration", errors.len());
            Failure::new(exit::CONFIG, message, "")
        };
        return loaded.map(|_| ()).map_err(failed);
    }
    let loaded = loaded.map_err(|problems| Failure::config(&problems))?;
    let mut text = String::new();
    for warning in &loaded.warnings {
        let _ = writeln!(text, "warning: {warning}\n");
    }
    if args.origins {
        for (path, origin) in &loaded.origins {
            let _ = writeln!(text, "{path:<40} {origin}");
        }
    }
    let config = &loaded.config;
    if args.connect {
        connect(config, &mut text)?;
    }
    let (sources, metrics) = (config.sources.len(), config.metrics.len());
    let _ = writeln!(text, "valid: {sources} sources, {metrics} metrics");
    print(&text)
}

/// Asks the brokers of all Kafka sources.
fn connect(config: &config::Config, text: &mut String) -> Result<(), Failure> {
    let clock: crate::source::Clock = std::sync::Arc::new(crate::engine::clock::wall);
    for source in &config.sources {
        if let config::SourceKind::Kafka(kafka) = &source.kind {
            let said = crate::source::kafka::connect(&source.name, kafka, &clock);
            *text += &said.map_err(EngineError::from)?;
        }
    }
    Ok(())
}

/// The daemon that is meant.
fn client(ask: &AskArgs, config: &ConfigArgs, env: &Env) -> Result<Client, Failure> {
    let token = env.get(&ask.token_env).cloned();
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

fn status(args: &StatusArgs, env: &Env) -> Result<(), Failure> {
    let body = match &args.ask.state {
        Some(dir) => format!("{:#}", crate::engine::stored_status(dir)?),
        None => client(&args.ask, &args.config, env)?.get("/api/v1/status")?,
    };
    match args.format {
        ReportFormat::Json => print(&format!("{}\n", body.trim_end())),
        ReportFormat::Text => match serde_json::from_str::<Value>(&body) {
            Ok(value) => print(&results::outline(&value)),
            Err(_) => print(&body),
        },
    }
}

/// Reads the dead letters of a stopped state again.
fn replay(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    let mut config = args.config.load(&[], env)?.config;
    if let Some(dir) = &args.state {
        config.state.dir.clone_from(dir);
    }
    config.engine.clock = config::Clock::Arrival;
    config.http.listen = None;
    logging::start(None)?;
    let options = RunOptions {
        config,
        once: true,
        until: None,
        results: None,
        rebuild: false,
        accept_gap: false,
    };
    let done = crate::engine::replay(&options)?;
    let kept = done.tally.read - done.tally.rejected - done.tally.ignored;
    let mut text = format!(
        "{} dead letters read again: {kept} records taken up, {} rejected again\n",
        done.letters, done.tally.rejected
    );
    if done.truncated > 0 {
        text += &format!("{} were cut short and stay\n", done.truncated);
    }
    print(&text)
}

/// Prints the rejected records of a state, oldest first.
fn list(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    let dir = match &args.state {
        Some(dir) => dir.clone(),
        None => args.config.load(&[], env)?.config.state.dir,
    };
    let Some(state) = ReadOnly::open(&dir).map_err(EngineError::from)? else {
        let message = format!("there is no state in {}", dir.display());
        return Err(Failure::new(exit::UNAVAILABLE, message, "name the folder with --state"));
    };
    let mark = state.restored.head.marks.get(DEAD_LETTERS);
    let letters = Letters::of(&RealDisk, &dir, mark).map_err(EngineError::from)?;
    let mut left_out = Vec::new();
    print_with(|out| {
        for letter in letters {
            match letter {
                Ok(letter) => {
                    serde_json::to_writer(&mut *out, &letter)?;
                    out.write_all(b"\n")?;
                }
                Err(error) => left_out.push(error),
            }
        }
        Ok(())
    })?;
    let Some(first) = left_out.first() else { return Ok(()) };
    let code = left_out.iter().map(StoreError::exit_code).max().unwrap_or(exit::DATA);
    let mut message = first.to_string();
    for error in left_out.iter().skip(1).take(SHOWN) {
        let _ = write!(message, "\n  {error}");
    }
    if left_out.len() > SHOWN + 1 {
        let _ = write!(message, "\n  and {} more", left_out.len() - SHOWN - 1);
    }
    let hint = "the others are printed above; `pinflow run --rebuild` reads the sources again and \
                rejects the same records";
    Err(Failure::new(code, message, hint))
}

/// So many damaged letters are named beside the first; the rest is counted.
const SHOWN: usize = 20;

/// Prints a metric of a state that nobody runs.
fn stored(args: &ResultsArgs, dir: &Path, env: &Env) -> Result<(), Failure> {
    let config = args.config.load(&[], env)?.config;
    let Some(name) = &args.name else {
        let metric = |m: &Metric| json!({"name": m.name, "meaning": m.meaning});
        let list: Vec<Value> = config.metrics.iter().map(metric).collect();
        return catalogue(args.format, &json!({ "metrics": list }));
    };
    let known = || config.metrics.iter().map(|m| m.name.as_str());
    let metric = config.metrics.iter().find(|m| m.name == *name);
    let metric = metric.ok_or_else(|| {
        let hint = config::problem::meant(name, known());
        Failure::new(exit::USAGE, format!("the configuration has no metric `{name}`"), hint)
    })?;
    let labels: Vec<String> = metric.windows.iter().map(Window::label).collect();
    if let Some(window) = args.window.as_ref().filter(|w| !labels.contains(w)) {
        let hint = config::problem::meant(window, labels.iter().map(String::as_str));
        let message = format!("metric `{name}` has no window `{window}`");
        return Err(Failure::new(exit::USAGE, message, hint));
    }
    let published = crate::engine::recompute(&config, dir)?;
    let Some(reading) = published.find(name).and_then(|n| published.read(n)) else {
        return Err(Failure::new(exit::SOFTWARE, format!("metric `{name}` is not planned"), ""));
    };
    let mut rows = results::rows(&reading, args.limit);
    let label = |row: &results::Row| labels.get(usize::from(row.window));
    rows.retain(|row| args.window.is_none() || label(row) == args.window.as_ref());
    print_with(|out| results::write(reading.schema(), &rows, args.format.into(), out))
}

/// Prints the list of metrics.
fn catalogue(format: PrintFormat, list: &Value) -> Result<(), Failure> {
    match format {
        PrintFormat::Table => print(&results::catalogue(list)),
        _ => print(&format!("{list}\n")),
    }
}

fn show(args: &ResultsArgs, env: &Env) -> Result<(), Failure> {
    if let Some(dir) = &args.ask.state {
        return stored(args, dir, env);
    }
    let client = client(&args.ask, &args.config, env)?;
    let Some(name) = &args.name else {
        let body = client.get("/api/v1/metrics")?;
        return match serde_json::from_str::<Value>(&body) {
            Ok(value) => catalogue(args.format, &value),
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
    let body = client.get(&path)?;
    match args.format {
        PrintFormat::Json => print(&format!("{}\n", body.trim_end())),
        PrintFormat::Csv => print(&body),
        PrintFormat::Tsv => print(&results::csv_to_tsv(&body)),
        PrintFormat::Table => print(&results::csv_to_table(&body)),
    }
}
