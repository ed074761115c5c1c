//! What a source asks the brokers: which topics and partitions there are, and what offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Consumer, known_offsets};
use super::shared::{Part, Shared};
use super::topics;
use crate::config::{Kafka, Start, Topics};

/// How long an answer of brokers that are there is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why there was nothing to be seen.
#[derive(Debug)]
pub struct Unseen {
    /// What was being asked for, and what was seen.
    pub what: String,
    /// What kept it from us.
    pub kind: Kind,
}

/// What keeps a look from seeing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Brokers are there, and did not answer in time.
    Slow,
    /// No broker is there, or none lets us in; what was being asked for.
    Away(String),
    /// Topics that have to be there are not; what to do.
    Missing(String),
    /// Something else.
    Other,
}

impl From<String> for Unseen {
    fn from(what: String) -> Self {
        Unseen { what, kind: Kind::Other }
    }
}

fn unseen(of: &str, error: &KafkaError) -> Unseen {
    let asking = format!("asking the brokers for {of}");
    let what = format!("{asking}: {}", client::shown(error));
    let kind = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::OperationTimedOut) => Kind::Slow,
        Some(RDKafkaErrorCode::BrokerTransportFailure) => Kind::Away(asking),
        _ => Kind::Other,
    };
    Unseen { what, kind }
}

impl Unseen {
    /// With what connections met, where that is known.
    pub fn with(self, met: Option<&str>) -> String {
        match (self.kind, met) {
            (Kind::Away(asking), Some(met)) => format!("{asking}: {met}"),
            (_, Some(met)) => format!("{} ({met})", self.what),
            (_, None) => self.what,
        }
    }
}

/// Offsets by partition.
pub type Offsets = BTreeMap<String, u64>;

/// What is wanted of partitions that are found.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// A bounded run: the partitions of the first look, and no more.
    pub bounded: bool,
    /// A bounded run ends at the first record of this time or later, if there is one;
    /// milliseconds since 1970-01-01 UTC.
    pub until: Option<i64>,
    /// Ends that were fixed by an earlier start.
    pub ends: Option<Offsets>,
    /// Partitions that an earlier start found; others are new.
    pub known: Option<BTreeSet<String>>,
}

/// What a look saw that was not known before.
#[derive(Debug, Default)]
pub struct Look {
    /// Partitions, with where they begin if nothing of them was read.
    pub found: Vec<(Arc<Part>, u64)>,
    /// Where a bounded run ends, of all partitions.
    pub ends: Offsets,
    /// What could not be seen, if anything.
    pub partial: Option<String>,
    /// Topics that are not there.
    pub missing: Vec<String>,
    /// A topic that was not there is there again, perhaps another one of its name.
    pub returned: bool,
}

/// What the brokers say there is.
#[derive(Debug, Default)]
pub struct Listed {
    /// All partitions of the topics that are meant, in order.
    pub parts: Vec<(String, i32)>,
    /// Those of them that no broker leads.
    pub leaderless: BTreeSet<(String, i32)>,
    /// Topics that are not there.
    pub missing: Vec<String>,
    /// Topics that the brokers say nothing of but an error, and what was seen.
    pub failed: BTreeMap<String, String>,
}

impl Listed {
    /// What of it cannot be read, if anything.
    fn partial(&self) -> Option<String> {
        let leaderless = self.leaderless.first().map(|(topic, number)| {
            let name = topics::name(topic, *number);
            format!("asking the brokers for {name}: none of them leads it")
        });
        self.failed.values().next().cloned().or(leaderless)
    }
}

/// Asks which topics and partitions there are of those that are meant.
/// Each answer is waited for so long.
pub fn listed(control: &Consumer, wanted: &[Topics], patience: Duration) -> Result<Listed, Unseen> {
    let failed = |e: KafkaError| unseen("topics", &e);
    let (mut found, mut seen) = (BTreeSet::new(), Listed::default());
    let mut take = |topic: &MetadataTopic, seen: &mut Listed| -> bool {
        match topic.error() {
            None => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => return false,
            Some(error) => {
                let error = RDKafkaErrorCode::from(error);
                let what = format!("asking the brokers for topic {}: {error}", topic.name());
                seen.failed.insert(topic.name().to_owned(), what);
                return true;
            }
        }
        for p in topic.partitions() {
            let name = (topic.name().to_owned(), p.id());
            if p.leader() < 0 {
                seen.leaderless.insert(name.clone());
            }
            found.insert(name);
        }
        !topic.partitions().is_empty()
    };
    for one in wanted {
        if let Topics::Named(name) = one {
            let metadata = control.fetch_metadata(Some(name), patience).map_err(failed)?;
            let mut there = false;
            for topic in metadata.topics().iter().filter(|t| t.name() == name) {
                there = take(topic, &mut seen);
            }
            if !there {
                seen.missing.push(name.clone());
            }
        }
    }
    if wanted.iter().any(|t| matches!(t, Topics::Matching(_))) {
        let metadata = control.fetch_metadata(None, patience).map_err(failed)?;
        for topic in metadata.topics().iter().filter(|t| topics::meant(wanted, t.name())) {
            take(topic, &mut seen);
        }
        let meant = |one: &Topics| {
            metadata.topics().iter().any(|t| topics::meant(std::slice::from_ref(one), t.name()))
        };
        for one in wanted.iter().filter(|one| !meant(one)) {
            if let Topics::Matching(regex) = one {
                seen.missing.push(format!("matching {regex}"));
            }
        }
    }
    seen.parts = found.into_iter().collect();
    Ok(seen)
}

/// Offsets of partitions: the oldest, the one behind the newest, or the first of a time
/// (milliseconds); partitions without an answer are left out. It is waited for so long.
pub fn asked(
    control: &Consumer,
    parts: &[Arc<Part>],
    what: Offset,
    patience: Duration,
) -> Result<Offsets, Unseen> {
    if parts.is_empty() {
        return Ok(Offsets::new());
    }
    let failed = |e: KafkaError| unseen("offsets", &e);
    let mut list = TopicPartitionList::with_capacity(parts.len());
    for part in parts {
        list.add_partition_offset(&part.topic, part.number, what).map_err(failed)?;
    }
    let list = control.offsets_for_times(list, patience).map_err(failed)?;
    Ok(known_offsets(&list).into_iter().collect())
}

/// Brings begins and ends up to date; only those of partitions that are still there and read.
pub fn refresh(
    shared: &Shared,
    control: &Consumer,
    begins: bool,
    patience: Duration,
) -> Result<(), Unseen> {
    let live = |p: &&Arc<Part>| p.live();
    let parts: Vec<Arc<Part>> = shared.parts.lock().values().filter(live).cloned().collect();
    let quiet = |p: &Arc<Part>| p.at_end.load(Relaxed) && p.ended.get().is_none();
    let ended: Vec<bool> = parts.iter().map(quiet).collect();
    let asking: Vec<Arc<Part>> =
        parts.iter().filter(|p| begins || p.asks.load(Relaxed)).cloned().collect();
    let begin = asked(control, &asking, Offset::Beginning, patience)?;
    let end = asked(control, &parts, Offset::End, patience)?;
    for (part, ended) in parts.iter().zip(ended) {
        let (begin, end) = (begin.get(&part.name), end.get(&part.name));
        if let Some(begin) = begin {
            part.begin.set(Some(*begin));
        }
        if let Some(end) = end {
            part.end.set(Some(*end));
            if ended {
                part.ended.set(Some(*end));
            }
        }
        if begin.is_some() && end.is_some() {
            part.seen.fetch_add(1, Relaxed);
            part.asks.store(false, Relaxed);
        }
    }
    Ok(())
}

/// Looks for partitions; each answer is waited for so long.
pub fn look(
    shared: &Shared,
    control: &Consumer,
    wish: &mut Wish,
    first: bool,
    patience: Duration,
) -> Result<Look, Unseen> {
    let listed = listed(control, &shared.config.topics, patience)?;
    if first && wish.bounded && !listed.missing.is_empty() {
        let hint = absent_hint(&shared.config, &listed.missing);
        return Err(Unseen { what: absent(&listed.missing), kind: Kind::Missing(hint) });
    }
    // Which partitions there are at the first start is kept: all are to be known then.
    let insists = first && (wish.bounded || wish.known.is_none());
    let mut partial = listed.partial();
    if let Some(what) = partial.take_if(|_| insists) {
        return Err(what.into());
    }
    let strange = match &shared.config.start {
        Start::Offsets(given) if wish.known.is_none() => strangers(given, &listed),
        _ => Vec::new(),
    };
    let known = shared.parts.lock().clone();
    let returned = mark(&known, &listed);
    let missing = listed.missing;
    if wish.bounded && !first {
        return Ok(Look { partial, missing, returned, ..Look::default() });
    }
    let led = listed.parts.iter().filter(|name| !listed.leaderless.contains(name));
    let new = led.map(|(topic, n)| Arc::new(Part::new(topic, *n)));
    let new: Vec<Arc<Part>> = new.filter(|p| !known.contains_key(&p.name)).collect();
    let begins = asked(control, &new, Offset::Beginning, patience)?;
    let ends = asked(control, &new, Offset::End, patience)?;
    let (new, silent): (Vec<_>, Vec<_>) =
        new.into_iter().partition(|p| begins.contains_key(&p.name) && ends.contains_key(&p.name));
    if let Some(part) = silent.first() {
        let what = format!("the offsets of {} are not known to the brokers", part.name);
        if insists {
            return Err(what.into());
        }
        partial.get_or_insert(what);
    }
    for part in &new {
        part.begin.set(begins.get(&part.name).copied());
        part.end.set(ends.get(&part.name).copied());
    }
    let starts = starts(shared, control, wish, &new)?;
    let stops = if wish.bounded { stops(control, wish, &new)? } else { Offsets::new() };
    for partition in strange {
        let source = &*shared.source;
        tracing::warn!(source, partition, "`start` names a partition that is not there");
    }
    wish.known.get_or_insert_default().extend(new.iter().map(|p| p.name.clone()));
    let mut look = Look { found: Vec::new(), ends: stops, partial, missing, returned };
    for part in new {
        part.stop.set(look.ends.get(&part.name).copied());
        let start = starts.get(&part.name).copied().unwrap_or_default();
        shared.parts.lock().insert(part.name.clone(), part.clone());
        look.found.push((part, start));
    }
    Ok(look)
}

/// The partitions that `start` names and that are not there.
pub fn strangers(given: &Offsets, listed: &Listed) -> Vec<String> {
    let there: BTreeSet<String> =
        listed.parts.iter().map(|(topic, number)| topics::name(topic, *number)).collect();
    given.keys().filter(|name| !there.contains(*name)).cloned().collect()
}

/// That topics are not there.
pub fn absent(topics: &[String]) -> String {
    let (s, are) = if topics.len() > 1 { ("s", "are") } else { ("", "is") };
    format!("topic{s} {} {are}{ABSENT}", topics.join(", "))
}

/// How it ends.
pub const ABSENT: &str = " not there";

/// What to do where topics are not there.
pub fn absent_hint(config: &Kafka, topics: &[String]) -> String {
    let of = |prefix: &&String| topics.iter().any(|t| t.starts_with(&format!("{prefix}.")));
    match config.prefix.as_ref().filter(of) {
        Some(prefix) => format!(
            "make them, or mend `prefix`: \"{prefix}\" reads {prefix}.pin, {prefix}.geo and \
             {prefix}.user; or list what there is in `topics`"
        ),
        None => "make it, or mend `topics`".into(),
    }
}

/// Notes which of the partitions that are read are there, and led; whether one came back.
fn mark(known: &BTreeMap<String, Arc<Part>>, listed: &Listed) -> bool {
    let mut returned = false;
    // Of a topic that only an error is said of, nothing new is known.
    for part in known.values().filter(|p| !listed.failed.contains_key(&p.topic)) {
        let name = (part.topic.clone(), part.number);
        let there = listed.parts.binary_search(&name).is_ok();
        part.leaderless.store(listed.leaderless.contains(&name), Relaxed);
        if part.absent() && there {
            // It may be another topic of the same name: that is said before it is there again.
            part.returned.store(true, Release);
            returned = true;
        }
        part.gone.store(!there, Release);
        part.denied.store(false, Release);
    }
    returned
}

/// Where partitions begin that nothing was read of.
fn starts(
    shared: &Shared,
    control: &Consumer,
    wish: &Wish,
    new: &[Arc<Part>],
) -> Result<Offsets, Unseen> {
    let mut starts: Offsets =
        new.iter().filter_map(|p| Some((p.name.clone(), p.begin.get()?))).collect();
    // What comes while pinflow runs, or came while it did not, is read from its beginning.
    let later = wish.known.is_some();
    match &shared.config.start {
        Start::Earliest => {}
        _ if later => {}
        Start::Latest => {
            let end = |p: &Arc<Part>| Some((p.name.clone(), p.end.get()?));
            starts.extend(new.iter().filter_map(end));
        }
        Start::At(micros) => {
            let at = asked(control, new, Offset::Offset(micros.div_euclid(1000).max(0)), PATIENCE)?;
            for part in new {
                // No record is as new as that: what comes from now on.
                let none = part.end.get().unwrap_or_default();
                starts.insert(part.name.clone(), at.get(&part.name).copied().unwrap_or(none));
            }
        }
        Start::Offsets(given) => {
            for part in new {
                let Some(wanted) = given.get(&part.name) else { continue };
                starts.insert(part.name.clone(), within(shared, part, *wanted));
            }
        }
    }
    Ok(starts)
}

/// An offset that was asked for, within what the brokers hold: beyond that, a reader would take
/// the partition for another one and read all of it.
fn within(shared: &Shared, part: &Part, wanted: u64) -> u64 {
    let begin = part.begin.get().unwrap_or_default();
    let end = part.end.get().unwrap_or(begin).max(begin);
    let at = wanted.clamp(begin, end);
    if at != wanted {
        let (source, partition) = (&*shared.source, &*part.name);
        let what = "`start` asks for an offset that the brokers do not hold; the next is taken";
        tracing::warn!(source, partition, wanted, begin, end, at, "{what}");
    }
    at
}

/// Where a bounded run ends: where an earlier start fixed it, else at the time that is given or
/// the end of now.
fn stops(control: &Consumer, wish: &Wish, new: &[Arc<Part>]) -> Result<Offsets, Unseen> {
    if let Some(ends) = &wish.ends {
        return Ok(new
            .iter()
            .map(|p| (p.name.clone(), ends.get(&p.name).copied().unwrap_or_default()))
            .collect());
    }
    let mut stops: Offsets =
        new.iter().filter_map(|p| Some((p.name.clone(), p.end.get()?))).collect();
    if let Some(until) = wish.until {
        stops.extend(asked(control, new, Offset::Offset(until.max(0)), PATIENCE)?);
    }
    Ok(stops)
}
