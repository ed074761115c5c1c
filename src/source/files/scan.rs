//! What lies below the configured paths: which files, how they are packed, what rules them.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use dataflows::record::{Rule, Stream};

use crate::config::Files;
use crate::sink::files::is_sink;
use crate::source::SourceError;
use crate::source::glob::Routes;
use crate::store::is_state;

/// How a file is packed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// `.gz`: one or more gzip members.
    Gzip,
    /// `.zst`: one or more zstd frames.
    Zstd,
}

/// A file as a scan sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// The path as text, one to one.
    pub text: String,
    /// What the routes, or its name, say of it.
    pub rule: Rule,
    /// How it is packed.
    pub packing: Packing,
    /// `.json`: it may be one array over several lines.
    pub may_be_array: bool,
    /// Device and inode.
    pub inode: (u64, u64),
    /// Bytes on disk.
    pub size: u64,
    /// When it was written last, microseconds since 1970-01-01 UTC.
    pub modified: i64,
    /// By its name it would not be read: it is there because its inode is that of a known file,
    /// which may have been renamed, as when logs are rotated.
    pub renamed: bool,
}

/// What of folders is not read for its name, or for what wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many files and folders.
    pub files: usize,
    /// The names of some.
    pub some: Vec<String>,
}

impl Passed {
    fn add(&mut self, name: String) {
        self.files += 1;
        if self.some.len() < 3 {
            self.some.push(name);
        }
    }
}

/// What a scan is told besides the configuration.
pub struct Told<'a> {
    /// The source's name.
    pub source: &'a str,
    /// A path that is not there is an error; otherwise it may come.
    pub bounded: bool,
    /// Folders of our own, below which nothing is read.
    pub own: &'a [PathBuf],
    /// Whether an inode is that of a known file.
    pub is_known: &'a dyn Fn(u64) -> bool,
}

/// All files there are, by path, and what is passed over; what cannot be read is one of the
/// `troubles`.
pub fn scan(
    told: &Told<'_>,
    config: &Files,
    routes: &Routes,
    troubles: &mut Vec<String>,
) -> Result<(Vec<Seen>, Passed), SourceError> {
    let id = |path: &PathBuf| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = told.own.iter().filter_map(id).collect();
    let mut walk = Walk {
        told,
        own,
        troubles: Vec::new(),
        paths: Vec::new(),
        passed: Passed::default(),
        by_name: false,
    };
    for path in &config.paths {
        let result =
            if config.input_layout && path.is_dir() { walk.input(path) } else { walk.given(path) };
        match result {
            Ok(()) => {}
            Err(error) if told.bounded => {
                let (path, source) = (path.display(), told.source);
                let what = format!(
                    "reading {path} for source {source}: {error}; check source.{source}.paths or \
                     --input"
                );
                return Err(SourceError::Unavailable { what });
            }
            Err(error) => troubles.push(format!("reading {}: {error}", path.display())),
        }
    }
    troubles.append(&mut walk.troubles);
    let named = walk.by_name || !config.input_layout;
    let paths = walk.paths.into_iter();
    let mut seen: Vec<Seen> = paths.map(|found| look(found, routes, named)).collect();
    // Of one path the entry that is there by its name.
    seen.sort_by(|a, b| (&a.path, a.renamed).cmp(&(&b.path, b.renamed)));
    seen.dedup_by(|a, b| a.path == b.path);
    Ok((seen, walk.passed))
}

/// A file on the way, and whether its name is not why.
type Hit = (PathBuf, Metadata, bool);

/// A walk along the configured paths.
struct Walk<'a> {
    told: &'a Told<'a>,
    /// Device and inode of our own folders.
    own: HashSet<(u64, u64)>,
    /// Folders below the paths that cannot be read, each with why.
    troubles: Vec<String>,
    paths: Vec<Hit>,
    passed: Passed,
    /// The files of the streams were found by their names.
    by_name: bool,
}

impl Walk<'_> {
    /// A configured path: a file whatever its name, or the files below a folder that are JSON
    /// Lines by name.
    fn given(&mut self, path: &Path) -> io::Result<()> {
        let meta = fs::metadata(path);
        if let Ok(meta) = &meta
            && meta.is_dir()
        {
            return self.below(path, &is_json);
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let dir = path.parent().map_or(Path::new("."), |dir| {
            if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
        });
        self.renamed(dir, &name.into_iter().collect::<Vec<_>>());
        self.paths.push((path.to_owned(), meta?, false));
        Ok(())
    }

    /// `--input DIR`: the three files of the streams alone, if any is there, else all below.
    fn input(&mut self, dir: &Path) -> io::Result<()> {
        let names: Vec<String> = stream_names().collect();
        let before = self.paths.len();
        for name in &names {
            let path = dir.join(name);
            if let Ok(meta) = fs::metadata(&path)
                && meta.is_file()
            {
                self.paths.push((path, meta, false));
            }
        }
        if self.paths.len() > before {
            self.by_name = true;
            self.renamed(dir, &names);
            return Ok(());
        }
        self.below(dir, &|_| true)
    }

    /// Known files in a folder whose names are longer than these: `NAME.1` was `NAME`. They are
    /// looked for beside what is configured, so a folder that cannot be read is no error.
    fn renamed(&mut self, dir: &Path, names: &[String]) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let longer = |n: &String| name.len() > n.len() && name.starts_with(n.as_str());
            if (self.told.is_known)(entry.ino()) && names.iter().any(longer) {
                self.hit(entry.path(), true);
            }
        }
    }

    /// The files below a folder whose names are wanted, or which are known. Hidden ones, folders
    /// behind symbolic links, our own, and those of states and sinks of others are left out; what
    /// vanishes while we look is not there.
    fn below(&mut self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                let meta = fs::metadata(&path).map(|meta| (meta.dev(), meta.ino()));
                if meta.is_ok_and(|id| self.own.contains(&id)) {
                    continue;
                }
                // Another state's rows and letters are no more input than our own.
                if is_sink(&path) || is_state(&path) {
                    self.passed.add(format!("{name}/"));
                } else {
                    self.inner(&path, wanted)?;
                }
            } else if wanted(&name) {
                self.hit(path, false);
            } else if (self.told.is_known)(entry.ino()) {
                self.hit(path, true);
            } else {
                self.passed.add(name.into_owned());
            }
        }
        Ok(())
    }

    /// The same for a folder within one. Where files are followed one that cannot be read keeps
    /// nobody from the others.
    fn inner(&mut self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
        match self.below(dir, wanted) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // One of a folder further within says already which it is.
                let named = error.raw_os_error().is_none();
                let what =
                    if named { error.to_string() } else { format!("{}: {error}", dir.display()) };
                if self.told.bounded {
                    return Err(io::Error::new(error.kind(), what));
                }
                self.troubles.push(format!("reading {what}"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn hit(&mut self, path: PathBuf, renamed: bool) {
        if let Ok(meta) = fs::metadata(&path)
            && meta.is_file()
        {
            self.paths.push((path, meta, renamed));
        }
    }
}

/// The names of files of `--input` that are read alone where any of them is there.
pub fn stream_names() -> impl Iterator<Item = String> {
    let ends = ["jsonl", "jsonl.gz", "jsonl.zst"];
    Stream::ALL.iter().flat_map(move |s| ends.map(|end| format!("{}.{end}", s.name())))
}

/// How names end that are read.
const ENDS: [&str; 5] = [".jsonl", ".json", ".ndjson", ".gz", ".zst"];

fn is_json(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ENDS.iter().any(|end| name.ends_with(end))
}

/// What a renamed file was called, as far as its name says: up to the last end that is read.
fn former(path: &str) -> &str {
    let (dir, name) = path.rsplit_once('/').map_or((0, path), |(dir, name)| (dir.len() + 1, name));
    let name = name.to_ascii_lowercase();
    let ends = ENDS.iter().filter_map(|end| name.rfind(end).map(|at| dir + at + end.len()));
    &path[..ends.max().unwrap_or(path.len())]
}

fn look((path, meta, renamed): Hit, routes: &Routes, by_name: bool) -> Seen {
    let text = text(&path);
    let called = if renamed { former(&text) } else { &text };
    let name = called.rsplit_once('/').map_or(called, |(_, name)| name).to_ascii_lowercase();
    let (inner, packing) = match name.rsplit_once('.') {
        Some((inner, "gz")) => (inner, Packing::Gzip),
        Some((inner, "zst")) => (inner, Packing::Zstd),
        _ => (name.as_str(), Packing::Plain),
    };
    let stream = inner.strip_suffix(".jsonl").filter(|_| by_name).and_then(Stream::from_name);
    let rule = routes.rule(called).or(stream.map(Rule::Kind)).unwrap_or(Rule::Auto);
    let modified = meta.mtime().saturating_mul(1_000_000).saturating_add(meta.mtime_nsec() / 1000);
    Seen {
        text,
        rule,
        packing,
        may_be_array: has_extension(inner, "json"),
        inode: (meta.dev(), meta.ino()),
        size: meta.len(),
        modified,
        path,
        renamed,
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// A path as text, one to one: `%XX` stands for bytes that are no UTF-8, control characters,
/// `%` and `#`. A leading `./` says nothing and is left out.
pub fn text(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let bytes = bytes.strip_prefix(b"./").unwrap_or(bytes);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c == '#' || c.is_control() {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|b| escape(&mut out, b));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| escape(&mut out, *b));
    }
    out
}

fn escape(out: &mut String, byte: u8) {
    let digits = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(digits[usize::from(byte >> 4)]));
    out.push(char::from(digits[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn names_are_one_to_one() {
        let check = |bytes: &[u8], want: &str| {
            assert_eq!(text(Path::new(OsStr::from_bytes(bytes))), want);
        };
        check(b"./a/pin.jsonl", "a/pin.jsonl");
        check(b"/a/b", "/a/b");
        check("a/\u{e9}#2".as_bytes(), "a/\u{e9}%232");
        check(b"a%41\n\xff", "a%2541%0A%FF");
    }

    #[test]
    fn rules_and_packings_come_from_names() {
        let meta = fs::metadata(".").expect("here");
        let check = |path: &str, rule: Rule, packing: Packing, array: bool| {
            let seen = look((path.into(), meta.clone(), false), &Routes::default(), true);
            assert_eq!(
                (seen.rule, seen.packing, seen.may_be_array),
                (rule, packing, array),
                "{path}"
            );
        };
        let pin = Rule::Kind(Stream::Pin);
        check("x/pin.jsonl", pin, Packing::Plain, false);
        check("x/PIN.JSONL", pin, Packing::Plain, false);
        check("x/user.jsonl.gz", Rule::Kind(Stream::User), Packing::Gzip, false);
        check("x/geo.jsonl.zst", Rule::Kind(Stream::Geo), Packing::Zstd, false);
        check("topics/0a1b.pin/partition=0/0a1b.pin+0+0.json", Rule::Auto, Packing::Plain, true);
        check("x/pin.json.gz", Rule::Auto, Packing::Gzip, true);
        check("x/mypin.jsonl", Rule::Auto, Packing::Plain, false);
        let auto = look(("x/pin.jsonl".into(), meta.clone(), false), &Routes::default(), false);
        assert_eq!(auto.rule, Rule::Auto);
        let renamed = |path: &str| {
            let seen = look((path.into(), meta.clone(), true), &Routes::default(), true);
            (seen.text, seen.rule, seen.packing)
        };
        for (path, rule, packing) in [
            ("x.jsonl/pin.jsonl.1", pin, Packing::Plain),
            ("x/PIN.JSONL.GZ-20261126", pin, Packing::Gzip),
            ("x.jsonl/old", Rule::Auto, Packing::Plain),
        ] {
            assert_eq!(renamed(path), (path.to_owned(), rule, packing));
        }
    }
}
