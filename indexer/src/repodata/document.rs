//! A metadata file in the making: hashed, compressed and hashed again while it is written.
//!
//! Always true: the same text gives the same bytes.

use std::io::{self, Write};

use super::compression::{Compressor, Format};
use crate::checksum::{Algorithm, Checksum, Digester};

/// The three documents that list packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What packages are and need.
    Primary,
    /// Their files.
    Filelists,
    /// Their changelogs.
    Other,
}

impl Kind {
    /// All of them, in the order of `repomd.xml`.
    pub const ALL: [Self; 3] = [Self::Primary, Self::Filelists, Self::Other];

    /// The type of the record in `repomd.xml`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Filelists => "filelists",
            Self::Other => "other",
        }
    }

    /// What stands before the packages.
    pub fn opening(self, packages: usize) -> String {
        let top = match self {
            Self::Primary => {
                "metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
                 xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\""
            }
            Self::Filelists => "filelists xmlns=\"http://linux.duke.edu/metadata/filelists\"",
            Self::Other => "otherdata xmlns=\"http://linux.duke.edu/metadata/other\"",
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{top} packages=\"{packages}\">\n")
    }

    /// What stands behind them.
    pub const fn closing(self) -> &'static str {
        match self {
            Self::Primary => "</metadata>\n",
            Self::Filelists => "</filelists>\n",
            Self::Other => "</otherdata>\n",
        }
    }
}

/// A document that is being written.
#[derive(Debug)]
pub struct Document {
    open: Digester,
    open_size_bytes: u64,
    out: Compressor<Tee>,
}

/// A finished document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// As it stands in the file.
    pub bytes: Vec<u8>,
    /// Of these bytes.
    pub checksum: Checksum,
    /// Of the text.
    pub open_checksum: Checksum,
    /// Bytes of the text.
    pub open_size_bytes: u64,
}

impl Document {
    /// An empty document.
    pub fn new(format: Format, algorithm: Algorithm) -> io::Result<Self> {
        let tee = Tee { bytes: Vec::new(), digester: Digester::new(algorithm) };
        Ok(Self { open: Digester::new(algorithm), open_size_bytes: 0, out: Compressor::new(format, tee)? })
    }

    /// The end of it.
    pub fn finish(self) -> io::Result<Finished> {
        let Tee { bytes, digester } = self.out.finish()?;
        let (checksum, open_checksum) = (digester.finish(), self.open.finish());
        Ok(Finished { bytes, checksum, open_checksum, open_size_bytes: self.open_size_bytes })
    }

    /// The document that `text` is.
    pub fn of(text: &[u8], format: Format, algorithm: Algorithm) -> io::Result<Finished> {
        let mut document = Self::new(format, algorithm)?;
        document.write_all(text)?;
        document.finish()
    }
}

impl Write for Document {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.update(bytes);
        self.open_size_bytes += bytes.len() as u64;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Tee {
    bytes: Vec<u8>,
    digester: Digester,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digester.update(bytes);
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::compression;
    use super::*;

    #[test]
    fn every_format_gives_the_text_back_and_the_same_bytes_however_it_is_cut() {
        let text = "what packages are and need\n".repeat(90_000);
        for format in [Format::Plain, Format::Gzip, Format::Xz, Format::Zstd, Format::Bzip2] {
            let whole = Document::of(text.as_bytes(), format, Algorithm::Sha256).unwrap();
            let mut pieces = Document::new(format, Algorithm::Sha256).unwrap();
            text.as_bytes().chunks(777).for_each(|piece| pieces.write_all(piece).unwrap());
            assert!(pieces.finish().unwrap() == whole, "{format:?}");
            assert_eq!(Format::of(&whole.bytes), format);
            let mut back = String::new();
            let mut reader = compression::reader(&whole.bytes[..], 1 << 24).unwrap();
            reader.read_to_string(&mut back).unwrap();
            assert_eq!(back, text);
            assert_eq!(whole.open_size_bytes, text.len() as u64);
        }
    }
}
