//! RPM files: what a package says of itself, from bytes to values.
//!
//! A package is a lead, a signature header, the header and the payload; the payload is never looked at. The bytes
//! are hostile until something vouches for them. Always true: every offset is checked before it is followed, what
//! is read is bounded by the limits below before memory is taken for it, and a broken package is an error that
//! says where it is broken, never a panic. (The `rpm` crate panics on some broken headers, replaces what is not
//! UTF-8, and takes three times as long, which counts with tens of thousands of packages.)

use std::io::{self, Read};

use crate::checksum::{Algorithm, Digester};

mod dependency;
mod header;
mod package;
pub mod tag;

pub use dependency::{Dependency, Sense};
pub use header::{Header, Strings};
pub use package::{Change, File, Nevra, Package};

/// Bytes of one header; the kernel package's has below 10 MiB.
pub const HEADER_BYTES_MAX: usize = 64 << 20;
/// Entries of one header; rpm itself takes no more.
pub const ENTRIES_MAX: usize = 0xffff;
/// Strings or numbers of one entry: files, for one.
pub const VALUES_MAX: usize = 1 << 21;
/// Bytes of all paths of a package, directories written out.
pub const PATHS_BYTES_MAX: usize = 64 << 20;

const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

/// Why a package cannot be read. Offsets are in the file.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// The bytes could not be had.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The file ends too early.
    #[error("byte {at_byte}: ends inside {inside}")]
    Truncated {
        /// The file's length.
        at_byte: u64,
        /// What should go on there.
        inside: &'static str,
    },
    /// It is no RPM file.
    #[error("byte {at_byte}: the magic number of {what} is missing")]
    Magic {
        /// Where it should be.
        at_byte: u64,
        /// What should begin there.
        what: &'static str,
    },
    /// More of something than there may be.
    #[error("byte {at_byte}: {what} over the limit of {limit}")]
    Limit {
        /// Where the number stands.
        at_byte: u64,
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// An entry of a header is not as it must be.
    #[error("byte {at_byte}: the entry of tag {tag} {fault}")]
    Entry {
        /// Where the entry stands.
        at_byte: u64,
        /// Its tag.
        tag: u32,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Entries that belong together disagree.
    #[error("byte {at_byte}: {what} do not belong together")]
    Disagree {
        /// Where the header begins.
        at_byte: u64,
        /// Which.
        what: &'static str,
    },
    /// Something that every package has is not there.
    #[error("byte {at_byte}: the header has no {what}")]
    Missing {
        /// Where the header begins.
        at_byte: u64,
        /// What is missing.
        what: &'static str,
    },
}

/// What is wrong with an entry of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its data is not inside the header.
    #[error("lies outside of the header")]
    Outside,
    /// Its type is unknown, or another than its tag has.
    #[error("is of the wrong type")]
    Kind,
    /// A string has no end.
    #[error("holds a string that does not end")]
    Endless,
    /// There is no value where one must be.
    #[error("is empty")]
    Empty,
}

/// The two headers of a package.
#[derive(Debug)]
pub struct Headers {
    /// Signatures and digests over what follows.
    pub signature: Header,
    /// What the package says of itself.
    pub main: Header,
}

impl Headers {
    /// Reads the headers of a package from its beginning; nothing behind them.
    pub fn read(input: &mut impl Read) -> Result<Self, RpmError> {
        let mut lead = [0; LEAD_BYTES];
        fill(input, &mut lead, 0, "the lead")?;
        if lead[..4] != LEAD_MAGIC {
            return Err(RpmError::Magic { at_byte: 0, what: "a package" });
        }
        let signature = Header::read(input, LEAD_BYTES as u64)?;
        // The header after it begins at a multiple of eight.
        let mut padding = [0; 8];
        let gap =
            usize::try_from(signature.end_byte().next_multiple_of(8) - signature.end_byte()).unwrap_or(0);
        fill(input, &mut padding[..gap], signature.end_byte(), "the signature header")?;
        let main = Header::read(input, signature.end_byte() + gap as u64)?;
        Ok(Self { signature, main })
    }

    /// Whether the header is the one whose digest the package gives; `None` when it gives none. That guards
    /// against damage, not against forgery.
    pub fn is_intact(&self) -> Result<Option<bool>, RpmError> {
        let digests = [(tag::SIGNATURE_SHA256, Algorithm::Sha256), (tag::SIGNATURE_SHA1, Algorithm::Sha1)];
        for (tag, algorithm) in digests {
            if let Some(declared) = self.signature.string(tag)? {
                let mut digester = Digester::new(algorithm);
                digester.update(self.main.bytes());
                let found = digester.finish().to_hex();
                return Ok(Some(declared.eq_ignore_ascii_case(found.as_bytes())));
            }
        }
        Ok(None)
    }
}

/// Fills `buffer` from `input`, which stands at `at_byte` of the file.
fn fill(
    input: &mut impl Read,
    buffer: &mut [u8],
    at_byte: u64,
    inside: &'static str,
) -> Result<(), RpmError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => return Err(RpmError::Truncated { at_byte: at_byte + filled as u64, inside }),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RpmError::Read(error)),
        }
    }
    Ok(())
}

/// Text of a header: UTF-8, or else every byte is a character of ISO 8859-1, as `createrepo_c` takes it.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests;
