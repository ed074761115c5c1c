//! Groups: the state of every node's groups on one worker, and what is published of it.
//!
//! Promises: what is shown is a function of the updates taken and of `now`; the order of updates
//! within an epoch does not matter. Windows leave memory when `now` passes their end and `retain`,
//! buckets of arrivals when no window reaches them any more.
//! An own operator: counts that arrive summed by key need no sorted batches, and multisets need
//! their cursors (see [`super::multiset`]); differential's operators on the same rows cost twice
//! the CPU and five times the memory.

pub mod size;
mod store;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use smallvec::SmallVec;

use super::changes::{Changes, Rows};
use super::declare::Shape;
use super::plan::{MetricPlan, Node, Plan, Show};
use super::update::{Member, SLIDING, Sums, Update};
use super::value::{Cells, GroupKey, NULL, Value, Values};
use crate::tick::Tick;
use store::{Group, Store};

/// What arrived in one bucket, by group keys.
#[derive(Default)]
struct Bucket {
    groups: FxHashMap<Cells, Held>,
}

/// A group's share of a bucket.
#[derive(Default)]
struct Held {
    sums: Sums,
    values: FxHashMap<(u16, i64, i64), i64>,
}

/// The groups of one node on one worker.
struct NodeGroups {
    groups: Store,
    /// Groups that changed since they were last published.
    dirty: Vec<u32>,
    /// Where windows retire: the groups by (window, start).
    starts: BTreeMap<(u16, i64), FxHashSet<u32>>,
    /// Where windows slide over arrivals.
    buckets: BTreeMap<i64, Bucket>,
    /// The edges that sliding windows are at.
    edges: Vec<(i64, i64)>,
}

/// All groups of one worker.
pub struct Groups {
    plan: Arc<Plan>,
    nodes: Vec<NodeGroups>,
    now: i64,
}

impl Groups {
    /// No groups yet.
    pub fn new(plan: Arc<Plan>) -> Self {
        Groups { nodes: plan.nodes.iter().map(NodeGroups::new).collect(), plan, now: i64::MIN }
    }

    /// Takes an update.
    pub fn update(&mut self, update: Update) {
        let node = &self.plan.nodes[update.node as usize];
        let groups = &mut self.nodes[update.node as usize];
        if update.window == SLIDING {
            return groups.slide_in(node, update);
        }
        let Update { window, start, keys, sums, members, .. } = update;
        if retired(node, window, start, self.now) {
            return;
        }
        groups.change(node, &GroupKey { window, start, keys }, (&sums, &members), 1);
    }

    /// The clock moved: windows slide and retire. Then, if the epoch publishes, the changes.
    pub fn tick(&mut self, tick: &Tick, changes: &mut Changes) {
        self.now = tick.now;
        let plan = self.plan.clone();
        for (n, node) in plan.nodes.iter().enumerate() {
            let groups = &mut self.nodes[n];
            let moved = groups.slide(node, tick) | groups.retire(node, tick.now);
            if tick.publish {
                groups.publish(node, &plan.metrics, changes);
                if tick.last {
                    *groups = NodeGroups::new(node);
                }
            } else if moved {
                groups.forget();
            }
        }
    }
}

/// Whether a window has left `retain`.
fn retired(node: &Node, window: u16, start: i64, now: i64) -> bool {
    match (node.retain, node.windows.get(window as usize)) {
        (Some(retain), Some(w)) if start != NULL && !node.slides(w) => {
            now >= w.end(start).saturating_add(retain)
        }
        _ => false,
    }
}

impl NodeGroups {
    fn new(node: &Node) -> Self {
        NodeGroups {
            groups: Store::new(node),
            dirty: Vec::new(),
            starts: BTreeMap::new(),
            buckets: BTreeMap::new(),
            edges: vec![(i64::MIN, i64::MIN); node.windows.len()],
        }
    }

    /// Adds sums and members to a group, made if need be, `sign` times.
    fn change(
        &mut self,
        node: &Node,
        key: &GroupKey,
        (sums, members): (&[i128], &[Member]),
        sign: i64,
    ) {
        let (number, new) = self.groups.find_or_add(key);
        if new && node.retain.is_some() && key.start != NULL {
            self.starts.entry((key.window, key.start)).or_default().insert(number);
        }
        let Some(mut group) = self.groups.get_mut(number) else { return };
        for (n, sum) in sums.iter().enumerate() {
            group.add(n, sum * i128::from(sign));
        }
        for Member { set, value, with, diff } in members {
            group.sets[*set as usize].update(*value, *with, diff * sign);
        }
        if !group.set_dirty(true) {
            self.dirty.push(number);
        }
    }

    fn remove(&mut self, number: u32) {
        let Some(key) = self.groups.remove(number) else { return };
        if let Some(numbers) = self.starts.get_mut(&(key.window, key.start)) {
            numbers.remove(&number);
        }
    }

    /// An arrival's bucket changed; so do the windows that hold the bucket.
    fn slide_in(&mut self, node: &Node, update: Update) {
        let Update { start: bucket, keys, sums, members, .. } = update;
        let held = self.buckets.entry(bucket).or_default().groups.entry(keys.clone());
        let held = held.or_default();
        held.sums.resize(sums.len().max(held.sums.len()), 0);
        held.sums.iter_mut().zip(&sums).for_each(|(a, b)| *a += b);
        for Member { set, value, with, diff } in &members {
            *held.values.entry((*set, *value, *with)).or_insert(0) += diff;
        }
        for w in 0..node.windows.len() {
            let (from, to) = self.edges[w];
            if node.slides(&node.windows[w]) && (from..to).contains(&bucket) {
                let key = GroupKey { window: w as u16, start: NULL, keys: keys.clone() };
                self.change(node, &key, (&sums, &members), 1);
            }
        }
    }

    /// Moves the edges of sliding windows: buckets come in and go out.
    fn slide(&mut self, node: &Node, tick: &Tick) -> bool {
        let (mut oldest, mut moved) = (i64::MAX, false);
        for (w, window) in node.windows.iter().enumerate() {
            let Shape::Sliding { size, every } = window.shape else { continue };
            if !node.slides(window) {
                continue;
            }
            let (from, to) = super::declare::Window::latest(size, every, tick.now, tick.ended);
            let (was_from, was_to) = self.edges[w];
            oldest = oldest.min(from);
            if (from, to) == (was_from, was_to) {
                continue;
            }
            self.edges[w] = (from, to);
            moved = true;
            self.pour(node, w, was_from..was_to.min(from), -1);
            self.pour(node, w, was_to.max(from)..to, 1);
        }
        if oldest != i64::MAX {
            self.buckets = self.buckets.split_off(&oldest);
        }
        moved
    }

    /// Adds or takes a range of buckets to or from a window.
    fn pour(&mut self, node: &Node, w: usize, range: std::ops::Range<i64>, sign: i64) {
        if range.is_empty() {
            return;
        }
        let buckets = std::mem::take(&mut self.buckets);
        for held in buckets.range(range).flat_map(|(_, b)| &b.groups) {
            let key = GroupKey { window: w as u16, start: NULL, keys: held.0.clone() };
            let values = held.1.values.iter().filter(|(_, diff)| **diff != 0);
            let member = |((set, value, with), diff): (&(u16, i64, i64), &i64)| Member {
                set: *set,
                value: *value,
                with: *with,
                diff: *diff,
            };
            let members: SmallVec<[Member; 8]> = values.map(member).collect();
            self.change(node, &key, (&held.1.sums, &members), sign);
        }
        self.buckets = buckets;
    }

    /// Windows whose time is over leave memory; what was published of them is taken back.
    fn retire(&mut self, node: &Node, now: i64) -> bool {
        let Some(retain) = node.retain else { return false };
        let mut moved = false;
        for (w, window) in node.windows.iter().enumerate().filter(|(_, w)| !node.slides(w)) {
            let w = w as u16;
            // Ends ascend with starts: the first window that stays ends the search.
            while let Some((&(_, start), _)) =
                self.starts.range((w, i64::MIN)..(w, i64::MAX)).next()
                && now >= window.end(start).saturating_add(retain)
            {
                for number in self.starts.remove(&(w, start)).into_iter().flatten() {
                    self.groups.reset(number);
                    let group = self.groups.get_mut(number);
                    if group.is_some_and(|mut g| !g.set_dirty(true)) {
                        self.dirty.push(number);
                    }
                }
                moved = true;
            }
        }
        moved
    }

    /// Without anyone to be shown to, groups that are empty and were never shown leave memory.
    fn forget(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|number| {
            let group = self.groups.get_mut(*number);
            let gone = group.is_some_and(|mut g| *g.shown() == 0 && g.is_gone());
            if gone {
                self.remove(*number);
            }
            !gone
        });
        self.dirty = dirty;
    }

    /// The rows of changed groups; groups without rows leave memory.
    fn publish(&mut self, node: &Node, metrics: &[MetricPlan], changes: &mut Changes) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut shown: Vec<Rows> = Vec::with_capacity(node.metrics.len());
        for number in dirty.drain(..) {
            let Some(mut group) = self.groups.get_mut(number) else { continue };
            group.set_dirty(false);
            let gone = group.is_gone();
            shown.clear();
            let mut of = |m: &u16| rows(&metrics[*m as usize], &mut group);
            shown.extend(node.metrics.iter().map(|m| if gone { Rows::new() } else { of(m) }));
            let hash = hash(&shown);
            if std::mem::replace(group.shown(), hash) != hash {
                let key = group.key();
                for (metric, rows) in node.metrics.iter().zip(&shown) {
                    changes.push(*metric, &key, rows);
                }
            }
            if gone {
                self.remove(number);
            }
        }
        self.dirty = dirty;
    }
}

/// The hash of a group's rows; 0 = it shows none.
fn hash(shown: &[Rows]) -> i64 {
    if shown.iter().all(SmallVec::is_empty) {
        return 0;
    }
    let mut hasher = FxHasher::default();
    shown.hash(&mut hasher);
    hasher.finish() as i64 | 1
}

/// What a metric shows of a group: usually one row; more where `top` or tied winners are shown.
fn rows(metric: &MetricPlan, group: &mut Group<'_>) -> Rows {
    let mut seen = metric.schema.metric.keep_empty;
    if !metric.shows.iter().any(Show::has_winners) {
        let mut row = Values::new();
        for show in &metric.shows {
            let (value, had) = single(show, group);
            seen |= had;
            row.push(value);
        }
        return if seen { Rows::from_iter([row]) } else { Rows::new() };
    }
    // Columns, and whether each has one value for all rows.
    let mut columns: Vec<(Vec<Value>, bool)> = Vec::new();
    let mut height = 1;
    for show in &metric.shows {
        let winners = match show {
            Show::Top { set, k } => group.sets[*set].top(*k, metric.all_ties),
            Show::Argmax { set } => group.sets[*set].argmax(metric.all_ties),
            _ => {
                let (value, had) = single(show, group);
                seen |= had;
                columns.push((vec![value], true));
                continue;
            }
        };
        seen |= !winners.is_empty();
        height = height.max(winners.len());
        let (first, second) = winners.into_iter().unzip();
        columns.extend([(first, false), (second, false)]);
    }
    if !seen {
        return Rows::new();
    }
    let row = |r: usize| {
        let cell = |(column, single): &(Vec<Value>, bool)| {
            column.get(if *single { 0 } else { r }).copied().unwrap_or(Value::Null)
        };
        columns.iter().map(cell).collect()
    };
    (0..height).map(row).collect()
}

/// A measure of one value, and whether it saw anything but nulls.
fn single(show: &Show, group: &mut Group<'_>) -> (Value, bool) {
    match *show {
        Show::Add { add, seen } => (Value::Int(group.sum(add)), group.sum(seen) != 0),
        Show::Ratio { over, under, seen } => {
            let (over, under) = (group.sum(over), group.sum(under));
            let value = if under == 0 { Value::Null } else { Value::Ratio(over, under) };
            (value, group.sum(seen) != 0)
        }
        Show::Distinct { set } => {
            let n = group.sets[set].distinct();
            (Value::Int(n as i128), n > 0)
        }
        Show::Quantile { set, num, den, interpolated } => {
            let values = group.sets[set].values();
            let value = values.map_or(Value::Null, |v| v.quantile(num, den, interpolated));
            (value, value != Value::Null)
        }
        Show::Min { set } | Show::Max { set } => {
            let least = matches!(show, Show::Min { .. });
            let value = group.sets[set]
                .values()
                .map_or(Value::Null, |v| if least { v.min() } else { v.max() });
            (value, value != Value::Null)
        }
        Show::Top { .. } | Show::Argmax { .. } => (Value::Null, false),
    }
}
