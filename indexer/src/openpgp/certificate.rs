//! One certificate: a primary key and its subkeys, each with what its owner says of it.
//!
//! Always true: only statements that verify with the primary key count, and of several the newest. Statements
//! may rest on a weak hash, since whoever names a key file vouches for its primary keys.

use std::io::Read;

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

use super::{Fingerprint, SignatureError};

/// A certificate with its statements evaluated.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    key: SignedPublicKey,
    primary: Validity,
    subkeys: Vec<(SignedPublicSubKey, Validity)>,
}

/// When and for what a key is good.
#[derive(Debug, Clone, Copy)]
struct Validity {
    /// When it was made, seconds since 1970.
    created: i64,
    /// When it ends, if ever.
    expires: Option<i64>,
    /// From when on it is revoked, if it is. A key that may be in wrong hands is revoked from the beginning.
    revoked: Option<i64>,
    /// Whether it is for signing.
    signs: bool,
}

/// A key that may have made signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct SigningKey<'a> {
    key: AnyKey<'a>,
    validity: Validity,
    /// Of a subkey, that of its primary key.
    above: Option<Validity>,
}

#[derive(Debug, Clone, Copy)]
enum AnyKey<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Certificate {
    /// Evaluates what the certificate says.
    pub(super) fn new(key: SignedPublicKey) -> Self {
        let primary = primary_validity(&key);
        let subkeys = key
            .public_subkeys
            .iter()
            .filter_map(|subkey| Some((subkey.clone(), subkey_validity(&key, subkey)?)))
            .collect();
        Self { key, primary, subkeys }
    }

    /// The primary key's name.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.key.fingerprint().to_string().to_lowercase())
    }

    /// The primary key and the subkeys that it acknowledges.
    pub(super) fn keys(&self) -> impl Iterator<Item = SigningKey<'_>> {
        let primary = SigningKey { key: AnyKey::Primary(&self.key), validity: self.primary, above: None };
        let subkeys = self.subkeys.iter().map(|(subkey, validity)| SigningKey {
            key: AnyKey::Subkey(subkey),
            validity: *validity,
            above: Some(self.primary),
        });
        std::iter::once(primary).chain(subkeys)
    }
}

impl SigningKey<'_> {
    /// The key's own name.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let fingerprint = match self.key {
            AnyKey::Primary(key) => key.fingerprint(),
            AnyKey::Subkey(key) => key.fingerprint(),
        };
        Fingerprint(fingerprint.to_string().to_lowercase())
    }

    /// Whether the signature says that this key made it, or does not say who did.
    pub(super) fn may_have_made(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match self.key {
            AnyKey::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            AnyKey::Subkey(key) => (key.fingerprint(), key.legacy_key_id()),
        };
        let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
        if fingerprints.is_empty() && ids.is_empty() {
            return true;
        }
        fingerprints.contains(&&fingerprint) || ids.contains(&&id)
    }

    /// Whether this key made the signature over `data`.
    pub(super) fn verify(&self, signature: &Signature, data: impl Read) -> pgp::errors::Result<()> {
        match self.key {
            AnyKey::Primary(key) => signature.verify(&key.primary_key, data),
            AnyKey::Subkey(key) => signature.verify(&key.key, data),
        }
    }

    /// Checks that the key might sign at `made` and had not expired at `alive`, which is not earlier.
    pub(super) fn check_validity(&self, made: i64, alive: i64) -> Result<(), SignatureError> {
        let key = || self.fingerprint();
        if !self.validity.signs {
            return Err(SignatureError::KeyNotForSigning { key: key() });
        }
        for validity in [Some(self.validity), self.above].into_iter().flatten() {
            if validity.revoked.is_some_and(|from| made >= from) {
                return Err(SignatureError::KeyRevoked { key: key() });
            }
            if made < validity.created {
                return Err(SignatureError::KeyTooYoung { key: key() });
            }
            if validity.expires.is_some_and(|end| alive >= end) {
                return Err(SignatureError::KeyExpired { key: key() });
            }
        }
        Ok(())
    }
}

fn primary_validity(key: &SignedPublicKey) -> Validity {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(|statement| {
        statement.typ() == Some(SignatureType::Key) && statement.verify_key(primary).is_ok()
    });
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(move |statement| {
            statement.typ() != Some(SignatureType::CertRevocation)
                && statement.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        })
    });
    let statements: Vec<&Signature> = direct.chain(users).collect();
    let revocations = key.details.revocation_signatures.iter().filter(|statement| {
        statement.typ() == Some(SignatureType::KeyRevocation) && statement.verify_key(primary).is_ok()
    });
    let created = i64::from(primary.created_at().as_secs());
    // A key of version 3 carries its term itself.
    let own_term = primary.legacy_v3_expiration_days().map(|days| i64::from(days) * 24 * 3600);
    let newest = newest(&statements);
    let term = newest.and_then(Signature::key_expiration_time);
    let term = term.map(|term| i64::from(term.as_secs())).or(own_term).filter(|term| *term != 0);
    Validity {
        created,
        expires: term.map(|term| created + term),
        revoked: revocations.map(revoked_from).min(),
        signs: newest.is_none_or(may_sign),
    }
}

/// Of a subkey that the primary key does not acknowledge: `None`.
fn subkey_validity(key: &SignedPublicKey, subkey: &SignedPublicSubKey) -> Option<Validity> {
    let primary = &key.primary_key;
    let valid: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|statement| statement.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    let bindings: Vec<&Signature> =
        valid.iter().copied().filter(|s| s.typ() == Some(SignatureType::SubkeyBinding)).collect();
    let revocations = valid.iter().filter(|s| s.typ() == Some(SignatureType::SubkeyRevocation));
    let binding = newest(&bindings)?;
    // A subkey that signs must acknowledge its primary key, or somebody could adopt another's subkey.
    let acknowledges = binding
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    let created = i64::from(subkey.key.created_at().as_secs());
    let term = binding.key_expiration_time().map(|term| i64::from(term.as_secs()));
    Some(Validity {
        created,
        expires: term.filter(|term| *term != 0).map(|term| created + term),
        revoked: revocations.map(|statement| revoked_from(statement)).min(),
        signs: acknowledges && may_sign(binding),
    })
}

fn newest<'a>(statements: &[&'a Signature]) -> Option<&'a Signature> {
    statements.iter().copied().max_by_key(|statement| statement.created().map(pgp::types::Timestamp::as_secs))
}

/// Whether a statement allows signing; one without flags allows everything.
fn may_sign(statement: &Signature) -> bool {
    let has_flags = statement.config().is_some_and(|config| {
        config.hashed_subpackets().any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    });
    !has_flags || statement.key_flags().sign()
}

/// From when on a key is not to be believed: a key that was only replaced or retired, from the revocation;
/// any other, from the beginning.
fn revoked_from(revocation: &Signature) -> i64 {
    match (revocation.revocation_reason_code(), revocation.created()) {
        (Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired), Some(time)) => {
            i64::from(time.as_secs())
        }
        _ => i64::MIN,
    }
}
