//! Opening a state folder: lock, survey, restore, and what a new one begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use dataflows::assemble::block;
use tracing::{info, warn};

use super::cut::{Head, Restored};
use super::disk::{self, Disk, Guard, Lock, RealDisk};
use super::error::{StoreError, io_error};
use super::ledger::Ledger;
use super::log::{self, Log};
use super::manifest::{self, FORMAT, Fingerprint, Prior, Start};
use super::recover::{self, Choice, State, Survey};
use super::{Closed, Figures, Options, Store, rebuild, repair};

/// The name of the lock file.
const LOCK: &str = "lock";

impl Store {
    /// Opens the state in a folder, which is created if need be; none is restored from a new one.
    pub fn open(dir: &Path, options: Options) -> Result<(Store, Option<Restored>), StoreError> {
        Store::open_on(Arc::new(RealDisk), dir, options)
    }

    /// [`Store::open`] on a disk of choice.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Store, Option<Restored>), StoreError> {
        disk.create_dir(dir).map_err(io_error("create the state folder", dir))?;
        let guard = lock(&*disk, dir)?;
        rebuild::complete(&*disk, dir)?;
        let survey = recover::survey(&*disk, dir)?;
        if survey.is_fresh() {
            return Ok((fresh(disk, dir, options, guard, &survey)?, None));
        }
        let damaged = |what| StoreError::Damaged { dir: dir.to_path_buf(), what };
        let choice = survey.choose().map_err(damaged)?;
        check_fingerprint(dir, &choice.start.fingerprint, &options.fingerprint)?;
        let (mut restored, ledger) = repair::load(&*disk, &choice.chain)?;
        (restored.damage, restored.fell_back) = repair::assess(&survey, &choice, &restored.head);
        for sentence in &restored.damage {
            warn!(dir = %dir.display(), "{sentence}");
        }
        repair::tidy(&*disk, dir, &survey, &choice)?;
        let head = restored.head.clone();
        let mut store = resumed(disk, dir, options, guard, &survey, choice, (head, ledger))?;
        store.compact_now = !restored.damage.is_empty();
        store.log_entries = restored.slots.iter().map(|block| block::len(block)).sum();
        if store.log.lost {
            store.replace_log()?;
        }
        // What a killed process named may not be durable yet, and the manifest is to promise it.
        for number in &store.kept {
            let folder = log::generation_dir(dir, *number);
            store.disk.sync_dir(&folder).map_err(io_error("sync the folder", &folder))?;
        }
        store.disk.sync_dir(dir).map_err(io_error("sync the folder", dir))?;
        // From here on the promise is what was found, so that damage is told once.
        store.write_manifest();
        store.remove_old();
        Ok((store, Some(restored)))
    }
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Guard, StoreError> {
    let path = dir.join(LOCK);
    match disk.lock(&path, Lock::Exclusive).map_err(io_error("lock", &path))? {
        Some(guard) => Ok(guard),
        None => Err(locked(disk, dir)),
    }
}

fn locked(disk: &dyn Disk, dir: &Path) -> StoreError {
    let pid = disk::read_small(disk, &dir.join(LOCK), 32).ok().flatten();
    let pid = pid.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|pid| !pid.is_empty());
    let holder = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    StoreError::Locked { dir: dir.to_path_buf(), holder }
}

/// Compares what decides the meaning of a state.
pub fn check_fingerprint(
    dir: &Path,
    old: &Fingerprint,
    new: &Fingerprint,
) -> Result<(), StoreError> {
    let differences = manifest::differences(old, new);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Fingerprint { dir: dir.to_path_buf(), differences })
    }
}

/// Begins a state. One that ended before its first cut keeps its id: a sink may know it already.
fn fresh(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
    guard: Guard,
    survey: &Survey,
) -> Result<Store, StoreError> {
    let known = survey.generations.get(&0).and_then(|g| match &g.log {
        State::Good { start, .. } => Some(start.state.clone()),
        _ => None,
    });
    let start = Start {
        format: FORMAT,
        state: known.unwrap_or_else(|| format!("{:016x}", RandomState::new().hash_one(dir))),
        generation: 0,
        prior: None,
        fingerprint: options.fingerprint.clone(),
    };
    let log = Log::create(&*disk, dir, &start).map_err(io_error("begin a state in", dir))?;
    info!(dir = %dir.display(), state = start.state, "a new state");
    Ok(Store {
        disk,
        dir: dir.to_path_buf(),
        _lock: guard,
        options,
        state: start.state,
        fingerprint: start.fingerprint,
        closed: Vec::new(),
        log,
        log_entries: 0,
        starts: BTreeMap::from([(0, false)]),
        kept: BTreeSet::from([0]),
        oldest: 0,
        head: Head::default(),
        ledger: Ledger::default(),
        folded: i64::MIN,
        lost: None,
        running: None,
        compact_now: false,
        compact_not_before: 0,
        figures: Figures::default(),
        buffer: Vec::new(),
    })
}

/// Goes on with a state that was found.
fn resumed(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
    guard: Guard,
    survey: &Survey,
    choice: Choice,
    (head, ledger): (Head, Ledger),
) -> Result<Store, StoreError> {
    let Choice { mut chain, start, .. } = choice;
    let newest = chain.last().expect("a chain has a part").generation;
    let here = || survey.generations.iter().filter(|(number, _)| **number <= newest);
    let mut starts = BTreeMap::new();
    let mut kept = BTreeSet::new();
    let mut oldest = newest + 1;
    for (number, generation) in here().rev() {
        kept.insert(*number);
        match (&generation.base, &generation.log) {
            (State::Good { .. }, _) => _ = starts.insert(*number, true),
            (_, State::Good { start, .. }) if start.prior.is_none() => {
                starts.insert(*number, false);
            }
            _ => {}
        }
        if matches!(generation.log, State::Good { .. }) && oldest == number + 1 {
            oldest = *number;
        }
    }
    let open = chain.pop_if(|part| !part.base);
    let mut closed: Vec<Closed> = chain
        .iter()
        .map(|p| Closed { generation: p.generation, base: p.base, len: p.len, entries: 0 })
        .collect();
    let log = if let Some(part) = open {
        Log::resume(&*disk, dir, part.generation, part.len)
            .map_err(io_error("go on with", &part.path))?
    } else {
        kept.insert(newest + 1);
        continued(&*disk, dir, &start, newest)?
    };
    closed.retain(|file| file.base || file.len > 0);
    // At most one generation before the newest start is there to fall back on.
    if let Some(fallback) = starts.keys().rev().nth(1).copied() {
        starts = starts.split_off(&fallback);
        oldest = oldest.max(fallback);
    }
    Ok(Store {
        disk,
        dir: dir.to_path_buf(),
        _lock: guard,
        options,
        state: start.state,
        fingerprint: start.fingerprint,
        closed,
        log,
        log_entries: 0,
        starts,
        kept,
        oldest,
        head,
        ledger,
        folded: i64::MIN,
        lost: None,
        running: None,
        compact_now: false,
        compact_not_before: 0,
        figures: Figures::default(),
        buffer: Vec::new(),
    })
}

/// A generation that continues a base whose own log is gone.
fn continued(disk: &dyn Disk, dir: &Path, start: &Start, base: u64) -> Result<Log, StoreError> {
    let prior = Some(Prior { generation: base, len: 0 });
    let start = Start { generation: base + 1, prior, ..start.clone() };
    Log::create(disk, dir, &start).map_err(io_error("begin a generation in", dir))
}

/// A state that is only read.
#[derive(Debug)]
pub struct ReadOnly {
    /// The state as last stored.
    pub restored: Restored,
    /// Its id.
    pub state: String,
    /// What decides its meaning.
    pub fingerprint: Fingerprint,
    /// Another process is writing it: there may be later cuts already.
    pub live: bool,
}

impl ReadOnly {
    /// Reads the state in a folder and changes nothing there; none if there is none. Damage is
    /// told in [`Restored::damage`]; of a state in use that cannot be read in three attempts
    /// (its files move on) the error is [`StoreError::Locked`].
    pub fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        ReadOnly::open_on(&RealDisk, dir)
    }

    /// [`ReadOnly::open`] on a disk of choice.
    pub fn open_on(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(LOCK);
        let (_guard, live) = match disk.lock(&path, Lock::Shared) {
            Ok(Some(guard)) => (Some(guard), false),
            Ok(None) => (None, true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (None, false),
            Err(e) => return Err(io_error("lock", &path)(e)),
        };
        if !live {
            return read(disk, dir, false);
        }
        for _ in 0..3 {
            if let Ok(Some(found)) = read(disk, dir, true)
                && !found.restored.fell_back
            {
                return Ok(Some(found));
            }
        }
        Err(locked(disk, dir))
    }
}

fn read(disk: &dyn Disk, dir: &Path, live: bool) -> Result<Option<ReadOnly>, StoreError> {
    let survey = recover::survey(disk, dir)?;
    if survey.is_fresh() {
        return Ok(None);
    }
    let damaged = |what| StoreError::Damaged { dir: dir.to_path_buf(), what };
    let choice = survey.choose().map_err(damaged)?;
    let (mut restored, _) = repair::load(disk, &choice.chain)?;
    (restored.damage, restored.fell_back) = repair::assess(&survey, &choice, &restored.head);
    let Start { state, fingerprint, .. } = choice.start;
    Ok(Some(ReadOnly { restored, state, fingerprint, live }))
}

/// What decides the meaning of the state in a folder; none if there is none that can be read. Where
/// the manifest is lost or damaged all files are looked at.
pub fn fingerprint_of(dir: &Path) -> Option<Fingerprint> {
    if let Ok(manifest::Found::Good(manifest)) = manifest::read(&RealDisk, dir) {
        return Some(manifest.fingerprint);
    }
    let survey = recover::survey(&RealDisk, dir).ok().filter(|survey| !survey.is_fresh())?;
    Some(survey.choose().ok()?.start.fingerprint)
}

/// Whether a folder is that of a state, as its manifest says.
pub fn is_state(dir: &Path) -> bool {
    matches!(manifest::read(&RealDisk, dir), Ok(manifest::Found::Good(_)))
}

/// The folder of a generation, for tests and reports.
pub fn generation_path(dir: &Path, generation: u64) -> std::path::PathBuf {
    log::generation_dir(dir, generation)
}
