//! One header: an index of entries and their data.
//!
//! Always true: every entry's data begins inside the header and has a known type; the values themselves are
//! checked when they are asked for.

use std::io::Read;

use super::{ENTRIES_MAX, Fault, HEADER_BYTES_MAX, RpmError, VALUES_MAX, fill};

const MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
const INTRO_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

const CHAR: u32 = 1;
const INT8: u32 = 2;
const INT16: u32 = 3;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// A header as it is in the file.
#[derive(Debug)]
pub struct Header {
    /// Everything from the magic number on.
    bytes: Vec<u8>,
    /// Where that is in the file.
    at_byte: u64,
    /// Sorted by tag; of several entries of one tag, the first.
    entries: Vec<Entry>,
    /// Where in `bytes` the data begins.
    data_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    kind: u32,
    /// From the beginning of the data.
    offset: usize,
    count: usize,
    /// Where the entry is in the file.
    at_byte: u64,
}

/// The strings of an entry, one after the other.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    data: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // That all of them end was seen before.
        let end = self.data.iter().position(|byte| *byte == 0)?;
        let string = &self.data[..end];
        self.data = &self.data[end + 1..];
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

impl Header {
    /// Reads a header from `input`, which stands at `at_byte` of the file.
    pub fn read(input: &mut impl Read, at_byte: u64) -> Result<Self, RpmError> {
        let mut intro = [0; INTRO_BYTES];
        fill(input, &mut intro, at_byte, "a header")?;
        if intro[..4] != MAGIC {
            return Err(RpmError::Magic { at_byte, what: "a header" });
        }
        let (entries, data_bytes) = (be_u32(&intro[8..12]) as usize, be_u32(&intro[12..16]) as usize);
        let limit = |at, what, limit| Err(RpmError::Limit { at_byte: at_byte + at, what, limit });
        if entries > ENTRIES_MAX {
            return limit(8, "entries of a header", ENTRIES_MAX);
        }
        if data_bytes > HEADER_BYTES_MAX {
            return limit(12, "bytes of a header", HEADER_BYTES_MAX);
        }
        let rest_bytes = entries * ENTRY_BYTES + data_bytes;
        let mut bytes = intro.to_vec();
        // Memory is taken as bytes come, not as they are announced.
        input.take(rest_bytes as u64).read_to_end(&mut bytes).map_err(RpmError::Read)?;
        if bytes.len() != INTRO_BYTES + rest_bytes {
            return Err(RpmError::Truncated { at_byte: at_byte + bytes.len() as u64, inside: "a header" });
        }
        let data_at = INTRO_BYTES + entries * ENTRY_BYTES;
        let mut header = Self { bytes, at_byte, entries: Vec::with_capacity(entries), data_at };
        header.index(data_bytes)?;
        Ok(header)
    }

    fn index(&mut self, data_bytes: usize) -> Result<(), RpmError> {
        let mut at_byte = self.at_byte + INTRO_BYTES as u64;
        for entry in self.bytes[INTRO_BYTES..self.data_at].chunks_exact(ENTRY_BYTES) {
            let (tag, kind) = (be_u32(&entry[..4]), be_u32(&entry[4..8]));
            let (offset, count) = (be_u32(&entry[8..12]) as usize, be_u32(&entry[12..16]) as usize);
            let entry = Entry { tag, kind, offset, count, at_byte };
            if kind > I18N_STRING {
                return Err(entry.error(Fault::Kind));
            }
            if offset > data_bytes {
                return Err(entry.error(Fault::Outside));
            }
            self.entries.push(entry);
            at_byte += ENTRY_BYTES as u64;
        }
        self.entries.sort_by_key(|entry| entry.tag);
        self.entries.dedup_by_key(|entry| entry.tag);
        Ok(())
    }

    /// Where the header begins in the file.
    pub fn at_byte(&self) -> u64 {
        self.at_byte
    }

    /// Where the file goes on behind the header.
    pub fn end_byte(&self) -> u64 {
        self.at_byte + self.bytes.len() as u64
    }

    /// The header as it is in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is an entry called `tag`.
    pub fn has(&self, tag: u32) -> bool {
        self.entry(tag).is_some()
    }

    /// The strings of an entry; `None` when it is not there.
    pub fn strings(&self, tag: u32) -> Result<Option<Strings<'_>>, RpmError> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        if ![STRING, STRING_ARRAY, I18N_STRING].contains(&entry.kind) {
            return Err(entry.error(Fault::Kind));
        }
        let left = if entry.kind == STRING { 1 } else { entry.bounded()? };
        let data = self.data(entry);
        let mut end = 0;
        for _ in 0..left {
            let length = data[end..].iter().position(|byte| *byte == 0);
            end += length.ok_or_else(|| entry.error(Fault::Endless))? + 1;
        }
        Ok(Some(Strings { data: &data[..end], left }))
    }

    /// The first string of an entry; `None` when it is not there. Of a translated text that is the one in the C
    /// locale.
    pub fn string(&self, tag: u32) -> Result<Option<&[u8]>, RpmError> {
        Ok(self.strings(tag)?.and_then(|mut strings| strings.next()))
    }

    /// The numbers of an entry; none when it is not there.
    pub fn numbers(&self, tag: u32) -> Result<Vec<u64>, RpmError> {
        let Some(entry) = self.entry(tag) else { return Ok(Vec::new()) };
        let width = match entry.kind {
            CHAR | INT8 => 1,
            INT16 => 2,
            INT32 => 4,
            INT64 => 8,
            _ => return Err(entry.error(Fault::Kind)),
        };
        let data = self.data(entry).get(..entry.bounded()? * width);
        let data = data.ok_or_else(|| entry.error(Fault::Outside))?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(data.chunks_exact(width).map(number).collect())
    }

    /// The first number of an entry; `None` when it is not there.
    pub fn number(&self, tag: u32) -> Result<Option<u64>, RpmError> {
        match (self.entry(tag), self.numbers(tag)?.first()) {
            (None, _) => Ok(None),
            (Some(_), Some(number)) => Ok(Some(*number)),
            (Some(entry), None) => Err(entry.error(Fault::Empty)),
        }
    }

    /// The bytes of an entry; `None` when it is not there.
    pub fn binary(&self, tag: u32) -> Result<Option<&[u8]>, RpmError> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        if entry.kind != BINARY {
            return Err(entry.error(Fault::Kind));
        }
        let data = self.data(entry).get(..entry.count);
        data.ok_or_else(|| entry.error(Fault::Outside)).map(Some)
    }

    fn entry(&self, tag: u32) -> Option<&Entry> {
        let found = self.entries.binary_search_by_key(&tag, |entry| entry.tag);
        found.ok().map(|at| &self.entries[at])
    }

    /// The data from the beginning of an entry's on.
    fn data(&self, entry: &Entry) -> &[u8] {
        &self.bytes[self.data_at + entry.offset..]
    }
}

impl Entry {
    fn error(&self, fault: Fault) -> RpmError {
        RpmError::Entry { at_byte: self.at_byte, tag: self.tag, fault }
    }

    fn bounded(&self) -> Result<usize, RpmError> {
        let (at_byte, limit) = (self.at_byte + 12, VALUES_MAX);
        let too_many = RpmError::Limit { at_byte, what: "values of an entry", limit };
        if self.count > VALUES_MAX { Err(too_many) } else { Ok(self.count) }
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
