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

/// The places of texts in their order, of all that they were ever made for: metrics name the same
/// texts, which are put in order once. New texts cost a look at all that are known.
#[derive(Default)]
pub struct Places {
    /// From 1 on, by the symbol's id; 0 of other texts.
    by_id: Vec<u32>,
    /// The texts, in order.
    texts: Vec<Sym>,
}

impl Places {
    /// Finds places for the keys of rows, which are all texts.
    fn extend<'r>(&mut self, rows: impl Iterator<Item = Row<'r>>) {
        let known = self.texts.len();
        for cell in rows.flat_map(Row::each_key).filter(|cell| *cell != NULL) {
            let text = Sym::from_cell(cell);
            let id = text.id() as usize;
            if self.by_id.len() <= id {
                self.by_id.resize(id + 1, 0);
            }
            if self.by_id[id] == 0 {
                self.by_id[id] = 1;
                self.texts.push(text);
            }
        }
        if self.texts.len() > known {
            self.texts[known..].sort_unstable();
            // Two lists in order, one behind the other: this sort looks at each text but once.
            self.texts.sort();
            self.texts.iter().zip(1..).for_each(|(t, place)| self.by_id[t.id() as usize] = place);
        }
    }

    /// Bits of a place.
    fn bits(&self) -> u32 {
        usize::BITS - self.texts.len().leading_zeros()
    }

    /// The places of a row's keys in so many bits each, the first one highest; null is 0.
    fn of(&self, row: &Row<'_>, bits: u32) -> u128 {
        let place = |cell: i64| match cell {
            NULL => 0,
            cell => self.by_id[Sym::from_cell(cell).id() as usize],
        };
        row.each_key().fold(0, |all, cell| all << bits | u128::from(place(cell)))
    }
}

/// How rows are ordered.
pub struct Ranking<'s> {
    schema: &'s Schema,
    /// The value that leads.
    lead: usize,
    /// Those of the texts of all rows' keys, if it is worth it.
    places: Option<&'s Places>,
}

impl<'s> Ranking<'s> {
    /// The order of some rows; others are none of its business. Places are found for their texts.
    pub fn of<'r>(
        schema: &'s Schema,
        rows: impl Iterator<Item = Row<'r>> + Clone,
        places: &'s mut Places,
    ) -> Self {
        let texts = schema.keys.len() <= KEYS && schema.keys.iter().all(|k| k.ty == Type::Text);
        let many = texts && rows.clone().nth(MANY).is_some();
        if many {
            places.extend(rows);
        }
        Ranking { schema, lead: schema.rank(), places: many.then_some(&*places) }
    }

    /// Puts rows in order.
    pub fn sort(&self, rows: &mut [Row<'_>]) {
        self.sort_by(rows, |row| *row);
    }

    /// Puts what stands for rows in their order.
    pub fn sort_by<'r, T: Copy>(&self, rows: &mut [T], row: impl Fn(&T) -> Row<'r>) {
        if rows.len() < 2 {
            return;
        }
        let leads = rows.iter().map(|one| self.lead(&row(one)));
        let leads =
            self.places.and_then(|places| Some((places, leads.collect::<Option<Vec<_>>>()?)));
        let Some((places, leads)) = leads else {
            return rows.sort_by(|a, b| self.compare(&row(a), &row(b)));
        };
        let least = leads.iter().copied().min().unwrap_or(0);
        let most = leads.iter().copied().max().unwrap_or(0);
        let above = |lead: i64| lead.wrapping_sub(least) as u64;
        let keys = places.bits() * self.schema.keys.len() as u32;
        if keys < above(most).leading_zeros() {
            // All of it in one number, as most are.
            by_key(rows, leads, |lead, one| {
                above(lead) << keys | places.of(&row(one), places.bits()) as u64
            });
        } else {
            by_key(rows, leads, |lead, one| (above(lead), places.of(&row(one), u32::BITS)));
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

/// Puts some things in the order of keys that are made of them and what leads.
fn by_key<T: Copy, K: Copy + Ord>(list: &mut [T], leads: Vec<i64>, key: impl Fn(i64, &T) -> K) {
    let keyed = leads.into_iter().zip(&*list).map(|(lead, one)| (key(lead, one), *one));
    let mut keyed: Vec<(K, T)> = keyed.collect();
    keyed.sort_by_key(|(key, _)| *key);
    list.iter_mut().zip(keyed).for_each(|(place, (_, one))| *place = one);
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
            // What leads may take all of a number, or few of its bits.
            far in any::<bool>(),
            nulls in any::<bool>(),
        ) {
            let lead = measure("max", Kind::Max(Expr::Column(Column::Age)));
            let schema = Schema::of(&metric("m", &["country", "category"], vec![lead], Vec::new()));
            let mut table = Table::new(&schema);
            for (a, b, value) in rows {
                let text = |n: u16| intern(&format!("{}x{n}", n % 7)).cell();
                let keys = [text(a), b.map_or(NULL, text)].into_iter().collect();
                let value = match value {
                    0..50 if nulls => Value::Null,
                    50 if far => Value::Int(i64::MIN.into()),
                    51 | 52 if far => {
                        Value::Int(i128::from(i64::MAX / 2) * (103 - 2 * i128::from(value)))
                    }
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
            let mut places = Places::default();
            // Some have their places already.
            places.extend(table.rows().step_by(3));
            let ranking = Ranking::of(&schema, table.rows(), &mut places);
            prop_assert_eq!(ranking.places.is_some(), many.len() > MANY);
            ranking.sort(&mut many);
            few.sort_by(|a, b| ranking.compare(a, b));
            prop_assert_eq!(cells(many), cells(few));
        }
    }
}
