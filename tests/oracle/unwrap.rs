//! From the bytes of a message to the objects in it, or the reasons why there are none.

use serde_json::value::RawValue;

use super::clean::Reason;
use super::{Rules, kpl};

/// One record of a message: the text of its object, or why there is none, with the bytes that a
/// dead letter keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The text of the innermost object, and the bytes that a rejection keeps.
    Object(String, Vec<u8>),
    /// Nothing can be used.
    Bad(Reason, Vec<u8>),
}

/// The records of a message.
pub fn unwrap(payload: &[u8], rules: &Rules) -> Vec<Item> {
    if payload.len() > rules.max_record {
        return vec![Item::Bad(Reason::TooLarge, payload.to_vec())];
    }
    let mut out = Vec::new();
    take(payload, 2, rules, &mut out).unwrap_or_else(|reason| out.push(Found::Bad(reason, None)));
    let whole = |own: Option<Vec<u8>>| own.unwrap_or_else(|| payload.to_vec());
    out.into_iter()
        .map(|found| match found {
            Found::Object(text, own) => Item::Object(text, whole(own)),
            Found::Bad(reason, own) => Item::Bad(reason, whole(own)),
        })
        .collect()
}

/// As [`Item`]; no bytes = the whole message.
enum Found {
    Object(String, Option<Vec<u8>>),
    Bad(Reason, Option<Vec<u8>>),
}

fn blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut inside, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b'{' | b'[') => {
                now += 1;
                most = most.max(now);
            }
            (false, b'}' | b']') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn take(bytes: &[u8], base64: usize, rules: &Rules, out: &mut Vec<Found>) -> Result<(), Reason> {
    if bytes.starts_with(&kpl::MAGIC) {
        let parts = kpl::take_apart(bytes).ok_or(Reason::UndecodableWrapper)?;
        if parts.is_empty() {
            return Err(Reason::Empty);
        }
        for part in parts {
            let mut own = Vec::new();
            let inner = take(&part, base64, rules, &mut own);
            inner.unwrap_or_else(|reason| own.push(Found::Bad(reason, None)));
            let keep = |bytes: Option<Vec<u8>>| Some(bytes.unwrap_or_else(|| part.clone()));
            out.extend(own.into_iter().map(|found| match found {
                Found::Object(text, bytes) => Found::Object(text, keep(bytes)),
                Found::Bad(reason, bytes) => Found::Bad(reason, keep(bytes)),
            }));
        }
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::BadUtf8)?;
    let bare = text.trim();
    if bare.is_empty() || bare == "null" || bare == "\"\"" {
        return Err(Reason::Empty);
    }
    let raw = serde_json::from_str::<&RawValue>(text);
    let array = raw.as_ref().is_ok_and(|raw| raw.get().starts_with('['));
    if !array && depth(text) > rules.max_depth {
        return Err(Reason::TooDeep);
    }
    let Ok(raw) = raw else {
        let inner = decoded(bare, base64).ok_or(Reason::NotJson)?;
        return take(&inner, base64 - 1, rules, out);
    };
    match raw.get().as_bytes()[0] {
        b'{' => {
            out.push(Found::Object(object(raw.get()), None));
            Ok(())
        }
        b'[' => {
            let list: Vec<&RawValue> = serde_json::from_str(raw.get()).expect("an array");
            if list.is_empty() {
                return Err(Reason::NotAnObject);
            }
            out.extend(list.into_iter().map(|raw| element(raw, rules)));
            Ok(())
        }
        b'"' => string(raw.get(), base64, rules, out),
        _ => Err(Reason::NotAnObject),
    }
}

fn element(raw: &RawValue, rules: &Rules) -> Found {
    let own = Some(raw.get().as_bytes().to_vec());
    match raw.get() {
        text if depth(text) + 1 > rules.max_depth => Found::Bad(Reason::TooDeep, own),
        "null" | "\"\"" => Found::Bad(Reason::Empty, own),
        text if text.starts_with('{') => Found::Object(object(text), own),
        _ => Found::Bad(Reason::NotAnObject, own),
    }
}

fn string(raw: &str, base64: usize, rules: &Rules, out: &mut Vec<Found>) -> Result<(), Reason> {
    let Ok(inner) = serde_json::from_str::<String>(raw) else {
        return Err(Reason::UndecodableWrapper);
    };
    if blank(&inner) {
        return Err(Reason::Empty);
    }
    if depth(&inner) > rules.max_depth {
        return Err(Reason::TooDeep);
    }
    if serde_json::from_str::<&RawValue>(&inner).is_ok() {
        return take(inner.as_bytes(), base64, rules, out);
    }
    let bytes = decoded(inner.trim(), base64).ok_or(Reason::UndecodableWrapper)?;
    take(&bytes, base64 - 1, rules, out)
}

/// What a text is the base64 of, if that is worth another look.
fn decoded(text: &str, left: usize) -> Option<Vec<u8>> {
    use base64::Engine;
    if left == 0 || text.len() < 4 {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    if bytes.starts_with(&kpl::MAGIC) {
        return Some(bytes);
    }
    let inner = std::str::from_utf8(&bytes).ok()?.trim();
    let json = inner.is_empty() || serde_json::from_str::<&RawValue>(inner).is_ok();
    (json || decoded(inner, left - 1).is_some()).then_some(bytes)
}

/// An object without its `value` or `index` wrapper.
fn object(text: &str) -> String {
    let pairs = pairs(text);
    if let [(key, inner)] = &pairs[..]
        && (key == "value" || key == "index")
        && inner.starts_with('{')
    {
        return inner.clone();
    }
    text.to_string()
}

/// The keys and the raw texts of the values of an object, in order, doubled keys as they come.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    struct Pairs;
    impl<'de> serde::de::Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                out.push((key, value.get().to_string()));
            }
            Ok(out)
        }
    }
    let mut de = serde_json::Deserializer::from_str(text);
    serde::Deserializer::deserialize_map(&mut de, Pairs).unwrap_or_default()
}
