//! What damage means, in sentences, and putting a state folder in order after it.
//!
//! Promises: nothing damaged is deleted: it is moved to, or copied into, `damaged/` in the state
//! folder, for a person to look at and to remove. What only an interrupted write left behind is
//! removed without a word.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::cut::{Head, Restored};
use super::disk::{self, Disk, Mode};
use super::error::{StoreError, io_error};
use super::frame::{self, Section};
use super::ledger::Ledger;
use super::log::{generation_dir, generation_of, texts_of};
use super::manifest::{self, Found};
use super::recover::{Choice, Part, State, Survey};

/// The folder that damaged files are put aside into.
pub const ASIDE: &str = "damaged";

/// Reads a chain of files into one restored state.
pub fn load(disk: &dyn Disk, chain: &[Part]) -> Result<(Restored, Ledger), StoreError> {
    let mut restored = Restored::default();
    let mut ledger = Ledger::default();
    let mut seen = std::collections::HashSet::new();
    for part in chain {
        let failed = || io_error("read back", &part.path);
        let file = disk.open(&part.path, Mode::Read).map_err(failed())?;
        for at in &part.frames {
            let take = |section, bytes: Vec<u8>| -> Result<(), String> {
                match section {
                    Section::Start => {}
                    Section::Head => {
                        let head = serde_json::from_slice::<Head>(&bytes);
                        restored.head.merge(&head.map_err(|e| e.to_string())?);
                    }
                    Section::Texts => texts_of(&bytes, |number, text| {
                        if seen.insert(number) {
                            restored.texts.push((number, text.to_owned()));
                        }
                    })?,
                    Section::Ledger => ledger.add(&bytes)?,
                    Section::Slots => restored.slots.push(bytes),
                }
                Ok(())
            };
            frame::read_chunks(&*file, at, take).map_err(failed())?;
        }
    }
    restored.ledger = ledger.encode_blocks(1 << 20);
    Ok((restored, ledger))
}

/// Says what is damaged and what that means for a state that was restored up to `head`.
pub fn assess(survey: &Survey, choice: &Choice, head: &Head) -> (Vec<String>, bool) {
    let mut damage = damaged_files(survey, choice);
    for why in &choice.refused {
        if !damage.contains(why) && survey.promise().is_none_or(|m| m.cut > head.cut) {
            damage.push(why.clone());
        }
    }
    if survey.is_first_cut() {
        return (damage, false);
    }
    match &survey.manifest {
        Found::Missing => damage.push("manifest.json is gone".to_owned()),
        Found::Damaged(why) => damage.push(format!("manifest.json is damaged: {why}")),
        Found::Good(_) => {}
    }
    let fell_back = survey.promise().is_none_or(|manifest| manifest.cut > head.cut);
    let here = format!("cut {} (epoch {}, clock {})", head.cut, head.epoch, utc(head.now));
    match survey.promise() {
        Some(manifest) if fell_back => damage.push(format!(
            "cuts {} to {} are lost; the state is that of {here}, and what came after it is read \
             again from the sources",
            head.cut + 1,
            manifest.cut
        )),
        None => damage.push(format!(
            "the newest undamaged cut in the files is {here}; whether later ones are lost cannot \
             be told, and what came after it is read again from the sources"
        )),
        Some(_) if !damage.is_empty() => {
            damage.push(format!("nothing is lost: the state is that of {here}"));
        }
        Some(_) => {}
    }
    (damage, fell_back)
}

fn utc(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// One sentence for each file that is not as it was written.
fn damaged_files(survey: &Survey, choice: &Choice) -> Vec<String> {
    let mut damage = Vec::new();
    let promise = survey.promise();
    if let Some(promise) = promise {
        for number in promise.oldest..=promise.generation {
            if !survey.generations.contains_key(&number) {
                damage.push(format!("the folder of generation {number} is gone"));
            }
        }
    }
    for (number, generation) in &survey.generations {
        let owed = |m: &manifest::Manifest| (m.oldest..=m.generation).contains(number);
        match &generation.base {
            State::Bad { why, .. } => {
                damage.push(format!("generation {number}: its base is damaged: {why}"));
            }
            State::Missing if promise.is_some_and(|m| m.bases.contains(number)) => {
                damage.push(format!("generation {number}: its base is gone"));
            }
            _ => {}
        }
        match &generation.log {
            State::Bad { why, torn } if !torn || promise.is_none_or(owed) => {
                damage.push(format!("generation {number}: its log is damaged: {why}"));
            }
            State::Missing if promise.is_some_and(owed) => {
                damage.push(format!("generation {number}: its log is gone"));
            }
            State::Good { part, .. } if log_is_damaged(survey, choice, part) => {
                damage.push(format!(
                    "generation {number}: its log is damaged behind byte {}",
                    part.len
                ));
            }
            _ => {}
        }
    }
    damage
}

/// Whether a log that is good up to `part.len` should be longer, or ends in more than what an
/// interrupted write leaves.
fn log_is_damaged(survey: &Survey, choice: &Choice, part: &Part) -> bool {
    let Some(State::Good { tail, torn, .. }) =
        survey.generations.get(&part.generation).map(|g| &g.log)
    else {
        return true;
    };
    let mut priors = survey.logs().filter_map(|(start, _)| start.prior);
    let continued = priors.find(|prior| prior.generation == part.generation).map(|p| p.len);
    if let Some(len) = continued {
        return part.len < len;
    }
    let newest = choice.chain.last().is_some_and(|p| p.generation == part.generation);
    match survey.promise() {
        Some(m) if m.generation == part.generation => part.len < m.log_bytes || !torn,
        Some(m) => !torn || (*tail > 0 && m.generation > part.generation && newest),
        None => *tail > 0 && !survey.is_first_cut(),
    }
}

/// Puts aside what is damaged and removes what interrupted writes left, so that the files of the
/// chosen chain are all that counts.
pub fn tidy(
    disk: &dyn Disk,
    dir: &Path,
    survey: &Survey,
    choice: &Choice,
) -> Result<(), StoreError> {
    let newest = choice.chain.last().map_or(0, |part| part.generation);
    for (number, generation) in survey.generations.iter().filter(|(_, g)| !g.is_idle()) {
        let folder = generation_dir(dir, *number);
        if *number > newest {
            let empty = |file: &State| match file {
                State::Missing => true,
                State::Good { part, .. } => part.frames.is_empty(),
                State::Bad { torn, .. } => *torn,
            };
            let promised = survey.promise().is_some_and(|m| m.generation >= *number);
            if !promised && empty(&generation.log) && empty(&generation.base) {
                disk::remove_all(disk, &folder).map_err(io_error("remove", &folder))?;
            } else {
                put_aside(disk, dir, &folder, &format!("gen-{number:06}"))?;
            }
            continue;
        }
        for (file, name) in [(&generation.log, "log"), (&generation.base, "base")] {
            let (path, name) = (folder.join(name), format!("gen-{number:06}-{name}"));
            match file {
                State::Bad { .. } => put_aside(disk, dir, &path, &name)?,
                State::Good { part, .. } if !part.base && log_is_damaged(survey, choice, part) => {
                    copy_aside(disk, dir, &path, &name)?;
                }
                _ => {}
            }
        }
    }
    if matches!(survey.manifest, Found::Damaged(_)) {
        put_aside(disk, dir, &dir.join(manifest::NAME), manifest::NAME)?;
    }
    remove_leftovers(disk, dir).map_err(io_error("remove leftovers in", dir))
}

/// Removes temporary files and generations whose removal was under way.
fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for name in disk::list_if_there(disk, dir)? {
        let path = dir.join(&name);
        if name.starts_with("old-") {
            disk::remove_all(disk, &path)?;
        } else if name == "manifest.tmp" {
            disk.remove(&path)?;
        } else if generation_of(&name).is_some() {
            for inner in disk.list(&path)? {
                if Path::new(&inner).extension().is_some_and(|ext| ext == "tmp") {
                    disk.remove(&path.join(inner))?;
                }
            }
        }
    }
    Ok(())
}

/// A path in the folder for damaged files that nothing has yet.
fn aside(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<PathBuf> {
    let folder = dir.join(ASIDE);
    disk.create_dir(&folder)?;
    let taken: BTreeSet<String> = disk.list(&folder)?.into_iter().collect();
    let free = (0..).map(|n| if n == 0 { name.to_owned() } else { format!("{name}.{n}") });
    let free = free.into_iter().find(|name| !taken.contains(name));
    Ok(folder.join(free.expect("an endless range")))
}

fn put_aside(disk: &dyn Disk, dir: &Path, path: &Path, name: &str) -> Result<(), StoreError> {
    let moved = || disk.rename(path, &aside(disk, dir, name)?);
    moved().map_err(io_error("put aside the damaged", path))
}

fn copy_aside(disk: &dyn Disk, dir: &Path, path: &Path, name: &str) -> Result<(), StoreError> {
    let copied = || {
        let from = disk.open(path, Mode::Read)?;
        let mut to = disk.open(&aside(disk, dir, name)?, Mode::Create)?;
        let (mut at, len) = (0, from.size()?);
        while at < len {
            let mut part = vec![0; (len - at).min(1 << 20) as usize];
            from.read_at(&mut part, at)?;
            to.write_at(&part, at)?;
            at += part.len() as u64;
        }
        to.sync()
    };
    copied().map_err(io_error("copy the damaged", path))
}
