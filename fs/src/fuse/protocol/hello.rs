//! The first exchange: what the kernel offers, and what of it a mount takes.
//!
//! Always true: nothing is taken that was not offered.

use rustix::io::Errno;

use super::{ANSWER_BYTES, BLOCK_BYTES, Reader};

/// The version of the protocol, and the newest and oldest of its revisions that are spoken here.
const MAJOR: u32 = 7;
const MINOR: u32 = 45;
const MINOR_MIN: u32 = 23;
/// Length of the answer.
const ANSWER_LEN: usize = 64;

/// What kernels offer, by the bits of the protocol.
mod flag {
    pub(super) const ASYNC_READ: u64 = 1;
    pub(super) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(super) const ASYNC_DIO: u64 = 1 << 15;
    pub(super) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(super) const MAX_PAGES: u64 = 1 << 22;
    pub(super) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(super) const INIT_EXT: u64 = 1 << 30;
    pub(super) const PASSTHROUGH: u64 = 1 << 37;
    /// Handles of inodes outlive neither what the kernel remembers nor the process, so nobody is to rely on them
    /// (an NFS server would).
    pub(super) const NO_EXPORT_SUPPORT: u64 = 1 << 38;
    pub(super) const OVER_IO_URING: u64 = 1 << 41;
}

/// How deep file systems may be stacked on each other. The mount counts as one, so that another (an overlay)
/// may still stand on it, and the store must be on one that stands on none.
const STACK_DEPTH: u32 = 1;
/// Requests that nobody waits for, such as those that read ahead, may be under way in this number.
const BACKGROUND_MAX: u16 = 64;

/// What the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Offer {
    minor: u32,
    read_ahead_bytes: u32,
    flags: u64,
}

/// What a mount would like beside what is always good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Wish {
    pub(in crate::fuse) passthrough: bool,
    pub(in crate::fuse) uring: bool,
}

/// The kernel speaks another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::fuse) enum HelloError {
    #[error("the kernel's first question cannot be read")]
    Malformed,
    #[error("the kernel speaks protocol {0}.{1}, which is too old")]
    TooOld(u32, u32),
}

impl Offer {
    /// Reads what follows the header of the first question.
    pub(in crate::fuse) fn parse(body: &[u8]) -> Result<Self, HelloError> {
        let mut reader = Reader(body);
        let mut number = || reader.u32().ok_or(HelloError::Malformed);
        let (major, minor) = (number()?, number()?);
        // A newer major version would begin by asking again in ours, which no kernel has had to do.
        if major != MAJOR || minor < MINOR_MIN {
            return Err(HelloError::TooOld(major, minor));
        }
        let (read_ahead_bytes, low) = (number()?, u64::from(number()?));
        let high = if low & flag::INIT_EXT == 0 { 0 } else { u64::from(number()?) };
        Ok(Self { minor, read_ahead_bytes, flags: low | high << 32 })
    }

    /// Whether reads can go to the store's own files.
    pub(in crate::fuse) fn has_passthrough(&self) -> bool {
        self.flags & flag::PASSTHROUGH != 0
    }

    /// Whether questions can come through rings.
    pub(in crate::fuse) fn has_uring(&self) -> bool {
        self.flags & flag::OVER_IO_URING != 0
    }

    /// The answer that takes what is wished for, as far as it is offered.
    pub(in crate::fuse) fn accept(&self, wish: Wish) -> Vec<u8> {
        let mut wanted = flag::ASYNC_READ
            | flag::DO_READDIRPLUS
            | flag::ASYNC_DIO
            | flag::PARALLEL_DIROPS
            | flag::MAX_PAGES
            | flag::CACHE_SYMLINKS
            | flag::INIT_EXT
            | flag::NO_EXPORT_SUPPORT;
        if wish.passthrough {
            wanted |= flag::PASSTHROUGH;
        }
        if wish.uring {
            wanted |= flag::OVER_IO_URING;
        }
        let taken = self.flags & wanted;
        let depth = if taken & flag::PASSTHROUGH == 0 { 0 } else { STACK_DEPTH };
        let read_ahead = self.read_ahead_bytes.min(u32::try_from(ANSWER_BYTES).unwrap_or(u32::MAX));
        let [low, high] =
            [taken, taken >> 32].map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or_default());
        let mut bytes = Vec::with_capacity(ANSWER_LEN);
        for number in [MAJOR, MINOR.min(self.minor), read_ahead, low] {
            bytes.extend(number.to_ne_bytes());
        }
        // Congested from three quarters on.
        for number in [BACKGROUND_MAX, BACKGROUND_MAX / 4 * 3] {
            bytes.extend(number.to_ne_bytes());
        }
        // Nobody writes, so the least is enough; times are told to the nanosecond.
        for number in [BLOCK_BYTES, 1] {
            bytes.extend(number.to_ne_bytes());
        }
        let pages = ANSWER_BYTES / rustix::param::page_size();
        for number in [u16::try_from(pages).unwrap_or(u16::MAX), 0] {
            bytes.extend(number.to_ne_bytes());
        }
        for number in [high, depth] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.resize(ANSWER_LEN, 0);
        bytes
    }
}

impl From<HelloError> for Errno {
    fn from(_: HelloError) -> Self {
        Self::PROTO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(minor: u32, flags: u64) -> Vec<u8> {
        let [low, high] = [flags, flags >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap());
        [7, minor, 131_072, low, high].iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn what_is_offered_and_wished_for_is_taken() {
        let everything = Offer::parse(&offer(45, u64::MAX)).unwrap();
        let nothing = Offer::parse(&offer(31, 0)).unwrap();
        assert!(everything.has_passthrough() && everything.has_uring());
        assert!(!nothing.has_passthrough() && !nothing.has_uring());
        let u32_at = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        for (wish, high, depth) in [
            (Wish { passthrough: false, uring: false }, 1 << 6, 0),
            (Wish { passthrough: true, uring: false }, 1 << 5 | 1 << 6, 1),
            (Wish { passthrough: false, uring: true }, 1 << 6 | 1 << 9, 0),
            (Wish { passthrough: true, uring: true }, 1 << 5 | 1 << 6 | 1 << 9, 1),
        ] {
            let answer = everything.accept(wish);
            assert_eq!(answer.len(), ANSWER_LEN);
            assert_eq!([0, 4, 8].map(|at| u32_at(&answer, at)), [7, 45, 131_072]);
            assert_eq!([32, 36].map(|at| u32_at(&answer, at)), [high, depth], "{wish:?}");
            assert_ne!(u32_at(&answer, 12) & 1 << 13, 0, "READDIRPLUS");
            assert_eq!(u32_at(&answer, 12) & 1 << 16, 0, "nothing is written back");
            let answer = nothing.accept(wish);
            assert_eq!([4, 12, 32, 36].map(|at| u32_at(&answer, at)), [31, 0, 0, 0]);
        }
    }

    #[test]
    fn the_second_half_of_the_flags_counts_where_it_is_announced() {
        let told = Offer::parse(&offer(38, 1 << 37)).unwrap();
        assert!(!told.has_passthrough());
        assert!(Offer::parse(&offer(38, 1 << 37 | 1 << 30)).unwrap().has_passthrough());
    }

    #[test]
    fn other_versions_and_short_questions_are_refused() {
        assert_eq!(Offer::parse(&offer(22, 0)), Err(HelloError::TooOld(7, 22)));
        let mut newer = offer(45, 0);
        newer[..4].copy_from_slice(&8_u32.to_ne_bytes());
        assert_eq!(Offer::parse(&newer), Err(HelloError::TooOld(8, 45)));
        let whole = offer(45, u64::MAX);
        for short in 0..whole.len() {
            assert_eq!(Offer::parse(&whole[..short]), Err(HelloError::Malformed), "{short}");
        }
    }
}
