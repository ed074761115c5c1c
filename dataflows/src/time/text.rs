//! Times as text: the forms that producers send, and RFC 3339 in UTC on the way out.
//!
//! Promises: what [`parse`] or [`parse_with`] give lies in the years 0001 to 9999, so that
//! nothing behind it can overflow; [`write()`] prints every such moment as it came.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::{DAY, HOUR, SECOND, civil, day_number, in_range};
use crate::record::Moment;

/// The moment of `YYYY-MM-DD HH:MM:SS`, or with `T`, with an optional fraction (digits beyond
/// nanoseconds are cut off) and an optional `Z` or offset (`+HH:MM`, `+HHMM`, `+HH`); no zone
/// means UTC. None for every other text, dates that do not exist and leap seconds.
pub fn parse(text: &str) -> Option<Moment> {
    let (b, rest) = text.as_bytes().split_first_chunk::<19>()?;
    if b[4] != b'-' || b[7] != b'-' || b[13] != b':' || b[16] != b':' {
        return None;
    }
    if b[10] != b' ' && b[10] != b'T' {
        return None;
    }
    let year = two(b, 0)? * 100 + two(b, 2)?;
    let (month, day) = (two(b, 5)?, two(b, 8)?);
    let (hour, minute, second) = (two(b, 11)?, two(b, 14)?, two(b, 17)?);
    if hour > 23 || minute > 59 || second > 59 || !exists(year, month, day) {
        return None;
    }
    let (nanos, rest) = fraction(rest)?;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let micros = day_number(year.into(), month, day) * DAY + (seconds - offset(rest)?) * SECOND;
    moment(micros, nanos)
}

/// The moment that a `chrono` pattern reads from a text: with its offset if the pattern has one,
/// else as UTC; a date alone is its midnight.
pub fn parse_with(text: &str, pattern: &str) -> Option<Moment> {
    let there = match DateTime::parse_from_str(text, pattern) {
        Ok(there) => there.naive_utc(),
        Err(_) => match NaiveDateTime::parse_from_str(text, pattern) {
            Ok(there) => there,
            Err(_) => NaiveDate::parse_from_str(text, pattern).ok()?.and_hms_opt(0, 0, 0)?,
        },
    };
    let utc = there.and_utc();
    moment(utc.timestamp().checked_mul(SECOND)?, utc.timestamp_subsec_nanos())
}

/// Whether a text is a pattern that `chrono` knows.
pub fn is_pattern(pattern: &str) -> bool {
    !chrono::format::StrftimeItems::new(pattern).any(|i| i == chrono::format::Item::Error)
}

/// Appends RFC 3339 in UTC, `2018-03-04T05:06:07Z`, with a fraction only if there is one.
pub fn write(moment: Moment, out: &mut Vec<u8>) {
    let (year, month, day) = civil(moment.micros.div_euclid(DAY));
    let rest = moment.micros.rem_euclid(DAY);
    let (hour, minute) = (rest / HOUR, rest / (60 * SECOND) % 60);
    let second = rest / SECOND % 60;
    if year < 0 {
        out.push(b'-');
    }
    let parts = [
        (year.unsigned_abs(), if year < 0 { 3 } else { 4 }, b'-'),
        (month.into(), 2, b'-'),
        (day.into(), 2, b'T'),
        (hour as u64, 2, b':'),
        (minute as u64, 2, b':'),
    ];
    for (number, width, then) in parts {
        write_padded(number, width, out);
        out.push(then);
    }
    write_padded(second as u64, 2, out);
    if moment.nanos > 0 {
        out.push(b'.');
        write_padded(moment.nanos.into(), 9, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Appends a number, with zeros before it up to so many digits (at most 20).
pub fn write_padded(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while number > 0 {
        first -= 1;
        digits[first] += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[first.min(digits.len() - width)..]);
}

/// As [`write()`], of a time in microseconds since 1970-01-01 UTC.
pub fn write_micros(micros: i64, out: &mut Vec<u8>) {
    write(Moment { micros, nanos: (micros.rem_euclid(SECOND) * 1000) as u32 }, out);
}

/// A whole second and the nanoseconds within it as a moment, if the year is 0001..9999.
fn moment(second_micros: i64, nanos: u32) -> Option<Moment> {
    let micros = second_micros.checked_add(i64::from(nanos / 1000))?;
    let fits = nanos < 1_000_000_000 && in_range(micros);
    fits.then_some(Moment { micros, nanos })
}

/// Two ASCII digits at a place that exists.
#[inline]
fn two(b: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(u32::from(tens) * 10 + u32::from(ones))
}

fn exists(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=last).contains(&day)
}

/// The nanoseconds of a fraction, if one stands here, and what follows it.
fn fraction(b: &[u8]) -> Option<(u32, &[u8])> {
    if b.first() != Some(&b'.') {
        return Some((0, b));
    }
    let digits = b[1..].iter().take_while(|d| d.is_ascii_digit()).count();
    let nanos =
        (0..9).fold(0, |n, i| n * 10 + if i < digits { u32::from(b[1 + i] - b'0') } else { 0 });
    (digits > 0).then_some((nanos, &b[1 + digits..]))
}

/// The seconds that a zone is ahead of UTC.
fn offset(b: &[u8]) -> Option<i64> {
    let sign = match b {
        [] | [b'Z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = match b.len() {
        3 => (two(b, 1)?, 0),
        5 => (two(b, 1)?, two(b, 3)?),
        6 if b[3] == b':' => (two(b, 1)?, two(b, 4)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * i64::from(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(moment: Option<Moment>) -> Option<String> {
        moment.map(|m| {
            let mut out = Vec::new();
            write(m, &mut out);
            String::from_utf8(out).expect("text")
        })
    }

    #[test]
    fn the_usual_forms() {
        let check = |text: &str, want: &str| {
            let want = (!want.is_empty()).then(|| want.to_string());
            assert_eq!(printed(parse(text)), want, "{text}");
        };
        check("2018-03-04 05:06:07", "2018-03-04T05:06:07Z");
        check("2018-03-04T05:06:07", "2018-03-04T05:06:07Z");
        check("2018-03-04T05:06:07Z", "2018-03-04T05:06:07Z");
        check("2018-03-04 05:06:07.250", "2018-03-04T05:06:07.25Z");
        check("2018-03-04 05:06:07.1234567899Z", "2018-03-04T05:06:07.123456789Z");
        check("2018-03-04 05:06:07.000", "2018-03-04T05:06:07Z");
        check("2018-03-04T05:06:07+02:00", "2018-03-04T03:06:07Z");
        check("2018-03-04T05:06:07-0230", "2018-03-04T07:36:07Z");
        check("2018-03-04T00:06:07.5+01", "2018-03-03T23:06:07.5Z");
        check("2020-02-29 00:00:00", "2020-02-29T00:00:00Z");
        check("0001-01-01 00:00:00", "0001-01-01T00:00:00Z");
        check("9999-12-31 23:59:59.999999999", "9999-12-31T23:59:59.999999999Z");
        check("1969-12-31 23:59:59.5", "1969-12-31T23:59:59.5Z");
        for bad in [
            "",
            "2015-11- 11:23:51",
            "2019-02-29 00:00:00",
            "1900-02-29 00:00:00",
            "2018-13-01 00:00:00",
            "2018-00-01 00:00:00",
            "2018-01-00 00:00:00",
            "2018-04-31 00:00:00",
            "2018-01-01 24:00:00",
            "2018-01-01 00:60:00",
            "2016-12-31 23:59:60",
            "0000-01-01 00:00:00",
            "2018-01-01",
            "2018-01-01 00:00",
            "2018-01-01 00:00:00.",
            "2018-01-01 00:00:00 ",
            " 2018-01-01 00:00:00",
            "2018-01-01 00:00:00+",
            "2018-01-01 00:00:00+25:00",
            "2018-01-01 00:00:00+1:00",
            "2018-01-01 00:00:00ZZ",
            "2018:01:01 00:00:00",
            "01/02/2018, 00:00:00",
            "2018-01-01_00:00:00",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2018-01-01T00:00:00\u{e9}",
            "20180101T000000",
            "-001-01-01 00:00:00",
        ] {
            check(bad, "");
        }
    }

    #[test]
    fn further_patterns() {
        let check = |text: &str, pattern: &str, want: Option<&str>| {
            assert_eq!(printed(parse_with(text, pattern)).as_deref(), want, "{text} {pattern}");
        };
        let colons = "%Y:%m:%d %H:%M:%S";
        check("2018:03:04 05:06:07", colons, Some("2018-03-04T05:06:07Z"));
        check("03/04/2018, 05:06:07", "%m/%d/%Y, %H:%M:%S", Some("2018-03-04T05:06:07Z"));
        check("2018-03-04", "%Y-%m-%d", Some("2018-03-04T00:00:00Z"));
        check("2018-03-04 05:06 +0200", "%Y-%m-%d %H:%M %z", Some("2018-03-04T03:06:00Z"));
        check("2018:03:04 05:06:60", colons, None);
        check("-2018:03:04 05:06:07", colons, None);
        check("+12018:03:04 05:06:07", colons, None);
        check("2018:03:04", colons, None);
        assert!(is_pattern(colons) && !is_pattern("%Q"));
    }

    #[test]
    fn the_parts_agree() {
        let m = parse("1969-12-31 23:59:59.123456789").expect("a time");
        assert_eq!((m.micros, m.nanos), (-876_544, 123_456_789));
        let mut out = Vec::new();
        write_micros(m.micros, &mut out);
        assert_eq!(out, b"1969-12-31T23:59:59.123456Z");
    }

    #[test]
    fn any_time_is_printed_with_zeros_before_its_parts() {
        let before_year_0 = day_number(-1, 2, 3) * DAY + 4 * HOUR;
        for micros in [i64::MIN, before_year_0, before_year_0 - 1, -1, 0, 987_000, i64::MAX] {
            let (year, month, day) = civil(micros.div_euclid(DAY));
            let rest = micros.rem_euclid(DAY);
            let (hour, minute) = (rest / HOUR, rest / (60 * SECOND) % 60);
            let (second, part) = (rest / SECOND % 60, rest % SECOND);
            let date = format!("{year:04}-{month:02}-{day:02}");
            let time = format!("{hour:02}:{minute:02}:{second:02}.{part:06}");
            let time = time.trim_end_matches('0').trim_end_matches('.');
            let mut out = Vec::new();
            write_micros(micros, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), format!("{date}T{time}Z"));
        }
    }
}
