//! The fast path: one pass over the usual layout, one flat object of known keys.
//!
//! Promises: what it takes, the general parser would take to the same; everything else (nested
//! values, unknown or doubled keys, exponents, control characters, whatever is not JSON) it
//! leaves to it. No allocation.

use memchr::memchr2;

use super::wire::{SLOTS, Slot, Wire};

/// Scans a message. The object's text, with its values in `wire`; none if the message is not of
/// the usual layout, and `wire` is then of no use.
pub(super) fn scan<'a>(message: &'a [u8], wire: &mut Wire<'a>) -> Option<&'a str> {
    let message = trim(message);
    // One look at all bytes, so that no string has to be looked at again for these.
    let has_control = message.iter().fold(0, |any, b| any | u8::from(*b < 0x20)) > 0;
    if has_control || message.first() != Some(&b'{') {
        return None;
    }
    let text = str::from_utf8(message).ok()?;
    let mut scan = Scan { text, at: 1 };
    let mut guess = 0;
    scan.blanks();
    loop {
        let slot = scan.key(guess)?;
        if wire.has(slot) {
            return None;
        }
        scan.blanks();
        scan.expect(b':')?;
        scan.blanks();
        let from = scan.at;
        let escaped = scan.value()?;
        wire.put(slot, &text[from..scan.at], escaped);
        guess = slot as usize + 1;
        scan.blanks();
        match scan.next()? {
            b',' => scan.blanks(),
            b'}' => break,
            _ => return None,
        }
    }
    (scan.at == text.len()).then_some(text)
}

/// A message without JSON's white space around it.
fn trim(mut message: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = message {
        message = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = message {
        message = rest;
    }
    message
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn blanks(&mut self) {
        while self.rest().first() == Some(&b' ') {
            self.at += 1;
        }
    }

    /// A known key, most likely that of the slot `guess`.
    fn key(&mut self, guess: usize) -> Option<Slot> {
        self.expect(b'"')?;
        let rest = self.rest();
        if let Some(slot) = SLOTS.get(guess).filter(|s| s.is_at(rest)) {
            self.at += slot.name().len() + 1;
            return Some(*slot);
        }
        let end = memchr::memchr(b'"', rest)?;
        self.at += end + 1;
        // A key with an escape is not among the names.
        Slot::of(&rest[..end])
    }

    /// A value that is neither an object nor an array; whether it has an escape.
    fn value(&mut self) -> Option<bool> {
        match self.next()? {
            b'"' => return self.string(),
            first @ (b'-' | b'0'..=b'9') => self.number(first)?,
            b'n' => self.literal(b"ull")?,
            b't' => self.literal(b"rue")?,
            b'f' => self.literal(b"alse")?,
            _ => return None,
        }
        Some(false)
    }

    /// The rest of a string; whether it has an escape.
    fn string(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            let rest = self.rest();
            let at = memchr2(b'"', b'\\', rest)?;
            self.at += at + 1;
            if rest[at] == b'"' {
                return Some(escaped);
            }
            escaped = true;
            match self.next()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    let digits = self.rest().get(..4)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 4;
                }
                _ => return None,
            }
        }
    }

    /// The rest of a number without an exponent.
    fn number(&mut self, first: u8) -> Option<()> {
        let lead = if first == b'-' { self.next()? } else { first };
        match lead {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.rest().first() == Some(&b'.') {
            self.at += 1;
            let from = self.at;
            self.digits();
            if self.at == from {
                return None;
            }
        }
        Some(())
    }

    fn digits(&mut self) {
        while self.rest().first().is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.at += rest.len();
        (self.text.as_bytes().get(self.at - rest.len()..self.at)? == rest).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::general::{Shape, object, shape};
    use proptest::prelude::*;

    const ROWS: [&str; 6] = [
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
        "{}",
    ];

    const KEYS: &[&str] = &["ind", "index", "age", "title", "x", "value", "category"];
    /// A pattern of values, right and nearly right.
    const VALUE: &str = concat!(
        r"(null|true|-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][0-9])?|",
        r#""([a-z\\"/u0-9 ]|\PC){0,6}")"#
    );

    /// What the fast path takes, the general parser takes to the same. Whether it took it.
    fn agree(message: &[u8]) -> bool {
        let mut fast = Wire::new();
        let Some(found) = scan(message, &mut fast) else {
            return false;
        };
        let text = str::from_utf8(message).expect("taken, so it is text");
        assert_eq!(shape(text, 1), Shape::Json(found), "{text}");
        let (mut general, mut unknown) = (Wire::new(), Vec::new());
        assert!(object(found, &mut general, &mut unknown), "{text}");
        assert_eq!((&fast, unknown.len()), (&general, 0), "{text}");
        true
    }

    #[test]
    fn the_usual_rows_are_taken() {
        for row in &ROWS[..5] {
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
            r#"{"x":1}"#,
            r#"{"ind":{}}"#,
            r#"{"ind":[]}"#,
            r#"{"value":{"ind":1}}"#,
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
