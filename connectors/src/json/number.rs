//! JSON's number grammar: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.

/// Length of the number at the start of `text`, or where it breaks the grammar.
#[inline]
pub fn len(text: &[u8]) -> Result<usize, usize> {
    let mut at = usize::from(text.first() == Some(&b'-'));
    match text.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at = digits(text, at),
        _ => return Err(at),
    }
    if text.get(at) == Some(&b'.') {
        let end = digits(text, at + 1);
        if end == at + 1 {
            return Err(end);
        }
        at = end;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let end = digits(text, at + 1 + sign);
        if end == at + 1 + sign {
            return Err(end);
        }
        at = end;
    }
    // `01` and `1x`: what follows must end the token.
    match text.get(at) {
        Some(b'0'..=b'9') => Err(at),
        _ => Ok(at),
    }
}

#[inline]
fn digits(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

/// A decimal number, exactly: `digits` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    pub negative: bool,
    pub digits: u128,
    pub exponent: i64,
    /// Digits behind the 37th were left out.
    pub cut: bool,
}

impl Decimal {
    /// Reads a number of JSON's grammar that is the whole of `text`; zeros may lead it, as in quotes they do.
    pub fn parse(text: &[u8]) -> Option<Self> {
        const MOST: u128 = 10u128.pow(37);
        let (negative, text) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, text),
        };
        let whole = digits(text, 0);
        let (mut at, mut fraction) = (whole, &[][..]);
        if text.get(at) == Some(&b'.') {
            let end = digits(text, at + 1);
            fraction = &text[at + 1..end];
            at = end;
        }
        if whole == 0 || at == whole + 1 {
            return None;
        }
        let mut exponent = 0i64;
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let sign = text.get(at + 1).copied();
            let start = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let end = digits(text, start);
            if end == start {
                return None;
            }
            let power = text[start..end].iter().fold(0i64, |power, digit| {
                (power * 10 + i64::from(digit - b'0')).min(1_000_000)
            });
            exponent = if sign == Some(b'-') { -power } else { power };
            at = end;
        }
        if at != text.len() {
            return None;
        }
        let (mut value, mut cut) = (0u128, false);
        for (place, digit) in text[..whole].iter().chain(fraction).enumerate() {
            let is_fraction = place >= whole;
            if value >= MOST {
                cut |= *digit != b'0';
                exponent += i64::from(!is_fraction);
                continue;
            }
            value = value * 10 + u128::from(digit - b'0');
            exponent -= i64::from(is_fraction);
        }
        while exponent < 0 && value != 0 && value.is_multiple_of(10) {
            value /= 10;
            exponent += 1;
        }
        Some(Self {
            negative,
            digits: value,
            exponent: if value == 0 { 0 } else { exponent },
            cut,
        })
    }

    /// Its size, if it is an integer of at most 38 digits.
    fn integer(self) -> Option<u128> {
        let power = u32::try_from(self.exponent).ok().filter(|_| !self.cut)?;
        let size = self.digits.checked_mul(10u128.checked_pow(power)?)?;
        (size < 10u128.pow(38)).then_some(size)
    }

    /// Ten to the power of `shift` times the number, what is behind the point cut off.
    pub fn shifted(self, shift: i64) -> Option<i64> {
        let exponent = self.exponent + shift;
        let power = 10u128.checked_pow(u32::try_from(exponent.unsigned_abs()).ok()?);
        let size = match exponent < 0 {
            true => power.map_or(0, |power| self.digits / power),
            false => self.digits.checked_mul(power?)?,
        };
        let value = i64::try_from(size).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// How many digits stand before its point.
    pub fn magnitude(self) -> i64 {
        let digits = self
            .digits
            .checked_ilog10()
            .map_or(0, |log| i64::from(log) + 1);
        digits + self.exponent
    }
}

/// The integer that the whole of `text` is, however it is written: `403`, `403.0` and `4.03e2` are one. `None`
/// for anything else or one beyond 64 bits.
pub fn int(text: &[u8]) -> Option<i64> {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if matches!(rest.len(), 1..=18) && rest.iter().all(u8::is_ascii_digit) {
        let size = rest
            .iter()
            .fold(0, |size, digit| size * 10 + i64::from(digit - b'0'));
        return Some(if negative { -size } else { size });
    }
    int_slow(text)
}

#[cold]
fn int_slow(text: &[u8]) -> Option<i64> {
    let number = Decimal::parse(text)?;
    let size = i128::try_from(number.integer()?).ok()?;
    i64::try_from(if number.negative { -size } else { size }).ok()
}

/// The digits of an integer that is written another way, as `7.0` or `1.2e3` are; `None` for one that is
/// written in digits already, and for anything else.
#[inline]
pub fn plain(number: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    match number.iter().all(is_plain) && number != b"-0" {
        true => None,
        false => plain_slow(number),
    }
}

#[cold]
fn plain_slow(number: &[u8]) -> Option<String> {
    let decimal = Decimal::parse(number)?;
    let size = decimal.integer()?;
    let sign = if decimal.negative && size != 0 {
        "-"
    } else {
        ""
    };
    Some(format!("{sign}{size}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_in_all_its_spellings() {
        for (text, value) in [
            ("403", 403),
            ("403.0", 403),
            ("12345.000000", 12_345),
            ("4.03e2", 403),
            ("4.03E+2", 403),
            ("40300e-2", 403),
            ("0.0403e4", 403),
            ("007", 7),
            ("-5", -5),
            ("-5.0", -5),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775807.0", i64::MAX),
            ("9.223372036854775807e18", i64::MAX),
            ("922337203685477580700e-2", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-9.223372036854775808E18", i64::MIN),
            ("1e18", 1_000_000_000_000_000_000),
            ("1.00000000000000000000000000000000000000000000000", 1),
        ] {
            assert_eq!(int(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+5",
            "5.",
            ".5",
            "5.5",
            "403.01",
            "1e",
            "1e+",
            "1e-1",
            "x",
            "5x",
            " 5",
            "0x5",
            "9223372036854775808",
            "9.3e18",
            "1e400",
            "1e99999999999999999999",
            "-9223372036854775809",
            "1.00000000000000000000000000000000000000000000001",
            "inf",
            "NaN",
            "1_000",
        ] {
            assert_eq!(int(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_have_one_text() {
        for (text, digits) in [
            ("7.0", Some("7")),
            ("1.2e3", Some("1200")),
            ("-7.0", Some("-7")),
            ("-0.0", Some("0")),
            ("-0", Some("0")),
            ("1e20", Some("100000000000000000000")),
            ("7", None),
            ("-7", None),
            ("7.5", None),
            ("true", None),
            ("1e99", None),
        ] {
            assert_eq!(plain(text.as_bytes()).as_deref(), digits, "{text}");
        }
    }
}
