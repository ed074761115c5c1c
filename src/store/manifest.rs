//! The manifest: one small file that a person can read, and the promise against which damage is
//! told from an interrupted write. The state can be found without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::disk::{self, Disk};
use super::fault;

/// The format of everything in a state folder. Another number = another format: 2 had hashes of
/// eight bytes, and sides of posts compressed.
pub const FORMAT: u32 = 3;

/// The formats that are read; what is written into such a state is of [`FORMAT`].
pub const READ: RangeInclusive<u32> = 2..=FORMAT;

/// The manifest's name in the state folder.
pub const NAME: &str = "manifest.json";

/// No manifest is larger; it holds no partition lists.
const MAX_BYTES: u64 = 16 << 20;

/// What decides the meaning of a state, item by item.
pub type Fingerprint = BTreeMap<String, String>;

/// The first frame of a log or base: what the file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The format of the state folder.
    pub format: u32,
    /// The state's id, drawn when it began.
    pub state: String,
    /// The generation it belongs to.
    pub generation: u64,
    /// What this log continues; none = it begins with a whole state.
    pub prior: Option<Prior>,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
}

/// Up to where an earlier log counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prior {
    /// The generation whose log is continued.
    pub generation: u64,
    /// How many bytes of it count; 0 = its base alone.
    pub len: u64,
}

/// The promise: what is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the state folder.
    pub format: u32,
    /// The state's id.
    pub state: String,
    /// The generation whose log is appended to.
    pub generation: u64,
    /// How many bytes of that log are durable.
    pub log_bytes: u64,
    /// The oldest generation that is kept to fall back on; all from it on have a log.
    pub oldest: u64,
    /// The generations that have a base.
    pub bases: Vec<u64>,
    /// The newest cut.
    pub cut: u64,
    /// Its run.
    pub run: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its clock, microseconds since 1970-01-01 UTC.
    pub now: i64,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// xxh3-64 of this file with an empty text here.
    pub checksum: String,
}

/// What stands where the manifest should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A manifest.
    Good(Box<Manifest>),
    /// Something else; why it is not taken.
    Damaged(String),
}

impl Manifest {
    /// The file's bytes, with the checksum in place.
    pub fn encode(&self) -> Vec<u8> {
        let mut manifest = self.clone();
        manifest.checksum = String::new();
        manifest.checksum = format!("{:016x}", xxh3_64(&manifest.print()));
        manifest.print()
    }

    /// Durable when it returns; after an error the one before still stands.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let between = || fault::point("after_manifest_write");
        disk::replace_small(disk, &dir.join(NAME), &self.encode(), between)?;
        fault::point("after_manifest_rename");
        Ok(())
    }

    fn print(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("maps with text keys are JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Reads the manifest of a state folder.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Found> {
    let bytes = match disk::read_small(disk, &dir.join(NAME), MAX_BYTES) {
        Ok(None) => return Ok(Found::Missing),
        Ok(Some(bytes)) => bytes,
        // Not allowed to read it is no damage, and must not be taken for it.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(e),
        Err(e) => return Ok(Found::Damaged(format!("it cannot be read: {e}"))),
    };
    Ok(match serde_json::from_slice::<Manifest>(&bytes) {
        Ok(manifest) if manifest.encode() == bytes => Found::Good(Box::new(manifest)),
        Ok(_) => Found::Damaged("its checksum differs".to_owned()),
        Err(e) => match serde_json::from_slice::<OtherFormat>(&bytes) {
            Ok(other) if other.format > FORMAT => {
                // A later version's manifest: its own fields are not ours to judge.
                Found::Good(Box::new(Manifest { format: other.format, ..Manifest::empty() }))
            }
            _ => Found::Damaged(format!("it is not a manifest: {e}")),
        },
    })
}

#[derive(Deserialize)]
struct OtherFormat {
    format: u32,
}

impl Manifest {
    fn empty() -> Self {
        Manifest {
            format: FORMAT,
            state: String::new(),
            generation: 0,
            log_bytes: 0,
            oldest: 0,
            bases: Vec::new(),
            cut: 0,
            run: 0,
            epoch: 0,
            now: 0,
            fingerprint: Fingerprint::new(),
            checksum: String::new(),
        }
    }
}

/// An item of two fingerprints that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub item: String,
    /// What the state has.
    pub former: Option<String>,
    /// What is asked for.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} -> {}", self.item, value(&self.former), value(&self.now))
    }
}

/// The items that differ, by name.
pub fn differences(old: &Fingerprint, new: &Fingerprint) -> Vec<Difference> {
    let items: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let one = |item: &String| Difference {
        item: item.clone(),
        former: old.get(item).cloned(),
        now: new.get(item).cloned(),
    };
    items.into_iter().map(one).filter(|d| d.former != d.now).collect()
}
