//! Values as text: exact integers, one division for a mean, times in RFC 3339.

use std::cmp::Ordering;
use std::fmt::Write;

use chrono::{DateTime, SecondsFormat};
use dataflows::metrics::value::Value;
use dataflows::record::Type;

/// Degrees are held in units of 1e-7.
pub const FIXED7: i128 = 10_000_000;

/// Appends a value as JSON.
pub fn json(out: &mut String, value: Value, ty: Type) {
    match (value, ty) {
        (Value::Null, _) => out.push_str("null"),
        (Value::Text(s), _) => quoted(out, s.as_str()),
        (Value::Int(_) | Value::Ratio(..), Type::Time) => {
            out.push('"');
            text(out, value, ty, None);
            out.push('"');
        }
        _ => text(out, value, ty, None),
    }
}

/// Appends a text as a JSON string.
pub fn quoted(out: &mut String, s: &str) {
    // Writing to a String cannot fail; serde_json knows all the escapes.
    out.push_str(&serde_json::Value::from(s).to_string());
}

/// Appends a value as plain text; null is empty. Times are printed by a `chrono` pattern, or as
/// RFC 3339 in UTC.
pub fn text(out: &mut String, value: Value, ty: Type, pattern: Option<&str>) {
    // Writing to a String cannot fail.
    let _ = match (value, ty) {
        (Value::Null, _) => Ok(()),
        (Value::Text(s), _) => out.write_str(s.as_str()),
        (Value::Int(v), Type::Time) => time(out, v, pattern),
        (Value::Ratio(n, d), Type::Time) => time(out, n.div_euclid(d), pattern),
        (Value::Int(v), Type::Fixed7) => fixed(out, v),
        (Value::Int(v), _) => write!(out, "{v}"),
        (Value::Ratio(..), _) => write!(out, "{}", number(value, ty).unwrap_or(0.0)),
    };
}

/// A value as a number in its unit (degrees, seconds since 1970); none for null and texts.
pub fn number(value: Value, ty: Type) -> Option<f64> {
    let (n, d) = match value {
        Value::Null | Value::Text(_) => return None,
        Value::Int(v) => (v, 1),
        Value::Ratio(n, d) => (n, d),
    };
    let unit: i128 = match ty {
        Type::Fixed7 => FIXED7,
        Type::Time => 1_000_000,
        Type::Text | Type::Int | Type::Bool => 1,
    };
    // One division where it fits, as the nearest double is to be had.
    Some(match d.checked_mul(unit) {
        Some(d) => n as f64 / d as f64,
        None => n as f64 / d as f64 / unit as f64,
    })
}

/// The order of values: null first, numbers by what they are worth, texts by their bytes.
pub fn order(a: Value, b: Value) -> Ordering {
    let rank = |v| match v {
        Value::Null => 0,
        Value::Int(_) | Value::Ratio(..) => 1,
        Value::Text(_) => 2,
    };
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(&b),
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (Value::Int(_) | Value::Ratio(..), Value::Int(_) | Value::Ratio(..)) => quotient(a, b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn quotient(a: Value, b: Value) -> Ordering {
    let parts = |v| match v {
        Value::Int(n) => (n, 1),
        Value::Ratio(n, d) => (n, d),
        _ => (0, 1),
    };
    let ((an, ad), (bn, bd)) = (parts(a), parts(b));
    match (an.checked_mul(bd), bn.checked_mul(ad)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => continued((an, ad), (bn, bd)),
    }
}

/// The order of two quotients as continued fractions: by their whole parts, then the other way
/// round by what is one over the rest. Rounding would be no order: a sort panics over one that
/// contradicts itself.
fn continued((an, ad): (i128, i128), (bn, bd): (i128, i128)) -> Ordering {
    let (a, b) = (an.rem_euclid(ad), bn.rem_euclid(bd));
    let whole = an.div_euclid(ad).cmp(&bn.div_euclid(bd));
    whole.then_with(|| match (a, b) {
        (0, _) | (_, 0) => a.cmp(&b),
        _ => continued((bd, b), (ad, a)),
    })
}

fn fixed(out: &mut String, v: i128) -> std::fmt::Result {
    let sign = if v < 0 { "-" } else { "" };
    let (whole, part) = (v.unsigned_abs() / FIXED7 as u128, v.unsigned_abs() % FIXED7 as u128);
    if part == 0 {
        return write!(out, "{sign}{whole}");
    }
    let digits = format!("{part:07}");
    write!(out, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// A time in microseconds as RFC 3339 in UTC, a fraction only if there is one.
pub fn rfc3339(micros: i64) -> String {
    let mut out = String::new();
    let _ = time(&mut out, micros.into(), None);
    out
}

fn time(out: &mut String, micros: i128, pattern: Option<&str>) -> std::fmt::Result {
    let stamp = i64::try_from(micros).ok().and_then(DateTime::from_timestamp_micros);
    let Some(stamp) = stamp else { return write!(out, "{micros}") };
    let Some(pattern) = pattern else {
        // A pattern takes ten times as long, and edges of windows are many.
        let all = stamp.to_rfc3339_opts(SecondsFormat::Micros, true);
        let seconds = all.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        return write!(out, "{seconds}Z");
    };
    write!(out, "{}", stamp.format(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::symbol::intern;
    use proptest::prelude::*;

    #[test]
    fn values_print_exactly() {
        let check = |value, ty, want: &str| {
            let mut out = String::new();
            json(&mut out, value, ty);
            assert_eq!(out, want, "{value:?}");
        };
        check(Value::Null, Type::Int, "null");
        check(Value::Int(-7), Type::Int, "-7");
        check(Value::Int(i128::MAX), Type::Int, "170141183460469231731687303715884105727");
        check(Value::Int(515_000_000), Type::Fixed7, "51.5");
        check(Value::Int(-1), Type::Fixed7, "-0.0000001");
        check(Value::Int(20_000_000), Type::Fixed7, "2");
        check(Value::Ratio(1, 3), Type::Int, "0.3333333333333333");
        check(Value::Ratio(10, 4), Type::Int, "2.5");
        check(Value::Ratio(515_000_000, 2), Type::Fixed7, "25.75");
        check(Value::Int(1_520_139_967_000_000), Type::Time, "\"2018-03-04T05:06:07Z\"");
        check(Value::Int(1_520_139_967_250_000), Type::Time, "\"2018-03-04T05:06:07.25Z\"");
        check(Value::Int(-500_000), Type::Time, "\"1969-12-31T23:59:59.5Z\"");
        check(Value::Text(intern("a\"\u{1}")), Type::Text, "\"a\\\"\\u0001\"");
    }

    #[test]
    fn patterns_and_order() {
        let mut out = String::new();
        text(&mut out, Value::Ratio(1, 4), Type::Int, Some("%Y"));
        out.push(' ');
        text(&mut out, Value::Int(0), Type::Time, Some("%Y"));
        assert_eq!(out, "0.25 1970");
        assert_eq!(order(Value::Null, Value::Int(-5)), Ordering::Less);
        assert_eq!(order(Value::Ratio(1, 3), Value::Int(0)), Ordering::Greater);
        assert_eq!(order(Value::Ratio(2, 4), Value::Ratio(1, 2)), Ordering::Equal);
        let big = Value::Ratio(i128::MAX, 2);
        assert_eq!(order(big, Value::Ratio(i128::MAX, 3)), Ordering::Greater);
    }

    /// Numbers of every length, many of them next to a power of two, where rounding goes wrong.
    fn numbers() -> impl Strategy<Value = i128> {
        let near = (0u32..127, -2i128..=2).prop_map(|(bits, off)| (1 << bits) + off);
        let any = (any::<i128>(), 0u32..127).prop_map(|(n, by)| n >> by);
        let edge = prop::sample::select(vec![i128::MIN, i128::MIN + 1, i128::MAX, 0]);
        prop_oneof![4 => near.clone(), 1 => near.prop_map(|n| -n), 3 => any, 1 => edge]
    }

    fn values() -> impl Strategy<Value = Value> {
        let over = numbers().prop_map(|d| d.saturating_abs().max(1));
        let ratio = (numbers(), over).prop_map(|(n, d)| Value::Ratio(n, d));
        prop_oneof![numbers().prop_map(Value::Int), ratio]
    }

    /// The product of two numbers: its sign, then its size as four digits of base 2^64.
    fn product(a: i128, b: i128) -> (i128, [u64; 4]) {
        let digits = |n: u128| [n as u64, (n >> 64) as u64];
        let mut all = [0u64; 4];
        for (i, a) in digits(a.unsigned_abs()).into_iter().enumerate() {
            let mut carry = 0;
            for (j, b) in digits(b.unsigned_abs()).into_iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(all[i + j]) + carry;
                (all[i + j], carry) = (sum as u64, sum >> 64);
            }
            all[i + 2] = carry as u64;
        }
        all.reverse();
        (a.signum() * b.signum(), all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn quotients_are_in_the_order_of_their_exact_products(a in values(), b in values()) {
            let parts = |v| match v {
                Value::Ratio(n, d) => (n, d),
                Value::Int(n) => (n, 1),
                _ => (0, 1),
            };
            let ((an, ad), (bn, bd)) = (parts(a), parts(b));
            let ((sign, a_size), (other, b_size)) = (product(an, bd), product(bn, ad));
            let sizes = if sign < 0 { b_size.cmp(&a_size) } else { a_size.cmp(&b_size) };
            prop_assert_eq!(order(a, b), sign.cmp(&other).then(sizes));
        }
    }

    /// Exact and rounded comparisons took turns, which is no order, and a sort may panic over it.
    #[test]
    fn many_quotients_of_great_sums_can_be_sorted() {
        let of = |n: i128| {
            let under = 1 << if n % 2 == 0 { 60 } else { 66 };
            Value::Ratio(under + n * 7919 % 509 * (under >> 60), under)
        };
        let mut values: Vec<Value> = (0..2000).map(of).collect();
        values.sort_by(|a, b| order(*a, *b));
        assert!(values.is_sorted_by(|a, b| order(*a, *b) != Ordering::Greater));
    }
}
