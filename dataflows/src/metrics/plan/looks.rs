//! Which cells of a post are looked at: those of the nodes that what changed of it matters to.
//!
//! Promises: a node that gets rows finds all the cells that it reads.

use std::array::from_fn;
use std::collections::BTreeSet;

use super::super::declare::Fact;
use super::super::expr::{Cond, Ex, Nth, Row};
use super::super::value::NULL;
use super::{Add, Adds, Node, Set};
use crate::record::Stream;

/// Sets of sides.
const SETS: usize = 1 << Stream::ALL.len();

/// What of a post changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The sides that are there, a bit for each stream.
    pub there: u8,
    /// The sides that changed, likewise.
    pub changed: u8,
    /// Whether its arrivals changed.
    pub arrived: bool,
}

impl Touched {
    fn number(self) -> usize {
        let of = |sides: u8| usize::from(sides) % SETS;
        (usize::from(self.arrived) * SETS + of(self.changed)) * SETS + of(self.there)
    }
}

/// The cells of a post, and which of them are looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    /// Each once, whatever number of nodes reads it.
    pub exprs: Vec<Ex>,
    /// By what changed, of each whether it is looked at; none where no node gets a row.
    wanted: Vec<Option<Vec<bool>>>,
    /// The nodes of posts, those that want the same one after the other.
    turns: Vec<usize>,
}

impl Looks {
    /// The nodes that get rows of posts, those that want the same one after the other.
    pub fn turns(&self) -> &[usize] {
        &self.turns
    }

    /// Finds out what each of these nodes reads.
    pub fn find(&mut self, nodes: &[Node]) {
        self.turns = (0..nodes.len()).filter(|n| nodes[*n].of_posts()).collect();
        self.turns.sort_by_key(|n| nodes[*n].wants());
        let list = |of: Touched| {
            let touched = |n: &&Node| n.of_posts() && n.wants().is_met(of);
            let mut all = nodes.iter().filter(touched).peekable();
            all.peek()?;
            let cells: BTreeSet<Nth> = all.flat_map(|n| n.first().reads()).collect();
            Some((0..self.exprs.len()).map(|n| cells.contains(&n)).collect())
        };
        let every = [false, true].map(|arrived| {
            from_fn::<_, SETS, _>(|changed| {
                from_fn::<_, SETS, _>(|there| {
                    list(Touched { there: there as u8, changed: changed as u8, arrived })
                })
            })
        });
        self.wanted = every.into_iter().flatten().flatten().collect();
    }

    /// Appends the cells that a change is for, and nulls for the others; false, and nothing,
    /// where no node gets a row.
    #[inline]
    pub fn append(&self, touched: Touched, row: &Row<'_>, cells: &mut Vec<i64>) -> bool {
        let Some(wanted) = &self.wanted[touched.number()] else { return false };
        let exprs = self.exprs.iter().zip(wanted);
        cells.extend(exprs.map(|(ex, wanted)| if *wanted { ex.eval(row) } else { NULL }));
        true
    }
}

/// When a node gets rows of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wants {
    sides: u8,
    /// Those whose changes matter: the same, and others whose being there does.
    watched: u8,
    /// Whether there is a row for each arrival.
    pub arrivals: bool,
}

impl Wants {
    /// Whether a post gives a row that is another one than before.
    #[inline]
    pub fn is_met(self, of: Touched) -> bool {
        let changed = self.watched & of.changed != 0 || self.arrivals && of.arrived;
        self.sides & !of.there == 0 && changed
    }
}

impl Node {
    /// When it gets rows of a post.
    pub fn wants(&self) -> Wants {
        let (sides, arrivals) = (self.needs(), matches!(self.fact, Fact::Arrivals(_)));
        Wants { sides, watched: sides | self.watched, arrivals }
    }

    /// The cells of a row that it reads.
    pub(in crate::metrics) fn reads(&self) -> Vec<Nth> {
        let of = |conds: &[Cond]| conds.iter().map(Cond::cell).collect::<Vec<_>>();
        let mut cells = of(&self.filter);
        cells.extend(self.keys.iter().map(|key| key.1));
        cells.extend(self.event);
        for Add { what, filter } in &self.adds {
            cells.extend(of(filter));
            match *what {
                Adds::Rows => {}
                Adds::Values(n) | Adds::Sum(n) => cells.push(n),
            }
        }
        for Set { order: _, value, with, filter } in &self.sets {
            cells.extend(of(filter));
            cells.push(*value);
            cells.extend(*with);
        }
        cells
    }
}
