//! The bytes of a node (`docs/format.md`, "Nodes").
//!
//! Always true: one list of entries has exactly one encoding, and `decode` accepts nothing that `leaf` and
//! `index` would not write: it never panics, allocates by the bytes present and never by a declared length.

use super::{Chunk, Dir, Entry, Item, Kind, Link, Node, Sums};
use crate::digest::{BlobId, NodeId};
use crate::name::Name;

/// First byte of every node.
const FORMAT: u8 = 1;
const KIND_FILE: u64 = 0;
const KIND_EXECUTABLE: u64 = 1;
const KIND_DIR: u64 = 2;
const KIND_SYMLINK: u64 = 3;
/// The kind shares a number with the length of the name's shared prefix.
const KINDS: u64 = 4;
/// Index nodes stand at most this high; 100^8 entries are more than a directory will have.
const HEIGHT_MAX: u8 = 8;

/// Encodes a leaf node.
pub(super) fn leaf(entries: &[Entry]) -> Vec<u8> {
    let mut out = Writer::new(0, entries.len(), 80);
    let mut previous_mtime = 0;
    for entry in entries {
        let Item { mtime, kind } = &entry.item;
        let kind_number = match kind {
            Kind::File { executable: false, .. } => KIND_FILE,
            Kind::File { executable: true, .. } => KIND_EXECUTABLE,
            Kind::Dir(_) => KIND_DIR,
            Kind::Symlink { .. } => KIND_SYMLINK,
        };
        out.name(kind_number, &entry.name);
        out.signed(mtime.wrapping_sub(previous_mtime));
        previous_mtime = *mtime;
        match kind {
            Kind::File { blob, size_bytes, .. } => {
                out.number(*size_bytes);
                out.bytes.extend_from_slice(blob.as_bytes());
            }
            Kind::Dir(Dir { id, sums }) => {
                out.bytes.extend_from_slice(id.as_bytes());
                for count in [sums.files, sums.dirs, sums.symlinks, sums.bytes] {
                    out.number(count);
                }
            }
            Kind::Symlink { target } => out.text(target),
        }
    }
    out.bytes
}

/// Encodes an index node that stands `height` levels above the leaves.
pub(super) fn index(height: u8, chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Writer::new(height, chunks.len(), 64);
    for chunk in chunks {
        out.name(KIND_DIR, &chunk.first);
        out.bytes.extend_from_slice(chunk.id.as_bytes());
    }
    out.bytes
}

/// Decodes a node, or says what is wrong with it and at which byte.
pub(super) fn decode(bytes: &[u8]) -> Result<Node, String> {
    read(bytes, Reader::node)
}

/// Calls `visit` with what a node names, in order. Of bytes that [`decode`] would not accept it may say anything.
pub(super) fn links(bytes: &[u8], visit: &mut impl FnMut(Link)) -> Result<(), String> {
    read(bytes, |input| input.links(visit))
}

fn read<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, String>,
) -> Result<T, String> {
    let mut input = Reader { bytes, at: 0, previous_name: Vec::new(), name: Vec::new() };
    let found = read(&mut input);
    found.map_err(|reason| format!("{reason} at byte {}", input.at))
}

struct Writer<'a> {
    bytes: Vec<u8>,
    previous_name: &'a str,
}

impl<'a> Writer<'a> {
    fn new(height: u8, count: usize, element_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(16 + count * element_bytes);
        bytes.extend([FORMAT, height]);
        let mut writer = Self { bytes, previous_name: "" };
        writer.number(count as u64);
        writer
    }

    /// Unsigned LEB128.
    fn number(&mut self, mut value: u64) {
        loop {
            let low = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            if value == 0 {
                return self.bytes.push(low);
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// Zigzag, then unsigned.
    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// What the name shares with the one before it, at both ends, is not written again: packages of one
    /// directory begin with their neighbour's name and end in `.el9.x86_64.rpm`.
    fn name(&mut self, kind: u64, name: &'a Name) {
        let name = name.as_str();
        let (prefix, suffix) = shared(self.previous_name.as_bytes(), name.as_bytes());
        self.number(prefix as u64 * KINDS + kind);
        self.number(suffix as u64);
        let middle = &name.as_bytes()[prefix..name.len() - suffix];
        self.number(middle.len() as u64);
        self.bytes.extend_from_slice(middle);
        self.previous_name = name;
    }
}

/// The longest common prefix of two names, and the longest common suffix of what is left of both.
fn shared(a: &[u8], b: &[u8]) -> (usize, usize) {
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    (prefix, suffix)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    previous_name: Vec<u8>,
    /// Room for the next one.
    name: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn node(&mut self) -> Result<Node, String> {
        if self.byte()? != FORMAT {
            return Err("unknown format".into());
        }
        let height = self.byte()?;
        let count = self.number()?;
        // The smallest element has four bytes, so a count beyond the bytes is a lie.
        if count > self.bytes.len() as u64 {
            return Err("count beyond the node".into());
        }
        let count = usize::try_from(count).map_err(|_| "count too large")?;
        let node = match height {
            0 => Node::Leaf(self.entries(count)?),
            1..=HEIGHT_MAX if count > 0 => Node::Index(self.chunks(count)?),
            _ => return Err("impossible height".into()),
        };
        if self.at == self.bytes.len() { Ok(node) } else { Err("bytes after the end".into()) }
    }

    fn entries(&mut self, count: usize) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::with_capacity(count.min(self.bytes.len() / 8 + 1));
        let mut mtime = 0_i64;
        for _ in 0..count {
            let (kind, name) = self.name()?;
            mtime = mtime.wrapping_add(self.signed()?);
            let kind = match kind {
                KIND_FILE => self.file(false)?,
                KIND_EXECUTABLE => self.file(true)?,
                KIND_DIR => Kind::Dir(self.dir()?),
                _ => Kind::Symlink { target: self.text()?.into() },
            };
            entries.push(Entry { name, item: Item { mtime, kind } });
        }
        Ok(entries)
    }

    fn file(&mut self, executable: bool) -> Result<Kind, String> {
        let size_bytes = self.number()?;
        Ok(Kind::File { size_bytes, blob: BlobId::from(self.digest()?), executable })
    }

    fn dir(&mut self) -> Result<Dir, String> {
        let id = NodeId::from(self.digest()?);
        let sums = Sums {
            files: self.number()?,
            dirs: self.number()?,
            symlinks: self.number()?,
            bytes: self.number()?,
        };
        Ok(Dir { id, sums })
    }

    fn chunks(&mut self, count: usize) -> Result<Vec<Chunk>, String> {
        let mut chunks = Vec::new();
        for _ in 0..count {
            match self.name()? {
                (KIND_DIR, first) => chunks.push(Chunk { first, id: NodeId::from(self.digest()?) }),
                _ => return Err("an index names something else than nodes".into()),
            }
        }
        Ok(chunks)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).ok_or("read beyond the end")?;
        let taken = rest.get(..len).ok_or("ends too early")?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|b| b[0])
    }

    fn digest(&mut self) -> Result<[u8; 32], String> {
        self.take(32)?.try_into().map_err(|_| "ends too early".into())
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err("number too large or not shortest".into());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("number too large".into())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.number()?).map_err(|_| "length too large".into())
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let len = self.length()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| "text is not UTF-8".into())
    }

    fn name(&mut self) -> Result<(u64, Name), String> {
        let tag = self.number()?;
        let prefix = usize::try_from(tag / KINDS).map_err(|_| "length too large")?;
        let (suffix, middle) = (self.length()?, self.length()?);
        let middle = self.take(middle)?;
        let Self { previous_name: previous, name, .. } = self;
        let fits = prefix.checked_add(suffix).is_some_and(|shared| shared <= previous.len());
        if !fits {
            return Err("name shares more than its neighbour has".into());
        }
        name.clear();
        for part in [&previous[..prefix], middle, &previous[previous.len() - suffix..]] {
            name.extend_from_slice(part);
        }
        if *previous >= *name {
            return Err("names out of order".into());
        }
        if shared(previous, name) != (prefix, suffix) {
            return Err("name not written shortest".into());
        }
        let parsed = Name::new(&*name).map_err(|e| e.to_string())?;
        std::mem::swap(previous, name);
        Ok((tag % KINDS, parsed))
    }

    /// Passes over the name of an element; its kind.
    fn skip_name(&mut self) -> Result<u64, String> {
        let tag = self.number()?;
        let (_suffix, middle) = (self.length()?, self.length()?);
        self.take(middle)?;
        Ok(tag % KINDS)
    }

    fn links(&mut self, visit: &mut impl FnMut(Link)) -> Result<(), String> {
        self.take(1)?;
        let is_leaf = self.byte()? == 0;
        for _ in 0..self.number()? {
            let kind = self.skip_name()?;
            if !is_leaf {
                visit(Link::Node(NodeId::from(self.digest()?)));
                continue;
            }
            self.number()?;
            match kind {
                KIND_FILE | KIND_EXECUTABLE => {
                    let size_bytes = self.number()?;
                    visit(Link::Blob(BlobId::from(self.digest()?), size_bytes));
                }
                KIND_DIR => visit(Link::Node(self.dir()?.id)),
                _ => drop(self.text()?),
            }
        }
        Ok(())
    }
}
