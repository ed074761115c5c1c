//! Numbers as producers write them: exact, without a detour through floating point.
//!
//! Those of at most eight bytes are read as one word, without a loop whose end the processor must
//! guess (Lemire, "Quickly parsing eight digits", 2018, after Mula).

/// A number read, or what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// The number, in the units asked for.
    Value(i64),
    /// A number, but outside of the range.
    Outside,
    /// Not a number of the accepted form.
    Not,
}

/// The number of ASCII digits alone; at least one, leading zeros allowed.
pub(super) fn digits(text: &str) -> Number {
    if text.is_empty() {
        return Number::Not;
    }
    if let Some(word) = word(text.as_bytes()) {
        return value(word, text.len()).map_or(Number::Not, Number::Value);
    }
    // So many cannot overflow.
    if text.len() <= 18 {
        let mut value = 0;
        for byte in text.bytes() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Number::Not;
            }
            value = value * 10 + i64::from(digit);
        }
        return Number::Value(value);
    }
    let mut value = Some(0_i64);
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Number::Not;
        }
        value = value.and_then(|v| v.checked_mul(10)?.checked_add(i64::from(digit)));
    }
    value.map_or(Number::Outside, Number::Value)
}

/// A byte `0` in all places, the first byte being the lowest.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
/// The highest bit of each byte.
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The bytes as a word, the first in the lowest place, the rest 0, if they are 1 to 8.
#[inline]
fn word(bytes: &[u8]) -> Option<u64> {
    let len = bytes.len();
    // Places overlap where there are fewer bytes than these take, and then agree.
    let put = |byte: u64, at: usize| byte << (8 * at);
    match bytes {
        [first @ .., _, _, _, _] if len <= 8 => {
            let (head, tail) = (bytes.first_chunk::<4>()?, bytes.last_chunk::<4>()?);
            let [head, tail] = [head, tail].map(|four| u64::from(u32::from_le_bytes(*four)));
            Some(head | put(tail, first.len()))
        }
        [first, .., last] if len <= 3 => {
            let middle = put(bytes[len / 2].into(), len / 2);
            Some(u64::from(*first) | middle | put((*last).into(), len - 1))
        }
        [only] => Some((*only).into()),
        _ => None,
    }
}

/// The number that the first `len` bytes of a word are, 1 to 8 of them, if they are digits.
#[inline]
fn value(word: u64, len: usize) -> Option<i64> {
    let unused = 8 * (8 - len);
    // To the end of the word, behind zeros; a digit as its value.
    let digits = (word ^ ZEROS >> unused) << unused;
    if others(digits) != 0 {
        return None;
    }
    let pairs = digits * 10 + (digits >> 8);
    let low = u64::from_le_bytes([0xff, 0, 0, 0, 0xff, 0, 0, 0]);
    let upper = (pairs & low).wrapping_mul(100 + (1_000_000 << 32));
    let lower = (pairs >> 16 & low).wrapping_mul(1 + (10_000 << 32));
    Some((upper.wrapping_add(lower) >> 32) as i64)
}

/// The highest bit of each byte that is above 9, and perhaps of bytes behind the first of these.
#[inline]
fn others(word: u64) -> u64 {
    (word.wrapping_add(u64::from_le_bytes([0x80 - 10; 8])) | word) & HIGH
}

/// How many of a word's bytes, from the lowest on, are digits.
#[inline]
pub(super) fn digits_at_head(word: u64) -> usize {
    others(word ^ ZEROS).trailing_zeros() as usize / 8
}

/// The number of a JSON number's text, if it is an integer without fraction or exponent;
/// negative ones are outside, `-0` is 0.
pub(super) fn integer(json: &str) -> Number {
    match json.strip_prefix('-').map(digits) {
        None => digits(json),
        Some(Number::Value(0)) => Number::Value(0),
        Some(Number::Value(_)) => Number::Outside,
        Some(other) => other,
    }
}

/// A count of followers as text: plain digits, or a number with `k`, `M` or `B` behind it that
/// makes a whole one.
pub(super) fn followers(text: &str) -> Number {
    let scale = match text.as_bytes().last() {
        Some(b'k') => 3,
        Some(b'M') => 6,
        Some(b'B') => 9,
        _ => return digits(text),
    };
    let (whole, part) = match text[..text.len() - 1].split_once('.') {
        None => (&text[..text.len() - 1], "0"),
        Some(parts) => parts,
    };
    let kept = part.trim_end_matches('0');
    let (whole, fraction) = match (digits(whole), digits(part)) {
        (Number::Not, _) | (_, Number::Not) => return Number::Not,
        _ if kept.len() > scale => return Number::Not,
        (Number::Value(whole), _) if kept.is_empty() => (whole, 0),
        (Number::Value(whole), _) => match digits(kept) {
            Number::Value(f) => (whole, f * 10_i64.pow((scale - kept.len()) as u32)),
            bad => return bad,
        },
        _ => return Number::Outside,
    };
    let value = whole.checked_mul(10_i64.pow(scale as u32)).and_then(|v| v.checked_add(fraction));
    value.map_or(Number::Outside, Number::Value)
}

/// Degrees in units of 1e-7, exact, rounded half away from zero where more digits are given;
/// outside if beyond plus or minus `limit` (whole degrees) before rounding, or not finite.
pub(super) fn degrees(text: &str, limit: i64) -> Number {
    match usual_degrees(text.as_bytes()) {
        Some(units) if units.abs() <= limit * UNITS => Number::Value(units),
        Some(_) => Number::Outside,
        None => any_degrees(text, limit),
    }
}

/// Units of 1e-7 in a degree.
const UNITS: i64 = 10_000_000;

/// Degrees of at most three digits before the point and seven behind it.
fn usual_degrees(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if let Some(word) = word(text) {
        let units = short_degrees(word, text.len())?;
        return Some(if negative { -units } else { units });
    }
    let (mut units, mut at) = (0_i64, 0);
    while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        units = units * 10 + i64::from(digit);
        at += 1;
        if at > 3 {
            return None;
        }
    }
    let fraction = match &text[at..] {
        _ if at == 0 => return None,
        [b'.', fraction @ ..] if (1..=7).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    for n in 0..7 {
        let digit = fraction.get(n).map_or(0, |b| b.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        units = units * 10 + i64::from(digit);
    }
    Some(if negative { -units } else { units })
}

/// The same without a sign, in the first `len` bytes of a word.
#[inline]
fn short_degrees(word: u64, len: usize) -> Option<i64> {
    let from_dot = word ^ u64::from_le_bytes([b'.'; 8]);
    let dots = from_dot.wrapping_sub(u64::from_le_bytes([1; 8])) & !from_dot & HIGH;
    // The first of them is right; a second one is no digit. Without one it stands behind all.
    let dot = (dots.trailing_zeros() as usize / 8).min(len);
    let fraction = if dot < len { len - dot - 1 } else { 0 };
    if !(1..=3).contains(&dot) || (dot < len && fraction == 0) {
        return None;
    }
    let whole = word & ((1 << (8 * dot)) - 1);
    let digits = if fraction == 0 { whole } else { whole | word >> (8 * (dot + 1)) << (8 * dot) };
    Some(value(digits, dot + fraction)? * TENS[7 - fraction])
}

/// Powers of ten.
const TENS: [i64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, UNITS];

/// Degrees in any form.
fn any_degrees(text: &str, limit: i64) -> Number {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if ["nan", "inf", "infinity"].iter().any(|w| unsigned.eq_ignore_ascii_case(w)) {
        return Number::Outside;
    }
    let Some(parts) = decimal(unsigned) else { return Number::Not };
    let limit = limit * UNITS;
    // How many of the digits still to come count whole units.
    let mut place = parts.whole.len() as i64 + parts.exponent + 7;
    let (mut units, mut up, mut beyond) = (0_i64, false, false);
    for byte in parts.whole.bytes().chain(parts.fraction.bytes()) {
        let digit = i64::from(byte - b'0');
        if place > 0 {
            units = units * 10 + digit;
            if units > limit {
                return Number::Outside;
            }
        } else {
            up |= place == 0 && digit >= 5;
            beyond |= digit > 0;
        }
        place -= 1;
    }
    while place > 0 && units > 0 && units <= limit {
        units *= 10;
        place -= 1;
    }
    if units > limit || (units == limit && beyond) {
        return Number::Outside;
    }
    units += i64::from(up);
    Number::Value(if negative { -units } else { units })
}

/// A number's text taken apart.
struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// Beyond this an exponent decides alone: no message has so many digits.
const EXPONENT_MAX: i64 = 1 << 40;

/// Digits with an optional fraction and exponent; at least one digit before or behind the point.
fn decimal(text: &str) -> Option<Decimal<'_>> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        None => (text, 0),
        Some(at) => {
            let digits_of = |t: &str| match digits(t) {
                Number::Value(v) => Some(v.min(EXPONENT_MAX)),
                Number::Outside => Some(EXPONENT_MAX),
                Number::Not => None,
            };
            let exponent = &text[at + 1..];
            let value = match exponent.strip_prefix('-') {
                Some(rest) => -digits_of(rest)?,
                None => digits_of(exponent.strip_prefix('+').unwrap_or(exponent))?,
            };
            (&text[..at], value)
        }
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let right = whole.len() + fraction.len() > 0 && all(whole) && all(fraction);
    right.then_some(Decimal { whole, fraction, exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Number::{Not, Outside, Value};
    use super::*;

    #[test]
    fn whole_numbers() {
        for (text, want) in [
            ("0", Value(0)),
            ("007", Value(7)),
            ("9223372036854775807", Value(i64::MAX)),
            ("9223372036854775808", Outside),
            ("99999999999999999999", Outside),
            ("99999999999999999999x", Not),
            ("", Not),
            ("-1", Not),
            ("+1", Not),
            ("1.0", Not),
            (" 1", Not),
            ("1 ", Not),
            ("1e3", Not),
            ("\u{661}", Not),
            ("0x1", Not),
        ] {
            assert_eq!(digits(text), want, "{text}");
        }
        for (json, want) in [
            ("-0", Value(0)),
            ("-1", Outside),
            ("12", Value(12)),
            ("1.0", Not),
            ("1e3", Not),
            ("-1.0", Not),
            ("9223372036854775808", Outside),
            ("-9223372036854775808", Outside),
        ] {
            assert_eq!(integer(json), want, "{json}");
        }
    }

    #[test]
    fn counts_of_followers() {
        for (text, want) in [
            ("0", Value(0)),
            ("999", Value(999)),
            ("12k", Value(12_000)),
            ("7M", Value(7_000_000)),
            ("2B", Value(2_000_000_000)),
            ("1.5k", Value(1500)),
            ("1.5000k", Value(1500)),
            ("0.001k", Value(1)),
            ("1.2345k", Not),
            ("1.50000000000000000000000000k", Value(1500)),
            ("1.000000000000000000000000001k", Not),
            ("0.0k", Value(0)),
            ("1.k", Not),
            (".5k", Not),
            ("k", Not),
            ("-1k", Not),
            ("1 k", Not),
            ("1K", Not),
            ("1m", Not),
            ("1b", Not),
            ("1.5", Not),
            ("33.0", Not),
            ("1,5k", Not),
            ("1.5.0k", Not),
            ("1kk", Not),
            ("User Info Error", Not),
            ("\u{e9}k", Not),
            ("1\u{e9}", Not),
            ("+1k", Not),
            ("9223372036854775k", Value(9_223_372_036_854_775_000)),
            ("9223372036854776k", Outside),
            ("9223372036854775.807k", Value(i64::MAX)),
            ("9223372036854775.808k", Outside),
            ("99999999999999999999B", Outside),
            ("99999999999999999999.5x", Not),
            ("1e3k", Not),
        ] {
            assert_eq!(followers(text), want, "{text}");
        }
    }

    #[test]
    fn degrees_are_exact() {
        let long = format!("89.{}", "9".repeat(500));
        let many = format!("{}1.5", "0".repeat(500));
        for (text, want) in [
            ("-88.8298", Value(-888_298_000)),
            ("7.48375", Value(74_837_500)),
            ("0", Value(0)),
            ("-0", Value(0)),
            ("-0.0", Value(0)),
            ("90", Value(900_000_000)),
            ("90.0", Value(900_000_000)),
            ("90.00000000001", Outside),
            ("-90.0000001", Outside),
            ("1e1", Value(100_000_000)),
            ("1.5E+1", Value(150_000_000)),
            ("900e-1", Value(900_000_000)),
            ("1e999", Outside),
            ("-1e999", Outside),
            ("1e-999", Value(0)),
            ("0e999", Value(0)),
            ("1e99999999999999999999", Outside),
            ("1e-99999999999999999999", Value(0)),
            ("0.00000005", Value(1)),
            ("-0.00000005", Value(-1)),
            ("0.000000049", Value(0)),
            ("0.00000015", Value(2)),
            ("5e-8", Value(1)),
            ("5e-9", Value(0)),
            ("12.", Value(120_000_000)),
            (".5", Value(5_000_000)),
            ("+.5", Value(5_000_000)),
            (".", Not),
            ("", Not),
            ("-", Not),
            ("1e", Not),
            ("1e+", Not),
            ("1e1.5", Not),
            ("1 ", Not),
            (" 1", Not),
            ("1_0", Not),
            ("--1", Not),
            ("+-1", Not),
            ("0x10", Not),
            ("1,5", Not),
            ("NaN", Outside),
            ("-Infinity", Outside),
            ("inf", Outside),
            ("north", Not),
            ("1\u{e9}", Not),
            (long.as_str(), Value(900_000_000)),
            (many.as_str(), Value(15_000_000)),
        ] {
            assert_eq!(degrees(text, 90), want, "{text}");
            assert_eq!(any_degrees(text, 90), want, "{text}");
        }
        assert_eq!(degrees("179.935", 180), Value(1_799_350_000));
        assert_eq!(degrees("179.9350", 180), Value(1_799_350_000));
        assert_eq!(degrees("180.1", 180), Outside);
    }

    /// The number, by the standard library.
    fn plainly(text: &str) -> Number {
        let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if all { text.parse().map_or(Outside, Value) } else { Not }
    }

    #[test]
    fn any_byte_at_any_place_of_a_word() {
        for (len, at) in (1..=8_usize).flat_map(|len| (0..len).map(move |at| (len, at))) {
            for byte in 0..=u8::MAX {
                let mut bytes = b"98765432"[..len].to_vec();
                bytes[at] = byte;
                let word = word(&bytes).expect("at most eight bytes");
                let plain = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
                let plain = plain.filter(|_| byte.is_ascii_digit());
                assert_eq!(value(word, len), plain, "{bytes:?}");
                let head = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
                assert_eq!(digits_at_head(word), head, "{bytes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn short_numbers_are_read_as_by_the_standard_library(
            text in r"[0-9]{0,9}|[-./:0-9]{0,9}|[0-9]{0,5}([-./:]|\PC)[0-9]{0,5}",
        ) {
            prop_assert_eq!(digits(&text), plainly(&text));
            let head = text.bytes().take_while(u8::is_ascii_digit).count();
            if let Some(word) = text.as_bytes().first_chunk() {
                prop_assert_eq!(digits_at_head(u64::from_le_bytes(*word)), head.min(8));
            }
        }

        #[test]
        fn short_degrees_are_read_as_any(text in r"-?[0-9]{0,4}\.?[0-9]{0,7}|[-.0-9]{0,9}") {
            prop_assert_eq!(degrees(&text, 180), any_degrees(&text, 180), "{}", text);
        }
    }
}
