//! `--rebuild`: the old state is set aside until the new one has passed it.
//!
//! Promises: at every point of a crash there is either the old state as it was, or the old one in
//! `former/` whole and the new one. A rebuild that was begun goes on at the next start, with or
//! without the option; beginning another one discards the half-made new state, never the former.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::cut::Head;
use super::disk::{self, Disk, Lock, Mode, RealDisk};
use super::error::{StoreError, io_error};
use super::open::ReadOnly;
use super::{Store, repair};

/// The folder of the former state.
const FORMER: &str = "former";
/// In it while the old state is being moved there.
const MOVING: &str = "moving";
/// In it while a later attempt's state is being removed.
const DISCARDING: &str = "discarding";
/// What it is called while it is removed.
const REMOVED: &str = "old-former";

/// Sets the state in a folder aside, so that a new one begins. Nothing happens where there is
/// no state.
pub fn begin_rebuild(dir: &Path) -> Result<(), StoreError> {
    begin_rebuild_on(Arc::new(RealDisk), dir)
}

/// The folder of the state that is set aside while the one in a folder is made anew.
pub fn former_folder(dir: &Path) -> PathBuf {
    dir.join(FORMER)
}

/// [`begin_rebuild`] on a disk of choice.
pub fn begin_rebuild_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<(), StoreError> {
    disk.create_dir(dir).map_err(io_error("create the state folder", dir))?;
    let path = dir.join("lock");
    let held = disk.lock(&path, Lock::Exclusive).map_err(io_error("lock", &path))?;
    if held.is_none() {
        let holder = "another process".to_owned();
        return Err(StoreError::Locked { dir: dir.to_path_buf(), holder });
    }
    complete(&*disk, dir)?;
    set_aside(&*disk, dir).map_err(io_error("set aside the state in", dir))
}

fn set_aside(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    if ours(disk, dir)?.is_empty() {
        return Ok(());
    }
    let former = dir.join(FORMER);
    // If it is there, the state to be rebuilt is in it, and this one is what the last attempt
    // came to.
    let kept = !disk::list_if_there(disk, &former)?.is_empty();
    let under_way = if kept { DISCARDING } else { MOVING };
    disk.create_dir(&former)?;
    disk.open(&former.join(under_way), Mode::Create)?.sync()?;
    disk.sync_dir(&former)?;
    disk.sync_dir(dir)?;
    end(disk, dir, under_way)
}

/// Does what the file `under_way` in the former state's folder says is to be done.
fn end(disk: &dyn Disk, dir: &Path, under_way: &str) -> io::Result<()> {
    let former = dir.join(FORMER);
    for name in ours(disk, dir)? {
        let path = dir.join(&name);
        if under_way == MOVING {
            disk.rename(&path, &former.join(&name))?;
        } else if disk.list(&path).is_ok() {
            disk::remove_all(disk, &path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.sync_dir(&former)?;
    disk.sync_dir(dir)?;
    disk.remove(&former.join(under_way))?;
    disk.sync_dir(&former)
}

/// The names in the folder that belong to its state.
fn ours(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let mut names = disk::list_if_there(disk, dir)?;
    names.retain(|name| {
        name.starts_with("gen-")
            || name.starts_with("dead-letters-")
            || name.starts_with("manifest.")
    });
    Ok(names)
}

/// Ends what an earlier process left half done.
pub fn complete(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let former = dir.join(FORMER);
    let end_all = || {
        for name in disk::list_if_there(disk, &former)? {
            if name == MOVING || name == DISCARDING {
                end(disk, dir, &name)?;
            }
        }
        disk::remove_all(disk, &dir.join(REMOVED))
    };
    end_all().map_err(io_error("end the rebuild that was begun in", dir))
}

impl Store {
    /// The head of the state that is being rebuilt, to compare positions with; none if there is
    /// no rebuild under way, or if nothing can be read of it.
    pub fn former_head(&self) -> Result<Option<Head>, StoreError> {
        let former = self.dir().join(FORMER);
        let there = disk::list_if_there(&*self.disk(), &former);
        if there.map_err(io_error("list", &former))?.is_empty() {
            return Ok(None);
        }
        match ReadOnly::open_on(&*self.disk(), &former) {
            Ok(found) => Ok(found.map(|found| found.restored.head)),
            Err(e @ (StoreError::Damaged { .. } | StoreError::Format { .. })) => {
                warn!(error = %e, "the former state cannot be compared with the new one");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Removes the former state, once this one has passed its positions.
    pub fn finish_rebuild(&mut self) -> Result<(), StoreError> {
        let (disk, former) = (self.disk(), self.dir().join(FORMER));
        let removed = self.dir().join(REMOVED);
        let remove = || {
            if disk::list_if_there(&*disk, &former)?.is_empty() {
                return Ok(());
            }
            disk.rename(&former, &removed)?;
            disk.sync_dir(self.dir())?;
            disk::remove_all(&*disk, &removed)
        };
        remove().map_err(io_error("remove", &former))
    }
}

/// The folder that damaged files are put aside into, for reports.
pub fn aside_folder(dir: &Path) -> PathBuf {
    dir.join(repair::ASIDE)
}
