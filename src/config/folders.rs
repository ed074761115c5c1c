//! The folders that are written to: none by two sinks, and none that is read as input, or what is
//! written there would be counted as records at the next scan.
//!
//! Promises: a folder is the same however it is written, and whether it is there yet or not.
//! Limits: `..` behind a folder that is not there yet is taken as it is written; folders below one
//! that is read are no conflict: scans leave them out.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::{Config, Sink, SourceKind};
use crate::results::Format;
use crate::source::files::would_read;

/// A folder in full.
pub fn full(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    // Of what is not there yet the part that is.
    let there = dir.ancestors().find_map(|some| Some((some, some.canonicalize().ok()?)));
    let dir = there.and_then(|(some, full)| Some(full.join(dir.strip_prefix(some).ok()?)));
    dir.unwrap_or_default()
}

/// What cannot be about the folders of a configuration, and that of the results, if they are
/// written, in this format.
pub fn conflict(config: &Config, results: Option<(&Path, Format)>) -> Option<Problem> {
    let sinks = config.sinks.iter().map(|Sink::Files(files)| files);
    two_sinks(&sinks.clone().map(|sink| &*sink.dir).collect::<Vec<_>>()).or_else(|| {
        let rows = sinks.map(|sink| ("cleaned rows", &*sink.dir, !sink.csv));
        let results = results.map(|(dir, format)| ("results", dir, format == Format::Json));
        let state = ("the state's files", &*config.state.dir, true);
        let mut all = rows.chain(results).chain([state]);
        all.find_map(|(what, dir, json)| read_again(config, what, (dir, json)))
    })
}

fn two_sinks(dirs: &[&Path]) -> Option<Problem> {
    let full: Vec<PathBuf> = dirs.iter().map(|dir| self::full(dir)).collect();
    let again = (1..full.len()).find(|n| full[..*n].contains(&full[*n]))?;
    let message = format!("two sinks write to `{}`", dirs[again].display());
    Some(Problem::general(message, "give each a folder of its own; --cleaned is a sink, too"))
}

fn read_again(config: &Config, what: &str, (dir, json): (&Path, bool)) -> Option<Problem> {
    let folder = full(dir);
    let source = config.sources.iter().find(|source| match &source.kind {
        SourceKind::Files(files) => {
            let reads = files.paths.iter().any(|path| full(path) == folder);
            reads && would_read(files, dir, json)
        }
        SourceKind::Demo(_) | SourceKind::Kafka(_) => false,
    })?;
    let message = format!(
        "{what} would be written to `{}`, which source `{}` reads, and come back as records",
        dir.display(),
        source.name
    );
    Some(Problem::general(message, "name another folder, be it one below: that is not read"))
}
