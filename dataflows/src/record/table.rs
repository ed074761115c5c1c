//! The cleaned tables as JSON Lines and CSV: the columns in their order, then where the row came
//! from.
//!
//! Promises: a row depends on the record and its origin alone; text comes out as it was cleaned,
//! numbers exactly, times as RFC 3339 in UTC. A row of JSON is one line; a row of CSV may have
//! line feeds inside of quotes.

use std::sync::LazyLock;

use super::column::Stream;
use super::{Cell, Fields, Geo, Moment, Origin, Pin, Record, Text, User};
use crate::time::text;

/// The columns that say where a row came from, behind the cleaned ones.
const PROVENANCE: [&str; 5] = ["_source", "_partition", "_position", "_sub", "_arrived_at"];

/// What stands before each value of a JSON object, by stream.
static KEYS: LazyLock<[Vec<String>; 3]> = LazyLock::new(|| {
    Stream::ALL.map(|stream| {
        let names = columns(stream).iter().chain(&PROVENANCE);
        let key =
            |(n, name): (usize, &&str)| format!("{}\"{name}\":", if n == 0 { '{' } else { ',' });
        names.enumerate().map(key).collect()
    })
});

/// The columns of a cleaned table, in order, without those that say where a row came from.
pub fn columns(stream: Stream) -> &'static [&'static str] {
    match stream {
        Stream::Pin => &[
            "ind",
            "unique_id",
            "title",
            "description",
            "follower_count",
            "poster_name",
            "tag_list",
            "is_image_or_video",
            "image_src",
            "save_location",
            "category",
        ],
        Stream::Geo => &["ind", "country", "coordinates", "timestamp"],
        Stream::User => &["ind", "user_name", "age", "date_joined"],
    }
}

/// Appends a row as a JSON object and a line end. `source` and `partition` are the names behind
/// the origin's numbers.
pub fn write_json(
    record: &Record<'_>,
    origin: &Origin,
    source: &str,
    partition: &str,
    out: &mut Vec<u8>,
) {
    let mut keys = KEYS[record.fields.stream() as usize].iter();
    each(record, origin, source, partition, |value| {
        out.extend_from_slice(keys.next().expect("a key for every value").as_bytes());
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Text(text) => serde_json::to_writer(&mut *out, text).expect(TAKES),
            Value::Int(n) => serde_json::to_writer(&mut *out, &n).expect(TAKES),
            Value::Coordinates(both) => write_coordinates(both, out),
            Value::Time(moment) => {
                out.push(b'"');
                text::write(moment, out);
                out.push(b'"');
            }
        }
    });
    out.extend_from_slice(b"}\n");
}

/// Appends a row as CSV (RFC 4180, but with a bare line feed at its end); null is empty, and
/// coordinates are the text `[latitude,longitude]` in one cell.
pub fn write_csv(
    record: &Record<'_>,
    origin: &Origin,
    source: &str,
    partition: &str,
    out: &mut Vec<u8>,
) {
    let mut first = true;
    each(record, origin, source, partition, |value| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match value {
            Value::Null => {}
            Value::Text(text) => write_quoted(text, out),
            Value::Int(n) => serde_json::to_writer(&mut *out, &n).expect(TAKES),
            Value::Coordinates(both) => {
                out.push(b'"');
                write_coordinates(both, out);
                out.push(b'"');
            }
            Value::Time(moment) => text::write(moment, out),
        }
    });
    out.push(b'\n');
}

/// The header line of a table's CSV, with its line end.
pub fn csv_header(stream: Stream) -> String {
    let names: Vec<&str> = columns(stream).iter().chain(&PROVENANCE).copied().collect();
    names.join(",") + "\n"
}

/// Why writing into a vector cannot fail.
const TAKES: &str = "a vector takes every byte";

/// A value of a cleaned table.
enum Value<'v> {
    Null,
    Text(&'v str),
    Int(i64),
    Coordinates([i64; 2]),
    Time(Moment),
}

impl<'v> From<&'v Text<'_>> for Value<'v> {
    fn from(cell: &'v Text<'_>) -> Self {
        cell.value().map_or(Value::Null, |text| Value::Text(text))
    }
}

impl From<&Cell<i64>> for Value<'_> {
    fn from(cell: &Cell<i64>) -> Self {
        cell.value().map_or(Value::Null, |n| Value::Int(*n))
    }
}

impl From<&Cell<Moment>> for Value<'_> {
    fn from(cell: &Cell<Moment>) -> Self {
        cell.value().map_or(Value::Null, |m| Value::Time(*m))
    }
}

/// Calls `put` with every value of a row, in the order of [`columns`] and [`PROVENANCE`].
fn each(
    record: &Record<'_>,
    origin: &Origin,
    source: &str,
    partition: &str,
    mut put: impl FnMut(Value<'_>),
) {
    put(Value::Int(record.index as i64));
    match &record.fields {
        Fields::Pin(pin) => pin_values(pin, &mut put),
        Fields::Geo(Geo { country, latitude, longitude, timestamp }) => {
            put(country.into());
            put(match (latitude.value(), longitude.value()) {
                (Some(latitude), Some(longitude)) => Value::Coordinates([*latitude, *longitude]),
                _ => Value::Null,
            });
            put(timestamp.into());
        }
        Fields::User(User { user_name, age, date_joined }) => {
            put(user_name.into());
            put(age.into());
            put(date_joined.into());
        }
    }
    let micros = origin.arrived_at;
    put(Value::Text(source));
    put(Value::Text(partition));
    put(Value::Int(origin.position as i64));
    put(Value::Int(origin.sub.into()));
    put(Value::Time(Moment { micros, nanos: (micros.rem_euclid(1_000_000) * 1000) as u32 }));
}

fn pin_values(pin: &Pin<'_>, put: &mut impl FnMut(Value<'_>)) {
    put((&pin.unique_id).into());
    put((&pin.title).into());
    put((&pin.description).into());
    put((&pin.follower_count).into());
    put((&pin.poster_name).into());
    put((&pin.tag_list).into());
    put((&pin.is_image_or_video).into());
    put((&pin.image_src).into());
    put((&pin.save_location).into());
    put((&pin.category).into());
}

fn write_coordinates(both: [i64; 2], out: &mut Vec<u8>) {
    out.push(b'[');
    write_degrees(both[0], out);
    out.push(b',');
    write_degrees(both[1], out);
    out.push(b']');
}

/// Appends degrees given in units of 1e-7 as an exact decimal number, with one digit behind the
/// point at least and without further zeros.
pub fn write_degrees(units: i64, out: &mut Vec<u8>) {
    if units < 0 {
        out.push(b'-');
    }
    let size = units.unsigned_abs();
    text::write_padded(size / 10_000_000, 1, out);
    out.push(b'.');
    text::write_padded(size % 10_000_000, 7, out);
    let zeros = out.iter().rev().take(6).take_while(|b| **b == b'0').count();
    out.truncate(out.len() - zeros);
}

/// Appends a CSV cell, quoted where it must be. A text is never empty, so null can be.
fn write_quoted(text: &str, out: &mut Vec<u8>) {
    let must = text.bytes().any(|b| matches!(b, b'"' | b',' | b'\n' | b'\r'))
        || text.starts_with([' ', '\t'])
        || text.ends_with([' ', '\t']);
    if !must {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for (n, part) in text.split('"').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Decoded, Decoder, Rule, Rules};

    const ORIGIN: Origin = Origin { arrived_at: 1_500_000, partition: 3, position: 17, sub: 2 };

    fn check(payload: &str, json: &str, csv: &str) {
        let mut calls = 0;
        let mut decoder = Decoder::new(Arc::new(Rules::default()));
        decoder.decode(payload.as_bytes(), Rule::Auto, 0, false, |_, decoded| {
            let Decoded::Record(record) = decoded else { panic!("{decoded:?}") };
            let (mut lines, mut cells) = (Vec::new(), Vec::new());
            write_json(record, &ORIGIN, "a \"source\"", "p,1", &mut lines);
            write_csv(record, &ORIGIN, "a \"source\"", "p,1", &mut cells);
            let tail = r#","_source":"a \"source\"","_partition":"p,1","_position":17,"_sub":2,"#;
            let at = r#""_arrived_at":"1970-01-01T00:00:01.5Z"}"#;
            assert_eq!(String::from_utf8(lines).expect("text"), format!("{{{json}{tail}{at}\n"));
            let tail = r#"a ""source""","p,1",17,2,1970-01-01T00:00:01.5Z"#;
            assert_eq!(String::from_utf8(cells).expect("text"), format!("{csv},\"{tail}\n"));
            let header = csv_header(record.fields.stream());
            let commas = |text: &str| text.matches(',').count();
            assert!(commas(&header) <= commas(csv) + commas(tail) + 1);
            calls += 1;
        });
        assert_eq!(calls, 1);
    }

    #[test]
    fn rows() {
        check(
            r#"{"ind":2,"first_name":"Ann","last_name":"O, \"B\"","age":"33",
               "date_joined":"2015-10-21 21:26:45.50"}"#,
            r#""ind":2,"user_name":"Ann O, \"B\"","age":33,"date_joined":"2015-10-21T21:26:45.5Z""#,
            r#"2,"Ann O, ""B""",33,2015-10-21T21:26:45.5Z"#,
        );
        check(
            r#"{"idx":0,"first_name":null,"last_name":" ","age":999,"date_joined":"x"}"#,
            r#""ind":0,"user_name":null,"age":null,"date_joined":null"#,
            "0,,,",
        );
        check(
            r#"{"ind":1,"timestamp":"2018-03-04T05:06:07","latitude":-88.8298,"longitude":122,
               "country":"Cote d'Ivoire\u00a0"}"#,
            "\"ind\":1,\"country\":\"Cote d'Ivoire\u{a0}\",\"coordinates\":[-88.8298,122.0],\
             \"timestamp\":\"2018-03-04T05:06:07Z\"",
            "1,Cote d'Ivoire\u{a0},\"[-88.8298,122.0]\",2018-03-04T05:06:07Z",
        );
        check(
            r#"{"ind":1,"timestamp":"","latitude":91,"longitude":1,"country":""}"#,
            r#""ind":1,"country":null,"coordinates":null,"timestamp":null"#,
            "1,,,",
        );
        check(
            r#"{"index":9,"unique_id":"u","title":"a\nb","description":"d\u2026","downloaded":1,
               "poster_name":"p","follower_count":"1.5k","tag_list":"a,b","category":"art",
               "is_image_or_video":"image","image_src":"i","save_location":"Local save in /x"}"#,
            "\"ind\":9,\"unique_id\":\"u\",\"title\":\"a\\nb\",\"description\":\"d\u{2026}\",\
             \"follower_count\":1500,\"poster_name\":\"p\",\"tag_list\":\"a,b\",\
             \"is_image_or_video\":\"image\",\"image_src\":\"i\",\"save_location\":\"/x\",\
             \"category\":\"art\"",
            "9,u,\"a\nb\",d\u{2026},1500,p,\"a,b\",image,i,/x,art",
        );
    }

    #[test]
    fn headers() {
        let geo = "ind,country,coordinates,timestamp,_source,_partition,_position,_sub,_arrived_at";
        assert_eq!(csv_header(Stream::Geo), format!("{geo}\n"));
        assert_eq!(csv_header(Stream::Pin).matches(',').count(), 15);
        assert_eq!(csv_header(Stream::User).matches(',').count(), 8);
    }

    #[test]
    fn degrees() {
        for (units, want) in [
            (0, "0.0"),
            (1, "0.0000001"),
            (-1, "-0.0000001"),
            (1_220_000_000, "122.0"),
            (-888_298_000, "-88.8298"),
            (74_837_500, "7.48375"),
            (100_000_000, "10.0"),
            (-1_800_000_000, "-180.0"),
            (1_000_000, "0.1"),
        ] {
            let mut out = Vec::new();
            write_degrees(units, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), want);
        }
    }
}
