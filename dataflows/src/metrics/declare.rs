//! A declared metric: what the user wrote, checked, and free of any syntax.
//!
//! The configuration builds these from TOML; [`super::plan`] compiles them to operators.

use crate::record::{Column, Stream, Type};

/// What a metric is declared over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// Current versions of these sides, joined on the index: pin, geo, user.
    Sides([bool; 3]),
    /// One per pin that is neither rejected nor ignored, at its arrival time, with the index's
    /// current sides; pin is always among them.
    Arrivals([bool; 3]),
    /// One per distinct (user_name, age, date_joined) of current user sides.
    People,
    /// Every record read, by stream and arrival time: columns `stream`, `outcome`, `reason`.
    Records,
    /// Every column of every usable record read: columns `stream`, `column`, `state`, `reason`.
    Fields,
}

/// How sides are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Join {
    /// The newest version of each side, one row an index.
    Newest,
    /// Every record: n pins and m geos of one index make n*m rows. Bounded runs only.
    Bag,
}

/// A column of the facts `records` and `fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meta {
    /// `pin`, `geo`, `user`; null where a rejected record told none.
    Stream,
    /// `kept`, `rejected` or `ignored`.
    Outcome,
    /// The reason of a rejection or defect; else null.
    Reason,
    /// The column's name.
    Column,
    /// `value`, `null`, `placeholder` or `defect`.
    State,
}

impl Meta {
    /// The name in declarations and answers.
    pub fn name(self) -> &'static str {
        match self {
            Meta::Stream => "stream",
            Meta::Outcome => "outcome",
            Meta::Reason => "reason",
            Meta::Column => "column",
            Meta::State => "state",
        }
    }
}

/// A value of a fact's row: a column, or one derived from a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// The index.
    Ind,
    /// A cleaned column.
    Column(Column),
    /// The label of the age group that `age` falls into.
    AgeGroup,
    /// The calendar year, UTC, of a time column (`post_year`, `join_year`, `year(column)`).
    Year(Column),
    /// The hour of the day, 0..23, UTC, of `timestamp`.
    HourOfDay,
    /// The cell of a grid of whole degrees, `lat,lon` of its south-west corner.
    GeoCell,
    /// The number of parts of `tag_list` between commas.
    Tags,
    /// The length of a text column in Unicode code points.
    Length(Column),
    /// A column of `records` or `fields`.
    Meta(Meta),
}

impl Expr {
    /// The name in declarations, and the default name of a key.
    pub fn name(self) -> String {
        match self {
            Expr::Ind => "ind".into(),
            Expr::Column(c) => c.name().into(),
            Expr::AgeGroup => "age_group".into(),
            Expr::Year(Column::Timestamp) => "post_year".into(),
            Expr::Year(Column::DateJoined) => "join_year".into(),
            Expr::Year(c) => format!("year({})", c.name()),
            Expr::HourOfDay => "hour_of_day".into(),
            Expr::GeoCell => "geo_cell".into(),
            Expr::Tags => "tags".into(),
            Expr::Length(c) => format!("length({})", c.name()),
            Expr::Meta(m) => m.name().into(),
        }
    }

    /// The expression of a name: a column, a derived column, `length(c)` or `year(c)`.
    pub fn from_name(name: &str) -> Option<Self> {
        let call = |f: &str| {
            let inner = name.strip_prefix(f)?.strip_prefix('(')?.strip_suffix(')')?;
            Column::from_name(inner.trim())
        };
        if let Some(c) = Column::from_name(name) {
            return Some(Expr::Column(c));
        }
        let metas = [Meta::Stream, Meta::Outcome, Meta::Reason, Meta::Column, Meta::State];
        if let Some(m) = metas.into_iter().find(|m| m.name() == name) {
            return Some(Expr::Meta(m));
        }
        match name {
            "ind" => return Some(Expr::Ind),
            "age_group" => return Some(Expr::AgeGroup),
            "post_year" => return Some(Expr::Year(Column::Timestamp)),
            "join_year" => return Some(Expr::Year(Column::DateJoined)),
            "hour_of_day" => return Some(Expr::HourOfDay),
            "geo_cell" => return Some(Expr::GeoCell),
            "tags" => return Some(Expr::Tags),
            _ => {}
        }
        match (call("length"), call("year")) {
            (Some(c), _) if c.ty() == Type::Text => Some(Expr::Length(c)),
            (_, Some(c)) if c.ty() == Type::Time => Some(Expr::Year(c)),
            _ => None,
        }
    }

    /// The type of its values.
    pub fn ty(self) -> Type {
        match self {
            Expr::Column(c) => c.ty(),
            Expr::AgeGroup | Expr::GeoCell | Expr::Meta(_) => Type::Text,
            Expr::Ind | Expr::Year(_) | Expr::HourOfDay | Expr::Tags | Expr::Length(_) => Type::Int,
        }
    }

    /// The stream whose side it needs; none for the index and for columns about records.
    pub fn stream(self) -> Option<Stream> {
        match self {
            Expr::Ind | Expr::Meta(_) => None,
            Expr::Column(c) | Expr::Year(c) | Expr::Length(c) => Some(c.stream()),
            Expr::AgeGroup => Some(Stream::User),
            Expr::HourOfDay | Expr::GeoCell => Some(Stream::Geo),
            Expr::Tags => Some(Stream::Pin),
        }
    }
}

/// How a value is compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A constant of a condition, in the units of the expression it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// A text, compared by its bytes.
    Text(String),
    /// An integer, a time in microseconds, or degrees in 1e-7.
    Int(i64),
}

/// A simple comparison. All conditions of a list must hold; a comparison with null never does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The expression compares so with the constant.
    Compare(Expr, Op, Constant),
    /// The expression is null (true) or is not (false).
    IsNull(Expr, bool),
}

/// A window of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Which time it is over.
    pub time: Time,
    /// Its shape.
    pub shape: Shape,
}

/// The time that a window is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Time {
    /// When the record arrived.
    Arrival,
    /// `timestamp` of the geo side.
    Event,
}

/// The shape of a window; sizes in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Shape {
    /// `[n*size, (n+1)*size)`.
    Tumbling { size: i64 },
    /// `[e - size, e)` for every multiple e of `every`; over arrivals only the latest is kept.
    Sliding { size: i64, every: i64 },
    /// A UTC calendar month.
    Month,
    /// A UTC calendar year.
    Year,
}

/// Which of several equal winners are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ties {
    /// One: the first by value, then by the bytes of the text.
    First,
    /// All of them.
    All,
}

/// An exact decimal between 0 and 1, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Fraction {
    pub num: u64,
    pub den: u64,
}

/// What is measured of a group's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Rows.
    Count,
    /// Rows in which the expression is not null.
    CountOf(Expr),
    /// Distinct non-null values.
    CountDistinct(Expr),
    /// The sum of the non-null values, in 128 bits; of nothing it is 0.
    Sum(Expr),
    /// The mean of the non-null values.
    Mean(Expr),
    /// The least value.
    Min(Expr),
    /// The greatest value.
    Max(Expr),
    /// The smallest value whose rank reaches q*n; or interpolated between the two around
    /// q*(n-1).
    Quantile {
        /// What is ranked.
        of: Expr,
        /// q.
        q: Fraction,
        /// Between the values, instead of the lower one.
        interpolated: bool,
    },
    /// The `k` values with the most rows, with their counts.
    Top {
        /// How many; at least 1.
        k: usize,
        /// What is counted.
        of: Expr,
    },
    /// The greatest value, with a column of the row that has it.
    Argmax {
        /// What is compared.
        of: Expr,
        /// What is returned.
        returning: Expr,
    },
    /// The quotient of two measures of the same metric (by their place in the list), both
    /// counts or sums; null where the second is 0.
    Ratio(usize, usize),
}

/// One measure of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Measure {
    /// Its name in answers; for [`Kind::Top`] and [`Kind::Argmax`] the name of the value, beside
    /// `returned`.
    pub name: String,
    /// The name of the second value that `top` (the counted text) and `argmax` (the returned
    /// column) give; it stands before `name`.
    pub returned: Option<String>,
    /// What is measured.
    pub kind: Kind,
    /// Rows it looks at; all of these hold.
    pub filter: Vec<Condition>,
}

/// A group key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its name in answers.
    pub name: String,
    /// Its value.
    pub expr: Expr,
}

/// How the rows of `--results` and `pinflow results` are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The columns by name, in order: keys, measures, `start`, `end`, `window`; none = all:
    /// window columns where the metric has windows, then keys, then measures.
    pub columns: Option<Vec<String>>,
    /// Whether a header line stands first.
    pub header: bool,
    /// A `chrono` pattern for times; none = RFC 3339 in UTC.
    pub time: Option<String>,
    /// Digits behind the point of means, ratios and interpolated quantiles; none = as needed.
    pub decimals: Option<u32>,
}

impl Default for Output {
    fn default() -> Self {
        Output { columns: None, header: true, time: None, decimals: None }
    }
}

/// A declared metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name it is served under: `[a-z][a-z0-9_]*`, or any file name for `--results` only.
    pub name: String,
    /// What it means, in a sentence.
    pub meaning: String,
    /// What it is declared over.
    pub fact: Fact,
    /// How the sides are joined.
    pub join: Join,
    /// Rows it looks at; all of these hold.
    pub filter: Vec<Condition>,
    /// The group keys.
    pub keys: Vec<Key>,
    /// Rows equal in all of these count once; empty = every row counts.
    pub distinct: Vec<Expr>,
    /// At least one.
    pub measures: Vec<Measure>,
    /// None = one window without edges.
    pub windows: Vec<Window>,
    /// How long a window is published beyond its end, microseconds; none = for ever.
    pub retain: Option<i64>,
    /// Ties of `top` and `argmax`.
    pub ties: Ties,
    /// Show groups whose every measure saw only nulls.
    pub keep_empty: bool,
    /// At most so many series of text keys outside the named labels are exported.
    pub export: usize,
    /// At most so many rows a window are printed; none = all.
    pub limit: Option<usize>,
    /// How rows are printed.
    pub output: Output,
}

/// One group of ages, `from..=to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgeGroup {
    /// Its label.
    pub label: String,
    /// The least age.
    pub from: i64,
    /// The greatest age.
    pub to: i64,
}

/// The default age groups.
pub fn default_age_groups() -> Vec<AgeGroup> {
    [("under 18", 0, 17), ("18-24", 18, 24), ("25-35", 25, 35), ("36-50", 36, 50), ("50+", 51, 150)]
        .map(|(label, from, to)| AgeGroup { label: label.into(), from, to })
        .to_vec()
}
