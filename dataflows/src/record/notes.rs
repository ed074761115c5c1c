//! What the decoder noticed besides records: wrappers taken off, misrouted records, fields that
//! nobody asked for.
//!
//! Limits: [`NAMES_MAX`] names of unknown fields a decoder, each at most [`NAME_BYTES_MAX`]
//! bytes; beyond them the name is `unknown_fields_other`.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

/// Names of unknown fields that are counted one by one.
const NAMES_MAX: usize = 64;
/// A longer name is counted among the others.
const NAME_BYTES_MAX: usize = 64;

/// A wrapper that was taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    Value,
    Array,
    Index,
    Text,
    Base64,
    Kpl,
}

const WRAPPERS: [&str; 6] = [
    "wrapper_value",
    "wrapper_array",
    "wrapper_index",
    "wrapper_text",
    "wrapper_base64",
    "wrapper_kpl",
];

/// Counts since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Notes {
    wrappers: [u64; WRAPPERS.len()],
    misrouted: u64,
    unknown: FxHashMap<Box<str>, u64>,
    /// Names that are known to others.
    known: Vec<Box<str>>,
    unknown_other: u64,
    names: BTreeMap<&'static str, u64>,
}

impl Notes {
    pub(super) fn wrapper(&mut self, wrapper: Wrapper) {
        self.wrappers[wrapper as usize] += 1;
    }

    pub(super) fn misrouted(&mut self) {
        self.misrouted += 1;
    }

    /// A part of `user_name` that is no text, beside one that is.
    pub(super) fn bad_part(&mut self, key: &'static str) {
        *self.names.entry(key).or_default() += 1;
    }

    /// Fields of these names are not counted.
    pub(super) fn know(&mut self, names: &[Box<str>]) {
        self.known = names.to_vec();
    }

    pub(super) fn unknown(&mut self, name: &str) {
        if self.known.iter().any(|known| **known == *name) {
            return;
        }
        if let Some(count) = self.unknown.get_mut(name) {
            *count += 1;
        } else if self.unknown.len() < NAMES_MAX && name.len() <= NAME_BYTES_MAX {
            self.unknown.insert(name.into(), 1);
        } else {
            self.unknown_other += 1;
        }
    }

    /// Everything counted since the last time. The names stay known, so that the bound holds for
    /// as long as the decoder lives.
    pub(super) fn take(&mut self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        let mut put = |key: &dyn Fn() -> String, count: u64| {
            if count > 0 {
                out.insert(key(), count);
            }
        };
        for (name, count) in WRAPPERS.iter().zip(&mut self.wrappers) {
            put(&|| (*name).to_string(), std::mem::take(count));
        }
        put(&|| "misrouted".into(), std::mem::take(&mut self.misrouted));
        for (name, count) in &mut self.unknown {
            put(&|| format!("unknown_field:{name}"), std::mem::take(count));
        }
        put(&|| "unknown_fields_other".into(), std::mem::take(&mut self.unknown_other));
        for (name, count) in &mut self.names {
            put(&|| (*name).to_string(), std::mem::take(count));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_counts_are_taken() {
        let mut notes = Notes::default();
        for n in 0..1000 {
            notes.unknown(&format!("f{n}"));
            notes.unknown("f0");
        }
        notes.unknown(&"x".repeat(1000));
        notes.wrapper(Wrapper::Kpl);
        notes.misrouted();
        let taken = notes.take();
        assert_eq!(taken["unknown_field:f0"], 1001);
        assert_eq!(taken["unknown_fields_other"], 1000 - 64 + 1);
        assert_eq!((taken["wrapper_kpl"], taken["misrouted"]), (1, 1));
        assert_eq!(taken.len(), 64 + 3);
        assert!(notes.take().is_empty());
        notes.unknown("f999");
        assert_eq!(notes.take().into_keys().collect::<Vec<_>>(), ["unknown_fields_other"]);
    }
}
