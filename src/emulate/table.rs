//! A table of records: the lines of a file, or rows held in memory, each with its index.
//!
//! Promises: a record is given as its bytes are, without the end of its line.
//! Limits: 24 bytes a record in memory, and what rows of a database take; fewer than 2^32 records
//! a table. A file must not be changed while it is read from.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::KEYS;

/// Stands for no index; indexes are below 2^63.
const NONE: u64 = u64::MAX;
/// The byte order mark, which some editors put at the head of a file.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// How deep a row may be wrapped for its index to be seen.
const WRAPPERS_MAX: u32 = 4;
/// Bytes of a file read at a time.
const BLOCK: usize = 1 << 18;

/// The records of one stream.
#[derive(Debug)]
pub struct Table {
    store: Store,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Store {
    File(File),
    Memory(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
struct Row {
    index: u64,
    start: u64,
    len: u32,
}

impl Default for Table {
    fn default() -> Self {
        Table { store: Store::Memory(Vec::new()), rows: Vec::new() }
    }
}

impl Table {
    /// The lines of a file; blank ones are passed over.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let mut reader = BufReader::with_capacity(BLOCK, &file);
        let (mut rows, mut line, mut at) = (Vec::new(), Vec::new(), 0u64);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let skipped = if at == 0 && line.starts_with(MARK) { MARK.len() } else { 0 };
            let record = line[skipped..].trim_ascii_end();
            if !record.is_empty() {
                let len = u32::try_from(record.len()).map_err(|_| {
                    std::io::Error::other(format!("the line at byte {at} is over 4 GiB long"))
                })?;
                let index = index(record).unwrap_or(NONE);
                rows.push(Row { index, start: at + skipped as u64, len });
            }
            at += read as u64;
        }
        drop(reader);
        Ok(Table { store: Store::File(file), rows })
    }

    /// Adds a row to a table in memory.
    pub fn push(&mut self, index: Option<u64>, record: &[u8]) {
        if let Store::Memory(bytes) = &mut self.store {
            let (start, len) = (bytes.len() as u64, record.len() as u32);
            bytes.extend_from_slice(record);
            self.rows.push(Row { index: index.unwrap_or(NONE), start, len });
        }
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The index of a record; none if it names none.
    pub fn index(&self, row: usize) -> Option<u64> {
        self.rows.get(row).map(|row| row.index).filter(|index| *index != NONE)
    }

    /// Appends the bytes of a record.
    pub fn read(&self, row: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Row { start, len, .. } = self.rows[row];
        match &self.store {
            Store::Memory(bytes) => {
                out.extend_from_slice(&bytes[start as usize..][..len as usize]);
                Ok(())
            }
            Store::File(file) => {
                let from = out.len();
                out.resize(from + len as usize, 0);
                file.read_exact_at(&mut out[from..], start)
            }
        }
    }
}

/// The names that producers give the index.
#[derive(Deserialize)]
struct Named {
    index: Option<Value>,
    ind: Option<Value>,
    idx: Option<Value>,
}

/// The index that a record names: the first of `index`, `ind`, `idx` that is not null, also
/// within the wrappers that producers put around a row.
fn index(record: &[u8]) -> Option<u64> {
    let plain = serde_json::from_slice::<Named>(record).ok();
    let plain = plain.and_then(|named| natural(&named.index.or(named.ind).or(named.idx)?));
    plain.or_else(|| within(&serde_json::from_slice(record).ok()?, WRAPPERS_MAX))
}

/// The index of a wrapped row: an array of one, an object around it, or JSON in a text.
fn within(value: &Value, most: u32) -> Option<u64> {
    let most = most.checked_sub(1)?;
    match value {
        Value::Array(list) => list.first().and_then(|one| within(one, most)),
        Value::String(text) => within(&serde_json::from_str(text).ok()?, most),
        Value::Object(row) => {
            let named = KEYS.iter().find_map(|key| natural(row.get(*key)?));
            let inner = || within(row.get("value").or_else(|| row.get("index"))?, most);
            named.or_else(inner)
        }
        _ => None,
    }
}

fn natural(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        _ => return None,
    };
    (number < 1 << 63).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file_are_its_records() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pin.jsonl");
        let text =
            "\u{feff}{\"index\":7}\r\n\n  \n{\"ind\":\"8\",\"x\":[1]}\nnonsense\n{\"idx\":9}";
        std::fs::write(&path, text).expect("written");
        let table = Table::of_file(&path).expect("read");
        let record = |row| {
            let mut out = Vec::new();
            table.read(row, &mut out).expect("there");
            (table.index(row), String::from_utf8(out).expect("text"))
        };
        assert_eq!(table.len(), 4);
        assert_eq!(record(0), (Some(7), "{\"index\":7}".into()));
        assert_eq!(record(1), (Some(8), "{\"ind\":\"8\",\"x\":[1]}".into()));
        assert_eq!(record(2), (None, "nonsense".into()));
        assert_eq!(record(3), (Some(9), "{\"idx\":9}".into()));
    }

    #[test]
    fn an_index_is_a_natural_number_or_its_digits() {
        let good = [
            (r#"{"index":null,"ind":3}"#, 3),
            (r#"{"a":1,"idx":"0012"}"#, 12),
            (r#"{"ind":5,"index":6}"#, 6),
            (r#"{"index":9223372036854775807}"#, (1 << 63) - 1),
            (r#"[{"value":{"ind":7}}]"#, 7),
            (r#"{"index":{"index":8}}"#, 8),
            (r#""{\"value\":{\"idx\":9}}""#, 9),
        ];
        for (text, want) in good {
            assert_eq!(index(text.as_bytes()), Some(want), "{text}");
        }
        let bad = [
            "",
            "[]",
            "\"\"",
            r#"[[[[[{"index":1}]]]]]"#,
            r#"{"index":1.0}"#,
            r#"{"index":-1}"#,
            r#"{"index":""}"#,
            r#"{"index":9223372036854775808}"#,
            r#"{"other":1}"#,
            r#"{"index":1"#,
        ];
        for text in bad {
            assert_eq!(index(text.as_bytes()), None, "{text}");
        }
    }
}
