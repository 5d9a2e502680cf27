//! Inode numbers as programs see them (`st_ino`).
//!
//! Always true: a number is a function of content, attributes and, for directories and symlinks, of the path
//! inside the snapshot; so it is the same on every host and in every mount, and what does not change keeps it.
//! Numbers lie between [`LOWEST`] and 2^63: below are the kernel's names of directories, above are numbers
//! that some programs take for negative.

use super::access::Rule;
use crate::digest::{BlobId, NodeId};

/// The smallest number.
pub(super) const LOWEST: u64 = 1 << 48;

/// The number of a regular file. Two paths with equal content, mode and time have the same.
pub(super) fn of_file(blob: BlobId, size_bytes: u64, executable: bool, mtime: i64) -> u64 {
    let start = head(blob.as_bytes());
    [size_bytes, mtime.cast_unsigned(), u64::from(executable)].into_iter().fold(start, absorb).number()
}

/// The number of what would have `number` wherever it is, at `path` of a snapshot alone.
pub(super) fn at_path(number: u64, path: &str) -> u64 {
    absorb(text("at", path, ""), number).number()
}

/// The number of a directory at `path` of a snapshot.
pub(super) fn of_dir(path: &str, node: NodeId, mtime: i64) -> u64 {
    [head(node.as_bytes()), mtime.cast_unsigned()].into_iter().fold(text("dir", path, ""), absorb).number()
}

/// The number of a symlink at `path` of a snapshot.
pub(super) fn of_symlink(path: &str, target: &str, mtime: i64) -> u64 {
    absorb(text("symlink", path, target), mtime.cast_unsigned()).number()
}

/// The number of what would have `number` if owner and permissions were as usual.
pub(super) fn ruled(number: u64, rule: Rule) -> u64 {
    if rule == Rule::USUAL {
        return number;
    }
    let value = |field: Option<u32>| field.map_or(0, |value| u64::from(value) + 1);
    let fields = [value(rule.mode.map(u32::from)), value(rule.uid), value(rule.gid)];
    fields.into_iter().fold(number, absorb).number()
}

/// The number of the ghost of what had `number`.
pub(super) fn of_ghost(number: u64) -> u64 {
    // Eight letters are 64 bits.
    absorb(number, u64::from_be_bytes(*b"a ghost ")).number()
}

/// The number of what no snapshot holds: a directory or symlink made of refs, at `path` of the mount.
pub(super) fn of_place(path: &str, target: &str) -> u64 {
    text("place", path, target).number()
}

trait Number {
    fn number(self) -> u64;
}

impl Number for u64 {
    /// Brings 64 well-mixed bits into the range.
    fn number(self) -> u64 {
        let positive = self >> 1;
        if positive < LOWEST { positive + LOWEST } else { positive }
    }
}

/// One step of the hash: the finalizer of `SplitMix64` (Steele, Lea, Flood 2014). It is a bijection, so two
/// values after an equal state never meet.
fn absorb(state: u64, value: u64) -> u64 {
    let mut z = (state ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first eight bytes of a digest: as good as random already.
fn head(digest: &[u8; 32]) -> u64 {
    digest.iter().take(8).fold(0, |number, &byte| (number << 8) | u64::from(byte))
}

fn text(domain: &str, path: &str, target: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in [domain, path, target] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    head(hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_follows_content_and_attributes_and_nothing_else() {
        let (blob, other) = (BlobId::of(b"a"), BlobId::of(b"b"));
        let number = of_file(blob, 1, false, 100);
        assert_eq!(number, 8_769_720_647_948_022_800, "the same on every host and in every version");
        let others = [
            of_file(other, 1, false, 100),
            of_file(blob, 2, false, 100),
            of_file(blob, 1, true, 100),
            of_file(blob, 1, false, 101),
            of_dir("a", NodeId::of(b"a"), 100),
            of_dir("b", NodeId::of(b"a"), 100),
            of_dir("a", NodeId::of(b"a"), 101),
            of_symlink("a", "b", 100),
            of_symlink("ab", "", 100),
            of_place("a", "b"),
            at_path(number, "a"),
            at_path(number, "b"),
            ruled(number, Rule { mode: Some(0), ..Rule::USUAL }),
            ruled(number, Rule { uid: Some(0), ..Rule::USUAL }),
            ruled(number, Rule { gid: Some(0), ..Rule::USUAL }),
            of_ghost(number),
        ];
        assert_eq!(ruled(number, Rule::USUAL), number);
        for (at, other) in others.iter().enumerate() {
            assert!(*other >= LOWEST && *other < 1 << 63);
            assert_ne!(number, *other);
            assert!(!others[..at].contains(other), "{at}");
        }
    }
}
