//! Durations, sizes and times as people write them.

use std::net::{Ipv4Addr, SocketAddr};

use dataflows::time::{DAY, SECOND, day_number};

/// Units of durations with their microseconds.
const DURATIONS: [(&str, i64); 7] = [
    ("us", 1),
    ("ms", 1000),
    ("s", SECOND),
    ("min", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", DAY),
    ("w", 7 * DAY),
];

/// Units of sizes with their bytes.
const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Splits `10min` into the number and the unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// Microseconds of a duration like `10s`, `5min`, `24h`; else what is wrong with it.
pub fn duration(text: &str) -> Result<i64, String> {
    const EXAMPLE: &str = "write a whole number and us, ms, s, min, h, d or w, like \"10s\"";
    let (number, unit) = split(text).ok_or_else(|| EXAMPLE.to_string())?;
    let micros = DURATIONS.iter().find(|(name, _)| *name == unit).map(|(_, m)| *m);
    let micros = micros.ok_or_else(|| match unit {
        "" => format!("it has no unit; {EXAMPLE}"),
        "m" | "M" => format!("`{unit}` could be minutes or months; write min for minutes"),
        _ => format!("`{unit}` is no unit of time; {EXAMPLE}"),
    })?;
    let micros = i128::from(number) * i128::from(micros);
    // A thousand years: beyond that sums with today's date would leave 64 bits of microseconds.
    let limit = i128::from(365_250 * DAY);
    let too_long = || "it is longer than a thousand years".to_string();
    (micros <= limit).then_some(micros as i64).ok_or_else(too_long)
}

/// Bytes of a size like `64MiB`, `8MB`, `4096`; else what is wrong with it.
pub fn size(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "write a whole number of bytes, or with kB, MB, GB (powers of 1000), \
                           KiB, MiB, GiB (of 1024), like \"64MiB\"";
    let (number, unit) = split(text).ok_or_else(|| EXAMPLE.to_string())?;
    let found = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, bytes) = found.ok_or_else(|| format!("`{unit}` is no unit of size; {EXAMPLE}"))?;
    number.checked_mul(*bytes).ok_or_else(|| "it is more than 2^64 bytes".to_string())
}

/// Bytes in the largest unit of 1024 that divides them, as [`size`] reads them.
pub fn written_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    let binary = SIZES.iter().rev().filter(|(name, _)| name.ends_with("iB"));
    match binary.clone().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// An address to listen on: an IP address and a port, or `localhost`, which is 127.0.0.1, and a
/// port; else what is wrong with it. Other names are not looked up: what they lead to may change,
/// and with it who can reach the port.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    const EXAMPLE: &str = "write an IP address (or localhost) and a port, like \
                           \"127.0.0.1:8765\", \"[::1]:8765\" or \"localhost:8765\"";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = |port: &str| port.parse::<u16>();
    match text.rsplit_once(':').map(|(host, p)| (host, port(p))) {
        Some((host, Ok(port))) if host.eq_ignore_ascii_case("localhost") => {
            Ok((Ipv4Addr::LOCALHOST, port).into())
        }
        Some((host, Ok(_))) if !host.is_empty() && !host.contains([':', '[']) => {
            Err(format!("`{host}` is no IP address, and names are not looked up; {EXAMPLE}"))
        }
        _ => Err(EXAMPLE.to_owned()),
    }
}

/// The text of an [`address`], or `none`: no port is opened.
pub fn listen(text: &str) -> Result<String, String> {
    if text == "none" { Ok(text.into()) } else { address(text).map(|a| a.to_string()) }
}

/// Microseconds since 1970-01-01 UTC of `YYYY-MM-DD[ HH:MM[:SS[.ffffff]]]`, also with `T` and a
/// final `Z`.
pub fn time(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    if year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)? as u32, number(day)? as u32);
    chrono::NaiveDate::from_ymd_opt(year as i32, month, day)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (number(clock.next()?)?, number(clock.next()?)?);
    let second = clock.next().map_or(Some(0), number)?;
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let micros = number(fraction)? * 10_i64.pow(6 - fraction.len() as u32);
    let seconds = hour * 3600 + minute * 60 + second;
    Some(day_number(year, month, day) * DAY + seconds * SECOND + micros)
}

/// ASCII digits alone.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A decimal number times `10^digits`, exactly; none if it has more digits behind the point.
pub fn decimal(text: &str, digits: u32) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction = if fraction == "0" { "0" } else { fraction.trim_end_matches('0') };
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    let scale = 10_i64.checked_pow(digits)?;
    let places = if fraction == "0" { 0 } else { fraction.len() as u32 };
    if places > digits {
        return None;
    }
    let tail = number(fraction)? * 10_i64.pow(digits - places);
    let value = number(whole)?.checked_mul(scale)?.checked_add(tail)?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        let good = [("100ms", 100_000), ("5min", 300_000_000), ("24 h", DAY), ("0s", 0)];
        for (text, micros) in good {
            assert_eq!(duration(text), Ok(micros), "{text}");
        }
        for bad in ["", "5", "5m", "five min", "1.5h", "-1s", "400000d", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let good = [("4096", 4096), ("64MiB", 64 << 20), ("8MB", 8_000_000), ("1 kb", 1000)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (bytes, text) in [(3 << 20, "3MiB"), (1536, "1536B"), (5 << 30, "5GiB"), (0, "0B")] {
            assert_eq!(written_size(bytes), text);
            assert_eq!(size(text), Ok(bytes));
        }
        for bad in ["", "MiB", "5 apples", "1.5MB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let good = [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8765", "127.0.0.1:8765"),
            ("Localhost:0", "127.0.0.1:0"),
        ];
        for (text, means) in good {
            assert_eq!(address(text), Ok(means.parse().expect("an address")), "{text}");
        }
        for bad in ["", "80", "localhost", ":80", "localhost:99999", "example.org:80", "::1:80"] {
            let said = address(bad).expect_err(bad);
            assert!(said.contains("like \"127.0.0.1:8765\""), "{bad}: {said}");
        }
        assert!(address("example.org:80").is_err_and(|e| e.contains("names are not looked up")));
    }

    #[test]
    fn times() {
        let good = [
            ("1970-01-01", 0),
            ("1970-01-02 00:00:01", DAY + SECOND),
            ("1970-01-01T01:02:03.5Z", 3_723_500_000),
            ("2018-03-04 05:06", 1_520_139_960 * SECOND),
        ];
        for (text, micros) in good {
            assert_eq!(time(text), Some(micros), "{text}");
        }
        for bad in ["", "2018", "2018-02-30", "2018-1-1", "2018-01-01 24:00:00", "2018-01-01 x"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        let good =
            [("12.5", 125_000_000), ("-0.0000001", -1), ("7", 70_000_000), ("1.0", 10_000_000)];
        for (text, value) in good {
            assert_eq!(decimal(text, 7), Some(value), "{text}");
        }
        for bad in ["", ".", "1.00000001", "1e5", "x", "1.-5"] {
            assert_eq!(decimal(bad, 7), None, "{bad}");
        }
    }
}
