//! Reads the times that logs carry. Pure; knows no clock and no zone but the offset in the text.

const MICROS: i64 = 1_000_000;

/// Microseconds since the epoch of an RFC 3339 time: `2026-01-02T03:04:05Z`, up to 9 fraction digits
/// (those behind the sixth are cut), `Z` or an offset (`+01:00`, `+0100`), a blank allowed for `T`.
/// `None` for anything else, for impossible dates, and for leap seconds.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let seconds = parse_seconds(head)?;
    if rest == b"Z" {
        return Some(seconds * MICROS);
    }
    let (fraction, zone) = parse_fraction(rest)?;
    Some((seconds - parse_offset(zone)?) * MICROS + fraction)
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
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[inline]
fn two(text: &[u8; 19], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// Microseconds of `.123456789`, and what follows. Without a point the fraction is 0.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if len == 0 || len > 9 {
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
    let (sign, hours, minutes) = match *zone {
        [b'Z' | b'z'] => return Some(0),
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
        ] {
            assert_eq!(micros(text), Some(base + fraction), "{text}");
        }
    }

    #[test]
    fn boundaries() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(micros("1970-01-01T00:00:00+00:01"), Some(-60_000_000));
        assert_eq!(
            micros("0000-01-01T00:00:00Z"),
            Some(-62_167_219_200_000_000)
        );
        assert_eq!(
            micros("9999-12-31T23:59:59Z"),
            Some(253_402_300_799_000_000)
        );
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
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
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
}
