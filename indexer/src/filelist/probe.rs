//! What is made of a list that somebody has damaged, without a store: for tests that try hostile ones.

use super::FilelistError;
use super::splice::Source;
use super::write::parts;

/// Whether a timelist has a line for `path`.
pub fn has_line(list: &[u8], path: &str) -> Result<bool, FilelistError> {
    let bytes = Bytes(list);
    let parts = parts(Source { name: "a list", bytes: &bytes })?;
    let found = parts.files.find(path.as_bytes(), parts.files.range.start)?;
    parts.checksums.find(path.as_bytes(), parts.checksums.range.start)?;
    Ok(found.line.is_some())
}

/// Bytes in memory.
struct Bytes<'a>(&'a [u8]);

impl super::splice::ReadAt for Bytes<'_> {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buffer)
    }
}
