//! Hashes as text.

/// 32 hex digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex([u8; 32]);

impl Hex {
    pub fn of(hash: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (byte, pair) in hash.to_be_bytes().iter().zip(text.as_chunks_mut::<2>().0) {
            *pair = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
        }
        Self(text)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        // Hex digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_like_numbers_in_hex() {
        for hash in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef << 64 | 0xfedc_ba98] {
            assert_eq!(Hex::of(hash).as_str(), format!("{hash:032x}"));
        }
    }
}
