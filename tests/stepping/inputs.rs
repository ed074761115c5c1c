//! Random records from a small world, so that they meet: few indexes, few values, times around the
//! edges of windows, and everything that can be wrong.

use proptest::prelude::*;

use crate::oracle::{Message, Rule};

/// Arrival times lie at and after this moment: 2024-02-29 23:30:00 UTC, half an hour before the
/// end of a day and a month.
pub const START: i64 = 1_709_249_400_000_000;
/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

/// The partitions: source, name, rule. Their numbers are not in the order of their names.
pub const PARTITIONS: [(&str, &str, Rule); 3] = [
    ("b", "1", Rule::Auto),
    ("a", "9", Rule::Auto),
    ("a", "2", Rule::Kind(crate::oracle::Stream::User)),
];

/// A record to be made: every choice is a number, so that a failing case shrinks towards zeros.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: u8,
    /// 0..3 pin, geo, user; beyond that something else.
    pub kind: u8,
    /// The index.
    pub index: u8,
    /// Choices of its values.
    pub picks: [u8; 6],
    /// Steps of its arrival after the one before it in its partition; may be negative.
    pub step: i8,
}

/// A random record.
pub fn record() -> impl Strategy<Value = Record> {
    let picks = prop::array::uniform6(0u8..12);
    let step = prop_oneof![5 => 0i8..4, 2 => -6i8..30, 1 => 30i8..100];
    (0u8..3, 0u8..20, 0u8..5, picks, step).prop_map(|(partition, kind, index, picks, step)| {
        Record { partition, kind: if kind < 18 { kind % 3 } else { kind - 15 }, index, picks, step }
    })
}

fn of<T: Copy>(list: &[T], pick: u8) -> T {
    list[pick as usize % list.len()]
}

const CATEGORIES: [&str; 5] = [r#""art""#, r#""travel""#, r#""Zoo""#, r#"" ""#, "null"];
const POSTERS: [&str; 5] =
    [r#""Ann""#, r#""bob""#, r#""\u00c9ve""#, r#""User Info Error""#, r#""ann""#];
const FOLLOWERS: [&str; 8] = [
    r#""3""#,
    r#""3k""#,
    r#""1.5k""#,
    "7",
    r#""2M""#,
    r#""User Info Error""#,
    r#""x""#,
    r#""9223372036854775807""#,
];
const TITLES: [&str; 5] =
    [r#""a""#, r#""caf\u00e9""#, r#""No Title Data Available""#, "null", r#""a longer one""#];
const TAGS: [&str; 4] =
    [r#""a,b""#, r#""N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e""#, r#""one""#, r#"",,""#];
const COUNTRIES: [&str; 5] = [r#""Albania""#, r#""Tonga""#, r#""albania""#, "null", r#""""#];
const TIMES: [&str; 11] = [
    "2024-02-29 23:59:59",
    "2024-03-01 00:00:00",
    "2024-02-29 23:00:00",
    "2023-12-31T23:59:59.999999",
    "2024-01-01T00:00:00Z",
    "2018-11- 11:23:51",
    "2024-02-29 22:59:59.25",
    "1969-12-31 23:59:59",
    "2024-03-01T01:00:00+01:00",
    "2024-02-28 12:34:56",
    "2031-01-01 00:00:00",
];
const DEGREES: [(&str, &str); 6] = [
    ("-12.5", "45.25"),
    ("0", "-0.0000001"),
    ("89.9999999", "179.5"),
    ("91", "10"),
    (r#""12.5""#, "-120.001"),
    ("-0.5", "null"),
];
const NAMES: [(&str, &str); 4] = [
    (r#""Ada""#, r#""Ali""#),
    (r#""Bo""#, "null"),
    ("null", r#""Chu""#),
    (r#""Ada""#, r#""Ali ""#),
];
const AGES: [&str; 8] = ["17", "18", r#""25""#, "36", "51", "151", "null", "24"];
const JOINED: [&str; 5] = [
    "2015-12-31 23:59:59",
    "2016-01-01 00:00:00",
    "2016-07-01 10:00:00",
    "nonsense",
    "2015-12-31 23:59:59.5",
];
const BROKEN: [&str; 6] = [
    "",
    "[1]",
    r#"{"index": 1, "unique_id": "x", "categ"#,
    r#"{"unique_id": "u", "category": "art"}"#,
    r#"{"a": 1}"#,
    "[]",
];

/// The bytes of a record.
pub fn payload(record: &Record) -> String {
    let Record { kind, index, picks: p, .. } = record;
    match kind {
        0 => format!(
            "{{\"index\": {index}, \"unique_id\": \"u{}\", \"title\": {}, \"description\": \"d\", \
             \"poster_name\": {}, \"follower_count\": {}, \"tag_list\": {}, \
             \"is_image_or_video\": \"image\", \"image_src\": \"i\", \"downloaded\": {}, \
             \"save_location\": \"Local save in /data/x\", \"category\": {}}}",
            p[5] % 3,
            of(&TITLES, p[0]),
            of(&POSTERS, p[1]),
            of(&FOLLOWERS, p[2]),
            of(&TAGS, p[3]),
            p[5] % 2,
            of(&CATEGORIES, p[4]),
        ),
        1 => {
            let (lat, lon) = of(&DEGREES, p[2]);
            format!(
                "{{\"ind\": {index}, \"timestamp\": \"{}\", \"latitude\": {lat}, \
                 \"longitude\": {lon}, \"country\": {}}}",
                of(&TIMES, p[0]),
                of(&COUNTRIES, p[1]),
            )
        }
        2 => {
            let (first, last) = of(&NAMES, p[0]);
            format!(
                "{{\"ind\": {index}, \"first_name\": {first}, \"last_name\": {last}, \
                 \"age\": {}, \"date_joined\": \"{}\"}}",
                of(&AGES, p[1]),
                of(&JOINED, p[2]),
            )
        }
        3 => of(&BROKEN, p[0]).to_string(),
        // Several in one message, one of them bad.
        _ => {
            let one = |kind, picks| payload(&Record { kind, picks, ..record.clone() });
            let mut other = *p;
            other.rotate_left(1);
            format!(
                r#"[{{"value": {}}}, 5, {{"value": {}}}]"#,
                one(p[3] % 3, *p),
                one(p[4] % 3, other)
            )
        }
    }
}

/// The messages of each partition, in order.
pub fn messages(records: &[Record]) -> [Vec<Message>; 3] {
    let mut out: [Vec<Message>; 3] = Default::default();
    let mut at = [START; 3];
    for record in records {
        let n = record.partition as usize;
        let (source, name, rule) = PARTITIONS[n];
        at[n] += i64::from(record.step) * 7 * SECOND;
        let position = out[n].len() as u64 * 10;
        out[n].push(Message {
            source: source.into(),
            partition: name.into(),
            position,
            payload: payload(record).into_bytes(),
            rule,
            arrived_at: at[n],
            given: true,
        });
    }
    out
}
