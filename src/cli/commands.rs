//! What each command does: every call from the command line into the rest is in this file.

use std::io::Write;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::client::{Client, escape};
use super::{
    AskArgs, Cli, Command, ConfigArgs, Failure, PrintFormat, ReportFormat, ResultsArgs, StatusArgs,
    ValidateArgs, exit, logging,
};
use crate::config::{self, Env};
use crate::results;

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
            logging::start(args.log_format);
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
        Command::Plan(_) | Command::Replay(_) | Command::Bench(_) => Err(absent()),
    }
}

/// The answer of commands whose part is not in this build.
fn absent() -> Failure {
    Failure::new(exit::SOFTWARE, "this build has no engine", "")
}

/// The environment; what is not UTF-8 is no setting of ours.
fn environment() -> Env {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Prints; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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
                let mut report = json!({"valid": true, "warnings": list(&l.warnings), "errors": []});
                if args.origins {
                    report["origins"] = json!(l.origins);
                }
                report
            }
            Err(errors) => json!({"valid": false, "errors": list(errors)}),
        };
        print(&format!("{report:#}\n"))?;
        let failed = |errors: Vec<_>| {
            let message = format!("{} mistakes in the configuration", errors.len());
            Failure::new(exit::CONFIG, message, "")
        };
        return loaded.map(|_| ()).map_err(failed);
    }
    let loaded = loaded.map_err(|problems| Failure::config(&problems))?;
    let mut text = String::new();
    for warning in &loaded.warnings {
        text += &format!("warning: {warning}\n\n");
    }
    if args.origins {
        for (path, origin) in &loaded.origins {
            text += &format!("{path:<40} {origin}\n");
        }
    }
    let config = &loaded.config;
    let (sources, metrics) = (config.sources.len(), config.metrics.len());
    text += &format!("valid: {sources} sources, {metrics} metrics\n");
    print(&text)
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
    if args.ask.state.is_some() {
        return Err(absent());
    }
    let body = client(&args.ask, &args.config, env)?.get("/api/v1/status")?;
    match args.format {
        ReportFormat::Json => print(&format!("{}\n", body.trim_end())),
        ReportFormat::Text => match serde_json::from_str::<Value>(&body) {
            Ok(value) => print(&results::outline(&value)),
            Err(_) => print(&body),
        },
    }
}

fn show(args: &ResultsArgs, env: &Env) -> Result<(), Failure> {
    if args.ask.state.is_some() {
        return Err(absent());
    }
    let client = client(&args.ask, &args.config, env)?;
    let Some(name) = &args.name else {
        let body = client.get("/api/v1/metrics")?;
        return match (args.format, serde_json::from_str::<Value>(&body)) {
            (PrintFormat::Table, Ok(value)) => print(&results::catalogue(&value)),
            _ => print(&format!("{}\n", body.trim_end())),
        };
    };
    let json = args.format == PrintFormat::Json;
    let format = if json { "json" } else { "csv" };
    let mut path = format!("/api/v1/metrics/{}?format={format}", escape(name));
    if let Some(window) = &args.window {
        path += &format!("&window={}", escape(window));
    }
    if let Some(limit) = args.limit {
        path += &format!("&limit={limit}");
    }
    let body = client.get(&path)?;
    match args.format {
        PrintFormat::Json => print(&format!("{}\n", body.trim_end())),
        PrintFormat::Csv => print(&body),
        PrintFormat::Tsv => print(&results::csv_to_tsv(&body)),
        PrintFormat::Table => print(&results::csv_to_table(&body)),
    }
}
