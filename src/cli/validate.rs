//! `pinflow validate`: what is wrong with a configuration, and with `--connect` what the brokers of
//! its Kafka sources say.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::commands::print;
use super::{Failure, ReportFormat, ValidateArgs, exit};
use crate::config::problem::Problem;
use crate::config::{self, Config, Env, Loaded, SourceKind, folders};
use crate::engine::EngineError;
use crate::engine::clock::wall;
use crate::source::kafka::{Answer, connect};

/// Checks a configuration, and prints what is found.
pub fn validate(args: &ValidateArgs, env: &Env) -> Result<(), Failure> {
    let loaded = config::load(&args.config.config, &args.config.set, env).and_then(|loaded| {
        match folders::conflict(&loaded.config, None) {
            Some(problem) => Err(vec![problem]),
            None => Ok(loaded),
        }
    });
    if args.connect {
        // What is waited for is said meanwhile.
        super::logging::start(None)?;
    }
    let asked = match &loaded {
        Ok(loaded) if args.connect => ask(&loaded.config)?,
        _ => Vec::new(),
    };
    if args.format == ReportFormat::Json {
        print(&format!("{:#}\n", report(&loaded, &asked, args)))?;
        let failed = |errors: Vec<_>| {
            let message = match errors.len() {
                1 => "a mistake in the configuration".to_owned(),
                n => format!("{n} mistakes in the configuration"),
            };
            Failure::new(exit::CONFIG, message, "")
        };
        loaded.map_err(failed)?;
        return asked.into_iter().try_for_each(|one| one.answer.map(drop));
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
    for answer in asked.iter().filter_map(|one| one.answer.as_ref().ok()) {
        text += &answer.to_string();
    }
    let failed = asked.into_iter().find_map(|one| one.answer.err());
    if failed.is_none() {
        let config = &loaded.config;
        let (sources, metrics) = (config.sources.len(), config.metrics.len());
        let _ =
            writeln!(text, "valid: {}, {}", so_many(sources, "source"), so_many(metrics, "metric"));
        notes(config).iter().for_each(|note| text += &format!("note: {note}\n"));
    }
    print(&text)?;
    failed.map_or(Ok(()), Err)
}

/// What is valid and probably not meant: paths that are not there, no metric.
fn notes(config: &Config) -> Vec<String> {
    let files = config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::Files(files) => Some((&source.name, &files.paths)),
        _ => None,
    });
    let missing = files.flat_map(|(name, paths)| {
        let gone = paths.iter().filter(|path| !path.exists());
        gone.map(move |path| format!("source `{name}`: {} is not there now", path.display()))
    });
    missing.chain(super::options::no_metric(config)).collect()
}

fn so_many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn report(loaded: &Result<Loaded, Vec<Problem>>, asked: &[Asked], args: &ValidateArgs) -> Value {
    let list = |l: &[Problem]| -> Vec<Value> { l.iter().map(Problem::to_json).collect() };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return json!({"valid": false, "errors": list(errors)}),
    };
    let mut report = json!({
        "valid": true,
        "warnings": list(&loaded.warnings),
        "errors": [],
        "notes": notes(&loaded.config),
    });
    if args.origins {
        report["origins"] = json!(loaded.origins);
    }
    if args.connect {
        let one = |one: &Asked| match &one.answer {
            Ok(answer) => json!(answer),
            Err(failure) => json!({"source": one.source, "error": failure.message}),
        };
        report["connected"] = asked.iter().map(one).collect();
    }
    report
}

/// A source whose brokers were asked.
struct Asked {
    source: String,
    answer: Result<Answer, Failure>,
}

/// Asks the brokers of all Kafka sources; a failure only where there is none.
fn ask(config: &Config) -> Result<Vec<Asked>, Failure> {
    let clock: crate::source::Clock = Arc::new(wall);
    let mut asked = Vec::new();
    for source in &config.sources {
        if let SourceKind::Kafka(kafka) = &source.kind {
            let answer = connect(&source.name, kafka, &clock);
            let answer = answer.map_err(|error| Failure::from(EngineError::from(error)));
            asked.push(Asked { source: source.name.clone(), answer });
        }
    }
    if asked.is_empty() {
        let message = "there is nobody to connect to: no source of the configuration is of kind \
                       kafka";
        let hint = "name the configuration that has it with --config, or leave --connect out";
        return Err(Failure::new(exit::USAGE, message, hint));
    }
    Ok(asked)
}
