//! What lies below the configured paths: which files, how they are packed, what rules them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dataflows::record::{Rule, Stream};

use crate::config::Files;
use crate::source::SourceError;
use crate::source::glob::Routes;

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
}

/// All files there are, by path. A path that is not there is an error only in a bounded run:
/// otherwise it may come, and is one of the `troubles`.
pub fn scan(
    source: &str,
    config: &Files,
    routes: &Routes,
    bounded: bool,
    troubles: &mut Vec<String>,
) -> Result<Vec<Seen>, SourceError> {
    let mut paths = Vec::new();
    let mut by_name = false;
    for path in &config.paths {
        let result = if config.input_layout && path.is_dir() {
            input(path, &mut paths, &mut by_name)
        } else {
            given(path, &mut paths)
        };
        match result {
            Ok(()) => {}
            Err(error) if bounded => {
                let path = path.display();
                let what = format!(
                    "reading {path} for source {source}: {error}; check source.{source}.paths or \
                     --input"
                );
                return Err(SourceError::Unavailable { what });
            }
            Err(error) => troubles.push(format!("reading {}: {error}", path.display())),
        }
    }
    let named = by_name || !config.input_layout;
    let mut seen: Vec<Seen> =
        paths.into_iter().map(|(path, meta)| look(path, &meta, routes, named)).collect();
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    seen.dedup_by(|a, b| a.path == b.path);
    Ok(seen)
}

type Paths = Vec<(PathBuf, Metadata)>;

/// A configured path: a file whatever its name, or the files below a folder that are JSON Lines
/// by name.
fn given(path: &Path, paths: &mut Paths) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if meta.is_dir() {
        return below(path, &is_json, paths);
    }
    paths.push((path.to_owned(), meta));
    Ok(())
}

/// `--input DIR`: the three files of the streams alone, if any is there, else all below.
fn input(dir: &Path, paths: &mut Paths, by_name: &mut bool) -> io::Result<()> {
    let before = paths.len();
    for stream in Stream::ALL {
        for end in ["jsonl", "jsonl.gz", "jsonl.zst"] {
            let path = dir.join(format!("{}.{end}", stream.name()));
            if let Ok(meta) = fs::metadata(&path)
                && meta.is_file()
            {
                paths.push((path, meta));
            }
        }
    }
    if paths.len() > before {
        *by_name = true;
        return Ok(());
    }
    below(dir, &|_| true, paths)
}

/// The files below a folder whose names are wanted. Hidden ones and folders behind symbolic
/// links are left out; what vanishes while we look is not there.
fn below(dir: &Path, wanted: &dyn Fn(&str) -> bool, paths: &mut Paths) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            match below(&path, wanted, paths) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else if wanted(&name)
            && let Ok(meta) = fs::metadata(&path)
            && meta.is_file()
        {
            paths.push((path, meta));
        }
    }
    Ok(())
}

fn is_json(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".jsonl", ".json", ".ndjson", ".gz", ".zst"].iter().any(|end| name.ends_with(end))
}

fn look(path: PathBuf, meta: &Metadata, routes: &Routes, by_name: bool) -> Seen {
    let text = text(&path);
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let (inner, packing) = match name.rsplit_once('.') {
        Some((inner, "gz")) => (inner, Packing::Gzip),
        Some((inner, "zst")) => (inner, Packing::Zstd),
        _ => (name.as_str(), Packing::Plain),
    };
    let stream = inner.strip_suffix(".jsonl").filter(|_| by_name).and_then(Stream::from_name);
    let rule = routes.rule(&text).or(stream.map(Rule::Kind)).unwrap_or(Rule::Auto);
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
            let seen = look(path.into(), &meta, &Routes::default(), true);
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
        let auto = look("x/pin.jsonl".into(), &meta, &Routes::default(), false);
        assert_eq!(auto.rule, Rule::Auto);
    }
}
