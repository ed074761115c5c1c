//! What posts give to the metrics: their rows, for each node whose sides are there.
//!
//! Promises: what metrics name of a post is found out once a post, for all of them. Some posts are
//! looked at by one node before the next one's turn: so its code and what it sums up stay near.

use super::arrivals::Counts;
use super::layout::{HEADER, present};
use super::table;
use crate::metrics::declare::Fact;
use crate::metrics::plan::{Node, Plan};
use crate::metrics::update::Combine;
use crate::metrics::value::NULL;
use crate::record::Stream;

/// So many posts are put together; with their cells they take some tens of kilobytes.
const TOGETHER: usize = 128;

/// What metrics see of a post.
struct Seen {
    /// The sides that are there, a bit for each stream.
    there: u8,
    /// Where its cells begin; see [`Plan::look`].
    cells: usize,
    arrivals: Counts,
}

/// A post that was touched.
struct Touched {
    was: Option<Seen>,
    is: Seen,
    /// The sides that are as they were, a bit for each stream.
    same: u8,
    /// Whether its arrivals are.
    arrived: bool,
}

/// Posts that changed, put together for the metrics.
#[derive(Default)]
pub struct Lot {
    posts: Vec<Touched>,
    cells: Vec<i64>,
}

impl Lot {
    /// Adds a post: its slot as it was, if it gave anything, and as it is, with its arrivals; and
    /// the sides that are as they were, a bit for each stream. True if the lot is to be given.
    pub fn add(
        &mut self,
        plan: &Plan,
        was: Option<(&[u8], Counts)>,
        is: (&[u8], Counts),
        same: u8,
    ) -> bool {
        let arrived = was.as_ref().is_some_and(|was| was.1 == is.1);
        let was = was.map(|(slot, arrivals)| self.look(plan, slot, arrivals));
        let is = self.look(plan, is.0, is.1);
        self.posts.push(Touched { was, is, same, arrived });
        self.posts.len() >= TOGETHER
    }

    fn look(&mut self, plan: &Plan, slot: &[u8], arrivals: Counts) -> Seen {
        let there = present(slot);
        let sides = Stream::ALL
            .map(|s| (there & s.bit() != 0).then(|| &plan.layout.part(slot, s)[HEADER..]));
        let cells = self.cells.len();
        plan.look(table::index(slot), sides, &mut self.cells);
        Seen { there, cells, arrivals }
    }

    /// Gives the rows that went and came to the metrics; the lot is then empty.
    pub fn give(&mut self, plan: &Plan, combine: &mut Combine) {
        for (n, node) in plan.nodes.iter().enumerate().filter(|(_, n)| n.of_posts()) {
            let arrivals = matches!(node.fact, Fact::Arrivals(_));
            let mut out = Out { n, node: node.first(), needs: node.needs(), arrivals, combine };
            for post in &self.posts {
                if out.needs & !post.same == 0 && (!arrivals || post.arrived) {
                    continue;
                }
                post.was.iter().for_each(|was| out.post(was, &self.cells, -1));
                out.post(&post.is, &self.cells, 1);
            }
        }
        self.posts.clear();
        self.cells.clear();
    }
}

/// Where the rows of one node go.
struct Out<'a> {
    n: usize,
    node: &'a Node,
    /// The sides that a row needs, a bit for each stream.
    needs: u8,
    /// Whether there is a row for each arrival.
    arrivals: bool,
    /// Takes changes of its groups, or of its distinct rows.
    combine: &'a mut Combine,
}

impl Out<'_> {
    /// A post came (`sign` 1) or went (-1).
    fn post(&mut self, seen: &Seen, cells: &[i64], sign: i64) {
        if self.needs & !seen.there != 0 {
            return;
        }
        let cells = &cells[seen.cells..];
        if !self.arrivals {
            return self.combine.row(self.n, self.node, cells, NULL, sign);
        }
        for (bucket, n) in &seen.arrivals {
            self.combine.row(self.n, self.node, cells, *bucket, sign * i64::from(*n));
        }
    }
}
