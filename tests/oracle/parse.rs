//! Texts of numbers and times to exact values, by hand.

use super::clean::Defect;

/// Nanoseconds in a second.
pub const SECOND: i128 = 1_000_000_000;

/// The day number since 1970-01-01 of a civil date that exists.
pub fn day_number(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || day == 0 || day > lengths[month as usize - 1] {
        return None;
    }
    let before = year - 1;
    let leaps = |y: i64| y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let years = before * 365 + leaps(before) - (1969 * 365 + leaps(1969));
    let months: u32 = lengths[..month as usize - 1].iter().sum();
    Some(years + i64::from(months) + i64::from(day) - 1)
}

/// The civil date of a day number, by counting.
pub fn civil(day: i64) -> (i64, u32, u32) {
    let mut year = 1970 + day.div_euclid(366);
    while day_number(year + 1, 1, 1).expect("it exists") <= day {
        year += 1;
    }
    while day_number(year, 1, 1).expect("it exists") > day {
        year -= 1;
    }
    let (mut month, mut first) = (1, day_number(year, 1, 1).expect("it exists"));
    for m in 2..=12 {
        let start = day_number(year, m, 1).expect("it exists");
        if start <= day {
            (month, first) = (m, start);
        }
    }
    (year, month, (day - first + 1) as u32)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A timestamp in nanoseconds since 1970-01-01 UTC.
pub fn timestamp(text: &str, patterns: &[String]) -> Option<i128> {
    let found = usual(text).or_else(|| {
        patterns.iter().find_map(|p| {
            let there = chrono::NaiveDateTime::parse_from_str(text, p).ok()?.and_utc();
            let nanos = i128::from(there.timestamp_subsec_nanos());
            Some(i128::from(there.timestamp()) * SECOND + nanos)
        })
    });
    found.filter(|t| {
        let year = civil(t.div_euclid(SECOND * 86_400) as i64).0;
        (1..=9999).contains(&year)
    })
}

fn usual(text: &str) -> Option<i128> {
    let date = text.get(..10)?;
    let time = text.get(11..19)?;
    let shape = |t: &str, at: [usize; 2], by: u8| at.iter().all(|&i| t.as_bytes()[i] == by);
    if !matches!(text.as_bytes()[10], b' ' | b'T') || !shape(date, [4, 7], b'-') {
        return None;
    }
    if !shape(time, [2, 5], b':') {
        return None;
    }
    let small = |t: &str| number(t).map(|n| n as u32);
    let day = day_number(number(&date[..4])?, small(&date[5..7])?, small(&date[8..10])?)?;
    let (h, m, s) = (number(&time[..2])?, number(&time[3..5])?, number(&time[6..8])?);
    if h > 23 || m > 59 || s > 59 {
        return None;
    }
    let (nanos, rest) = fraction(text.get(19..)?)?;
    let seconds = day * 86_400 + h * 3600 + m * 60 + s - zone(rest)?;
    Some(i128::from(seconds) * SECOND + nanos)
}

fn fraction(text: &str) -> Option<(i128, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return None;
    }
    let digits: String = rest[..len].chars().chain("000000000".chars()).take(9).collect();
    Some((number(&digits)?.into(), &rest[len..]))
}

/// The seconds that a zone is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    if text.is_empty() || text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let (hours, minutes) = match rest.len() {
        5 if rest.as_bytes()[2] == b':' => (number(rest.get(..2)?)?, number(rest.get(3..)?)?),
        4 => (number(rest.get(..2)?)?, number(rest.get(2..)?)?),
        2 => (number(rest)?, 0),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// An integer as a JSON number or as text: digits with an optional minus, no fraction, no
/// exponent. None = not an integer at all; beyond 128 bits is the largest.
pub fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let fine = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fine.then(|| sign * digits.parse().unwrap_or(i128::MAX))
}

/// Followers: digits, or a decimal with `k`, `M` or `B` that is whole once multiplied.
pub fn followers(text: &str) -> Result<i64, Defect> {
    let (body, zeros) = match text.chars().last() {
        Some('k') => (&text[..text.len() - 1], 3),
        Some('M') => (&text[..text.len() - 1], 6),
        Some('B') => (&text[..text.len() - 1], 9),
        _ => (text, 0),
    };
    let (whole, part) = match body.split_once('.') {
        Some((w, p)) if zeros > 0 && !p.is_empty() => (w, p),
        Some(_) => return Err(Defect::BadNumber),
        None => (body, ""),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return Err(Defect::BadNumber);
    }
    let part = part.trim_end_matches('0');
    if part.len() > zeros {
        return Err(Defect::BadNumber);
    }
    let all = format!("{whole}{part:0<zeros$}");
    all.parse().map_err(|_| Defect::OutOfRange)
}

/// Degrees in units of 1e-7, half away from zero, from the text of a JSON number.
pub fn degrees(text: &str, limit: i64) -> Result<i64, Defect> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, power(e).ok_or(Defect::BadNumber)?),
        None => (body, 0),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(Defect::BadNumber),
        Some((w, p)) => (w, p),
        None => (mantissa, ""),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let padded = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || padded || !digits(whole) || !digits(part) {
        return Err(Defect::BadNumber);
    }
    let all = format!("{whole}{part}");
    let shift = exponent.saturating_add(7).saturating_sub(part.len() as i64);
    let value = scaled(all.trim_start_matches('0'), shift).ok_or(Defect::OutOfRange)?;
    let beyond = value == limit * 10_000_000 && over(all.trim_start_matches('0'), shift, value);
    if value > limit * 10_000_000 || beyond {
        return Err(Defect::OutOfRange);
    }
    Ok(if negative { -value } else { value })
}

fn power(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let fine = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fine.then(|| sign * digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4))
}

/// Whether `digits * 10^shift` is greater than a value that it was rounded to.
fn over(digits: &str, shift: i64, value: i64) -> bool {
    let cut = (digits.len() as i64 + shift).clamp(0, digits.len() as i64) as usize;
    let (kept, lost) = digits.split_at(cut);
    let less = kept.parse::<i64>().unwrap_or(0) < value && shift < 0;
    shift < 0 && !less && lost.bytes().any(|b| b != b'0')
}

/// `digits * 10^shift`, rounded half up; none beyond 18 digits.
fn scaled(digits: &str, shift: i64) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    if shift >= 0 {
        let long = digits.len() as i64 + shift > 18;
        return (!long).then(|| format!("{digits}{}", "0".repeat(shift as usize)).parse().ok())?;
    }
    let cut = digits.len() as i64 + shift;
    if cut < 0 {
        return Some(0);
    }
    let (kept, lost) = digits.split_at(cut as usize);
    let up = i64::from(lost.as_bytes()[0] >= b'5');
    if kept.len() > 18 {
        return None;
    }
    Some(if kept.is_empty() { 0 } else { kept.parse::<i64>().ok()? } + up)
}
