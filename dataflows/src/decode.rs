//! Decode: blocks of messages in, records for their slots out; what is rejected, counted or wanted
//! by a sink is left in the outbox of the batch's epoch.
//!
//! A timely operator without state but its buffers: batches are dealt out by whoever feeds them,
//! so that one large partition can keep every core busy.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::assemble::Partitions;
use crate::assemble::recs::{Filling, Recs};
use crate::assemble::table::owner;
use crate::batch::{Batch, Dealt, Ruled};
use crate::metrics::declare::Time;
use crate::metrics::meta::{Ledger, MetaKey};
use crate::metrics::plan::Plan;
use crate::metrics::value::{Cells, NULL};
use crate::outbox::Outbox;
use crate::record::{
    Column, Decoded, Decoder, Defect, Fields, Messages, Origin, Record, Rule, Rules, project, table,
};
use crate::sealed::{CleanRows, Counters, Reject, Sealed, Tally};
use crate::symbol::intern;
use crate::time::floor;

/// How the cleaned rows for sinks are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One JSON object a line.
    Json,
    /// RFC 4180.
    Csv,
}

/// What the decoder needs besides the plan.
#[derive(Clone)]
pub struct DecodeOptions {
    /// The cleaning rules.
    pub rules: Arc<Rules>,
    /// The partitions' names, for provenance.
    pub partitions: Partitions,
    /// Whether sinks want cleaned rows, and how.
    pub rows: Option<RowFormat>,
}

/// The decode operator.
pub fn decode<'s>(
    batches: StreamVec<'s, u64, Dealt>,
    plan: &Arc<Plan>,
    options: &DecodeOptions,
    outbox: Outbox,
) -> StreamVec<'s, u64, Recs> {
    let mut work = Work::new(plan.clone(), options.clone(), batches.scope().peers());
    let deal = Exchange::new(|dealt: &Dealt| dealt.to);
    batches.unary(deal, crate::names::DECODE.name, move |_capability, _info| {
        move |input, output| {
            input.for_each(|cap, batches| {
                let Some(&epoch) = cap.least() else { return };
                let mut session = output.session(&cap);
                for Dealt { batch, .. } in batches.drain(..) {
                    let left = work.batch(&batch, |recs| session.give(recs));
                    outbox.decoded(left.tally.read);
                    outbox.at(epoch, |sealed| left.leave(batch.partition, sealed));
                }
                work.rest(|recs| session.give(recs));
            });
        }
    })
}

/// What a batch leaves behind besides its records.
#[derive(Default)]
struct Left {
    tally: Tally,
    rejects: Vec<Reject>,
    rows: SmallVec<[CleanRows; 3]>,
    ledger: Ledger,
    counters: Counters,
}

impl Left {
    /// Adds it to what an epoch says.
    fn leave(self, partition: u32, sealed: &mut Sealed) {
        sealed.tallies.push((partition, self.tally));
        sealed.rejects.extend(self.rejects);
        sealed.rows.extend(self.rows.into_iter().filter(|r| !r.ends.is_empty()));
        for (key, n) in self.ledger {
            *sealed.ledger.entry(key).or_insert(0) += n;
        }
        for (name, n) in self.counters {
            *sealed.counters.entry(name).or_insert(0) += n;
        }
    }
}

/// States of a field, as places in the counts.
const STATES: [&str; 3] = ["value", "null", "placeholder"];
/// States and defects.
const WIDTH: usize = STATES.len() + Defect::ALL.len();

struct Work {
    decoder: Decoder,
    desk: Desk,
}

/// What becomes of what was decoded.
struct Desk {
    plan: Arc<Plan>,
    options: DecodeOptions,
    /// Records that are not sent on yet, by the worker that owns them.
    recs: Vec<Filling>,
    /// Whether `records`, whether `fields` are counted.
    records: bool,
    fields: bool,
    /// Field states of the current bucket.
    states: [[i64; WIDTH]; Column::ALL.len()],
}

impl Work {
    fn new(plan: Arc<Plan>, options: DecodeOptions, workers: usize) -> Self {
        let kept = plan.layout.sides.iter().flat_map(|side| &side.places);
        let kept: Vec<Column> = kept.map(|place| place.kept.column).collect();
        let all = plan.counted.fields || options.rows.is_some();
        let decoder = Decoder::new(options.rules.clone());
        let desk = Desk {
            recs: (0..workers as u64).map(Filling::new).collect(),
            records: plan.counted.records,
            fields: plan.counted.fields,
            states: [[0; WIDTH]; Column::ALL.len()],
            plan,
            options,
        };
        Work { decoder: if all { decoder } else { decoder.only(&kept) }, desk }
    }

    fn batch(&mut self, batch: &Batch, mut give: impl FnMut(Recs)) -> Left {
        let Work { decoder, desk } = self;
        let mut left = Left::default();
        if desk.options.rows.is_some() {
            // Of most batches one table gets all: more bytes than were read, and those a row more.
            let room = batch.extent().len() * 2;
            let table = |t| CleanRows {
                table: t,
                partition: batch.partition,
                bytes: Vec::with_capacity(room),
                ..Default::default()
            };
            left.rows = (0..3).map(table).collect();
        }
        let extent = batch.extent();
        let mut messages = decoder.messages(&batch.block.0[extent.clone()]);
        let mut bucket = NULL;
        for n in 0..batch.spans.len() {
            let arrived_at = batch.arrival(n);
            let here = floor(arrived_at, desk.plan.bucket);
            if here != bucket {
                desk.flush_states(bucket, &mut left.ledger);
                bucket = here;
            }
            let place = batch.place(n);
            let at = place.start - extent.start..place.end - extent.start;
            desk.message((&mut messages, at), (batch, n), bucket, &mut left, &mut give);
        }
        desk.flush_states(bucket, &mut left.ledger);
        left.counters.extend(decoder.take_notes());
        left
    }

    /// Gives the records that no list was full of.
    fn rest(&mut self, give: impl FnMut(Recs)) {
        let lists = self.desk.recs.iter_mut().filter(|recs| !recs.is_empty());
        lists.map(Filling::take).for_each(give);
    }
}

impl Desk {
    /// Decodes message `n` of a batch, which lies at a place of the messages' block.
    fn message(
        &mut self,
        (messages, at): (&mut Messages<'_>, Range<usize>),
        (batch, n): (&Batch, usize),
        bucket: i64,
        left: &mut Left,
        give: &mut impl FnMut(Recs),
    ) {
        let (position, arrived_at) = (batch.position(n), batch.arrival(n));
        let (plan, options, states) = (&self.plan, &self.options, &mut self.states);
        let all = &mut self.recs;
        let (records, fields) = (self.records, self.fields);
        let first = batch.first_sub;
        let rule = batch.rule(n);
        messages.decode(at, rule, arrived_at, batch.arrival_given, |sub, decoded| {
            let sub = first + sub;
            left.tally.read += 1;
            let origin = Origin { arrived_at, partition: batch.partition, position, sub };
            let mut count = |stream: Option<&str>, outcome: &str, reason: Option<&str>| {
                if records {
                    let cell = |t: Option<&str>| t.map_or(NULL, |t| intern(t).cell());
                    let cells = [cell(stream), cell(Some(outcome)), cell(reason)];
                    let key = MetaKey { bucket, fields: false, cells: Cells::from_slice(&cells) };
                    *left.ledger.entry(key).or_insert(0) += 1;
                }
            };
            match decoded {
                Decoded::Ignored => {
                    left.tally.ignored += 1;
                    count(None, "ignored", None);
                }
                Decoded::Rejected { reason, payload } => {
                    left.tally.rejected += 1;
                    let stream = match rule {
                        Rule::Kind(stream) => Some(stream.name()),
                        _ => None,
                    };
                    count(stream, "rejected", Some(reason.name()));
                    left.rejects.push(Reject {
                        partition: batch.partition,
                        position,
                        sub,
                        arrived_at,
                        reason: *reason,
                        payload: payload.to_vec(),
                        rule: matches!(batch.ruled, Ruled::Each(_)).then_some(rule),
                    });
                }
                Decoded::Record(record) => {
                    count(Some(record.fields.stream().name()), "kept", None);
                    if fields {
                        count_states(&record.fields, states);
                    }
                    count_late(plan, &record.fields, arrived_at, &mut left.counters);
                    if let Some(format) = options.rows {
                        write_row(format, options, record, &origin, &mut left.rows);
                    }
                    let to = owner(record.index, all.len() as u64);
                    let recs = &mut all[to as usize];
                    recs.push(&plan.layout, record, &origin);
                    if recs.is_full() {
                        give(recs.take());
                    }
                }
            }
        });
    }

    /// Moves the counted field states into the ledger.
    fn flush_states(&mut self, bucket: i64, ledger: &mut Ledger) {
        if !self.fields {
            return;
        }
        for (column, states) in Column::ALL.iter().zip(&mut self.states) {
            for (state, count) in states.iter_mut().enumerate().filter(|(_, n)| **n != 0) {
                let (state, reason) = match STATES.get(state) {
                    Some(state) => (*state, NULL),
                    None => {
                        let defect = Defect::ALL[state - STATES.len()];
                        ("defect", intern(defect.name()).cell())
                    }
                };
                let texts = [column.stream().name(), column.name(), state];
                let mut cells: Cells = texts.iter().map(|t| intern(t).cell()).collect();
                cells.push(reason);
                let key = MetaKey { bucket, fields: true, cells };
                *ledger.entry(key).or_insert(0) += std::mem::take(count);
            }
        }
    }
}

fn count_states(fields: &Fields<'_>, states: &mut [[i64; WIDTH]; Column::ALL.len()]) {
    project::states(fields, |column, state, defect| {
        let place = match defect {
            Some(defect) => STATES.len() + defect as usize,
            None => STATES.iter().position(|s| *s == state).unwrap_or(0),
        };
        states[column as usize][place] += 1;
    });
}

/// Counts a geo record whose windows had left `retain` when it arrived, by metric.
fn count_late(plan: &Plan, fields: &Fields<'_>, arrived_at: i64, counters: &mut Counters) {
    let Fields::Geo(geo) = fields else { return };
    let Some(moment) = geo.timestamp.value() else { return };
    for metric in &plan.metrics {
        let node = &plan.nodes[metric.node];
        let Some(retain) = node.retain else { continue };
        let late = node.windows.iter().filter(|w| w.time == Time::Event).any(|w| {
            let last = w.starts(moment.micros).last();
            last.is_some_and(|start| arrived_at >= w.end(start).saturating_add(retain))
        });
        if late {
            let name = format!("late:{}", metric.schema.name);
            *counters.entry(name).or_insert(0) += 1;
        }
    }
}

fn write_row(
    format: RowFormat,
    options: &DecodeOptions,
    record: &Record<'_>,
    origin: &Origin,
    rows: &mut SmallVec<[CleanRows; 3]>,
) {
    let table = &mut rows[record.fields.stream() as usize];
    let partitions = options.partitions.read();
    let (source, name) =
        partitions.get(origin.partition as usize).map_or(("", ""), |(source, name)| (source, name));
    match format {
        RowFormat::Json => table::write_json(record, origin, source, name, &mut table.bytes),
        RowFormat::Csv => table::write_csv(record, origin, source, name, &mut table.bytes),
    }
    table.ends.push((origin.position, origin.sub, table.bytes.len() as u32));
}
