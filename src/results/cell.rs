//! One value as text: exact for integers, degrees and times; quotients are rounded exactly, here.

use std::borrow::Cow;

use dataflows::metrics::value::Value;
use dataflows::record::Type;

use super::Format;
use crate::publish::print::{self, FIXED7};

/// A printed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing.
    Null,
    /// A number in decimal notation.
    Number(String),
    /// A text.
    Text(Cow<'a, str>),
}

impl Shown<'_> {
    /// The bare text; empty for null.
    pub fn plain(self) -> String {
        match self {
            Shown::Null => String::new(),
            Shown::Number(text) => text,
            Shown::Text(text) => text.into_owned(),
        }
    }
}

/// A value of a type: `decimals` are those of quotients, `time` a `chrono` pattern.
pub fn show(value: Value, ty: Type, decimals: Option<u32>, time: Option<&str>) -> Shown<'static> {
    let unit = if ty == Type::Fixed7 { FIXED7 } else { 1 };
    let (n, d) = match value {
        Value::Null | Value::Ratio(_, 0) => return Shown::Null,
        Value::Text(sym) => return Shown::Text(Cow::Borrowed(sym.as_str())),
        Value::Int(n) => (n, 1),
        Value::Ratio(n, d) => (n, d),
    };
    if let (Some(digits), false) = (decimals, ty == Type::Time) {
        return Shown::Number(match d.checked_mul(unit) {
            Some(d) => rounded(n, d, digits),
            // Beyond 128 bits a double is as good as it gets.
            None => format!("{:.*}", digits as usize, print::number(value, ty).unwrap_or(0.0)),
        });
    }
    let mut out = String::new();
    print::text(&mut out, value, ty, time);
    if ty == Type::Time { Shown::Text(out.into()) } else { Shown::Number(out) }
}

/// `n / d` with so many digits, halves away from zero; `d` is positive.
fn rounded(n: i128, d: i128, digits: u32) -> String {
    let (magnitude, d) = (n.unsigned_abs(), d.unsigned_abs());
    let scale = 10_u128.pow(digits);
    let scaled = magnitude.checked_mul(scale).and_then(|s| s.checked_mul(2)?.checked_add(d));
    let Some(scaled) = scaled.filter(|_| d <= u128::MAX / 2) else {
        // Beyond 128 bits a double is as good as it gets.
        return format!("{:.*}", digits as usize, n as f64 / d as f64);
    };
    let units = scaled / (2 * d);
    let sign = if n < 0 && units > 0 { "-" } else { "" };
    if digits == 0 {
        format!("{sign}{units}")
    } else {
        let width = digits as usize;
        format!("{sign}{}.{:0width$}", units / scale, units % scale)
    }
}

/// What stands between the cells of a line.
pub fn separator(format: Format) -> u8 {
    if format == Format::Csv { b',' } else { b'\t' }
}

/// Whether a text is printed as it is within a line.
pub fn is_plain(text: &str, format: Format) -> bool {
    // Hardly ever one that is not: all bytes are looked at together.
    let any = |special: fn(u8) -> bool| text.bytes().fold(false, |any, b| any | special(b));
    match format {
        Format::Csv => !any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r')),
        _ => !any(|b| matches!(b, b'\t' | b'\n' | b'\r' | b'\\')),
    }
}

/// Appends a text to a line.
pub fn put_text(text: &str, format: Format, out: &mut Vec<u8>) {
    let text = if format == Format::Csv { csv(text) } else { tsv(text) };
    out.extend_from_slice(text.as_bytes());
}

/// A text within a tab-separated line.
pub fn tsv(text: &str) -> Cow<'_, str> {
    if is_plain(text, Format::Tsv) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out.into()
}

/// A text within a comma-separated line.
pub fn csv(text: &str) -> Cow<'_, str> {
    if is_plain(text, Format::Csv) {
        return text.into();
    }
    format!("\"{}\"", text.replace('"', "\"\"")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        use Type::{Fixed7, Int, Time};
        let shown = |value, ty, decimals| show(value, ty, decimals, None).plain();
        for (value, ty, decimals, want) in [
            (Value::Null, Int, Some(1), ""),
            (Value::Int(-7), Int, None, "-7"),
            (Value::Int(7), Int, Some(1), "7.0"),
            (Value::Int(-888_298_000), Fixed7, None, "-88.8298"),
            (Value::Int(1_220_000_000), Fixed7, None, "122"),
            (Value::Int(-1), Fixed7, None, "-0.0000001"),
            (Value::Int(1_520_139_967_000_000), Time, None, "2018-03-04T05:06:07Z"),
            (Value::Int(1_500_000), Time, None, "1970-01-01T00:00:01.5Z"),
            (Value::Ratio(5, 2), Int, Some(1), "2.5"),
            (Value::Ratio(5, 2), Int, Some(0), "3"),
            (Value::Ratio(-5, 2), Int, Some(0), "-3"),
            (Value::Ratio(-1, 3), Int, Some(0), "0"),
            (Value::Ratio(2, 3), Int, Some(3), "0.667"),
            (Value::Ratio(1, 3), Int, None, "0.3333333333333333"),
            (Value::Ratio(6, 3), Int, None, "2"),
            (Value::Ratio(10_000_001, 2), Fixed7, Some(2), "0.50"),
            (Value::Ratio(10_000_000, 4), Fixed7, None, "0.25"),
            (Value::Ratio(i128::MAX, i128::MAX - 1), Fixed7, Some(1), "0.0"),
            (Value::Ratio(i128::MAX, 2), Int, None, "85070591730234620000000000000000000000"),
        ] {
            assert_eq!(shown(value, ty, decimals), want, "{value:?} {ty:?} {decimals:?}");
        }
        let at = Value::Int(1_520_139_967_000_000);
        let hour = show(at, Time, None, Some("%Y-%m-%d %H:00:00")).plain();
        assert_eq!(hour, "2018-03-04 05:00:00");
    }

    #[test]
    fn separators_within_texts() {
        assert_eq!(tsv("a\tb\nc\\d\r"), "a\\tb\\nc\\\\d\\r");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv("a b"), "a b");
    }
}
