//! Dead letters: rejected records with their payloads, as JSON Lines beside the state.
//!
//! Promises: of each partition the first `max_bytes` of payload are kept, in position order, and
//! the rest is counted; no letter stands there twice: the mark that [`DeadLetters::sync`] returns
//! goes into the cut, and what was written after the newest cut's mark is cut off at start.
//! Limits: letters since the last sync are held in memory up to 4 MiB, then written early.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dataflows::sealed::Reject;
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::cut::Partition;
use super::disk::{self, Disk, DiskFile, Mode};
use super::error::{StoreError, io_error};
use super::fault;
pub use super::letter::{Extent, Kept, Letter, LetterId, Letters, marked_bytes, stretch};
use super::letter::{Mark, path};
use super::lines::{each_line, whole_lines};

/// Letters beyond so many bytes are written before the next cut.
const PENDING: usize = 4 << 20;

/// The dead letters of a state.
pub struct DeadLetters {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_bytes: u64,
    mark: Mark,
    /// The file; none before the first letter.
    file: Option<Box<dyn DiskFile>>,
    /// Letters behind `mark.len`.
    pending: Vec<u8>,
    /// A sync of the file failed: what is durable of it moves to another.
    lost: bool,
    /// Files that the newest mark no longer names.
    replaced: Vec<u64>,
    /// Files that go once the cut with the newest mark is stored.
    removable: Vec<u64>,
}

impl DeadLetters {
    /// Opens the letters of a state folder as the restored mark says (none: an empty store), with
    /// sentences on what is missing. What lies behind the mark is cut off.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mark: Option<&Value>,
        max_bytes: u64,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let mut damage = Vec::new();
        let mut mark = match mark.map(Mark::deserialize) {
            None => Mark::default(),
            Some(Ok(mark)) => mark,
            Some(Err(e)) => {
                damage.push(format!("the mark of the dead letters is unreadable: {e}"));
                Mark::default()
            }
        };
        let names = disk::list_if_there(&*disk, dir).map_err(io_error("list", dir))?;
        let (names, aside) = put_aside(&*disk, dir, &mark, names)?;
        damage.extend(aside);
        for name in names.iter().filter(|name| number(name).is_some_and(|n| n != mark.n)) {
            disk.remove(&dir.join(name)).map_err(io_error("remove", &dir.join(name)))?;
        }
        let path = path(dir, mark.n);
        let mut file = match disk.open(&path, Mode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(io_error("open", &path))?),
        };
        let size = file.as_ref().map_or(Ok(0), |file| file.size());
        let size = size.map_err(io_error("read", &path))?;
        damage.extend(compare(&*disk, &path, &mut file, &mut mark, size)?);
        if let Some(file) = &mut file
            && size > mark.len
        {
            file.set_len(mark.len).map_err(io_error("cut off", &path))?;
        }
        let letters = DeadLetters {
            disk,
            dir: dir.to_path_buf(),
            max_bytes,
            mark,
            file,
            pending: Vec::new(),
            lost: false,
            replaced: Vec::new(),
            removable: Vec::new(),
        };
        Ok((letters, damage))
    }

    /// Takes up the rejections of one epoch; `partitions` by number.
    pub fn append(
        &mut self,
        partitions: &[Partition],
        mut rejects: Vec<Reject>,
    ) -> Result<(), StoreError> {
        rejects.sort_by_key(|r| (r.partition, r.position, r.sub));
        for reject in &rejects {
            let kept = self.mark.partitions.entry(reject.partition).or_default();
            let room = self.max_bytes.saturating_sub(kept.bytes);
            let bytes = reject.payload.len() as u64;
            if kept.full || (room == 0 && bytes > 0) {
                kept.full = true;
                kept.dropped += 1;
                continue;
            }
            kept.full = bytes > room;
            kept.bytes += bytes.min(room);
            kept.letters += 1;
            let partition = partitions.get(reject.partition as usize).ok_or_else(|| {
                let what = format!("a reject of unknown partition {}", reject.partition);
                StoreError::Malformed { what }
            })?;
            write_letter(&mut self.pending, &Letter::new(partition, reject, room));
        }
        if self.pending.len() > PENDING {
            match self.flush() {
                // What has no room yet stays in memory; the next sync says so.
                Err(e) if !e.is_transient() => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes all letters so far durable; the mark for the cut. May be called again after an
    /// error, or when the cut could not be stored.
    pub fn sync(&mut self) -> Result<Value, StoreError> {
        self.flush()?;
        fault::point("after_dead_letters_sync");
        self.removable.append(&mut self.replaced);
        serde_json::to_value(&self.mark)
            .map_err(|e| StoreError::Malformed { what: format!("the dead letters' mark: {e}") })
    }

    /// To be called once the cut with the newest mark is stored: removes files that it no longer
    /// names. One that cannot be removed goes at the next start.
    pub fn after_cut(&mut self) {
        for n in self.removable.drain(..) {
            // If not, the next start removes every file that the mark does not name.
            let _ = self.disk.remove(&path(&self.dir, n));
        }
    }

    /// Takes letters out (they were replayed), by rewriting the rest into another file; in force
    /// with the next cut.
    pub fn remove(
        &mut self,
        partitions: &[Partition],
        gone: &HashSet<LetterId>,
    ) -> Result<(), StoreError> {
        self.flush()?;
        let numbers: BTreeMap<(&str, &str), u32> = partitions
            .iter()
            .zip(0..)
            .map(|(p, number)| ((p.source.as_str(), p.name.as_str()), number))
            .collect();
        let mut kept = self.mark.partitions.clone();
        let keep = |line: &[u8]| {
            let Ok(letter) = serde_json::from_slice::<Letter>(line) else { return true };
            if !gone.contains(&letter.id()) {
                return true;
            }
            let number = numbers.get(&(letter.source.as_str(), letter.partition.as_str()));
            if let Some(kept) = number.and_then(|number| kept.get_mut(number)) {
                kept.letters = kept.letters.saturating_sub(1);
                let bytes = letter.bytes().map_or(0, |bytes| bytes.len() as u64);
                kept.bytes = kept.bytes.saturating_sub(bytes);
            }
            false
        };
        self.rewrite(keep)?;
        self.mark.partitions = kept;
        Ok(())
    }

    /// The letters, as of the last sync.
    pub fn list(&self) -> Result<Letters, StoreError> {
        Letters::open(&*self.disk, &self.dir, &self.mark)
    }

    /// Up to where letters are durable, as of the last sync.
    pub fn extent(&self) -> Extent {
        Extent { n: self.mark.n, len: self.mark.len }
    }

    /// Up to which byte someone has sent the letters elsewhere.
    pub fn sent(&self, who: &str) -> u64 {
        self.mark.sent.get(who).copied().unwrap_or(0)
    }

    /// Notes up to which byte someone has sent the letters elsewhere; whether that is news. It is
    /// kept with the next cut.
    pub fn note_sent(&mut self, who: &str, at: u64) -> bool {
        self.mark.sent.insert(who.to_owned(), at) != Some(at)
    }

    /// Bytes that are held in memory until they are written.
    pub fn held_bytes(&self) -> u64 {
        self.pending.len() as u64
    }

    /// What is kept, by partition number.
    pub fn kept(&self) -> &BTreeMap<u32, Kept> {
        &self.mark.partitions
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.lost {
            self.rewrite(|_| true)?;
            self.lost = false;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let path = path(&self.dir, self.mark.n);
        let file = match &mut self.file {
            Some(file) => file,
            none => none
                .insert(create(&*self.disk, &self.dir, &path).map_err(io_error("create", &path))?),
        };
        if let Err(e) = file.write_at(&self.pending, self.mark.len) {
            // The next attempt writes to the same place.
            let _ = file.set_len(self.mark.len);
            return Err(io_error("append dead letters to", &path)(e));
        }
        if let Err(e) = file.sync() {
            self.lost = true;
            return Err(io_error("sync the dead letters in", &path)(e));
        }
        self.mark.len += self.pending.len() as u64;
        let lines = self.pending.split_inclusive(|b| *b == b'\n');
        self.mark.sum = lines.fold(self.mark.sum, |sum, line| sum.wrapping_add(xxh3_64(line)));
        self.pending.clear();
        Ok(())
    }

    /// Copies the durable letters that are to be kept into the next file and goes on with it.
    fn rewrite(&mut self, mut keep: impl FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        let (old, n) = (self.mark.n, self.mark.n + 1);
        let target = path(&self.dir, n);
        // What has been sent goes on being so, wherever it comes to stand.
        let mut sent: BTreeMap<String, u64> =
            self.mark.sent.keys().map(|who| (who.clone(), 0)).collect();
        let mut copy = || {
            let mut to = create(&*self.disk, &self.dir, &target)?;
            let (mut len, mut sum, mut block) = (0, 0_u64, Vec::new());
            let mut at = 0;
            if let Some(from) = &self.file {
                each_line(&**from, self.mark.len, |line| {
                    at += line.len() as u64;
                    if keep(line) {
                        sum = sum.wrapping_add(xxh3_64(line));
                        block.extend_from_slice(line);
                        for (now, before) in sent.values_mut().zip(self.mark.sent.values()) {
                            *now += if at <= *before { line.len() as u64 } else { 0 };
                        }
                    }
                    if block.len() >= PENDING {
                        to.write_at(&block, len)?;
                        len += block.len() as u64;
                        block.clear();
                    }
                    Ok(())
                })?;
            }
            to.write_at(&block, len)?;
            to.sync()?;
            Ok((to, len + block.len() as u64, sum))
        };
        let (file, len, sum) =
            copy().map_err(io_error("rewrite the dead letters into", &target))?;
        self.replaced.push(old);
        self.file = Some(file);
        (self.mark.n, self.mark.len, self.mark.sum) = (n, len, sum);
        self.mark.sent = sent;
        Ok(())
    }
}

fn number(name: &str) -> Option<u64> {
    name.strip_prefix("dead-letters-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// Where the file that a mark names is not there the state is older than the later ones: letters
/// were taken out of it, and the rest stands in those. Nobody knows which of them are read again,
/// so they are put aside, under names that are free. The names of the other files, and sentences.
fn put_aside(
    disk: &dyn Disk,
    dir: &Path,
    mark: &Mark,
    names: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let is_there = names.iter().any(|name| number(name) == Some(mark.n));
    let is_later = |name: &String| number(name) > Some(mark.n) && !is_there && mark.len > 0;
    let (later, others): (Vec<String>, Vec<String>) = names.into_iter().partition(is_later);
    let mut said = Vec::new();
    for name in later {
        let from = dir.join(&name);
        let free = (0..).map(|n| dir.join(format!("{name}.later{n}")));
        let is_free = |path: &PathBuf| {
            let there = path.file_name().and_then(|name| name.to_str());
            !others.iter().any(|other| Some(&**other) == there)
        };
        let to = free.into_iter().find(is_free).expect("there are more numbers than files");
        let put = disk.rename(&from, &to).and_then(|()| disk.sync_dir(dir));
        put.map_err(io_error("put aside", &from))?;
        said.push(format!("{} is later than the state: it is put aside as {}", name, to.display()));
    }
    Ok((others, said))
}

/// Compares a file of letters with what its mark says. What is short is taken as it is; what was
/// changed is put aside, because nobody knows which of its lines are right.
fn compare(
    disk: &dyn Disk,
    path: &Path,
    file: &mut Option<Box<dyn DiskFile>>,
    mark: &mut Mark,
    size: u64,
) -> Result<Option<String>, StoreError> {
    let whole = whole_lines(file.as_deref(), size.min(mark.len));
    let (len, sum) = whole.map_err(io_error("read", path))?;
    if size < mark.len {
        let what = format!(
            "{} holds {size} bytes, the state says {}: the dead letters behind are lost, their \
             counts stand",
            path.display(),
            mark.len
        );
        (mark.len, mark.sum) = (len, sum);
        mark.sent.values_mut().for_each(|at| *at = len.min(*at));
        return Ok(Some(what));
    }
    if sum == mark.sum {
        return Ok(None);
    }
    let aside = path.with_extension("jsonl.damaged");
    let dir = path.parent().unwrap_or(path);
    let put = disk.rename(path, &aside).and_then(|()| disk.sync_dir(dir));
    put.map_err(io_error("put aside", path))?;
    (mark.n, mark.len, mark.sum, *file) = (mark.n + 1, 0, 0, None);
    mark.sent.clear();
    Ok(Some(format!(
        "{} does not hold what was written to it: the damaged dead letters are put aside as {}, \
         their counts stand",
        path.display(),
        aside.display()
    )))
}

/// A file of letters, new.
fn create(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(path, Mode::Create)?;
    disk.sync_dir(dir)?;
    Ok(file)
}

fn write_letter(to: &mut Vec<u8>, letter: &Letter) {
    serde_json::to_writer(&mut *to, letter).expect("texts and numbers are JSON");
    to.push(b'\n');
}
