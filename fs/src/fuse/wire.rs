//! Answers that name inodes, as the bytes that the kernel expects.
//!
//! Source: `struct fuse_out_header`, `fuse_entry_out`, `fuse_attr` and `fuse_direntplus` of Linux
//! `include/uapi/linux/fuse.h`, protocol 7.9 and later; all numbers in the byte order of the machine.

use std::time::Duration;

use crate::view::{Attributes, FileKind, Inode, Listed};

/// The unit that programs are advised to read in.
pub(super) const BLOCK_BYTES: u32 = 4096;

const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 128;

/// What stands before a body of `body_bytes` that answers the question `unique`.
pub(super) fn header(unique: u64, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&length(HEADER_BYTES + body_bytes).to_ne_bytes());
    bytes[8..].copy_from_slice(&unique.to_ne_bytes());
    bytes
}

/// A name that stands for an inode: how long the name and how long the attributes hold.
pub(super) fn entry(inode: Inode, attributes: &Attributes, name: Duration, attr: Duration) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    put_entry(&mut bytes, inode, Some(attributes), name, attr);
    bytes
}

/// A name that stands for nothing, and how long that holds.
pub(super) fn absent(name: Duration) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    put_entry(&mut bytes, Inode(0), None, name, Duration::ZERO);
    bytes
}

/// Adds a line of a directory, with its inode where it has one.
pub(super) fn line(bytes: &mut Vec<u8>, line: &Listed<'_>, holds: Duration) {
    match line.found {
        Some(found) => put_entry(bytes, found.inode, Some(&found.attributes), holds, holds),
        None => put_entry(bytes, Inode(0), None, Duration::ZERO, Duration::ZERO),
    }
    put_u64(bytes, line.number);
    put_u64(bytes, line.next);
    put_u32(bytes, length(line.name.len()));
    put_u32(bytes, type_bits(line.kind) >> 12);
    bytes.extend_from_slice(line.name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn put_entry(
    bytes: &mut Vec<u8>,
    inode: Inode,
    attributes: Option<&Attributes>,
    name: Duration,
    attr: Duration,
) {
    const GENERATION: u64 = 0;
    for number in [inode.0, GENERATION, name.as_secs(), attr.as_secs()] {
        put_u64(bytes, number);
    }
    put_u32(bytes, name.subsec_nanos());
    put_u32(bytes, attr.subsec_nanos());
    let Some(of) = attributes else {
        bytes.resize(bytes.len() + ENTRY_BYTES - 40, 0);
        return;
    };
    let mtime = of.mtime.cast_unsigned();
    for number in [of.number, of.size_bytes, of.blocks(), mtime, mtime, mtime] {
        put_u64(bytes, number);
    }
    let mode = type_bits(of.kind) | u32::from(of.mode);
    let (nanoseconds, device, flags) = (0, 0, 0);
    for number in
        [nanoseconds, nanoseconds, nanoseconds, mode, of.links, of.uid, of.gid, device, BLOCK_BYTES, flags]
    {
        put_u32(bytes, number);
    }
}

/// `S_IFREG`, `S_IFDIR`, `S_IFLNK`.
fn type_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => 0o100_000,
        FileKind::Dir => 0o040_000,
        FileKind::Symlink => 0o120_000,
    }
}

/// Nothing is longer than what the kernel asked for, in 32 bits.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn put_u64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Found, Holds};

    #[test]
    fn answers_have_the_lengths_and_places_of_the_protocol() {
        let attributes = Attributes {
            number: 0x0102_0304_0506_0708,
            kind: FileKind::Dir,
            links: 1,
            mode: 0o755,
            uid: 10_004,
            gid: 10_005,
            size_bytes: 513,
            mtime: -5,
        };
        let inode = Inode(42);
        let bytes = entry(inode, &attributes, Duration::ZERO, Duration::from_secs(9));
        let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes.len(), ENTRY_BYTES);
        assert_eq!([u64_at(0), u64_at(16), u64_at(24)], [42, 0, 9]);
        assert_eq!([u64_at(40), u64_at(48)], [attributes.number, 513]);
        assert_eq!(u64_at(72), (-5_i64).cast_unsigned());
        assert_eq!([u32_at(100), u32_at(104)], [0o040_755, 1]);
        assert_eq!([u32_at(108), u32_at(112), u32_at(120)], [10_004, 10_005, 4096]);
        assert_eq!(absent(Duration::ZERO).len(), ENTRY_BYTES);
        assert_eq!(header(7, ENTRY_BYTES)[..4], 144_u32.to_ne_bytes());

        for (name, padded) in [("a", 8), ("12345678", 8), ("123456789", 16)] {
            for found in [None, Some(Found { inode, attributes, holds: Holds::Forever })] {
                let mut bytes = Vec::new();
                let listed = Listed { name, number: 5, kind: FileKind::File, next: 3, found };
                line(&mut bytes, &listed, Duration::ZERO);
                assert_eq!(bytes.len(), ENTRY_BYTES + 24 + padded);
            }
        }
    }
}
