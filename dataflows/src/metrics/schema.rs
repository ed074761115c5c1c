//! The columns of a declared metric's answers: their names, types and units, and the names its
//! windows are told apart by. Everything that prints, serves or stores results reads them here.

use super::declare::{Kind, Measure, Metric, Shape, Window};
use crate::record::Type;
use crate::time::{DAY, HOUR, SECOND};

/// A named and typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in answers.
    pub name: String,
    /// What its values are; a quotient is in the units of this type.
    pub ty: Type,
}

/// What the rows of a metric look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The metric's name.
    pub name: String,
    /// What it means.
    pub meaning: String,
    /// The group keys, in order.
    pub keys: Vec<Field>,
    /// The columns of the measures, in order: two for `top` and `argmax` (returned, then name).
    pub values: Vec<Field>,
    /// The windows; none = one window without edges.
    pub windows: Vec<Window>,
    /// The declaration.
    pub metric: Metric,
}

impl Schema {
    /// The schema of a checked declaration.
    pub fn of(metric: &Metric) -> Self {
        let key = |k: &super::declare::Key| Field { name: k.name.clone(), ty: k.expr.ty() };
        Schema {
            name: metric.name.clone(),
            meaning: metric.meaning.clone(),
            keys: metric.keys.iter().map(key).collect(),
            values: metric.measures.iter().flat_map(|m| fields(m, &metric.measures)).collect(),
            windows: metric.windows.clone(),
            metric: metric.clone(),
        }
    }

    /// The place in `values` that rows are ranked by, greatest first: the value of the first
    /// measure (for `top` and `argmax` the count or value, not the column that stands before it).
    pub fn rank(&self) -> usize {
        usize::from(self.metric.measures.first().is_some_and(|m| m.returned.is_some()))
    }

    /// Which of `values` are quotients, so that `output.decimals` applies to them.
    pub fn quotients(&self) -> Vec<bool> {
        let of = |m: &Measure| {
            let is = match m.kind {
                Kind::Mean(_) | Kind::Ratio(..) => true,
                Kind::Quantile { interpolated, .. } => interpolated,
                _ => false,
            };
            if m.returned.is_some() { vec![false, is] } else { vec![is] }
        };
        self.metric.measures.iter().flat_map(of).collect()
    }

    /// The place of the first column of each measure in `values`.
    pub fn starts(&self) -> Vec<usize> {
        let width = |m: &Measure| 1 + usize::from(m.returned.is_some());
        let next = |at: &mut usize, m: &Measure| {
            let here = *at;
            *at += width(m);
            Some(here)
        };
        self.metric.measures.iter().scan(0, next).collect()
    }
}

/// The columns that a measure shows.
fn fields(measure: &Measure, all: &[Measure]) -> Vec<Field> {
    let field = |name: &String, ty| Field { name: name.clone(), ty };
    let value = field(&measure.name, value_type(&measure.kind, all));
    let returned = match measure.kind {
        Kind::Top { of, .. } => Some(of.ty()),
        Kind::Argmax { returning, .. } => Some(returning.ty()),
        _ => None,
    };
    match (returned, &measure.returned) {
        (Some(ty), Some(name)) => vec![field(name, ty), value],
        _ => vec![value],
    }
}

/// The type of a measure's value.
fn value_type(kind: &Kind, all: &[Measure]) -> Type {
    match *kind {
        Kind::Count | Kind::CountOf(_) | Kind::CountDistinct(_) | Kind::Top { .. } => Type::Int,
        Kind::Sum(e) | Kind::Mean(e) | Kind::Min(e) | Kind::Max(e) => e.ty(),
        Kind::Quantile { of, .. } | Kind::Argmax { of, .. } => of.ty(),
        // Units cancel where both have them.
        Kind::Ratio(a, b) => {
            let ty = |n: usize| all.get(n).map_or(Type::Int, |m| value_type(&m.kind, &[]));
            if ty(a) == ty(b) { Type::Int } else { ty(a) }
        }
    }
}

impl Window {
    /// The name that tells this window from the metric's others: `hour`, `day`, `month`, `year`,
    /// or its size (`5min`, `24h`).
    pub fn label(&self) -> String {
        match self.shape {
            Shape::Tumbling { size: HOUR } => "hour".into(),
            Shape::Tumbling { size: DAY } => "day".into(),
            Shape::Tumbling { size } | Shape::Sliding { size, .. } => span(size),
            Shape::Month => "month".into(),
            Shape::Year => "year".into(),
        }
    }
}

/// A length of time in the largest unit that divides it; up to a day in hours.
pub fn span(micros: i64) -> String {
    let units =
        [(DAY, "d"), (HOUR, "h"), (60 * SECOND, "min"), (SECOND, "s"), (1000, "ms"), (1, "us")];
    if micros == 0 {
        return "0s".into();
    }
    let fits = |&&(unit, _): &&(i64, &str)| micros % unit == 0 && (unit < DAY || micros > DAY);
    let (unit, name) = units.iter().find(fits).unwrap_or(&units[5]);
    format!("{}{name}", micros / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::declare::{Expr, Fact, Join, Key, Output, Ties, Time};
    use crate::record::Column;

    fn measure(name: &str, returned: Option<&str>, kind: Kind) -> Measure {
        Measure { name: name.into(), returned: returned.map(Into::into), kind, filter: vec![] }
    }

    #[test]
    fn columns_come_in_the_order_of_the_measures() {
        let followers = Expr::Column(Column::FollowerCount);
        let latitude = Expr::Column(Column::Latitude);
        let poster = Expr::Column(Column::PosterName);
        let metric = Metric {
            name: "m".into(),
            meaning: "m".into(),
            fact: Fact::Sides([true, true, false]),
            join: Join::Newest,
            filter: vec![],
            keys: vec![Key { name: "country".into(), expr: Expr::Column(Column::Country) }],
            distinct: vec![],
            measures: vec![
                measure("most", Some("who"), Kind::Argmax { of: followers, returning: poster }),
                measure("lat", None, Kind::Sum(latitude)),
                measure("n", None, Kind::Count),
                measure("mean_lat", None, Kind::Ratio(1, 2)),
            ],
            windows: vec![],
            retain: None,
            ties: Ties::First,
            keep_empty: false,
            export: 100,
            limit: None,
            output: Output::default(),
        };
        let schema = Schema::of(&metric);
        let got: Vec<_> = schema.values.iter().map(|f| (f.name.as_str(), f.ty)).collect();
        let want = [
            ("who", Type::Text),
            ("most", Type::Int),
            ("lat", Type::Fixed7),
            ("n", Type::Int),
            ("mean_lat", Type::Fixed7),
        ];
        assert_eq!(got, want);
        assert_eq!(schema.rank(), 1);
        assert_eq!(schema.starts(), [0, 2, 3, 4]);
        assert_eq!(schema.quotients(), [false, false, false, false, true]);
    }

    #[test]
    fn windows_are_told_apart_by_name() {
        let label = |shape| Window { time: Time::Event, shape }.label();
        for (shape, name) in [
            (Shape::Tumbling { size: HOUR }, "hour"),
            (Shape::Tumbling { size: DAY }, "day"),
            (Shape::Tumbling { size: HOUR / 2 }, "30min"),
            (Shape::Sliding { size: DAY, every: HOUR }, "24h"),
            (Shape::Sliding { size: 7 * DAY, every: DAY }, "7d"),
            (Shape::Sliding { size: 90 * SECOND, every: SECOND }, "90s"),
            (Shape::Month, "month"),
            (Shape::Year, "year"),
        ] {
            assert_eq!(label(shape), name);
        }
    }
}
