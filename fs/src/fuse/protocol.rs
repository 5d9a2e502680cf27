//! The protocol that the kernel speaks with the process behind a mount.
//!
//! Source: Linux `include/uapi/linux/fuse.h`, protocol 7.23 to 7.45. All numbers are in the byte order of the
//! machine, and every structure is a multiple of eight bytes long.
//!
//! Always true: nothing here touches a device. [`question`] turns bytes into questions and takes nothing on
//! trust, [`answer`] turns answers into bytes, [`hello`] is the first exchange.

pub(super) mod answer;
pub(super) mod hello;
pub(super) mod question;

/// What the kernel writes before every question.
pub(super) const IN_HEADER_BYTES: usize = 40;
/// What stands before every answer.
pub(super) const OUT_HEADER_BYTES: usize = 16;
/// The unit that programs are advised to read in.
pub(super) const BLOCK_BYTES: u32 = 4096;
/// Largest answer: what a read may ask for, where the kernel allows that much.
pub(super) const ANSWER_BYTES: usize = 1 << 20;

/// Questions by their numbers.
pub(super) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const COPY_FILE_RANGE: u32 = 47;
    pub(crate) const TMPFILE: u32 = 51;
}

/// Reads numbers from the front of a piece of memory that may be too short for them.
#[derive(Debug, Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }
}
