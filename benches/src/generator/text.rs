//! Random numbers and the pieces of text that change from event to event.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a version 4 UUID.
pub fn push_uuid(out: &mut Vec<u8>, rng: &mut Rng) {
    let mut text = *b"00000000-0000-4000-8000-000000000000";
    let (mut high, mut low) = (rng.next(), rng.next());
    for place in (0..8).chain(9..13).chain(15..18) {
        text[place] = HEX[(high & 15) as usize];
        high >>= 4;
    }
    for place in (20..23).chain(24..36) {
        text[place] = HEX[(low & 15) as usize];
        low >>= 4;
    }
    out.extend_from_slice(&text);
}

/// `length` letters of `A-Z2-7`, as AWS's ids have them.
pub fn base32(rng: &mut Rng, length: usize) -> String {
    (0..length)
        .map(|_| char::from(*rng.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")))
        .collect()
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Appends `2026-11-09T03:04:05` and, if `digits` is not 0, a point and so many digits of the second,
/// at most nine; those below the microsecond are `nanos`. Then `Z`.
pub fn push_time(out: &mut Vec<u8>, time_us: i64, digits: usize, nanos: u64) {
    let (year, month, day) = civil(time_us.div_euclid(DAY));
    let of_day = time_us.rem_euclid(DAY);
    let seconds = of_day / SECOND;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    set(&mut text[0..4], year);
    set(&mut text[5..7], month);
    set(&mut text[8..10], day);
    set(&mut text[11..13], seconds / 3_600);
    set(&mut text[14..16], seconds / 60 % 60);
    set(&mut text[17..19], seconds % 60);
    set(&mut text[20..29], of_day % SECOND * 1_000 + nanos as i64);
    let end = if digits == 0 { 19 } else { 20 + digits };
    out.extend_from_slice(&text[..end]);
    out.push(b'Z');
}

fn set(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since the epoch to year, month and day (Howard Hinnant, `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(time_us: i64, digits: usize, nanos: u64) -> String {
        let mut out = Vec::new();
        push_time(&mut out, time_us, digits, nanos);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn times_are_written_as_the_vendors_do() {
        assert_eq!(time(1_794_182_400_000_000, 0, 0), "2026-11-09T00:00:00Z");
        assert_eq!(
            time(951_782_399_123_456, 6, 0),
            "2000-02-28T23:59:59.123456Z"
        );
        assert_eq!(
            time(951_868_799_000_001, 9, 42),
            "2000-02-29T23:59:59.000001042Z"
        );
        assert_eq!(time(-1, 6, 0), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn uuid_has_its_version_and_variant() {
        let mut out = Vec::new();
        push_uuid(&mut out, &mut Rng::new(5));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(text.len(), 36);
        assert_eq!(
            (&text[8..9], &text[14..15], &text[19..20]),
            ("-", "4", "8"),
            "{text}"
        );
    }
}
