//! The row that a slow twin fills.

use std::net::IpAddr;

use serde_json::{Map, Value};
use weir_engine::schema::COLUMNS;

/// Columns by name. What was set first stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns(pub Map<String, Value>);

impl Columns {
    pub fn has(&self, column: usize) -> bool {
        self.0.contains_key(COLUMNS[column].name)
    }

    pub fn set(&mut self, column: usize, value: impl Into<Value>) {
        let name = COLUMNS[column].name.to_owned();
        self.0.entry(name).or_insert(value.into());
    }

    /// Sets a text, unless there is none or it is empty.
    pub fn text(&mut self, column: usize, text: Option<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.set(column, text);
        }
    }

    pub fn status(&mut self, failed: bool) {
        let status = if failed { "failure" } else { "success" };
        self.set(weir_engine::schema::col::STATUS, status);
    }

    /// Sets `column` if the text is an address.
    pub fn address(&mut self, column: usize, text: Option<String>) {
        self.text(column, text.as_deref().and_then(address));
    }
}

/// The canonical text of an address.
pub fn address(text: &str) -> Option<String> {
    let parsed = text.parse::<IpAddr>().ok()?;
    Some(parsed.to_canonical().to_string())
}

/// A whole number of 64 bits, however it is written.
pub fn int(text: &str) -> Option<i64> {
    digits(text)?.parse().ok()
}

/// The digits of a whole number, without zeros before them: the point of `4.03e2` is moved by hand.
pub fn digits(text: &str) -> Option<String> {
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => ("-", size),
        None => ("", text),
    };
    let (mantissa, power) = match size.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, Some(power)),
        None => (size, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    if !all_digits(whole) {
        return None;
    }
    let power = match power {
        None => 0,
        Some(power) => {
            let size = power.strip_prefix(['+', '-']).unwrap_or(power);
            if !all_digits(size) {
                return None;
            }
            // Whatever is longer is far beyond all that fits.
            let size = size.parse().unwrap_or(1_000_000).min(1_000_000);
            if power.starts_with('-') { -size } else { size }
        }
    };
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i64 + power;
    if all.chars().all(|digit| digit == '0') {
        return Some("0".to_owned());
    }
    let length = all.trim_end_matches('0').len() as i64;
    if point < length {
        return None;
    }
    let before: String = all.chars().take(point as usize).collect();
    let zeros = usize::try_from(point).ok()?.saturating_sub(before.len());
    let number = format!("{before}{}", "0".repeat(zeros.min(50)));
    let number = number.trim_start_matches('0');
    // No more than the fast decoder has room for.
    (number.len() <= 38).then(|| format!("{sign}{number}"))
}
