//! Cleaned rows as files: `<table>-<n>.jsonl` (or `.csv`) in a folder, exactly once.
//!
//! Promises: rows go to `<table>-<n>.jsonl.part`, synced before the cut that holds `{n, len}`; a
//! start cuts `.part` to that length and removes what is newer. Files rotate only at a cut, and
//! get their final name after it (or at the next start), so that a finished file never changes.
//! After a state fell back nothing finished is touched: what is there already is known from the
//! rows' provenance and is skipped when it comes again, from the sources or by a replay. The order
//! of rows in a file is that of epochs, then of partitions and positions.
//! Limits: of the stretch that is read again after a fallback all rows up to the last that is there
//! are taken to be there: one whose record was rejected then and is not now is not written. While
//! the disk is full, [`HELD_MAX`] bytes a table wait in memory. A sync that fails ends the process:
//! the restart cuts the file and writes the rows again.

mod begin;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dataflows::record::Stream;
use dataflows::record::table::csv_header;
use dataflows::sealed::CleanRows;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Begin, Sink, SinkError, table_name};
use crate::config;
use crate::store::disk::{Disk, DiskFile, Mode};
use crate::store::{Partition, fault, is_full};

/// Rows are handed to the system when so many bytes of a table are together.
const BUFFER: usize = 1 << 20;

/// While the disk is full, so many bytes of a table are held in memory. The engine reads no more
/// long before, but hears only with the next cut how much waits.
pub const HELD_MAX: usize = 1 << 30;

/// So many rows of replays are known at most: each cut names them.
const REPLAYED_MAX: usize = 10_000;

/// The position and number of a row of a partition.
type RowAt = (u64, u32);

/// A table's rows of a partition: table, source, partition.
type Of = (String, String, String);

/// Rows that are there although the state has not read so far.
#[derive(Clone, Debug, Default)]
struct Ahead {
    /// Those that come from the sources once more: from the position to which the state had read on
    /// up to the last that is there.
    up_to: BTreeMap<Of, (u64, RowAt)>,
    /// Those of positions before that: their records were rejected at first, and replayed. They
    /// come when they are replayed again, if ever; of more than [`REPLAYED_MAX`] those beyond are
    /// not known.
    replayed: BTreeMap<Of, BTreeSet<RowAt>>,
}

/// What stands in the cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// By table: the file that is written, and how much of it is durable.
    tables: BTreeMap<String, Place>,
    /// Rows that are in the files already and come once more: up to these.
    ahead: Vec<(String, String, String, u64, u32)>,
    /// The same: these.
    #[serde(default)]
    replayed: Vec<(Of, Vec<RowAt>)>,
}

/// A place in a table's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    n: u64,
    len: u64,
}

/// One table's output.
struct Table {
    name: &'static str,
    header: Vec<u8>,
    n: u64,
    /// The `.part` file; none before its first row.
    file: Option<Box<dyn DiskFile>>,
    /// Bytes in it.
    len: u64,
    /// It was written since the last sync.
    dirty: bool,
    since: Instant,
    buffer: Vec<u8>,
    /// Closed files whose final names wait for the cut.
    rotated: Vec<u64>,
    /// The place in the newest mark, and in the newest stored one.
    prepared: Place,
    stored: Place,
}

impl Table {
    /// Whether a file is open that holds rows.
    fn has_rows(&self) -> bool {
        self.file.is_some() && self.len > self.header.len() as u64
    }
}

/// The name of a sink into a folder: however the folder is written, it is the same. It ends in a
/// slash: so the newest marks of states are named that have two, from when a name had one only if
/// the folder was there.
pub fn name(dir: &Path) -> String {
    format!("files:{}", config::folders::full(dir).join("").display())
}

/// Whether a folder is that of a sink, of whatever state.
pub fn is_sink(dir: &Path) -> bool {
    sidecar(dir).exists()
}

/// The sink.
pub struct FilesSink {
    config: config::FilesSink,
    disk: Arc<dyn Disk>,
    name: String,
    tables: Vec<Table>,
    ahead: Ahead,
    /// Files were made whose names are not durable yet.
    names_dirty: bool,
    /// The folder's own file says that the state fell back.
    fell_back: bool,
    state: String,
}

impl FilesSink {
    /// A sink into a folder, which [`Sink::begin`] creates.
    pub fn new(config: config::FilesSink, disk: Arc<dyn Disk>) -> Self {
        let header = |stream| if config.csv { csv_header(stream).into_bytes() } else { Vec::new() };
        let tables = Stream::ALL.map(|stream| Table {
            name: stream.name(),
            header: header(stream),
            n: 0,
            file: None,
            len: 0,
            dirty: false,
            since: Instant::now(),
            buffer: Vec::new(),
            rotated: Vec::new(),
            prepared: Place::default(),
            stored: Place::default(),
        });
        FilesSink {
            tables: tables.into(),
            name: name(&config.dir),
            config,
            disk,
            ahead: Ahead::default(),
            names_dirty: false,
            fell_back: false,
            state: String::new(),
        }
    }

    fn path(&self, table: &str, n: u64, part: bool) -> PathBuf {
        path(&self.config, table, n, part)
    }

    /// Drops rows that are in the files already.
    fn skip_known(&mut self, partitions: &[Partition], rows: &mut CleanRows) {
        let Some(partition) = partitions.get(rows.partition as usize) else { return };
        let table = table_name(usize::from(rows.table)).to_owned();
        let of = (table, partition.source.clone(), partition.name.clone());
        let up_to = self.ahead.up_to.get(&of).copied();
        let (Some(first), Some(last)) = (rows.ends.first(), rows.ends.last()) else { return };
        let (first, last) = ((first.0, first.1), (last.0, last.1));
        let replayed = self.ahead.replayed.get_mut(&of);
        let mut replayed = replayed.filter(|known| known.range(first..=last).next().is_some());
        if up_to.is_none() && replayed.is_none() {
            return;
        }
        // Rows of a partition come in the order of positions.
        if up_to.is_some_and(|(_, high)| last > high) {
            self.ahead.up_to.remove(&of);
        }
        let mut kept = CleanRows { ends: Vec::new(), bytes: Vec::new(), ..*rows };
        let mut start = 0;
        for (position, sub, end) in std::mem::take(&mut rows.ends) {
            let row = (position, sub);
            let passed = up_to.is_some_and(|(from, high)| from <= position && row <= high);
            // It has come, one way or the other.
            let came = replayed.as_mut().is_some_and(|known| known.remove(&row));
            if !passed && !came {
                kept.bytes.extend_from_slice(&rows.bytes[start as usize..end as usize]);
                kept.ends.push((position, sub, kept.bytes.len() as u32));
            }
            start = end;
        }
        *rows = kept;
    }

    /// Hands a table's buffer to the system. A full disk leaves it in the buffer.
    fn flush(&mut self, number: usize) -> Result<(), SinkError> {
        let table = &mut self.tables[number];
        if table.buffer.is_empty() {
            return Ok(());
        }
        let path = path(&self.config, table.name, table.n, true);
        let failed = |what, source| {
            let transient = is_full(&source);
            SinkError::Io { what, path: path.clone(), source, transient }
        };
        let file = if let Some(file) = &mut table.file {
            file
        } else {
            let file = self.disk.open(&path, Mode::Create).map_err(|e| failed("create", e))?;
            self.names_dirty = true;
            table.since = Instant::now();
            table.len = 0;
            table.buffer.splice(..0, table.header.iter().copied());
            table.file.insert(file)
        };
        table.dirty = true;
        // After an error the same bytes go to the same place again.
        file.write_at(&table.buffer, table.len).map_err(|e| failed("write to", e))?;
        table.len += table.buffer.len() as u64;
        table.buffer.clear();
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), SinkError> {
        let dir = &self.config.dir;
        self.disk.sync_dir(dir).map_err(SinkError::io("sync the folder", dir))?;
        self.names_dirty = false;
        Ok(())
    }

    fn publish(&self, table: &str, n: u64) -> Result<(), SinkError> {
        let (part, whole) = (self.path(table, n, true), self.path(table, n, false));
        self.disk.rename(&part, &whole).map_err(SinkError::io("give its final name to", &part))
    }

    fn mark(&self) -> Mark {
        let place = |table: &Table| (table.name.to_owned(), table.prepared);
        let ahead = self.ahead.up_to.iter().map(|((table, source, partition), (_, high))| {
            (table.clone(), source.clone(), partition.clone(), high.0, high.1)
        });
        let replayed =
            |(of, rows): (&Of, &BTreeSet<RowAt>)| (of.clone(), rows.iter().copied().collect());
        Mark {
            tables: self.tables.iter().map(place).collect(),
            ahead: ahead.collect(),
            replayed: self.ahead.replayed.iter().map(replayed).collect(),
        }
    }
}

fn path(config: &config::FilesSink, table: &str, n: u64, part: bool) -> PathBuf {
    let (ext, part) = (extension(config.csv), if part { ".part" } else { "" });
    config.dir.join(format!("{table}-{n:06}.{ext}{part}"))
}

fn extension(csv: bool) -> &'static str {
    if csv { "csv" } else { "jsonl" }
}

impl Sink for FilesSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin(&mut self, begin: &Begin<'_>) -> Result<Vec<String>, SinkError> {
        begin::begin(self, begin)
    }

    fn write(
        &mut self,
        partitions: &[Partition],
        mut rows: Vec<CleanRows>,
    ) -> Result<(), SinkError> {
        rows.sort_by_key(|rows| (rows.table, rows.partition, rows.ends.first().copied()));
        for mut rows in rows {
            if !self.ahead.up_to.is_empty() || !self.ahead.replayed.is_empty() {
                self.skip_known(partitions, &mut rows);
            }
            let number = usize::from(rows.table);
            self.tables[number].buffer.append(&mut rows.bytes);
            let held = self.tables[number].buffer.len();
            if held < BUFFER {
                continue;
            }
            match self.flush(number) {
                Err(e) if !e.is_transient() => return Err(e),
                Err(_) if held > HELD_MAX => {
                    return Err(SinkError::Full { dir: self.config.dir.clone(), held });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.buffer.len() as u64).sum()
    }

    fn due(&self) -> Option<Instant> {
        let filled = self.tables.iter().filter(|table| table.has_rows());
        filled.filter_map(|table| table.since.checked_add(self.config.rotate_interval)).min()
    }

    fn prepare_cut(&mut self) -> Result<Value, SinkError> {
        for number in 0..self.tables.len() {
            self.flush(number)?;
            let path = self.path(self.tables[number].name, self.tables[number].n, true);
            let table = &mut self.tables[number];
            if let Some(file) = &table.file
                && !file.is_at(&path).map_err(SinkError::io("look at", &path))?
            {
                let path = path.display();
                let what = format!("{path} was taken away while rows were being written to it");
                return Err(SinkError::Changed { what });
            }
            if let Some(file) = table.file.as_mut().filter(|_| table.dirty) {
                file.sync().map_err(SinkError::io("sync", &path))?;
                // Written once, and not read again by us but for the page that is being filled:
                // the memory serves the next rows.
                file.forget_cached(0..table.len.saturating_sub(1));
                table.dirty = false;
            }
        }
        if self.names_dirty {
            self.sync_names()?;
        }
        fault::point("after_sink_sync");
        for table in &mut self.tables {
            let old = table.since.elapsed() >= self.config.rotate_interval;
            if table.has_rows() && (old || table.len >= self.config.rotate_bytes) {
                table.rotated.push(table.n);
                table.file = None;
                (table.n, table.len) = (table.n + 1, 0);
            }
            table.prepared = Place { n: table.n, len: table.len };
        }
        serde_json::to_value(self.mark()).map_err(|e| SinkError::Io {
            what: "encode the mark of",
            path: self.config.dir.clone(),
            source: e.into(),
            transient: false,
        })
    }

    fn after_cut(&mut self) -> Result<(), SinkError> {
        let mut renamed = false;
        for number in 0..self.tables.len() {
            let name = self.tables[number].name;
            let stored = self.tables[number].prepared;
            self.tables[number].stored = stored;
            let due: Vec<u64> = {
                let rotated = &mut self.tables[number].rotated;
                rotated.extract_if(.., |n| *n < stored.n).collect()
            };
            for n in due {
                self.publish(name, n)?;
                renamed = true;
            }
        }
        if renamed {
            self.sync_names()?;
        }
        fault::point("after_sink_rename");
        if self.fell_back {
            begin::write_sidecar(self, false)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.after_cut_names()?;
        for number in 0..self.tables.len() {
            let table = &mut self.tables[number];
            table.buffer.clear();
            let (name, n, stored) = (table.name, table.n, table.stored);
            let Some(mut file) = table.file.take() else { continue };
            let (path, header) = (self.path(name, n, true), self.tables[number].header.len());
            let durable = if stored.n == n { stored.len } else { 0 };
            if durable <= header as u64 {
                self.disk.remove(&path).map_err(SinkError::io("remove the empty", &path))?;
                continue;
            }
            if self.tables[number].len > durable {
                // Rows behind the last cut are not the state's yet.
                let cut = file.set_len(durable).and_then(|()| file.sync());
                cut.map_err(SinkError::io("cut off", &path))?;
            }
            self.publish(name, n)?;
        }
        self.sync_names()
    }
}

impl FilesSink {
    /// Gives closed files of stored marks their final names.
    fn after_cut_names(&mut self) -> Result<(), SinkError> {
        for number in 0..self.tables.len() {
            let (name, stored) = (self.tables[number].name, self.tables[number].stored);
            for n in std::mem::take(&mut self.tables[number].rotated) {
                if n < stored.n {
                    self.publish(name, n)?;
                }
            }
        }
        Ok(())
    }
}

/// The table, number and whether it is unfinished that a file's name says.
fn parse_name(name: &str) -> Option<(usize, u64, bool, &str)> {
    let (whole, part) = match name.strip_suffix(".part") {
        Some(whole) => (whole, true),
        None => (name, false),
    };
    let (stem, ext) = whole.rsplit_once('.')?;
    let (table, n) = stem.rsplit_once('-')?;
    let table = Stream::ALL.iter().position(|known| known.name() == table)?;
    matches!(ext, "jsonl" | "csv").then_some((table, n.parse().ok()?, part, ext))
}

/// The folder's own file, for messages.
fn sidecar(dir: &Path) -> PathBuf {
    dir.join(".pinflow-sink.json")
}
