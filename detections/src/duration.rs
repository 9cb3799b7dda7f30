//! Durations in rule files: `90s`, `10m`, `1h`, `7d`, whole and positive.

/// Microseconds. The message of the error names the text and the accepted forms.
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
    fn units() {
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
