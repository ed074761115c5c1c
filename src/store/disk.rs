//! The disk as a seam: what the store and the sinks ask of a file system, and the real one.
//!
//! Promises: nothing is durable before [`DiskFile::sync`] (contents) and [`Disk::sync_dir`]
//! (names) returned; a rename is atomic. The scripted implementation is `scripted.rs`.

use std::any::Any;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read; it must be there.
    Read,
    /// To read and write; it must be there.
    Write,
    /// To read and write, empty, whether it was there or not; mode 0600.
    Create,
}

/// What is asked of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody else may hold it.
    Exclusive,
    /// Others may hold it shared.
    Shared,
}

/// Held for as long as it lives.
pub type Guard = Box<dyn Any + Send + Sync>;

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes a folder, mode 0700, and those above it; fine if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file or folder another name, replacing a file of that name, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a lock without waiting; none if it is held by another.
    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Option<Guard>>;
}

/// An open file.
pub trait DiskFile: Send {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset` on.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `data` at `offset`; after an error any part of it may be there.
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts it off, or extends it with zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Whether it is what a path names: nobody has removed or replaced it. A file of the same size
    /// passes for it: there are file systems where inodes change by themselves.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
    /// Makes its contents durable. After an error nothing is known of what was written since
    /// the last success.
    fn sync(&mut self) -> io::Result<()>;
    /// Lets go of what the system has cached of a part, where it can: the next read comes from the
    /// medium, and the memory serves what is read or written next. What is not durable stays
    /// cached.
    fn forget_cached(&self, _part: Range<u64>) {}
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(dir)?
            .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != Mode::Read).mode(0o600);
        if mode == Mode::Create {
            options.create(true).truncate(true);
        }
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Option<Guard>> {
        let exclusive = lock == Lock::Exclusive;
        let file = OpenOptions::new()
            .read(true)
            .write(exclusive)
            .create(exclusive)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let taken = if exclusive { file.try_lock() } else { file.try_lock_shared() };
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        if exclusive {
            // Only for whoever finds it held; that it is full of nothing harms nobody.
            let _ = file.set_len(0);
            let _ = file.write_all_at(std::process::id().to_string().as_bytes(), 0);
        }
        Ok(Some(Box::new(file)))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let mine = self.0.metadata()?;
        match fs::metadata(path) {
            Ok(there) => {
                let same = (there.dev(), there.ino()) == (mine.dev(), mine.ino());
                Ok(same || there.len() == mine.len())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget_cached(&self, part: Range<u64>) {
        #[cfg(target_os = "linux")]
        if !part.is_empty() {
            // Without a length it is up to the end.
            let len = (part.end < u64::MAX).then(|| part.end - part.start);
            let (advice, len) = (rustix::fs::Advice::DontNeed, len.and_then(NonZeroU64::new));
            // Advice may be ignored; the read-back then checks what is cached.
            let _ = rustix::fs::fadvise(&self.0, part.start, len, advice);
        }
    }
}

/// Reads a whole small file; none if it is not there. Errors beyond `limit` bytes.
pub fn read_small(disk: &dyn Disk, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let size = file.size()?;
    if size > limit {
        return Err(io::Error::other(format!("{size} bytes are more than the {limit} expected")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Replaces a small file: temporary file, sync, rename, sync of the folder. `between` runs
/// before the rename.
pub fn replace_small(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    between: impl FnOnce(),
) -> io::Result<()> {
    let dir = path.parent().expect("a file's path has a folder");
    let temporary = path.with_extension("tmp");
    let written = (|| {
        let mut file = disk.open(&temporary, Mode::Create)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        between();
        disk.rename(&temporary, path)?;
        disk.sync_dir(dir)
    })();
    if written.is_err() {
        // Whatever is left of it is never read, and the next one starts with an empty file.
        let _ = disk.remove(&temporary);
    }
    written
}

/// Makes a folder and those above it, durable on return.
pub fn create_dir_durably(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let is_new = |path: &&Path| *path != Path::new("") && disk.list(path).is_err();
    let new: Vec<&Path> = dir.ancestors().take_while(is_new).collect();
    disk.create_dir(dir)?;
    for path in new.into_iter().rev() {
        let above = path.parent().filter(|above| *above != Path::new(""));
        disk.sync_dir(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// The names in a folder; none if it is not there.
pub fn list_if_there(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// Removes a folder and all that is in it; fine if it is not there.
pub fn remove_all(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for name in names {
        let path = dir.join(name);
        if disk.list(&path).is_ok() {
            remove_all(disk, &path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.remove_dir(dir)
}
