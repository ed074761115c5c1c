//! A plan in words and numbers: the operators that the declarations become, what they share, and
//! how much memory a post, an arrival and a group take.

mod measured;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;

use self::measured::{Cell, Set};
use super::declare::{Expr, Join, Kind, Metric, Time, Window};
use super::group::size;
use super::plan::{Node, Plan, Rest, metric_columns};
use crate::assemble::arrivals;
use crate::assemble::layout::{HEADER, Place};
use crate::names::{self, Operator};
use crate::record::Stream;

/// A plan in words and numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The operators, sources first.
    pub operators: Vec<Step>,
    /// What is grouped: one node for metrics that group the same rows, or some of them, alike.
    pub groups: Vec<Grouped>,
    /// What is held of a post.
    pub post: PostSize,
    /// How arrivals are held; none if no metric is over them.
    pub arrivals: Option<ArrivalsSize>,
}

/// An operator and what feeds it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The operator.
    #[serde(flatten)]
    pub operator: Operator,
    /// The operators or inputs that feed it.
    pub inputs: Vec<&'static str>,
}

/// Rows of a fact by key and window, with all that is measured of them.
#[derive(Clone, Debug, Serialize)]
pub struct Grouped {
    /// The name that live figures of it have.
    pub name: String,
    /// The metrics that share it; first the one whose rows it has.
    pub metrics: Vec<String>,
    /// Those of them that look at some of its rows, or show some of its windows.
    pub parts: Vec<Part>,
    /// The fact.
    pub of: String,
    /// Joined as bags.
    pub bag: bool,
    /// The sides that a row needs.
    pub sides: Vec<&'static str>,
    /// Conditions on rows.
    pub filter: Vec<String>,
    /// Rows equal in these count once.
    pub distinct: Vec<String>,
    /// The group keys.
    pub keys: Vec<String>,
    /// The windows; none = one without edges.
    pub windows: Vec<WindowLine>,
    /// How long a window stays beyond its end.
    pub retain: Option<String>,
    /// What is added up.
    pub cells: Vec<Cell>,
    /// What is kept in order.
    pub multisets: Vec<Set>,
    /// Bytes of a group, about, without the members of its multisets.
    pub group_bytes: usize,
    /// Bytes of a row of those that count once, about, in each of its windows.
    pub distinct_row_bytes: Option<usize>,
    /// Bytes of a group's (or distinct row's) share of a bucket of arrivals, about, where windows
    /// slide over them.
    pub bucket_share_bytes: Option<usize>,
}

/// A metric of some of the rows or windows that a wider one has.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its name.
    pub metric: String,
    /// What it asks of rows beyond the wider one.
    pub filter: Vec<String>,
    /// Its windows, if these are not all.
    pub windows: Vec<String>,
}

/// A window.
#[derive(Clone, Debug, Serialize)]
pub struct WindowLine {
    /// Its name.
    pub name: String,
    /// `arrival` or `event`.
    pub time: &'static str,
    /// How it lies.
    pub shape: String,
    /// The window whose groups its own are rolled up from, if there is one.
    pub rolled_up_from: Option<String>,
}

/// What is held of a post, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct PostSize {
    /// In all, without arrivals.
    pub bytes: usize,
    /// The slot.
    pub slot_bytes: usize,
    /// Of these, the index and what the state notes of the slot.
    pub head_bytes: usize,
    /// Of these, behind the last side: slots end where a line of the processor's cache does, if
    /// that costs little.
    pub padding_bytes: usize,
    /// The way from the index to the slot, about.
    pub index_bytes: usize,
    /// The sides.
    pub sides: Vec<SideSize>,
}

/// One side of a slot, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct SideSize {
    /// Which.
    pub side: &'static str,
    /// Where the held version came from.
    pub header_bytes: usize,
    /// The columns that some metric needs.
    pub columns: Vec<ColumnSize>,
}

/// A column that slots keep.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnSize {
    /// Its name.
    pub name: &'static str,
    /// In which form.
    pub form: String,
    /// Bytes.
    pub bytes: usize,
    /// The metrics that need it.
    pub metrics: Vec<String>,
}

/// How arrivals are held.
#[derive(Clone, Debug, Serialize)]
pub struct ArrivalsSize {
    /// They are counted in buckets of this width.
    pub bucket: String,
    /// They are dropped when they are this much older than `now`; none = never.
    pub horizon: Option<String>,
    /// A post has arrivals in at most so many buckets.
    pub buckets: Option<i64>,
    /// Bytes of a post with arrivals, about.
    pub first_bytes: usize,
    /// Bytes more of a post with arrivals in several buckets, about.
    pub several_bytes: usize,
    /// Bytes of each bucket that it has arrivals in, about.
    pub bucket_bytes: usize,
}

/// The name of a group node: that of its first metric.
pub fn node_name(plan: &Plan, n: usize) -> String {
    format!("{} of {}", names::GROUPS.name, first_metric(plan, n))
}

/// The name of a group node's buckets of arrivals.
pub fn bucket_name(plan: &Plan, n: usize) -> String {
    format!("{} of {}", names::BUCKETS, first_metric(plan, n))
}

fn first_metric(plan: &Plan, n: usize) -> &str {
    let first = plan.nodes[n].metrics.first();
    first.map_or("", |m| plan.metrics[*m as usize].schema.name.as_str())
}

impl Explained {
    /// Explains a plan.
    pub fn new(plan: &Plan) -> Self {
        let nodes = 0..plan.nodes.len();
        Explained {
            operators: operators(plan),
            groups: nodes.map(|n| grouped(plan, n)).collect(),
            post: post(plan),
            arrivals: plan.arrivals.then(|| arrivals_size(plan)),
        }
    }
}

fn operators(plan: &Plan) -> Vec<Step> {
    let step = |operator, inputs: &[&'static str]| Step { operator, inputs: inputs.to_vec() };
    let mut out = vec![
        step(names::DECODE, &["batches"]),
        step(names::ASSEMBLE, &[names::DECODE.name, "ticks"]),
    ];
    let mut changes = vec![names::ASSEMBLE.name];
    if plan.has_bags() {
        out.push(step(names::BAG_RECORDS, &[names::DECODE.name]));
        out.push(step(names::BAG_JOIN, &[names::BAG_RECORDS.name]));
        out.push(step(names::BAG_UPDATES, &[names::BAG_JOIN.name]));
        changes.push(names::BAG_UPDATES.name);
    }
    changes.push("ticks");
    if plan.has_distinct() {
        out.push(step(names::DISTINCT, &changes));
        changes.insert(changes.len() - 1, names::DISTINCT.name);
    }
    out.push(step(names::GROUPS, &changes));
    out
}

fn grouped(plan: &Plan, n: usize) -> Grouped {
    let node = &plan.nodes[n];
    let metrics: Vec<&Metric> =
        node.metrics.iter().map(|m| &plan.metrics[*m as usize].schema.metric).collect();
    let first = metrics[0];
    let exprs = |list: &[Expr]| list.iter().map(|e| e.name()).collect::<Vec<_>>();
    let keys: Vec<Expr> = first.keys.iter().map(|k| k.expr).collect();
    let slides = node.sliding().next().is_some();
    Grouped {
        name: node_name(plan, n),
        metrics: metrics.iter().map(|m| m.name.clone()).collect(),
        parts: parts(plan, node),
        of: text::fact(node.fact),
        bag: node.join == Join::Bag,
        sides: Stream::ALL.iter().filter(|s| node.sides[**s as usize]).map(|s| s.name()).collect(),
        filter: text::conditions(&first.filter),
        distinct: exprs(&super::plan::distinct_exprs(first)),
        keys: exprs(&keys),
        windows: windows(node),
        retain: node.retain.map(super::schema::span),
        cells: measured::cells(plan, node),
        multisets: measured::sets(plan, node),
        group_bytes: size::group(node),
        distinct_row_bytes: node.once.as_deref().map(size::group),
        bucket_share_bytes: slides.then(|| size::share(node.first())),
    }
}

/// What a metric of a node asks of rows beyond the one whose rows the node has.
fn rest(plan: &Plan, node: &Node, metric: u16) -> Rest {
    let of = |m: u16| &plan.metrics[usize::from(m)].schema.metric;
    Rest::of(of(node.metrics[0]), of(metric))
}

fn parts(plan: &Plan, node: &Node) -> Vec<Part> {
    let part = |m: &u16| {
        let metric = &plan.metrics[usize::from(*m)];
        let rest = rest(plan, node, *m);
        let is_all = metric.schema.windows.len() == node.windows.len();
        let part = Part {
            metric: metric.schema.name.clone(),
            filter: [text::conditions(&rest.keys), text::of_rows(&rest)].concat(),
            windows: metric.schema.windows.iter().filter(|_| !is_all).map(Window::label).collect(),
        };
        (!part.filter.is_empty() || !part.windows.is_empty()).then_some(part)
    };
    node.metrics.iter().filter_map(part).collect()
}

fn windows(node: &Node) -> Vec<WindowLine> {
    let line = |(window, from): (&Window, &Option<usize>)| WindowLine {
        name: window.label(),
        time: if window.time == Time::Arrival { "arrival" } else { "event" },
        shape: text::shape(window, window.slides()),
        rolled_up_from: from.map(|from| node.windows[from].label()),
    };
    node.windows.iter().zip(&node.roll_ups).map(line).collect()
}

fn post(plan: &Plan) -> PostSize {
    let layout = &plan.layout;
    let column = |place: &Place| ColumnSize {
        name: place.kept.column.name(),
        form: format!("{:?}", place.kept.form).to_lowercase(),
        bytes: place.bytes(),
        metrics: plan
            .metrics
            .iter()
            .map(|m| &m.schema.metric)
            .filter(|m| metric_columns(m).contains(&place.kept))
            .map(|m| m.name.clone())
            .collect(),
    };
    let side = |stream: Stream| SideSize {
        side: stream.name(),
        header_bytes: HEADER,
        columns: layout.side(stream).places.iter().map(column).collect(),
    };
    let index_bytes = crate::index::ENTRY;
    let last = layout.side(Stream::User);
    PostSize {
        bytes: layout.stride + index_bytes,
        slot_bytes: layout.stride,
        head_bytes: layout.sides[0].offset,
        padding_bytes: layout.stride - (last.offset + HEADER + last.bytes),
        index_bytes,
        sides: Stream::ALL.map(side).to_vec(),
    }
}

fn arrivals_size(plan: &Plan) -> ArrivalsSize {
    ArrivalsSize {
        bucket: super::schema::span(plan.bucket),
        horizon: plan.horizon.map(super::schema::span),
        buckets: plan.horizon.map(|h| h / plan.bucket + 1),
        first_bytes: arrivals::FIRST,
        several_bytes: arrivals::SEVERAL,
        bucket_bytes: arrivals::BUCKET,
    }
}

/// Whether a measure is a ratio of others.
fn is_ratio(kind: Kind) -> bool {
    matches!(kind, Kind::Ratio(..))
}
