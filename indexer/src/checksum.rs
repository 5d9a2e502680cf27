//! Checksums that upstreams declare, and the one pass over bytes that computes them beside BLAKE3.
//!
//! Always true: a [`Checksum`] holds exactly as many bytes as its algorithm makes, and prints as
//! `algorithm:hex`, which parses back. MD5 and SHA-1 can be represented because old repositories declare
//! them; whether one may be trusted is a question for [`Algorithm::is_strong`].

use std::fmt;
use std::io;
use std::str::FromStr;

use cfs_fs::digest::{BlobId, Digest};
use sha2::Digest as _;
use thiserror::Error;

/// The longest digest of any [`Algorithm`], in bytes.
const MAX_DIGEST_BYTES: usize = 64;

/// A digest algorithm that repository metadata may declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `md5`: broken.
    Md5,
    /// `sha1`, which old metadata calls `sha`: broken.
    Sha1,
    /// `sha224`.
    Sha224,
    /// `sha256`: what `createrepo_c` writes unless told otherwise.
    Sha256,
    /// `sha384`.
    Sha384,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, weakest first.
    pub const ALL: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ];

    /// The name that metadata uses, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha224 => "sha224",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// How many bytes a digest has.
    pub const fn digest_bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha224 => 28,
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }

    /// Whether nobody can make two files with one digest: SHA-256 or longer. Only such a checksum may stand
    /// for content that was not read.
    pub const fn is_strong(self) -> bool {
        matches!(self, Algorithm::Sha256 | Algorithm::Sha384 | Algorithm::Sha512)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = ChecksumError;

    /// Accepts the names of [`Algorithm::name`] and `sha`, the old word for SHA-1.
    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        if text == "sha" {
            return Ok(Algorithm::Sha1);
        }
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| ChecksumError::Algorithm(text.chars().take(40).collect()))
    }
}

/// Why a text or a byte string is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChecksumError {
    /// The algorithm has no known name.
    #[error("unknown checksum algorithm {0:?}")]
    Algorithm(String),
    /// The digest has another length than its algorithm makes.
    #[error("a {algorithm} digest has {} bytes, not {got_bytes}", algorithm.digest_bytes())]
    Length {
        /// The algorithm that was named.
        algorithm: Algorithm,
        /// How many bytes were given.
        got_bytes: usize,
    },
    /// The digest is not pairs of hexadecimal digits.
    #[error("{0:?} is not a hexadecimal digest")]
    Hex(String),
    /// The text is not `algorithm:hex`.
    #[error("{0:?} is not of the form algorithm:hex")]
    Form(String),
}

/// A digest and the algorithm that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    /// The digest, then zeros.
    bytes: [u8; MAX_DIGEST_BYTES],
}

impl Checksum {
    /// A checksum from its raw bytes, which must be as many as the algorithm makes.
    pub fn new(algorithm: Algorithm, digest: &[u8]) -> Result<Self, ChecksumError> {
        if digest.len() != algorithm.digest_bytes() {
            return Err(ChecksumError::Length { algorithm, got_bytes: digest.len() });
        }
        let mut bytes = [0; MAX_DIGEST_BYTES];
        bytes[..digest.len()].copy_from_slice(digest);
        Ok(Checksum { algorithm, bytes })
    }

    /// A checksum from the hexadecimal digits that metadata holds; upper case is accepted.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, ChecksumError> {
        let not_hex = || ChecksumError::Hex(hex.chars().take(140).collect());
        if !hex.len().is_multiple_of(2) {
            return Err(not_hex());
        }
        let digest = hex
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(not_hex)?;
        Checksum::new(algorithm, &digest)
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest: exactly [`Algorithm::digest_bytes`] bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_bytes()]
    }

    /// The digest in lower-case hexadecimal digits, without the algorithm.
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.as_bytes()
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.algorithm, self.to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| ChecksumError::Form(text.chars().take(140).collect()))?;
        Checksum::from_hex(algorithm.parse()?, hex)
    }
}

/// Computes the digest of one algorithm.
#[derive(Debug, Clone)]
pub struct Digester(State);

#[derive(Debug, Clone)]
enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Digester {
    /// A digester that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha224 => State::Sha224(sha2::Sha224::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Md5(_) => Algorithm::Md5,
            State::Sha1(_) => Algorithm::Sha1,
            State::Sha224(_) => Algorithm::Sha224,
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha384(_) => Algorithm::Sha384,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha224(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything taken.
    pub fn finish(self) -> Checksum {
        let (algorithm, digest) = match self.0 {
            State::Md5(state) => (Algorithm::Md5, state.finalize().to_vec()),
            State::Sha1(state) => (Algorithm::Sha1, state.finalize().to_vec()),
            State::Sha224(state) => (Algorithm::Sha224, state.finalize().to_vec()),
            State::Sha256(state) => (Algorithm::Sha256, state.finalize().to_vec()),
            State::Sha384(state) => (Algorithm::Sha384, state.finalize().to_vec()),
            State::Sha512(state) => (Algorithm::Sha512, state.finalize().to_vec()),
        };
        let mut bytes = [0; MAX_DIGEST_BYTES];
        bytes[..digest.len()].copy_from_slice(&digest);
        Checksum { algorithm, bytes }
    }
}

/// What one pass over some bytes found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// The blob that these bytes are.
    pub blob: BlobId,
    /// The digest by the algorithm that was asked for.
    pub checksum: Checksum,
    /// How many bytes there were.
    pub size_bytes: u64,
}

/// Computes BLAKE3, one declared algorithm and the size in one pass. Writing to it cannot fail.
#[derive(Debug, Clone)]
pub struct Hasher {
    blake3: blake3::Hasher,
    declared: Digester,
    size_bytes: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        Hasher { blake3: blake3::Hasher::new(), declared: Digester::new(algorithm), size_bytes: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.declared.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    /// The declared algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.declared.algorithm()
    }

    /// How many bytes were taken so far.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digests of everything taken.
    pub fn finish(self) -> Hashed {
        Hashed {
            blob: Digest::from(self.blake3.finalize()).into(),
            checksum: self.declared.finish(),
            size_bytes: self.size_bytes,
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of "abc" as the algorithms' own specifications print them.
    const ABC: [&str; 6] = [
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha224:23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
         8086072ba1e7cc2358baeca134c825a7",
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ];

    #[test]
    fn hashes_as_specified_and_round_trips() {
        for (algorithm, expected) in Algorithm::ALL.into_iter().zip(ABC) {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"");
            hasher.update(b"bc");
            let made = hasher.finish();
            assert_eq!(made.checksum.to_string(), expected);
            assert_eq!(expected.parse::<Checksum>().unwrap(), made.checksum);
            assert_eq!(made.blob, BlobId::of(b"abc"));
            assert_eq!(made.size_bytes, 3);
            assert_eq!(Checksum::new(algorithm, made.checksum.as_bytes()).unwrap(), made.checksum);
        }
    }

    #[test]
    fn old_and_upper_case_spellings_mean_the_same() {
        assert_eq!("sha".parse::<Algorithm>().unwrap(), Algorithm::Sha1);
        let upper = ABC[3]["sha256:".len()..].to_uppercase();
        let checksum = Checksum::from_hex(Algorithm::Sha256, &upper).unwrap();
        assert_eq!(checksum.to_string(), ABC[3]);
    }

    #[test]
    fn refuses_what_is_no_checksum() {
        let parse = |text: &str| text.parse::<Checksum>().unwrap_err();
        assert!(matches!(parse("sha256"), ChecksumError::Form(_)));
        assert!(matches!(parse("crc32:00"), ChecksumError::Algorithm(_)));
        assert!(matches!(parse("md5:0g"), ChecksumError::Hex(_)));
        assert!(matches!(parse("md5:000"), ChecksumError::Hex(_)));
        assert!(matches!(parse("md5:00"), ChecksumError::Length { got_bytes: 1, .. }));
        assert!(matches!(parse("md5:é0000000000000000000000000000000"), ChecksumError::Hex(_)));
    }

    #[test]
    fn only_sha256_and_longer_are_strong() {
        let strong: Vec<_> =
            Algorithm::ALL.into_iter().filter(|a| a.is_strong()).map(Algorithm::name).collect();
        assert_eq!(strong, ["sha256", "sha384", "sha512"]);
    }
}
