//! Finding the newest undamaged cut: which files count, what is damaged, what that means.
//!
//! Every log says in its first frame which bytes of which earlier log it continues, and a base
//! of generation g is the state just before the first cut of log g. So the state of a generation
//! is its base and its log; or, without the base, that of the log it continues, and its log.
//! All files are verified at every start, also those that are only there to fall back on.
//!
//! A log without a cut that continues another (and has no base yet) is *idle*: it may have been
//! begun by an attempt that failed, after which the other log went on. It is passed over, and
//! overwritten when that generation begins.
//!
//! This file only reads; `repair.rs` puts the folder in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{self, Disk, Mode};
use super::error::{StoreError, io_error};
use super::frame::{self, FrameAt, Kind, Section};
use super::log::{generation_dir, generation_of};
use super::manifest::{self, FORMAT, Found, Manifest, READ, Start};

/// One file of a generation, as far as it is good.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its path.
    pub path: PathBuf,
    /// The generation.
    pub generation: u64,
    /// It is the base, not the log.
    pub base: bool,
    /// Its frames that count, without the first.
    pub frames: Vec<FrameAt>,
    /// How many bytes of it count.
    pub len: u64,
}

/// What a file is, after all its checksums were verified.
#[derive(Clone, Debug)]
pub enum State {
    /// Not there.
    Missing,
    /// Good up to `part.len`. `tail` bytes follow; `torn` = they look like an interrupted write.
    Good { start: Start, part: Part, tail: u64, torn: bool },
    /// Nothing of it can be used; why. `torn` = it looks like an interrupted first write.
    Bad { why: String, torn: bool },
}

/// A generation's files.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The log.
    pub log: State,
    /// The base.
    pub base: State,
}

impl Generation {
    /// Begun, but nothing was stored in it.
    pub fn is_idle(&self) -> bool {
        let empty = match &self.log {
            State::Good { start, part, .. } => start.prior.is_some() && part.frames.is_empty(),
            _ => false,
        };
        empty && matches!(self.base, State::Missing)
    }
}

/// What a state folder holds.
pub struct Survey {
    /// The manifest.
    pub manifest: Found,
    /// The generations.
    pub generations: BTreeMap<u64, Generation>,
}

/// The newest state that can be had.
pub struct Choice {
    /// Its files in order: a base or the first log, then logs.
    pub chain: Vec<Part>,
    /// The first frame of the newest of them.
    pub start: Start,
    /// Why no newer generation serves.
    pub refused: Vec<String>,
}

/// Looks at every file of a state folder.
pub fn survey(disk: &dyn Disk, dir: &Path) -> Result<Survey, StoreError> {
    let names = disk::list_if_there(disk, dir).map_err(io_error("list", dir))?;
    let manifest = manifest::read(disk, dir).map_err(io_error("read", dir))?;
    let mut generations = BTreeMap::new();
    for generation in names.iter().filter_map(|name| generation_of(name)) {
        let folder = generation_dir(dir, generation);
        let log = look(disk, folder.join("log"), generation, false)?;
        let base = look(disk, folder.join("base"), generation, true)?;
        generations.insert(generation, Generation { log, base });
    }
    let survey = Survey { manifest, generations };
    let other = survey.formats().find(|format| !READ.contains(format));
    match other {
        Some(found) => Err(StoreError::Format { dir: dir.into(), found, known: FORMAT }),
        None => Ok(survey),
    }
}

/// Verifies one file.
fn look(disk: &dyn Disk, path: PathBuf, generation: u64, base: bool) -> Result<State, StoreError> {
    const EIO: i32 = 5;
    match look_inside(disk, &path, generation, base) {
        Ok(state) => Ok(state),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::Missing),
        // The medium or the contents; anything else (permissions, too many files) is no damage.
        Err(e) if e.raw_os_error().is_none_or(|code| code == EIO) => {
            Ok(State::Bad { why: format!("it cannot be read: {e}"), torn: false })
        }
        Err(e) => Err(io_error("read", &path)(e)),
    }
}

fn look_inside(disk: &dyn Disk, path: &Path, generation: u64, base: bool) -> io::Result<State> {
    let file = disk.open(path, Mode::Read)?;
    let scan = frame::scan(&*file)?;
    let bad = |why: &str| State::Bad { why: why.to_owned(), torn: !scan.more_behind };
    let Some(first) = scan.frames.first().filter(|f| f.kind == Kind::Start) else {
        let what = if scan.len == 0 { "it is empty" } else { "its beginning is damaged" };
        return Ok(bad(what));
    };
    let mut start = None;
    frame::read_chunks(&*file, first, |section, bytes| {
        if section == Section::Start {
            start = Some(serde_json::from_slice::<Start>(&bytes).map_err(|e| e.to_string())?);
        }
        Ok(())
    })?;
    let Some(start) = start.filter(|s| s.generation == generation) else {
        return Ok(bad("it belongs to another generation"));
    };
    let wanted = if base { Kind::Part } else { Kind::Cut };
    let mut frames = scan.frames[1..].to_vec();
    let mut good = scan.good;
    if base {
        let whole = frames.pop().is_some_and(|end| {
            end.kind == Kind::End && end.number == frames.len() as u64 && scan.good == scan.len
        });
        if !whole {
            return Ok(bad("it is incomplete or damaged"));
        }
    }
    if let Some(strange) = frames.iter().position(|f| f.kind != wanted) {
        good = frames[strange].offset;
        frames.truncate(strange);
    }
    let (tail, torn) = (scan.len - good, !scan.more_behind && good == scan.good);
    let part = Part { path: path.into(), generation, base, frames, len: good };
    Ok(State::Good { start, part, tail, torn })
}

impl Survey {
    fn formats(&self) -> impl Iterator<Item = u32> {
        let manifest = match &self.manifest {
            Found::Good(manifest) => Some(manifest.format),
            _ => None,
        };
        let files = self.generations.values().flat_map(|g| [&g.log, &g.base]);
        manifest.into_iter().chain(files.filter_map(|file| match file {
            State::Good { start, .. } => Some(start.format),
            _ => None,
        }))
    }

    /// The promise, if there is a readable one.
    pub fn promise(&self) -> Option<&Manifest> {
        match &self.manifest {
            Found::Good(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// The logs that are in force, with their first frames.
    pub fn logs(&self) -> impl Iterator<Item = (&Start, &Part)> {
        self.generations.values().filter(|g| !g.is_idle()).filter_map(|g| match &g.log {
            State::Good { start, part, .. } => Some((start, part)),
            _ => None,
        })
    }

    /// Nothing was ever committed here, not even manifest 0: a process ended before.
    pub fn is_fresh(&self) -> bool {
        self.manifest == Found::Missing
            && self.generations.first_key_value().is_none_or(|(number, _)| *number == 0)
            && self.generations.values().all(|g| {
                let log = match &g.log {
                    State::Missing => true,
                    State::Good { part, torn, .. } => part.frames.is_empty() && *torn,
                    State::Bad { torn, .. } => *torn,
                };
                log && matches!(g.base, State::Missing)
            })
    }

    /// The process ended between the first cut and the first manifest.
    pub fn is_first_cut(&self) -> bool {
        self.manifest == Found::Missing
            && self.generations.values().filter(|g| !g.is_idle()).count() == 1
            && self.logs().all(|(start, part)| start.generation == 0 && part.frames.len() == 1)
    }

    /// The newest state that can be had; else why there is none.
    pub fn choose(&self) -> Result<Choice, Vec<String>> {
        let mut refused = Vec::new();
        for (generation, _) in self.generations.iter().rev().filter(|(_, g)| !g.is_idle()) {
            match self.chain(*generation, None) {
                Ok((chain, _)) if chain.iter().all(|part| part.frames.is_empty()) => {
                    refused.push(format!("generation {generation} holds no cut"));
                }
                Ok((chain, start)) => {
                    return Ok(Choice { chain, start, refused });
                }
                Err(why) => refused.push(why),
            }
        }
        if let Found::Good(manifest) = &self.manifest
            && !self.generations.contains_key(&manifest.generation)
        {
            refused.push(format!("the folder of generation {} is gone", manifest.generation));
        }
        Err(refused)
    }

    /// The files that make up a generation's state, its log up to `limit`.
    fn chain(&self, number: u64, limit: Option<u64>) -> Result<(Vec<Part>, Start), String> {
        let generation =
            self.generations.get(&number).ok_or_else(|| format!("generation {number} is gone"))?;
        let log = match (&generation.log, limit) {
            (State::Good { start, part, .. }, _) => {
                let mut part = part.clone();
                if let Some(limit) = limit {
                    if part.len < limit {
                        return Err(format!(
                            "generation {number}: its log is damaged behind byte {}",
                            part.len
                        ));
                    }
                    part.frames.retain(|frame| frame.end() <= limit);
                    part.len = limit;
                }
                Some((start, part))
            }
            (_, None | Some(0)) => None,
            (State::Bad { why, .. }, _) => {
                return Err(format!("generation {number}: its log: {why}"));
            }
            (State::Missing, _) => return Err(format!("generation {number}: its log is gone")),
        };
        if let State::Good { start, part, .. } = &generation.base {
            let mut chain = vec![part.clone()];
            chain.extend(log.map(|(_, part)| part));
            return Ok((chain, start.clone()));
        }
        let Some((start, part)) = log else {
            return Err(nothing_left(number, generation));
        };
        let mut chain = match start.prior {
            Some(prior) => self.chain(prior.generation, Some(prior.len))?.0,
            None => Vec::new(),
        };
        chain.push(part);
        Ok((chain, start.clone()))
    }
}

/// Why nothing of a generation can be used, file by file.
fn nothing_left(number: u64, generation: &Generation) -> String {
    let file = |name: &str, state: &State| match state {
        State::Bad { why, .. } => Some(format!("its {name} is damaged: {why}")),
        State::Good { .. } | State::Missing => None,
    };
    let files = [file("log", &generation.log), file("base", &generation.base)];
    let damaged: Vec<String> = files.into_iter().flatten().collect();
    match (&damaged[..], &generation.base) {
        ([], _) => format!("generation {number}: its log and its base are gone"),
        ([_], State::Missing) => format!("generation {number}: {}; it has no base", damaged[0]),
        ([_], _) => format!("generation {number}: {}; its log is gone", damaged[0]),
        _ => format!("generation {number}: {}", damaged.join("; ")),
    }
}
