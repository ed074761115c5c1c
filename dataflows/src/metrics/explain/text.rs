//! Parts of declarations as a user writes them.

use super::super::declare::{Condition, Constant, Expr, Fact, Kind, Op, Shape, Window};
use super::super::plan::{Rest, side_names};
use super::super::schema::span;
use crate::record::Type;

/// A fact as it is declared.
pub fn fact(fact: Fact) -> String {
    match fact {
        Fact::Sides([true, true, true]) => "posts".into(),
        Fact::Sides(sides) => side_names(sides),
        Fact::Arrivals([_, false, false]) => "arrivals".into(),
        Fact::Arrivals([_, geo, user]) => format!("arrivals+{}", side_names([false, geo, user])),
        Fact::People => "people".into(),
        Fact::Records => "records".into(),
        Fact::Fields => "fields".into(),
    }
}

/// Conditions as they are declared.
pub fn conditions(list: &[Condition]) -> Vec<String> {
    let one = |c: &Condition| match c {
        Condition::IsNull(e, true) => format!("{} is null", e.name()),
        Condition::IsNull(e, false) => format!("{} is not null", e.name()),
        Condition::Compare(e, op, c) => format!("{} {} {}", e.name(), sign(*op), constant(*e, c)),
    };
    list.iter().map(one).collect()
}

/// What a metric asks of rows beyond a wider one whose groups it is kept in, but for conditions
/// that hold for all rows of a group.
pub fn of_rows(rest: &Rest) -> Vec<String> {
    let sides = rest.sides.iter().map(|side| format!("{} is there", side.name()));
    conditions(&rest.rows).into_iter().chain(sides).collect()
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
    }
}

fn constant(of: Expr, constant: &Constant) -> String {
    match (constant, of.ty()) {
        (Constant::Text(text), _) => format!("'{text}'"),
        (Constant::Int(n), Type::Fixed7) => (*n as f64 / 1e7).to_string(),
        (Constant::Int(t), Type::Time) => match chrono::DateTime::from_timestamp_micros(*t) {
            Some(there) => format!("'{}'", there.format("%Y-%m-%d %H:%M:%S%.f")),
            None => t.to_string(),
        },
        (Constant::Int(n), _) => n.to_string(),
    }
}

/// What a count, a sum or a mean adds up.
pub fn added(kind: Kind) -> String {
    match kind {
        Kind::Count => "rows".into(),
        Kind::Sum(e) | Kind::Mean(e) => format!("sum of {}", e.name()),
        _ => values(kind),
    }
}

/// What a measure has values of.
pub fn values(kind: Kind) -> String {
    let of = match kind {
        Kind::Count | Kind::Ratio(..) => return "rows".into(),
        Kind::CountOf(e)
        | Kind::CountDistinct(e)
        | Kind::Sum(e)
        | Kind::Mean(e)
        | Kind::Min(e)
        | Kind::Max(e)
        | Kind::Quantile { of: e, .. }
        | Kind::Top { of: e, .. }
        | Kind::Argmax { of: e, .. } => e,
    };
    format!("values of {}", of.name())
}

/// How a window lies.
pub fn shape(window: &Window, slides: bool) -> String {
    match window.shape {
        Shape::Tumbling { size } => format!("one after the other, {} each", span(size)),
        Shape::Sliding { size, every } if slides => {
            format!("the last {}, moving every {}", span(size), span(every))
        }
        Shape::Sliding { size, every } => {
            let most = size / every + i64::from(size % every > 0);
            let held = if most > 1 { format!(", {most} hold a row") } else { String::new() };
            format!("{} each, one every {}{held}", span(size), span(every))
        }
        Shape::Month => "calendar months".into(),
        Shape::Year => "calendar years".into(),
    }
}
