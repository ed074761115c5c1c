//! Bag joins, on differential's own joins: every record counts, n pins and m geos of one index make
//! n*m rows. This is the batch systems' view, there to be compared with; not to be fast.

use std::sync::Arc;

use differential_dataflow::VecCollection;

use super::declare::Join;
use super::plan::Plan;
use super::update::{Combine, Updates};
use super::value::NULL;
use crate::assemble::layout::Packed;
use crate::record::Stream;

/// A record: its index, its stream, its packed columns.
pub type Rec = (u64, Stream, Packed);

/// A row of joined sides: the index, and the packed columns of pin, geo, user.
pub type Joined = (u64, [Packed; 3]);

/// The rows of every combination of sides that some node joins as bags.
pub fn join<'s>(
    plan: &Arc<Plan>,
    records: VecCollection<'s, u64, Rec, isize>,
) -> Vec<(usize, VecCollection<'s, u64, Joined, isize>)> {
    let side = |n: usize| {
        records.clone().flat_map(move |(index, stream, packed): Rec| {
            let mut sides: [Packed; 3] = Default::default();
            (stream as usize == n).then(|| {
                sides[n] = packed;
                (index, sides)
            })
        })
    };
    let bags = plan.nodes.iter().enumerate().filter(|(_, n)| n.join == Join::Bag);
    bags.map(|(n, node)| {
        let mut wanted = (0..3).filter(|s| node.sides[*s]);
        let first = side(wanted.next().expect("a fact over sides names one"));
        let rows = wanted.fold(first, |rows, s| {
            rows.join_map(side(s), move |index, a: &[Packed; 3], b: &[Packed; 3]| {
                let mut sides = a.clone();
                sides[s].clone_from(&b[s]);
                (*index, sides)
            })
        });
        (n, rows)
    })
    .collect()
}

/// What changes of a node's joined rows change of its groups, or of its distinct rows.
pub fn updates(
    plan: &Arc<Plan>,
    n: usize,
    combine: &mut Combine,
    rows: impl Iterator<Item = (Joined, isize)>,
) -> Vec<Updates> {
    let (node, mut seen) = (&plan.nodes[n], Vec::new());
    for ((index, sides), diff) in rows {
        seen.clear();
        plan.look(index, [0, 1, 2].map(|s| node.sides[s].then_some(&sides[s][..])), &mut seen);
        combine.row(n, node.first(), &seen, NULL, diff as i64);
    }
    let mut out = Vec::new();
    combine.drain(|u| out.push(u));
    out
}
