//! The shape of a metric's answers: its key and value columns with their types.

use crate::metrics::declare::{Kind, Measure, Metric, Window};
use crate::record::Type;

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as users see it.
    pub name: String,
    /// The type of its values.
    pub ty: Type,
}

/// What the rows of a metric look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The metric's name.
    pub name: String,
    /// What it means, in a sentence.
    pub meaning: String,
    /// The group keys, in order.
    pub keys: Vec<Field>,
    /// The columns of its measures, in order; `top` and `argmax` give two: returned, then name.
    pub values: Vec<Field>,
    /// Its windows; none = one window without edges.
    pub windows: Vec<Window>,
    /// The declaration it follows from.
    pub metric: Metric,
}

impl Schema {
    /// The schema of a declaration.
    pub fn of(metric: &Metric) -> Schema {
        let key = |k: &super::declare::Key| Field { name: k.name.clone(), ty: k.expr.ty() };
        let mut values = Vec::new();
        for measure in &metric.measures {
            if let Some(name) = &measure.returned {
                let ty = match measure.kind {
                    Kind::Top { of, .. } => of.ty(),
                    Kind::Argmax { returning, .. } => returning.ty(),
                    _ => Type::Text,
                };
                values.push(Field { name: name.clone(), ty });
            }
            let ty = measured(metric, measure);
            values.push(Field { name: measure.name.clone(), ty });
        }
        Schema {
            name: metric.name.clone(),
            meaning: metric.meaning.clone(),
            keys: metric.keys.iter().map(key).collect(),
            values,
            windows: metric.windows.clone(),
            metric: metric.clone(),
        }
    }
}

/// The type of a measure's own value: counts are integers, all else is in the units of what is
/// measured, and a quotient of equal units has none.
fn measured(metric: &Metric, measure: &Measure) -> Type {
    match measure.kind {
        Kind::Count | Kind::CountOf(_) | Kind::CountDistinct(_) | Kind::Top { .. } => Type::Int,
        Kind::Sum(e) | Kind::Mean(e) | Kind::Min(e) | Kind::Max(e) => e.ty(),
        Kind::Quantile { of, .. } | Kind::Argmax { of, .. } => of.ty(),
        Kind::Ratio(a, b) => {
            let unit = |n: usize| match metric.measures.get(n).map(|m| m.kind) {
                Some(Kind::Sum(e)) => e.ty(),
                _ => Type::Int,
            };
            if unit(a) == unit(b) { Type::Int } else { unit(a) }
        }
    }
}
