//! Where a row that is already in a file came from, read from its provenance columns.

use std::borrow::Cow;

use serde::Deserialize;

/// Where a row came from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Provenance<'a> {
    /// The source's name.
    #[serde(borrow, rename = "_source")]
    pub source: Cow<'a, str>,
    /// The partition's name.
    #[serde(borrow, rename = "_partition")]
    pub partition: Cow<'a, str>,
    /// The message's position.
    #[serde(rename = "_position")]
    pub position: u64,
    /// The record's number within the message.
    #[serde(rename = "_sub")]
    pub sub: u32,
}

/// The length of the first row with its line end; none if it has no end. Line ends within CSV
/// quotes are part of the row.
pub fn row_len(bytes: &[u8], csv: bool) -> Option<usize> {
    if !csv {
        return memchr::memchr(b'\n', bytes).map(|end| end + 1);
    }
    let mut quoted = false;
    for at in memchr::memchr2_iter(b'"', b'\n', bytes) {
        match bytes[at] {
            b'"' => quoted = !quoted,
            _ if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Reads a row's provenance; none if it is not a whole row.
pub fn provenance(row: &[u8], csv: bool) -> Option<Provenance<'_>> {
    if csv { from_csv(row) } else { serde_json::from_slice(row).ok() }
}

fn from_csv(row: &[u8]) -> Option<Provenance<'_>> {
    let row = std::str::from_utf8(row).ok()?.trim_end_matches(['\n', '\r']);
    let mut starts = vec![0];
    let mut quoted = false;
    for (at, byte) in row.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => starts.push(at + 1),
            _ => {}
        }
    }
    let count = starts.len().checked_sub(5)?;
    let field = |n: usize| {
        let start = starts[count + n];
        let end = starts.get(count + n + 1).map_or(row.len(), |next| next - 1);
        unquoted(&row[start..end])
    };
    Some(Provenance {
        source: field(0),
        partition: field(1),
        position: field(2).parse().ok()?,
        sub: field(3).parse().ok()?,
    })
}

fn unquoted(field: &str) -> Cow<'_, str> {
    match field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if inner.contains("\"\"") => inner.replace("\"\"", "\"").into(),
        Some(inner) => inner.into(),
        None => field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_where_they_came_from() {
        let check = |row: &str, csv: bool, expected: Option<(&str, &str, u64, u32)>| {
            let found = provenance(row.as_bytes(), csv);
            let found = found.as_ref().map(|p| (&*p.source, &*p.partition, p.position, p.sub));
            assert_eq!(found, expected, "{row}");
        };
        let json = r#"{"ind":1,"x":null,"_source":"s","_partition":"a\"b","_position":7,"_sub":2}"#;
        check(json, false, Some(("s", "a\"b", 7, 2)));
        check(r#"{"ind":1}"#, false, None);
        check("{\"_source", false, None);
        check("1,\"a,\"\"b\n\",,s,\"p,\"\"q\",12,3,2020-01-01T00:00:00Z\n", true, {
            Some(("s", "p,\"q", 12, 3))
        });
        check("1,2,3\n", true, None);
        check("s,p,x,3,t\n", true, None);
    }

    #[test]
    fn a_row_ends_at_its_line_end() {
        assert_eq!(row_len(b"ab\ncd", false), Some(3));
        assert_eq!(row_len(b"ab", false), None);
        assert_eq!(row_len(b"a,\"x\ny\",b\nc", true), Some(10));
        assert_eq!(row_len(b"a,\"x\ny", true), None);
    }
}
