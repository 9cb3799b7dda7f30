//! Reads the times that logs carry. Pure; knows no clock and no zone but the offset in the text.
//!
//! A time outside of [`RANGE`] is none: vendors write the year 1 or 9999 for nothing, and a wrong unit makes a
//! number that looks like a time.

use std::ops::Range;

use crate::json::{self, Decimal};

const MICROS: i64 = 1_000_000;

/// Times that can be: from the last day of 1969, as a clock that was never set stands at zero in whatever zone, to
/// the end of 2199. In microseconds since the epoch.
pub const RANGE: Range<i64> = -86_400 * MICROS..7_258_118_400 * MICROS;

/// Microseconds since the epoch of a time in ISO 8601 that names its zone: `2026-01-02T03:04:05Z`, any number of
/// fraction digits (those behind the sixth are cut), `Z`, `UTC` or an offset (`+01:00`, `+0100`, `+01`), a
/// blank allowed for `T`. A leap second (`:60`) is the first one of the next minute, as POSIX counts. `None` for
/// anything else, for impossible dates, and for times out of [`RANGE`].
pub fn parse(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let seconds = parse_seconds(head)?;
    if rest == b"Z" {
        return possible(seconds * MICROS);
    }
    let (fraction, zone) = parse_fraction(rest)?;
    possible((seconds - parse_offset(zone)?) * MICROS + fraction)
}

/// The same, and what vendors write who mean UTC where they name no zone: `2026-01-02T03:04:05.1234567`,
/// `1/2/2026 3:04:05 AM`, `01/02/2026 03:04:05`.
pub fn parse_utc(text: &[u8]) -> Option<i64> {
    if let Some((head, rest)) = text.split_first_chunk::<19>()
        && let Some(seconds) = parse_seconds(head)
    {
        let (fraction, zone) = parse_fraction(rest)?;
        let offset = if zone.is_empty() {
            0
        } else {
            parse_offset(zone)?
        };
        return possible((seconds - offset) * MICROS + fraction);
    }
    parse_american(text)
}

/// Microseconds of a number since the epoch: seconds, milliseconds, microseconds or nanoseconds, as the digits
/// before its point tell (up to 11, 14, 17 and 20). It may have a fraction or an exponent.
pub fn parse_number(text: &[u8]) -> Option<i64> {
    // Nearly all are digits only.
    let is_plain = matches!(text, [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    let factor = match text.len() {
        1..=11 if is_plain => MICROS,
        12..=14 if is_plain => 1000,
        15..=17 if is_plain => 1,
        _ => return parse_decimal(text),
    };
    possible(json::int(text)?.checked_mul(factor)?)
}

fn parse_decimal(text: &[u8]) -> Option<i64> {
    let number = Decimal::parse(text)?;
    let shift = match number.magnitude() {
        ..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        18..=20 => -3,
        _ => return None,
    };
    possible(number.shifted(shift)?)
}

/// Whether the text is a number, if it is a time at all.
pub(crate) fn is_number(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))
}

#[inline]
fn possible(micros: i64) -> Option<i64> {
    RANGE.contains(&micros).then_some(micros)
}

/// `1/2/2026 3:04:05 AM`: month and day first, hours of 12 with a half of the day or of 24 without, perhaps a
/// fraction and an offset.
#[cold]
fn parse_american(text: &[u8]) -> Option<i64> {
    let (month, text) = number_before(text, b'/')?;
    let (day, text) = number_before(text, b'/')?;
    let (year, text) = number_before(text, b' ')?;
    let (hour, text) = number_before(text, b':')?;
    let (minute, text) = number_before(text, b':')?;
    let (second, rest) = text.split_first_chunk::<2>()?;
    let [tens, ones] = second.map(|digit| digit.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return None;
    }
    let (fraction, rest) = parse_fraction(rest)?;
    let half = rest.get(..3).map(|half| half.to_ascii_uppercase());
    let (hour, zone) = match half.as_deref() {
        Some(b" AM" | b" PM") if !(1..=12).contains(&hour) => return None,
        Some(b" AM") => (hour % 12, &rest[3..]),
        Some(b" PM") => (hour % 12 + 12, &rest[3..]),
        _ => (hour, rest),
    };
    if year < 1000 {
        return None;
    }
    let seconds = seconds_of([year, month, day, hour, minute, i64::from(tens * 10 + ones)])?;
    let offset = if zone.is_empty() {
        0
    } else {
        parse_offset(zone)?
    };
    possible((seconds - offset) * MICROS + fraction)
}

/// One to four digits and the mark behind them.
fn number_before(text: &[u8], mark: u8) -> Option<(i64, &[u8])> {
    let end = text.iter().position(|byte| *byte == mark)?;
    let digits = &text[..end];
    if !matches!(digits.len(), 1..=4) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((value, &text[end + 1..]))
}

/// `YYYY-MM-DDTHH:MM:SS`, taken as UTC.
fn parse_seconds(text: &[u8; 19]) -> Option<i64> {
    let separated = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    if !separated {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let (hour, minute, second) = (two(text, 11)?, two(text, 14)?, two(text, 17)?);
    seconds_of([year, month, day, hour, minute, second])
}

#[inline]
fn seconds_of([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[inline]
fn two(text: &[u8; 19], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// Microseconds of `.123456789` (or `,123`, which ISO 8601 allows too), and what follows. Without a point the
/// fraction is 0.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.' | b',', digits)) = text.split_first() else {
        return Some((0, text));
    };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if len == 0 {
        return None;
    }
    let digit = |at: usize| match digits.get(at) {
        Some(digit) if at < len => i64::from(digit - b'0'),
        _ => 0,
    };
    let micros = (0..6).fold(0, |micros, at| micros * 10 + digit(at));
    Some((micros, &digits[len..]))
}

/// Seconds east of UTC.
fn parse_offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone.strip_prefix(b" ").unwrap_or(zone) {
        [b'Z' | b'z'] => return Some(0),
        [b'U', b'T', b'C'] | [b'G', b'M', b'T'] => return Some(0),
        [sign, h1, h2] => (sign, [h1, h2], *b"00"),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [h1, h2], [m1, m2]),
        _ => return None,
    };
    let number = |digits: [u8; 2]| {
        let [tens, ones] = digits.map(|digit| digit.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the proleptic Gregorian calendar. The year is taken to begin in March, so that
/// the leap day is its last one (`days_from_civil` in H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms").
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        parse(text.as_bytes())
    }

    #[test]
    fn forms_that_logs_carry() {
        let second = Some(1_767_323_045_000_000);
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05.0Z",
            "2026-01-02T04:04:05+01:00",
            "2026-01-02T04:04:05+0100",
            "2026-01-01T21:34:05-05:30",
            "2026-01-02T05:04:05+02",
            "2026-01-02 03:04:05 UTC",
            "2026-01-02 03:04:05 +00:00",
            "2026-01-02T03:04:05.000000000-00:00",
        ] {
            assert_eq!(micros(text), second, "{text}");
        }
        let base = 1_767_323_045_000_000;
        for (text, fraction) in [
            ("2026-01-02T03:04:05.1Z", 100_000),
            ("2026-01-02T03:04:05.123Z", 123_000),
            ("2026-01-02T03:04:05.12345Z", 123_450),
            ("2026-01-02T03:04:05.123456Z", 123_456),
            ("2026-01-02T03:04:05.1234567Z", 123_456),
            ("2026-01-02T03:04:05.999999999Z", 999_999),
            ("2026-01-02T03:04:05.1234567890Z", 123_456),
            ("2026-01-02T03:04:05,123Z", 123_000),
        ] {
            assert_eq!(micros(text), Some(base + fraction), "{text}");
        }
    }

    #[test]
    fn boundaries() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(micros("1970-01-01T00:00:00+00:01"), Some(-60_000_000));
        assert_eq!(micros("2000-02-29T00:00:00Z"), Some(951_782_400_000_000));
        assert_eq!(micros("2024-02-29T12:00:00Z"), Some(1_709_208_000_000_000));
        assert_eq!(micros("2024-03-01T00:00:00Z"), Some(1_709_251_200_000_000));
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = days_from_epoch(1800, 1, 1);
        for year in 1800..2201 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days_from_epoch(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-00-02T03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-01-00T03:04:05Z",
            "2026-01-32T03:04:05Z",
            "2026-02-29T03:04:05Z",
            "1900-02-29T03:04:05Z",
            "2026-04-31T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:05Z",
            "2026-01-02T03:04:61Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.123",
            "2026-01-02T03:04:05.123 ",
            "2026-01-02T03:04:05 CET",
            "1/2/2026 3:04:05 AM",
            "2026-01-02T03:04:05.12x",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+01:60",
            "2026-01-02T03:04:05*01:00",
            "2026-01-02T03:04:05Z+2",
            "2026-01-02T03:04:05ZZ",
            "2026-01-02X03:04:05Z",
            "2026/01/02T03:04:05Z",
            "+026-01-02T03:04:05Z",
            "２026-01-02T03:04Z",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_no_time() {
        let day = 86_400 * MICROS;
        assert_eq!(micros("1969-12-31T00:00:00Z"), Some(-day));
        assert_eq!(micros("2199-12-31T23:59:59.999999Z"), Some(RANGE.end - 1));
        for text in [
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1601-01-01T00:00:00Z",
            "1969-12-30T23:59:59Z",
            "2200-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(micros(text), None, "{text}");
            assert_eq!(parse_utc(text.as_bytes()), None, "{text}");
        }
        for text in ["-86401", "7258118400", "7258118400000", "1e15.5"] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn leap_seconds_are_the_next_second() {
        let next = micros("2017-01-01T00:00:00Z");
        assert_eq!(micros("2016-12-31T23:59:60Z"), next);
        assert_eq!(micros("2016-12-31T18:59:60-05:00"), next);
        assert_eq!(
            micros("2016-12-31T23:59:60.5Z"),
            next.map(|at| at + 500_000)
        );
    }

    #[test]
    fn vendors_who_mean_utc() {
        let second = 1_767_323_045 * MICROS;
        for (text, fraction) in [
            ("2026-01-02T03:04:05", 0),
            ("2026-01-02 03:04:05", 0),
            ("2026-01-02T03:04:05.1234567", 123_456),
            ("2026-01-02T03:04:05.1234567Z", 123_456),
            ("2026-01-02T04:04:05+01:00", 0),
            ("2026-01-02 03:04:05 +00:00", 0),
            ("2026-01-02 03:04:05.000 UTC", 0),
            ("1/2/2026 3:04:05 AM", 0),
            ("01/02/2026 03:04:05", 0),
            ("1/2/2026 3:04:05 am", 0),
            ("1/2/2026 3:04:05 AM +00:00", 0),
            ("1/2/2026 4:04:05 AM +01:00", 0),
            ("1/2/2026 3:04:05.25 AM", 250_000),
        ] {
            assert_eq!(
                parse_utc(text.as_bytes()),
                Some(second + fraction),
                "{text}"
            );
        }
        let hour = |text: &str| parse_utc(text.as_bytes()).map(|at| (at / MICROS / 3600) % 24);
        assert_eq!(hour("1/2/2026 12:00:00 AM"), Some(0));
        assert_eq!(hour("1/2/2026 12:00:00 PM"), Some(12));
        assert_eq!(hour("1/2/2026 11:00:00 PM"), Some(23));
        assert_eq!(hour("1/2/2026 23:00:00"), Some(23));
        for text in [
            "13/2/2026 3:04:05 AM",
            "1/32/2026 3:04:05 AM",
            "1/2/26 3:04:05 AM",
            "1/2/2026 13:04:05 PM",
            "1/2/2026 0:04:05 AM",
            "1/2/2026 3:04 AM",
            "1/2/2026",
            "1/2/0001 12:00:00 AM",
            "2026-01-02T03:04:05 CET",
            "2026-01-02",
            "",
            "1/2/2026 3:04:+5 AM",
        ] {
            assert_eq!(parse_utc(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_in_all_units() {
        let second = 1_767_323_045_000_000;
        for (text, micros) in [
            ("1767323045", second),
            ("1767323045.307", second + 307_000),
            ("1767323045.3070001234", second + 307_000),
            ("1767323045123", second + 123_000),
            ("1767323045123.5", second + 123_500),
            ("1767323045123456", second + 123_456),
            ("1767323045123456.9", second + 123_456),
            ("1767323045123456789", second + 123_456),
            ("1.767323045e9", second),
            ("1.767323045123E12", second + 123_000),
            ("1767323045000.000000", second),
            ("1.767323045123456789e+18", second + 123_456),
            ("0", 0),
            ("-5", -5 * MICROS),
            ("1.5e-5", 15),
        ] {
            assert_eq!(parse_number(text.as_bytes()), Some(micros), "{text}");
        }
        for text in [
            "",
            "-",
            "1e300",
            "1767323045x",
            "x",
            "99999999999999999999",
            "1.5.5",
        ] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text}");
        }
    }
}
