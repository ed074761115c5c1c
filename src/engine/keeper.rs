//! The keeper: one thread that writes everything durable, in the order in which epochs became
//! complete: dead letters and cleaned rows as they come, and at a cut first these, then the state.
//!
//! Promises: outputs before inputs. A cut is committed only after every dead letter and every
//! cleaned row up to it is durable; what fails for want of space is merged into the next cut.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use dataflows::assemble::Partitions;
use dataflows::record::Stream;
use dataflows::sealed::{CleanRows, Reject, Tally};
use serde_json::json;
use tracing::warn;

use super::EngineError;
use super::messages::{Event, Kept};
use super::repeats::Repeats;
use crate::sink::letters::Outlet;
use crate::sink::{Sink, table_name};
use crate::store::dead::DeadLetters;
use crate::store::{Cut, Head, Partition, Store};
use crate::telemetry::Machine;

/// The names of the marks in a cut's head.
pub const DEAD_LETTERS: &str = "dead_letters";

/// What the names of sinks' marks begin with.
pub const SINK: &str = "sink:";

/// Before the name of a sink's mark: the state has begun the sink, whose mark comes with rows.
pub const BEGUN: &str = "begun:";

/// In the mark of a sink: the state has read something without it.
pub const LEFT: &str = "left";

/// The name of a sink's mark.
pub fn mark_name(sink: &dyn Sink) -> String {
    format!("{SINK}{}", sink.name())
}

/// To the keeper.
pub enum Task {
    /// What a complete epoch gives besides results.
    Epoch {
        /// Rejections.
        rejects: Vec<Reject>,
        /// Cleaned rows.
        rows: Vec<CleanRows>,
    },
    /// A cut, and when it was due.
    Cut {
        /// It.
        cut: Box<Cut>,
        /// When it became due.
        due: Instant,
        /// Whether it goes up to the newest complete epoch, so that outputs are part of it; else it
        /// only makes new partitions and memos known.
        whole: bool,
        /// Whether it holds all slots.
        full: bool,
    },
    /// This state has come as far as the one that it replaces, which goes.
    Passed,
    /// The orderly end: the sinks leave nothing open.
    Finish,
}

/// What the keeper keeps.
pub struct Keeper {
    /// The state.
    pub store: Store,
    /// Rejected records.
    pub dead: DeadLetters,
    /// Sinks of cleaned rows.
    pub sinks: Vec<Box<dyn Sink>>,
    /// The marks of sinks that are not there any more, while nothing is read without them.
    pub left: Vec<String>,
    /// Who sends letters to topics.
    pub outlets: Vec<Outlet>,
    /// The newest cut that is stored, without what it holds.
    pub newest: Head,
    /// The partitions' names.
    pub partitions: Partitions,
    /// A cut that could not be written yet.
    pub unwritten: Option<Cut>,
    /// Why not, if it goes up to an epoch: it is written with that epoch's outputs, or those of a
    /// later one.
    pub owed: Option<String>,
    /// Cleaned rows, and their bytes, that no stored cut goes up to yet; by table.
    pub cleaned: [(u64, u64); Stream::ALL.len()],
    /// Counters.
    pub machine: Arc<Machine>,
    /// Which troubles have been said.
    pub repeats: Repeats,
}

impl Keeper {
    /// Works until the channel closes or something cannot be kept.
    pub fn run(mut self, tasks: Receiver<Task>, events: Sender<Event>) {
        for task in tasks {
            let done = match task {
                Task::Epoch { rejects, rows } => self.epoch(rejects, rows).map(|()| None),
                Task::Cut { cut, due, whole, full } => self.cut(*cut, due, whole, full).map(Some),
                Task::Passed => self.store.finish_rebuild().map(|()| None).map_err(Into::into),
                Task::Finish => self.finish().map(Some),
            };
            match done {
                Ok(None) => {}
                Ok(Some(kept)) => drop(events.send(Event::Kept(Ok(kept)))),
                Err(error) => {
                    let _ = events.send(Event::Kept(Err(Box::new(error))));
                    return;
                }
            }
        }
    }

    fn epoch(&mut self, rejects: Vec<Reject>, rows: Vec<CleanRows>) -> Result<(), EngineError> {
        let names = partitions(&self.partitions.read());
        if !rejects.is_empty() {
            self.dead.append(&names, rejects)?;
        }
        for some in &rows {
            let (count, bytes) = &mut self.cleaned[usize::from(some.table)];
            *count += some.ends.len() as u64;
            *bytes += some.bytes.len() as u64;
        }
        if let Some((last, others)) = self.sinks.split_last_mut() {
            for sink in others {
                sink.write(&names, rows.clone())?;
            }
            last.write(&names, rows)?;
        }
        Ok(())
    }

    fn cut(
        &mut self,
        cut: Cut,
        due: Instant,
        whole: bool,
        full: bool,
    ) -> Result<Kept, EngineError> {
        let mut cut = match self.unwritten.take() {
            Some(mut earlier) => {
                if full {
                    // It holds all slots, and all texts that they name.
                    (earlier.slots, earlier.texts) = Default::default();
                }
                earlier.merge(cut);
                earlier
            }
            None => cut,
        };
        if let Some(why) = self.owed.as_ref().filter(|_| !whole) {
            let trouble = Some(why.clone());
            let kept = Kept { trouble, unwritten_bytes: self.waiting(&cut), ..Kept::default() };
            self.unwritten = Some(cut);
            return Ok(kept);
        }
        match self.commit(&mut cut, whole, full) {
            Ok(bytes) => {
                self.owed = None;
                if whole {
                    self.count_cleaned();
                }
                self.repeats.gone(0);
                self.machine.checkpoints.inc();
                self.machine.checkpoint_bytes.inc_by(bytes);
                self.machine.checkpoint_seconds.observe(due.elapsed().as_secs_f64());
                Ok(Kept {
                    cut: Some(cut.head.cut),
                    bytes,
                    disk_bytes: disk_bytes(&self.store),
                    dead_letter_bytes: self.dead.kept().values().map(|k| k.bytes).sum(),
                    took: due.elapsed(),
                    full_wanted: self.store.needs_full(),
                    trouble: None,
                    unwritten_bytes: 0,
                    compacting: self.store.figures().compacting,
                    sinks_due: self.sinks.iter().filter_map(|sink| sink.due()).min(),
                })
            }
            Err(error) if error.is_transient() || self.store.needs_full() => {
                self.machine.checkpoint_errors.inc();
                let error = error.to_string();
                if let Some(times) = self.repeats.came(0, &error, Instant::now()) {
                    let next = "a checkpoint could not be written; the next one holds it too";
                    warn!(error, times, "{next}");
                }
                let unwritten_bytes = self.waiting(&cut);
                self.unwritten = Some(cut);
                self.owed = whole.then(|| error.clone());
                Ok(Kept {
                    trouble: Some(error),
                    full_wanted: self.store.needs_full(),
                    unwritten_bytes,
                    ..Kept::default()
                })
            }
            Err(error) => Err(error),
        }
    }

    /// What a cut that is stored goes up to has been committed.
    fn count_cleaned(&mut self) {
        if self.sinks.is_empty() {
            return;
        }
        for (table, (rows, bytes)) in std::mem::take(&mut self.cleaned).into_iter().enumerate() {
            let table = [table_name(table)];
            self.machine.sink_rows.with_label_values(&table).inc_by(rows);
            self.machine.sink_bytes.with_label_values(&table).inc_by(bytes);
        }
    }

    /// Bytes that wait with a cut for room on the disk.
    fn waiting(&self, cut: &Cut) -> u64 {
        let held = self.sinks.iter().map(|sink| sink.held_bytes()).sum::<u64>();
        cut.bytes() + self.dead.held_bytes() + held
    }

    /// Outputs first, then the state; the bytes written for the state.
    fn commit(&mut self, cut: &mut Cut, whole: bool, full: bool) -> Result<u64, EngineError> {
        let mut extent = self.dead.extent();
        if whole {
            for outlet in &self.outlets {
                self.dead.note_sent(&outlet.name(), outlet.at());
            }
            cut.head.marks.insert(DEAD_LETTERS.into(), self.dead.sync()?);
            extent = self.dead.extent();
            for sink in &mut self.sinks {
                let mark = sink.prepare_cut()?;
                cut.head.marks.insert(mark_name(&**sink), mark);
            }
        }
        if gives_rows(&cut.head, self.store.head()) {
            let left = self.left.iter().map(|name| (name.clone(), json!({ LEFT: true })));
            cut.head.marks.extend(left);
        }
        let info = if full && self.store.needs_full() {
            self.store.commit_full(cut)?
        } else {
            self.store.commit(cut)?
        };
        let Head { cut: number, run, epoch, now, .. } = cut.head;
        self.newest = Head { cut: number, run, epoch, now, ..Head::default() };
        if whole {
            self.outlets.iter().for_each(|outlet| outlet.durable(extent));
            self.dead.after_cut();
            for sink in &mut self.sinks {
                sink.after_cut()?;
            }
        }
        Ok(info.bytes)
    }

    fn finish(&mut self) -> Result<Kept, EngineError> {
        for sink in &mut self.sinks {
            sink.finish()?;
        }
        self.part()?;
        Ok(Kept::default())
    }

    /// The end of the outlets; a small cut keeps what they have sent since the last one.
    fn part(&mut self) -> Result<(), EngineError> {
        let mut news = false;
        for outlet in std::mem::take(&mut self.outlets) {
            let name = outlet.name();
            news |= self.dead.note_sent(&name, outlet.finish());
        }
        if !news || self.newest.run == 0 {
            return Ok(());
        }
        let mut cut = Cut { head: self.newest.clone(), ..Cut::default() };
        cut.head.cut += 1;
        cut.head.marks.insert(DEAD_LETTERS.into(), self.dead.sync()?);
        match self.store.commit(&cut) {
            // What was sent and not kept is sent again.
            Err(error) if error.is_transient() => warn!(%error, "how far letters went is not kept"),
            done => drop(done?),
        }
        Ok(())
    }
}

/// Whether a cut takes up records of which there are cleaned rows.
fn gives_rows(cut: &Head, before: &Head) -> bool {
    let rows = |tally: &Tally| tally.read - tally.rejected - tally.ignored;
    cut.tallies.iter().any(|(n, tally)| rows(tally) > before.tallies.get(n).map_or(0, rows))
}

/// The partitions by number, as the store names them.
pub fn partitions(names: &[(String, String)]) -> Vec<Partition> {
    let one = |(source, name): &(String, String)| Partition {
        source: source.clone(),
        name: name.clone(),
    };
    names.iter().map(one).collect()
}

/// Bytes that the state takes up: the newest base and the logs behind it.
fn disk_bytes(store: &Store) -> u64 {
    let figures = store.figures();
    figures.base_bytes + figures.log_bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use prometheus::IntCounterVec;

    use super::*;
    use crate::config::FilesSink;
    use crate::sink::{Begin, files};
    use crate::store::disk::Disk;
    use crate::store::scripted::{Fault, ScriptedDisk};
    use crate::store::{Fingerprint, Options};

    fn cut(number: u64) -> Cut {
        let mut cut = Cut::default();
        cut.head.cut = number;
        cut.ledger = [&1_u16.to_le_bytes()[..], b"k", &1_i64.to_le_bytes()].concat();
        cut
    }

    const DIR: &str = "/state";

    fn keeper(disk: &Arc<dyn Disk>, options: &Options, sinks: Vec<Box<dyn Sink>>) -> Keeper {
        let dir = Path::new(DIR);
        let (store, _) = Store::open_on(disk.clone(), dir, options.clone()).expect("new");
        let (dead, _) = DeadLetters::open(disk.clone(), dir, None, 10).expect("new");
        Keeper {
            store,
            dead,
            sinks,
            left: Vec::new(),
            outlets: Vec::new(),
            newest: Head::default(),
            partitions: Partitions::default(),
            unwritten: None,
            owed: None,
            cleaned: Default::default(),
            machine: Arc::new(Machine::new()),
            repeats: Repeats::default(),
        }
    }

    #[test]
    fn what_waits_for_room_is_counted_and_then_written() {
        let disk = ScriptedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (dir, options) = (Path::new(DIR), Options::new(Fingerprint::new()));
        let mut keeper = keeper(&shared, &options, Vec::new());
        let mut keep = |number| keeper.cut(cut(number), Instant::now(), true, false).expect("kept");
        assert_eq!(keep(0).cut, Some(0));
        let one = cut(0).bytes();
        for number in 1..4 {
            disk.fault_at(disk.operations(), Fault::Full);
            let kept = keep(number);
            assert!(kept.cut.is_none() && kept.trouble.is_some(), "{kept:?}");
            assert_eq!(kept.unwritten_bytes, number * one);
        }
        // What only makes partitions known does not take the place of a cut of an epoch, whose
        // outputs have to come first.
        let kept = keeper.cut(cut(40), Instant::now(), false, false).expect("kept");
        assert!(kept.cut.is_none() && kept.unwritten_bytes == 4 * one, "{kept:?}");
        // Nor does it hide which disk is full.
        assert!(kept.trouble.is_some_and(|why| why.contains("/state/")));
        let mut keep = |number| keeper.cut(cut(number), Instant::now(), true, false).expect("kept");
        let kept = keep(4);
        assert_eq!((kept.cut, kept.unwritten_bytes), (Some(4), 0));
        drop(keeper);
        let (_, restored) = Store::open_on(shared, dir, options).expect("a state");
        let ledger = restored.expect("restored").ledger.concat();
        assert_eq!(ledger[3..], 6_i64.to_le_bytes(), "nothing is lost");
    }

    /// Each that failed was kept beside the next, a whole state each second.
    #[test]
    fn of_cuts_of_all_slots_that_wait_the_last_one_is_kept() {
        let disk = ScriptedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut keeper = keeper(&shared, &Options::new(Fingerprint::new()), Vec::new());
        let mut waiting = |number, full| {
            let texts = vec![(0, "a"), (1, "b")];
            disk.fault_at(disk.operations(), Fault::Full);
            let cut = Cut { texts, ..cut(number) };
            keeper.cut(cut, Instant::now(), true, full).expect("kept").unwritten_bytes
        };
        let (ledger, both) = (cut(0).bytes(), waiting(0, false));
        assert_eq!(waiting(1, false), 2 * both);
        for number in 2..9 {
            assert_eq!(waiting(number, true), both + number * ledger);
        }
    }

    /// They were documented, and counted by nobody.
    #[test]
    fn cleaned_rows_are_counted_once_they_are_committed() {
        let disk = ScriptedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (dir, options) = (Path::new("/rows").into(), Options::new(Fingerprint::new()));
        let (rotate_bytes, rotate_interval) = (1 << 20, Duration::from_hours(1));
        let config = FilesSink { dir, csv: false, rotate_bytes, rotate_interval };
        let mut sink = files::FilesSink::new(config, shared.clone());
        let next = &BTreeMap::new();
        let begin = Begin { state: "s", mark: None, next, started: false, fell_back: false };
        sink.begin(&begin).expect("an empty folder");
        let mut keeper = keeper(&shared, &options, vec![Box::new(sink)]);
        keeper.partitions = Partitions::new(vec![("files".into(), "a".into())].into());
        let rows = || CleanRows {
            table: 1,
            partition: 0,
            ends: vec![(0, 0, 3), (1, 0, 6)],
            bytes: b"{}\n{}\n".to_vec(),
        };
        let machine = keeper.machine.clone();
        let counted = || {
            let of = |all: &IntCounterVec, table| all.with_label_values(&[table]).get();
            [of(&machine.sink_rows, "geo"), of(&machine.sink_bytes, "geo")]
        };
        let cuts = [(0, None, [2, 6]), (1, Some(Fault::Full), [2, 6]), (2, None, [6, 18])];
        for (number, fault, want) in cuts {
            keeper.epoch(Vec::new(), vec![rows()]).expect("taken");
            fault.into_iter().for_each(|fault| disk.fault_at(disk.operations(), fault));
            keeper.cut(cut(number), Instant::now(), true, false).expect("kept");
            assert_eq!(counted(), want, "{number}");
        }
        let written = disk.read(Path::new("/rows/geo-000000.jsonl.part")).expect("there");
        assert_eq!(written.len() as u64, counted()[1]);
    }
}
