//! The demo's week and how each vendor writes a time of it.
//!
//! The week, 2026-11-09 (a Monday) to 2026-11-15 UTC, lies inside one month, and so do the few days
//! around it that events mention; that is all the calendar this module knows.

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
pub const DAYS: i64 = 7;

/// 2026-11-09T00:00:00Z, microseconds since the epoch.
pub const WEEK_START: i64 = 1_794_182_400 * SECOND;
const FIRST_DAY_OF_MONTH: i64 = 9;

/// A time of the week: day 0 is Monday.
pub const fn at(day: i64, hour: i64, minute: i64, second: i64) -> i64 {
    WEEK_START + day * DAY + hour * HOUR + minute * MINUTE + second * SECOND
}

struct Parts {
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

fn parts(time: i64) -> Parts {
    let since = time - WEEK_START;
    let of_day = since.rem_euclid(DAY);
    Parts {
        day: FIRST_DAY_OF_MONTH + since.div_euclid(DAY),
        hour: of_day / HOUR,
        minute: of_day / MINUTE % 60,
        second: of_day / SECOND % 60,
        micros: of_day % SECOND,
    }
}

fn push_2(out: &mut String, value: i64) {
    out.push(char::from(b'0' + (value / 10 % 10) as u8));
    out.push(char::from(b'0' + (value % 10) as u8));
}

fn push_date_and_time(out: &mut String, parts: &Parts) {
    out.push_str("2026-11-");
    push_2(out, parts.day);
    out.push('T');
    push_clock(out, parts);
}

fn push_clock(out: &mut String, parts: &Parts) {
    push_2(out, parts.hour);
    out.push(':');
    push_2(out, parts.minute);
    out.push(':');
    push_2(out, parts.second);
}

fn push_digits(out: &mut String, value: i64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(char::from(b'0' + (value / 10_i64.pow(place) % 10) as u8));
    }
}

/// `2026-11-09T03:04:05Z`, as CloudTrail writes it.
pub fn push_seconds(out: &mut String, time: i64) {
    push_date_and_time(out, &parts(time));
    out.push('Z');
}

pub fn seconds(time: i64) -> String {
    let mut text = String::with_capacity(20);
    push_seconds(&mut text, time);
    text
}

/// `2026-11-09T03:04:05.678901Z`, as Kubernetes writes it.
pub fn push_micros(out: &mut String, time: i64) {
    let parts = parts(time);
    push_date_and_time(out, &parts);
    out.push('.');
    push_digits(out, parts.micros, 6);
    out.push('Z');
}

/// `2026-11-09T03:04:05.678901234Z`, as Falco writes it. `nanos` are those below the microsecond.
pub fn push_nanos(out: &mut String, time: i64, nanos: i64) {
    push_micros(out, time);
    out.pop();
    push_digits(out, nanos, 3);
    out.push('Z');
}

/// `03:04:05.678901234`, the head of Falco's text output.
pub fn push_clock_nanos(out: &mut String, time: i64, nanos: i64) {
    let parts = parts(time);
    push_clock(out, &parts);
    out.push('.');
    push_digits(out, parts.micros, 6);
    push_digits(out, nanos, 3);
}

/// `Nov 9, 2026, 3:04:05 PM`, as CloudTrail writes dates inside of answers.
pub fn long(time: i64) -> String {
    let parts = parts(time);
    let half = if parts.hour < 12 { "AM" } else { "PM" };
    let hour = (parts.hour + 11) % 12 + 1;
    format!(
        "Nov {}, 2026, {hour}:{:02}:{:02} {half}",
        parts.day, parts.minute, parts.second
    )
}

/// `20261109T0300Z`, the stamp in the name of a delivered CloudTrail file.
pub fn file_stamp(time: i64) -> String {
    let parts = parts(time);
    format!(
        "202611{:02}T{:02}{:02}Z",
        parts.day, parts.hour, parts.minute
    )
}

/// `2026-11-09`.
pub fn date(time: i64) -> String {
    seconds(time)[..10].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendor_gets_its_own_form() {
        let time = at(0, 3, 4, 5) + 678_901;
        let mut text = String::new();
        push_nanos(&mut text, time, 234);
        assert_eq!(text, "2026-11-09T03:04:05.678901234Z");
        text.clear();
        push_clock_nanos(&mut text, time, 7);
        assert_eq!(text, "03:04:05.678901007");
        assert_eq!(seconds(time), "2026-11-09T03:04:05Z");
        assert_eq!(long(time), "Nov 9, 2026, 3:04:05 AM");
        assert_eq!(long(at(6, 0, 0, 0)), "Nov 15, 2026, 12:00:00 AM");
        assert_eq!(long(at(6, 12, 0, 9)), "Nov 15, 2026, 12:00:09 PM");
        assert_eq!(file_stamp(at(1, 21, 0, 0)), "20261110T2100Z");
    }

    #[test]
    fn the_day_before_the_week_is_the_eighth() {
        assert_eq!(seconds(WEEK_START - 1), "2026-11-08T23:59:59Z");
        assert_eq!(date(WEEK_START + DAYS * DAY), "2026-11-16");
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn the_week_starts_where_it_says() {
        let start: jiff::Timestamp = "2026-11-09T00:00:00Z".parse().unwrap();
        assert_eq!(start.as_microsecond(), WEEK_START);
    }
}
