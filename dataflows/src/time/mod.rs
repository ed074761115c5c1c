//! Times and calendars as pure functions of microseconds since 1970-01-01 UTC; nothing here
//! reads a clock.

pub mod text;

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a millisecond.
pub const MILLISECOND: i64 = 1000;
/// Microseconds in an hour.
pub const HOUR: i64 = 3600 * SECOND;
/// Microseconds in a day.
pub const DAY: i64 = 24 * HOUR;

/// The civil date (year, month 1..12, day 1..31) of a day number since 1970-01-01; the
/// algorithm is `civil_from_days` of H. Hinnant's "chrono-Compatible Low-Level Date Algorithms".
pub fn civil(day: i64) -> (i64, u32, u32) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u32, (doy - (153 * mp + 2) / 5 + 1) as u32)
}

/// The day number since 1970-01-01 of a civil date; the inverse of [`civil`].
pub fn day_number(year: i64, month: u32, day: u32) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * i64::from(shifted) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Whether a time lies in the years 0001 to 9999: those have four digits, and nothing that is
/// reckoned from them overflows.
pub fn in_range(micros: i64) -> bool {
    (day_number(1, 1, 1) * DAY..day_number(10_000, 1, 1) * DAY).contains(&micros)
}

/// The UTC year of a time.
pub fn year(micros: i64) -> i64 {
    civil(micros.div_euclid(DAY)).0
}

/// The UTC hour of the day, 0..23.
pub fn hour_of_day(micros: i64) -> i64 {
    micros.rem_euclid(DAY) / HOUR
}

/// The greatest multiple of `step` that is not greater than `t`.
pub fn floor(t: i64, step: i64) -> i64 {
    t - t.rem_euclid(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike};

    #[test]
    fn calendars_agree_with_chrono() {
        for day in (-800_000..800_000).step_by(97) {
            let there = DateTime::from_timestamp(day * 86_400, 0).expect("in range");
            assert_eq!(civil(day), (there.year().into(), there.month(), there.day()));
            assert_eq!(day_number(there.year().into(), there.month(), there.day()), day);
        }
        assert_eq!(year(-1), 1969);
        assert_eq!(hour_of_day(-1), 23);
        assert_eq!(floor(-1, 10), -10);
    }
}
