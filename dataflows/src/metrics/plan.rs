//! From declarations to a plan: group nodes that metrics share, the columns that slots keep, the
//! buckets that arrivals are counted in.

mod looks;
mod show;
mod within;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::declare::{AgeGroup, Expr, Fact, Join, Kind, Meta, Metric, Shape, Ties, Time, Window};
use super::expr::{
    AgeLabels, Compiler, Cond, Ex, Need, Nth, Over, Row, age_labels, columns, condition_columns,
    finer, look, whole,
};
use super::packed::RowLayout;
use super::schema::Schema;
use super::value::Cells;
use super::window::{gcd, roll_ups};
use super::words::Form as KeyForm;
use crate::assemble::layout::{Kept, Layout};
use crate::record::project::Form;
use crate::record::{Column, Stream, Type};
use crate::time::HOUR;
use looks::Looks;
pub use looks::{Touched, Wants};
pub use show::Show;
use show::{show, with_ratios};
pub use within::{Rest, Within};

/// The columns of a row of the fact `records`.
pub const RECORD_METAS: [Meta; 3] = [Meta::Stream, Meta::Outcome, Meta::Reason];
/// The columns of a row of the fact `fields`.
pub const FIELD_METAS: [Meta; 4] = [Meta::Stream, Meta::Column, Meta::State, Meta::Reason];

/// An additive cell of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// What is added up for each row.
    pub what: Adds,
    /// Rows it looks at.
    pub filter: Vec<Cond>,
}

/// What an additive cell adds up.
#[derive(Clone, Debug, PartialEq)]
pub enum Adds {
    /// Rows.
    Rows,
    /// Rows with a value.
    Values(Nth),
    /// The values.
    Sum(Nth),
}

/// How a multiset of values is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By value: quantiles, least, greatest.
    Value,
    /// By value, then by what is returned with it (as text or number): argmax.
    Ranked {
        /// The returned cells are text.
        text: bool,
    },
    /// By how often a value occurs: top, distinct.
    Often {
        /// The values are text.
        text: bool,
    },
}

/// A multiset of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its order.
    pub order: Order,
    /// The value; rows in which it is null are not in it.
    pub value: Nth,
    /// What is kept with the value; rows in which it is null are not in it.
    pub with: Option<Nth>,
    /// Rows it looks at.
    pub filter: Vec<Cond>,
}

/// A group node: rows of a fact by key and window, with all that the metrics on it measure.
#[derive(Clone, Debug)]
pub struct Node {
    /// The fact.
    pub fact: Fact,
    /// How sides are joined.
    pub join: Join,
    /// The sides a row needs.
    pub sides: [bool; 3],
    /// Where rows that are equal in some columns count once: those rows, as groups whose keys the
    /// columns are. All that follows is then over what [`Node::look`] makes of such keys.
    pub once: Option<Box<Node>>,
    /// What is made of them.
    inner: Vec<Ex>,
    /// Rows it looks at.
    pub filter: Vec<Cond>,
    /// The group keys, and what their cells may be.
    pub keys: Vec<(KeyForm, Nth)>,
    /// Windows; empty = one without edges.
    pub windows: Vec<Window>,
    /// Of each the one that its groups are rolled up from where they are held; no row is placed in
    /// it then.
    pub roll_ups: Vec<Option<usize>>,
    /// The event time.
    pub event: Option<Nth>,
    /// How long a window stays beyond its end.
    pub retain: Option<i64>,
    /// Additive cells; the first counts rows.
    pub adds: Vec<Add>,
    /// Multisets.
    pub sets: Vec<Set>,
    /// Sides that metrics of some of its rows need: whether they are there is looked at.
    watched: u8,
    /// The metrics that show this node; first the one whose rows it has.
    pub metrics: Vec<u16>,
}

impl Node {
    /// Whether its rows are of posts as the state of record holds them.
    pub fn of_posts(&self) -> bool {
        self.join == Join::Newest && !matches!(self.fact, Fact::Records | Fact::Fields)
    }

    /// Where rows of posts go first: that which makes them distinct, if anything does.
    pub fn first(&self) -> &Node {
        self.once.as_deref().unwrap_or(self)
    }

    /// The cells of a row of those that count once.
    pub fn look(&self, distinct: &[i64]) -> Cells {
        look(&self.inner, Row::Cells(distinct)).collect()
    }

    /// The sides that a row needs, a bit for each stream.
    pub fn needs(&self) -> u8 {
        let needed = Stream::ALL.into_iter().filter(|s| self.sides[*s as usize]);
        needed.fold(0, |bits, s| bits | s.bit())
    }

    /// The windows that slide over arrivals, with their places.
    pub fn sliding(&self) -> impl Iterator<Item = (usize, &Window)> {
        self.windows.iter().enumerate().filter(|(_, w)| w.slides())
    }
}

/// A metric of the plan.
#[derive(Clone, Debug)]
pub struct MetricPlan {
    /// Its columns and windows.
    pub schema: Schema,
    /// How its rows are packed.
    pub layout: Arc<RowLayout>,
    /// Which of its node's groups and rows are its own, if not all.
    pub within: Option<Within>,
    /// Its measures.
    pub shows: Vec<Show>,
    /// Whether all of them are counts and sums.
    pub only_sums: bool,
    /// Whether all tied winners are shown.
    pub all_ties: bool,
}

/// What the dataflow is built from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The metrics, in the order of their declaration.
    pub metrics: Vec<MetricPlan>,
    /// The group nodes.
    pub nodes: Vec<Node>,
    /// What they look at of a post.
    looks: Looks,
    /// How slots lie in memory.
    pub layout: Layout,
    /// Arrivals are counted in buckets of this width, microseconds.
    pub bucket: i64,
    /// Whether any metric is over arrivals.
    pub arrivals: bool,
    /// A bucket of arrivals is kept until it is this much older than `now`; none = for ever.
    pub horizon: Option<i64>,
    /// Which facts about records are counted.
    pub counted: Counted,
}

/// Which facts about records are counted where they are decoded. What was not counted then cannot
/// be counted later: a state that counts a fact has counted it from its beginning, or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `records`.
    pub records: bool,
    /// `fields`.
    pub fields: bool,
}

impl Plan {
    /// Compiles declarations. `all_columns` keeps every column in the slots.
    pub fn new(metrics: &[Metric], age_groups: &[AgeGroup], all_columns: bool) -> Plan {
        let all = if all_columns { every_column() } else { Vec::new() };
        Plan::keeping(metrics, age_groups, all)
    }

    /// Compiles declarations for slots that keep these columns too, because a state holds them.
    pub fn keeping(
        metrics: &[Metric],
        age_groups: &[AgeGroup],
        also: impl IntoIterator<Item = Kept>,
    ) -> Plan {
        let layout = Layout::new(kept_columns(metrics, also));
        let mut plan = Plan {
            metrics: Vec::new(),
            nodes: Vec::new(),
            looks: Looks::default(),
            bucket: bucket(metrics),
            arrivals: metrics.iter().any(|m| matches!(m.fact, Fact::Arrivals(_))),
            horizon: horizon(metrics),
            counted: Counted {
                records: metrics.iter().any(|m| m.fact == Fact::Records),
                fields: metrics.iter().any(|m| m.fact == Fact::Fields),
            },
            layout,
        };
        let ages = age_labels(age_groups);
        let owners = within::owners(metrics);
        let mut nodes: Vec<Option<usize>> = vec![None; metrics.len()];
        for (metric, owner) in metrics.iter().zip(owners) {
            let node = *nodes[owner].get_or_insert_with(|| {
                let node = plan.node(&metrics[owner], &ages);
                plan.nodes.push(node);
                plan.nodes.len() - 1
            });
            plan.add(metric, (node, &metrics[owner]), &ages);
        }
        plan.looks.find(&plan.nodes);
        plan
    }

    /// Adds a metric to a node, which has the rows of this one.
    fn add(&mut self, metric: &Metric, (node, owner): (usize, &Metric), ages: &AgeLabels) {
        let number = self.metrics.len() as u16;
        let distinct = distinct_exprs(metric);
        let held = &mut self.nodes[node];
        let place = if std::ptr::eq(metric, owner) { 0 } else { held.metrics.len() };
        held.metrics.insert(place, number);
        let mut inner = std::mem::take(&mut held.inner);
        let mut compiler = Compiler {
            over: over(metric, &distinct, &self.layout),
            cells: if distinct.is_empty() { &mut self.looks.exprs } else { &mut inner },
            ages: ages.clone(),
        };
        let rest = Rest::of(owner, metric);
        let own = rest.conds(&mut compiler);
        let within = Within::of(held, &rest, metric, &own, ages);
        let measures = metric.measures.iter().filter(|m| !matches!(m.kind, Kind::Ratio(..)));
        let shows: Vec<Show> = measures
            .map(|m| {
                let filter = [&own[..], &compiler.conds(&m.filter)].concat();
                show(held, &mut compiler, m.kind, &filter)
            })
            .collect();
        held.inner = inner;
        let shows = with_ratios(metric, shows);
        let schema = Schema::of(metric);
        self.metrics.push(MetricPlan {
            layout: Arc::new(RowLayout::of(&schema)),
            schema,
            within,
            only_sums: shows.iter().all(|show| matches!(show, Show::Add { .. })),
            shows,
            all_ties: metric.ties == Ties::All,
        });
    }

    /// The bare node of a metric, without measures.
    fn node(&mut self, metric: &Metric, ages: &AgeLabels) -> Node {
        let distinct = distinct_exprs(metric);
        let Plan { layout, looks: Looks { exprs: cells, .. }, .. } = self;
        let over_posts = over(metric, &[], layout);
        let mut outer = Compiler { over: over_posts, cells, ages: ages.clone() };
        let filter = outer.conds(&metric.filter);
        let moment = Expr::Column(Column::Timestamp);
        let event = event_need(metric).map(|need| outer.expr(moment, need));
        let keys: Vec<Expr> = metric.keys.iter().map(|k| k.expr).collect();
        let first = if distinct.is_empty() { &keys } else { &distinct };
        let mut node = Node {
            fact: metric.fact,
            join: metric.join,
            sides: sides(metric.fact),
            once: None,
            inner: Vec::new(),
            filter,
            keys: forms(&mut outer, first),
            windows: metric.windows.clone(),
            roll_ups: roll_ups(&metric.windows),
            event,
            retain: metric.retain,
            adds: vec![Add { what: Adds::Rows, filter: Vec::new() }],
            sets: Vec::new(),
            watched: 0,
            metrics: Vec::new(),
        };
        if !distinct.is_empty() {
            node.once = Some(Box::new(node.clone()));
            (node.filter, node.event) = (Vec::new(), None);
            // What is distinct in an hour need not be so in a day.
            node.roll_ups.fill(None);
            let (over, ages) = (Over::Cells(&distinct), ages.clone());
            let mut within = Compiler { over, cells: &mut node.inner, ages };
            node.keys = forms(&mut within, &keys);
        }
        node
    }

    /// Appends the cells of a post: of sides that are not there they are null.
    pub fn look(&self, index: u64, sides: [Option<&[u8]>; 3], cells: &mut Vec<i64>) {
        cells.extend(look(&self.looks.exprs, Row::Sides { index, sides }));
    }

    /// Appends those that what was touched of the post matters to, and nulls for the others; false,
    /// and nothing, if no node gets a row.
    #[inline]
    pub fn look_for(
        &self,
        touched: Touched,
        index: u64,
        sides: [Option<&[u8]>; 3],
        cells: &mut Vec<i64>,
    ) -> bool {
        self.looks.append(touched, &Row::Sides { index, sides }, cells)
    }

    /// The nodes that get rows of posts, those that want the same one after the other.
    pub fn turns(&self) -> &[usize] {
        self.looks.turns()
    }

    /// Whether a post with these sides, a bit for each stream, gives rows to any metric.
    pub fn has_rows(&self, present: u8) -> bool {
        self.nodes.iter().any(|n| n.of_posts() && n.needs() & !present == 0)
    }

    /// Whether rows of any metric count once.
    pub fn has_distinct(&self) -> bool {
        self.nodes.iter().any(|n| n.once.is_some())
    }

    /// Whether any metric joins bags.
    pub fn has_bags(&self) -> bool {
        self.nodes.iter().any(|n| n.join == Join::Bag)
    }

    /// The columns that the decoder must clean.
    pub fn columns(&self) -> crate::record::ColumnSet {
        if self.counted.fields {
            return u32::MAX;
        }
        let places = self.layout.sides.iter().flat_map(|s| &s.places);
        places.fold(0, |set, p| set | p.kept.column.bit())
    }
}

/// Group keys as a node has them.
fn forms(compiler: &mut Compiler<'_>, keys: &[Expr]) -> Vec<(KeyForm, Nth)> {
    let form = |key: &Expr| (KeyForm::of(*key), compiler.expr(*key, Need::Value));
    keys.iter().map(form).collect()
}

/// What rows equal in count once: `distinct`, and for people what makes a person.
pub fn distinct_exprs(metric: &Metric) -> Vec<Expr> {
    if metric.fact == Fact::People && metric.distinct.is_empty() {
        return [Column::UserName, Column::Age, Column::DateJoined].map(Expr::Column).to_vec();
    }
    metric.distinct.clone()
}

fn over<'a>(metric: &Metric, distinct: &'a [Expr], layout: &'a Layout) -> Over<'a> {
    match metric.fact {
        Fact::Records => Over::Metas(&RECORD_METAS),
        Fact::Fields => Over::Metas(&FIELD_METAS),
        _ if distinct.is_empty() => Over::Sides(layout),
        _ => Over::Cells(distinct),
    }
}

/// The sides that a row of a fact needs.
pub fn sides(fact: Fact) -> [bool; 3] {
    match fact {
        Fact::Sides(sides) | Fact::Arrivals(sides) => sides,
        Fact::People => [false, false, true],
        Fact::Records | Fact::Fields => [false; 3],
    }
}

/// The columns that slots keep: none in a form that a finer one makes needless.
fn kept_columns(metrics: &[Metric], also: impl IntoIterator<Item = Kept>) -> BTreeSet<Kept> {
    let also: BTreeSet<Kept> = also.into_iter().collect();
    let mut kept: BTreeSet<Kept> = metrics.iter().flat_map(metric_columns).collect();
    // Of a text that is held in any case the length can be found.
    let is_held = |k: &Kept, form: &Form| also.contains(&Kept { form: *form, ..*k });
    kept.retain(|k| !whole(k.form).iter().any(|text| is_held(k, text)));
    kept.extend(also);
    let all = kept.clone();
    let has = |column: Column, form: &Form| all.contains(&Kept { column, form: *form });
    kept.retain(|k| !finer(k.form).iter().any(|form| has(k.column, form)));
    kept
}

/// Every column in the form that serves most declarations.
fn every_column() -> Vec<Kept> {
    let form = |column: &Column| match column.ty() {
        Type::Text => Form::Symbol,
        _ => Form::Int,
    };
    let whole = Column::ALL.iter().map(|c| Kept { column: *c, form: form(c) });
    let parts = [(Column::TagList, Form::Tags), (Column::SaveLocation, Form::Length)];
    whole.chain(parts.map(|(column, form)| Kept { column, form })).collect()
}

/// What a metric's windows need of the time of an event, if they are over that.
fn event_need(metric: &Metric) -> Option<Need> {
    let mut windows = metric.windows.iter().filter(|w| w.time == Time::Event).peekable();
    windows.peek()?;
    let hours = windows.all(|w| w.grain() % HOUR == 0);
    Some(if hours { Need::Hour } else { Need::Value })
}

/// The columns that a metric needs in the slots.
pub fn metric_columns(metric: &Metric) -> Vec<Kept> {
    let mut kept = condition_columns(&metric.filter);
    let mut value = |e: Expr| kept.extend(columns(e, Need::Value));
    metric.keys.iter().for_each(|k| value(k.expr));
    distinct_exprs(metric).into_iter().for_each(&mut value);
    if let Some(need) = event_need(metric) {
        kept.extend(columns(Expr::Column(Column::Timestamp), need));
    }
    for measure in &metric.measures {
        match measure.kind {
            Kind::Count | Kind::Ratio(..) => {}
            Kind::CountOf(e) => kept.extend(columns(e, Need::Presence)),
            Kind::CountDistinct(e)
            | Kind::Sum(e)
            | Kind::Mean(e)
            | Kind::Min(e)
            | Kind::Max(e)
            | Kind::Quantile { of: e, .. }
            | Kind::Top { of: e, .. } => kept.extend(columns(e, Need::Value)),
            Kind::Argmax { of, returning } => {
                kept.extend(columns(of, Need::Value));
                kept.extend(columns(returning, Need::Value));
            }
        }
        kept.extend(condition_columns(&measure.filter));
    }
    kept
}

/// Windows over arrivals of facts that are counted in buckets.
fn arrival_windows(metrics: &[Metric]) -> impl Iterator<Item = (&Metric, &Window)> {
    metrics
        .iter()
        .flat_map(|m| m.windows.iter().map(move |w| (m, w)))
        .filter(|(_, w)| w.time == Time::Arrival)
}

/// The widest bucket that no edge of a window over arrivals cuts.
fn bucket(metrics: &[Metric]) -> i64 {
    arrival_windows(metrics).fold(crate::time::DAY, |g, (_, w)| gcd(g, w.grain()))
}

/// How much older than `now` an arrival may be and still matter to a window.
fn horizon(metrics: &[Metric]) -> Option<i64> {
    let is_arrivals = |m: &&Metric| matches!(m.fact, Fact::Arrivals(_));
    if metrics.iter().filter(is_arrivals).any(|m| m.windows.iter().all(|w| w.time == Time::Event)) {
        return None;
    }
    let mut horizon = 0;
    for (metric, window) in arrival_windows(metrics).filter(|(m, _)| is_arrivals(m)) {
        horizon = horizon.max(match (window.shape, metric.retain) {
            (Shape::Sliding { size, every }, _) => size + every,
            (_, None) => return None,
            (Shape::Tumbling { size }, Some(retain)) => size + retain,
            (Shape::Month, Some(retain)) => 31 * crate::time::DAY + retain,
            (Shape::Year, Some(retain)) => 366 * crate::time::DAY + retain,
        });
    }
    Some(horizon)
}

/// Streams whose sides a node reads, by name.
pub fn side_names(sides: [bool; 3]) -> String {
    let names = Stream::ALL.into_iter().filter(|s| sides[*s as usize]).map(Stream::name);
    names.collect::<Vec<_>>().join("+")
}
