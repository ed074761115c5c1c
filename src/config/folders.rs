//! The folders that are written to: none by two sinks, and none that is read as input, or what is
//! written there would be counted as records at the next scan.
//!
//! Promises: a folder is the same however it is written, and whether it is there yet or not.
//! Limits: folders below one that is read are no conflict: scans leave them out.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::{Config, Sink, SourceKind};

/// A folder in full.
pub fn full(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    // Of what is not there yet the part that is.
    let there = dir.ancestors().find_map(|some| Some((some, some.canonicalize().ok()?)));
    let dir = there.and_then(|(some, full)| Some(full.join(dir.strip_prefix(some).ok()?)));
    dir.unwrap_or_default()
}

/// What cannot be about the folders of a configuration, and that of the results, if they are
/// written.
pub fn conflict(config: &Config, results: Option<&Path>) -> Option<Problem> {
    let sinks: Vec<&Path> = config.sinks.iter().map(|Sink::Files(files)| &*files.dir).collect();
    two_sinks(&sinks).or_else(|| {
        let rows = sinks.iter().map(|dir| ("cleaned rows are", *dir));
        let results = results.map(|dir| ("results are", dir));
        let state = ("the state is", &*config.state.dir);
        rows.chain(results).chain([state]).find_map(|(what, dir)| read_again(config, what, dir))
    })
}

fn two_sinks(dirs: &[&Path]) -> Option<Problem> {
    let full: Vec<PathBuf> = dirs.iter().map(|dir| self::full(dir)).collect();
    let again = (1..full.len()).find(|n| full[..*n].contains(&full[*n]))?;
    let message = format!("two sinks write to `{}`", dirs[again].display());
    Some(Problem::general(message, "give each a folder of its own; --cleaned is a sink, too"))
}

fn read_again(config: &Config, what: &str, dir: &Path) -> Option<Problem> {
    let folder = full(dir);
    let source = config.sources.iter().find(|source| match &source.kind {
        SourceKind::Files(files) => files.paths.iter().any(|path| full(path) == folder),
        SourceKind::Demo(_) | SourceKind::Kafka(_) => false,
    })?;
    let message = format!(
        "{what} written to `{}`, which source `{}` reads: they would come back as records",
        dir.display(),
        source.name
    );
    Some(Problem::general(message, "give them another folder, be it one below: that is not read"))
}
