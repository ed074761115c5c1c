//! A disk in memory that can be cut off at every operation, for tests.
//!
//! Promises: it keeps no more than the real one must. After [`ScriptedDisk::kill`] everything is
//! as the process left it; after [`ScriptedDisk::power_cut`] of what was not synced any part may
//! be missing or torn, and of names that were not synced any may be as before. After a failed
//! sync what was written before it never becomes durable, though it reads back.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile, Guard, Lock, Mode};

/// What happens at an operation that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends: this and all further operations fail; a write is half done.
    Crash,
    /// There is no room: a write is half done and fails; other operations pass.
    Full,
    /// A sync fails for good; other operations pass.
    SyncFails,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Folder(PathBuf),
    File(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// Names of files (with their place in `contents`) and of folders (with none).
type Names = BTreeMap<PathBuf, Option<usize>>;

#[derive(Clone, Debug, Default)]
struct World {
    contents: Vec<Contents>,
    seen: Names,
    durable: Names,
    pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    done: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct ScriptedDisk(Arc<Mutex<World>>);

impl ScriptedDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has a fault happen at the operation with this number, counted from 0.
    pub fn fault_at(&self, operation: u64, fault: Fault) {
        self.0.lock().faults.insert(operation, fault);
    }

    /// How many operations that change something there were.
    pub fn operations(&self) -> u64 {
        self.0.lock().done
    }

    /// Whether it was cut off.
    pub fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// What the next process finds after this one was killed.
    pub fn kill(&self) -> Self {
        let mut world = self.0.lock().clone();
        world.reset();
        ScriptedDisk(Arc::new(Mutex::new(world)))
    }

    /// What the next process finds after the power went; equal seeds lose the same.
    pub fn power_cut(&self, seed: u64) -> Self {
        let mut world = self.0.lock().clone();
        let mut dice = Dice(seed);
        for change in std::mem::take(&mut world.pending) {
            if dice.roll(2) == 0 {
                apply_name(&mut world.durable, &change);
            }
        }
        world.seen = world.durable.clone();
        for contents in &mut world.contents {
            for change in std::mem::take(&mut contents.pending) {
                match (dice.roll(3), change) {
                    (0, change) => apply(&mut contents.durable, &change),
                    (1, Change::Write(at, data)) => {
                        let kept = dice.roll(data.len() as u64 + 1) as usize;
                        apply(&mut contents.durable, &Change::Write(at, data[..kept].to_vec()));
                    }
                    _ => {}
                }
            }
            contents.seen = contents.durable.clone();
        }
        world.reset();
        ScriptedDisk(Arc::new(Mutex::new(world)))
    }

    /// A disk of its own with the same contents.
    pub fn copy(&self) -> Self {
        ScriptedDisk(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// The files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let world = self.0.lock();
        world.seen.iter().filter(|(_, n)| n.is_some()).map(|(path, _)| path.clone()).collect()
    }

    /// A file's bytes; none if it is not there.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.0.lock();
        let number = (*world.seen.get(path)?)?;
        Some(world.contents[number].seen.clone())
    }

    /// Changes a file behind everybody's back, as a failing medium does; `None` from `edit`
    /// removes it.
    pub fn damage(&self, path: &Path, edit: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut world = self.0.lock();
        let number = world.seen[path].expect("a file");
        if let Some(bytes) = edit(world.contents[number].seen.clone()) {
            let durable = bytes.clone();
            world.contents[number] = Contents { seen: bytes, durable, pending: Vec::new() };
        } else {
            world.seen.remove(path);
            world.durable.remove(path);
        }
    }

    /// Counts an operation and tells what happens at it.
    fn operate(&self) -> io::Result<(parking_lot::MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.0.lock();
        if world.crashed {
            return Err(cut_off());
        }
        let number = world.done;
        let fault = world.faults.get(&number).copied();
        world.done += 1;
        world.crashed = fault == Some(Fault::Crash);
        Ok((world, fault))
    }

    fn rename_names(&self, change: NameChange) -> io::Result<()> {
        let (mut world, fault) = self.operate()?;
        if fault == Some(Fault::Crash) {
            return Err(cut_off());
        }
        apply_name(&mut world.seen, &change);
        world.pending.push(change);
        Ok(())
    }
}

fn cut_off() -> io::Error {
    io::Error::other("the process was cut off here")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl World {
    fn reset(&mut self) {
        self.locks.clear();
        self.faults.clear();
        self.crashed = false;
        self.done = 0;
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, data) => {
            let end = *at as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

/// Applies a change of names, where it still can be.
fn apply_name(names: &mut Names, change: &NameChange) {
    let below = |names: &Names, path: &Path| -> Vec<PathBuf> {
        names.keys().filter(|name| name.starts_with(path)).cloned().collect()
    };
    match change {
        NameChange::Folder(path) => _ = names.insert(path.clone(), None),
        NameChange::File(path, number) => _ = names.insert(path.clone(), Some(*number)),
        NameChange::Rename(from, to) => {
            for path in below(names, from) {
                let number = names.remove(&path).expect("listed above");
                let rest = path.strip_prefix(from).expect("listed below it");
                let target = if rest == Path::new("") { to.clone() } else { to.join(rest) };
                names.insert(target, number);
            }
        }
        NameChange::Remove(path) => {
            for path in below(names, path) {
                names.remove(&path);
            }
        }
    }
}

impl Disk for ScriptedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = {
            let world = self.0.lock();
            let above = dir.ancestors().filter(|path| *path != Path::new(""));
            above.filter(|path| !world.seen.contains_key(*path)).map(Path::to_path_buf).collect()
        };
        for path in missing.into_iter().rev() {
            self.rename_names(NameChange::Folder(path))?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        if world.seen.get(dir) != Some(&None) {
            return Err(not_found());
        }
        let inside = world.seen.keys().filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into());
        Ok(inside.filter_map(name).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let known = self.0.lock().seen.get(path).copied().flatten();
        let number = match (known, mode) {
            (Some(number), Mode::Read | Mode::Write) => number,
            (None, Mode::Read | Mode::Write) => return Err(not_found()),
            (known, Mode::Create) => {
                let (mut world, fault) = self.operate()?;
                if fault == Some(Fault::Crash) {
                    return Err(cut_off());
                }
                if path.parent().is_some_and(|dir| world.seen.get(dir) != Some(&None)) {
                    return Err(not_found());
                }
                let number = known.unwrap_or(world.contents.len());
                if known.is_none() {
                    world.contents.push(Contents::default());
                    let change = NameChange::File(path.to_path_buf(), number);
                    apply_name(&mut world.seen, &change);
                    world.pending.push(change);
                }
                let contents = &mut world.contents[number];
                contents.seen.clear();
                contents.pending.push(Change::Length(0));
                number
            }
        };
        Ok(Box::new(ScriptedFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.0.lock().seen.contains_key(from) {
            return Err(not_found());
        }
        self.rename_names(NameChange::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.0.lock().seen.get(path) {
            Some(Some(_)) => {}
            _ => return Err(not_found()),
        }
        self.rename_names(NameChange::Remove(path.to_path_buf()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if self.list(dir)?.is_empty() {
            self.rename_names(NameChange::Remove(dir.to_path_buf()))
        } else {
            Err(io::ErrorKind::DirectoryNotEmpty.into())
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut world, fault) = self.operate()?;
        match fault {
            Some(Fault::Crash) => return Err(cut_off()),
            Some(Fault::SyncFails) => return Err(io::Error::from_raw_os_error(5)),
            _ => {}
        }
        let is_here = |path: &Path| path.parent() == Some(dir);
        for change in std::mem::take(&mut world.pending) {
            let here = match &change {
                NameChange::Folder(path) | NameChange::File(path, _) | NameChange::Remove(path) => {
                    is_here(path)
                }
                NameChange::Rename(from, to) => is_here(from) || is_here(to),
            };
            if here {
                apply_name(&mut world.durable, &change);
            } else {
                world.pending.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Option<Guard>> {
        if lock == Lock::Shared && !self.0.lock().locks.contains(path) {
            return Ok(Some(Box::new(())));
        }
        if !self.0.lock().locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        let guard: Box<dyn Any + Send + Sync> =
            Box::new(Held { disk: self.clone(), path: path.to_path_buf() });
        Ok(Some(guard))
    }
}

struct Held {
    disk: ScriptedDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

struct ScriptedFile {
    disk: ScriptedDisk,
    number: usize,
}

impl ScriptedFile {
    fn change(&mut self, change: Change) -> io::Result<()> {
        let (mut world, fault) = self.disk.operate()?;
        let (change, outcome) = match (fault, change) {
            (Some(Fault::Crash | Fault::Full), Change::Write(at, mut data)) => {
                data.truncate(data.len() / 2);
                let full = io::Error::from(io::ErrorKind::StorageFull);
                let error = if fault == Some(Fault::Full) { full } else { cut_off() };
                (Change::Write(at, data), Err(error))
            }
            (Some(Fault::Crash), Change::Length(_)) => return Err(cut_off()),
            (_, change) => (change, Ok(())),
        };
        let contents = &mut world.contents[self.number];
        apply(&mut contents.seen, &change);
        contents.pending.push(change);
        outcome
    }
}

impl DiskFile for ScriptedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().contents[self.number].seen.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let world = self.disk.0.lock();
        let bytes = &world.contents[self.number].seen;
        let range = offset as usize..offset as usize + buf.len();
        let found = bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk.0.lock().seen.get(path) == Some(&Some(self.number)))
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut world, fault) = self.disk.operate()?;
        let contents = &mut world.contents[self.number];
        match fault {
            Some(Fault::Crash) => Err(cut_off()),
            Some(Fault::SyncFails) => {
                // The pages count as clean now: no later sync writes them.
                contents.pending.clear();
                Err(io::Error::from_raw_os_error(5))
            }
            _ => {
                for change in std::mem::take(&mut contents.pending) {
                    apply(&mut contents.durable, &change);
                }
                Ok(())
            }
        }
    }
}

/// A small deterministic generator (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
