//! Questions of the kernel, read from its bytes.
//!
//! Always true: what is too short, or a name without an end, is an error and never a guess.

use super::{IN_HEADER_BYTES, Reader, opcode};

/// What the kernel says before every question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Header {
    /// What kind of question it is.
    pub(in crate::fuse) opcode: u32,
    /// What the answer must refer to.
    pub(in crate::fuse) unique: u64,
    /// The inode that it is about.
    pub(in crate::fuse) node: u64,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) enum Question<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        lookups: u64,
    },
    ForgetMany(Forgets<'a>),
    Attributes,
    ReadLink,
    /// As `open(2)` has them.
    Open {
        flags: u32,
    },
    Read {
        handle: u64,
        offset: u64,
        size_bytes: u32,
    },
    Release {
        handle: u64,
    },
    OpenDir,
    ReadDir {
        handle: u64,
        offset: u64,
        size_bytes: u32,
        plus: bool,
    },
    ReleaseDir {
        handle: u64,
    },
    Space,
    /// The value of an extended attribute, or its length when there is room for nothing.
    Label {
        name: &'a [u8],
        room_bytes: u32,
    },
    /// The names of the extended attributes, or their length when there is room for nothing.
    Labels {
        room_bytes: u32,
    },
    /// The asker of another question would like to give up.
    Interrupt,
    /// The mount is gone.
    Destroy,
    /// Something that would change the file system.
    Change,
    /// Something that a read-only file system has no answer to.
    Other,
}

/// Bytes that are no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a question of kind {opcode} with {bytes} bytes cannot be read")]
pub(in crate::fuse) struct Malformed {
    pub(in crate::fuse) opcode: u32,
    pub(in crate::fuse) bytes: usize,
}

impl Header {
    /// Splits what was read from the device into the header, the part of fixed length, and what follows.
    pub(in crate::fuse) fn split(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), Malformed> {
        let header = Self::parse(bytes).ok_or(Malformed { opcode: 0, bytes: bytes.len() })?;
        let malformed = Malformed { opcode: header.opcode, bytes: bytes.len() };
        let rest = bytes.get(IN_HEADER_BYTES..).ok_or(malformed)?;
        let (head, body) = rest.split_at_checked(head_bytes(header.opcode)).ok_or(malformed)?;
        Ok((header, head, body))
    }

    /// Reads the header alone.
    pub(in crate::fuse) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let _length = reader.u32()?;
        Some(Self { opcode: reader.u32()?, unique: reader.u64()?, node: reader.u64()? })
    }
}

/// Length of what stands before names and lists in a question; of kinds that are not read, nothing.
pub(in crate::fuse) fn head_bytes(opcode: u32) -> usize {
    match opcode {
        opcode::FORGET
        | opcode::OPEN
        | opcode::OPENDIR
        | opcode::INTERRUPT
        | opcode::GETXATTR
        | opcode::LISTXATTR
        | opcode::BATCH_FORGET => 8,
        opcode::RELEASE | opcode::RELEASEDIR => 24,
        opcode::READ | opcode::READDIR | opcode::READDIRPLUS => 40,
        _ => 0,
    }
}

impl<'a> Question<'a> {
    /// Reads a question of the kind `opcode` from the part of fixed length and what follows it.
    pub(in crate::fuse) fn parse(opcode: u32, head: &'a [u8], body: &'a [u8]) -> Result<Self, Malformed> {
        let malformed = Malformed { opcode, bytes: head.len() + body.len() };
        Self::read(opcode, Reader(head), body).ok_or(malformed)
    }

    fn read(opcode: u32, mut head: Reader<'a>, body: &'a [u8]) -> Option<Self> {
        Some(match opcode {
            opcode::LOOKUP => Self::Lookup { name: name(body)? },
            opcode::FORGET => Self::Forget { lookups: head.u64()? },
            opcode::BATCH_FORGET => Self::ForgetMany(Forgets::read(head.u32()?, body)?),
            opcode::GETATTR => Self::Attributes,
            opcode::READLINK => Self::ReadLink,
            opcode::OPEN => Self::Open { flags: head.u32()? },
            opcode::READ => Self::Read { handle: head.u64()?, offset: head.u64()?, size_bytes: head.u32()? },
            opcode::RELEASE => Self::Release { handle: head.u64()? },
            opcode::OPENDIR => Self::OpenDir,
            opcode::READDIR | opcode::READDIRPLUS => Self::ReadDir {
                handle: head.u64()?,
                offset: head.u64()?,
                size_bytes: head.u32()?,
                plus: opcode == opcode::READDIRPLUS,
            },
            opcode::RELEASEDIR => Self::ReleaseDir { handle: head.u64()? },
            opcode::STATFS => Self::Space,
            opcode::GETXATTR => Self::Label { room_bytes: head.u32()?, name: name(body)? },
            opcode::LISTXATTR => Self::Labels { room_bytes: head.u32()? },
            opcode::INTERRUPT => Self::Interrupt,
            opcode::DESTROY => Self::Destroy,
            opcode::SETATTR..=opcode::LINK
            | opcode::WRITE
            | opcode::SETXATTR
            | opcode::REMOVEXATTR
            | opcode::CREATE
            | opcode::FALLOCATE
            | opcode::RENAME2
            | opcode::COPY_FILE_RANGE
            | opcode::TMPFILE => Self::Change,
            _ => Self::Other,
        })
    }
}

/// A name up to its zero byte.
fn name(body: &[u8]) -> Option<&[u8]> {
    let end = body.iter().position(|&byte| byte == 0)?;
    Some(&body[..end])
}

/// Inodes with the lookups that are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Forgets<'a>(&'a [u8]);

impl<'a> Forgets<'a> {
    const ONE_BYTES: usize = 16;

    fn read(count: u32, body: &'a [u8]) -> Option<Self> {
        let bytes = usize::try_from(count).ok()?.checked_mul(Self::ONE_BYTES)?;
        body.get(..bytes).map(Self)
    }

    /// Every inode and how many lookups of it are taken back.
    pub(in crate::fuse) fn iter(self) -> impl Iterator<Item = (u64, u64)> {
        self.0.chunks_exact(Self::ONE_BYTES).filter_map(|one| {
            let mut reader = Reader(one);
            Some((reader.u64()?, reader.u64()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A question as the kernel writes it.
    fn bytes(opcode: u32, node: u64, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(IN_HEADER_BYTES + rest.len()).unwrap();
        let mut bytes = Vec::new();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(77_u64.to_ne_bytes());
        bytes.extend(node.to_ne_bytes());
        bytes.resize(IN_HEADER_BYTES, 0xee);
        bytes.extend(rest);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Question<'_>, Malformed> {
        let (header, head, body) = Header::split(bytes)?;
        Question::parse(header.opcode, head, body)
    }

    fn words(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn questions_are_read_and_everything_shorter_is_not() {
        let many = [&2_u64.to_ne_bytes()[..], &words(&[5, 1, 6, 2])].concat();
        let forgets = words(&[5, 1, 6, 2]);
        let label = [&9_u64.to_ne_bytes()[..], b"user.x\0"].concat();
        let dir = Question::ReadDir { handle: 3, offset: 4, size_bytes: 5, plus: false };
        let plus = Question::ReadDir { handle: 3, offset: 4, size_bytes: 5, plus: true };
        let table: [(u32, Vec<u8>, Question<'_>); 12] = [
            (1, b"a name\0".to_vec(), Question::Lookup { name: b"a name" }),
            (2, words(&[12]), Question::Forget { lookups: 12 }),
            (42, many, Question::ForgetMany(Forgets(&forgets))),
            (15, words(&[3, 4, 5, 0, 0]), Question::Read { handle: 3, offset: 4, size_bytes: 5 }),
            (28, words(&[3, 4, 5, 0, 0]), dir),
            (44, words(&[3, 4, 5, 0, 0]), plus),
            (18, words(&[3, 0, 0]), Question::Release { handle: 3 }),
            (29, words(&[3, 0, 0]), Question::ReleaseDir { handle: 3 }),
            (14, words(&[7]), Question::Open { flags: 7 }),
            (27, words(&[0]), Question::OpenDir),
            (22, label, Question::Label { name: b"user.x", room_bytes: 9 }),
            (23, words(&[10]), Question::Labels { room_bytes: 10 }),
        ];
        for (opcode, rest, expected) in table {
            let whole = bytes(opcode, 9, &rest);
            let header = Header { opcode, unique: 77, node: 9 };
            assert_eq!(Header::split(&whole).unwrap().0, header);
            assert_eq!(read(&whole), Ok(expected), "{opcode}");
            for short in 0..whole.len() {
                assert!(read(&whole[..short]).is_err(), "{opcode}: {short} of {} bytes", whole.len());
            }
        }
        for (opcode, expected) in [(3, Question::Attributes), (5, Question::ReadLink), (17, Question::Space)]
        {
            assert_eq!(read(&bytes(opcode, 1, &[])), Ok(expected));
        }
        for opcode in [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51] {
            assert_eq!(read(&bytes(opcode, 1, &[])), Ok(Question::Change), "{opcode}");
        }
        for opcode in [25, 31, 39, 40, 46, 50, 52, 4096] {
            assert_eq!(read(&bytes(opcode, 1, &[])), Ok(Question::Other), "{opcode}");
        }
        assert_eq!(Forgets(&forgets).iter().collect::<Vec<_>>(), [(5, 1), (6, 2)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(opcode in 0_u32..60, rest in prop::collection::vec(any::<u8>(), 0..120)) {
            let whole = bytes(opcode, 1, &rest);
            if let Ok(Question::ForgetMany(forgets)) = read(&whole) {
                prop_assert!(forgets.iter().count() <= rest.len() / 16);
            }
            let _ = read(&rest);
        }
    }
}
