//! Dead letters as a source: what was rejected is read again under its own versions, by a version
//! of pinflow that understands more. The cleaning rules are the state's: what is held was judged
//! under them too.
//!
//! Promises: a letter keeps its partition, position, number within the message and arrival time,
//! so it stands in the order of versions where it always did. Letters that were cut off where
//! their partition's bound was reached cannot be read again and stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dataflows::batch::{Arrivals, Batch, Block, Given, Positions, Ruled, Span};
use dataflows::record::{Rule, Stream};

use super::glob::Routes;
use super::{Discovery, Found, Memos, Read, Reader, Source, SourceError};
use crate::config::{self, SourceKind};
use crate::store::dead::Letter;

/// The source's name, and that of its one partition.
pub const NAME: &str = "replay";

/// A letter's partition: its number, how it is routed, and whether it gives arrival times.
#[derive(Clone, Copy, Debug)]
struct Origin {
    partition: u32,
    rule: Rule,
    given: bool,
}

/// The letters of a state as a source that ends.
pub struct ReplaySource {
    letters: Option<Vec<(Letter, Vec<u8>)>>,
    origins: Arc<HashMap<(String, String), Origin>>,
}

impl ReplaySource {
    /// Letters to be read again; `known` are the partitions by number, `sources` say how they are
    /// routed.
    pub fn new(
        letters: Vec<(Letter, Vec<u8>)>,
        known: &[(String, String)],
        sources: &[config::Source],
    ) -> Self {
        let origin = |(number, (source, name)): (usize, &(String, String))| {
            let configured = sources.iter().find(|s| s.name == *source);
            let given = match configured.map(|s| &s.kind) {
                Some(SourceKind::Demo(_) | SourceKind::Kafka(_)) => true,
                Some(SourceKind::Files(files)) => files.arrival_field.is_some(),
                None => false,
            };
            let routes = configured.map(|s| Routes::new(&s.routes)).unwrap_or_default();
            let rule = match configured.map(|s| &s.kind) {
                Some(SourceKind::Kafka(_)) => {
                    super::kafka::topics::routing(&routes, name).otherwise()
                }
                _ => routes.rule(name).or_else(|| by_name(name)).unwrap_or(Rule::Auto),
            };
            let origin = Origin { partition: number as u32, rule, given };
            ((source.clone(), name.clone()), origin)
        };
        let origins = known.iter().enumerate().map(origin).collect();
        ReplaySource { letters: Some(letters), origins: Arc::new(origins) }
    }
}

/// What a file named pin, geo or user (and so the demo's partitions) is ruled by.
fn by_name(name: &str) -> Option<Rule> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.split('.').next().unwrap_or(file);
    Stream::from_name(stem).map(Rule::Kind)
}

impl Source for ReplaySource {
    fn name(&self) -> &str {
        NAME
    }

    fn restore(&mut self, _: &Memos, _: &[(String, u64)]) -> Result<(), SourceError> {
        Ok(())
    }

    fn discover(&mut self) -> Result<Discovery, SourceError> {
        let found = Found { name: NAME.into(), start: 0, rule: Rule::Auto };
        let found = if self.letters.is_some() { vec![found] } else { Vec::new() };
        Ok(Discovery { found, complete: true, ..Discovery::default() })
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn open(&mut self, _: &str, _: u32, at: u64) -> Result<Box<dyn Reader>, SourceError> {
        let letters = self.letters.take().unwrap_or_default().into_iter();
        Ok(Box::new(ReplayReader { letters, next: at, origins: self.origins.clone() }))
    }
}

/// Reads the letters; its position counts those that were ever read again.
struct ReplayReader {
    letters: std::vec::IntoIter<(Letter, Vec<u8>)>,
    next: u64,
    origins: Arc<HashMap<(String, String), Origin>>,
}

impl Reader for ReplayReader {
    fn read(&mut self, _max_bytes: usize, _max_records: usize) -> Result<Read, SourceError> {
        let Some((letter, payload)) = self.letters.next() else { return Ok(Read::End) };
        let key = (letter.source.clone(), letter.partition.clone());
        let (Some(origin), Some(arrived_at)) = (self.origins.get(&key), letter.arrived_at_micros())
        else {
            let what = format!("a dead letter of {}/{} that is not this state's", key.0, key.1);
            return Err(SourceError::Changed { what });
        };
        self.next += 1;
        // Where rules look at each record, the letter says what they said of it.
        let ruled = match letter.ruled.as_deref().and_then(Rule::from_name) {
            Some(rule) => Ruled::Each(vec![rule]),
            None => Ruled::All(origin.rule),
        };
        Ok(Read::Batch(Batch {
            partition: origin.partition,
            spans: vec![Span { start: 0, len: payload.len() as u32 }],
            block: Block(Arc::new(payload)),
            positions: Positions::Each(vec![letter.position]),
            first_sub: letter.sub,
            arrivals: Arrivals::One(arrived_at),
            // Whatever gave it, what it was rejected with may be far off.
            arrival_given: Given::from(vec![origin.given]),
            ruled,
            next: self.next,
        }))
    }

    fn end(&self) -> Option<u64> {
        Some(self.next + self.letters.len() as u64)
    }
}
