//! Lines in a block: where each record begins and ends.

use dataflows::batch::Span;
use memchr::{memchr_iter, memrchr};

/// The byte order mark, which some editors put at the head of a file.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Finds the complete lines of a block, at most `most` records, and says how many bytes they
/// take. Lines of nothing but blanks are passed over.
pub fn split(bytes: &[u8], head_of_file: bool, most: usize, spans: &mut Vec<Span>) -> usize {
    let Some(last) = memrchr(b'\n', bytes) else {
        return 0;
    };
    let mut start = 0;
    for end in memchr_iter(b'\n', &bytes[..=last]) {
        if spans.len() >= most {
            return start;
        }
        push(bytes, start, end, head_of_file, spans);
        start = end + 1;
    }
    start
}

/// Adds the record of one line, if it is one. `end` is where its end mark stands or would.
pub fn push(bytes: &[u8], start: usize, end: usize, head_of_file: bool, spans: &mut Vec<Span>) {
    let mut line = &bytes[start..end];
    let mut begin = start;
    if head_of_file && start == 0 && line.starts_with(MARK) {
        line = &line[MARK.len()..];
        begin = MARK.len();
    }
    if let [rest @ .., b'\r'] = line {
        line = rest;
    }
    // Nearly every line begins with a brace: one look is enough.
    if line.first().is_none_or(u8::is_ascii_whitespace) && is_blank(line) {
        return;
    }
    spans.push(Span { start: begin as u32, len: line.len() as u32 });
}

/// Nothing but ASCII blanks.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

/// Whether a line that was read without its end has not grown by what came behind it: there is its
/// end, if anything but blanks is there.
pub fn ends_line(behind: &[u8]) -> bool {
    is_blank(behind.split(|byte| *byte == b'\n').next().unwrap_or_default())
}

/// Whether a file that begins so is one array over several lines: its first line opens one that
/// it does not close. `line` is the first line that is not blank, without its end.
pub fn opens_array(line: &[u8]) -> bool {
    let line = line.strip_prefix(MARK).unwrap_or(line).trim_ascii();
    line.starts_with(b"[") && !is_json(line)
}

/// Whether it is complete JSON.
pub fn is_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Whether a text without its end is the beginning of a JSON text: it may be being written. One
/// that is wrong before its end is none.
pub fn is_half(text: &[u8]) -> bool {
    let text = text.strip_prefix(MARK).unwrap_or(text).trim_ascii_start();
    let cut = |text: &[u8]| {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err_and(|e| e.is_eof())
    };
    // A number that is cut off is wrong to the parser.
    let number = || text.last().is_some_and(|last| b"-+.eE".contains(last));
    begins(text) && (cut(text) || number() && cut(&[text, b"0"].concat()))
}

/// Whether a line without its end is a whole JSON text: an object, an array or a text, behind which
/// no more of it can come.
pub fn is_whole(line: &[u8]) -> bool {
    begins(line.strip_prefix(MARK).unwrap_or(line).trim_ascii_start()) && is_json(line)
}

fn begins(text: &[u8]) -> bool {
    text.first().is_some_and(|first| b"{[\"".contains(first))
}

/// All of a file as one record: without byte order mark and blanks around it.
pub fn trimmed(bytes: &[u8]) -> Span {
    let body = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let start = bytes.len() - body.trim_ascii_start().len();
    Span { start: start as u32, len: body.trim_ascii().len() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |bytes: &[u8], most: usize, want: &[&[u8]], taken: usize| {
            let mut spans = Vec::new();
            assert_eq!(split(bytes, true, most, &mut spans), taken, "{bytes:?}");
            let got: Vec<&[u8]> =
                spans.iter().map(|s| &bytes[s.start as usize..][..s.len as usize]).collect();
            assert_eq!(got, want, "{bytes:?}");
        };
        check(b"", 9, &[], 0);
        check(b"{}", 9, &[], 0);
        check(b"{}\n", 9, &[b"{}"], 3);
        check(b"{}\r\n[]\n{", 9, &[b"{}", b"[]"], 7);
        check(b"\n \t\r\n\r\n{}\n\n", 9, &[b"{}"], 11);
        check(b"\"\"\n", 9, &[b"\"\""], 3);
        check(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n", 9, &[b"{}", b"\xef\xbb\xbf{}"], 12);
        check(b"a\nb\nc\n", 2, &[b"a", b"b"], 4);
        check(b" {}\r\r\n", 9, &[b" {}\r"], 6);
    }

    #[test]
    fn halves() {
        let check = |line: &[u8], want: bool| assert_eq!(is_half(line), want, "{line:?}");
        check(b"{\"a\":1", true);
        check(b"\xef\xbb\xbf {\"a", true);
        check(b"[{},", true);
        check(b"\"eyJ", true);
        check(b"{\"a\":1} \r", false);
        check(b"eyJhIjox", false);
        check(b"12", false);
        check(b"  ", false);
        for cut in ["-", "48.", "1e", "1E", "-1e+", "4.5e-"] {
            check(format!("{{\"x\":{cut}").as_bytes(), true);
            check(format!("[{{\"x\": {cut}").as_bytes(), true);
        }
        check(b"{\"x\":+", false);
        check(b"{\"x\":.", false);
        check(b"{\"x\":NaN", false);
        check(b"{'a", false);
        check(b"{\"a\":1}}", false);
    }

    #[test]
    fn arrays() {
        let check = |line: &[u8], want: bool| assert_eq!(opens_array(line), want, "{line:?}");
        check(b"[", true);
        check(b" [{\"a\":1},\r", true);
        check(b"\xef\xbb\xbf[", true);
        check(b"[{\"value\":{}}]\r", false);
        check(b"[]", false);
        check(b"{", false);
        check(b"", false);
    }
}
