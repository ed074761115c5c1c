//! From cleaned fields to the cells of rows, as far as the declared metrics need them.

use std::borrow::Cow;

use super::bytes::count;
use super::column::Column;
use super::{Cell, Defect, Fields, Moment, Text};
use crate::metrics::value::NULL;
use crate::symbol::intern;
use crate::time::{HOUR, floor, year};

/// What of a column's value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// A text as a symbol.
    Symbol,
    /// Whether there is a value: 0 or 1.
    Present,
    /// The length of a text in Unicode code points.
    Length,
    /// The number of parts of a text between commas.
    Tags,
    /// A number as it is: an integer, degrees in 1e-7, a time in microseconds.
    Int,
    /// Of a time the beginning of its hour, in microseconds.
    Hour,
    /// Of a time its year.
    Year,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 7] = {
        use Form::{Hour, Int, Length, Present, Symbol, Tags, Year};
        [Symbol, Present, Length, Tags, Int, Hour, Year]
    };
}

/// One column of a record, whatever its type.
enum Any<'f, 'a> {
    Text(&'f Text<'a>),
    Int(&'f Cell<i64>),
    Time(&'f Cell<Moment>),
}

/// The column of a record; none if its stream has another.
fn any<'f, 'a>(fields: &'f Fields<'a>, column: Column) -> Option<Any<'f, 'a>> {
    Some(match (fields, column) {
        (Fields::Pin(p), Column::UniqueId) => Any::Text(&p.unique_id),
        (Fields::Pin(p), Column::Title) => Any::Text(&p.title),
        (Fields::Pin(p), Column::Description) => Any::Text(&p.description),
        (Fields::Pin(p), Column::FollowerCount) => Any::Int(&p.follower_count),
        (Fields::Pin(p), Column::PosterName) => Any::Text(&p.poster_name),
        (Fields::Pin(p), Column::TagList) => Any::Text(&p.tag_list),
        (Fields::Pin(p), Column::IsImageOrVideo) => Any::Text(&p.is_image_or_video),
        (Fields::Pin(p), Column::ImageSrc) => Any::Text(&p.image_src),
        (Fields::Pin(p), Column::Downloaded) => Any::Int(&p.downloaded),
        (Fields::Pin(p), Column::SaveLocation) => Any::Text(&p.save_location),
        (Fields::Pin(p), Column::Category) => Any::Text(&p.category),
        (Fields::Geo(g), Column::Country) => Any::Text(&g.country),
        (Fields::Geo(g), Column::Latitude) => Any::Int(&g.latitude),
        (Fields::Geo(g), Column::Longitude) => Any::Int(&g.longitude),
        (Fields::Geo(g), Column::Timestamp) => Any::Time(&g.timestamp),
        (Fields::User(u), Column::UserName) => Any::Text(&u.user_name),
        (Fields::User(u), Column::Age) => Any::Int(&u.age),
        (Fields::User(u), Column::DateJoined) => Any::Time(&u.date_joined),
        _ => return None,
    })
}

/// The text of a column, if it has one.
#[inline]
pub fn text<'f>(fields: &'f Fields<'_>, column: Column) -> Option<&'f str> {
    match any(fields, column)? {
        Any::Text(text) => text.value().map(|text| &**text),
        Any::Int(_) | Any::Time(_) => None,
    }
}

/// The cell of a column in a form; [`NULL`] where there is no value, the stream does not have
/// the column, or its type does not have the form.
pub fn cell(fields: &Fields<'_>, column: Column, form: Form) -> i64 {
    let Some(any) = any(fields, column) else {
        return NULL;
    };
    match (any, form) {
        (Any::Text(t), Form::Present) => i64::from(t.value().is_some()),
        (Any::Int(n), Form::Present) => i64::from(n.value().is_some()),
        (Any::Time(m), Form::Present) => i64::from(m.value().is_some()),
        (Any::Text(t), _) => t.value().map_or(NULL, |text: &Cow<'_, str>| match form {
            Form::Symbol => intern(text).cell(),
            Form::Length => characters(text) as i64,
            Form::Tags => count(text.as_bytes(), b',') as i64 + 1,
            Form::Int | Form::Present | Form::Hour | Form::Year => NULL,
        }),
        (Any::Int(n), Form::Int) => n.value().copied().unwrap_or(NULL),
        (Any::Time(m), Form::Int) => m.value().map_or(NULL, |m| m.micros),
        (Any::Time(m), Form::Hour) => m.value().map_or(NULL, |m| floor(m.micros, HOUR)),
        (Any::Time(m), Form::Year) => m.value().map_or(NULL, |m| year(m.micros)),
        (Any::Int(_) | Any::Time(_), _) => NULL,
    }
}

/// How many Unicode code points a text has: mostly as many as bytes.
#[inline]
pub(crate) fn characters(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// What a column of a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A value.
    Value,
    /// Null, or it is not there.
    Null,
    /// A text that stands for null.
    Placeholder,
    /// What could not be read.
    Defect(Defect),
}

impl State {
    /// All of them.
    pub const ALL: [State; 3 + Defect::ALL.len()] = {
        let mut all = [State::Value; 3 + Defect::ALL.len()];
        (all[1], all[2]) = (State::Null, State::Placeholder);
        let mut n = 0;
        while n < Defect::ALL.len() {
            all[3 + n] = State::Defect(Defect::ALL[n]);
            n += 1;
        }
        all
    };

    /// Its place among all.
    pub fn number(self) -> usize {
        match self {
            State::Value => 0,
            State::Null => 1,
            State::Placeholder => 2,
            State::Defect(defect) => 3 + defect as usize,
        }
    }

    /// Its name in the column `state`, and the defect, if it is one.
    pub fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            State::Value => ("value", None),
            State::Null => ("null", None),
            State::Placeholder => ("placeholder", None),
            State::Defect(defect) => ("defect", Some(defect.name())),
        }
    }
}

/// Calls `each` for every column of the record's stream, in order, with its state.
pub fn states(fields: &Fields<'_>, mut each: impl FnMut(Column, State)) {
    fn state<T>(cell: &Cell<T>) -> State {
        match cell {
            Cell::Value(_) => State::Value,
            Cell::Null => State::Null,
            Cell::Placeholder => State::Placeholder,
            Cell::Defect(defect) => State::Defect(*defect),
        }
    }
    for column in Column::of(fields.stream()) {
        let state = match any(fields, column) {
            Some(Any::Text(t)) => state(t),
            Some(Any::Int(n)) => state(n),
            Some(Any::Time(m)) => state(m),
            None => continue,
        };
        each(column, state);
    }
}
