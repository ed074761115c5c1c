//! Taking wrappers off: from a message to the objects in it, or to what is wrong with it.
//!
//! What is wrong with a message itself has its own reason (`bad_utf8`, `not_json`, ...); what is
//! no JSON inside a JSON string is `undecodable_wrapper`, for the message around it was JSON.
//! Bare text that is not base64 of anything of ours is `not_json`; a string in an array that
//! is nothing of ours is `not_an_object`. An array of which nothing is nested shallowly enough is
//! one `too_deep`. A wrapper's object may have
//! other keys beside it (a Kafka REST consumer adds `topic`, `offset`, ...), as long as they
//! tell no kind.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::decoder::Task;
use super::general::{Shape, elements, is_deep, object, shape};
use super::kpl;
use super::notes::Wrapper;
use super::wire::{Slot, Wire, unescape};
use super::{Decoded, Reason};

/// More wrappers around each other than anybody sends.
const LAYERS_MAX: u8 = 8;
/// base64 of base64 is sent; base64 of that is not.
const BASE64_MAX: u8 = 2;

/// What has been taken off so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Layers {
    taken: u8,
    base64: u8,
    in_array: bool,
}

impl Layers {
    fn more(self) -> Self {
        Layers { taken: self.taken + 1, ..self }
    }

    /// Whether what is inside may be one more wrapper around an object.
    pub(super) fn has_room(self) -> bool {
        self.taken > 0 && self.taken < LAYERS_MAX
    }
}

impl Task<'_> {
    /// Decodes a payload: a message, or what one was wrapped around. `whole` is what a rejection
    /// keeps.
    pub(super) fn payload(&mut self, bytes: &[u8], whole: &[u8], layers: Layers) {
        if layers.taken > LAYERS_MAX {
            return self.reject(Reason::UndecodableWrapper, whole);
        }
        if self.rules.wrappers.kpl && kpl::is_aggregated(bytes) {
            return self.aggregated(bytes, whole, layers);
        }
        let Ok(text) = str::from_utf8(bytes) else {
            return self.reject(Reason::BadUtf8, whole);
        };
        if is_empty(text) {
            return self.reject(Reason::Empty, whole);
        }
        let depth = self.rules.max_depth;
        if self.within(text, whole, depth, layers) {
            return;
        }
        match shape(text, depth) {
            Shape::Json(json) => self.json(json, whole, layers),
            Shape::Deep => self.reject(Reason::TooDeep, whole),
            Shape::Garbage => match self.peel(text, layers) {
                Some((bytes, layers)) => self.payload(&bytes, whole, layers),
                None => self.reject(Reason::NotJson, whole),
            },
        }
    }

    fn aggregated(&mut self, bytes: &[u8], whole: &[u8], layers: Layers) {
        let Some(payloads) = kpl::payloads(bytes) else {
            return self.reject(Reason::UndecodableWrapper, whole);
        };
        self.notes.wrapper(Wrapper::Kpl);
        if payloads.is_empty() {
            return self.reject(Reason::Empty, whole);
        }
        for payload in payloads {
            self.payload(payload, payload, Layers { in_array: false, ..layers.more() });
        }
    }

    /// Decodes a JSON value of any kind.
    fn json(&mut self, json: &str, whole: &[u8], layers: Layers) {
        if layers.taken > LAYERS_MAX {
            return self.reject(Reason::UndecodableWrapper, whole);
        }
        match json.as_bytes().first() {
            Some(b'{') => self.object(json, whole, layers),
            Some(b'"') => self.string(json, whole, layers),
            Some(b'[') if self.rules.wrappers.value && !layers.in_array => {
                self.array(json, whole, layers);
            }
            // Only an array comes here without its depth having been looked at.
            Some(b'[') if is_deep(json, self.rules.max_depth) => {
                self.reject(Reason::TooDeep, whole);
            }
            _ => self.reject(Reason::NotAnObject, whole),
        }
    }

    fn array(&mut self, json: &str, whole: &[u8], layers: Layers) {
        self.notes.wrapper(Wrapper::Array);
        let elements = elements(json);
        if elements.is_empty() {
            return self.reject(Reason::NotAnObject, whole);
        }
        let layers = Layers { in_array: true, ..layers.more() };
        let inner_depth = self.rules.max_depth.saturating_sub(1);
        if elements.iter().all(|element| is_deep(element, inner_depth)) {
            return self.reject(Reason::TooDeep, whole);
        }
        for element in elements {
            let whole = element.as_bytes();
            if is_empty(element) {
                self.reject(Reason::Empty, whole);
                continue;
            }
            if self.within(element, whole, inner_depth, layers) {
                continue;
            }
            if is_deep(element, inner_depth) {
                self.reject(Reason::TooDeep, whole);
            } else {
                self.json(element, whole, layers);
            }
        }
    }

    fn string(&mut self, json: &str, whole: &[u8], layers: Layers) {
        let wrappers = &self.rules.wrappers;
        if !wrappers.text && !wrappers.base64 {
            return self.reject(Reason::NotAnObject, whole);
        }
        let is_wrapper = wrappers.text && !layers.in_array;
        let reason = if is_wrapper { Reason::UndecodableWrapper } else { Reason::NotAnObject };
        let Some(inner) = unescape(json) else {
            return self.reject(reason, whole);
        };
        if wrappers.text {
            let is_text = is_empty(&inner) || shape(&inner, self.rules.max_depth) != Shape::Garbage;
            if is_text {
                self.notes.wrapper(Wrapper::Text);
                return self.payload(inner.as_bytes(), whole, layers.more());
            }
        }
        match self.peel(&inner, layers) {
            Some((bytes, layers)) => self.payload(&bytes, whole, layers),
            None => self.reject(reason, whole),
        }
    }

    fn object(&mut self, json: &str, whole: &[u8], layers: Layers) {
        let mut wire = Wire::new(json);
        let mut unknown = Vec::new();
        if !object(json, &mut wire, &mut unknown) {
            return self.reject(Reason::NotJson, whole);
        }
        if wire.told() == 0
            && let Some((wrapper, inner)) = self.wrapped(&wire)
        {
            self.notes.wrapper(wrapper);
            return self.json(inner, whole, layers.more());
        }
        match self.record(&mut wire) {
            Ok(()) => unknown.into_iter().for_each(|name| self.notes.unknown(name)),
            Err(reason) => self.reject(reason, whole),
        }
    }

    /// The object that one which tells no kind is wrapped around, if it is a wrapper.
    pub(super) fn wrapped<'a>(&self, wire: &Wire<'a>) -> Option<(Wrapper, &'a str)> {
        let wrappers = &self.rules.wrappers;
        let all = [
            (wrappers.value, Slot::Value, Wrapper::Value),
            (wrappers.index, Slot::Index, Wrapper::Index),
        ];
        let mut on =
            all.into_iter().filter(|(on, slot, _)| *on && wire.raw(*slot).starts_with('{'));
        on.next().map(|(_, slot, wrapper)| (wrapper, wire.raw(slot)))
    }

    /// Takes base64 off a text, once or twice, if something of ours is inside.
    fn peel(&mut self, text: &str, mut layers: Layers) -> Option<(Vec<u8>, Layers)> {
        let mut bytes = text.as_bytes().to_vec();
        while self.rules.wrappers.base64 && layers.base64 < BASE64_MAX {
            bytes = decode_base64(&bytes)?;
            layers = Layers { base64: layers.base64 + 1, ..layers.more() };
            let ours = kpl::is_aggregated(&bytes)
                || str::from_utf8(&bytes).is_ok_and(|text| {
                    is_empty(text) || shape(text, self.rules.max_depth) != Shape::Garbage
                });
            if ours {
                self.notes.wrapper(Wrapper::Base64);
                return Some((bytes, layers));
            }
        }
        None
    }

    pub(super) fn reject(&mut self, reason: Reason, payload: &[u8]) {
        self.emit(Decoded::Rejected { reason, payload });
    }
}

/// Nothing but blanks, `null`, `""`.
fn is_empty(text: &str) -> bool {
    matches!(text.trim(), "" | "null" | "\"\"")
}

/// Decodes base64 of either alphabet, padded or not, with or without line breaks.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let packed: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let url = memchr::memchr2(b'-', b'_', &packed).is_some();
    let alphabet = if url { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(&packed).ok().filter(|bytes| !bytes.is_empty())
}
