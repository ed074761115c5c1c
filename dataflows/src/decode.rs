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
use crate::metrics::value::NULL;
use crate::outbox::Outbox;
use crate::record::project::State;
use crate::record::{
    Column, Decoded, Decoder, Fields, Geo, Messages, Origin, Record, Rule, Rules, Stream, project,
    table,
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
    /// Names of fields that are not cleaned and not unknown: sources take times from them.
    pub known: Arc<[Box<str>]>,
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

/// What was seen of the records kept in one bucket.
#[derive(Default)]
struct Seen {
    /// Records by stream, if they are counted.
    kept: [i64; Stream::ALL.len()],
    /// Fields by column and [`State`], if they are.
    states: [[i64; State::ALL.len()]; Column::ALL.len()],
}

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
    /// Of the current bucket.
    seen: Seen,
    /// The metrics that a record may come too late for.
    retained: Vec<usize>,
}

impl Work {
    fn new(plan: Arc<Plan>, options: DecodeOptions, workers: usize) -> Self {
        let kept = plan.layout.sides.iter().flat_map(|side| &side.places);
        let kept: Vec<Column> = kept.map(|place| place.kept.column).collect();
        let all = plan.counted.fields || options.rows.is_some();
        let decoder = Decoder::new(options.rules.clone()).knowing(&options.known);
        let desk = Desk {
            recs: (0..workers as u64).map(Filling::new).collect(),
            records: plan.counted.records,
            fields: plan.counted.fields,
            seen: Seen::default(),
            retained: retained(&plan),
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
                desk.flush(bucket, &mut left.ledger);
                bucket = here;
            }
            let place = batch.place(n);
            let at = place.start - extent.start..place.end - extent.start;
            desk.message((&mut messages, at), (batch, n), bucket, &mut left, &mut give);
        }
        desk.flush(bucket, &mut left.ledger);
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
        let (plan, options, seen) = (&self.plan, &self.options, &mut self.seen);
        let (all, retained) = (&mut self.recs, &self.retained);
        let (records, fields) = (self.records, self.fields);
        let first = batch.first_sub;
        let rule = batch.rule(n);
        messages.decode(at, rule, arrived_at, batch.arrival_given(n), |sub, decoded| {
            let sub = first + sub;
            left.tally.read += 1;
            let origin = Origin { arrived_at, partition: batch.partition, position, sub };
            let mut count = |stream, outcome, reason| {
                if records {
                    count_records(&mut left.ledger, bucket, [stream, Some(outcome), reason], 1);
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
                    seen.kept[record.fields.stream() as usize] += i64::from(records);
                    if fields {
                        project::states(&record.fields, |column, state| {
                            seen.states[column as usize][state.number()] += 1;
                        });
                    }
                    if let Fields::Geo(geo) = &record.fields {
                        for metric in retained {
                            count_late(plan, *metric, geo, arrived_at, &mut left.counters);
                        }
                    }
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

    /// Moves what was seen into the ledger.
    fn flush(&mut self, bucket: i64, ledger: &mut Ledger) {
        let Seen { kept, states } = std::mem::take(&mut self.seen);
        for (stream, n) in Stream::ALL.iter().zip(kept).filter(|(_, n)| *n != 0) {
            count_records(ledger, bucket, [Some(stream.name()), Some("kept"), None], n);
        }
        if !self.fields {
            return;
        }
        for (column, states) in Column::ALL.iter().zip(states) {
            for (state, n) in State::ALL.iter().zip(states).filter(|(_, n)| *n != 0) {
                let (state, reason) = state.names();
                let names =
                    [Some(column.stream().name()), Some(column.name()), Some(state), reason];
                *ledger.entry(meta_key(bucket, true, &names)).or_insert(0) += n;
            }
        }
    }
}

/// Counts records of a stream, an outcome and a reason.
fn count_records(ledger: &mut Ledger, bucket: i64, names: [Option<&str>; 3], n: i64) {
    *ledger.entry(meta_key(bucket, false, &names)).or_insert(0) += n;
}

fn meta_key(bucket: i64, fields: bool, names: &[Option<&str>]) -> MetaKey {
    let cells = names.iter().map(|name| name.map_or(NULL, |name| intern(name).cell()));
    MetaKey { bucket, fields, cells: cells.collect() }
}

/// The metrics with windows over event time that retire.
fn retained(plan: &Plan) -> Vec<usize> {
    let retires = |m: &usize| {
        let metric = &plan.metrics[*m].schema.metric;
        metric.retain.is_some() && metric.windows.iter().any(|w| w.time == Time::Event)
    };
    (0..plan.metrics.len()).filter(retires).collect()
}

/// Counts a geo record whose windows of a metric had left `retain` when it arrived.
fn count_late(plan: &Plan, metric: usize, geo: &Geo<'_>, arrived_at: i64, counters: &mut Counters) {
    let Some(moment) = geo.timestamp.value() else { return };
    let metric = &plan.metrics[metric].schema.metric;
    let Some(retain) = metric.retain else { return };
    let late = metric.windows.iter().filter(|w| w.time == Time::Event).any(|w| {
        let last = w.starts(moment.micros).last();
        last.is_some_and(|start| arrived_at >= w.end(start).saturating_add(retain))
    });
    if late {
        *counters.entry(format!("late:{}", metric.name)).or_insert(0) += 1;
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
