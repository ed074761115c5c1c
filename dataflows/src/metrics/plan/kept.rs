//! Which columns slots keep, and in which form: those that the declarations name.

use std::collections::BTreeSet;

use super::super::declare::{Expr, Kind, Metric, Time};
use super::super::expr::{Need, columns, condition_columns, finer};
use super::distinct_exprs;
use crate::assemble::layout::Kept;
use crate::record::project::Form;
use crate::record::{Column, Type};
use crate::time::HOUR;

/// The columns that slots keep: none in a form that a finer one makes needless.
pub(super) fn kept_columns(
    metrics: &[Metric],
    also: impl IntoIterator<Item = Kept>,
) -> BTreeSet<Kept> {
    let mut kept: BTreeSet<Kept> = metrics.iter().flat_map(metric_columns).collect();
    kept.extend(also);
    let all = kept.clone();
    let has = |column: Column, form: &Form| all.contains(&Kept { column, form: *form });
    kept.retain(|k| !finer(k.form).iter().any(|form| has(k.column, form)));
    kept
}

/// Every column in the form that serves most declarations.
pub(super) fn every_column() -> Vec<Kept> {
    let form = |column: &Column| match column.ty() {
        Type::Text => Form::Symbol,
        _ => Form::Int,
    };
    let whole = Column::ALL.iter().map(|c| Kept { column: *c, form: form(c) });
    let parts = [(Column::TagList, Form::Tags), (Column::SaveLocation, Form::Length)];
    whole.chain(parts.map(|(column, form)| Kept { column, form })).collect()
}

/// What a metric's windows need of the time of an event, if they are over that.
pub(super) fn event_need(metric: &Metric) -> Option<Need> {
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
