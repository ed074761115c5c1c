//! What a post gives to the metrics: its rows, for each node whose sides are there.
//!
//! Promises: what metrics name of a post is found out once a post, for all of them.

use super::arrivals::Counts;
use super::layout::{HEADER, present};
use super::table;
use crate::metrics::declare::Fact;
use crate::metrics::plan::{Node, Plan};
use crate::metrics::update::Combine;
use crate::metrics::value::NULL;
use crate::record::Stream;

/// What metrics see of a post.
#[derive(Default)]
pub struct Seen {
    /// The sides that are there, a bit for each stream.
    there: u8,
    /// See [`Plan::look`].
    cells: Vec<i64>,
}

impl Seen {
    /// Looks at a slot.
    pub fn look(&mut self, plan: &Plan, slot: &[u8]) {
        self.there = present(slot);
        let sides = Stream::ALL
            .map(|s| (self.there & s.bit() != 0).then(|| &plan.layout.part(slot, s)[HEADER..]));
        plan.look(table::index(slot), sides, &mut self.cells);
    }
}

/// Where the rows of one node go.
pub struct Out<'a> {
    /// The node's place in the plan.
    pub n: usize,
    /// The node.
    pub node: &'a Node,
    /// Takes changes of its groups, or of its distinct rows.
    pub combine: &'a mut Combine,
}

impl Out<'_> {
    /// A post with these arrivals came (`sign` 1) or went (-1).
    pub fn post(&mut self, seen: &Seen, arrivals: &Counts, sign: i64) {
        if !self.node.has_rows(seen.there) {
            return;
        }
        if !matches!(self.node.fact, Fact::Arrivals(_)) {
            return self.row(&seen.cells, NULL, sign);
        }
        for (bucket, n) in arrivals {
            self.row(&seen.cells, *bucket, sign * i64::from(*n));
        }
    }

    fn row(&mut self, cells: &[i64], bucket: i64, diff: i64) {
        self.combine.row(self.n, self.node.first(), cells, bucket, diff);
    }
}
