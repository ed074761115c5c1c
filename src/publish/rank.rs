//! The order of a window's rows: the first measure descending, nulls last; then the keys, texts by
//! their bytes, null first. Rows that are equal in all of this keep their order.
//!
//! Promises: many rows are in the same order as few, and cost a comparison of numbers each time,
//! not of texts.

use std::cmp::Ordering;

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;
use dataflows::symbol::Sym;

use super::Row;
use super::print::order;

/// So many rows are worth it to put their texts in order first.
const MANY: usize = 1000;

/// Keys whose places fit into one number.
const KEYS: usize = 4;

/// How rows are ordered.
pub struct Ranking<'s> {
    schema: &'s Schema,
    /// The value that leads.
    lead: usize,
    /// The places of texts among all texts of the rows, from 1 on, by the symbol's id.
    places: Option<Vec<u32>>,
}

impl<'s> Ranking<'s> {
    /// The order of some rows; others are none of its business.
    pub fn of<'r>(schema: &'s Schema, rows: impl Iterator<Item = Row<'r>> + Clone) -> Self {
        let texts = schema.keys.len() <= KEYS && schema.keys.iter().all(|k| k.ty == Type::Text);
        let many = texts && rows.clone().nth(MANY).is_some();
        Ranking { schema, lead: schema.rank(), places: many.then(|| places(rows)) }
    }

    /// Puts rows in order.
    pub fn sort(&self, rows: &mut [Row<'_>]) {
        match &self.places {
            Some(places) if rows.iter().all(|row| self.lead(row).is_some()) => {
                rows.sort_by_cached_key(|row| (self.lead(row), keys(row, places)));
            }
            _ => rows.sort_by(|a, b| self.compare(a, b)),
        }
    }

    /// A number that ascends as the first measure descends; none where it has no such number.
    fn lead(&self, row: &Row<'_>) -> Option<i64> {
        match row.int(self.lead) {
            // Plain integers are greater than the least two.
            Some(value) => Some(-value),
            None => (row.value(self.lead) == Value::Null).then_some(i64::MAX),
        }
    }

    fn compare(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let lead = match (a.int(self.lead), b.int(self.lead)) {
            (Some(a), Some(b)) => b.cmp(&a),
            _ => order(b.value(self.lead), a.value(self.lead)),
        };
        lead.then_with(|| by_keys(self.schema, &a.keys(), &b.keys()))
    }
}

/// The places of the texts of these rows' keys, which are all texts.
fn places<'r>(rows: impl Iterator<Item = Row<'r>>) -> Vec<u32> {
    let (mut places, mut texts) = (Vec::new(), Vec::new());
    for cell in rows.flat_map(Row::each_key).filter(|cell| *cell != NULL) {
        let text = Sym::from_cell(cell);
        let id = text.id() as usize;
        if places.len() <= id {
            places.resize(id + 1, 0);
        }
        if std::mem::replace(&mut places[id], 1) == 0 {
            texts.push(text);
        }
    }
    texts.sort_unstable();
    texts.iter().zip(1..).for_each(|(text, place)| places[text.id() as usize] = place);
    places
}

/// The places of a row's keys, the first one highest; null is 0.
fn keys(row: &Row<'_>, places: &[u32]) -> u128 {
    let place = |cell: i64| match cell {
        NULL => 0,
        cell => places[Sym::from_cell(cell).id() as usize],
    };
    row.each_key().fold(0, |all, cell| all << u32::BITS | u128::from(place(cell)))
}

/// The order of group keys: texts by their bytes, whole numbers by their digits, times and degrees
/// by what they are worth, null first.
fn by_keys(schema: &Schema, a: &[i64], b: &[i64]) -> Ordering {
    let mut fields = schema.keys.iter().zip(a.iter().zip(b));
    let unequal = fields.find(|(_, (a, b))| a != b);
    let Some((field, (a, b))) = unequal else { return Ordering::Equal };
    match field.ty {
        Type::Text if *a != NULL && *b != NULL => Sym::from_cell(*a).cmp(&Sym::from_cell(*b)),
        Type::Int | Type::Bool if *a != NULL && *b != NULL => a.to_string().cmp(&b.to_string()),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use dataflows::metrics::declare::{Expr, Kind};
    use dataflows::metrics::value::{GroupKey, Value};
    use dataflows::record::Column;
    use dataflows::symbol::intern;
    use proptest::prelude::*;

    use super::super::Table;
    use super::super::samples::{measure, metric};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn many_rows_are_in_the_order_of_few(
            rows in prop::collection::vec(
                (0u16..300, prop::option::of(0u16..40), any::<u8>()),
                0..3000,
            ),
        ) {
            let lead = measure("max", Kind::Max(Expr::Column(Column::Age)));
            let schema = Schema::of(&metric("m", &["country", "category"], vec![lead], Vec::new()));
            let mut table = Table::new(&schema);
            for (a, b, value) in rows {
                let text = |n: u16| intern(&format!("{}x{n}", n % 7)).cell();
                let keys = [text(a), b.map_or(NULL, text)].into_iter().collect();
                let value = match value {
                    0..50 => Value::Null,
                    50 => Value::Int(i64::MIN.into()),
                    v => Value::Int(i128::from(v % 5) - 2),
                };
                let key = GroupKey { window: 0, start: NULL, keys };
                table.set(&key, &[[value].into_iter().collect()]);
            }
            let cells = |rows: Vec<Row<'_>>| -> Vec<_> {
                rows.into_iter().map(|row| (row.keys().to_vec(), row.values())).collect()
            };
            let mut many: Vec<Row<'_>> = table.rows().collect();
            let mut few = many.clone();
            let ranking = Ranking::of(&schema, table.rows());
            prop_assert_eq!(ranking.places.is_some(), many.len() > MANY);
            ranking.sort(&mut many);
            few.sort_by(|a, b| ranking.compare(a, b));
            prop_assert_eq!(cells(many), cells(few));
        }
    }
}
