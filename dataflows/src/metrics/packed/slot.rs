//! How a group's row lies in a slot: words of 32 bits.
//!
//! ```text
//! slot = [window] [start] key* value*     the window if there are several; its start, if it does
//!                                         not follow from now: hours in a word, or a number
//! key, value = a symbol or a count: 1 | a number: 2 | numerator, denominator: 4
//!              two of each form's values are null, and "it does not fit"
//! ```
//!
//! Promises: what is written is read; that a value does not fit is told, for it to stand elsewhere.

use super::super::declare::Kind;
use super::super::schema::{Field, Schema};
use super::super::value::{GroupKey, NULL, Value};
use crate::record::Type;
use crate::time::HOUR;

/// The cell that says: this value stands in the list of wide ones.
pub(super) const WIDE: i64 = NULL + 1;

/// How a cell lies in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A symbol in a word.
    Text,
    /// A count in a word: those beyond it are few, so that the list that they stand in is short.
    Short,
    /// A number in two words.
    Long,
    /// Numerator and denominator in two words each; a denominator of 0 marks a plain value.
    Pair,
}

/// Where a cell lies in a slot, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Col {
    pub(super) at: usize,
    pub(super) form: Form,
}

/// How the slots of a metric lie: window, start, keys, values; words of 32 bits.
#[derive(Debug)]
pub struct RowLayout {
    /// Where the window stands, if there are several; and its start, if any has one.
    window: Option<usize>,
    start: Option<Col>,
    pub(super) keys: Vec<Col>,
    /// Words up to the values.
    pub(super) head: usize,
    pub(super) cols: Vec<Col>,
    /// All words.
    pub(super) stride: usize,
}

impl RowLayout {
    /// That of a metric's rows.
    pub fn of(schema: &Schema) -> Self {
        let window = (schema.windows.len() > 1).then_some(0);
        let mut starting = schema.windows.iter().filter(|w| !w.slides()).peekable();
        let start = starting.peek().is_some().then(|| {
            let form =
                if starting.all(|w| w.grain() % HOUR == 0) { Form::Short } else { Form::Long };
            Col { at: usize::from(window.is_some()), form }
        });
        let before = start.map_or(usize::from(window.is_some()), |s| s.at + s.form.words());
        let mut stride = before;
        let mut col = |form: Form| {
            let at = stride;
            stride += form.words();
            Col { at, form }
        };
        // A number that is a key has no list to stand in.
        let key = |ty| if ty == Type::Text { Form::Text } else { Form::Long };
        let keys: Vec<Col> = schema.keys.iter().map(|k| col(key(k.ty))).collect();
        let head = keys.last().map_or(before, |k| k.at + k.form.words());
        // Of two columns of a measure the second is its value.
        let measures = schema.metric.measures.iter();
        let kinds = measures.flat_map(|m| m.returned.iter().map(|_| None).chain([Some(&m.kind)]));
        let form = |((field, kind), quotient): ((&Field, Option<&Kind>), bool)| match kind {
            _ if quotient => Form::Pair,
            _ if field.ty == Type::Text => Form::Text,
            Some(Kind::Count | Kind::CountOf(_) | Kind::CountDistinct(_) | Kind::Top { .. }) => {
                Form::Short
            }
            _ => Form::Long,
        };
        let values = schema.values.iter().zip(kinds).zip(schema.quotients());
        let cols = values.map(|value| col(form(value))).collect();
        RowLayout { window, start, keys, head, cols, stride }
    }

    /// Bytes of a row.
    pub fn bytes(&self) -> usize {
        self.stride * size_of::<u32>()
    }

    /// Writes a group's key into a slot.
    #[inline]
    pub(super) fn write_key(&self, key: &GroupKey, words: &mut [u32]) {
        if let Some(at) = self.window {
            words[at] = key.window.into();
        }
        if let Some(col) = self.start {
            let start = if key.start == NULL { NULL } else { key.start / col.unit() };
            col.write(words, start);
        }
        debug_assert_eq!(self.keys.len(), key.keys.len());
        self.keys.iter().zip(&key.keys).for_each(|(col, cell)| col.write(words, *cell));
    }

    /// The window of a slot.
    #[inline]
    pub(super) fn window_of(&self, words: &[u32]) -> u16 {
        self.window.map_or(0, |at| words[at] as u16)
    }

    /// Its start.
    #[inline]
    pub(super) fn start_of(&self, words: &[u32]) -> i64 {
        let start = self.start.map_or(NULL, |col| col.read(words));
        if start == NULL { NULL } else { start * self.start.map_or(1, Col::unit) }
    }
}

impl Form {
    /// Words of a slot.
    fn words(self) -> usize {
        match self {
            Form::Text | Form::Short => 1,
            Form::Long => 2,
            Form::Pair => 4,
        }
    }

    /// What [`NULL`] and [`WIDE`] are in this form.
    fn special(self) -> [i64; 2] {
        match self {
            Form::Text => [u32::MAX.into(), (u32::MAX - 1).into()],
            Form::Short => [i32::MIN.into(), (i32::MIN + 1).into()],
            Form::Long | Form::Pair => [NULL, WIDE],
        }
    }
}

impl Col {
    /// What a start is counted in, microseconds.
    fn unit(self) -> i64 {
        if self.form == Form::Short { HOUR } else { 1 }
    }

    /// A cell; [`WIDE`] where it stands elsewhere.
    #[inline]
    pub(super) fn read(self, words: &[u32]) -> i64 {
        let raw = match self.form {
            Form::Text => words[self.at].into(),
            Form::Short => (words[self.at] as i32).into(),
            Form::Long | Form::Pair => get(&words[self.at..]),
        };
        let [null, wide] = self.form.special();
        if raw == null {
            NULL
        } else if raw == wide {
            WIDE
        } else {
            raw
        }
    }

    /// Puts a cell that fits, or one of the two special ones.
    pub(super) fn write(self, words: &mut [u32], cell: i64) {
        let [null, wide] = self.form.special();
        let raw = if cell == NULL {
            null
        } else if cell == WIDE {
            wide
        } else {
            cell
        };
        match self.form {
            Form::Text | Form::Short => words[self.at] = raw as u32,
            Form::Long | Form::Pair => put(&mut words[self.at..], raw),
        }
    }

    /// Whether a cell that is not special is not taken for one, or for another.
    fn fits(self, cell: i64) -> bool {
        let in_range = match self.form {
            Form::Text => u32::try_from(cell).is_ok(),
            Form::Short => i32::try_from(cell).is_ok(),
            Form::Long | Form::Pair => cell > WIDE,
        };
        in_range && !self.form.special().contains(&cell)
    }

    /// A value as a cell, and its denominator where it has one.
    #[inline]
    pub(super) fn pack(self, value: Value) -> (i64, i64) {
        let plain = |cell: Option<i64>| (cell.filter(|c| self.fits(*c)).unwrap_or(WIDE), 0);
        match (value, self.form) {
            (Value::Null, _) => (NULL, 0),
            (Value::Text(s), Form::Text) => plain(Some(s.cell())),
            (Value::Int(_), Form::Text) => (WIDE, 0),
            (Value::Int(v), _) => plain(i64::try_from(v).ok()),
            (Value::Ratio(n, d), Form::Pair) => match (i64::try_from(n), i64::try_from(d)) {
                (Ok(n), Ok(d)) if d > 0 => (n, d),
                _ => (WIDE, 0),
            },
            _ => (WIDE, 0),
        }
    }
}

/// A number in two words.
pub(super) fn get(words: &[u32]) -> i64 {
    (u64::from(words[1]) << 32 | u64::from(words[0])) as i64
}

pub(super) fn put(words: &mut [u32], number: i64) {
    (words[0], words[1]) = (number as u32, (number as u64 >> 32) as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_at_the_edges_of_a_form_are_read_as_they_were() {
        for form in [Form::Text, Form::Short, Form::Long, Form::Pair] {
            let (col, mut words) = (Col { at: 1, form }, [7; 6]);
            let edges = [i64::MIN, i64::from(i32::MIN), 0, i32::MAX.into(), u32::MAX.into()];
            let near = edges.iter().flat_map(|e| (-3..=3).filter_map(|d| e.checked_add(d)));
            for cell in near.chain([i64::MAX]) {
                let in_range = match form {
                    Form::Text => (0..i64::from(u32::MAX) - 1).contains(&cell),
                    Form::Short => (i64::from(i32::MIN) + 2..=i32::MAX.into()).contains(&cell),
                    Form::Long | Form::Pair => cell > i64::MIN + 1,
                };
                // Symbols cannot be made up; whether their cells fit is what matters.
                let packed = match form {
                    Form::Text if col.fits(cell) => cell,
                    Form::Text => WIDE,
                    _ => col.pack(Value::Int(cell.into())).0,
                };
                assert_eq!(packed, if in_range { cell } else { WIDE }, "{form:?} {cell}");
                col.write(&mut words, packed);
                assert_eq!((col.read(&words), words[0]), (packed, 7), "{form:?} {cell}");
            }
            col.write(&mut words, NULL);
            assert_eq!((col.read(&words), col.pack(Value::Null)), (NULL, (NULL, 0)));
        }
    }
}
