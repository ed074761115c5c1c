//! What can go wrong with durable state, and the exit code of each.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::Difference;

/// What can go wrong with durable state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the state folder.
    #[error(
        "the state folder {} is in use by {holder}; stop that pinflow, or give this one another \
         `state.dir`",
        dir.display()
    )]
    Locked {
        /// The state folder.
        dir: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// The state was written under other settings that decide what it means.
    #[error(
        "the state in {} was made under other settings:\n{}\ngo back to them, or compute the \
         state anew from the sources with `pinflow run --rebuild`",
        dir.display(),
        differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
    )]
    Fingerprint {
        /// The state folder.
        dir: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The state was written in a format that this version does not read.
    #[error(
        "the state in {} has format {found}, this pinflow reads format {known}; use the version \
         that wrote it, or compute the state anew with `pinflow run --rebuild`",
        dir.display()
    )]
    Format {
        /// The state folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// No undamaged cut is left.
    #[error(
        "the state in {} is damaged, and no whole generation of it is left:\n{}\nput a backup of \
         the folder back, or compute the state anew from the sources with `pinflow run --rebuild`",
        dir.display(),
        what.iter().map(|w| format!("  {w}")).collect::<Vec<_>>().join("\n")
    )]
    Damaged {
        /// The state folder.
        dir: PathBuf,
        /// What is damaged, file by file.
        what: Vec<String>,
    },
    /// Dead letters are not what was written. The state itself is whole.
    #[error("the dead letters in {} are damaged: {what}", path.display())]
    Letters {
        /// Their file.
        path: PathBuf,
        /// Which of them, and how.
        what: String,
    },
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the state was lost while running; only a cut of the whole state helps.
    #[error("the files of the state are lost ({what}); a cut of the whole state is needed")]
    NeedsFull {
        /// What was lost.
        what: String,
    },
    /// A cut that nothing could be restored from: a mistake of ours, never of the disk's.
    #[error("a cut of the state is malformed: {what}; this is a bug, please report it")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// The exit code that a process ends with for this.
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreError::Locked { .. } => 75,
            StoreError::Fingerprint { .. } | StoreError::Format { .. } => 78,
            StoreError::Damaged { .. } | StoreError::Letters { .. } => 65,
            StoreError::Io { .. } | StoreError::NeedsFull { .. } => 74,
            StoreError::Malformed { .. } => 70,
        }
    }

    /// Whether the same may succeed later without a restart: the disk is full. Nothing
    /// half-written is visible then.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if is_full(source))
    }
}

/// Whether the system said that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Makes an [`io::Error`] a [`StoreError`] that says what was being done.
pub fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { what, path, source }
}
