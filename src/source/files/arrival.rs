//! A field of the row that holds its arrival time.

use std::fmt;

use chrono::{DateTime, NaiveDateTime};
use dataflows::time::in_range;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The name of the field.
#[derive(Clone, Debug)]
pub struct Field(String);

impl Field {
    /// The field of a name, at the top of the row.
    pub fn new(name: &str) -> Self {
        Field(name.to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The arrival time that a row holds, microseconds since 1970-01-01 UTC; none if it has none
    /// that can be read, of the years 1 to 9999. Of a doubled field the last counts.
    pub fn of(&self, row: &[u8]) -> Option<i64> {
        let mut json = serde_json::Deserializer::from_slice(row);
        moment(&self.deserialize(&mut json).ok()??).filter(|at| in_range(*at))
    }
}

/// Numbers below are seconds: as milliseconds they would be of 1973 at the latest, as seconds they
/// reach to 5138.
const SECONDS: i64 = 100_000_000_000;

/// Microseconds of a number of seconds or milliseconds since 1970-01-01 UTC.
fn since_1970(number: i64) -> Option<i64> {
    let unit = if number.checked_abs()? < SECONDS { 1_000_000 } else { 1000 };
    number.checked_mul(unit)
}

/// RFC 3339, or the same with a blank and without a zone, which means UTC; or seconds or
/// milliseconds since 1970-01-01 UTC as a number or as digits.
fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => match n.as_i64() {
            Some(number) => since_1970(number),
            None => n.as_f64().filter(|f| f.abs() < 9e15).map(|f| {
                let unit = if f.abs() < SECONDS as f64 { 1_000_000.0 } else { 1000.0 };
                (f * unit).floor() as i64
            }),
        },
        Value::String(text) => {
            let text = text.trim();
            if let Ok(number) = text.parse::<i64>() {
                return since_1970(number);
            }
            if let Ok(at) = DateTime::parse_from_rfc3339(text) {
                return Some(at.timestamp_micros());
            }
            let plain = |form| NaiveDateTime::parse_from_str(text, form).ok();
            let at = plain("%Y-%m-%d %H:%M:%S%.f").or_else(|| plain("%Y-%m-%dT%H:%M:%S%.f"))?;
            Some(at.and_utc().timestamp_micros())
        }
        _ => None,
    }
}

impl<'de> DeserializeSeed<'de> for &Field {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Field {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(&self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is a certain one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let field = Field::new("at");
        let check =
            |row: &str, want: Option<i64>| assert_eq!(field.of(row.as_bytes()), want, "{row}");
        check(r#"{"x":[1,{"at":5}],"at":1764158400}"#, Some(1_764_158_400_000_000));
        check(r#"{"at":1764158400123}"#, Some(1_764_158_400_123_000));
        check(r#"{"at":1764158400.5}"#, Some(1_764_158_400_500_000));
        check(r#"{"at":1764158400123.5}"#, Some(1_764_158_400_123_500));
        check(r#"{"at":"1764158400"}"#, Some(1_764_158_400_000_000));
        check(r#"{"at":"1764158400123"}"#, Some(1_764_158_400_123_000));
        check(r#"{"at":-1}"#, Some(-1_000_000));
        check(r#"{"at":"1970-01-01T00:00:01Z"}"#, Some(1_000_000));
        check(r#"{"at":"1970-01-01T01:00:01+01:00"}"#, Some(1_000_000));
        check(r#"{"at":"1970-01-01 00:00:01.5"}"#, Some(1_500_000));
        check(r#"{"at":1,"at":2}"#, Some(2_000_000));
        check(r#"{"at":null}"#, None);
        check(r#"{"at":"soon"}"#, None);
        check(r#"{"at":9223372036854775807}"#, None);
        check(r#"{"a\u0074":3}"#, Some(3_000_000));
        check(r#"{"at":-9223372036854775808}"#, None);
        check(r#"{"b":1}"#, None);
        // Microseconds, which as milliseconds are of the year 57873; and the years around.
        check(r#"{"at":1764158400000000}"#, None);
        check(r#"{"at":1764158400000000.5}"#, None);
        check(r#"{"at":253402300799999}"#, Some(253_402_300_799_999_000));
        check(r#"{"at":253402300800000}"#, None);
        check(r#"{"at":"0001-01-01T00:00:00Z"}"#, Some(-62_135_596_800_000_000));
        check(r#"{"at":"0000-12-31T23:59:59Z"}"#, None);
        check(r#"{"at":"+10000-01-01 00:00:00"}"#, None);
        check(r#"["at",1]"#, None);
        check(r#"{"at":1"#, None);
    }
}
