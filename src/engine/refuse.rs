//! What a run is refused for, at its start and at its end, each with the way out.

use std::path::Path;

use super::EngineError;
use super::fingerprint::BAGS;
use crate::cli::{Failure, exit};
use crate::config::{Config, Sink as SinkConfig};
use crate::store::{ReadOnly, fingerprint_of, former_folder};

/// The way out where a run finds a state of other settings.
pub const GO_BACK: &str = "go back to them, give another folder with --state, or compute the \
                           state anew from the sources with `pinflow run --rebuild`";

/// The way out where a replay does.
pub const REPLAY_UNDER: &str = "give its daemon's configuration with --config; under other rules \
                                everything is read again, with `pinflow run --rebuild`";

/// What bag joins cannot be combined with.
pub fn bags(config: &Config, bags: bool, replay: bool) -> Result<(), EngineError> {
    if bags && replay {
        let hint = "run it again; every run with join = \"bag\" reads everything";
        let what = "bag joins are not stored, so nothing can be added to them later";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    if bags && !config.sinks.is_empty() {
        let hint = "write cleaned rows by a run without join = \"bag\"";
        let what = "bag joins read everything again at each start, so rows would be doubled";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    Ok(())
}

/// A run that joins bags begins its state anew at each start: it takes one from such a run alone,
/// and none that nobody can read.
pub fn others_state(dir: &Path) -> Result<(), EngineError> {
    // Where it is being made anew, also of the one that is set aside.
    let folders = [dir.to_owned(), former_folder(dir)];
    let stored = folders.iter().filter_map(|dir| fingerprint_of(dir)).find(|f| !f.is_empty());
    if stored.is_none() {
        // Why it cannot be read, if it is there.
        ReadOnly::open(dir)?;
    }
    if stored.is_some_and(|stored| stored.get(BAGS).is_none_or(|bags| bags != "true")) {
        let what = format!(
            "a run with join = \"bag\" reads everything anew, and the state in {} was made by one \
             without",
            dir.display()
        );
        let hint = "give another folder with --state, or begin this one anew with --rebuild";
        return Err(Failure::new(exit::CONFIG, what, hint).into());
    }
    Ok(())
}

/// A new state begins with new outputs: a sink's folder that holds anything belongs to another.
pub fn old_sinks(config: &Config) -> Result<(), EngineError> {
    for SinkConfig::Files(files) in &config.sinks {
        let used = std::fs::read_dir(&files.dir).is_ok_and(|mut list| list.next().is_some());
        if used {
            let what = format!("{} holds the rows of another state", files.dir.display());
            let hint = "give --rebuild a new folder for cleaned rows";
            return Err(Failure::new(exit::CONFIG, what, hint).into());
        }
    }
    Ok(())
}

/// A run that could not read something to its end is no success, though what it read stands.
pub fn incomplete(refused: &[String]) -> Result<(), EngineError> {
    let Some((first, others)) = refused.split_first() else { return Ok(()) };
    let mut what = first.clone();
    others.iter().take(SHOWN).for_each(|other| what += &format!("\n  {other}"));
    if others.len() > SHOWN {
        what += &format!("\n  and {} more", others.len() - SHOWN);
    }
    what += "\nthe results lack the rest of it; they hold everything else";
    let hint = "mend the file or take it away, then run again";
    Err(Failure::new(exit::DATA, what, hint).into())
}

/// So many refused files are named beside the first; the rest is counted.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Cut, Options, Store};

    #[test]
    fn a_run_that_joins_bags_takes_no_state_of_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let refused = |bags: Option<&str>| {
            let dir = dir.path().join(bags.unwrap_or("none"));
            if let Some(bags) = bags {
                let fingerprint = [(BAGS.to_owned(), bags.to_owned())].into();
                let (mut store, _) =
                    Store::open(&dir, Options::new(fingerprint)).expect("a new state");
                store.commit(&Cut::default()).expect("stored");
            }
            others_state(&dir).is_err()
        };
        assert_eq!([None, Some("true"), Some("false")].map(refused), [false, false, true]);
        std::fs::write(dir.path().join("true/manifest.json"), "{}").expect("written");
        let aside = dir.path().join("aside");
        std::fs::create_dir(&aside).expect("a new folder");
        std::fs::rename(dir.path().join("false"), former_folder(&aside)).expect("there");
        assert!(others_state(&aside).is_err(), "it would go with the bags");
        let log = crate::store::generation_path(&dir.path().join("true"), 0).join("log");
        std::fs::write(log, "damaged").expect("written");
        assert!(others_state(&dir.path().join("true")).is_err(), "nobody knows what it was");
    }
}
