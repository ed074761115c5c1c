//! The decoder against tables of what is really sent, and of what is hostile.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::project::Form;
use super::*;
use crate::metrics::value::NULL;

const PIN: &str = r#"{"index":1,"unique_id":"u","category":"art"}"#;
const GEO: &str = r#"{"ind":2,"timestamp":"2018-03-04 05:06:07","country":"Chad"}"#;
const USER: &str =
    r#"{"idx":3,"first_name":"A","last_name":"B","date_joined":"2016-01-02 03:04:05"}"#;

/// Every verdict of a message in a word or two: `pin 1`, `misrouted geo 2`, `not_json`.
fn verdicts_under(rules: Rules, rule: Rule, message: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    Decoder::new(Arc::new(rules)).decode(message, rule, 0, false, |sub, decoded| {
        assert_eq!(sub as usize, out.len(), "numbered from 0");
        out.push(match decoded {
            Decoded::Record(r) => {
                let misrouted = if r.misrouted { "misrouted " } else { "" };
                format!("{misrouted}{} {}", r.fields.stream().name(), r.index)
            }
            Decoded::Rejected { reason, .. } => reason.name().to_string(),
            Decoded::Ignored => "ignored".to_string(),
        });
    });
    out
}

fn verdicts(message: impl AsRef<[u8]>) -> Vec<String> {
    verdicts_under(Rules::default(), Rule::Auto, message.as_ref())
}

fn b64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

#[test]
fn wrappers_come_off() {
    let value = format!(r#"{{"value":{GEO}}}"#);
    for (message, want) in [
        (PIN.to_string(), "pin 1"),
        (format!("\n {USER}\r\n"), "user 3"),
        (value.clone(), "geo 2"),
        (format!("[{value}]"), "geo 2"),
        (format!("[{GEO}]"), "geo 2"),
        (format!(r#"{{"value":{GEO},"topic":"t","key":null,"offset":3}}"#), "geo 2"),
        (format!(r#"{{"index":{PIN}}}"#), "pin 1"),
        (format!(r#"{{"value":{{"index":{PIN}}}}}"#), "pin 1"),
        (quoted(GEO), "geo 2"),
        (quoted(&value), "geo 2"),
        (quoted(&format!("[{value}]")), "geo 2"),
        (quoted(&quoted(GEO)), "geo 2"),
        (b64(GEO), "geo 2"),
        (format!("{}\n", b64(GEO)), "geo 2"),
        (b64(GEO).trim_end_matches('=').to_string(), "geo 2"),
        (b64(b64(GEO)), "geo 2"),
        (quoted(&b64(GEO)), "geo 2"),
        (quoted(&b64(b64(GEO))), "geo 2"),
        (b64(quoted(GEO)), "geo 2"),
        (b64(quoted(&b64(GEO))), "geo 2"),
        (b64(&value), "geo 2"),
        (b64(b64(b64(GEO))), "not_json"),
        (quoted(&b64(b64(b64(GEO)))), "undecodable_wrapper"),
    ] {
        assert_eq!(verdicts(&message), [want], "{message}");
    }
}

#[test]
fn arrays_are_taken_one_by_one() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let message = format!(
        r#"[{{"value":{PIN}}}, {GEO},5 ,null,"", "x",{deep},[{GEO}],{{}},{},{{"value":7}},{USER}]"#,
        quoted(GEO),
    );
    let want = [
        "pin 1",
        "geo 2",
        "not_an_object",
        "empty",
        "empty",
        "not_an_object",
        "too_deep",
        "not_an_object",
        "unknown_kind",
        "geo 2",
        "unknown_kind",
        "user 3",
    ];
    assert_eq!(verdicts(&message), want);
    assert_eq!(verdicts(quoted(&message)), want);
    assert_eq!(verdicts(b64(&message)), want);
    assert_eq!(verdicts("[]"), ["not_an_object"]);
    assert_eq!(verdicts(" [ ] "), ["not_an_object"]);
    assert_eq!(verdicts(format!("[{GEO},]")), ["not_json"]);
}

#[test]
fn aggregated_records_come_apart() {
    let array = format!("[{USER},1]");
    let encoded = b64(PIN);
    let parts: [&[u8]; 5] = [GEO.as_bytes(), b"\xff", array.as_bytes(), encoded.as_bytes(), b"{"];
    let sound = kpl::aggregate(&parts);
    let want = ["geo 2", "bad_utf8", "user 3", "not_an_object", "pin 1", "not_json"];
    assert_eq!(verdicts(&sound), want);
    assert_eq!(verdicts(b64(&sound)), want);
    assert_eq!(verdicts(kpl::aggregate(&[])), ["empty"]);
    let mut damaged = sound.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert_eq!(verdicts(&damaged), ["undecodable_wrapper"]);
    assert_eq!(verdicts(&sound[..4]), ["undecodable_wrapper"]);
    let off = Wrappers { kpl: false, ..Wrappers::default() };
    let rules = Rules { wrappers: off, ..Rules::default() };
    assert_eq!(verdicts_under(rules, Rule::Auto, &sound), ["bad_utf8"]);
    let mut nested = GEO.as_bytes().to_vec();
    for _ in 0..20 {
        nested = kpl::aggregate(&[&nested]);
    }
    assert_eq!(verdicts(&nested), ["undecodable_wrapper"]);
}

#[test]
fn wrappers_can_be_left_on() {
    let none = Wrappers { value: false, index: false, text: false, base64: false, kpl: false };
    for (message, want) in [
        (GEO.to_string(), "geo 2"),
        (format!(r#"{{"value":{GEO}}}"#), "unknown_kind"),
        (format!(r#"{{"index":{PIN}}}"#), "unknown_kind"),
        (format!("[{GEO}]"), "not_an_object"),
        (quoted(GEO), "not_an_object"),
        (b64(GEO), "not_json"),
        ("\"\"".to_string(), "empty"),
    ] {
        let rules = Rules { wrappers: none.clone(), ..Rules::default() };
        assert_eq!(verdicts_under(rules, Rule::Auto, message.as_bytes()), [want], "{message}");
    }
}

/// A message, and the verdict on it.
fn check_verdict(message: &[u8], want: &str) {
    assert_eq!(verdicts(message), [want], "{:?}", String::from_utf8_lossy(message));
}

#[test]
fn rejections_give_the_first_reason() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    check_verdict(&vec![b'['; (1 << 20) + 1], "too_large");
    for empty in ["", " ", "\n\t", "\u{a0}\u{2003}", "null", " null\n", "\"\"", " \"\" "] {
        check_verdict(empty.as_bytes(), "empty");
        check_verdict(quoted(empty).as_bytes(), "empty");
    }
    check_verdict(b"\xff", "bad_utf8");
    check_verdict(b"{\"ind\":\"\xc3\x28\"}", "bad_utf8");
    check_verdict(b"{\"ind\":\"\xed\xa0\x80\"}", "bad_utf8");
    check_verdict(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "bad_utf8");
    check_verdict(b"\xff\xfe{\x00}\x00", "bad_utf8");
    for text in [
        deep("[", ""),
        deep("{\"a\":", ""),
        deep("{\"a\":[", "]}"),
        deep("[{\"a\":", "}]"),
        format!("{{\"index\":1,\"unique_id\":{},\"category\":1}}", deep("[", "]")),
    ] {
        check_verdict(text.as_bytes(), "too_deep");
        check_verdict(quoted(&text).as_bytes(), "too_deep");
    }
    check_verdict(deep("[", "]").as_bytes(), "too_deep");
    for text in [
        "\u{feff}{}",
        "{\"ind\":1}\0",
        "\0",
        "{",
        "{\"a\":\"\0\"}",
        "{'ind':1}",
        "NaN",
        "Infinity",
        "<html><body>502 [bad] gateway</body></html>",
        "{\"a\":NaN}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "// x",
        "{}{}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "\u{a0}{}",
        "hello",
        "aGVsbG8=",
        "nul",
        "True",
        "ind=1&age=2",
        "\"abc",
        "-",
    ] {
        check_verdict(text.as_bytes(), "not_json");
    }
    for text in ["hello", "{\"ind\":1", "aGVsbG8=", "\u{feff}{}", "<html>", "AAAA", "a b"] {
        check_verdict(quoted(text).as_bytes(), "undecodable_wrapper");
    }
    check_verdict(br#""{\"ind\":1,\"x\":\"\ud800\"}""#, "undecodable_wrapper");
}

#[test]
fn what_is_no_record_of_ours_is_told_by_its_shape() {
    for text in ["1", "true", "false", "-0", "1e999", "1234", "\"5\"", "\"true\"", "\"[]\""] {
        check_verdict(text.as_bytes(), "not_an_object");
    }
    for text in [
        "{}",
        r#"{"ind":1}"#,
        r#"{"index":1,"name":"Maya","age":25,"role":"engineer"}"#,
        r#"{"example_field": "example_value_pin"}"#,
        r#"{"ind":1,"timestamp":"x"}"#,
        r#"{"value":null}"#,
        r#"{"value":"x"}"#,
        r#"{"value":[]}"#,
        r#"{"value":{}}"#,
        r#"{"records":[{"value":{}}]}"#,
        r#"{"IND":1,"Timestamp":"x","Country":"y"}"#,
    ] {
        check_verdict(text.as_bytes(), "unknown_kind");
    }
}

#[test]
fn keys() {
    let check = |keys: &str, want: &str| {
        for blank in ["", " "] {
            let message = format!(r#"{{{keys}"timestamp":{blank}"x","country":"y"}}"#);
            assert_eq!(verdicts(&message), [want], "{message}");
        }
    };
    for (keys, want) in [
        (r#""index":1,"#, "geo 1"),
        (r#""ind":1,"#, "geo 1"),
        (r#""idx":1,"#, "geo 1"),
        (r#""idx":1,"ind":2,"index":3,"#, "geo 3"),
        (r#""idx":1,"ind":2,"#, "geo 2"),
        (r#""index":null,"ind":2,"#, "geo 2"),
        (r#""index":1,"index":2,"#, "geo 2"),
        (r#""index":1,"index":null,"ind":9,"#, "geo 9"),
        (r#""in\u0064":5,"#, "geo 5"),
        (r#""ind":"17","#, "geo 17"),
        (r#""ind":"007","#, "geo 7"),
        (r#""ind":0,"#, "geo 0"),
        (r#""ind":"\u0031","#, "geo 1"),
        (r#""ind":-0,"#, "geo 0"),
        (r#""ind":9223372036854775807,"#, "geo 9223372036854775807"),
        ("", "missing_index"),
        (r#""ind":null,"#, "missing_index"),
        (r#""Ind":1,"#, "missing_index"),
        (r#""ind":-1,"#, "bad_index"),
        (r#""ind":1.0,"#, "bad_index"),
        (r#""ind":1e2,"#, "bad_index"),
        (r#""ind":9223372036854775808,"#, "bad_index"),
        (r#""ind":1e999,"#, "bad_index"),
        (r#""ind":"","#, "bad_index"),
        (r#""ind":" 1","#, "bad_index"),
        (r#""ind":"+1","#, "bad_index"),
        (r#""ind":"1.0","#, "bad_index"),
        (r#""ind":"\u0661","#, "bad_index"),
        (r#""ind":true,"#, "bad_index"),
        (r#""ind":[1],"#, "bad_index"),
        (r#""ind":{"a":1},"#, "bad_index"),
        (r#""index":{"a":1},"#, "bad_index"),
        (r#""ind":"\ud800","#, "bad_index"),
        (r#""index":"x","ind":1,"#, "bad_index"),
        (r#""\ud800":1,"ind":1,"#, "geo 1"),
    ] {
        check(keys, want);
    }
}

#[test]
fn kinds() {
    let all = r#"{"ind":4,"unique_id":1,"category":1,"timestamp":1,"country":1,"first_name":1,
                  "date_joined":1}"#;
    let geo_user = r#"{"ind":4,"timestamp":null,"country":null,"first_name":1,"date_joined":1}"#;
    for (rule, message, want) in [
        (Rule::Auto, PIN, "pin 1"),
        (Rule::Kind(Stream::Pin), PIN, "pin 1"),
        (Rule::Kind(Stream::Pin), GEO, "misrouted geo 2"),
        (Rule::Kind(Stream::Geo), USER, "misrouted user 3"),
        (Rule::Auto, all, "pin 4"),
        (Rule::Kind(Stream::User), all, "user 4"),
        (Rule::Auto, geo_user, "geo 4"),
        (Rule::Kind(Stream::Geo), geo_user, "geo 4"),
        (Rule::Kind(Stream::Pin), geo_user, "misrouted geo 4"),
        (Rule::Kind(Stream::Pin), r#"{"index":1,"title":"t"}"#, "unknown_kind"),
        (Rule::Ignore, GEO, "ignored"),
        (Rule::Ignore, "[1,2]", "ignored"),
        (Rule::Ignore, "", "ignored"),
    ] {
        assert_eq!(verdicts_under(Rules::default(), rule, message.as_bytes()), [want], "{message}");
    }
}

/// Everything that becomes of a message, and what is noted.
type Outcome = (Vec<String>, std::collections::BTreeMap<String, u64>);

#[test]
fn messages_of_a_block_are_decoded_as_alone() {
    let rules = Arc::new(Rules { max_record_bytes: 200, ..Rules::default() });
    let too_large = format!("{GEO}{}", " ".repeat(200));
    let value = format!(r#"{{"value":{GEO},"zzz":1}}"#);
    let messages: [(&[u8], Rule); 11] = [
        (PIN.as_bytes(), Rule::Auto),
        (value.as_bytes(), Rule::Auto),
        (b"\xff{", Rule::Ignore),
        (b"", Rule::Auto),
        (b" \r", Rule::Auto),
        (too_large.as_bytes(), Rule::Auto),
        (GEO.as_bytes(), Rule::Kind(Stream::Pin)),
        // Cut within a character.
        (b"{\"ind\":1,\"country\":\"\xc3", Rule::Auto),
        (b"\xa9\"}", Rule::Auto),
        (br#"{"ind":"\"#, Rule::Auto),
        (USER.as_bytes(), Rule::Auto),
    ];
    // With gaps or without, all of it text or not.
    for (gap, not_text) in [(&b""[..], false), (b"\n", false), (b"\"", false), (b"\n", true)] {
        let (mut block, mut places) = (gap.to_vec(), Vec::new());
        for (message, rule) in messages.iter().filter(|m| not_text || m.1 != Rule::Ignore) {
            places.push((block.len()..block.len() + message.len(), *rule));
            block.extend_from_slice(message);
            block.extend_from_slice(gap);
        }
        assert_eq!(std::str::from_utf8(&block).is_err(), not_text || !gap.is_empty());
        let (mut together, mut alone) = (Decoder::new(rules.clone()), Decoder::new(rules.clone()));
        let mut all: [Outcome; 2] = Default::default();
        let mut messages = together.messages(&block);
        for (place, rule) in places {
            let [a, b] = &mut all;
            let [a, b] = [a, b].map(|(out, _)| {
                |sub: u32, decoded: &Decoded<'_>| {
                    out.push(format!("{sub} {decoded:?}"));
                }
            });
            messages.decode(place.clone(), rule, 0, true, a);
            alone.decode(&block[place], rule, 0, true, b);
        }
        all[0].1 = together.take_notes();
        all[1].1 = alone.take_notes();
        assert_eq!(all[0], all[1]);
        assert!(all[0].0.len() >= 10 && !all[0].1.is_empty(), "{all:?}");
    }
}

#[test]
fn rejects_keep_their_bytes() {
    let check = |message: &[u8], want: &[&[u8]]| {
        let mut decoder = Decoder::new(Arc::new(Rules::default()));
        let mut kept = Vec::new();
        decoder.decode(message, Rule::Auto, 0, false, |_, decoded| match decoded {
            Decoded::Rejected { payload, .. } => kept.push(payload.to_vec()),
            other => panic!("{other:?}"),
        });
        assert_eq!(kept, want);
    };
    check(b" {\n", &[b" {\n"]);
    check(br#"[ 1, {"a": 2} ]"#, &[b"1", br#"{"a": 2}"#]);
    check(br#"{"value":{"ind":1}}"#, &[br#"{"value":{"ind":1}}"#]);
    check(br#""[1,\"x\"]""#, &[b"1", b"\"x\""]);
    let deep = [b"[".repeat(1000), b"]".repeat(1000)].concat();
    check(&deep, &[&deep]);
    check(b"WzEsMl0=", &[b"1", b"2"]);
    check(&kpl::aggregate(&[b"x", b"\xff"]), &[b"x", b"\xff"]);
}

#[test]
fn the_hash_is_that_of_the_object() {
    let hash = |message: &str| {
        let mut out = None;
        let mut decoder = Decoder::new(Arc::new(Rules::default()));
        decoder.decode(message.as_bytes(), Rule::Auto, 0, false, |_, decoded| match decoded {
            Decoded::Record(record) => out = Some(record.hash),
            other => panic!("{other:?}"),
        });
        out.expect("a record")
    };
    let want = xxhash_rust::xxh3::xxh3_64(GEO.as_bytes());
    for message in [
        GEO.to_string(),
        format!("\n{GEO} \n"),
        format!(r#"{{"value": {GEO} }}"#),
        format!("[ {GEO} ]"),
        quoted(GEO),
        b64(GEO),
        quoted(&b64(b64(GEO))),
    ] {
        assert_eq!(hash(&message), want, "{message}");
    }
    assert_ne!(hash(&GEO.replace(':', ": ")), want);
}

#[test]
fn big_objects_cost_little() {
    let fields: Vec<String> = (0..128_000).map(|n| format!("\"{n}\":1,")).collect();
    let rules = || Rules { max_record_bytes: 1 << 30, ..Rules::default() };
    let message = format!("{{{}{}", fields.concat(), &GEO[1..]);
    assert_eq!(verdicts_under(rules(), Rule::Auto, message.as_bytes()), ["geo 2"]);
    let mut decoder = Decoder::new(Arc::new(rules()));
    decoder.decode(message.as_bytes(), Rule::Auto, 0, false, |_, _| {});
    assert!(decoder.take_notes().len() <= 65);
    let many = format!("[{}1]", "1,".repeat(100_000));
    assert_eq!(verdicts_under(rules(), Rule::Auto, many.as_bytes()).len(), 100_001);
}

#[test]
fn notes_are_taken() {
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let strange = format!(
        r#"[{},{},{{"value":{GEO}}},{{"zzz":1}}]"#,
        GEO.replacen('{', r#"{"foo":1,"title":2,"#, 1),
        quoted(&b64(USER))
    );
    decoder.decode(strange.as_bytes(), Rule::Kind(Stream::Geo), 0, false, |_, _| {});
    let half = br#"{"ind":1,"first_name":"A","last_name":7,"date_joined":null}"#;
    decoder.decode(half, Rule::Auto, 0, false, |_, _| {});
    let notes: Vec<(String, u64)> = decoder.take_notes().into_iter().collect();
    let want = [
        ("bad_text:last_name", 1),
        ("misrouted", 1),
        ("unknown_field:foo", 1),
        ("unknown_field:title", 1),
        ("wrapper_array", 1),
        ("wrapper_base64", 1),
        ("wrapper_value", 1),
    ];
    assert_eq!(notes, want.map(|(k, n)| (k.to_string(), n)));
    assert!(decoder.take_notes().is_empty());
}

#[test]
fn columns_that_nobody_wants_are_null_and_the_others_as_ever() {
    let rows = [
        concat!(
            r#"{"index":7,"unique_id":"f0c7","title":"Art \u2026","description":"d","#,
            r#""poster_name":"P","follower_count":"7k","tag_list":"a,b","image_src":"i","#,
            r#""is_image_or_video":"image","downloaded":1,"save_location":"Local save in /a","#,
            r#""category":"art"}"#
        ),
        concat!(
            r#"{"ind":7,"timestamp":"2018-03-04 05:06:07","latitude":-1.5,"longitude":2,"#,
            r#""country":"C"}"#
        ),
        concat!(
            r#"{"ind":7,"first_name":"A","last_name":"B","age":"33","#,
            r#""date_joined":"2016-01-02 03:04:05"}"#
        ),
    ];
    // The cells of all columns, and what tells one record from another.
    let cells = |decoder: Decoder, row: &str| {
        let (mut decoder, mut out) = (decoder, Vec::new());
        decoder.decode(row.as_bytes(), Rule::Auto, 0, false, |_, decoded| {
            let Decoded::Record(record) = decoded else { panic!("{decoded:?}") };
            assert_eq!(
                (record.index, record.hash),
                (7, xxhash_rust::xxh3::xxh3_64(row.as_bytes()))
            );
            let forms = [Form::Symbol, Form::Int];
            let cells = |c: &Column| forms.map(|form| project::cell(&record.fields, *c, form));
            out = Column::ALL.iter().map(cells).collect();
        });
        out
    };
    let always = [Column::Timestamp, Column::UserName];
    for (n, row) in rows.iter().chain(&rows).enumerate() {
        // Both paths.
        let rules = Arc::new(Rules::default());
        let general = n < rows.len();
        let new = || {
            let rules = rules.clone();
            if general { Decoder::general(rules) } else { Decoder::new(rules) }
        };
        let all = cells(new(), row);
        for wanted in Column::ALL {
            let some = cells(new().only(&[*wanted]), row);
            for ((column, all), some) in Column::ALL.iter().zip(&all).zip(some) {
                let kept = column == wanted || always.contains(column);
                assert_eq!(some, if kept { *all } else { [NULL; 2] }, "{column:?} of {wanted:?}");
            }
        }
    }
}
