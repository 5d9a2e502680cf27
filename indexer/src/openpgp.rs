//! Signatures of repositories and packages, checked against the keys of one file.
//!
//! The cryptography is the `pgp` crate's, which has no policy; the policy is here. Always true of an accepted
//! signature: a key of the [`Keyring`] made it over exactly these bytes; that key may sign, was valid then
//! and is not revoked; the signature is not from the future and has not expired; its hash is one that nobody
//! can make collide, unless the [`Policy`] says otherwise.

use std::fmt;
use std::io::{Cursor, Read};

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};

mod certificate;
pub mod package;

use certificate::{Certificate, SigningKey};

/// How far the clock of a signer may be ahead.
const CLOCK_SKEW_SECS: i64 = 24 * 3600;
/// Signatures in one file or package that are looked at.
const SIGNATURES_MAX: usize = 16;
/// Keys of one file that are taken.
const CERTIFICATES_MAX: usize = 256;

/// What is demanded of a signature besides being genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The present, in seconds since 1970.
    pub now: i64,
    /// Accept signatures over MD5, SHA-1 and RIPEMD-160 hashes.
    pub weak_hashes: bool,
    /// Whether a key that has expired since it signed is good enough. For a package it is: archives are full
    /// of them. For metadata it is not: the same signature could be shown for ever.
    pub expired_since: bool,
}

/// Names a key: the fingerprint in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What the library says of bytes that it cannot use, on one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

impl Said {
    /// The first line of an error, and no more of it than anybody reads: some hold whole packets.
    fn of(error: &pgp::errors::Error) -> Self {
        const CHARS_MAX: usize = 200;
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        // What the library asserts is told with the values that differ, which are bytes of the file.
        let line =
            if line.starts_with("assertion failed") { "values that must be equal differ" } else { line };
        Self(line.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

/// Why a file gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing in it is an OpenPGP public key.
    #[error("holds no OpenPGP public key")]
    None,
    /// It holds keys, none of which can be used.
    #[error("holds no usable OpenPGP public key")]
    Unusable(#[source] Said),
    /// More keys than anybody needs.
    #[error("holds more than {CERTIFICATES_MAX} keys")]
    TooMany,
}

/// Why a signature is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("is not signed")]
    Unsigned,
    /// What should be a signature is something else.
    #[error("has a signature that cannot be read")]
    Unreadable(#[source] Said),
    /// Another key made it.
    #[error("is signed with the key {signer}, which is not among the given ones")]
    UnknownKey {
        /// What the signature says of its maker: a fingerprint or a key id.
        signer: String,
    },
    /// The bytes or the signature were changed.
    #[error("has a bad signature: it was not made with the key {key} over these bytes")]
    Bad {
        /// The key that should have made it.
        key: Fingerprint,
        /// Why the bytes could not be read to their end, if it is that.
        source: Option<std::io::Error>,
    },
    /// It is a signature over something other than a file.
    #[error("has a signature of the wrong kind")]
    Kind,
    /// Its hash is broken.
    #[error("has a signature over a {0} hash, which can be forged")]
    WeakHash(String),
    /// It does not say when it was made, or says the future.
    #[error("has a signature without a time in the past")]
    Time,
    /// It has a term, and that is over.
    #[error("has a signature that has expired")]
    Expired,
    /// The key's term is over, or was when it signed.
    #[error("is signed with the key {key}, which had expired")]
    KeyExpired {
        /// The key.
        key: Fingerprint,
    },
    /// The key did not exist when it is said to have signed.
    #[error("is signed with the key {key} before that was made")]
    KeyTooYoung {
        /// The key.
        key: Fingerprint,
    },
    /// The owner has withdrawn the key.
    #[error("is signed with the key {key}, which is revoked")]
    KeyRevoked {
        /// The key.
        key: Fingerprint,
    },
    /// The key is for something else.
    #[error("is signed with the key {key}, which is not for signing")]
    KeyNotForSigning {
        /// The key.
        key: Fingerprint,
    },
}

/// The keys that may have signed.
#[derive(Debug, Clone)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// Reads all keys of a file: any number of armoured blocks with any text around them, or binary. Keys of
    /// kinds that are not understood are passed over as long as one remains.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut certificates = Vec::new();
        let mut failed = None;
        for block in blocks(bytes) {
            let keys = match SignedPublicKey::from_reader_many(block) {
                Ok((keys, _)) => keys,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            for key in keys.take(CERTIFICATES_MAX + 1) {
                match key {
                    Ok(key) => certificates.push(Certificate::new(key)),
                    Err(error) => failed = Some(error),
                }
            }
            if certificates.len() > CERTIFICATES_MAX {
                return Err(KeyError::TooMany);
            }
        }
        match failed {
            _ if !certificates.is_empty() => Ok(Self { certificates }),
            Some(error) => Err(KeyError::Unusable(Said::of(&error))),
            None => Err(KeyError::None),
        }
    }

    /// These keys and those of another file.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.certificates.extend(other.certificates);
        self
    }

    /// The primary keys, in the file's order.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.certificates.iter().map(Certificate::fingerprint)
    }

    /// Accepts `data` when `signature`, a detached signature in armour or binary, is good. Returns the key.
    pub fn verify_detached(
        &self,
        signature: &[u8],
        data: &[u8],
        policy: &Policy,
    ) -> Result<Fingerprint, SignatureError> {
        let unreadable = |error| SignatureError::Unreadable(Said::of(&error));
        let (found, _) = DetachedSignature::from_reader_many(Cursor::new(signature)).map_err(unreadable)?;
        let signatures: Vec<Signature> = found
            .take(SIGNATURES_MAX)
            .map(|one| one.map(|detached| detached.signature).map_err(unreadable))
            .collect::<Result<_, _>>()?;
        self.verify_one_of(&signatures, &mut || Cursor::new(data), policy)
    }

    /// Accepts when one of the signatures is good. `data` gives the signed bytes from their beginning, as
    /// often as it is called. When none is good, the error is of the one that comes nearest: a known key's.
    fn verify_one_of<R: Read>(
        &self,
        signatures: &[Signature],
        data: &mut dyn FnMut() -> R,
        policy: &Policy,
    ) -> Result<Fingerprint, SignatureError> {
        let mut failed = SignatureError::Unsigned;
        for signature in signatures {
            match self.verify(signature, data, policy) {
                Ok(key) => return Ok(key),
                Err(SignatureError::UnknownKey { .. }) if !matches!(failed, SignatureError::Unsigned) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn verify<R: Read>(
        &self,
        signature: &Signature,
        data: &mut dyn FnMut() -> R,
        policy: &Policy,
    ) -> Result<Fingerprint, SignatureError> {
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            return Err(SignatureError::Kind);
        }
        let mut failed = SignatureError::UnknownKey { signer: issuer(signature) };
        for key in self.certificates.iter().flat_map(Certificate::keys) {
            if !key.may_have_made(signature) {
                continue;
            }
            match check(signature, &key, data(), policy) {
                Ok(()) => return Ok(key.fingerprint()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Checks a signature by a key that it may be from: the cryptography first, then the policy.
fn check(
    signature: &Signature,
    key: &SigningKey<'_>,
    data: impl Read,
    policy: &Policy,
) -> Result<(), SignatureError> {
    key.verify(signature, data).map_err(|error| {
        let source = match error {
            pgp::errors::Error::IO { source, .. } => Some(source),
            _ => None,
        };
        SignatureError::Bad { key: key.fingerprint(), source }
    })?;
    let hash = signature.hash_alg().unwrap_or(HashAlgorithm::None);
    let strong = matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    );
    if !strong && !policy.weak_hashes {
        return Err(SignatureError::WeakHash(hash.to_string()));
    }
    let made = signature.created().map(|time| i64::from(time.as_secs())).ok_or(SignatureError::Time)?;
    if made > policy.now + CLOCK_SKEW_SECS {
        return Err(SignatureError::Time);
    }
    let term = signature.signature_expiration_time().map_or(0, |term| i64::from(term.as_secs()));
    if term != 0 && made + term <= policy.now {
        return Err(SignatureError::Expired);
    }
    key.check_validity(made, if policy.expired_since { made } else { policy.now.max(made) })
}

/// What a signature says of its maker.
fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return fingerprint.to_string().to_lowercase();
    }
    match signature.issuer_key_id().first() {
        Some(id) => id.to_string().to_lowercase(),
        None => "(unnamed)".to_owned(),
    }
}

/// The armoured blocks in a key file, or the whole of a binary one.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let starts: Vec<usize> = bytes
        .windows(BEGIN.len())
        .enumerate()
        .filter(|(at, window)| *window == BEGIN && (*at == 0 || bytes[at - 1] == b'\n'))
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() && bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return vec![bytes]; // every packet begins with this bit
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]).collect()
}

#[cfg(test)]
mod tests;
