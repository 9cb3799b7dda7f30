//! Event-time arithmetic. Pure; all values are microseconds since the epoch, negative before 1970.

use crate::rule::Window;

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Start of the `step`-long interval that holds `time`.
pub fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

/// Length of the panes that a window is put together from: each window is a whole number of them.
pub fn pane_size(window: Window) -> i64 {
    let (mut a, mut b) = (window.size, window.slide);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// End of the earliest window that holds `time`.
pub fn first_window_end(time: i64, window: Window) -> i64 {
    // Ends lie at slide·k + size; the earliest one after `time`.
    floor(time.saturating_sub(window.size), window.slide)
        .saturating_add(window.slide)
        .saturating_add(window.size)
}

/// Start of the latest window that holds `time`.
pub fn last_window_start(time: i64, window: Window) -> i64 {
    floor(time, window.slide)
}

/// RFC 3339 with microseconds, UTC.
pub fn rfc3339(time: i64) -> String {
    match jiff::Timestamp::from_microsecond(time) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{time}µs"),
    }
}

/// Microseconds of a duration as rules write it: `90s`, `10m`, `1h`, `7d`, whole and positive. The message of
/// the error names the text and the accepted forms.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let refused =
        || format!("`{text}` is not a duration; write a whole number with s, m, h or d, as in 10m");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    let number: i64 = number.parse().map_err(|_| refused())?;
    let micros = number
        .checked_mul(seconds)
        .and_then(|seconds| seconds.checked_mul(1_000_000))
        .ok_or_else(|| format!("`{text}` is too long a duration; the longest is 106751991d"))?;
    match micros {
        0 => Err(format!("`{text}` is an empty duration; write at least 1s")),
        micros => Ok(micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_goes_down_before_the_epoch() {
        assert_eq!(floor(0, 10), 0);
        assert_eq!(floor(9, 10), 0);
        assert_eq!(floor(10, 10), 10);
        assert_eq!(floor(-1, 10), -10);
        assert_eq!(floor(-10, 10), -10);
        assert_eq!(floor(i64::MIN, 10), i64::MIN);
    }

    #[test]
    fn every_time_lies_in_the_windows_said() {
        for (size, slide) in [(10, 1), (10, 5), (10, 10), (10, 4), (7, 3)] {
            let window = Window { size, slide };
            assert_eq!(size % pane_size(window), 0);
            assert_eq!(slide % pane_size(window), 0);
            for time in -50..50 {
                let starts: Vec<i64> = (-100..100)
                    .map(|k| k * slide)
                    .filter(|start| (*start..start + size).contains(&time))
                    .collect();
                assert_eq!(
                    starts.first().map(|s| s + size),
                    Some(first_window_end(time, window)),
                    "{time} {window:?}"
                );
                assert_eq!(
                    starts.last().copied(),
                    Some(last_window_start(time, window)),
                    "{time} {window:?}"
                );
            }
        }
    }

    #[test]
    fn times_are_printed_in_utc() {
        assert_eq!(
            rfc3339(1_767_323_045_123_456),
            "2026-01-02T03:04:05.123456Z"
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(90_000_000));
        assert_eq!(parse_duration("10m"), Ok(600_000_000));
        assert_eq!(parse_duration("1h"), Ok(3_600_000_000));
        assert_eq!(parse_duration("7d"), Ok(604_800_000_000));
    }

    #[test]
    fn what_is_no_duration_is_refused_by_name() {
        for text in [
            "",
            "10",
            "m",
            "-5m",
            "1.5h",
            "10 m",
            "10min",
            "0s",
            "9999999999999h",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
