//! Cleaning against tables: every column, what it takes and what it does not.

use std::sync::Arc;

use super::project::{Form, State, cell, states};
use super::*;
use crate::metrics::value::NULL;
use crate::symbol::intern;

/// A record of a stream with these fields beside the telling ones, and with the given rules.
fn with_fields<T>(
    rules: Rules,
    arrival: Option<i64>,
    json: &str,
    see: impl Fn(&Fields<'_>) -> T,
) -> T {
    let mut out = None;
    let mut decoder = Decoder::new(Arc::new(rules));
    let at = arrival.unwrap_or(0);
    decoder.decode(json.as_bytes(), Rule::Auto, at, arrival.is_some(), |_, decoded| {
        let Decoded::Record(record) = decoded else { panic!("{json}: {decoded:?}") };
        out = Some(see(&record.fields));
    });
    out.expect("one record")
}

/// The state of a column whose wire field has this value, beside what tells the stream.
fn state(column: Column, field: &str, value: &str) -> String {
    let others = match column.stream() {
        Stream::Pin => ["unique_id", "category"],
        Stream::Geo => ["timestamp", "country"],
        Stream::User => ["first_name", "date_joined"],
    };
    let tell: Vec<String> =
        others.iter().filter(|o| **o != field).map(|o| format!(",\"{o}\":null")).collect();
    let json = format!("{{\"ind\":1,\"{field}\":{value}{}}}", tell.concat());
    with_fields(Rules::default(), None, &json, |fields| {
        let mut out = String::new();
        states(fields, |c, state| {
            if c == column {
                let (name, defect) = state.names();
                out = defect.unwrap_or(name).to_string();
                assert_eq!(State::ALL[state.number()], state);
            }
        });
        if out == "value" {
            let form = if column.ty() == Type::Text { Form::Symbol } else { Form::Int };
            let cell = cell(fields, column, form);
            out = match form {
                Form::Symbol => crate::symbol::Sym::from_cell(cell).as_str().to_string(),
                _ => cell.to_string(),
            };
        }
        out
    })
}

#[test]
fn text_columns() {
    let check = |column: Column, field: &str, value: &str, want: &str| {
        assert_eq!(state(column, field, value), want, "{field}: {value}");
    };
    for (column, field) in [
        (Column::Title, "title"),
        (Column::UniqueId, "unique_id"),
        (Column::Category, "category"),
        (Column::Country, "country"),
        (Column::UserName, "first_name"),
        (Column::UserName, "last_name"),
    ] {
        for (value, want) in [
            ("\"x\"", "x"),
            ("\" x\u{a0}\"", " x\u{a0}"),
            ("null", "null"),
            ("\"\"", "null"),
            ("\" \\t\u{a0}\u{2003}\\n\"", "null"),
            ("7", "bad_text"),
            ("true", "bad_text"),
            ("[]", "bad_text"),
            ("{\"a\":1}", "bad_text"),
            ("\"\\ud800\"", "bad_text"),
            ("\"\\udc00\\ud800\"", "bad_text"),
            ("\"\\ud83d\\ude00\"", "\u{1f600}"),
            ("\"a\\u0000b\"", "a\0b"),
            ("\"null\"", "null"),
            ("\"None\"", "None"),
            ("\"\u{feff}\"", "\u{feff}"),
            ("\"\u{200b}\"", "\u{200b}"),
        ] {
            check(column, field, value, want);
        }
    }
    for (column, field, placeholder) in [
        (Column::Title, "title", "No Title Data Available"),
        (Column::Description, "description", "No description available"),
        (Column::Description, "description", "No description available Story format"),
        (Column::PosterName, "poster_name", "User Info Error"),
        (Column::FollowerCount, "follower_count", "User Info Error"),
        (Column::TagList, "tag_list", "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"),
        (Column::ImageSrc, "image_src", "Image src error."),
    ] {
        check(column, field, &format!("\"{placeholder}\""), "placeholder");
        let escaped = format!("\"\\u{:04x}{}\"", placeholder.as_bytes()[0], &placeholder[1..]);
        check(column, field, &escaped, "placeholder");
        if column != Column::FollowerCount {
            let more = format!("{placeholder} ");
            check(column, field, &format!("\"{more}\""), &more);
        }
    }
    for (value, want) in [
        ("\"Local save in /data/art\"", "/data/art"),
        ("\"\\u004cocal save in /x\"", "/x"),
        ("\"/data/art\"", "/data/art"),
        ("\"Local save in \"", "null"),
        ("\"Local save in\"", "Local save in"),
        ("\"Local save in Local save in x\"", "Local save in x"),
        ("\" Local save in x\"", " Local save in x"),
        ("\"\\u004cocal save in  \"", "null"),
        ("null", "null"),
        ("7", "bad_text"),
    ] {
        check(Column::SaveLocation, "save_location", value, want);
    }
}

/// A value of a numeric column, and what becomes of it.
fn check_number(column: Column, value: &str, want: &str) {
    assert_eq!(state(column, column.name(), value), want, "{}: {value}", column.name());
}

#[test]
fn number_columns() {
    for column in [
        Column::FollowerCount,
        Column::Downloaded,
        Column::Age,
        Column::Latitude,
        Column::Longitude,
    ] {
        for (value, want) in [
            ("null", "null"),
            ("\"\"", "null"),
            ("\" \"", "null"),
            ("true", "bad_number"),
            ("[1]", "bad_number"),
            ("{}", "bad_number"),
            ("\"x\"", "bad_number"),
            ("\"\\ud800\"", "bad_number"),
            ("\"1 \"", "bad_number"),
            ("-0", "0"),
            ("0", "0"),
        ] {
            check_number(column, value, want);
        }
    }
    for (value, want) in [
        ("\"12k\"", "12000"),
        ("\"1.5M\"", "1500000"),
        ("\"2B\"", "2000000000"),
        ("33", "33"),
        ("33.0", "bad_number"),
        ("\"33.0\"", "bad_number"),
        ("1e3", "bad_number"),
        ("-5", "out_of_range"),
        ("\"-5\"", "bad_number"),
        ("\"0.5\"", "bad_number"),
        ("\"1.2345k\"", "bad_number"),
        ("9223372036854775808", "out_of_range"),
        ("\"1\\u006b\"", "1000"),
        ("1e999", "bad_number"),
    ] {
        check_number(Column::FollowerCount, value, want);
    }
}

#[test]
fn bounded_number_columns() {
    for (value, want) in [
        ("150", "150"),
        ("151", "out_of_range"),
        ("-1", "out_of_range"),
        ("\"27\"", "27"),
        ("\"-5\"", "bad_number"),
        ("\"+5\"", "bad_number"),
        ("27.0", "bad_number"),
        ("\"27.5\"", "bad_number"),
        ("99999999999999999999", "out_of_range"),
        ("1e999", "bad_number"),
        ("1e1", "bad_number"),
    ] {
        check_number(Column::Age, value, want);
    }
    for (value, want) in [("1", "1"), ("\"1\"", "1"), ("2", "out_of_range"), ("1.0", "bad_number")]
    {
        check_number(Column::Downloaded, value, want);
    }
    for (value, want) in [
        ("-89.9796", "-899796000"),
        ("\"12.5\"", "125000000"),
        ("90", "900000000"),
        ("90.0000001", "out_of_range"),
        ("1e999", "out_of_range"),
        ("\"NaN\"", "out_of_range"),
        ("1.25e1", "125000000"),
        ("-0.0", "0"),
        ("0.00000005", "1"),
        ("\"12,5\"", "bad_number"),
    ] {
        check_number(Column::Latitude, value, want);
    }
    check_number(Column::Longitude, "-180", "-1800000000");
    check_number(Column::Longitude, "180.1", "out_of_range");
}

#[test]
fn times() {
    let check = |value: &str, want: &str| {
        for column in [Column::Timestamp, Column::DateJoined] {
            assert_eq!(state(column, column.name(), value), want, "{value}");
        }
    };
    check("\"1970-01-01 00:00:01\"", "1000000");
    check("\"1970-01-01T00:00:01.5Z\"", "1500000");
    check("\"2015-11- 11:23:51\"", "bad_timestamp");
    check("\"2018-01-01\"", "bad_timestamp");
    check("1500000000", "bad_timestamp");
    check("true", "bad_timestamp");
    check("\"\\ud800\"", "bad_timestamp");
    check("\" \"", "null");
    check("null", "null");

    let rules =
        || Rules { timestamp_patterns: vec!["%Y:%m:%d %H:%M:%S".into()], ..Rules::default() };
    let time = |rules: Rules, arrival, stamp: &str| {
        let json = format!(r#"{{"ind":1,"timestamp":"{stamp}","country":"x"}}"#);
        with_fields(rules, arrival, &json, |fields| match fields {
            Fields::Geo(geo) => geo.timestamp,
            other => panic!("{other:?}"),
        })
    };
    let second = |n: i64| Cell::Value(Moment { micros: n * 1_000_000, nanos: 0 });
    assert_eq!(time(rules(), None, "1970:01:01 00:00:02"), second(2));
    assert_eq!(time(rules(), None, "1970-01-01 00:00:02"), second(2));
    let future = Cell::Defect(Defect::Future);
    assert_eq!(time(rules(), Some(0), "1970-01-01 00:05:00"), second(300));
    assert_eq!(time(rules(), Some(0), "1970-01-01 00:05:00.000000001"), future);
    assert_eq!(time(rules(), Some(0), "9999-12-31 23:59:59"), future);
    assert_ne!(time(rules(), None, "9999-12-31 23:59:59"), future);
    assert_ne!(time(rules(), Some(i64::MAX), "9999-12-31 23:59:59"), future);
    assert_ne!(time(rules(), Some(0), "0001-01-01 00:00:00"), future);
}

#[test]
fn names_of_users() {
    let check = |first: &str, last: &str, want: Text<'_>| {
        let json =
            format!(r#"{{"ind":1,"first_name":{first},"last_name":{last},"date_joined":1}}"#);
        with_fields(Rules::default(), None, &json, |fields| match fields {
            Fields::User(user) => assert_eq!(user.user_name, want, "{json}"),
            other => panic!("{other:?}"),
        });
    };
    let value = |text: &'static str| Cell::Value(text.into());
    check("\"Abigail\"", "\"Ali\"", value("Abigail Ali"));
    check("\"A \"", "\" B\"", value("A   B"));
    check("\"A\\u00e9\"", "\"B\"", value("A\u{e9} B"));
    check("\"A\"", "null", value("A"));
    check("\" \"", "\"B\"", value("B"));
    check("7", "\"B\"", value("B"));
    check("\"A\"", "7", value("A"));
    check("null", "\"\"", Cell::Null);
    check("7", "null", Cell::Defect(Defect::BadText));
}

#[test]
fn cells() {
    let json = r#"{"index":1,"unique_id":"u","category":"art","title":"a\u00e9\ud83d\ude00",
                   "tag_list":"a,,b","follower_count":"2k","image_src":"Image src error."}"#;
    with_fields(Rules::default(), None, json, |fields| {
        for (column, form, want) in [
            (Column::Category, Form::Symbol, intern("art").cell()),
            (Column::Title, Form::Length, 3),
            (Column::TagList, Form::Tags, 3),
            (Column::Category, Form::Tags, 1),
            (Column::FollowerCount, Form::Int, 2000),
            (Column::FollowerCount, Form::Present, 1),
            (Column::ImageSrc, Form::Present, 0),
            (Column::ImageSrc, Form::Length, NULL),
            (Column::Downloaded, Form::Int, NULL),
            (Column::Downloaded, Form::Present, 0),
            (Column::Country, Form::Symbol, NULL),
            (Column::Title, Form::Int, NULL),
            (Column::FollowerCount, Form::Symbol, NULL),
        ] {
            assert_eq!(cell(fields, column, form), want, "{column:?} {form:?}");
        }
    });
}
