//! Files that the kernel holds, in as few bytes as they can have.
//!
//! A walk leaves one of these for every file, so every byte counts. What does not fit is kept as it is, elsewhere.
//!
//! Always true: what is packed unpacks to the same.

use std::sync::{PoisonError, RwLock};

use super::File;
use crate::digest::BlobId;
use crate::view::access::Permit;

/// Of `bits`: the blob was found whole since the kernel got to know the file.
const VERIFIED: u16 = 1;
/// Of `bits`: a ghost.
const GHOST: u16 = 2;
/// Bits below the number of the permit.
const FLAGS: u32 = 2;

/// A file with its counts: 56 bytes.
#[derive(Debug)]
pub(super) struct PackedFile {
    blob: BlobId,
    size_bytes: u64,
    mtime: i64,
    /// At the largest number it stays, and so does the file: nobody knows any more how often it was looked up.
    lookups: u32,
    /// As told last; more than fit are told as so many.
    links: u16,
    bits: u16,
}

impl PackedFile {
    /// A file that was looked up once, if it can be packed.
    pub(super) fn pack(file: &File, links: u32, permits: &Permits) -> Option<Self> {
        let File { blob, size_bytes, mtime, permit, is_ghost } = *file;
        let bits = permits.number(permit)? << FLAGS | if is_ghost { GHOST } else { 0 };
        Some(Self { blob, size_bytes, mtime, lookups: 1, links: fitted(links), bits })
    }

    pub(super) fn file(&self, permits: &Permits) -> File {
        let Self { blob, size_bytes, mtime, .. } = *self;
        let permit = permits.get(self.bits >> FLAGS);
        File { blob, size_bytes, mtime, permit, is_ghost: self.bits & GHOST != 0 }
    }

    /// Counts a lookup.
    pub(super) fn enter(&mut self, links: u32) {
        self.lookups = self.lookups.saturating_add(1);
        self.links = fitted(links);
    }

    /// Takes lookups back; tells whether none is left.
    pub(super) fn forget(&mut self, lookups: u64) -> bool {
        if self.lookups < u32::MAX {
            self.lookups = self.lookups.saturating_sub(u32::try_from(lookups).unwrap_or(u32::MAX));
        }
        self.lookups == 0
    }

    pub(super) fn links(&self) -> u32 {
        u32::from(self.links)
    }

    /// Tells whether it was another number.
    pub(super) fn set_links(&mut self, links: u32) -> bool {
        std::mem::replace(&mut self.links, fitted(links)) != self.links
    }

    pub(super) fn verified_blob(&self) -> Option<BlobId> {
        (self.bits & VERIFIED != 0).then_some(self.blob)
    }

    pub(super) fn set_verified(&mut self) {
        self.bits |= VERIFIED;
    }
}

fn fitted(links: u32) -> u16 {
    u16::try_from(links).unwrap_or(u16::MAX)
}

/// Owners and permissions, numbered: of millions of files there are a few.
#[derive(Debug, Default)]
pub(super) struct Permits(RwLock<Vec<Permit>>);

impl Permits {
    /// The number of a permit, or `None` when there are too many.
    fn number(&self, permit: Permit) -> Option<u16> {
        let find = |all: &[Permit]| all.iter().position(|known| *known == permit);
        let found = find(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let number = found.or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            find(&all).or_else(|| {
                // Few, so that they are found quickly.
                let has_room = all.len() < 256;
                has_room.then(|| {
                    all.push(permit);
                    all.len() - 1
                })
            })
        });
        u16::try_from(number?).ok()
    }

    fn get(&self, number: u16) -> Permit {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Every number was given out here.
        all.get(usize::from(number)).copied().unwrap_or(Permit { mode: 0, uid: 0, gid: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_to_the_same() {
        assert_eq!(size_of::<(u64, PackedFile)>(), 64);
        let permits = Permits::default();
        for number in 0..300 {
            let permit = Permit { mode: 0o640, uid: number, gid: 7 };
            let (size_bytes, mtime) = (u64::MAX - u64::from(number), i64::MIN + i64::from(number));
            let is_ghost = number % 2 == 1;
            let file = File { blob: BlobId::of(b"x"), size_bytes, mtime, permit, is_ghost };
            let packed = PackedFile::pack(&file, number, &permits);
            assert_eq!(packed.is_some(), number < 256);
            let Some(mut packed) = packed else { continue };
            assert_eq!((packed.file(&permits), packed.links()), (file, number));
            assert_eq!(packed.verified_blob(), None);
            packed.set_verified();
            assert!(packed.set_links(70_000) && !packed.set_links(80_000));
            assert_eq!((packed.file(&permits), packed.links()), (file, 65_535));
            assert_eq!(packed.verified_blob(), Some(file.blob));
            packed.enter(1);
            assert!(!packed.forget(1) && packed.forget(1));
        }
    }
}
