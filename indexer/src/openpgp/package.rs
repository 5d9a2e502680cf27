//! The signatures of an RPM file.
//!
//! A package is a lead, a signature header, the header and the payload. A signature covers the header, which
//! holds the payload's digest; old packages also have one over header and payload together. Only what is
//! needed for checking these is read here, under limits and with every offset checked: the bytes are hostile
//! until their signature is found good. (The `rpm` crate panics on some broken headers.)

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};

use pgp::packet::{Packet, PacketParser, Signature};

use super::{Fingerprint, Keyring, Policy, SIGNATURES_MAX, SignatureError};
use crate::checksum::{Algorithm, Digester};

/// Bytes of one header; the kernel package's is below 10 MiB.
const HEADER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one signature.
const SIGNATURE_BYTES_MAX: usize = 64 << 10;

const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
const INTRO_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// Tags of the signature header: all signatures, in base64; over the header; over header and payload.
const SIGNATURES: u32 = 278;
const HEADER_SIGNATURES: [u32; 2] = [268, 267];
const WHOLE_SIGNATURES: [u32; 2] = [1002, 1005];
/// Tags of the header: digests of the payload as it is in the file.
const PAYLOAD_DIGEST: u32 = 5092;
const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
const PAYLOAD_SHA512: u32 = 5121;

const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;
const TYPE_BINARY: u32 = 7;
const TYPE_STRING_ARRAY: u32 = 8;

/// Why a package is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be read, or ends too early.
    #[error("cannot be read as a package")]
    Read(#[from] io::Error),
    /// It is no RPM file, or a broken one.
    #[error("is no valid package: {0}")]
    Malformed(&'static str),
    /// Its signature is not accepted.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The header is signed and the payload is not the one it speaks of.
    #[error("has another payload than its signed header says")]
    Payload,
}

/// What a good signature of a package covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// All that matters: the header and, by itself or by its digest, the payload.
    Whole,
    /// Only the header, which does not speak of the payload: a package from before 2018. Something else, such
    /// as signed metadata, must vouch for the file.
    Header,
}

impl Keyring {
    /// Accepts the package that `file` holds when one of its signatures is good and the payload is the one
    /// that was signed. Returns the key and what its signature covers.
    pub fn verify_package<F: Read + Seek>(
        &self,
        file: &mut F,
        policy: &Policy,
    ) -> Result<(Fingerprint, Cover), PackageError> {
        let size_bytes = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut lead = [0; LEAD_BYTES];
        file.read_exact(&mut lead)?;
        if lead[..4] != LEAD_MAGIC {
            return Err(PackageError::Malformed("the magic number is missing"));
        }
        let signatures = Header::read(file, size_bytes)?;
        // The header after it begins at a multiple of eight.
        let header_at = (LEAD_BYTES + signatures.bytes.len().next_multiple_of(8)) as u64;
        file.seek(SeekFrom::Start(header_at))?;
        let header = Header::read(file, size_bytes)?;
        let payload_at = header_at + header.bytes.len() as u64;

        let over_header = header_signatures(&signatures)?;
        let accepted = self.verify_one_of(&over_header, &mut || Cursor::new(&header.bytes), policy);
        let key = match accepted {
            Ok(key) => match payload_matches(&header, file, payload_at)? {
                Some(true) => return Ok((key, Cover::Whole)),
                Some(false) => return Err(PackageError::Payload),
                None => Some(key),
            },
            Err(SignatureError::Unsigned) => None,
            Err(error) => return Err(error.into()),
        };
        match self.verify_whole(&signatures, file, header_at, policy) {
            Ok(key) => Ok((key, Cover::Whole)),
            Err(PackageError::Signature(error)) => match (key, error) {
                (Some(key), SignatureError::Unsigned | SignatureError::WeakHash(_)) => {
                    Ok((key, Cover::Header))
                }
                (_, error) => Err(error.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Checks the signatures over header and payload together.
    fn verify_whole<F: Read + Seek>(
        &self,
        signatures: &Header,
        file: &mut F,
        header_at: u64,
        policy: &Policy,
    ) -> Result<Fingerprint, PackageError> {
        let mut failed = SignatureError::Unsigned;
        for tag in WHOLE_SIGNATURES {
            let Some(bytes) = signatures.binary(tag)? else { continue };
            for signature in parse(bytes)? {
                file.seek(SeekFrom::Start(header_at))?;
                let mut data = Some(BufReader::with_capacity(1 << 16, &mut *file));
                // A signature without a maker's name would be tried with several keys, and the file is read
                // only once: such a one is not accepted.
                if signature.issuer_fingerprint().is_empty() && signature.issuer_key_id().is_empty() {
                    failed = SignatureError::UnknownKey { signer: "(unnamed)".to_owned() };
                    continue;
                }
                let mut give = || data.take().map_or_else(empty, |data| Box::new(data) as Box<dyn Read + '_>);
                match self.verify(&signature, &mut give, policy) {
                    Ok(key) => return Ok(key),
                    Err(error) => failed = error,
                }
            }
        }
        Err(failed.into())
    }
}

fn empty<'a>() -> Box<dyn Read + 'a> {
    Box::new(io::empty())
}

/// The signatures over the header alone.
fn header_signatures(signatures: &Header) -> Result<Vec<Signature>, PackageError> {
    let mut found = Vec::new();
    let armoured = signatures.strings(SIGNATURES)?;
    for text in armoured {
        let bytes = base64(text).ok_or(PackageError::Malformed("a signature is not base64"))?;
        found.extend(parse(&bytes)?);
    }
    if found.is_empty() {
        for tag in HEADER_SIGNATURES {
            if let Some(bytes) = signatures.binary(tag)? {
                found.extend(parse(bytes)?);
            }
        }
    }
    found.truncate(SIGNATURES_MAX);
    Ok(found)
}

fn parse(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    if bytes.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::Kind);
    }
    let unreadable = |error| SignatureError::Unreadable(Box::new(error));
    PacketParser::new(Cursor::new(bytes))
        .take(SIGNATURES_MAX)
        .map(|packet| match packet.map_err(unreadable)? {
            Packet::Signature(signature) => Ok(signature),
            _ => Err(SignatureError::Kind),
        })
        .collect()
}

/// Whether the payload, the rest of the file from `payload_at` on, is the one that the header speaks of;
/// `None` when it speaks of none.
fn payload_matches<F: Read + Seek>(
    header: &Header,
    file: &mut F,
    payload_at: u64,
) -> Result<Option<bool>, PackageError> {
    let unknown = PackageError::Malformed("the payload's digest is of an unknown kind");
    let declared = if let Some(text) = header.strings(PAYLOAD_DIGEST)?.first() {
        // Numbers as in OpenPGP.
        let algorithm = match header.number(PAYLOAD_DIGEST_ALGORITHM)? {
            None | Some(8) => Algorithm::Sha256,
            Some(9) => Algorithm::Sha384,
            Some(10) => Algorithm::Sha512,
            Some(_) => return Err(unknown),
        };
        (algorithm, *text)
    } else if let Some(text) = header.strings(PAYLOAD_SHA512)?.first() {
        (Algorithm::Sha512, *text)
    } else {
        return Ok(None);
    };
    let (algorithm, text) = declared;
    let text = std::str::from_utf8(text).map_err(|_| unknown)?;
    file.seek(SeekFrom::Start(payload_at))?;
    let mut digester = Digester::new(algorithm);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digester.update(&buffer[..read]),
        }
    }
    Ok(Some(digester.finish().to_hex() == text.to_ascii_lowercase()))
}

/// An entry of a header.
struct Entry<'a> {
    kind: u32,
    count: u32,
    /// From the entry's offset to the header's end.
    data: &'a [u8],
}

/// A header as it is in the file, its entries not believed before they are looked at.
struct Header {
    /// Everything from the magic number on.
    bytes: Vec<u8>,
    entries: usize,
}

impl Header {
    /// Reads a header from where `file` stands.
    fn read(file: &mut impl Read, file_bytes: u64) -> Result<Self, PackageError> {
        let mut intro = [0; INTRO_BYTES];
        file.read_exact(&mut intro)?;
        if intro[..4] != HEADER_MAGIC {
            return Err(PackageError::Malformed("a header's magic number is missing"));
        }
        let (entries, data_bytes) = (be_u32(&intro[8..12]) as usize, be_u32(&intro[12..16]) as usize);
        let rest_bytes = entries.saturating_mul(ENTRY_BYTES).saturating_add(data_bytes);
        if rest_bytes > HEADER_BYTES_MAX || rest_bytes as u64 > file_bytes {
            return Err(PackageError::Malformed("a header is larger than the file or the limit"));
        }
        let mut bytes = intro.to_vec();
        file.take(rest_bytes as u64).read_to_end(&mut bytes)?;
        if bytes.len() != INTRO_BYTES + rest_bytes {
            return Err(PackageError::Malformed("a header is cut off"));
        }
        Ok(Self { bytes, entries })
    }

    /// The first entry called `tag`.
    fn entry(&self, tag: u32) -> Result<Option<Entry<'_>>, PackageError> {
        let (index, data) = self.bytes[INTRO_BYTES..].split_at(self.entries * ENTRY_BYTES);
        for entry in index.chunks_exact(ENTRY_BYTES) {
            if be_u32(&entry[..4]) == tag {
                let offset = be_u32(&entry[8..12]) as usize;
                let outside = PackageError::Malformed("a header's entry lies outside of it");
                let data = data.get(offset..).ok_or(outside)?;
                return Ok(Some(Entry { kind: be_u32(&entry[4..8]), count: be_u32(&entry[12..16]), data }));
            }
        }
        Ok(None)
    }

    /// The bytes of a binary entry.
    fn binary(&self, tag: u32) -> Result<Option<&[u8]>, PackageError> {
        match self.entry(tag)? {
            None => Ok(None),
            Some(Entry { kind: TYPE_BINARY, count, data }) => {
                let outside = PackageError::Malformed("a header's entry lies outside of it");
                data.get(..count as usize).ok_or(outside).map(Some)
            }
            Some(_) => Err(PackageError::Malformed("a header's entry is of the wrong type")),
        }
    }

    /// The strings of an entry; none when it is not there.
    fn strings(&self, tag: u32) -> Result<Vec<&[u8]>, PackageError> {
        let Some(Entry { kind, count, mut data }) = self.entry(tag)? else { return Ok(Vec::new()) };
        if kind != TYPE_STRING && kind != TYPE_STRING_ARRAY {
            return Err(PackageError::Malformed("a header's entry is of the wrong type"));
        }
        let mut strings = Vec::new();
        for _ in 0..(count as usize).min(SIGNATURES_MAX) {
            let end = data.iter().position(|byte| *byte == 0);
            let end = end.ok_or(PackageError::Malformed("a header's string does not end"))?;
            strings.push(&data[..end]);
            data = &data[end + 1..];
        }
        Ok(strings)
    }

    /// The first number of an entry.
    fn number(&self, tag: u32) -> Result<Option<u32>, PackageError> {
        match self.entry(tag)? {
            None => Ok(None),
            Some(Entry { kind: TYPE_INT32, count: 1.., data: [a, b, c, d, ..] }) => {
                Ok(Some(u32::from_be_bytes([*a, *b, *c, *d])))
            }
            Some(_) => Err(PackageError::Malformed("a header's entry is of the wrong type")),
        }
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Decodes base64, with line breaks or without.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in text.trim_ascii_end() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' | b'\n' | b'\r' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_be_bytes()[3]);
        }
    }
    Some(bytes)
}
