//! Facts and the columns they have: what a name in a declaration means, and when it means
//! nothing, which fact would do.

use dataflows::metrics::declare::{AgeGroup, Expr, Fact, Meta};
use dataflows::record::{Column, Stream, Type};

use crate::config::problem::{Place, Problems, nearest, one_of};

/// Facts by the names they are declared with; sides may stand in any order.
pub const FACTS: [&str; 14] = [
    "pin",
    "geo",
    "user",
    "pin+geo",
    "pin+user",
    "geo+user",
    "posts",
    "arrivals",
    "arrivals+geo",
    "arrivals+user",
    "arrivals+geo+user",
    "people",
    "records",
    "fields",
];

/// Columns that are derived, beside `length(column)` and `year(column)`.
const DERIVED: [&str; 7] =
    ["ind", "age_group", "post_year", "join_year", "hour_of_day", "geo_cell", "tags"];

/// Names that people try, and what they want.
const EXPLAINED: [(&str, &str); 16] = [
    ("index", "the index is called `ind`"),
    ("idx", "the index is called `ind`"),
    ("first_name", "names are cleaned to `user_name`"),
    ("last_name", "names are cleaned to `user_name`"),
    ("name", "it is called `user_name` (of users) or `poster_name` (of pins)"),
    ("poster", "it is called `poster_name`"),
    ("user", "it is called `user_name`"),
    ("coordinates", "use `latitude`, `longitude` or `geo_cell`"),
    ("followers", "it is called `follower_count`"),
    ("year", "it is called `post_year` or `join_year`"),
    ("month", "months are windows: windows = [\"month\"]"),
    ("day", "days are windows: windows = [\"day\"]"),
    ("date", "it is called `timestamp` (of posts) or `date_joined` (of users)"),
    ("hour", "it is called `hour_of_day`; hours as windows are windows = [\"hour\"]"),
    ("joined", "it is called `date_joined`"),
    ("latlon", "it is called `geo_cell`"),
];

/// The fact of a name.
pub fn fact(name: &str) -> Option<Fact> {
    match name {
        "posts" => return Some(Fact::Sides([true; 3])),
        "people" => return Some(Fact::People),
        "records" => return Some(Fact::Records),
        "fields" => return Some(Fact::Fields),
        _ => {}
    }
    let mut sides = [false; 3];
    let mut arrivals = false;
    for part in name.split('+').map(str::trim) {
        match Stream::from_name(part) {
            Some(stream) if !sides[stream as usize] => sides[stream as usize] = true,
            None if part == "arrivals" && !arrivals => arrivals = true,
            _ => return None,
        }
    }
    // An arrival is that of a pin: the pin's side is always there.
    Some(if arrivals { Fact::Arrivals([true, sides[1], sides[2]]) } else { Fact::Sides(sides) })
}

/// The name that a fact is declared with.
pub fn fact_name(fact: Fact) -> String {
    let join = |list: Vec<&str>| list.join("+");
    let of = |sides: [bool; 3], from: usize| {
        Stream::ALL[from..].iter().filter(|s| sides[**s as usize]).map(|s| s.name()).collect()
    };
    match fact {
        Fact::Sides([true, true, true]) => "posts".into(),
        Fact::Sides(sides) => join(of(sides, 0)),
        Fact::Arrivals(sides) => {
            let mut parts = vec!["arrivals"];
            parts.extend::<Vec<&str>>(of(sides, 1));
            join(parts)
        }
        Fact::People => "people".into(),
        Fact::Records => "records".into(),
        Fact::Fields => "fields".into(),
    }
}

/// What names mean within one metric.
pub struct Scope<'a> {
    /// Where problems go.
    pub problems: &'a Problems,
    /// The metric's fact.
    pub fact: Fact,
    /// The configured age groups.
    pub age_groups: &'a [AgeGroup],
}

impl Scope<'_> {
    /// The expression of a name, if the fact has it; else what is wrong is noted.
    pub fn expr(&self, name: &str, place: &Place) -> Option<Expr> {
        let Some(expr) = Expr::from_name(name.trim()) else {
            self.problems.error(place, unknown(name), self.unknown_hint(name));
            return None;
        };
        if self.has(expr) {
            return Some(expr);
        }
        let fact = fact_name(self.fact);
        let (message, hint) = match (self.fact, expr) {
            (Fact::Records | Fact::Fields, Expr::Meta(_)) => {
                let other = if self.fact == Fact::Records { "fields" } else { "records" };
                let hint = format!("of = \"{other}\" has it; `{fact}` has {}", self.columns());
                (format!("`{name}` is not a column of `{fact}`"), hint)
            }
            (Fact::Records | Fact::Fields, _) => {
                let hint = format!("`{fact}` has {}", self.columns());
                (format!("`{name}` is a column of posts, and `{fact}` has none"), hint)
            }
            (_, Expr::Meta(_)) => {
                let hint = "of = \"records\" or of = \"fields\" have it".to_string();
                (format!("`{name}` is a column about records, which `{fact}` lacks"), hint)
            }
            (Fact::People, Expr::Ind) => {
                let hint = "a person has many; of = \"user\" has it".to_string();
                ("people have no index".to_string(), hint)
            }
            _ => {
                let side = expr.stream().map_or("pin", Stream::name);
                let hint = format!("of = \"{}\" has it", fact_name(self.with(expr)));
                (format!("`{name}` belongs to {side}, which `{fact}` lacks"), hint)
            }
        };
        self.problems.error(place, message, hint);
        None
    }

    /// Whether the fact has an expression.
    pub fn has(&self, expr: Expr) -> bool {
        match (self.fact, expr) {
            (Fact::Records, Expr::Meta(m)) => {
                matches!(m, Meta::Stream | Meta::Outcome | Meta::Reason)
            }
            (Fact::Fields, Expr::Meta(m)) => m != Meta::Outcome,
            (Fact::Records | Fact::Fields, _) | (_, Expr::Meta(_)) => false,
            (Fact::Sides(sides) | Fact::Arrivals(sides), _) => {
                expr.stream().is_none_or(|s| sides[s as usize])
            }
            (Fact::People, _) => expr.stream() == Some(Stream::User),
        }
    }

    /// The fact with the side added that an expression needs.
    fn with(&self, expr: Expr) -> Fact {
        let add = |mut sides: [bool; 3]| {
            if let Some(stream) = expr.stream() {
                sides[stream as usize] = true;
            }
            sides
        };
        match self.fact {
            Fact::Arrivals(sides) => Fact::Arrivals(add(sides)),
            Fact::Sides(sides) => Fact::Sides(add(sides)),
            _ => Fact::Sides(add([false, false, true])),
        }
    }

    /// The columns of a fact about records.
    fn columns(&self) -> String {
        let metas = [Meta::Stream, Meta::Outcome, Meta::Column, Meta::State, Meta::Reason];
        let has = metas.into_iter().filter(|m| self.has(Expr::Meta(*m))).map(Meta::name);
        one_of(has).replace(" or ", " and ")
    }

    fn unknown_hint(&self, name: &str) -> String {
        let lower = name.trim().to_lowercase();
        if let Some((_, hint)) = EXPLAINED.iter().find(|(n, _)| *n == lower) {
            return (*hint).to_string();
        }
        let of_type = |ty: Type| {
            let names = Column::ALL.iter().filter(|c| c.ty() == ty).map(|c| c.name());
            format!("possible: {}", one_of(names))
        };
        if lower.contains('(') && !lower.starts_with("length(") && !lower.starts_with("year(") {
            return "there are `length(column)` and `year(column)`".to_string();
        }
        if lower.starts_with("length(") {
            return of_type(Type::Text);
        }
        if lower.starts_with("year(") {
            return of_type(Type::Time);
        }
        let metas = [Meta::Stream, Meta::Outcome, Meta::Column, Meta::State, Meta::Reason];
        let columns = Column::ALL.iter().map(|c| c.name()).chain(DERIVED);
        let mut known: Vec<&str> = columns.chain(metas.map(Meta::name)).collect();
        known.retain(|k| Expr::from_name(k).is_some_and(|e| self.has(e)));
        let here = nearest(&lower, known.iter().copied());
        let anywhere = || nearest(&lower, Column::ALL.iter().map(|c| c.name()).chain(DERIVED));
        match here.or_else(anywhere) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`{}` has {}", fact_name(self.fact), known.join(", ")),
        }
    }
}

/// What is wrong with a name that means nothing.
fn unknown(name: &str) -> String {
    let inner = |f: &str| {
        let inner = name.trim().strip_prefix(f)?.strip_prefix('(')?.strip_suffix(')')?;
        Column::from_name(inner.trim()).map(|c| (inner.trim().to_string(), c.ty()))
    };
    match (inner("length"), inner("year")) {
        (Some((c, _)), _) => format!("`length` is that of a text, and `{c}` is none"),
        (_, Some((c, _))) => format!("`year` is that of a time, and `{c}` is none"),
        _ => format!("there is no column `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_have_one_name_each() {
        for name in FACTS {
            assert_eq!(fact(name).map(fact_name).as_deref(), Some(name));
        }
        for (other, name) in [
            ("pin+geo+user", "posts"),
            ("user+pin", "pin+user"),
            ("pin + geo", "pin+geo"),
            ("arrivals+pin", "arrivals"),
            ("arrivals+user+geo", "arrivals+geo+user"),
        ] {
            assert_eq!(fact(other).map(fact_name).as_deref(), Some(name), "{other}");
        }
        for bad in ["", "pins", "pin+pin", "pin+", "posts+geo", "arrivals+people", "records+pin"] {
            assert_eq!(fact(bad), None, "{bad}");
        }
    }
}
