//! `measure` and `measures`: what is measured of a group's rows.

use dataflows::metrics::declare::{Condition, Expr, Fact, Fraction, Kind, Measure};
use dataflows::record::Type;

use super::filter;
use super::names;
use super::scope::Scope;
use crate::config::problem::{Place, meant, one_of};
use crate::config::section::Section;
use crate::config::tree::{Node, Value};
use crate::config::{keys, units};

/// The keys of which a measure has exactly one.
const KINDS: [&str; 11] = [
    "count",
    "count_distinct",
    "sum",
    "mean",
    "min",
    "max",
    "median",
    "quantile",
    "top",
    "argmax",
    "ratio",
];

/// Keys that go with one kind only: (key, the kinds).
const EXTRAS: [(&str, &[&str]); 5] = [
    ("method", &["median", "quantile"]),
    ("q", &["quantile"]),
    ("k", &["top"]),
    ("returning", &["argmax"]),
    ("over", &["ratio"]),
];

/// The greatest k of a top.
const K_MAX: i64 = 1000;

/// A measure, and where it stands.
pub struct Placed {
    /// The measure.
    pub measure: Measure,
    /// Where.
    pub place: Place,
}

/// A measure before ratios know the others.
struct Raw<'a> {
    name: String,
    returned: Option<String>,
    kind: Option<Kind>,
    filter: Vec<Condition>,
    ratio: Option<(&'a Node, Option<&'a Node>)>,
    place: Place,
}

/// The measures of a metric; none, and only their forms are looked at, where columns mean nothing.
pub fn measures(s: &Section<'_>, scope: Option<&Scope<'_>>) -> Vec<Placed> {
    if s.has("measure") && s.has("measures") {
        let hint = "put all of them into `measures`";
        s.problems.error(s.place_of("measure"), "`measure` stands beside `measures`", hint);
    }
    let nodes = match (s.has("measure"), s.has("measures")) {
        (_, true) => s.list("measures", false).unwrap_or(&[]),
        (true, false) => s.list("measure", true).unwrap_or(&[]),
        (false, false) => {
            let hint =
                "for example measure = \"count\" or measure = { median = \"follower_count\" }";
            s.problems.error(s.place, format!("{} measures nothing", s.name), hint);
            return Vec::new();
        }
    };
    if nodes.is_empty() && s.has("measures") {
        s.problems.error(s.place_of("measures"), "`measures` is empty", "for example [\"count\"]");
    }
    let raws: Vec<Raw<'_>> = nodes.iter().filter_map(|node| raw(s, scope, node)).collect();
    let Some(scope) = scope else { return Vec::new() };
    let kinds: Vec<Option<Kind>> = raws.iter().map(|r| resolve(r, &raws, scope)).collect();
    let placed = |(raw, kind): (Raw<'_>, Option<Kind>)| {
        let (name, returned, filter) = (raw.name, raw.returned, raw.filter);
        Some(Placed { measure: Measure { name, returned, kind: kind?, filter }, place: raw.place })
    };
    raws.into_iter().zip(kinds).filter_map(placed).collect()
}

fn raw<'a>(s: &Section<'a>, scope: Option<&Scope<'_>>, node: &'a Node) -> Option<Raw<'a>> {
    let table = match &node.value {
        Value::Text(text) if text == "count" => {
            return Some(Raw {
                name: "count".into(),
                returned: None,
                kind: Some(Kind::Count),
                filter: Vec::new(),
                ratio: None,
                place: node.place.clone(),
            });
        }
        Value::Text(text) => {
            let hint = if KINDS.contains(&text.as_str()) {
                format!("say of what: {{ {text} = \"follower_count\" }}")
            } else {
                meant(text, KINDS)
            };
            s.problems.error(&node.place, format!("`{text}` alone is not a measure"), hint);
            return None;
        }
        Value::Table(table) => table,
        _ => {
            s.wrong("measure", node, "\"count\" or a table");
            return None;
        }
    };
    let kinds = &["metric.measure"];
    let place = table.entries.first().map_or(&node.place, |e| &e.place);
    let m = Section::new(s.problems, keys::title(kinds[0]), place, table, kinds);
    let given: Vec<&str> = KINDS.into_iter().filter(|k| m.has(k)).collect();
    let kind = match given[..] {
        [kind] => kind,
        // A misspelt key has been reported as one.
        [] if table.entries.iter().any(|e| !keys::known(kinds[0], &e.key)) => return None,
        [] => {
            let message = "this measure does not say what it measures";
            m.problems.error(place, message, format!("it has one of {}", one_of(KINDS)));
            return None;
        }
        [_, second, ..] => {
            let message = format!("this measure is two: {}", one_of(given.iter().copied()))
                .replace(" or ", " and ");
            m.problems.error(m.place_of(second), message, "write one table each, in `measures`");
            return None;
        }
    };
    for (key, of) in EXTRAS {
        if m.has(key) && !of.contains(&kind) {
            let message = format!("`{key}` says nothing beside `{kind}`");
            m.problems.error(
                m.place_of(key),
                message,
                format!("it goes with {}", one_of(of.iter().copied())),
            );
        }
    }
    Some(one(&m, scope?, kind, node))
}

/// The measure of a table with the kind key `kind`.
fn one<'a>(m: &Section<'a>, scope: &Scope<'_>, kind: &str, node: &Node) -> Raw<'a> {
    let filter = filter::conditions(m, scope);
    let mut raw = Raw {
        name: String::new(),
        returned: None,
        kind: None,
        filter,
        ratio: None,
        place: node.place.clone(),
    };
    if kind == "ratio" {
        if !m.has("over") {
            m.missing("over");
        }
        if !m.has("name") {
            let hint = "for example { ratio = \"nulls\", over = \"rows\", name = \"null_share\" }";
            m.problems.error(m.place, "a ratio has no name of its own", hint);
        }
        if m.has("where") {
            let hint = "give the two measures their own `where`";
            m.problems.error(m.place_of("where"), "a ratio looks at no rows itself", hint);
        }
        raw.ratio = m.get("ratio").map(|n| (n, m.get("over")));
    } else {
        raw.kind = measured(m, scope, kind, &mut raw);
    }
    if raw.name.is_empty() {
        raw.name = raw.kind.map_or(String::new(), default_name);
    }
    raw.name = names::given(m, "name").unwrap_or(raw.name);
    raw
}

/// What a measure of columns measures; notes what it cannot.
fn measured(m: &Section<'_>, scope: &Scope<'_>, kind: &str, raw: &mut Raw<'_>) -> Option<Kind> {
    let text = m.filled(kind)?;
    let place = &m.get(kind)?.place;
    if kind == "count" && text == "*" {
        return Some(Kind::Count);
    }
    let of = scope.expr(text, place)?;
    if matches!(scope.fact, Fact::Records | Fact::Fields) {
        if kind == "count" {
            raw.filter.push(Condition::IsNull(of, false));
            raw.name = default_name(Kind::CountOf(of));
            return Some(Kind::Count);
        }
        let hint = "of records and fields there are counts and ratios";
        m.problems.error(m.place_of(kind), format!("`{kind}` cannot be kept of records"), hint);
        return None;
    }
    check_type(m, kind, of, place)?;
    Some(match kind {
        "count" => Kind::CountOf(of),
        "count_distinct" => Kind::CountDistinct(of),
        "sum" => Kind::Sum(of),
        "mean" => Kind::Mean(of),
        "min" => Kind::Min(of),
        "max" => Kind::Max(of),
        "median" | "quantile" => {
            let methods = [("lower", false), ("interpolated", true)];
            let interpolated = m.choice("method", &methods).unwrap_or(false);
            if interpolated && of.ty() == Type::Time {
                let hint = "method = \"lower\" gives a time that occurs";
                m.problems.error(m.place_of("method"), "times are not interpolated", hint);
            }
            let half = Fraction { num: 1, den: 2 };
            let q = if kind == "median" { half } else { quantile(m)? };
            Kind::Quantile { of, q, interpolated }
        }
        "top" => {
            let k = m.int("k", 1, K_MAX).unwrap_or(1) as usize;
            raw.returned = Some(names::of(of));
            Kind::Top { k, of }
        }
        _ => {
            if !m.has("returning") {
                m.missing("returning");
            }
            let name = m.filled("returning")?;
            let returning = scope.expr(name, &m.get("returning")?.place)?;
            raw.returned = Some(names::of(returning));
            Kind::Argmax { of, returning }
        }
    })
}

/// Notes a measure of values that it cannot measure.
fn check_type(m: &Section<'_>, kind: &str, of: Expr, place: &Place) -> Option<()> {
    let number = matches!(of.ty(), Type::Int | Type::Fixed7 | Type::Bool);
    let fits = match kind {
        "sum" | "mean" => number,
        "min" | "max" | "median" | "quantile" | "argmax" => number || of.ty() == Type::Time,
        _ => true,
    };
    if fits {
        return Some(());
    }
    let (what, hint) = match of.ty() {
        Type::Time => ("a time", "measure min, max, median, or a part like `post_year`"),
        _ => ("a text", "measure count, count_distinct or top of it, or `length(...)`"),
    };
    let message = format!("`{kind}` is that of numbers, and `{}` is {what}", of.name());
    m.problems.error(place, message, hint);
    None
}

/// The exact fraction of `q`.
fn quantile(m: &Section<'_>) -> Option<Fraction> {
    if !m.has("q") {
        m.missing("q");
    }
    let node = m.get("q")?;
    let text = match &node.value {
        Value::Text(text) | Value::Float(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        _ => String::new(),
    };
    const DIGITS: u32 = 12;
    let scale = 10_u64.pow(DIGITS);
    let inside = |n: &i64| *n > 0 && n.unsigned_abs() < scale;
    let Some(num) = units::decimal(&text, DIGITS).filter(inside) else {
        let hint = "q is an exact decimal, greater than 0 and less than 1, like \"0.9\"";
        m.problems.error(&node.place, "`q` is not between 0 and 1", hint);
        return None;
    };
    let mut common = (num.unsigned_abs(), scale);
    while common.1 > 0 {
        common = (common.1, common.0 % common.1);
    }
    Some(Fraction { num: num.unsigned_abs() / common.0, den: scale / common.0 })
}

/// What a measure is called if nothing is said.
fn default_name(kind: Kind) -> String {
    let name = names::of;
    match kind {
        Kind::Count | Kind::Top { .. } => "count".into(),
        Kind::CountOf(e) => format!("count_{}", name(e)),
        Kind::CountDistinct(e) => format!("count_distinct_{}", name(e)),
        Kind::Sum(e) => format!("sum_{}", name(e)),
        Kind::Mean(e) => format!("mean_{}", name(e)),
        Kind::Min(e) => format!("min_{}", name(e)),
        Kind::Max(e) => format!("max_{}", name(e)),
        Kind::Quantile { of, q: Fraction { num: 1, den: 2 }, .. } => format!("median_{}", name(of)),
        Kind::Quantile { of, .. } => format!("quantile_{}", name(of)),
        Kind::Argmax { of, .. } => name(of),
        Kind::Ratio(..) => String::new(),
    }
}

/// The kind of a raw measure, ratios with the places of their two measures.
fn resolve(raw: &Raw<'_>, all: &[Raw<'_>], scope: &Scope<'_>) -> Option<Kind> {
    let Some((a, b)) = raw.ratio else { return raw.kind };
    let find = |node: &Node| {
        let Some(name) = node.as_text() else {
            scope.problems.error(&node.place, "a ratio names two measures", "by their names");
            return None;
        };
        let at = all.iter().position(|r| r.name == name && !std::ptr::eq(r, raw));
        let Some(at) = at else {
            let others = all.iter().filter(|r| !std::ptr::eq(*r, raw) && !r.name.is_empty());
            let hint = meant(name, others.map(|r| r.name.as_str()));
            let message = format!("this metric has no measure `{name}`");
            scope.problems.error(&node.place, message, hint);
            return None;
        };
        let kind = all[at].kind;
        if all[at].ratio.is_some()
            || kind.is_some_and(|k| !matches!(k, Kind::Count | Kind::CountOf(_) | Kind::Sum(_)))
        {
            let message = format!("a ratio of `{name}` does not add up");
            scope.problems.error(&node.place, message, "only counts and sums can be divided");
            return None;
        }
        Some((at, kind?))
    };
    let (a, b) = (find(a), b.and_then(|node| Some((node, find(node)?))));
    let ((a, top), (node, (b, bottom))) = (a?, b?);
    let degrees = |k: Kind| matches!(k, Kind::Sum(e) if e.ty() == Type::Fixed7);
    if degrees(bottom) && !degrees(top) {
        scope.problems.error(&node.place, "nothing is divided by degrees", "swap the two");
        return None;
    }
    Some(Kind::Ratio(a, b))
}
