//! Files as the oracle sees them: one message a line, at its byte offset.

use std::path::Path;
use std::sync::Arc;

use crate::oracle::{Message, Rule, Stream};

/// The messages of a file's bytes; a last line without its end is one too. Lines of nothing but
/// blanks are none, and the end of a line may have a `\r`.
pub fn lines(bytes: &[u8], partition: &str, rule: Rule, arrived_at: i64) -> Vec<Message> {
    let (source, partition): (Arc<str>, Arc<str>) = ("input".into(), partition.into());
    let mut out = Vec::new();
    let mut position = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let payload = line.strip_suffix(b"\n").unwrap_or(line);
        let payload = payload.strip_suffix(b"\r").unwrap_or(payload);
        if payload.iter().all(u8::is_ascii_whitespace) {
            position += line.len() as u64;
            continue;
        }
        out.push(Message {
            source: source.clone(),
            partition: partition.clone(),
            position,
            payload: payload.to_vec(),
            rule,
            arrived_at,
            given: false,
        });
        position += line.len() as u64;
    }
    out
}

/// The rule of a file that `--input` reads: by its name, else the fields tell.
pub fn rule(name: &str) -> Rule {
    let of = |s: &Stream| name.split('.').next() == Some(s.name());
    Stream::ALL.into_iter().find(of).map_or(Rule::Auto, Rule::Kind)
}

/// The messages of the plain files of a folder, in the order of their names.
pub fn folder(dir: &Path, arrived_at: i64) -> Vec<Message> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("the folder can be read")
        .map(|e| e.expect("an entry").file_name().into_string().expect("a name of UTF-8"))
        .collect();
    names.sort();
    let three = ["pin.jsonl", "geo.jsonl", "user.jsonl"];
    if names.iter().any(|n| three.contains(&&**n)) {
        names.retain(|n| three.contains(&&**n));
    }
    let read = |name: &String| {
        let bytes = std::fs::read(dir.join(name)).expect("the file can be read");
        lines(&bytes, name, rule(name), arrived_at)
    };
    names.iter().flat_map(read).collect()
}
