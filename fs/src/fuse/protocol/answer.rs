//! Answers to the kernel, as the bytes that it expects.
//!
//! Always true: an answer lies whole in the room that there is for it, or it is not begun.

use std::time::Duration;

use rustix::io::Errno;

use super::{BLOCK_BYTES, OUT_HEADER_BYTES};
use crate::view::{Attributes, FileKind, Inode, Listed, Space};

const ATTRIBUTES_BYTES: usize = 88;
const ENTRY_BYTES: usize = 40 + ATTRIBUTES_BYTES;
/// What stands before the name in a line of a directory, without and with an inode.
const LINE_BYTES: usize = 24;

/// What the kernel may do with an open file or directory.
pub(in crate::fuse) mod open {
    /// Pages that the kernel has stay good.
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    /// The lines of a directory may be remembered.
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
    /// Nothing needs to be said when a descriptor is closed.
    pub(crate) const NO_FLUSH: u32 = 1 << 5;
    /// Reads go to the backing file.
    pub(crate) const PASSTHROUGH: u32 = 1 << 7;
}

/// How long the kernel may use again what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Holding {
    pub(in crate::fuse) name: Duration,
    pub(in crate::fuse) attributes: Duration,
}

/// An open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Opened {
    pub(in crate::fuse) handle: u64,
    /// Of [`open`].
    pub(in crate::fuse) flags: u32,
    /// The backing file's number, for [`open::PASSTHROUGH`].
    pub(in crate::fuse) backing: i32,
}

/// The room for one answer, filled from the front.
#[derive(Debug)]
pub(in crate::fuse) struct Room<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Room<'a> {
    pub(in crate::fuse) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// How much of it is filled.
    pub(in crate::fuse) fn len(&self) -> usize {
        self.len
    }

    /// Adds up to `bytes_max` bytes that `fill` writes; it tells how many they are.
    pub(in crate::fuse) fn put_with<E>(
        &mut self,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        let end = bytes_max.min(rest.len());
        self.len += fill(&mut rest[..end])?.min(end);
        Ok(())
    }

    /// Adds bytes.
    pub(in crate::fuse) fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.part(bytes.len()).ok_or(Errno::RANGE)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds a name that stands for an inode.
    pub(in crate::fuse) fn entry(
        &mut self,
        inode: Inode,
        attributes: &Attributes,
        holding: Holding,
    ) -> Result<(), Errno> {
        self.fixed::<ENTRY_BYTES>(|out| put_entry(out, inode, Some(attributes), holding))
    }

    /// Adds a name that stands for nothing.
    pub(in crate::fuse) fn absent(&mut self, name: Duration) -> Result<(), Errno> {
        let holding = Holding { name, attributes: Duration::ZERO };
        self.fixed::<ENTRY_BYTES>(|out| put_entry(out, Inode(0), None, holding))
    }

    /// Adds attributes.
    pub(in crate::fuse) fn attributes(&mut self, of: &Attributes, hold: Duration) -> Result<(), Errno> {
        self.fixed::<{ 16 + ATTRIBUTES_BYTES }>(|out| {
            out.u64(hold.as_secs());
            out.u32(hold.subsec_nanos());
            out.u32(0);
            put_attributes(out, of);
        })
    }

    /// Adds an open file.
    pub(in crate::fuse) fn opened(&mut self, opened: Opened) -> Result<(), Errno> {
        self.fixed::<16>(|out| {
            out.u64(opened.handle);
            out.u32(opened.flags);
            out.u32(opened.backing.cast_unsigned());
        })
    }

    /// Adds the space of a file system.
    pub(in crate::fuse) fn space(&mut self, space: &Space, name_max_bytes: u32) -> Result<(), Errno> {
        // The protocol has 32 bits for the unit; no file system has larger blocks.
        let unit = u32::try_from(space.block_bytes).unwrap_or(BLOCK_BYTES);
        self.fixed::<80>(|out| {
            let blocks = [space.blocks, space.free_blocks, space.available_blocks];
            blocks.into_iter().chain([space.inodes, space.free_inodes]).for_each(|number| out.u64(number));
            [unit, name_max_bytes, unit].into_iter().for_each(|number| out.u32(number));
        })
    }

    /// Adds a length, for the one who asks how much room is needed.
    pub(in crate::fuse) fn length(&mut self, bytes: usize) -> Result<(), Errno> {
        self.fixed::<8>(|out| out.u32(u32::try_from(bytes).unwrap_or(u32::MAX)))
    }

    /// Adds a line of a directory, with `plus` together with its inode. `false` when it does not fit.
    pub(in crate::fuse) fn line(&mut self, line: &Listed<'_>, plus: bool, holding: Holding) -> bool {
        let name = line.name.as_bytes();
        let head_bytes = if plus { ENTRY_BYTES } else { 0 };
        let bytes = (head_bytes + LINE_BYTES + name.len()).next_multiple_of(8);
        let Some(part) = self.part(bytes) else { return false };
        let (entry, rest) = part.split_at_mut(head_bytes);
        let (head, text) = rest.split_at_mut(LINE_BYTES);
        if plus {
            let nothing = Holding { name: Duration::ZERO, attributes: Duration::ZERO };
            let (inode, attributes, holding) = match &line.found {
                Some(found) => (found.inode, Some(&found.attributes), holding),
                None => (Inode(0), None, nothing),
            };
            put_entry(&mut Writer(entry), inode, attributes, holding);
        }
        let mut head = Writer(head);
        head.u64(line.number);
        head.u64(line.next);
        head.u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
        head.u32(type_bits(line.kind) >> 12);
        let (text, padding) = text.split_at_mut(name.len());
        text.copy_from_slice(name);
        padding.fill(0);
        true
    }

    fn part(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let end = self.len.checked_add(bytes)?;
        let part = self.bytes.get_mut(self.len..end)?;
        self.len = end;
        Some(part)
    }

    fn fixed<const N: usize>(&mut self, fill: impl FnOnce(&mut Writer<'_>)) -> Result<(), Errno> {
        let part = self.part(N).ok_or(Errno::RANGE)?;
        part.fill(0);
        fill(&mut Writer(part));
        Ok(())
    }
}

/// What stands before an answer of `body_bytes` to the question `unique`, or before a refusal.
pub(in crate::fuse) fn header(unique: u64, answer: Result<usize, Errno>) -> [u8; OUT_HEADER_BYTES] {
    let length = OUT_HEADER_BYTES + answer.unwrap_or(0);
    // The kernel takes the number negated.
    let error = answer.err().map_or(0, |errno| -errno.raw_os_error());
    out_header(length, error, unique)
}

/// Something that the kernel did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) enum Notice<'a> {
    /// What a name stands for has to be asked anew.
    Entry { parent: u64, name: &'a [u8] },
    /// Attributes of an inode have to be asked anew.
    Attributes { inode: u64 },
    /// Attributes and pages of an inode have to be asked anew.
    Inode { inode: u64 },
}

impl Notice<'_> {
    /// The whole message.
    pub(in crate::fuse) fn bytes(self) -> Vec<u8> {
        let (code, body) = match self {
            // No pages are meant by an offset below zero.
            Self::Attributes { inode } => {
                (2, [&inode.to_ne_bytes()[..], &(-1_i64).to_ne_bytes(), &[0; 8]].concat())
            }
            // From the first byte to the last.
            Self::Inode { inode } => (2, [&inode.to_ne_bytes()[..], &[0; 16]].concat()),
            Self::Entry { parent, name } => {
                let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_ne_bytes();
                let flags = [0; 4];
                (3, [&parent.to_ne_bytes()[..], &length, &flags, name, &[0]].concat())
            }
        };
        let mut bytes = out_header(OUT_HEADER_BYTES + body.len(), code, 0).to_vec();
        bytes.extend(body);
        bytes
    }
}

fn out_header(length: usize, number: i32, unique: u64) -> [u8; OUT_HEADER_BYTES] {
    let mut bytes = [0; OUT_HEADER_BYTES];
    let mut out = Writer(&mut bytes);
    // Nothing is longer than what the kernel asked for, in 32 bits.
    out.u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.u32(number.cast_unsigned());
    out.u64(unique);
    bytes
}

fn put_entry(out: &mut Writer<'_>, inode: Inode, attributes: Option<&Attributes>, holding: Holding) {
    const GENERATION: u64 = 0;
    for number in [inode.0, GENERATION, holding.name.as_secs(), holding.attributes.as_secs()] {
        out.u64(number);
    }
    out.u32(holding.name.subsec_nanos());
    out.u32(holding.attributes.subsec_nanos());
    match attributes {
        Some(of) => put_attributes(out, of),
        None => out.0.fill(0),
    }
}

fn put_attributes(out: &mut Writer<'_>, of: &Attributes) {
    let mtime = of.mtime.cast_unsigned();
    for number in [of.number, of.size_bytes, of.blocks(), mtime, mtime, mtime] {
        out.u64(number);
    }
    let mode = type_bits(of.kind) | u32::from(of.mode);
    let (nanoseconds, device, flags) = (0, 0, 0);
    for number in
        [nanoseconds, nanoseconds, nanoseconds, mode, of.links, of.uid, of.gid, device, BLOCK_BYTES, flags]
    {
        out.u32(number);
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

/// Writes numbers into a piece of memory that is long enough for them.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let whole = std::mem::take(&mut self.0);
        let (head, tail) = whole.split_at_mut(bytes.len().min(whole.len()));
        head.copy_from_slice(&bytes[..head.len()]);
        self.0 = tail;
    }

    fn u32(&mut self, number: u32) {
        self.put(&number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.put(&number.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Found, Holds};

    const HOUR: Duration = Duration::from_hours(1);

    fn attributes() -> Attributes {
        Attributes {
            number: 0x0102_0304_0506_0708,
            kind: FileKind::Dir,
            links: 1,
            mode: 0o755,
            uid: 10_004,
            gid: 10_005,
            size_bytes: 513,
            mtime: -5,
        }
    }

    /// What was put into a room of `room_bytes`, which was full of rubbish before.
    fn filled(room_bytes: usize, put: impl FnOnce(&mut Room<'_>) -> bool) -> Option<Vec<u8>> {
        let mut bytes = vec![0xee; room_bytes];
        let mut room = Room::new(&mut bytes);
        let fits = put(&mut room);
        let len = room.len();
        bytes.truncate(len);
        fits.then_some(bytes)
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn answers_have_the_lengths_and_places_of_the_protocol() {
        let holding = Holding { name: Duration::ZERO, attributes: HOUR };
        let bytes = filled(4096, |room| room.entry(Inode(42), &attributes(), holding).is_ok()).unwrap();
        assert_eq!(bytes.len(), 128);
        assert_eq!([0, 16, 24].map(|at| u64_at(&bytes, at)), [42, 0, 3600]);
        assert_eq!([40, 48].map(|at| u64_at(&bytes, at)), [0x0102_0304_0506_0708, 513]);
        assert_eq!(u64_at(&bytes, 72), (-5_i64).cast_unsigned());
        assert_eq!([100, 104].map(|at| u32_at(&bytes, at)), [0o040_755, 1]);
        assert_eq!([108, 112, 120].map(|at| u32_at(&bytes, at)), [10_004, 10_005, 4096]);

        let bytes = filled(128, |room| room.absent(HOUR).is_ok()).unwrap();
        assert_eq!((bytes.len(), u64_at(&bytes, 0), u64_at(&bytes, 16)), (128, 0, 3600));
        assert!(bytes[24..].iter().all(|&byte| byte == 0));

        let bytes = filled(104, |room| room.attributes(&attributes(), HOUR).is_ok()).unwrap();
        assert_eq!((bytes.len(), u64_at(&bytes, 0), u64_at(&bytes, 24)), (104, 3600, 513));

        let opened = Opened { handle: 7, flags: open::PASSTHROUGH, backing: 3 };
        let bytes = filled(16, |room| room.opened(opened).is_ok()).unwrap();
        assert_eq!((u64_at(&bytes, 0), u32_at(&bytes, 8), u32_at(&bytes, 12)), (7, 128, 3));

        let space = Space {
            block_bytes: 512,
            blocks: 9,
            free_blocks: 8,
            available_blocks: 7,
            inodes: 6,
            free_inodes: 5,
        };
        let bytes = filled(80, |room| room.space(&space, 255).is_ok()).unwrap();
        assert_eq!([0, 8, 16, 24, 32].map(|at| u64_at(&bytes, at)), [9, 8, 7, 6, 5]);
        assert_eq!([40, 44, 48].map(|at| u32_at(&bytes, at)), [512, 255, 512]);

        assert_eq!(filled(8, |room| room.length(3).is_ok()).unwrap()[..4], 3_u32.to_ne_bytes());
        assert_eq!(filled(7, |room| room.length(3).is_ok()), None);
        assert_eq!(filled(79, |room| room.space(&space, 255).is_ok()), None);
    }

    #[test]
    fn lines_fill_the_room_and_never_more() {
        let holding = Holding { name: HOUR, attributes: HOUR };
        for (name, padded) in [("a", 8), ("12345678", 8), ("123456789", 16)] {
            let found = Found { inode: Inode(42), attributes: attributes(), holds: Holds::Forever };
            for (plus, found, length) in
                [(false, None, 24 + padded), (true, None, 152 + padded), (true, Some(found), 152 + padded)]
            {
                let listed = Listed { name, number: 5, kind: FileKind::File, next: 3, found };
                let bytes = filled(length, |room| room.line(&listed, plus, holding)).unwrap();
                assert_eq!(bytes.len(), length);
                let at = if plus { 128 } else { 0 };
                assert_eq!((u64_at(&bytes, at), u64_at(&bytes, at + 8)), (5, 3));
                assert_eq!(u32_at(&bytes, at + 16) as usize, name.len());
                assert_eq!(u32_at(&bytes, at + 20), 8, "DT_REG");
                assert_eq!(&bytes[at + 24..at + 24 + name.len()], name.as_bytes());
                assert!(bytes[at + 24 + name.len()..].iter().all(|&byte| byte == 0));
                if plus {
                    assert_eq!(u64_at(&bytes, 0), found.map_or(0, |found| found.inode.0));
                }
                assert_eq!(filled(length - 1, |room| room.line(&listed, plus, holding)), None);
            }
        }
    }

    #[test]
    fn headers_and_notices_say_their_lengths() {
        let bytes = header(7, Ok(128));
        assert_eq!((u32_at(&bytes, 0), u32_at(&bytes, 4), u64_at(&bytes, 8)), (144, 0, 7));
        let bytes = header(7, Err(Errno::NOENT));
        assert_eq!((u32_at(&bytes, 0), u32_at(&bytes, 4).cast_signed()), (16, -2));

        let bytes = Notice::Entry { parent: 5, name: b"name" }.bytes();
        assert_eq!((bytes.len(), u32_at(&bytes, 0) as usize), (37, 37));
        assert_eq!((u32_at(&bytes, 4), u64_at(&bytes, 8), u64_at(&bytes, 16)), (3, 0, 5));
        assert_eq!((u32_at(&bytes, 24), u32_at(&bytes, 28), &bytes[32..]), (4, 0, &b"name\0"[..]));
        let bytes = Notice::Inode { inode: 9 }.bytes();
        assert_eq!((bytes.len(), u32_at(&bytes, 4), u64_at(&bytes, 16)), (40, 2, 9));
        assert_eq!((u64_at(&bytes, 24), u64_at(&bytes, 32)), (0, 0));
    }
}
