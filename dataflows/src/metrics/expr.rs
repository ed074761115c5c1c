//! Expressions compiled: what declarations name of a row, each a cell that is made once a row,
//! whatever number of metrics name it. What metrics hold of an expression is the cell's place.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU32};

use super::declare::{AgeGroup, Condition, Constant, Expr, Meta, Op};
use super::value::NULL;
use crate::assemble::layout::{Kept, Layout, Place};
use crate::record::project::{Form, characters};
use crate::record::{Column, Stream, Type};
use crate::symbol::{Sym, intern};
use crate::time;

/// The place of an expression's cell in a row.
pub type Nth = usize;

/// What expressions are evaluated over.
#[derive(Clone, Copy)]
pub enum Row<'a> {
    /// Sides of a post: packed columns by stream, where a side is there.
    Sides {
        /// The index.
        index: u64,
        /// The packed columns of pin, geo, user.
        sides: [Option<&'a [u8]>; 3],
    },
    /// Cells one by one.
    Cells(&'a [i64]),
}

/// Where a cell is found in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// In the packed columns of a side.
    Side(Stream, Place),
    /// The n-th of a row of cells.
    Cell(usize),
}

impl At {
    #[inline]
    fn get(self, row: &Row<'_>) -> i64 {
        match (self, row) {
            (At::Side(stream, place), Row::Sides { sides, .. }) => {
                sides[stream as usize].map_or(NULL, |packed| place.get(packed))
            }
            (At::Cell(n), Row::Cells(cells)) => cells[n],
            _ => NULL,
        }
    }
}

/// The labels of ages 0..=150 as symbols' cells.
pub type AgeLabels = Arc<Vec<i64>>;

/// Builds the labels; an age in no group is null.
pub fn age_labels(groups: &[AgeGroup]) -> AgeLabels {
    let label = |age: i64| {
        let group = groups.iter().find(|g| (g.from..=g.to).contains(&age));
        group.map_or(NULL, |g| intern(&g.label).cell())
    };
    Arc::new((0..=150).map(label).collect())
}

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Ex {
    /// The index.
    Ind,
    /// Whether a side is there: 1, or null.
    There(Stream),
    /// A cell as it is.
    Cell(At),
    /// A cell of form `Present`: 1, or null where it is 0.
    Present(At),
    /// An age's label.
    AgeGroup(At, AgeLabels),
    /// A time's year.
    Year(At),
    /// A time's hour of the day.
    HourOfDay(At),
    /// The grid cell of a latitude and a longitude.
    GeoCell(At, At),
    /// The length of a text, in rows that hold the text itself.
    Length(At),
    /// The number of a text's parts between commas, likewise.
    Tags(At),
}

impl Ex {
    /// The value in a row; null where what it is of is null or not there.
    #[inline]
    pub fn eval(&self, row: &Row<'_>) -> i64 {
        let map = |at: &At, f: fn(i64) -> i64| match at.get(row) {
            NULL => NULL,
            v => f(v),
        };
        match self {
            Ex::Ind => match row {
                Row::Sides { index, .. } => *index as i64,
                Row::Cells(_) => NULL,
            },
            Ex::There(side) => match row {
                Row::Sides { sides, .. } if sides[*side as usize].is_some() => 1,
                _ => NULL,
            },
            Ex::Cell(at) => at.get(row),
            Ex::Present(at) => match at.get(row) {
                0 => NULL,
                v => v,
            },
            Ex::AgeGroup(at, labels) => match at.get(row) {
                NULL => NULL,
                age => labels.get(age as usize).copied().unwrap_or(NULL),
            },
            Ex::Year(at) => map(at, time::year),
            Ex::HourOfDay(at) => map(at, time::hour_of_day),
            Ex::GeoCell(lat, lon) => match (lat.get(row), lon.get(row)) {
                (NULL, _) | (_, NULL) => NULL,
                (lat, lon) => geo_cell(lat, lon),
            },
            Ex::Length(at) => map(at, |c| characters(Sym::from_cell(c).as_str()) as i64),
            Ex::Tags(at) => map(at, |c| Sym::from_cell(c).as_str().split(',').count() as i64),
        }
    }
}

/// The symbol of the whole-degree cell, `lat,lon` of its south-west corner. The outermost edges
/// at 90 and 180 degrees belong to the last cells.
fn geo_cell(lat: i64, lon: i64) -> i64 {
    /// One more than the symbol's id; 0 = not made yet.
    static CELLS: [AtomicU32; 180 * 360] = [const { AtomicU32::new(0) }; 180 * 360];
    let lat = lat.div_euclid(10_000_000).clamp(-90, 89);
    let lon = lon.div_euclid(10_000_000).clamp(-180, 179);
    let n = ((lat + 90) * 360 + lon + 180) as usize;
    match CELLS[n].load(atomic::Ordering::Acquire) {
        0 => {
            let cell = intern(&format!("{lat},{lon}"));
            // Whoever makes it at the same time makes the same.
            CELLS[n].store(cell.id() + 1, atomic::Ordering::Release);
            cell.cell()
        }
        id => i64::from(id - 1),
    }
}

/// The cells of these expressions in a row.
#[inline]
pub fn look<'a>(exprs: &'a [Ex], row: Row<'a>) -> impl Iterator<Item = i64> + 'a {
    exprs.iter().map(move |ex| ex.eval(&row))
}

/// A compiled condition on a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cond {
    /// Compares with an integer.
    Int(Nth, Op, i64),
    /// Compares with a text.
    Text(Nth, Op, Sym),
    /// Is null, or is not.
    IsNull(Nth, bool),
}

impl Cond {
    /// The cell that it is on.
    pub fn cell(&self) -> Nth {
        match self {
            Cond::Int(n, ..) | Cond::Text(n, ..) | Cond::IsNull(n, _) => *n,
        }
    }

    /// Whether it holds; a comparison with null never does.
    #[inline]
    pub fn holds(&self, cells: &[i64]) -> bool {
        match self {
            Cond::Int(n, op, c) => match cells[*n] {
                NULL => false,
                v => compare(*op, v.cmp(c)),
            },
            Cond::Text(n, op, c) => match cells[*n] {
                NULL => false,
                v => compare(*op, Sym::from_cell(v).cmp(c)),
            },
            Cond::IsNull(n, is) => (cells[*n] == NULL) == *is,
        }
    }
}

fn compare(op: Op, o: Ordering) -> bool {
    match op {
        Op::Eq => o.is_eq(),
        Op::Ne => o.is_ne(),
        Op::Lt => o.is_lt(),
        Op::Le => o.is_le(),
        Op::Gt => o.is_gt(),
        Op::Ge => o.is_ge(),
    }
}

/// Whether all of these hold.
#[inline]
pub fn all(conds: &[Cond], cells: &[i64]) -> bool {
    conds.is_empty() || conds.iter().all(|c| c.holds(cells))
}

/// What an expression's value is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The value itself.
    Value,
    /// Of a time its hour.
    Hour,
    /// Whether it is null.
    Presence,
}

/// The kept column that an expression of one column reads.
fn kept(expr: Expr, need: Need) -> Option<Kept> {
    let kept = |column, form| Some(Kept { column, form });
    match expr {
        Expr::Column(c) => match (c.ty(), need) {
            (Type::Text, Need::Presence) => kept(c, Form::Present),
            (Type::Text, _) => kept(c, Form::Symbol),
            (Type::Time, Need::Hour) => kept(c, Form::Hour),
            (Type::Time, Need::Presence) => kept(c, Form::Year),
            _ => kept(c, Form::Int),
        },
        Expr::Year(c) => kept(c, Form::Year),
        Expr::Length(c) => kept(c, Form::Length),
        Expr::Tags => kept(Column::TagList, Form::Tags),
        Expr::AgeGroup => kept(Column::Age, Form::Int),
        Expr::HourOfDay => kept(Column::Timestamp, Form::Hour),
        Expr::Ind | Expr::GeoCell | Expr::Meta(_) => None,
    }
}

/// The kept columns that an expression reads.
pub fn columns(expr: Expr, need: Need) -> Vec<Kept> {
    match expr {
        Expr::GeoCell => [Column::Latitude, Column::Longitude]
            .map(|column| Kept { column, form: Form::Int })
            .to_vec(),
        _ => kept(expr, need).into_iter().collect(),
    }
}

/// The forms that say all that a form says, and more.
pub fn finer(form: Form) -> &'static [Form] {
    match form {
        Form::Present => &[Form::Symbol],
        Form::Hour => &[Form::Int],
        Form::Year => &[Form::Hour, Form::Int],
        Form::Symbol | Form::Length | Form::Tags | Form::Int => &[],
    }
}

/// The form that what is counted of a text can be found from too, at the cost of reading it.
pub fn whole(form: Form) -> &'static [Form] {
    match form {
        Form::Length | Form::Tags => &[Form::Symbol],
        _ => &[],
    }
}

/// What expressions are compiled against.
pub enum Over<'a> {
    /// Sides of a slot of this layout.
    Sides(&'a Layout),
    /// Rows of these cells (of distinct rows).
    Cells(&'a [Expr]),
    /// Rows of these cells about records.
    Metas(&'a [Meta]),
}

/// Compiles expressions against one kind of row.
pub struct Compiler<'a> {
    /// The kind of row.
    pub over: Over<'a>,
    /// The cells that are made of a row: what is compiled comes in, if it is not there. Those
    /// about records come as they are.
    pub cells: &'a mut Vec<Ex>,
    /// Labels of ages.
    pub ages: AgeLabels,
}

const HELD: &str = "the planner keeps what the declarations name";

impl Compiler<'_> {
    /// Compiles an expression.
    ///
    /// Panics if the rows do not hold what it needs: the configuration and the planner see to it.
    pub fn expr(&mut self, expr: Expr, need: Need) -> Nth {
        if let Over::Metas(metas) = &self.over {
            return metas.iter().position(|meta| Expr::Meta(*meta) == expr).expect(HELD);
        }
        let ex = self.compiled(expr, need);
        place(self.cells, ex)
    }

    fn compiled(&self, expr: Expr, need: Need) -> Ex {
        if let Over::Cells(cells) = &self.over
            && let Some(n) = cells.iter().position(|c| *c == expr)
        {
            return Ex::Cell(At::Cell(n));
        }
        match expr {
            Expr::Ind => Ex::Ind,
            Expr::Meta(_) => unreachable!("{HELD}"),
            Expr::Column(c) if c.ty() == Type::Text && need == Need::Presence => {
                match self.at(Kept { column: c, form: Form::Symbol }) {
                    Some(at) => Ex::Cell(at),
                    None => {
                        Ex::Present(self.at(Kept { column: c, form: Form::Present }).expect(HELD))
                    }
                }
            }
            Expr::GeoCell => {
                let at = |column| self.at(Kept { column, form: Form::Int }).expect(HELD);
                Ex::GeoCell(at(Column::Latitude), at(Column::Longitude))
            }
            _ => {
                let (at, form) = kept(expr, need).and_then(|k| self.at_or_finer(k)).expect(HELD);
                let cells = matches!(self.over, Over::Cells(_));
                let text = cells || form == Form::Symbol;
                match expr {
                    // Distinct rows hold columns whole, not in the form that a slot keeps.
                    Expr::Length(_) if text => Ex::Length(at),
                    Expr::Tags if text => Ex::Tags(at),
                    Expr::AgeGroup => Ex::AgeGroup(at, self.ages.clone()),
                    Expr::Year(_) if cells || form != Form::Year => Ex::Year(at),
                    Expr::HourOfDay => Ex::HourOfDay(at),
                    _ => Ex::Cell(at),
                }
            }
        }
    }

    /// Where a kept column lies in the rows, or a form that says as much, and which form that is.
    fn at_or_finer(&self, kept: Kept) -> Option<(At, Form)> {
        let others = finer(kept.form).iter().chain(whole(kept.form));
        let forms = std::iter::once(kept.form).chain(others.copied());
        let mut held = forms.map(|form| (self.at(Kept { form, ..kept }), form));
        held.find_map(|(at, form)| Some((at?, form)))
    }

    /// Where a kept column lies in the rows.
    fn at(&self, kept: Kept) -> Option<At> {
        match &self.over {
            Over::Sides(layout) => {
                layout.place(kept).map(|place| At::Side(kept.column.stream(), place))
            }
            Over::Cells(cells) => {
                let same = |e: &Expr| *e == Expr::Column(kept.column);
                cells.iter().position(same).map(At::Cell)
            }
            Over::Metas(_) => None,
        }
    }

    /// Compiles a list of conditions.
    pub fn conds(&mut self, conditions: &[Condition]) -> Vec<Cond> {
        let one = |c: &Condition| match c {
            Condition::IsNull(e, is) => Cond::IsNull(self.expr(*e, Need::Presence), *is),
            Condition::Compare(e, op, Constant::Int(v)) => {
                Cond::Int(self.expr(*e, Need::Value), *op, *v)
            }
            Condition::Compare(e, op, Constant::Text(t)) => {
                Cond::Text(self.expr(*e, Need::Value), *op, intern(t))
            }
        };
        conditions.iter().map(one).collect()
    }
}

/// The place of an item in a list, appended if it is not there.
pub fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|x| *x == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

/// The kept columns that a list of conditions reads.
pub fn condition_columns(conditions: &[Condition]) -> Vec<Kept> {
    let one = |c: &Condition| match c {
        Condition::IsNull(e, _) => columns(*e, Need::Presence),
        Condition::Compare(e, ..) => columns(*e, Need::Value),
    };
    conditions.iter().flat_map(one).collect()
}
