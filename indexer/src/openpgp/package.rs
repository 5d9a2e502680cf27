//! The signatures of an RPM file.
//!
//! A signature covers the header, which holds the payload's digest; old packages also have one over header and
//! payload together. The bytes are hostile until their signature is found good.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};

use pgp::packet::{Packet, PacketParser, Signature};

use super::{Fingerprint, Keyring, Policy, SIGNATURES_MAX, Said, SignatureError};
use crate::checksum::{Algorithm, Digester};
use crate::rpm::{Header, Headers, RpmError};

/// Bytes of one signature.
const SIGNATURE_BYTES_MAX: usize = 64 << 10;

/// Tags of the signature header: all signatures, in base64; over the header; over header and payload.
const SIGNATURES: u32 = 278;
const HEADER_SIGNATURES: [u32; 2] = [268, 267];
const WHOLE_SIGNATURES: [u32; 2] = [1002, 1005];
/// Tags of the header: digests of the payload as it is in the file.
const PAYLOAD_DIGEST: u32 = 5092;
const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
const PAYLOAD_SHA512: u32 = 5121;

/// Why a package is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be read, or ends too early.
    #[error("cannot be read as a package")]
    Read(#[from] io::Error),
    /// It is no RPM file, or a broken one.
    #[error("is no valid package: {0}")]
    Broken(#[from] RpmError),
    /// What it says of its signatures and digests is nothing that can be checked.
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
        file.rewind()?;
        let Headers { signature: signatures, main: header } = Headers::read(file)?;
        let (header_at, payload_at) = (header.at_byte(), header.end_byte());
        let over_header = header_signatures(&signatures)?;
        let accepted = self.verify_one_of(&over_header, &mut || Cursor::new(header.bytes()), policy);
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

/// The id of the key that is said to have signed a package, in lower-case hexadecimal digits; `None` where nobody
/// says so. Nothing is checked.
pub fn claimed_signer(headers: &Headers) -> Option<String> {
    let signatures = &headers.signature;
    let mut found = header_signatures(signatures).unwrap_or_default();
    if found.is_empty() {
        let whole = WHOLE_SIGNATURES.iter().filter_map(|tag| signatures.binary(*tag).ok()?);
        found = whole.flat_map(|bytes| parse(bytes).unwrap_or_default()).collect();
    }
    found.iter().find_map(issuer)
}

/// The id of the key that a signature says it was made with, in lower-case hexadecimal digits.
fn issuer(signature: &Signature) -> Option<String> {
    let of_id = signature.issuer_key_id().first().map(ToString::to_string);
    // The id of a key is the end of its fingerprint, or, from the sixth format of keys on, its beginning.
    let of_fingerprint = || {
        let fingerprint = signature.issuer_fingerprint().first()?.to_string();
        let at = if fingerprint.len() > 40 { 0 } else { fingerprint.len().checked_sub(16)? };
        fingerprint.get(at..at + 16).map(str::to_owned)
    };
    of_id.or_else(of_fingerprint).map(|id| id.to_ascii_lowercase())
}

fn empty<'a>() -> Box<dyn Read + 'a> {
    Box::new(io::empty())
}

/// The same as [`claimed_signer`], for who refuses signatures that cannot be read.
pub fn signer(headers: &Headers) -> Result<Option<String>, PackageError> {
    let mut found = header_signatures(&headers.signature)?;
    for tag in WHOLE_SIGNATURES {
        if let Some(bytes) = headers.signature.binary(tag)? {
            found.extend(parse(bytes)?);
        }
    }
    Ok(found.iter().find_map(issuer))
}

/// The signatures over the header alone.
fn header_signatures(signatures: &Header) -> Result<Vec<Signature>, PackageError> {
    let mut found = Vec::new();
    for text in signatures.strings(SIGNATURES)?.into_iter().flatten().take(SIGNATURES_MAX) {
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
    let unreadable = |error| SignatureError::Unreadable(Said::of(&error));
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
    let declared = if let Some(text) = header.string(PAYLOAD_DIGEST)? {
        // Numbers as in OpenPGP.
        let algorithm = match header.number(PAYLOAD_DIGEST_ALGORITHM)? {
            None | Some(8) => Algorithm::Sha256,
            Some(9) => Algorithm::Sha384,
            Some(10) => Algorithm::Sha512,
            Some(_) => return Err(unknown),
        };
        (algorithm, text)
    } else if let Some(text) = header.string(PAYLOAD_SHA512)? {
        (Algorithm::Sha512, text)
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
