//! The general parser: `serde_json` tells what is JSON and where its parts lie; the judge of the
//! fast path.
//!
//! Promises: the stack stays flat however deep a text is nested (raw values are skipped over in
//! a loop, the depth is counted in another), and the time is linear.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::wire::{Slot, Wire, unescape};

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// JSON, without the white space around it. Only what is inside of an array may be nested
    /// too deeply.
    Json(&'a str),
    /// Nested too deeply.
    Deep,
    /// Not JSON.
    Garbage,
}

/// Tells what a text is. The elements of an array are judged one by one, by [`is_deep`].
pub(super) fn shape(text: &str, max_depth: usize) -> Shape<'_> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if !raw.get().starts_with('[') && is_deep(raw.get(), max_depth) => Shape::Deep,
        Ok(raw) => Shape::Json(raw.get()),
        Err(error) if is_deep(before(text, &error), max_depth) => Shape::Deep,
        Err(_) => Shape::Garbage,
    }
}

/// The text before the place of an error.
fn before<'a>(text: &'a str, error: &serde_json::Error) -> &'a str {
    let mut start = 0;
    for _ in 1..error.line() {
        start += memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(0, |at| at + 1);
    }
    let end = (start + error.column()).min(text.len());
    text.get(..end).unwrap_or(text)
}

/// Whether arrays and objects stand in each other more than `max` deep.
pub(super) fn is_deep(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// Takes a JSON object apart: known keys into `wire`, the names of the others into `unknown`
/// (at most [`UNKNOWN_MAX`]).
pub(super) fn object<'a>(json: &'a str, wire: &mut Wire<'a>, unknown: &mut Vec<&'a str>) -> bool {
    let mut de = serde_json::Deserializer::from_str(json);
    Keys { wire, unknown }.deserialize(&mut de).is_ok()
}

/// Unknown names of one record that are looked at.
const UNKNOWN_MAX: usize = 256;

struct Keys<'w, 'a> {
    wire: &'w mut Wire<'a>,
    unknown: &'w mut Vec<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Keys<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (key, value) = (key.get(), value.get());
            let slot = unescape(key).and_then(|name| Slot::of(name.as_bytes()));
            if let Some(slot) = slot {
                let escaped = memchr::memchr(b'\\', value.as_bytes()).is_some();
                self.wire.put(slot, value, escaped);
            } else if self.unknown.len() < UNKNOWN_MAX {
                self.unknown.push(&key[1..key.len() - 1]);
            }
        }
        Ok(())
    }
}

/// The elements of a JSON array, each without the white space around it.
pub(super) fn elements(json: &str) -> Vec<&str> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                out.push(element.get());
            }
            Ok(out)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_seq(Elements).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth() {
        for (text, max, want) in [
            ("1", 0, false),
            ("{}", 0, true),
            ("{}", 1, false),
            (r#"{"a":[{}]}"#, 2, true),
            (r#"{"a":[{}]}"#, 3, false),
            (r#"["[[[[","\"[["]"#, 1, false),
            ("[[]]", 1, true),
            ("[[],[],[]]", 2, false),
            ("]]]][[", 2, false),
        ] {
            assert_eq!(is_deep(text, max), want, "{text}");
        }
    }

    #[test]
    fn shapes() {
        let deep = "[".repeat(10_000);
        let closed = format!("{{\"a\":{}{}}}", deep, "]".repeat(10_000));
        for (text, want) in [
            (" {} \n", Shape::Json("{}")),
            ("{} {}", Shape::Garbage),
            ("", Shape::Garbage),
            ("nul", Shape::Garbage),
            (r#""\ud800""#, Shape::Json(r#""\ud800""#)),
            ("1e999", Shape::Json("1e999")),
            ("[1,]", Shape::Garbage),
            ("01", Shape::Garbage),
            (&deep, Shape::Deep),
            (&closed, Shape::Deep),
            ("\u{feff}{}", Shape::Garbage),
            ("x[[[[[[[[[", Shape::Garbage),
            ("[\n[\n[\n[\n[\n[", Shape::Deep),
            ("[[[[[[[]]]]]]]", Shape::Json("[[[[[[[]]]]]]]")),
            ("\u{a0}{}", Shape::Garbage),
        ] {
            assert_eq!(shape(text, 5), want, "{text}");
        }
    }
}
