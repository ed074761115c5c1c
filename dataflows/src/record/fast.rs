//! The fast path: where strings may end and whether all is UTF-8 is found out for a whole block of
//! messages; then one pass over each that has the usual layout, one flat object of known keys, or
//! another one over each that has other keys or nested values too.
//!
//! Promises: what it takes, the general parser would take to the same; everything else (doubled
//! known keys, many unknown ones, exponents, control characters, deep nesting, whatever is not
//! JSON) it leaves to it. No allocation but for [`Marks`], whose room is used again, and for what
//! `serde_json` takes to look at a nested value.

use std::ops::Range;

use memchr::{memchr, memchr2_iter};
use serde::de::IgnoredAny;
use smallvec::SmallVec;

use super::bytes::Marks;
use super::number::digits_at_head;
use super::wire::{Bits, SLOTS, Slot, Wire};

/// Bytes that messages lie in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    /// The same, if all of it is UTF-8; else each message is looked at by itself.
    text: Option<&'a str>,
}

impl<'a> Block<'a> {
    /// Looks at all of it, once; the marks are those that [`scan`] is to be given.
    pub(super) fn new(bytes: &'a [u8], marks: &mut Marks) -> Self {
        marks.find(bytes);
        Block { bytes, text: simdutf8::basic::from_utf8(bytes).ok() }
    }

    /// A part of it.
    #[inline]
    pub(super) fn part(&self, at: Range<usize>) -> &'a [u8] {
        &self.bytes[at]
    }

    /// Where a part of it lies.
    pub(super) fn place(&self, part: &str) -> Range<usize> {
        let from = part.as_ptr().addr() - self.bytes.as_ptr().addr();
        from..from + part.len()
    }

    /// A part of it, if that is UTF-8 by itself.
    #[inline]
    fn text(&self, at: Range<usize>) -> Option<&'a str> {
        match self.text {
            Some(text) => text.get(at),
            None => simdutf8::basic::from_utf8(&self.bytes[at]).ok(),
        }
    }
}

/// The names of unknown keys, as they stand; a message with more of them is left.
pub(super) type Unknown<'a> = SmallVec<[&'a str; 8]>;

/// Scans the message at a place of a block and puts its object with its values into `wire`, which
/// is of no use if the message is not of the usual layout: then none.
///
/// If it is `PASSING`, keys may be unknown, whose names go into `unknown`, and values nested
/// (objects and arrays within each other, the message among them, at most `depth`). Else both are
/// left: the two are compiled apart, so that messages without do not pay for it.
#[inline]
pub(super) fn scan<'a, const PASSING: bool>(
    block: Block<'a>,
    at: Range<usize>,
    marks: &Marks,
    depth: usize,
    wire: &mut Wire<'a>,
    unknown: &mut Unknown<'a>,
) -> Option<()> {
    let Range { start, end } = trim(block.bytes, at);
    let bytes = &block.bytes[..end];
    if bytes.get(start) != Some(&b'{') {
        return None;
    }
    wire.set_text(block.text(start..end)?);
    let mut scan = Scan::<PASSING> { bytes, at: start + 1, marks, depth, name: 0..0 };
    let (mut guess, mut bits) = (0, Bits::default());
    loop {
        let key = scan.key(guess)?;
        scan.blanks();
        let from = scan.at;
        let escaped = scan.value()?;
        if let Key::Known(slot) = key {
            if !bits.add(slot, escaped) {
                return None;
            }
            wire.put_raw(slot, from - start, scan.at - start);
            guess = slot as usize + 1;
        } else {
            if unknown.len() == unknown.inline_size() {
                return None;
            }
            unknown.push(&wire.text()[scan.name.start - start..scan.name.end - start]);
        }
        if !scan.more()? {
            wire.set_bits(bits);
            return (scan.at == end).then_some(());
        }
    }
}

/// Where a message lies without JSON's white space around it.
#[inline]
fn trim(bytes: &[u8], mut at: Range<usize>) -> Range<usize> {
    let is_blank = |at: usize| matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r');
    while !at.is_empty() && is_blank(at.start) {
        at.start += 1;
    }
    while !at.is_empty() && is_blank(at.end - 1) {
        at.end -= 1;
    }
    at
}

/// A key that was met.
enum Key {
    Known(Slot),
    /// Its name lies at [`Scan::name`].
    Unknown,
}

/// A place in a block up to the end of a message: what is behind it has not been looked at yet.
struct Scan<'a, const PASSING: bool> {
    bytes: &'a [u8],
    at: usize,
    /// Of the whole block, so that one may lie behind the message.
    marks: &'a Marks,
    depth: usize,
    /// Where the name of the key lies that was not guessed last.
    name: Range<usize>,
}

impl<const PASSING: bool> Scan<'_, PASSING> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// A key and the colon behind it, most likely those of the slot `guess`.
    #[inline]
    fn key(&mut self, guess: usize) -> Option<Key> {
        if let Some(slot) = SLOTS.get(guess)
            && let Some(rest) = slot.behind(self.rest())
        {
            self.at = self.bytes.len() - rest.len();
            return Some(Key::Known(*slot));
        }
        self.blanks();
        self.expect(b'"')?;
        self.name = self.at..self.marks.from(self.at);
        let slot = Slot::of(self.bytes.get(self.name.clone())?);
        if !PASSING && slot.is_none() {
            return None;
        }
        self.at = self.name.end;
        // A key with an escape ends here: what its name is the general parser tells.
        self.expect(b'"')?;
        self.blanks();
        self.expect(b':')?;
        Some(slot.map_or(Key::Unknown, Key::Known))
    }

    /// Whether another field follows, or the object ends.
    #[inline]
    fn more(&mut self) -> Option<bool> {
        self.blanks();
        match self.next()? {
            b',' => {
                self.blanks();
                Some(true)
            }
            b'}' => Some(false),
            _ => None,
        }
    }

    /// A value, but an object or an array only if it may be; whether it has an escape.
    #[inline]
    fn value(&mut self) -> Option<bool> {
        match self.next()? {
            b'"' => return self.string(),
            first @ (b'-' | b'0'..=b'9') => self.number(first)?,
            b'n' => self.literal(b"ull")?,
            b't' => self.literal(b"rue")?,
            b'f' => self.literal(b"alse")?,
            b'{' | b'[' if PASSING => return self.nested(),
            _ => return None,
        }
        Some(false)
    }

    /// An object or an array, which `serde_json` looks at; whether it has an escape.
    fn nested(&mut self) -> Option<bool> {
        self.at -= 1;
        let (bytes, from) = (self.bytes, self.at);
        let rest = &bytes[from..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let value = &rest[..values.byte_offset()];
        self.at += value.len();
        // So many cannot lie too deep within each other; more are left.
        let few = memchr2_iter(b'{', b'[', value).count() < self.depth;
        few.then(|| memchr(b'\\', value).is_some())
    }

    /// The rest of a string; whether it has an escape.
    #[inline]
    fn string(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            self.at = self.marks.from(self.at);
            // Behind the message there is none.
            match self.next()? {
                b'"' => return Some(escaped),
                b'\\' => self.escape()?,
                _ => return None,
            }
            escaped = true;
        }
    }

    /// The rest of an escape.
    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' => {
                let digits = self.rest().first_chunk::<4>()?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += digits.len();
            }
            _ => return None,
        }
        Some(())
    }

    /// The rest of a number without an exponent.
    #[inline]
    fn number(&mut self, first: u8) -> Option<()> {
        let lead = if first == b'-' { self.next()? } else { first };
        match lead {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.next()?.is_ascii_digit() {
                return None;
            }
            self.digits();
        }
        Some(())
    }

    #[inline]
    fn digits(&mut self) {
        // Most numbers end within eight bytes: no loop whose end the processor must guess.
        while let Some(word) = self.rest().first_chunk() {
            let digits = digits_at_head(u64::from_le_bytes(*word));
            self.at += digits;
            if digits < 8 {
                return;
            }
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.at = self.bytes.len() - self.rest().strip_prefix(rest)?.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::general::{Shape, object, shape};
    use proptest::prelude::*;

    const ROWS: [&str; 8] = [
        concat!(
            r#"{"index":2,"unique_id":"f0c7","title":"Art \u2026 \"x\"","#,
            r#""description":"d\ud83d\ude00\n","#,
            r#""poster_name":"H\/W","follower_count":"7M","tag_list":"a,b","#,
            r#""is_image_or_video":"image","image_src":"https://i/3b.jpg","downloaded":1,"#,
            r#""save_location":"Local save in /data/art","category":"art"}"#
        ),
        concat!(
            r#"{"ind":0,"timestamp":"2019-01-01 07:21:13","latitude":-88.8298,"#,
            r#""longitude":-170.188,"country":"Albania"}"#
        ),
        concat!(
            r#"{"ind": 0, "first_name": "Adam", "last_name": null, "age": 20, "#,
            r#""date_joined": "2015-10-21T21:26:45"}"#
        ),
        "{\"idx\":12,\"country\":\"\u{e9}\u{1f600}\",\"longitude\":0.10,\"latitude\":true}\n",
        r#" { "ind" : "12" , "first_name":"","date_joined":false } "#,
        "{\"x\":1,\"ind\":0,\"sent_at\": \"a\\n\",\"country\":\"B\",\"\u{e9}\":null,\"x\":-0.5}",
        concat!(
            r#"{"meta":{"a":[{}, "\\]"]},"ind":7,"tag_list":["x",1e3],"#,
            r#""value":{"ind":{"x":[]}}}"#
        ),
        "{}",
    ];

    /// So deep values may be nested.
    const DEPTH: usize = 4;

    const KEYS: &[&str] = &["ind", "index", "age", "title", "x", "value", "category"];
    /// A pattern of values, right and nearly right.
    const VALUE: &str = concat!(
        r"(null|true|\[\]|[\[\{][\[\{]?(1|\x22[ab]\x22:2|\x22\\)?[\]\}]?[\]\}]|",
        r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][0-9])?|",
        r#""([a-z\\"/u0-9 ]|\PC){0,6}")"#
    );

    /// What the fast path takes, the general parser takes to the same. Whether it took it. What
    /// lies around a message in its block changes nothing, be it text or not.
    fn agree(message: &[u8]) -> bool {
        let took = agree_within(b"", message, b"");
        for (before, behind) in [
            (&b"{}\n"[..], &b"\n\"0,"[..]),
            (b"\xc3", b"\xa9"),
            (b"", b"\xa9"),
            (b"\\", b"99999999"),
            (&[b'"'; 70], &[b'}'; 3]),
        ] {
            let within = agree_within(before, message, behind);
            assert_eq!(within, took, "{:?}", String::from_utf8_lossy(message));
        }
        took
    }

    fn agree_within(before: &[u8], message: &[u8], behind: &[u8]) -> bool {
        let (block, mut marks) = ([before, message, behind].concat(), Marks::default());
        let all = Block::new(&block, &mut marks);
        let (mut fast, mut passed) = (Wire::new(""), Unknown::new());
        let place = before.len()..before.len() + message.len();
        let known = scan::<false>(all, place.clone(), &marks, 1, &mut fast, &mut passed).is_some();
        let alone = fast.clone();
        if scan::<true>(all, place, &marks, DEPTH, &mut fast, &mut passed).is_none() {
            assert!(!known);
            return false;
        }
        assert!(!known || alone == fast && passed.is_empty());
        let found = fast.text();
        let text = str::from_utf8(message).expect("taken, so it is text");
        assert_eq!(shape(text, DEPTH), Shape::Json(found), "{text}");
        let (mut general, mut unknown) = (Wire::new(found), Vec::new());
        assert!(object(found, &mut general, &mut unknown), "{text}");
        assert_eq!((&fast, &*passed), (&general, &*unknown), "{text}");
        true
    }

    #[test]
    fn the_usual_rows_are_taken() {
        for row in &ROWS[..7] {
            assert!(agree(row.as_bytes()), "{row}");
        }
    }

    #[test]
    fn the_rest_is_left() {
        for row in [
            "{}",
            "",
            "{",
            r#"{"ind":1"#,
            r#"{"ind":1,}"#,
            r#"{"ind":01}"#,
            r#"{"ind":1.}"#,
            r#"{"ind":-}"#,
            r#"{"ind":1e3}"#,
            r#"{"ind":1,"ind":2}"#,
            r#"{"in\u0064":1}"#,
            r#"{"\u0078":1}"#,
            r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}"#,
            r#"{"ind":[[[[]]]]}"#,
            r#"{"x":[{},{},{},{}]}"#,
            r#"{"x":[1,]}"#,
            r#"{"x":{"a" 1}}"#,
            r#"{"x":[}"#,
            r#"{"value":{"ind":1}"#,
            r#"{"ind":1}}"#,
            r#"{"ind":1}{"#,
            r#"{"ind":nul}"#,
            r#"{"ind":"\x"}"#,
            r#"{"ind":"\u12"}"#,
            r#"{"ind":"\u12g4"}"#,
            r#"{"ind":"a"#,
            r#"{"ind":"a\"#,
            "{\"ind\":\"a\tb\"}",
            "{\"ind\":1}\x0c",
            "\u{feff}{\"ind\":1}",
            r#"[{"ind":1}]"#,
            r#"{"ind" 1}"#,
            r#"{"ind":1 "age":2}"#,
            r"{ind:1}",
            "{\"ind\":\n1}",
        ] {
            assert!(!agree(row.as_bytes()), "{row}");
        }
        assert!(!agree(b"{\"ind\":\"\xff\"}"));
        // With what lies behind it is text.
        assert!(!agree(b"{\"ind\":1}\xc3"));
    }

    /// Bytes that matter to a parser, more often than others.
    fn byte() -> impl Strategy<Value = u8> {
        let telling = br#""\{}[]:, -+.eEuntf0129/"#.to_vec();
        prop_oneof![4 => prop::sample::select(telling), 1 => any::<u8>(), 1 => 0_u8..0x21]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn mutated_rows_are_judged_alike(
            row in prop::sample::select(&ROWS[..]),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, byte()), 0..5),
        ) {
            let mut message = row.as_bytes().to_vec();
            for (at, kind, byte) in edits {
                let at = at.index(message.len() + 1).min(message.len().saturating_sub(1));
                match kind {
                    _ if message.is_empty() => message.push(byte),
                    0 => message[at] = byte,
                    1 => message.insert(at, byte),
                    2 => drop(message.remove(at)),
                    _ => message.truncate(at.max(1)),
                }
            }
            agree(&message);
        }

        #[test]
        fn made_up_rows_are_judged_alike(
            fields in prop::collection::vec((prop::sample::select(KEYS), VALUE, " {0,2}"), 0..5),
        ) {
            let fields: Vec<String> =
                fields.iter().map(|(k, v, b)| format!("{b}\"{k}\"{b}:{v}{b}")).collect();
            agree(format!("{{{}}}", fields.join(",")).as_bytes());
        }
    }
}
