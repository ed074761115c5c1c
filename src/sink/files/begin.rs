//! The start of the files sink: whose folder it is, and how it comes into the state of the mark.

use std::collections::BTreeSet;

use dataflows::record::Stream;
use serde::{Deserialize, Serialize};

use super::rows::{Provenance, provenance, row_len};
use super::{
    Ahead, FilesSink, Mark, Of, Place, REPLAYED_MAX, extension, parse_name, path, sidecar,
};
use crate::sink::{Begin, SinkError, table_name};
use crate::store::disk::{self, DiskFile, Mode};

/// How many bytes are read at a time.
const READ: usize = 1 << 18;

/// What the folder says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sidecar {
    /// The id of the state whose rows it holds.
    state: String,
    /// `jsonl` or `csv`.
    format: String,
    /// The state fell back and has stored no cut since.
    fell_back: bool,
}

/// The files of one table.
#[derive(Clone, Debug, Default)]
struct Files {
    whole: BTreeSet<u64>,
    parts: BTreeSet<u64>,
}

pub fn begin(sink: &mut FilesSink, begin: &Begin<'_>) -> Result<Vec<String>, SinkError> {
    let dir = sink.config.dir.clone();
    let created = disk::create_dir_durably(&*sink.disk, &dir);
    created.map_err(SinkError::io("create the folder", &dir))?;
    begin.state.clone_into(&mut sink.state);
    let files = files(sink)?;
    let found = read_sidecar(sink)?;
    let known = owner(sink, begin, found.as_ref(), &files)?;
    if !known {
        write_sidecar(sink, false)?;
        return Ok(Vec::new());
    }
    let mark = match begin.mark.map(Mark::deserialize) {
        None => Mark::default(),
        Some(Ok(mark)) => mark,
        Some(Err(e)) => {
            let what = format!("the state's mark for {} is unreadable: {e}", dir.display());
            return Err(SinkError::Changed { what });
        }
    };
    let place = |number: usize| mark.tables.get(table_name(number)).copied().unwrap_or_default();
    let mut ahead_of_mark = false;
    for (number, files) in files.iter().enumerate() {
        ahead_of_mark |= is_ahead(sink, number, files, place(number))?;
    }
    for (table, source, partition, position, sub) in mark.ahead {
        let of = (table, source, partition);
        let from = next(begin, &of);
        // What the state has read beyond does not come again.
        if from <= position {
            sink.ahead.up_to.insert(of, (from, (position, sub)));
        }
    }
    let replayed = mark.replayed.into_iter();
    sink.ahead.replayed = replayed.map(|(of, rows)| (of, rows.into_iter().collect())).collect();
    let before = begin.fell_back || found.is_some_and(|sidecar| sidecar.fell_back);
    let fell_back = before || ahead_of_mark || (begin.mark.is_none() && begin.started);
    let mut notes = Vec::new();
    if fell_back {
        write_sidecar(sink, true)?;
        notes.push(format!(
            "{} may hold rows that the state has not read yet: they stay and are not written again",
            dir.display()
        ));
    }
    for (number, files) in files.iter().enumerate() {
        resume(sink, number, files, place(number), fell_back.then_some(begin), &mut notes)?;
    }
    if fell_back {
        // Of the last rows nobody knows whether they are of a replay.
        let Ahead { up_to, replayed } = &mut sink.ahead;
        for (of, (_, high)) in up_to {
            replayed.entry(of.clone()).or_default().insert(*high);
        }
    }
    sink.sync_names()?;
    Ok(notes)
}

/// Whether the folder is known to be this state's; an error if it must not be used.
fn owner(
    sink: &FilesSink,
    begin: &Begin<'_>,
    found: Option<&Sidecar>,
    files: &[Files],
) -> Result<bool, SinkError> {
    let dir = sink.config.dir.display();
    let refuse = |what: String| Err(SinkError::Refused { what });
    let format = extension(sink.config.csv);
    match found {
        Some(found) if found.state != begin.state => refuse(format!(
            "the folder {dir} holds the rows of another state ({}, this one is {})",
            found.state, begin.state
        )),
        Some(found) if found.format != format => refuse(format!(
            "the folder {dir} holds {} files, the sink is to write {format}",
            found.format
        )),
        Some(_) => Ok(true),
        None if begin.mark.is_some() => refuse(format!(
            "the folder {dir} lacks the id of this state ({}), which has written rows to it",
            begin.state
        )),
        None if begin.started => refuse(format!(
            "the sink into {dir} is new to a state that has read records already: their rows would \
             be missing there (`--rebuild` reads them again)"
        )),
        None if files.iter().any(|f| !f.whole.is_empty() || !f.parts.is_empty()) => {
            refuse(format!("the folder {dir} holds cleaned rows that are not those of this state"))
        }
        None => Ok(false),
    }
}

fn files(sink: &FilesSink) -> Result<Vec<Files>, SinkError> {
    let dir = &sink.config.dir;
    let mut files = vec![Files::default(); Stream::ALL.len()];
    for name in sink.disk.list(dir).map_err(SinkError::io("list", dir))? {
        match parse_name(&name) {
            Some((table, n, true, _)) => _ = files[table].parts.insert(n),
            Some((table, n, false, _)) => _ = files[table].whole.insert(n),
            None => {}
        }
    }
    Ok(files)
}

fn read_sidecar(sink: &FilesSink) -> Result<Option<Sidecar>, SinkError> {
    let path = sidecar(&sink.config.dir);
    let bytes = disk::read_small(&*sink.disk, &path, 1 << 16);
    let Some(bytes) = bytes.map_err(SinkError::io("read", &path))? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(sidecar) => Ok(Some(sidecar)),
        Err(e) => {
            let what = format!("{} does not say whose rows these are: {e}", path.display());
            Err(SinkError::Refused { what })
        }
    }
}

/// Writes the folder's own file, durable on return.
pub fn write_sidecar(sink: &mut FilesSink, fell_back: bool) -> Result<(), SinkError> {
    let (state, format) = (sink.state.clone(), extension(sink.config.csv).to_owned());
    let bytes = serde_json::to_vec(&Sidecar { state, format, fell_back }).expect("plain JSON");
    let path = sidecar(&sink.config.dir);
    disk::replace_small(&*sink.disk, &path, &bytes, || {})
        .map_err(SinkError::io("write", &path))?;
    sink.fell_back = fell_back;
    Ok(())
}

fn size_of(sink: &FilesSink, number: usize, n: u64, part: bool) -> Result<Option<u64>, SinkError> {
    let path = path(&sink.config, table_name(number), n, part);
    match sink.disk.open(&path, Mode::Read) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => {
            opened.and_then(|file| file.size()).map(Some).map_err(SinkError::io("open", &path))
        }
    }
}

/// Whether finished files hold more than the mark says: the state is older than they are.
fn is_ahead(
    sink: &FilesSink,
    number: usize,
    files: &Files,
    place: Place,
) -> Result<bool, SinkError> {
    let newer = files.whole.last().is_some_and(|n| *n > place.n);
    let longer = files.whole.contains(&place.n)
        && size_of(sink, number, place.n, false)?.is_some_and(|size| size > place.len);
    Ok(newer || longer)
}

/// How far the state has read what rows come from.
fn next(begin: &Begin<'_>, (_, source, partition): &Of) -> u64 {
    begin.next.get(&(source.clone(), partition.clone())).copied().unwrap_or(0)
}

/// Brings one table into the state of the mark; what is there beyond it is known after a state
/// fell back.
fn resume(
    sink: &mut FilesSink,
    number: usize,
    files: &Files,
    place: Place,
    fell_back: Option<&Begin<'_>>,
    notes: &mut Vec<String>,
) -> Result<(), SinkError> {
    let name = table_name(number);
    check_length(sink, number, place, notes)?;
    let mut newest = place;
    if let Some(begin) = fell_back {
        let all: BTreeSet<u64> = files.whole.union(&files.parts).copied().collect();
        for n in all.range(place.n..) {
            let from = if *n == place.n { place.len } else { 0 };
            let part = !files.whole.contains(n);
            let file = (number, *n, part);
            newest = Place { n: *n, len: take_known(sink, begin, file, from)? };
        }
    }
    for n in &files.parts {
        let path = path(&sink.config, name, *n, true);
        if *n < newest.n {
            sink.publish(name, *n)?;
        } else if *n > newest.n || newest.len <= sink.tables[number].header.len() as u64 {
            sink.disk.remove(&path).map_err(SinkError::io("remove", &path))?;
        } else {
            let opened = sink.disk.open(&path, Mode::Write);
            let mut file = opened.map_err(SinkError::io("open", &path))?;
            // What a killed process wrote may still be on its way to the medium.
            let cut = file.set_len(newest.len).and_then(|()| file.sync());
            cut.map_err(SinkError::io("cut off", &path))?;
            sink.tables[number].file = Some(file);
        }
    }
    let table = &mut sink.tables[number];
    if table.file.is_none() {
        // Either nothing of it is there yet, or it is finished.
        let finished = files.whole.contains(&newest.n) || place.len > 0;
        newest = Place { n: newest.n + u64::from(finished), len: 0 };
    }
    (table.n, table.len) = (newest.n, newest.len);
    (table.prepared, table.stored) = (newest, newest);
    Ok(())
}

/// The file that the mark names must be as long as it says. One that is gone altogether was
/// finished and taken away by whoever reads the folder.
fn check_length(
    sink: &FilesSink,
    number: usize,
    place: Place,
    notes: &mut Vec<String>,
) -> Result<(), SinkError> {
    let size = match size_of(sink, number, place.n, true)? {
        Some(size) => Some(size),
        None => size_of(sink, number, place.n, false)?,
    };
    let path = path(&sink.config, table_name(number), place.n, false);
    match size {
        Some(size) if size < place.len => Err(SinkError::Changed {
            what: format!(
                "{} holds {size} bytes, the state says that {} were written",
                path.display(),
                place.len
            ),
        }),
        None if place.len > 0 => {
            notes.push(format!("{} is no longer there; going on with the next", path.display()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads which rows a file (table, number, whether it is a `.part`) holds from an offset on; the
/// offset behind the last whole one.
fn take_known(
    sink: &mut FilesSink,
    begin: &Begin<'_>,
    (number, n, part): (usize, u64, bool),
    from: u64,
) -> Result<u64, SinkError> {
    let (name, csv) = (table_name(number), sink.config.csv);
    let path = path(&sink.config, name, n, part);
    let file = sink.disk.open(&path, Mode::Read).map_err(SinkError::io("open", &path))?;
    let from = from.max(sink.tables[number].header.len() as u64);
    let ahead = &mut sink.ahead;
    let held = ahead.replayed.values().map(BTreeSet::len).sum::<usize>();
    let mut room = REPLAYED_MAX.saturating_sub(held);
    let take = |origin: Provenance<'_>| {
        let of = (name.to_owned(), origin.source.into_owned(), origin.partition.into_owned());
        let (from, row) = (next(begin, &of), (origin.position, origin.sub));
        let mut replayed = origin.position < from;
        if !replayed {
            let (_, high) = ahead.up_to.entry(of.clone()).or_insert((from, row));
            // Rows of a partition are there in the order of positions, but those of replays.
            replayed = row < *high;
            *high = row.max(*high);
        }
        if replayed && room > 0 && ahead.replayed.entry(of).or_default().insert(row) {
            room -= 1;
        }
    };
    known_rows(&*file, csv, from, take).map_err(SinkError::io("read", &path))
}

fn known_rows(
    file: &dyn DiskFile,
    csv: bool,
    from: u64,
    mut take: impl FnMut(Provenance<'_>),
) -> std::io::Result<u64> {
    let (len, mut at, mut end) = (file.size()?, from, from);
    let mut held: Vec<u8> = Vec::new();
    while at < len {
        let mut part = vec![0; (len - at).min(READ as u64) as usize];
        file.read_at(&mut part, at)?;
        at += part.len() as u64;
        held.extend_from_slice(&part);
        let mut used = 0;
        while let Some(row) = row_len(&held[used..], csv) {
            let Some(origin) = provenance(&held[used..used + row], csv) else {
                return Ok(end);
            };
            take(origin);
            used += row;
            end += row as u64;
        }
        held.drain(..used);
    }
    Ok(end)
}
