//! Benches and the end-to-end throughput program of Weir.

pub mod generator;
pub mod road;

use datafusion::arrow::buffer::Buffer;
use weir_connectors::Record;

/// Lines as a source would deliver them: one block of bytes and where each record lies in it.
pub fn block(lines: &[&[u8]]) -> (Buffer, Vec<Record>) {
    let (mut bytes, mut records) = (vec![], vec![]);
    for line in lines {
        let start = bytes.len();
        bytes.extend_from_slice(line);
        records.push(Record {
            range: start..bytes.len(),
            position: start as i64,
        });
        bytes.push(b'\n');
    }
    (Buffer::from_vec(bytes), records)
}

/// Peak resident memory of this process, MiB.
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
