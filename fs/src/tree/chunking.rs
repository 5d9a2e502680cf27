//! Where a large directory is cut into chunks.
//!
//! Always true: a cut depends only on the names since the last cut, so that equal lists are cut equally and a
//! change moves cuts only until the next boundary that both lists share.

use crate::name::Name;

/// Directories and index levels of up to this many elements stay in one node.
pub const CHUNK_ABOVE: usize = 256;
/// No cut before this many elements: tiny chunks cost more than they save.
const CHUNK_MIN: usize = 16;
/// A cut after this many at the latest, whatever the names: bounds what a lookup decodes.
const CHUNK_MAX: usize = 512;
/// One name in 128 is a boundary: chunks of about 140 elements, some 7 KB.
const BOUNDARY_MASK: u64 = 127;

/// Cuts `elements` into chunks, each non-empty.
pub(super) fn chunks<T>(elements: &[T], name: impl Fn(&T) -> &Name) -> impl Iterator<Item = &[T]> {
    let mut rest = elements;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let limit = rest.len().min(CHUNK_MAX);
        let cut = (CHUNK_MIN.min(limit)..limit)
            .find(|&at| fingerprint(name(&rest[at]).as_bytes()) & BOUNDARY_MASK == 0)
            .unwrap_or(limit);
        let (chunk, tail) = rest.split_at(cut);
        rest = tail;
        Some(chunk)
    })
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo) with its high half folded in, as the low bits alone mix poorly. An
/// element whose fingerprint ends in seven zero bits starts a chunk.
fn fingerprint(name: &[u8]) -> u64 {
    let hash =
        name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    hash ^ (hash >> 32)
}
