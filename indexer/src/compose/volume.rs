//! What an ISO image says of itself: its label, how it starts, and what is in it.
//!
//! Formats: ISO 9660 (ECMA-119: 8.4 the primary volume descriptor, 9.1 directory records), Rock Ridge's names (SUSP
//! 1.12: CE, SP; RRIP 1.12: NM, CL, RE), El Torito (the boot record volume descriptor at sector 17), and the text that
//! `implantisomd5` writes into the application's part of the descriptor.
//!
//! Always true: an image may hold anything; whatever it holds, reading it ends and takes little memory.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

const SECTOR: usize = 2048;
const SECTOR_BYTES: u32 = 2048;
/// More than any image of a release has.
const PATHS_MAX: usize = 500_000;
/// Bytes of one directory.
const DIRECTORY_BYTES_MAX: u32 = 32 << 20;
/// Directories in one another.
const DEPTH_MAX: usize = 64;
/// Pieces of one system use field.
const PIECES_MAX: usize = 32;

/// What an ISO image says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) id: Option<String>,
    pub(super) implant_md5: Option<String>,
    pub(super) bootable: bool,
}

impl Volume {
    /// Reads the descriptors; what is no ISO image says nothing.
    pub(super) fn read(file: &File) -> Self {
        let mut sectors = [0; 2 * SECTOR];
        if file.read_exact_at(&mut sectors, 16 * SECTOR as u64).is_err() || sectors[1..6] != *b"CD001" {
            return Self::default();
        }
        let (primary, boot) = sectors.split_at(SECTOR);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned();
        let application = text(&primary[883..1395]);
        let md5 = application.split(';').find_map(|part| part.trim().strip_prefix("ISO MD5SUM = "));
        Self {
            id: Some(text(&primary[40..72])).filter(|id| !id.is_empty()),
            implant_md5: md5.map(str::to_owned),
            bootable: boot[0] == 0 && boot[1..6] == *b"CD001" && boot[7..30] == *b"EL TORITO SPECIFICATION",
        }
    }
}

/// The text of the image's manifest: every path in it from its top, one a line, sorted; `None` for what is no ISO image or is
/// damaged.
pub(super) fn manifest(file: &File) -> Option<Vec<u8>> {
    let mut primary = [0; SECTOR];
    file.read_exact_at(&mut primary, 16 * SECTOR as u64).ok()?;
    if primary[..6] != *b"\x01CD001" {
        return None;
    }
    let root = Extent::of(primary.get(156..190)?)?;
    let mut image = Image { file, skip: 0, seen: HashSet::new(), paths: Vec::new() };
    image.skip = image.skipped(root)?;
    image.walk(root, b"", 0)?;
    image.paths.sort_unstable();
    let mut text = Vec::new();
    for path in image.paths {
        text.extend_from_slice(&path);
        text.push(b'\n');
    }
    Some(text)
}

/// Where a directory is.
#[derive(Debug, Clone, Copy)]
struct Extent {
    block: u32,
    bytes: u32,
}

impl Extent {
    fn of(record: &[u8]) -> Option<Self> {
        Some(Self { block: number(record, 2)?, bytes: number(record, 10)? })
    }
}

/// A number in both orders of bytes, of which the first is read.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

struct Image<'f> {
    file: &'f File,
    /// Bytes of each system use field that are not Rock Ridge's.
    skip: usize,
    seen: HashSet<u32>,
    paths: Vec<Vec<u8>>,
}

/// What Rock Ridge says of a record.
#[derive(Debug, Default)]
struct Said {
    name: Vec<u8>,
    /// The directory stands elsewhere, since it would be too deep here.
    child: Option<u32>,
    /// The directory stands here only because it would be too deep elsewhere.
    moved: bool,
}

impl Image<'_> {
    fn read(&self, block: u32, bytes: u32) -> Option<Vec<u8>> {
        if bytes > DIRECTORY_BYTES_MAX {
            return None;
        }
        let mut all = vec![0; bytes as usize];
        self.file.read_exact_at(&mut all, u64::from(block) * SECTOR as u64).ok()?;
        Some(all)
    }

    /// What the first record of the top says about the fields of all.
    fn skipped(&self, root: Extent) -> Option<usize> {
        let first = self.read(root.block, root.bytes.min(SECTOR_BYTES))?;
        let length = usize::from(*first.first()?);
        let field = first.get(34..length)?;
        let is_there = field.len() >= 7 && field.starts_with(b"SP\x07\x01\xbe\xef");
        Some(if is_there { usize::from(field[6]) } else { 0 })
    }

    fn walk(&mut self, directory: Extent, path: &[u8], depth: usize) -> Option<()> {
        if depth > DEPTH_MAX || !self.seen.insert(directory.block) {
            return None;
        }
        let bytes = self.read(directory.block, directory.bytes)?;
        let mut at = 0;
        while at < bytes.len() {
            let length = usize::from(bytes[at]);
            if length == 0 {
                // Records do not go over the end of a sector.
                at = (at / SECTOR + 1) * SECTOR;
                continue;
            }
            let record = bytes.get(at..at + length).filter(|record| record.len() >= 34)?;
            at += length;
            self.record(record, path, depth)?;
        }
        Some(())
    }

    fn record(&mut self, record: &[u8], path: &[u8], depth: usize) -> Option<()> {
        let name_bytes = usize::from(record[32]);
        let plain = record.get(33..33 + name_bytes)?;
        if plain == [0] || plain == [1] {
            return Some(()); // the directory itself, and the one above it
        }
        let field = 33 + name_bytes + usize::from(name_bytes.is_multiple_of(2));
        let said = self.said(record.get(field + self.skip..).unwrap_or_default())?;
        if said.moved {
            return Some(());
        }
        let name = if said.name.is_empty() {
            let end = plain.iter().position(|byte| *byte == b';').unwrap_or(plain.len());
            plain[..end].to_vec()
        } else {
            said.name
        };
        let mut whole = path.to_vec();
        whole.push(b'/');
        whole.extend(name);
        if self.paths.len() >= PATHS_MAX {
            return None;
        }
        self.paths.push(whole.clone());
        match said.child {
            Some(block) => {
                let own = self.read(block, SECTOR_BYTES)?;
                self.walk(Extent::of(own.get(..34)?)?, &whole, depth + 1)
            }
            None if record[25] & 2 != 0 => self.walk(Extent::of(record)?, &whole, depth + 1),
            None => Some(()),
        }
    }

    fn said(&self, field: &[u8]) -> Option<Said> {
        let mut said = Said::default();
        let mut piece = field.to_vec();
        for _ in 0..PIECES_MAX {
            let mut next = None;
            let mut rest = piece.as_slice();
            while let [a, b, length, _, ..] = *rest {
                let length = usize::from(length);
                let Some(entry) = rest.get(..length).filter(|entry| entry.len() >= 4) else { break };
                match &[a, b] {
                    b"NM" => said.name.extend(entry.get(5..)?),
                    b"CL" => said.child = Some(number(entry, 4)?),
                    b"RE" => said.moved = true,
                    b"CE" => next = Some((number(entry, 4)?, number(entry, 12)?, number(entry, 20)?)),
                    b"ST" => break,
                    _ => {}
                }
                rest = &rest[length..];
            }
            let Some((block, offset, bytes)) = next else { return Some(said) };
            let all = self.read(block, offset.checked_add(bytes)?)?;
            piece = all.get(offset as usize..)?.to_vec();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn image(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        manifest(&file)
    }

    /// A directory record.
    fn record(block: u32, bytes: u32, flags: u8, name: &[u8], field: &[u8]) -> Vec<u8> {
        let padding = usize::from(name.len().is_multiple_of(2));
        let mut record = vec![0; 33];
        record[2..6].copy_from_slice(&block.to_le_bytes());
        record[10..14].copy_from_slice(&bytes.to_le_bytes());
        record[25] = flags;
        record[32] = u8::try_from(name.len()).unwrap();
        record.extend(name);
        record.extend(vec![0; padding]);
        record.extend(field);
        record[0] = u8::try_from(record.len()).unwrap();
        record
    }

    fn made(top: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 20 * SECTOR];
        bytes[16 * SECTOR..16 * SECTOR + 6].copy_from_slice(b"\x01CD001");
        let root = record(18, 2048, 2, &[0], b"");
        bytes[16 * SECTOR + 156..16 * SECTOR + 156 + 34].copy_from_slice(&root[..34]);
        let all: Vec<u8> = [vec![root.clone()], top.to_vec()].concat().concat();
        bytes[18 * SECTOR..18 * SECTOR + all.len()].copy_from_slice(&all);
        bytes
    }

    #[test]
    fn names_come_from_the_directory_and_from_rock_ridge() {
        let plain = record(19, 1, 0, b"README.TXT;1", b"");
        let long = record(19, 1, 0, b"LONG", b"NM\x0a\x01\x01some-NM\x0e\x01\x00where.rpm");
        assert_eq!(image(&made(&[plain, long])).unwrap(), b"/README.TXT\n/some-where.rpm\n");
    }

    #[test]
    fn what_is_wrong_with_an_image_ends() {
        let circle = record(18, 2048, 2, b"DIR", b"");
        let huge = record(19, u32::MAX, 2, b"DIR", b"");
        let far = record(u32::MAX, 2048, 2, b"DIR", b"");
        let again =
            record(19, 1, 0, b"A", b"CE\x1c\x01\x12\0\0\0\0\0\0\x12\0\0\0\0\0\0\0\0\xff\xff\xff\x7f\0\0\0\0");
        for record in [circle, huge, far, again] {
            assert_eq!(image(&made(&[record])), None);
        }
        let good = made(&[record(19, 1, 0, b"A", b"NM\x06\x01\0a")]);
        for at in 0..good.len() {
            let mut broken = good.clone();
            broken[at] ^= 0x81;
            let _ = at.is_multiple_of(97).then(|| image(&broken));
        }
        assert_eq!(image(&good[..17 * SECTOR]), None);
        assert_eq!(image(b""), None);
    }
}
