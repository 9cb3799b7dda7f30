//! Times as people type them.

use anyhow::{anyhow, ensure};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use weir_engine::backtest::Span;
use weir_engine::time::rfc3339;

use crate::config::micros;

/// The span that `--from` and `--to` mean when the newest event is at `last` (µs). What is not given stays open.
pub fn resolve(from: Option<&str>, to: Option<&str>, last: i64) -> anyhow::Result<Span> {
    let end = match to {
        Some(text) => Some(instant("--to", text, last)?),
        None => None,
    };
    let from = match from {
        Some(text) => instant("--from", text, end.unwrap_or(last))?,
        None => i64::MIN,
    };
    let to = end.unwrap_or(i64::MAX);
    ensure!(
        from < to,
        "--from {} is not before --to {}",
        rfc3339(from),
        rfc3339(to)
    );
    Ok(Span { from, to })
}

/// RFC 3339; a date or a date and time, which are UTC; or a length of time before `end`.
fn instant(option: &str, text: &str, end: i64) -> anyhow::Result<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    if let Ok(time) = text.parse::<DateTime>()
        && let Ok(time) = time.to_zoned(TimeZone::UTC)
    {
        return Ok(time.timestamp().as_microsecond());
    }
    match humantime::parse_duration(text) {
        Ok(before) => Ok(end.saturating_sub(micros(before))),
        Err(_) => Err(anyhow!(
            "{option}: `{text}` is no time; write 2026-11-09, 2026-11-09T12:00:00Z, or 7d for that long before the end"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_a_time() {
        let noon = 1_794_225_600_000_000;
        for text in [
            "2026-11-09T12:00:00Z",
            "2026-11-09T13:00:00+01:00",
            "2026-11-09T12:00",
            "2026-11-09 12:00:00",
        ] {
            assert_eq!(instant("--from", text, 0).unwrap(), noon, "{text}");
        }
        let midnight = noon - 12 * 3_600_000_000;
        assert_eq!(instant("--from", "2026-11-09", 0).unwrap(), midnight);
        assert_eq!(instant("--from", "12h", noon).unwrap(), midnight);
        let wrong = instant("--to", "yesterday", 0).unwrap_err().to_string();
        assert!(wrong.contains("--to: `yesterday`"), "{wrong}");
    }

    #[test]
    fn relative_times_count_from_the_end() {
        let hour = 3_600_000_000;
        let span = resolve(Some("2h"), Some("1h"), 10 * hour).unwrap();
        assert_eq!((span.from, span.to), (7 * hour, 9 * hour));
        let span = resolve(Some("2h"), None, 10 * hour).unwrap();
        assert_eq!((span.from, span.to), (8 * hour, i64::MAX));
        assert!(resolve(Some("2026-11-10"), Some("2026-11-09"), 0).is_err());
    }
}
