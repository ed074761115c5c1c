//! What posts give to the metrics: their rows, for each node whose sides are there.
//!
//! Promises: what metrics name of a post is found out once a post, for all of them that what
//! changed of it matters to. Some posts are looked at by one node before the next one's turn: so
//! its code and what it sums up stay near.

use std::ops::Range;

use super::arrivals::Count;
use super::layout::{HEADER, present};
use super::table;
use crate::metrics::plan::{Plan, Touched, Wants};
use crate::metrics::update::{Came, Combine};
use crate::metrics::value::NULL;
use crate::record::Stream;

/// So many posts are put together, as they were or as they are; with their cells they take some
/// tens of kilobytes.
const TOGETHER: usize = 128;

/// A post as it was, or as it is, where any metric gets rows of it.
struct Seen {
    touched: Touched,
    /// Whether it came (1) or went (-1).
    sign: i8,
    /// Where its cells begin; see [`Plan::look_for`].
    cells: u32,
    /// Its arrivals, among those of all.
    arrivals: Range<u32>,
}

/// Posts that changed, put together for the metrics.
#[derive(Default)]
pub struct Lot {
    posts: Vec<Seen>,
    cells: Vec<i64>,
    arrivals: Vec<Count>,
    /// Those that a node gets; only their room is kept.
    rows: Vec<Came>,
}

impl Lot {
    /// Adds a post: its slot as it was, if it gave anything, and as it is, with its arrivals; and
    /// the sides that changed, a bit for each stream. True if the lot is to be given.
    pub fn add(
        &mut self,
        plan: &Plan,
        was: Option<(&[u8], &[Count])>,
        is: (&[u8], &[Count]),
        changed: u8,
    ) -> bool {
        let arrived = was.as_ref().is_none_or(|was| was.1 != is.1);
        if let Some(was) = was {
            self.look(plan, was, (changed, arrived), -1);
        }
        self.look(plan, is, (changed, arrived), 1);
        self.posts.len() >= TOGETHER
    }

    fn look(
        &mut self,
        plan: &Plan,
        (slot, arrivals): (&[u8], &[Count]),
        (changed, arrived): (u8, bool),
        sign: i8,
    ) {
        let there = present(slot);
        let sides = Stream::ALL
            .map(|s| (there & s.bit() != 0).then(|| &plan.layout.part(slot, s)[HEADER..]));
        let (touched, cells) = (Touched { there, changed, arrived }, self.cells.len() as u32);
        if plan.look_for(touched, table::index(slot), sides, &mut self.cells) {
            let before = self.arrivals.len() as u32;
            self.arrivals.extend(arrivals);
            let arrivals = before..self.arrivals.len() as u32;
            self.posts.push(Seen { touched, sign, cells, arrivals });
        }
    }

    /// Gives the rows that went and came to the metrics; the lot is then empty.
    pub fn give(&mut self, plan: &Plan, combine: &mut Combine) {
        let Lot { posts, cells, arrivals, rows } = self;
        let mut of: Option<Wants> = None;
        for n in plan.turns() {
            let (n, node) = (*n, &plan.nodes[*n]);
            let wants = node.wants();
            if of.replace(wants) != Some(wants) {
                rows.clear();
                for seen in posts.iter().filter(|seen| wants.is_met(seen.touched)) {
                    let (at, diff) = (seen.cells, i64::from(seen.sign));
                    if wants.arrivals {
                        let Range { start, end } = seen.arrivals;
                        rows.extend(arrivals[start as usize..end as usize].iter().map(
                            |(bucket, count)| Came {
                                at,
                                bucket: *bucket,
                                diff: diff * i64::from(*count),
                            },
                        ));
                    } else {
                        rows.push(Came { at, bucket: NULL, diff });
                    }
                }
            }
            combine.rows(n, node.first(), cells, rows);
        }
        posts.clear();
        cells.clear();
        arrivals.clear();
    }
}
