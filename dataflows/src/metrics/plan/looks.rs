//! Which cells of a post are looked at: those of the nodes that what changed of it matters to.
//!
//! Promises: a node that gets rows finds all the cells that it reads.

use std::array::from_fn;
use std::collections::BTreeSet;

use super::super::declare::Fact;
use super::super::expr::{Cond, Ex, Nth, Row};
use super::super::value::NULL;
use super::{Adds, Node};
use crate::record::Stream;

/// Sets of sides.
const SETS: usize = 1 << Stream::ALL.len();

/// What of a post is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The sides that are there, a bit for each stream.
    pub there: u8,
    /// Of the post the sides that changed, likewise.
    pub changed: u8,
    /// Whether its arrivals changed.
    pub arrived: bool,
}

impl Asked {
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
    /// By what is asked, of each whether it is looked at; none where no node gets a row.
    wanted: Vec<Option<Vec<bool>>>,
}

impl Looks {
    /// Finds out what each of these nodes reads.
    pub fn list(&mut self, nodes: &[Node]) {
        let list = |asked: Asked| {
            let touched = |n: &&Node| n.of_posts() && n.wants().is_met(asked);
            let mut all = nodes.iter().filter(touched).peekable();
            all.peek()?;
            let cells: BTreeSet<Nth> = all.flat_map(|n| n.first().reads()).collect();
            Some((0..self.exprs.len()).map(|n| cells.contains(&n)).collect())
        };
        let every = [false, true].map(|arrived| {
            from_fn::<_, SETS, _>(|changed| {
                from_fn::<_, SETS, _>(|there| {
                    list(Asked { there: there as u8, changed: changed as u8, arrived })
                })
            })
        });
        self.wanted = every.into_iter().flatten().flatten().collect();
    }

    /// Appends the cells that are asked for, and nulls in place of the others; false, and nothing,
    /// where no node gets a row.
    #[inline]
    pub fn some(&self, asked: Asked, row: &Row<'_>, cells: &mut Vec<i64>) -> bool {
        let Some(wanted) = &self.wanted[asked.number()] else { return false };
        let exprs = self.exprs.iter().zip(wanted);
        cells.extend(exprs.map(|(ex, wanted)| if *wanted { ex.eval(row) } else { NULL }));
        true
    }
}

/// When a node gets rows of a post.
#[derive(Clone, Copy)]
pub struct Wants {
    sides: u8,
    /// Whether there is a row for each arrival.
    pub arrivals: bool,
}

impl Wants {
    /// Whether a post gives a row that is another one than before.
    #[inline]
    pub fn is_met(self, asked: Asked) -> bool {
        let changed = self.sides & asked.changed != 0 || self.arrivals && asked.arrived;
        self.sides & !asked.there == 0 && changed
    }
}

impl Node {
    /// When it gets rows of a post.
    pub fn wants(&self) -> Wants {
        Wants { sides: self.needs(), arrivals: matches!(self.fact, Fact::Arrivals(_)) }
    }

    /// The cells of a row that it reads.
    fn reads(&self) -> Vec<Nth> {
        let of = |conds: &[Cond]| conds.iter().map(Cond::cell).collect::<Vec<_>>();
        let mut cells = of(&self.filter);
        cells.extend(self.keys.iter().map(|key| key.1));
        cells.extend(self.event);
        for add in &self.adds {
            cells.extend(of(&add.filter));
            match add.what {
                Adds::Rows => {}
                Adds::Values(n) | Adds::Sum(n) => cells.push(n),
            }
        }
        for set in &self.sets {
            cells.extend(of(&set.filter));
            cells.push(set.value);
            cells.extend(set.with);
        }
        cells
    }
}
