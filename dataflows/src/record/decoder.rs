//! The decoder: a message in, its records and rejections out, one call each.
//!
//! A message under [`Rule::Ignore`] is one [`Decoded::Ignored`], whatever it holds: other
//! people's bytes are not parsed, and decide nothing.
//!
//! Limits: a scratch text, and a bit for each byte of the largest block; the rest lives for the
//! length of a call.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Marks;
use super::clean::{Context, index};
use super::fast::{self, Block};
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
}

impl Decoder {
    /// A decoder under these rules.
    pub fn new(rules: Arc<Rules>) -> Self {
        let (notes, name) = (Notes::default(), String::new());
        Decoder { rules, notes, name, fast: true, slots: Slots::ALL, marks: Marks::default() }
    }

    /// The same, but only these columns are cleaned, times of posts, and names. The others are
    /// null, whatever they hold.
    pub fn only(self, columns: &[Column]) -> Self {
        Decoder { slots: Slots::of(columns), ..self }
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
        let Decoder { rules, notes, name, fast, slots, marks } = &mut *self.decoder;
        let rules = &**rules;
        let payload = self.block.part(at.clone());
        let mut task = Task {
            rules,
            context: Context { rules, arrived_at, arrival_given },
            rule,
            notes,
            name,
            slots: *slots,
            next: 0,
            each: &mut each,
        };
        if rule == Rule::Ignore {
            task.emit(Decoded::Ignored);
        } else if payload.len() > rules.max_record_bytes {
            task.reject(Reason::TooLarge, payload);
        } else if !*fast || rules.max_depth == 0 || !task.usual(self.block, at, marks) {
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
        if fast::scan(block, at.clone(), marks, &mut wire).is_none() || wire.told() == 0 {
            return false;
        }
        if let Err(reason) = self.record(&mut wire) {
            self.reject(reason, block.part(at));
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
