//! Log lines without secrets: errors quote what they met.

use std::io::{self, Write};

use weir_engine::mask;

/// Standard error, masked.
pub struct Masked;

impl Write for Masked {
    /// Takes whole lines, as the subscriber writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&mask::bytes(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
