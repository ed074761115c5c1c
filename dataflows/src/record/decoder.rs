//! The decoder: a message in, its records and rejections out, one call each.
//!
//! A message under [`Rule::Ignore`] is one [`Decoded::Ignored`], whatever it holds: other
//! people's bytes are not parsed, and decide nothing.
//!
//! Limits: a scratch text, and a bit for each byte of the largest block and of the largest text in
//! a wrapper; the rest lives for the length of a call.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Marks;
use super::clean::{Context, index};
use super::fast::{self, Block, Unknown};
use super::notes::Notes;
use super::rules::{Rule, Rules};
use super::unwrap::Layers;
use super::wire::{Slots, Wire};
use super::{Column, Decoded, Reason, Record, Stream};

/// Decodes and cleans messages.
#[derive(Debug)]
pub struct Decoder {
    rules: Arc<Rules>,
    notes: Notes,
    name: String,
    fast: bool,
    slots: Slots,
    marks: Marks,
    /// Of what lies in a wrapper.
    inner: Marks,
}

impl Decoder {
    /// A decoder under these rules.
    pub fn new(rules: Arc<Rules>) -> Self {
        let (notes, name) = (Notes::default(), String::new());
        let (marks, inner) = Default::default();
        Decoder { rules, notes, name, fast: true, slots: Slots::ALL, marks, inner }
    }

    /// The same, but only these columns are cleaned, times of posts, and names. The others are
    /// null, whatever they hold.
    pub fn only(self, columns: &[Column]) -> Self {
        Decoder { slots: Slots::of(columns), ..self }
    }

    /// The same, but fields of these names are not counted as unknown: something else reads them.
    pub fn knowing(mut self, names: &[Box<str>]) -> Self {
        self.notes.know(names);
        self
    }

    /// A decoder that sends everything through the general parser: the judge of the fast path.
    pub fn general(rules: Arc<Rules>) -> Self {
        Decoder { fast: false, ..Decoder::new(rules) }
    }

    /// Decodes a message that stands alone, as [`Messages::decode`] does.
    pub fn decode(
        &mut self,
        payload: &[u8],
        rule: Rule,
        arrived_at: i64,
        arrival_given: bool,
        each: impl FnMut(u32, &Decoded<'_>),
    ) {
        self.messages(payload).decode(0..payload.len(), rule, arrived_at, arrival_given, each);
    }

    /// Looks at the messages of a block, for all of them at once where that can be done.
    pub fn messages<'d>(&'d mut self, block: &'d [u8]) -> Messages<'d> {
        let block = Block::new(block, &mut self.marks);
        Messages { decoder: self, block }
    }

    /// What was noticed since the last call, by name: `wrapper_value`, `wrapper_array`,
    /// `wrapper_index`, `wrapper_text`, `wrapper_base64`, `wrapper_kpl`, `misrouted`,
    /// `unknown_field:NAME`, `unknown_fields_other`, `bad_text:first_name`,
    /// `bad_text:last_name` (beside a part of the name that can be used). Only what is not 0.
    pub fn take_notes(&mut self) -> BTreeMap<String, u64> {
        self.notes.take()
    }
}

/// The messages of a block.
#[derive(Debug)]
pub struct Messages<'d> {
    decoder: &'d mut Decoder,
    block: Block<'d>,
}

impl Messages<'_> {
    /// Decodes the message at a place of the block and calls `each` with the number of every
    /// record in it, from 0, and what became of it; at least once. `arrived_at` is in microseconds
    /// since 1970-01-01 UTC; only if it was given by the broker or the record is a timestamp told
    /// to be `future`.
    ///
    /// Panics if the place is not within the block.
    pub fn decode(
        &mut self,
        at: Range<usize>,
        rule: Rule,
        arrived_at: i64,
        arrival_given: bool,
        mut each: impl FnMut(u32, &Decoded<'_>),
    ) {
        let Decoder { rules, notes, name, fast, slots, marks, inner } = &mut *self.decoder;
        let rules = &**rules;
        let payload = self.block.part(at.clone());
        let mut task = Task {
            rules,
            context: Context { rules, arrived_at, arrival_given },
            rule,
            notes,
            name,
            fast: *fast && rules.max_depth > 0,
            inner,
            slots: *slots,
            next: 0,
            each: &mut each,
        };
        if rule == Rule::Ignore {
            task.emit(Decoded::Ignored);
        } else if payload.len() > rules.max_record_bytes {
            task.reject(Reason::TooLarge, payload);
        } else if !task.fast || !task.usual(self.block, at, marks) {
            task.payload(payload, payload, Layers::default());
        }
    }
}

/// The decoding of one message.
pub(super) struct Task<'t> {
    pub(super) rules: &'t Rules,
    context: Context<'t>,
    rule: Rule,
    pub(super) notes: &'t mut Notes,
    name: &'t mut String,
    fast: bool,
    inner: &'t mut Marks,
    slots: Slots,
    next: u32,
    each: &'t mut dyn FnMut(u32, &Decoded<'_>),
}

impl Task<'_> {
    #[inline]
    pub(super) fn emit(&mut self, decoded: Decoded<'_>) {
        (self.each)(self.next, &decoded);
        self.next += 1;
    }

    /// Decodes a message of the usual layout by the fast path; false if it is none.
    fn usual(&mut self, block: Block<'_>, at: Range<usize>, marks: &Marks) -> bool {
        let mut wire = Wire::new("");
        let none = &mut Unknown::new();
        if fast::scan::<false>(block, at.clone(), marks, 1, &mut wire, none).is_none() {
            let (depth, whole) = (self.rules.max_depth, block.part(at.clone()));
            return self.passing(block, at, marks, depth, whole);
        }
        if wire.told() == 0 {
            return false;
        }
        if let Err(reason) = self.record(&mut wire) {
            self.reject(reason, block.part(at));
        }
        true
    }

    /// The same for an object that lies in these wrappers of `whole`, nested at most `depth`.
    pub(super) fn within(
        &mut self,
        text: &str,
        whole: &[u8],
        depth: usize,
        layers: Layers,
    ) -> bool {
        let may_be = depth > 0 && text.trim_start().starts_with('{');
        if !self.fast || !layers.has_room() || !may_be {
            return false;
        }
        let mut marks = std::mem::take(self.inner);
        let block = Block::new(text.as_bytes(), &mut marks);
        let done = self.passing(block, 0..text.len(), &marks, depth, whole);
        *self.inner = marks;
        done
    }

    /// The same for one that may have unknown fields and nested values, or be wrapped.
    #[cold]
    fn passing(
        &mut self,
        block: Block<'_>,
        at: Range<usize>,
        marks: &Marks,
        depth: usize,
        whole: &[u8],
    ) -> bool {
        let scan = |at: Range<usize>| {
            let (mut wire, mut unknown) = (Wire::new(""), Unknown::new());
            fast::scan::<true>(block, at, marks, depth, &mut wire, &mut unknown)?;
            Some((wire, unknown))
        };
        let Some((mut wire, mut unknown)) = scan(at) else { return false };
        if wire.told() == 0 {
            let Some((wrapper, inner)) = self.wrapped(&wire) else { return false };
            let inside = scan(block.place(inner)).filter(|(wire, _)| wire.told() != 0);
            let Some(inside) = inside else { return false };
            self.notes.wrapper(wrapper);
            (wire, unknown) = inside;
        }
        match self.record(&mut wire) {
            Ok(()) => unknown.iter().for_each(|name| self.notes.unknown(name)),
            Err(reason) => self.reject(reason, whole),
        }
        true
    }

    /// Cleans the object that was found and emits it; or why nothing of it can be used.
    pub(super) fn record(&mut self, wire: &mut Wire<'_>) -> Result<(), Reason> {
        let (stream, misrouted) = kind(self.rule, wire.told()).ok_or(Reason::UnknownKind)?;
        let index = index(wire)?;
        if misrouted {
            self.notes.misrouted();
        }
        for name in wire.strangers(stream) {
            self.notes.unknown(name);
        }
        wire.only(self.slots);
        let mut name = std::mem::take(self.name);
        let fields = self.context.fields(stream, wire, &mut name, self.notes);
        let hash = xxh3_64(wire.text().as_bytes());
        self.emit(Decoded::Record(&Record { index, hash, misrouted, fields }));
        *self.name = name;
        Ok(())
    }
}

/// The kind of a record, and whether the rules said another one. `told` has a bit for each kind
/// that the fields tell.
fn kind(rule: Rule, told: u8) -> Option<(Stream, bool)> {
    let tells = |stream: Stream| told >> stream as u8 & 1 == 1;
    let first = Stream::ALL.into_iter().find(|s| tells(*s))?;
    match rule {
        Rule::Kind(stream) if tells(stream) => Some((stream, false)),
        Rule::Kind(_) => Some((first, true)),
        Rule::Auto | Rule::Ignore => Some((first, false)),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use proptest::prelude::*;

    use super::super::rules::Wrappers;
    use super::*;

    const GEO: &str = r#"{"ind":2,"timestamp":"2018-03-04 05:06:07","country":"C"}"#;

    #[test]
    fn unknown_fields_are_counted_on_either_path_but_for_those_that_others_read() {
        let row = |fields: &str| format!("{{{fields},{}", &GEO[1..]);
        let many: Vec<String> = (0..9).map(|n| format!("\"f{n}\":{n}")).collect();
        for (fields, want) in [
            (r#""foo":1,"sent_at":"2026-01-01T00:00:00Z""#, vec![("foo", 1)]),
            (r#""sent_at":1,"foo":"a\nb","foo":null,"title":true"#, vec![("foo", 2), ("title", 1)]),
            (&*many[..8].join(","), many[..8].iter().map(|f| (&f[1..3], 1)).collect()),
            (&*many.join(","), many.iter().map(|f| (&f[1..3], 1)).collect()),
            (r#""foo":{"a":[1]}"#, vec![("foo", 1)]),
        ] {
            for new in [Decoder::new, Decoder::general] {
                let mut decoder = new(Arc::new(Rules::default())).knowing(&["sent_at".into()]);
                let mut records = 0;
                decoder.decode(row(fields).as_bytes(), Rule::Auto, 0, false, |_, decoded| {
                    records += u32::from(matches!(decoded, Decoded::Record(r) if r.index == 2));
                });
                let notes: Vec<(String, u64)> = decoder.take_notes().into_iter().collect();
                let want = want.iter().map(|(name, n)| (format!("unknown_field:{name}"), *n));
                assert_eq!((records, notes), (1, want.collect()), "{fields}");
            }
        }
    }

    /// What stands before the fields of a row.
    const FIELDS: &[&str] = &[
        "",
        r#""foo":1,"#,
        r#""m":{"a":[]},"#,
        r#""ind":[1],"#,
        r#""value":{"ind":3},"#,
        r#""ind":5,"#,
        r#""unique_id":"\u00e9\n","category":{},"#,
        r#""a":{"b":{"c":{}}},"#,
        r#""x":1e9,"#,
    ];

    /// A wrapper around a message; several can be around each other.
    fn wrap(kind: u8, message: &str) -> String {
        let quoted = |text: &str| serde_json::to_string(text).expect("a text");
        match kind {
            0 => format!("{{\"value\":{message}}}"),
            1 => format!("{{\"topic\":\"a\\\\\", \"index\" : {message} ,\"key\":null}}"),
            2 => quoted(message),
            3 => format!(" [{message}, 1,{message}]\n"),
            4 => base64::engine::general_purpose::STANDARD.encode(message),
            _ => {
                format!("{{\"x\":[{message}],\"ind\":1,\"unique_id\":{message},\"category\":{{}}}}")
            }
        }
    }

    /// All that becomes of a message, and what was noticed.
    fn whole(mut decoder: Decoder, message: &[u8], rule: Rule) -> (Vec<String>, Vec<String>) {
        let mut out = Vec::new();
        decoder.decode(message, rule, 0, true, |sub, one| out.push(format!("{sub} {one:?}")));
        (out, decoder.take_notes().into_iter().map(|note| format!("{note:?}")).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_wrapped_comes_out_as_by_the_general_parser(
            fields in prop::sample::select(FIELDS),
            edit in prop::option::of((any::<prop::sample::Index>(), 0_u8..128)),
            layers in prop_oneof![
                4 => prop::collection::vec(0_u8..6, 0..6),
                // More than are taken off.
                1 => prop::collection::vec(0_u8..3, 6..11),
            ],
            max_depth in 0_usize..12,
            on in any::<[bool; 4]>(),
            rule in prop::sample::select(vec![Rule::Auto, Rule::Kind(Stream::Pin)]),
        ) {
            let mut message = format!("{{{fields}{}", &GEO[1..]).into_bytes();
            if let Some((at, byte)) = edit {
                let at = at.index(message.len());
                message[at] = byte;
            }
            let message = String::from_utf8(message).expect("ASCII");
            let message = layers.iter().fold(message, |message, kind| wrap(*kind, &message));
            let [value, index, text, base64] = on;
            let wrappers = Wrappers { value, index, text, base64, kpl: true };
            let rules = Arc::new(Rules { max_depth, wrappers, ..Rules::default() });
            let [fast, general] = [Decoder::new, Decoder::general]
                .map(|new| whole(new(rules.clone()), message.as_bytes(), rule));
            prop_assert_eq!(fast, general, "{}", message);
        }
    }
}
