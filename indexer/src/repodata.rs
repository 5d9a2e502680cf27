//! The metadata of a yum/dnf repository, from bytes to values: [`repomd`] lists the metadata files,
//! [`primary`] the packages with their [`relation`]s, [`filelists`] their files, [`other`] their changelogs. And
//! from values to bytes: [`fragment`] is what a package brings to the metadata of any repository, [`document`] a
//! metadata file in the making.
//!
//! Always true: everything that is read here comes from an upstream that may be hostile, and nothing here touches
//! a file, a store or the network. Memory is bounded by [`xml`]'s limits and, through [`compression`], by the sizes
//! that the caller allows; a location that leaves [`href`] is a path inside a tree and nothing else.

use std::io;

use cfs_fs::name::TreePath;

use crate::checksum::ChecksumError;

pub mod compression;
pub mod comps;
pub mod document;
pub mod evr;
pub mod filelists;
pub mod fragment;
pub mod href;
pub mod other;
pub mod primary;
pub mod relation;
pub mod repomd;
pub mod restamp;
pub mod xml;

use compression::TooLarge;
use href::HrefError;

/// Why metadata cannot be used. Offsets are in the uncompressed document; which document it is, the caller
/// knows.
#[derive(Debug, thiserror::Error)]
pub enum RepodataError {
    /// The bytes could not be had or uncompressed.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The document is larger uncompressed than it may be.
    #[error(transparent)]
    TooLarge(TooLarge),
    /// Not well-formed XML.
    #[error("byte {at_byte}: is not well-formed XML")]
    Xml {
        /// Where the parser stood.
        at_byte: u64,
        /// What it found.
        source: Box<quick_xml::Error>,
    },
    /// A document type declaration: no repository needs one, and attacks do.
    #[error("byte {at_byte}: holds a DOCTYPE, which is refused")]
    Doctype {
        /// Behind the declaration.
        at_byte: u64,
    },
    /// A reference to an entity beyond XML's own five.
    #[error("byte {at_byte}: refers to the entity {name:?}, which is refused")]
    Entity {
        /// Behind the reference.
        at_byte: u64,
        /// The entity.
        name: String,
    },
    /// An encoding other than UTF-8.
    #[error("is encoded in {0:?}; only UTF-8 is understood")]
    Encoding(String),
    /// More of something than [`xml`] allows.
    #[error("byte {at_byte}: {what} over the limit of {limit}")]
    Limit {
        /// Where the limit was passed.
        at_byte: u64,
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// There is text before or behind the top element.
    #[error("byte {at_byte}: text outside the top element")]
    Stray {
        /// Where it ends.
        at_byte: u64,
    },
    /// The document ends inside an element.
    #[error("byte {at_byte}: ends inside an element")]
    Truncated {
        /// The document's length.
        at_byte: u64,
    },
    /// Another document than expected.
    #[error("is a <{found}> document, not <{expected}>")]
    WrongDocument {
        /// The name of the top element that was expected.
        expected: &'static str,
        /// The name that was found.
        found: String,
    },
    /// A necessary element or attribute is not there.
    #[error("byte {at_byte}: {inside} has no {what}")]
    Missing {
        /// Behind the element that lacks it.
        at_byte: u64,
        /// The package or record, by the best name known.
        inside: String,
        /// What is missing.
        what: &'static str,
    },
    /// Something that must be unique is there again.
    #[error("byte {at_byte}: {inside} has a second {what}")]
    Twice {
        /// Behind the second one.
        at_byte: u64,
        /// The package or record, by the best name known.
        inside: String,
        /// What is there again.
        what: &'static str,
    },
    /// A value is not of its type.
    #[error("byte {at_byte}: {what} is {value:?}")]
    Value {
        /// Behind the value.
        at_byte: u64,
        /// Which value.
        what: &'static str,
        /// The text that was found.
        value: String,
    },
    /// A checksum of an unknown kind or of the wrong length.
    #[error("byte {at_byte}")]
    Checksum {
        /// Behind the checksum.
        at_byte: u64,
        /// What is wrong with it.
        source: ChecksumError,
    },
    /// A location that is no path inside the repository.
    #[error("byte {at_byte}")]
    Href {
        /// Behind the location.
        at_byte: u64,
        /// What is wrong with it.
        source: HrefError,
    },
    /// A location with another base: the file would come from somewhere else.
    #[error("byte {at_byte}: location {href:?} has the xml:base {base:?}, which is refused")]
    Base {
        /// Behind the location.
        at_byte: u64,
        /// The location.
        href: String,
        /// Its base.
        base: String,
    },
    /// Two files of one name.
    #[error("{location} is listed twice, with different checksums or sizes")]
    Conflict {
        /// The location of both.
        location: TreePath,
    },
}

#[cfg(test)]
mod tests;
