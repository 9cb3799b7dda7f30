//! Bytes that were read and not yet delivered.

use std::ops::Deref;

/// Taking bytes out costs no more than those are long, however many stay; up to as many are held besides as stay.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How many of the bytes are gone already.
    gone: usize,
}

impl Deref for Pending {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }
}

impl Pending {
    /// Where more is put behind the last byte.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes the first bytes out.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        if self.gone == 0 && self.len() - count <= count {
            let rest = self.bytes[count..].to_vec();
            let mut taken = std::mem::replace(&mut self.bytes, rest);
            taken.truncate(count);
            return taken;
        }
        let taken = self[..count].to_vec();
        self.pass(count);
        taken
    }

    /// Leaves the first bytes out.
    pub fn pass(&mut self, count: usize) {
        self.gone += count;
        if self.gone >= self.len() {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_few_are_moved() {
        let all: Vec<u8> = (0..1_000_000u32).map(|at| at as u8).collect();
        for (take, pass, add) in [(10, 7, 1000), (5000, 1, 20), (1, 0, 100_000)] {
            let mut pending = Pending::default();
            let (mut out, mut at) = (0, 0);
            while out < all.len() && out < 200_000 {
                if pending.len() < take + pass {
                    let more = &all[at..all.len().min(at + add)];
                    at += more.len();
                    pending.end().extend_from_slice(more);
                    if more.is_empty() {
                        break;
                    }
                    continue;
                }
                assert_eq!(pending.take(take), all[out..out + take]);
                pending.pass(pass);
                out += take + pass;
                assert_eq!(*pending, all[out..at]);
                assert!(pending.gone <= pending.len());
            }
            assert!(out > 100_000);
        }
    }
}
