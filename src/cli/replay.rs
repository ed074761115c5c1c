//! `pinflow replay`: rejected records read again, or listed; from the disk, or from topics.

use std::fmt::Write as _;

use super::commands::{print, print_with};
use super::{Failure, ReplayArgs, RunOptions, exit, logging};
use crate::config::{self, Config, Env, Kafka, SourceKind};
use crate::engine::{DEAD_LETTERS, EngineError, From};
use crate::source::kafka::letters;
use crate::store::dead::Letters;
use crate::store::disk::RealDisk;
use crate::store::{ReadOnly, StoreError};

/// Reads the dead letters of a stopped state again.
pub fn replay(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    match (args.list, args.from_topic) {
        (true, true) => list_topics(args, env),
        (true, false) => list(args, env),
        (false, _) => again(args, env),
    }
}

fn again(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    logging::start_run(None)?;
    let mut config = args.config.load_closed(env)?.config;
    if let Some(dir) = &args.state {
        config.state.dir.clone_from(dir);
    }
    config.engine.clock = config::Clock::Arrival;
    let options = RunOptions {
        config,
        once: true,
        until: None,
        results: None,
        rebuild: false,
        accept_gap: false,
        notes: Vec::new(),
    };
    let from = if args.from_topic {
        topics(&options.config)?;
        From::Topics
    } else {
        From::Disk
    };
    let done = crate::engine::replay(&options, from)?;
    let kept = done.tally.read - done.tally.rejected - done.tally.ignored;
    let mut text = format!(
        "{} dead letters read again: {kept} records taken up, {} rejected again\n",
        done.letters, done.tally.rejected
    );
    if done.truncated > 0 {
        text += &format!("{} were cut short and stay\n", done.truncated);
    }
    if done.passed_over > 0 {
        text += &format!(
            "{} records of the topics were passed over: they are of another state, or were read \
             again before\n",
            done.passed_over
        );
    }
    print(&text)
}

/// The sources whose letters go to topics, each with its topic.
fn topics(config: &Config) -> Result<Vec<(&str, &Kafka, &str)>, Failure> {
    let named = config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::Kafka(kafka) => Some((&*source.name, &**kafka, kafka.dead_letters.as_deref()?)),
        SourceKind::Demo(_) | SourceKind::Files(_) => None,
    });
    let named: Vec<_> = named.collect();
    if named.is_empty() {
        let hint = "name the configuration that has it with --config; without --from-topic the \
                    letters on the disk are taken";
        let message = "no source of the configuration has a topic of dead letters";
        return Err(Failure::new(exit::CONFIG, message, hint));
    }
    Ok(named)
}

/// Prints the letters that topics hold, by where they came from.
fn list_topics(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    let config = args.config.load_closed(env)?.config;
    for (source, kafka, topic) in topics(&config)? {
        let sent = letters::read(source, kafka, topic).map_err(EngineError::from)?;
        print_with(|out| {
            for (letter, _) in sent.letters.values() {
                serde_json::to_writer(&mut *out, letter)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Prints the rejected records of a state, oldest first.
fn list(args: &ReplayArgs, env: &Env) -> Result<(), Failure> {
    let dir = match &args.state {
        Some(dir) => dir.clone(),
        None => args.config.load_closed(env)?.config.state.dir,
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
