//! Beginning anew: whether the sources still hold what the state to be replaced has read, and how
//! far the new state has to come before the old one may go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::warn;

use super::EngineError;
use super::book::Book;
use crate::cli::{Failure, RunOptions, exit};
use crate::source::{Found, Memos, Source, SourceError};
use crate::store::{Head, ReadOnly, Store, StoreError};

/// The mark of a state that was begun with `--accept-gap`.
pub const GAP: &str = "gap_accepted";

/// Positions to read next, by (source, partition).
type Positions = BTreeMap<(String, String), u64>;

/// How far a former state had read.
pub struct Former {
    positions: Positions,
    /// What its sources no longer have is given up.
    gap: bool,
}

/// The positions of a state.
pub fn positions(head: &Head) -> Positions {
    let name = |n: &u32| {
        let partition = head.partitions.get(*n as usize)?;
        Some((partition.source.clone(), partition.name.clone()))
    };
    head.positions.iter().filter_map(|(n, next)| Some((name(n)?, *next))).collect()
}

/// What the sources of a state are to give again: not the letters that it replayed.
fn to_give(head: &Head) -> Positions {
    let mut positions = positions(head);
    positions.retain(|(source, _), next| *next > 0 && source != crate::source::replay::NAME);
    positions
}

impl Former {
    /// Of a state with this head.
    fn new(head: &Head, gap: bool) -> Self {
        Former { positions: to_give(head), gap }
    }

    /// The one that a state replaces, if it does. That a gap is accepted with this start is noted.
    /// `replays`: nothing is read but letters, so nothing is given up.
    pub fn of(
        store: &Store,
        head: &Head,
        book: &mut Book,
        options: &RunOptions,
        replays: bool,
    ) -> Result<Option<Self>, StoreError> {
        let accepts = options.rebuild && options.accept_gap;
        if accepts {
            book.mark(GAP, true.into());
        }
        let gap = accepts || head.marks.contains_key(GAP);
        Ok(store.former_head()?.map(|former| Former::new(&former, gap && !replays)))
    }

    /// A partition ended here when it was found: where a gap is accepted no more is asked of it.
    pub fn found(&mut self, (source, name): (&str, &str), end: Option<u64>) {
        let next = self.positions.get_mut(&(source.to_owned(), name.to_owned()));
        if let (true, Some(next), Some(end)) = (self.gap, next, end) {
            *next = end.min(*next);
        }
    }

    /// Whether the book has come as far. `all_found`: the sources have said what they have; where a
    /// gap is accepted, partitions that are not among that are given up, but not whole sources.
    pub fn is_passed(&self, book: &Book, all_found: bool) -> bool {
        let reached = |((source, name), next): (&(String, String), &u64)| {
            let given_up = self.gap && all_found && book.knows(source);
            book.number(source, name).map_or(given_up, |n| book.next(n) >= *next)
        };
        self.positions.iter().all(reached)
    }
}

/// Refuses to begin anew where the sources (fresh ones, which nothing is read from) no longer
/// reach what the state in a folder has read.
pub fn check(dir: &Path, sources: Vec<Box<dyn Source>>) -> Result<(), EngineError> {
    let state = match ReadOnly::open(dir) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(()),
        // What cannot be read cannot be compared; that is what a rebuild is for.
        Err(error @ (StoreError::Damaged { .. } | StoreError::Format { .. })) => {
            warn!(%error, "the former state cannot be compared with what the sources hold");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let mut former = to_give(&state.restored.head);
    for mut source in sources {
        source.restore(&Memos::new(), &[])?;
        let name = source.name().to_owned();
        for found in found(&mut *source)? {
            let key = (name.clone(), found.name.clone());
            let end = source.open(&found.name, 0, found.start)?.end();
            if let Some(next) = former.get(&key)
                && found.start == 0
                && end.is_none_or(|end| end >= *next)
            {
                former.remove(&key);
            }
        }
    }
    match former.first_key_value() {
        None => Ok(()),
        Some(((source, partition), next)) => {
            let others = match former.len() - 1 {
                0 => String::new(),
                n => format!(", nor what was read of {n} more"),
            };
            let what = format!(
                "{source}/{partition} was read up to {next}, and its source no longer holds all \
                 of that{others}"
            );
            let hint = "put it back; or give it up with --rebuild --accept-gap";
            Err(Failure::new(exit::DATA, what, hint).into())
        }
    }
}

/// What a source has; who has to be asked is waited for.
fn found(source: &mut dyn Source) -> Result<Vec<Found>, SourceError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let discovery = source.discover()?;
        if !discovery.pending {
            return Ok(discovery.found);
        }
        if Instant::now() >= until {
            let what = format!("asking {} what it holds: there was no answer", source.name());
            return Err(SourceError::Unavailable { what });
        }
        std::thread::sleep(source.interval());
    }
}

/// How long a source's answer is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Partition;

    #[test]
    fn a_former_state_goes_once_it_is_passed_or_what_is_left_of_it_is() {
        let partition =
            |source: &str, name: &str| Partition { source: source.into(), name: name.into() };
        let partitions =
            [("s", "a"), ("s", "b"), ("s", "empty"), (crate::source::replay::NAME, "replay")];
        let head = Head {
            partitions: partitions.map(|(source, name)| partition(source, name)).into(),
            positions: [(0, 7), (1, 9), (2, 0), (3, 5)].into(),
            ..Head::default()
        };
        // What of `a` and `b` the new state has read, if it knows them, and where they end; whether
        // the former one is passed without a gap, and with one before all is found and after.
        for (read, end, without, before, after) in [
            ([Some(7), Some(9)], 9, true, true, true),
            ([Some(7), Some(8)], 9, false, false, false),
            ([Some(7), Some(8)], 8, false, true, true),
            ([Some(7), None], 9, false, false, true),
            // Nothing is read yet.
            ([Some(0), None], 9, false, false, false),
            // Of a source that has given nothing nobody knows.
            ([None, None], 9, false, false, false),
        ] {
            let mut book = Book::new(&Head::default(), 1);
            for (name, read) in ["a", "b"].into_iter().zip(read) {
                read.into_iter().for_each(|read| _ = book.enter(partition("s", name), read));
            }
            let passed = |gap, all_found| {
                let mut former = Former::new(&head, gap);
                former.found(("s", "b"), Some(end));
                former.is_passed(&book, all_found)
            };
            assert_eq!([passed(false, false), passed(false, true)], [without; 2], "{read:?}");
            assert_eq!([passed(true, false), passed(true, true)], [before, after], "{read:?}");
        }
    }
}
