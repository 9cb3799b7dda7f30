//! Bytes that were read and not yet delivered, and the memory of blocks, which is used again.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::arrow::buffer::Buffer;

use super::reader::{BLOCK_BYTES, CHUNK};

/// Bytes of a buffer that holds a whole block and what is read beyond it.
const LARGE: usize = BLOCK_BYTES + 2 * CHUNK;
/// Large buffers that are kept while no block is in them.
const FREE: usize = 8;

/// Large buffers for the blocks of a source. Memory that was just given back to the system costs a page fault for every four
/// kilobytes when it is filled again, a tenth of the time of reading and decoding.
#[derive(Debug, Default, Clone)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    fn get(&self) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; LARGE])
    }
}

/// A block in a buffer of the pool, to which it goes back when nobody reads the block any more.
struct Pooled {
    bytes: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Taking bytes out costs no more than those are long, however many stay; up to as many are held besides as stay.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// What is read stands in `[gone, end)`.
    buffer: Vec<u8>,
    gone: usize,
    end: usize,
    pool: Pool,
}

impl Deref for Pending {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.gone..self.end]
    }
}

impl Pending {
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            ..Self::default()
        }
    }

    /// Reads up to `count` bytes behind the last one, and fewer only if the input ends or fails. Returns how many; what was
    /// read before a failure stays.
    pub fn read(&mut self, input: &mut dyn Read, count: usize) -> io::Result<usize> {
        self.make_room(count);
        let from = self.end;
        while self.end < from + count {
            match input.read(&mut self.buffer[self.end..from + count]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - from)
    }

    fn make_room(&mut self, count: usize) {
        let wanted = self.end + count;
        if wanted <= self.buffer.len() {
            return;
        }
        // A file of less than a chunk needs no large buffer.
        if self.gone == 0 && self.end >= CHUNK && self.buffer.len() < LARGE && wanted <= LARGE {
            let mut large = self.pool.get();
            large[..self.end].copy_from_slice(&self.buffer[..self.end]);
            self.buffer = large;
            return;
        }
        // Zeros that are not touched take no memory.
        let mut larger = vec![0; wanted.max(2 * self.end)];
        larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = larger;
    }

    /// Takes the first bytes out.
    pub fn take(&mut self, count: usize) -> Buffer {
        if self.gone == 0 && self.len() - count <= count {
            let rest = self[count..].to_vec();
            self.end = rest.len();
            let mut bytes = std::mem::replace(&mut self.buffer, rest);
            if bytes.len() == LARGE {
                let pool = self.pool.clone();
                let block = Bytes::from_owner(Pooled { bytes, pool });
                return Buffer::from(block.slice(..count));
            }
            bytes.truncate(count);
            return Buffer::from_vec(bytes);
        }
        let taken = Buffer::from_vec(self[..count].to_vec());
        self.pass(count);
        taken
    }

    /// Leaves the first bytes out.
    pub fn pass(&mut self, count: usize) {
        self.gone += count;
        if self.gone >= self.len() {
            self.buffer.copy_within(self.gone..self.end, 0);
            self.end -= self.gone;
            self.gone = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
                    let more = pending.read(&mut &all[at..], add).unwrap();
                    at += more;
                    if more == 0 {
                        break;
                    }
                    continue;
                }
                assert_eq!(pending.take(take).as_slice(), &all[out..out + take]);
                pending.pass(pass);
                out += take + pass;
                assert_eq!(*pending, all[out..at]);
                assert!(pending.gone <= pending.len());
            }
            assert!(out > 100_000);
        }
    }

    /// Blocks of a file, of which some are held: none is written over, and those that are given back are used again.
    #[test]
    fn a_block_is_filled_again_when_nobody_reads_it_any_more() {
        let pool = Pool::default();
        let mut pending = Pending::new(pool.clone());
        let mut held: Vec<(u8, Buffer)> = vec![];
        let mut used = std::collections::HashSet::new();
        for block in 0..40_u8 {
            while pending.len() < BLOCK_BYTES + 100 {
                pending.read(&mut io::repeat(block), CHUNK).unwrap();
            }
            let bytes = pending.take(BLOCK_BYTES);
            assert_eq!(bytes.len(), BLOCK_BYTES);
            used.insert(bytes.as_ptr());
            held.push((bytes[BLOCK_BYTES - 1], bytes));
            if held.len() > 3 {
                let (last, bytes) = held.remove(usize::from(block) % 3);
                assert!(bytes[2 * CHUNK..].iter().all(|byte| *byte == last));
            }
        }
        assert!(used.len() <= 6, "{} buffers", used.len());
        drop(held);
        let free = pool.0.lock().unwrap().len();
        assert!((1..=FREE).contains(&free), "{free}");
    }

    #[test]
    fn what_was_read_before_a_failure_stays() {
        struct Torn(usize);
        impl Read for Torn {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(io::ErrorKind::Interrupted.into()),
                    2 => {
                        bytes[..3].copy_from_slice(b"abc");
                        Ok(3)
                    }
                    _ => Err(io::Error::other("torn")),
                }
            }
        }
        let mut pending = Pending::default();
        assert!(pending.read(&mut Torn(0), 10).is_err());
        assert_eq!(&*pending, b"abc");
    }
}
