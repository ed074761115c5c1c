//! The changed groups of an epoch, packed as they lie in tables, metric by metric.
//!
//! Promises: what is pushed comes out as it went in, that of each metric in its order. A group
//! costs some words and no allocation of its own, so that an epoch that changes every group (the
//! only one that a bounded run shows) takes little memory.
//! Limits: 2^32 - 1 rows of a group.

use std::sync::Arc;

use super::packed::{GroupRows, Packed, RowLayout};
use super::value::{Change, GroupKey, Value, Values};

/// Slots of a block, about.
const BLOCK: usize = 1024;

/// Changes of groups.
#[derive(Debug, Default)]
pub struct Changes {
    /// By metric.
    parts: Vec<Option<Part>>,
}

/// The changes of one metric.
#[derive(Debug)]
pub struct Part {
    layout: Arc<RowLayout>,
    blocks: Vec<Block>,
    groups: usize,
    /// How many of them have no rows.
    gone: usize,
}

/// Some changes of one metric.
#[derive(Debug, Default)]
pub struct Block {
    rows: Packed,
    /// How many rows each group has. One that has none takes a slot too, with its key.
    counts: Vec<u32>,
}

impl Changes {
    /// How many groups changed.
    pub fn len(&self) -> usize {
        self.parts.iter().flatten().map(Part::len).sum()
    }

    /// Whether none did.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes of a metric whose rows are packed so.
    #[inline]
    pub fn part(&mut self, metric: u16, layout: &Arc<RowLayout>) -> &mut Part {
        let at = usize::from(metric);
        if self.parts.len() <= at {
            self.parts.resize_with(at + 1, || None);
        }
        self.parts[at].get_or_insert_with(|| Part::new(layout))
    }

    /// The changes of metrics that have any, by the metrics' places in the plan.
    pub fn parts(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().enumerate().filter_map(|(n, part)| Some((n, part.as_ref()?)))
    }

    /// The same, to be taken over.
    pub fn into_parts(self) -> impl Iterator<Item = (usize, Part)> {
        self.parts.into_iter().enumerate().filter_map(|(n, part)| Some((n, part?)))
    }

    /// The changes one by one.
    pub fn list(&self) -> Vec<Change> {
        let change = |metric: usize, group: GroupRows<'_>| Change {
            metric: metric as u16,
            key: group.key(),
            rows: group.rows().map(|row| row.values()).collect(),
        };
        let parts = self.parts();
        parts.flat_map(|(metric, part)| part.groups().map(move |g| change(metric, g))).collect()
    }
}

impl FromIterator<(usize, Part)> for Changes {
    fn from_iter<I: IntoIterator<Item = (usize, Part)>>(parts: I) -> Self {
        let mut changes = Changes::default();
        for (at, part) in parts {
            let len = changes.parts.len().max(at + 1);
            changes.parts.resize_with(len, || None);
            changes.parts[at] = Some(part);
        }
        changes
    }
}

impl Part {
    /// None yet.
    pub fn new(layout: &Arc<RowLayout>) -> Self {
        Part { layout: Arc::clone(layout), blocks: Vec::new(), groups: 0, gone: 0 }
    }

    /// How many groups changed.
    pub fn len(&self) -> usize {
        self.groups
    }

    /// Whether none did.
    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// How many of them have rows.
    pub fn with_rows(&self) -> usize {
        self.groups - self.gone
    }

    /// Adds a change.
    #[inline]
    pub fn push(&mut self, key: &GroupKey, rows: &[Values]) {
        let (layout, block) = self.room_for(rows.len());
        block.rows.add(layout, key, rows);
        block.counts.push(rows.len() as u32);
    }

    /// The same of a group of one row, of these values by column.
    #[inline]
    pub fn push_row(&mut self, key: &GroupKey, value: impl Fn(usize) -> Value) {
        let (layout, block) = self.room_for(1);
        block.rows.add_row(layout, key, value);
        block.counts.push(1);
    }

    /// Adds a change that is packed alike.
    pub fn copy(&mut self, group: GroupRows<'_>) {
        let (_, block) = self.room_for(group.count);
        block.rows.extend(GroupRows { count: group.count.max(1), ..group });
        block.counts.push(group.count as u32);
    }

    /// How rows are packed, and the block that the next change of so many rows goes to.
    #[inline]
    fn room_for(&mut self, rows: usize) -> (&RowLayout, &mut Block) {
        self.groups += 1;
        self.gone += usize::from(rows == 0);
        let Part { layout, blocks, .. } = self;
        let has_room = |block: &Block| {
            block.rows.slots(layout) + rows.max(1) <= BLOCK || block.counts.is_empty()
        };
        if !blocks.last().is_some_and(has_room) {
            // The first grows with what is in it: most epochs change little.
            let room = if blocks.is_empty() { 0 } else { BLOCK };
            let (rows, counts) = (Packed::with_room(layout, room), Vec::with_capacity(room));
            blocks.push(Block { rows, counts });
        }
        (layout, blocks.last_mut().expect("one was just pushed"))
    }

    /// The groups, with their rows.
    pub fn groups(&self) -> impl Iterator<Item = GroupRows<'_>> {
        self.blocks.iter().flat_map(|block| block.groups(&self.layout))
    }

    /// The blocks, to be taken over.
    pub fn into_blocks(self) -> impl Iterator<Item = Block> {
        self.blocks.into_iter()
    }
}

impl Block {
    /// The groups, with their rows.
    pub fn groups<'a>(&'a self, layout: &'a RowLayout) -> impl Iterator<Item = GroupRows<'a>> {
        let mut next = 0;
        self.counts.iter().map(move |count| {
            let (first, count) = (next, *count as usize);
            next += count.max(1);
            GroupRows { layout, packed: &self.rows, first, count }
        })
    }

    /// How many groups have rows, and the rows of all.
    pub fn into_rows(mut self, layout: &RowLayout) -> (usize, Packed) {
        let gone = |group: &GroupRows<'_>| group.count == 0;
        if self.counts.contains(&0) {
            let mut rows = Packed::default();
            self.groups(layout).filter(|g| !gone(g)).for_each(|group| rows.extend(group));
            self.rows = rows;
            self.counts.retain(|count| *count > 0);
        }
        (self.counts.len(), self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::declare::{
        Expr, Fact, Join, Key, Kind, Measure, Metric, Output, Shape, Ties, Time, Window,
    };
    use super::super::schema::Schema;
    use super::super::value::{NULL, Value};
    use super::*;
    use crate::record::Column;
    use crate::symbol::intern;

    fn layout(windows: u16) -> Arc<RowLayout> {
        let age = Expr::Column(Column::Age);
        let measure = |name: &str, kind| Measure {
            name: name.into(),
            returned: None,
            kind,
            filter: Vec::new(),
        };
        let shape = Shape::Tumbling { size: 3_600_000_000 };
        let metric = Metric {
            name: "m".into(),
            meaning: String::new(),
            fact: Fact::Sides([true; 3]),
            join: Join::Newest,
            filter: Vec::new(),
            keys: vec![Key { name: "age".into(), expr: age }],
            distinct: Vec::new(),
            measures: vec![measure("mean", Kind::Mean(age)), measure("count", Kind::Count)],
            windows: (0..windows).map(|_| Window { time: Time::Event, shape }).collect(),
            retain: None,
            ties: Ties::First,
            keep_empty: false,
            export: 0,
            limit: None,
            output: Output::default(),
        };
        Arc::new(RowLayout::of(&Schema::of(&metric)))
    }

    #[test]
    fn changes_come_out_as_they_went_in() {
        let values = [
            Value::Null,
            Value::Int(-1),
            Value::Int(i128::MIN),
            Value::Ratio(-7, 3),
            Value::Ratio(i128::MAX, 3),
            Value::Text(intern("a text")),
        ];
        let layouts = [layout(0), layout(2)];
        let (mut changes, mut want) = (Changes::default(), Vec::new());
        for n in 0..9000_usize {
            let row = |n: usize| [0, 1].map(|by| values[(n + by) % values.len()]);
            let rows: Vec<Values> = (0..n % 3).map(|r| Values::from(row(n + r))).collect();
            let (metric, start) = [(0, NULL), (7, 3_600_000_000 * n as i64)][n % 2];
            let keys = [n as i64 * i64::from(u32::MAX)][..].into();
            let key = GroupKey { window: metric / 7 * (n % 4 / 2) as u16, start, keys };
            changes.part(metric, &layouts[n % 2]).push(&key, &rows);
            want.push(Change { metric, key, rows });
        }
        want.sort_by_key(|change| change.metric);
        assert!(changes.parts().all(|(_, part)| part.blocks.len() > 1));
        assert_eq!((changes.list(), changes.len()), (want.clone(), want.len()));
        let copy = |(metric, part): (usize, &Part)| {
            let mut copy = Part::new(&part.layout);
            part.groups().for_each(|group| copy.copy(group));
            (metric, copy)
        };
        let copies: Changes = changes.parts().map(copy).collect();
        assert_eq!(copies.list(), want);
        // Of groups without rows nothing is left.
        for (metric, part) in changes.into_parts() {
            let layout = Arc::clone(&part.layout);
            let rows: Vec<_> = part.into_blocks().map(|block| block.into_rows(&layout)).collect();
            let of = want.iter().filter(|change| usize::from(change.metric) == metric);
            let there = of.clone().filter(|change| !change.rows.is_empty()).count();
            assert_eq!(rows.iter().map(|(groups, _)| groups).sum::<usize>(), there);
            let values = rows.iter().flat_map(|(_, rows)| rows.rows(&layout));
            assert!(values.map(|row| row.values()).eq(of.flat_map(|change| change.rows.clone())));
        }
    }
}
