//! Finds the byte that ends or interrupts a string, 16 bytes at a time (SSE2 or NEON, which every x86_64
//! and aarch64 processor has, through the safe wrappers of `wide`).

use wide::u8x16;

/// Place of the first `"`, `\` or control character at or after `from`; the length if there is none.
#[inline]
pub fn find_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let specials = specials(chunk);
        if specials != 0 {
            return at + specials.trailing_zeros() as usize;
        }
        at += 16;
    }
    tail(bytes, at)
}

#[cold]
#[inline(never)]
fn tail(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && !is_special(bytes[at]) {
        at += 1;
    }
    at
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1F)
}

/// One bit per byte that is `"`, `\` or a control character.
#[inline]
fn specials(chunk: &[u8; 16]) -> u32 {
    let bytes = u8x16::from(*chunk);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    let control = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
    (quote | backslash | control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_told_alike() {
        for byte in 0..=255u8 {
            for place in 0..16 {
                for filler in [b' ', b'a', 0x7F, 0x80, 0xFF] {
                    let mut chunk = [filler; 16];
                    chunk[place] = byte;
                    let expected = u32::from(is_special(byte)) << place;
                    assert_eq!(specials(&chunk), expected, "{byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn ends_of_all_lengths_are_found() {
        for len in 0..70 {
            let mut text = vec![b'x'; len];
            assert_eq!(find_special(&text, 0), len);
            text.push(b'"');
            text.extend_from_slice(b"more \" text");
            assert_eq!(find_special(&text, 0), len);
            assert_eq!(find_special(&text, len), len);
        }
        assert_eq!(find_special(b"ab", 7), 7);
    }
}
