//! `[[metric]]`: from what a user declared to a [`Metric`] that can be computed. Whatever is
//! wrong with a declaration is said, all of it, with the place and what was meant.

mod filter;
mod measure;
pub mod names;
mod output;
pub mod scope;
mod window;

use dataflows::metrics::declare::{
    AgeGroup, Condition, Expr, Fact, Join, Key, Kind, Metric, Ties, Time,
};
use dataflows::record::Column;

use self::measure::Placed;
use self::scope::{FACTS, Scope};
use super::problem::{Place, meant};
use super::section::Section;
use super::tree::Value;

/// Group keys at most.
const KEYS_MAX: usize = 8;

/// The declared metrics.
pub fn metrics(top: &Section<'_>, age_groups: &[AgeGroup], max_series: usize) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for node in top.list("metric", false).unwrap_or(&[]) {
        let Some(table) = top.element("metric", node) else { continue };
        let name = table.get("name").and_then(|e| e.node.as_text());
        let title = name.map_or("this [[metric]]".to_string(), |n| format!("metric `{n}`"));
        let place = table.entries.first().map_or(&node.place, |e| &e.place);
        let s = Section::new(top.problems, &title, place, table, &["metric"]);
        metrics.extend(metric(&s, age_groups, max_series));
    }
    metrics
}

fn metric(s: &Section<'_>, age_groups: &[AgeGroup], max_series: usize) -> Option<Metric> {
    if !s.has("name") {
        s.missing("name");
    }
    let name = names::given(s, "name").unwrap_or_default();
    if !s.has("meaning") {
        let message = format!("{} does not say what it means", s.name);
        s.problems.warn(s.place_of("name"), message, "for example meaning = \"posts per country\"");
    }
    let Some(fact) = fact(s) else {
        // Columns mean nothing without a fact; the forms of measures do.
        measure::measures(s, None);
        return None;
    };
    let scope = Scope { problems: s.problems, fact, age_groups };
    let errors = s.problems.count();
    let filter = filter::conditions(s, &scope);
    let keys = by(s, &scope);
    let measures = measure::measures(s, Some(&scope));
    let distinct = distinct(s, &scope);
    let windows = window::windows(s, fact);
    let retain = window::retain(s, &windows);
    let join = join(s, fact);
    let ties = s.choice("ties", &[("first", Ties::First), ("all", Ties::All)]);
    let ties = ties.unwrap_or(Ties::First);
    // Problems below would only repeat what has been said of a part that is missing.
    if s.problems.count() == errors {
        names::unique(s.problems, &keys, &measures);
        check_rows(s, &measures, ties);
        check_distinct(s, &distinct, &keys, &measures);
    }
    let output = output::output(s, &keys, &measures, &windows);
    if windows.iter().any(|w| w.time == Time::Arrival) && join == Join::Bag {
        let hint = "join = \"newest\" counts arrivals too";
        s.problems.error(s.place_of("join"), "a bag has no windows over arrivals", hint);
    }
    let export = s.int("export", 0, max_series as i64).unwrap_or(100) as usize;
    Some(Metric {
        name,
        meaning: s.text("meaning").unwrap_or_default().trim().to_string(),
        fact,
        join,
        filter,
        keys: keys.into_iter().map(|k| k.0).collect(),
        distinct: distinct.into_iter().map(|d| d.0).collect(),
        measures: measures.into_iter().map(|m| m.measure).collect(),
        windows,
        retain,
        ties,
        keep_empty: s.flag("keep_empty").unwrap_or(false),
        export: export.min(max_series),
        limit: s.int("limit", 1, i64::MAX).map(|n| n as usize),
        output,
    })
}

fn fact(s: &Section<'_>) -> Option<Fact> {
    if !s.has("of") {
        s.missing("of");
    }
    let name = s.text("of")?;
    let fact = scope::fact(name);
    if fact.is_none() {
        let hint = match name {
            "pins" | "geos" | "users" => format!("it is called `{}`", &name[..name.len() - 1]),
            "post" | "pin+geo+users" => "it is called `posts`".into(),
            _ => meant(name, FACTS),
        };
        s.problems.error(&s.get("of")?.place, format!("there is no fact `{name}`"), hint);
    }
    fact
}

fn join(s: &Section<'_>, fact: Fact) -> Join {
    let join = s.choice("join", &[("newest", Join::Newest), ("bag", Join::Bag)]);
    if join == Some(Join::Bag) && !matches!(fact, Fact::Sides(_)) {
        let message = format!("`{}` cannot be joined as a bag", scope::fact_name(fact));
        let hint = "bags are of sides: pin, geo, user, and their joins";
        s.problems.error(s.place_of("join"), message, hint);
    }
    join.unwrap_or(Join::Newest)
}

/// The group keys with their places.
fn by(s: &Section<'_>, scope: &Scope<'_>) -> Vec<(Key, Place)> {
    let mut found = Vec::new();
    let nodes = s.list("by", true).unwrap_or(&[]);
    for node in nodes {
        match &node.value {
            Value::Text(text) => {
                if let Some(expr) = scope.expr(text, &node.place) {
                    let name = names::of(expr);
                    found.push((Key { name, expr }, node.place.clone()));
                }
            }
            Value::Table(table) => {
                for entry in &table.entries {
                    names::check(s.problems, &entry.place, &entry.key);
                    let Some(text) = entry.node.as_text() else {
                        s.wrong("by", &entry.node, "a column for each name");
                        continue;
                    };
                    if let Some(expr) = scope.expr(text, &entry.node.place) {
                        let name = entry.key.clone();
                        found.push((Key { name, expr }, entry.place.clone()));
                    }
                }
            }
            _ => s.wrong("by", node, "columns"),
        }
    }
    if found.len() > KEYS_MAX {
        let message = format!("{} group keys are too many", found.len());
        s.problems.error(s.place_of("by"), message, format!("at most {KEYS_MAX}"));
    }
    found
}

/// The columns of `distinct` with their places.
fn distinct(s: &Section<'_>, scope: &Scope<'_>) -> Vec<(Expr, Place)> {
    let mut found = Vec::new();
    for node in s.list("distinct", false).unwrap_or(&[]) {
        let Some(text) = node.as_text() else {
            s.wrong("distinct", node, "columns");
            continue;
        };
        if let Some(expr) = scope.expr(text, &node.place) {
            found.push((expr, node.place.clone()));
        }
    }
    if s.has("distinct") {
        let place = s.place_of("distinct");
        if matches!(scope.fact, Fact::Records | Fact::Fields) {
            let message = "records are counted one by one; they cannot be distinct";
            s.problems.error(place, message, "leave out `distinct`");
        }
    }
    found
}

/// Notes what `distinct` leaves undecided: of rows that are equal in its columns one counts, so
/// that everything a group is measured by must follow from them.
fn check_distinct(
    s: &Section<'_>,
    distinct: &[(Expr, Place)],
    keys: &[(Key, Place)],
    measures: &[Placed],
) {
    if distinct.is_empty() {
        return;
    }
    let covered = |expr: Expr| {
        let has = |e: Expr| distinct.iter().any(|(d, _)| *d == e);
        has(expr) || bases(expr).is_some_and(|b| b.into_iter().all(|c| has(Expr::Column(c))))
    };
    let of_keys = keys.iter().map(|(k, place)| (k.expr, place));
    let of_measures = measures.iter().flat_map(|m| {
        let exprs = exprs(m.measure.kind).into_iter().chain(m.measure.filter.iter().map(tested));
        exprs.map(|e| (e, &m.place))
    });
    for (expr, place) in of_keys.chain(of_measures) {
        if !covered(expr) {
            let message = format!("`distinct` does not decide `{}`", expr.name());
            let hint = format!("add \"{}\" to `distinct`", expr.name());
            s.problems.error(place, message, hint);
        }
    }
}

/// The expressions that a measure looks at.
fn exprs(kind: Kind) -> Vec<Expr> {
    match kind {
        Kind::Count | Kind::Ratio(..) => vec![],
        Kind::CountOf(of)
        | Kind::CountDistinct(of)
        | Kind::Sum(of)
        | Kind::Mean(of)
        | Kind::Min(of)
        | Kind::Max(of)
        | Kind::Quantile { of, .. }
        | Kind::Top { of, .. } => vec![of],
        Kind::Argmax { of, returning } => vec![of, returning],
    }
}

fn tested(condition: &Condition) -> Expr {
    match condition {
        Condition::Compare(e, ..) | Condition::IsNull(e, _) => *e,
    }
}

/// The columns that an expression is derived from.
fn bases(expr: Expr) -> Option<Vec<Column>> {
    match expr {
        Expr::AgeGroup => Some(vec![Column::Age]),
        Expr::Year(c) | Expr::Length(c) => Some(vec![c]),
        Expr::HourOfDay => Some(vec![Column::Timestamp]),
        Expr::GeoCell => Some(vec![Column::Latitude, Column::Longitude]),
        Expr::Tags => Some(vec![Column::TagList]),
        Expr::Ind | Expr::Column(_) | Expr::Meta(_) => None,
    }
}

/// Notes measures that would each give several rows to a group.
fn check_rows(s: &Section<'_>, measures: &[Placed], ties: Ties) {
    let several = |m: &&Placed| match m.measure.kind {
        Kind::Top { k, .. } => k > 1 || ties == Ties::All,
        Kind::Argmax { .. } => ties == Ties::All,
        _ => false,
    };
    if let Some(second) = measures.iter().filter(several).nth(1) {
        let hint = "declare a metric each; with ties = \"first\" and k = 1 they go together";
        let message = "two measures of this metric give several rows a group";
        s.problems.error(&second.place, message, hint);
    }
    let winner = |m: &Placed| matches!(m.measure.kind, Kind::Top { .. } | Kind::Argmax { .. });
    if s.has("ties") && !measures.iter().any(winner) {
        let hint = "remove it: ties are those of top and argmax";
        s.problems.error(s.place_of("ties"), "`ties` says nothing here", hint);
    }
}
