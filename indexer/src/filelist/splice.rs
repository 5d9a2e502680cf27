//! New lists out of old ones: some lines go, some come, everything else is copied.
//!
//! Always true: a list is searched by halves where it lies and never read as a whole; splices stand in the order of
//! the list and do not overlap.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::FilelistError;
use super::line::LINE_MAX_BYTES;

/// Bytes that can be read anywhere.
pub(super) trait ReadAt: Sync {
    /// How many there are.
    fn size_bytes(&self) -> u64;
    /// Fills `buffer` from `offset` on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A list in a file.
#[derive(Debug)]
pub(super) struct ListFile {
    pub(super) file: File,
    pub(super) size_bytes: u64,
}

impl ReadAt for ListFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A list with its name, for messages.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: &'a dyn ReadAt,
}

impl Source<'_> {
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FilelistError> {
        self.bytes.read_at(offset, buffer).map_err(|source| {
            let name = self.name.to_owned();
            FilelistError::Io { verb: "read", name, source }
        })
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> FilelistError {
        FilelistError::Damaged { name: self.name.to_owned(), reason: reason.into() }
    }
}

/// A part of a list whose lines stand in byte order of their keys.
#[derive(Clone)]
pub(super) struct Sorted<'a> {
    pub(super) source: Source<'a>,
    /// Whole lines.
    pub(super) range: Range<u64>,
    /// The key of a line without its end.
    pub(super) key: fn(&[u8]) -> Option<&[u8]>,
}

/// Where a key is, or would be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: u64,
    /// The line with its end.
    pub(super) line: Option<Vec<u8>>,
}

impl Sorted<'_> {
    /// Finds `key` at or after `from`, the beginning of a line.
    pub(super) fn find(&self, key: &[u8], from: u64) -> Result<Found, FilelistError> {
        let (mut low, mut high) = (from, self.range.end);
        let mut buffer = Vec::new();
        while low < high {
            let line = self.line_around(low + (high - low) / 2, low, &mut buffer)?;
            let text = buffer.get(line.text.clone()).unwrap_or_default();
            let found = (self.key)(text).ok_or_else(|| {
                self.source.damaged(format!("the line at byte {} is no line of a list", line.at))
            })?;
            match found.cmp(key) {
                Ordering::Less => low = line.end,
                Ordering::Greater => high = line.at,
                Ordering::Equal => {
                    let text = [text, b"\n"].concat();
                    return Ok(Found { at: line.at, line: Some(text) });
                }
            }
        }
        Ok(Found { at: low, line: None })
    }

    /// The line that the byte `middle` is in; `low` is the beginning of a line at or before it.
    fn line_around(&self, middle: u64, low: u64, buffer: &mut Vec<u8>) -> Result<Around, FilelistError> {
        // Most lines are short.
        for reach in [256, LINE_MAX_BYTES as u64] {
            let start = middle.saturating_sub(reach).max(low);
            let end = middle.saturating_add(reach).min(self.range.end);
            buffer.resize(usize::try_from(end - start).unwrap_or_default(), 0);
            self.source.read(start, buffer)?;
            let split = usize::try_from(middle - start).unwrap_or_default();
            let before = buffer[..split].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let first = if start == low { Some(before.unwrap_or(0)) } else { before };
            let last = buffer[split..].iter().position(|byte| *byte == b'\n').map(|at| at + split);
            if let (Some(first), Some(last)) = (first, last) {
                return Ok(Around {
                    at: start + first as u64,
                    end: start + last as u64 + 1,
                    text: first..last,
                });
            }
        }
        Err(self.source.damaged(format!("the line at byte {middle} is too long")))
    }
}

struct Around {
    at: u64,
    end: u64,
    /// Without the end of the line, in the buffer.
    text: Range<usize>,
}

/// One replaced place of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) at: u64,
    pub(super) removed_bytes: u64,
    pub(super) inserted: Vec<u8>,
}

/// What replaces the lines of `keys` (in byte order): each with its new line, or `None` where there is to be no line.
/// What is as it should be needs no splice. Calls `told` with every key whose line comes or goes.
pub(super) fn splices<'k>(
    list: &Sorted<'_>,
    keys: impl IntoIterator<Item = (&'k str, Option<Vec<u8>>)>,
    told: &mut dyn FnMut(&'k str, bool),
) -> Result<Vec<Splice>, FilelistError> {
    let mut splices = Vec::new();
    let mut from = list.range.start;
    for (key, wanted) in keys {
        let Found { at, line } = list.find(key.as_bytes(), from)?;
        if line.is_some() != wanted.is_some() {
            told(key, wanted.is_some());
        }
        let removed_bytes = line.as_ref().map_or(0, |line| line.len() as u64);
        from = at + removed_bytes;
        if line != wanted {
            splices.push(Splice { at, removed_bytes, inserted: wanted.unwrap_or_default() });
        }
    }
    Ok(splices)
}

/// Bytes that are copied at a time: they stay in the processor's cache between reading, hashing and writing.
const COPY_BYTES: usize = 256 << 10;

/// Writes the whole list with its splices, which stand in order. `read` is called with all bytes of the old list.
pub(super) fn apply(
    source: Source<'_>,
    splices: &[Splice],
    read: &mut dyn FnMut(&[u8]),
    out: &mut dyn Write,
) -> Result<(), FilelistError> {
    let mut copy = Copy { source, buffer: vec![0; COPY_BYTES], at: 0, read };
    for splice in splices {
        copy.until(splice.at, out)?;
        out.write_all(&splice.inserted).map_err(|error| write_error(source.name, error))?;
        copy.until(splice.at + splice.removed_bytes, &mut io::sink())?;
    }
    copy.until(source.bytes.size_bytes(), out)
}

struct Copy<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    at: u64,
    read: &'a mut dyn FnMut(&[u8]),
}

impl Copy<'_> {
    fn until(&mut self, end: u64, out: &mut dyn Write) -> Result<(), FilelistError> {
        while self.at < end {
            let wanted = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(self.buffer.len());
            let bytes = &mut self.buffer[..wanted];
            self.source.read(self.at, bytes)?;
            (self.read)(bytes);
            out.write_all(bytes).map_err(|error| write_error(self.source.name, error))?;
            self.at += wanted as u64;
        }
        Ok(())
    }
}

pub(super) fn write_error(name: &str, source: io::Error) -> FilelistError {
    FilelistError::Io { verb: "write", name: name.to_owned(), source }
}
