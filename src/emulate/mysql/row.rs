//! The columns of the three tables, and a record as a row of one.

use chrono::NaiveDateTime;
use dataflows::record::Stream;
use mysql::Value;
use serde_json::{Map, Value as Json};

use crate::emulate::KEYS;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The index, under any of its names.
    Key,
    /// An integer.
    Integer,
    /// A real number.
    Real,
    /// A text.
    Text,
    /// A time, to the second.
    Time,
}

/// A column of a table.
pub type Column = (&'static str, Kind);

/// The columns of a stream's table, in the order of the course's.
pub fn columns(stream: Stream) -> &'static [Column] {
    match stream {
        Stream::Pin => &[
            ("index", Kind::Key),
            ("unique_id", Kind::Text),
            ("title", Kind::Text),
            ("description", Kind::Text),
            ("poster_name", Kind::Text),
            ("follower_count", Kind::Text),
            ("tag_list", Kind::Text),
            ("is_image_or_video", Kind::Text),
            ("image_src", Kind::Text),
            ("downloaded", Kind::Integer),
            ("save_location", Kind::Text),
            ("category", Kind::Text),
        ],
        Stream::Geo => &[
            ("ind", Kind::Key),
            ("timestamp", Kind::Time),
            ("latitude", Kind::Real),
            ("longitude", Kind::Real),
            ("country", Kind::Text),
        ],
        Stream::User => &[
            ("ind", Kind::Key),
            ("first_name", Kind::Text),
            ("last_name", Kind::Text),
            ("age", Kind::Integer),
            ("date_joined", Kind::Time),
        ],
    }
}

/// Whether a column is the index.
pub fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// The values of a record for the columns of its table; else why it is no row of it. A field that
/// is not there is null, one that the table does not have is left out.
pub fn values(stream: Stream, record: &[u8]) -> Result<Vec<Value>, String> {
    let record: Map<String, Json> =
        serde_json::from_slice(record).map_err(|e| format!("it is not one JSON object: {e}"))?;
    let value = |(name, kind): &Column| {
        let field = match kind {
            Kind::Key => KEYS
                .iter()
                .find_map(|key| record.get(*key).filter(|field| !field.is_null()))
                .ok_or("it has no index")?,
            _ => record.get(*name).unwrap_or(&Json::Null),
        };
        let value = of(*kind, field);
        value.ok_or_else(|| format!("its `{name}` does not fit the column"))
    };
    columns(stream).iter().map(value).collect()
}

/// A field as a value of a column.
fn of(kind: Kind, field: &Json) -> Option<Value> {
    match (kind, field) {
        (Kind::Key, Json::String(text)) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok().map(Value::Int)
        }
        (Kind::Key, field) => field.as_i64().filter(|n| *n >= 0).map(Value::Int),
        (_, Json::Null) => Some(Value::NULL),
        (Kind::Integer, field) => field.as_i64().map(Value::Int),
        (Kind::Real, field) => field.as_f64().map(Value::Double),
        (Kind::Text, Json::String(text)) => Some(Value::Bytes(text.clone().into_bytes())),
        (Kind::Time, Json::String(text)) => {
            let mut forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"].iter();
            let time = forms.find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
            Some(Value::Bytes(time.format("%Y-%m-%d %H:%M:%S").to_string().into_bytes()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_row_or_it_is_said_why_not() {
        let geo = |text: &str| values(Stream::Geo, text.as_bytes());
        let row = geo(concat!(
            r#"{"idx":"7","timestamp":"2020-02-29T01:02:03","latitude":-1.5,"#,
            r#""longitude":12,"other":[]}"#
        ));
        let time = Value::Bytes(b"2020-02-29 01:02:03".to_vec());
        let right = [Value::Int(7), time, Value::Double(-1.5), Value::Double(12.0), Value::NULL];
        assert_eq!(row, Ok(right.to_vec()));
        for (text, why) in [
            ("", "not one JSON object"),
            ("\"\"", "not one JSON object"),
            ("{}", "no index"),
            (r#"{"ind":-1}"#, "`ind` does not fit"),
            (r#"{"ind":1.5}"#, "`ind` does not fit"),
            (r#"{"ind":1,"timestamp":"2019-02-29 01:02:03"}"#, "`timestamp` does not fit"),
            (r#"{"ind":1,"latitude":"1"}"#, "`latitude` does not fit"),
            (r#"{"ind":1,"country":5}"#, "`country` does not fit"),
        ] {
            let said = geo(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
