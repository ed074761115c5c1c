//! Numbers, dates and hex digits written straight into a buffer.

use dataflows::time::civil;

/// A whole number.
pub fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A number of two digits.
pub fn two(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// Degrees, given in units of 1e-4.
pub fn degrees(out: &mut Vec<u8>, units: i64) {
    if units < 0 {
        out.push(b'-');
    }
    let units = units.unsigned_abs();
    number(out, units / 10_000);
    out.push(b'.');
    two(out, units % 10_000 / 100);
    two(out, units % 100);
}

/// The `digits` lowest hex digits of some bits, at most 16.
pub fn hex(out: &mut Vec<u8>, bits: u64, digits: usize) {
    let mut text = [0u8; 16];
    for (i, digit) in text[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * i)) as usize & 15];
    }
    out.extend_from_slice(&text[..digits]);
}

/// `YYYY-MM-DD`, a blank or a `T`, `HH:MM:SS`; seconds since 1970-01-01 UTC.
pub fn moment(out: &mut Vec<u8>, seconds: i64, separator: u8) {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400) as u64;
    two(out, year as u64 / 100);
    two(out, year as u64);
    out.push(b'-');
    two(out, month.into());
    out.push(b'-');
    two(out, day.into());
    out.push(separator);
    two(out, second / 3600);
    out.push(b':');
    two(out, second / 60 % 60);
    out.push(b':');
    two(out, second % 60);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let check = |write: &dyn Fn(&mut Vec<u8>), want: &str| {
            let mut out = Vec::new();
            write(&mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), want);
        };
        check(&|o| number(o, 0), "0");
        check(&|o| number(o, u64::MAX), "18446744073709551615");
        check(&|o| degrees(o, -888_298), "-88.8298");
        check(&|o| degrees(o, 1), "0.0001");
        check(&|o| hex(o, 0xabc, 4), "cba0");
        check(&|o| moment(o, 1_546_327_273, b' '), "2019-01-01 07:21:13");
        check(&|o| moment(o, 0, b'T'), "1970-01-01T00:00:00");
    }
}
