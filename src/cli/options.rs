//! From flags to what a run needs: the configuration with the flags laid over it, and what
//! cannot be known from the files alone, checked.

use std::path::PathBuf;

use dataflows::metrics::declare::Join;

use super::{ConfigArgs, Failure, RunArgs, Until, exit};
use crate::config::{
    self, Clock, Config, Env, Files, FilesSink, Loaded, MAX_UNPACKED, Override, ROTATE_BYTES,
    ROTATE_INTERVAL, Rate, SCAN_INTERVAL, Sink, Source, SourceKind, folders,
};
use crate::results::Format;

/// The name of the source that `--input` makes.
const INPUT_SOURCE: &str = "files";

/// Everything that a run needs.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration, flags included.
    pub config: Config,
    /// Read to the end, publish, exit.
    pub once: bool,
    /// The end, where it is a time: microseconds since 1970-01-01 UTC.
    pub until: Option<i64>,
    /// Where results are written at the end.
    pub results: Option<ResultsTo>,
    /// Read everything again into a new state.
    pub rebuild: bool,
    /// Although the sources no longer reach back to the beginning.
    pub accept_gap: bool,
    /// What is probably not meant, in sentences.
    pub notes: Vec<String>,
}

/// Where results are written, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsTo {
    /// The folder; it is created.
    pub dir: PathBuf,
    /// The format.
    pub format: Format,
}

impl ConfigArgs {
    /// The configuration with flags laid over it.
    pub fn load(&self, flags: &[Override], env: &Env) -> Result<Loaded, Failure> {
        config::load_with(&self.config, &self.set, flags, env)
            .map_err(|problems| Failure::config(&problems))
    }

    /// The configuration for a command that opens no port and asks no daemon: the token that would
    /// be asked for need not be there.
    pub fn load_closed(&self, env: &Env) -> Result<Loaded, Failure> {
        self.load(&[flag("--listen", "http.listen", "none".into(), true)], env)
    }
}

impl RunArgs {
    /// What the flags and the configuration ask for, with the configuration's warnings.
    pub fn options(&self, env: &Env) -> Result<(RunOptions, Loaded), Failure> {
        let mut loaded = self.config.load(&self.flags(), env)?;
        let config = &mut loaded.config;
        let mut notes = Vec::new();
        if let Some(dir) = &self.input {
            notes.extend(config.sources.iter().filter_map(not_used));
            config.sources = vec![input(dir.clone())];
        }
        notes.extend(no_metric(config));
        if let Some(dir) = &self.cleaned {
            let sink = FilesSink {
                dir: dir.clone(),
                csv: false,
                rotate_bytes: ROTATE_BYTES,
                rotate_interval: ROTATE_INTERVAL,
            };
            config.sinks.push(Sink::Files(sink));
        }
        let once = self.once();
        let max =
            |s: &Source| matches!(&s.kind, SourceKind::Demo(d) if matches!(d.rate, Rate::Max(_)));
        if once || config.sources.iter().any(max) {
            config.engine.clock = Clock::Arrival;
        }
        let results = self.results.as_deref().map(|dir| (dir, self.format.into()));
        if let Some(problem) = folders::conflict(config, results) {
            return Err(Failure::config(&[problem]));
        }
        self.check(config)?;
        let to = |dir: &PathBuf| ResultsTo { dir: dir.clone(), format: self.format.into() };
        let options = RunOptions {
            config: config.clone(),
            once,
            until: match self.until {
                Some(Until::Time(at)) => Some(at),
                Some(Until::Latest) | None => None,
            },
            results: self.results.as_ref().map(to),
            rebuild: self.rebuild,
            accept_gap: self.accept_gap,
            notes,
        };
        Ok((options, loaded))
    }

    /// Whether the run ends with its sources.
    fn once(&self) -> bool {
        self.once || self.until.is_some()
    }

    /// The flags that are settings.
    fn flags(&self) -> Vec<Override> {
        let mut flags = Vec::new();
        if let Some(dir) = &self.state {
            flags.push(flag("--state", "state.dir", dir.display().to_string(), true));
        }
        // A bounded run opens no port that is not asked for, and needs no token for it.
        let listen = self.listen.clone().or_else(|| self.once().then(|| "none".to_owned()));
        if let Some(address) = listen {
            flags.push(flag("--listen", "http.listen", address, true));
        }
        if let Some(rate) = &self.rate {
            flags.push(flag("--rate", "source.*.rate", rate.clone(), false));
        }
        if let Some(workers) = self.workers {
            flags.push(flag("--workers", "engine.workers", workers.to_string(), false));
        }
        flags
    }

    /// What cannot be run.
    fn check(&self, config: &Config) -> Result<(), Failure> {
        let refuse = |message: String, hint: &str| Err(Failure::new(exit::CONFIG, message, hint));
        if config.sources.is_empty() {
            let hint = "add [source.NAME] to the configuration, or read files with --input DIR";
            return refuse("there is nothing to read: no source is configured".into(), hint);
        }
        let csv = config.sinks.iter().any(|Sink::Files(sink)| sink.csv);
        if self.cleaned.is_some() && csv {
            let hint = "leave out --cleaned, or write format = \"jsonl\" for all sinks";
            return refuse("--cleaned writes JSON Lines, and a sink CSV: not both".into(), hint);
        }
        let demos = config.sources.iter().filter_map(|s| match &s.kind {
            SourceKind::Demo(demo) => Some((&s.name, demo.records)),
            SourceKind::Files(_) | SourceKind::Kafka(_) => None,
        });
        if self.rate.is_some() && demos.clone().count() == 0 {
            let hint = "leave it out, or configure a source of kind demo";
            return refuse("--rate is that of the demo, and no source is one".into(), hint);
        }
        let endless = demos.clone().find(|(_, records)| records.is_none());
        let timed = config.sources.iter().any(|s| matches!(s.kind, SourceKind::Kafka(_)));
        if matches!(self.until, Some(Until::Time(_))) && !timed {
            let hint = "write --until latest, or --once: files are read to their ends";
            return refuse("--until with a time is for Kafka, and no source is it".into(), hint);
        }
        let once = self.once || self.until.is_some();
        if let (true, Some((name, _))) = (once, endless) {
            let message = format!("source `{name}` never ends, and --once waits for the end");
            let hint = format!("say how many: --set source.{name}.records=100000");
            return refuse(message, &hint);
        }
        let bounded = once || (demos.clone().count() == config.sources.len() && endless.is_none());
        let bag = config.metrics.iter().find(|m| m.join == Join::Bag);
        if let (false, Some(metric)) = (bounded, bag) {
            let message = format!(
                "metric `{}` joins every record (join = \"bag\"), which only a bounded run can",
                metric.name
            );
            return refuse(message, "add --once, or leave out join = \"bag\"");
        }
        Ok(())
    }
}

/// A flag as the setting that it is.
fn flag(origin: &str, path: &str, value: String, literal: bool) -> Override {
    Override { origin: origin.into(), path: path.into(), value, literal }
}

/// What is said of a configuration without metrics.
pub(super) fn no_metric(config: &Config) -> Option<String> {
    let what = "no metric is declared: there will be no results; with \
                include = [\"builtin:metrics.toml\"] there are the built-in ones";
    config.metrics.is_empty().then(|| what.to_owned())
}

/// What is said of a source whose files `--input` replaces, if more than they was configured.
fn not_used(source: &Source) -> Option<String> {
    let SourceKind::Files(files) = &source.kind else { return None };
    let keys = [
        files.arrival_field.is_some().then_some("arrival_field"),
        (!source.routes.is_empty()).then_some("route"),
    ];
    let keys: Vec<&str> = keys.into_iter().flatten().collect();
    let name = &source.name;
    (!keys.is_empty()).then(|| {
        let keys = keys.join(" and ");
        format!(
            "--input reads its folder instead of source `{name}`, whose {keys} say nothing then; \
             to keep them leave --input out: --set 'source.{name}.paths=[\"DIR\"]'"
        )
    })
}

/// The source that `--input` means.
fn input(dir: PathBuf) -> Source {
    let files = Files {
        paths: vec![dir],
        scan_interval: SCAN_INTERVAL,
        max_unpacked_bytes: MAX_UNPACKED,
        arrival_field: None,
        input_layout: true,
    };
    Source { name: INPUT_SOURCE.into(), kind: SourceKind::Files(files), routes: Vec::new() }
}
