//! Which event a Kubernetes audit event is: its id together with what it says.

use sha2::{Digest, Sha256};
use weir_engine::schema::col;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Event, Object, STARTED, Stage};
use crate::format::Row;
use crate::hash::Hex;
use crate::json::{Scanner, Text, unescape_into};

/// `auditID/stage/hash`, where the hash is of what the event says: the same in every spelling and envelope,
/// another one for anything else that a client sends under an id that was seen before (docs/adr/0008).
pub(super) fn uid(
    s: &Scanner,
    row: &mut Row,
    event: &Event,
    audit_id: Text,
    (stage, told, received): (Stage, i64, Option<i64>),
) {
    let object = event.object.as_ref();
    let part = |part: fn(&Object) -> Option<Text>| object.and_then(part);
    let texts = [
        Some(audit_id),
        event.user,
        event.impersonated,
        event.verb,
        event.uri,
        event.address,
        event.agent,
        part(|object| object.resource),
        part(|object| object.namespace),
        part(|object| object.name),
        part(|object| object.group),
        part(|object| object.subresource),
    ];
    let buffer = &mut *row.scratch;
    buffer.clear();
    let mut id_end = None;
    for text in texts {
        push(buffer, |buffer| match text {
            Some(text) if text.is_escaped() => unescape_into(s.slice(text), buffer),
            Some(text) => buffer.extend_from_slice(s.slice(text)),
            None => {}
        });
        id_end = id_end.or(Some(buffer.len()));
    }
    let code = event.response.as_ref().and_then(|response| response.code);
    push(buffer, |buffer| {
        buffer.extend_from_slice(row.labels.cluster_name.as_bytes());
    });
    buffer.extend_from_slice(&code.unwrap_or_default().to_le_bytes());
    let (stage, hash): (&[u8], u128) = match stage {
        Stage::Lasting => {
            let second = received.unwrap_or(told).div_euclid(1_000_000);
            buffer.extend_from_slice(&second.to_le_bytes());
            let digest: [u8; 32] = Sha256::digest(&*buffer).into();
            let first = digest.first_chunk().copied().unwrap_or_default();
            (STARTED, u128::from_be_bytes(first))
        }
        stage => {
            let received = received.unwrap_or_default();
            buffer.extend_from_slice(&received.to_le_bytes());
            buffer.extend_from_slice(&told.to_le_bytes());
            // A client does not know the API server's microseconds before it has sent the request.
            let seed = (received.rotate_left(32) ^ told) as u64;
            let name: &[u8] = match stage {
                Stage::Panic => b"Panic",
                Stage::Complete => b"ResponseComplete",
                Stage::Untold | Stage::Lasting => b"",
            };
            (name, xxh3_128_with_seed(buffer, seed))
        }
    };
    buffer.truncate(id_end.unwrap_or_default());
    if !stage.is_empty() {
        buffer.push(b'/');
        buffer.extend_from_slice(stage);
    }
    buffer.push(b'/');
    buffer.extend_from_slice(Hex::of(hash).as_bytes());
    // Records are UTF-8.
    if let Some(Ok(uid)) = buffer.get(LENGTH..).map(std::str::from_utf8) {
        row.builder.text(col::EVENT_UID, uid);
    }
}

const LENGTH: usize = size_of::<u32>();

/// Appends bytes behind their number, so that no two lists of texts are one list of bytes.
fn push(buffer: &mut Vec<u8>, bytes: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH]);
    bytes(buffer);
    let length = (buffer.len() - start - LENGTH) as u32;
    buffer[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
}
