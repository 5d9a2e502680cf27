use std::fs::{self, File};
use std::path::{Path, PathBuf};

use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::packet::{KeyFlags, RevocationCode, SignatureConfig, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::package::{Cover, PackageError};
use super::*;

const MADE: u32 = 1_000_000_000;
const DATA: &[u8] = b"<repomd/>";

fn policy(now: u32) -> Policy {
    Policy { now: i64::from(now), weak_hashes: false, expired_since: false }
}

fn new_key(seed: u64, signing_subkey: bool) -> SignedSecretKey {
    key_of_type(KeyType::Ed25519Legacy, seed, signing_subkey)
}

fn key_of_type(kind: KeyType, seed: u64, signing_subkey: bool) -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(kind)
        .can_certify(true)
        .can_sign(!signing_subkey)
        .created_at(Timestamp::from_secs(MADE))
        .primary_user_id(format!("Test {seed}"));
    if signing_subkey {
        let mut subkey = SubkeyParamsBuilder::default();
        subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(Timestamp::from_secs(MADE));
        params.subkey(subkey.build().unwrap());
    }
    params.build().unwrap().generate(StdRng::seed_from_u64(seed)).unwrap()
}

fn keyring(keys: &[&SignedSecretKey]) -> Keyring {
    let mut file = b"Some words about the keys.\n\n".to_vec();
    for key in keys {
        file.extend(key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap());
    }
    Keyring::parse(&file).unwrap()
}

fn config(typ: SignatureType, key: &impl SigningKey, hash: HashAlgorithm, at: u32) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), hash);
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ]
    .map(|data| Subpacket::regular(data).unwrap())
    .into();
    config
}

fn armored(signature: Signature) -> Vec<u8> {
    DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default()).unwrap()
}

fn sign_with(key: &impl SigningKey, hash: HashAlgorithm, at: u32, data: &[u8]) -> Vec<u8> {
    armored(config(SignatureType::Binary, key, hash, at).sign(key, &Password::empty(), data).unwrap())
}

fn sign(key: &SignedSecretKey, at: u32) -> Vec<u8> {
    sign_with(&key.primary_key, HashAlgorithm::Sha256, at, DATA)
}

/// Replaces what the owner says of the primary key.
fn restate(key: &mut SignedSecretKey, at: u32, statements: impl IntoIterator<Item = SubpacketData>) {
    let mut config = config(SignatureType::CertPositive, &key.primary_key, HashAlgorithm::Sha256, at);
    config.hashed_subpackets.extend(statements.into_iter().map(|data| Subpacket::regular(data).unwrap()));
    let public = key.primary_key.public_key();
    let id = &key.details.users[0].id;
    let statement =
        config.sign_certification(&key.primary_key, public, &Password::empty(), Tag::UserId, id).unwrap();
    key.details.users[0].signatures = vec![statement];
}

fn revoke(key: &mut SignedSecretKey, at: u32, reason: RevocationCode) {
    let mut config = config(SignatureType::KeyRevocation, &key.primary_key, HashAlgorithm::Sha256, at);
    let data = SubpacketData::RevocationReason(reason, b""[..].into());
    config.hashed_subpackets.push(Subpacket::regular(data).unwrap());
    let revocation =
        config.sign_key(&key.primary_key, &Password::empty(), key.primary_key.public_key()).unwrap();
    key.details.revocation_signatures = vec![revocation];
}

#[test]
fn a_good_signature_names_its_key_among_several() {
    let (first, second) = (new_key(1, false), new_key(2, false));
    let ring = keyring(&[&first, &second]);
    assert_eq!(ring.fingerprints().count(), 2);
    let key = ring.verify_detached(&sign(&second, MADE + 10), DATA, &policy(MADE + 20)).unwrap();
    assert_eq!(Some(key), ring.fingerprints().nth(1));
    let subkeyed = new_key(3, true);
    let subkey = &subkeyed.secret_subkeys[0].key;
    let signature = sign_with(subkey, HashAlgorithm::Sha512, MADE + 10, DATA);
    keyring(&[&first, &subkeyed]).verify_detached(&signature, DATA, &policy(MADE + 20)).unwrap();
}

#[test]
fn changed_bytes_other_keys_and_no_signature_are_refused() {
    let (key, other) = (new_key(1, false), new_key(2, false));
    let (ring, signature) = (keyring(&[&key]), sign(&key, MADE + 10));
    let refuse = |signature: &[u8], data: &[u8]| {
        ring.verify_detached(signature, data, &policy(MADE + 20)).unwrap_err()
    };
    assert!(matches!(refuse(&signature, b"<repomd />"), SignatureError::Bad { .. }));
    for error in
        [refuse(&signature, b"<repomd />"), refuse(b"<html>404</html>", DATA), refuse(b"\x88\x04\x04", DATA)]
    {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let text: String = causes.map(ToString::to_string).collect();
        assert!(!text.contains('\n') && !text.contains("assertion"), "{text}");
    }
    let stranger = refuse(&sign(&other, MADE + 10), DATA);
    assert!(matches!(stranger, SignatureError::UnknownKey { .. }));
    let fingerprint = other.fingerprint().to_string().to_lowercase();
    assert!(stranger.to_string().contains(&fingerprint), "{stranger}");
    assert!(matches!(refuse(b"", DATA), SignatureError::Unreadable(_) | SignatureError::Unsigned));
    assert!(matches!(refuse(b"<html>404</html>", DATA), SignatureError::Unreadable(_)));
    let public = key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap();
    assert!(matches!(refuse(&public, DATA), SignatureError::Unreadable(_) | SignatureError::Unsigned));
    let certificate = key.details.users[0].signatures[0].clone();
    assert!(matches!(
        refuse(&armored(certificate), DATA),
        SignatureError::Kind | SignatureError::Unreadable(_)
    ));
}

#[test]
fn a_weak_hash_counts_only_on_request() {
    let key = key_of_type(KeyType::Rsa(2048), 1, false);
    let ring = keyring(&[&key]);
    let signature = sign_with(&key.primary_key, HashAlgorithm::Sha1, MADE + 10, DATA);
    let now = policy(MADE + 20);
    let error = ring.verify_detached(&signature, DATA, &now).unwrap_err();
    assert!(matches!(&error, SignatureError::WeakHash(hash) if hash == "SHA1"), "{error}");
    ring.verify_detached(&signature, DATA, &Policy { weak_hashes: true, ..now }).unwrap();
}

#[test]
fn signatures_outside_of_their_time_are_refused() {
    let key = new_key(1, false);
    let ring = keyring(&[&key]);
    let refuse =
        |made: u32, now: u32| ring.verify_detached(&sign(&key, made), DATA, &policy(now)).unwrap_err();
    assert!(matches!(refuse(MADE + 100 * 86_400, MADE + 86_400), SignatureError::Time));
    assert!(matches!(refuse(MADE - 10, MADE + 10), SignatureError::KeyTooYoung { .. }));

    let mut config = config(SignatureType::Binary, &key.primary_key, HashAlgorithm::Sha256, MADE + 10);
    let term = SubpacketData::SignatureExpirationTime(Duration::from_secs(100));
    config.hashed_subpackets.push(Subpacket::regular(term).unwrap());
    let brief = armored(config.sign(&key.primary_key, &Password::empty(), DATA).unwrap());
    ring.verify_detached(&brief, DATA, &policy(MADE + 109)).unwrap();
    let error = ring.verify_detached(&brief, DATA, &policy(MADE + 110)).unwrap_err();
    assert!(matches!(error, SignatureError::Expired));
}

#[test]
fn an_expired_key_is_good_for_what_it_signed_only_where_that_is_allowed() {
    let mut key = new_key(1, false);
    restate(&mut key, MADE, [SubpacketData::KeyExpirationTime(Duration::from_secs(1000))]);
    let (ring, signature) = (keyring(&[&key]), sign(&key, MADE + 999));
    ring.verify_detached(&signature, DATA, &policy(MADE + 999)).unwrap();
    let late = policy(MADE + 1000);
    let error = ring.verify_detached(&signature, DATA, &late).unwrap_err();
    assert!(matches!(error, SignatureError::KeyExpired { .. }));
    let archive = Policy { expired_since: true, ..late };
    ring.verify_detached(&signature, DATA, &archive).unwrap();
    let error = ring.verify_detached(&sign(&key, MADE + 1000), DATA, &archive).unwrap_err();
    assert!(matches!(error, SignatureError::KeyExpired { .. }));
    // A newer statement prolongs it.
    restate(&mut key, MADE + 500, [SubpacketData::KeyExpirationTime(Duration::from_secs(5000))]);
    keyring(&[&key]).verify_detached(&signature, DATA, &late).unwrap();
}

#[test]
fn a_revoked_key_is_refused_from_the_beginning_or_from_its_retirement() {
    let mut key = new_key(1, false);
    let signature = sign(&key, MADE + 10);
    revoke(&mut key, MADE + 1000, RevocationCode::KeyCompromised);
    let now = policy(MADE + 2000);
    let error = keyring(&[&key]).verify_detached(&signature, DATA, &now).unwrap_err();
    assert!(matches!(error, SignatureError::KeyRevoked { .. }));
    revoke(&mut key, MADE + 1000, RevocationCode::KeyRetired);
    keyring(&[&key]).verify_detached(&signature, DATA, &now).unwrap();
    let error = keyring(&[&key]).verify_detached(&sign(&key, MADE + 1000), DATA, &now).unwrap_err();
    assert!(matches!(error, SignatureError::KeyRevoked { .. }));
}

#[test]
fn a_key_for_other_purposes_does_not_sign() {
    let mut key = new_key(1, false);
    let mut flags = KeyFlags::default();
    flags.set_encrypt_storage(true);
    restate(&mut key, MADE, [SubpacketData::KeyFlags(flags)]);
    let error = keyring(&[&key]).verify_detached(&sign(&key, MADE + 1), DATA, &policy(MADE + 2)).unwrap_err();
    assert!(matches!(error, SignatureError::KeyNotForSigning { .. }));
}

#[test]
fn a_foreign_subkey_is_not_adopted() {
    // Somebody binds another's subkey to a key of his own, without that subkey's consent.
    let (victim, mut thief) = (new_key(1, true), new_key(2, true));
    let subkey = victim.secret_subkeys[0].clone();
    let mut binding = config(SignatureType::SubkeyBinding, &thief.primary_key, HashAlgorithm::Sha256, MADE);
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    binding.hashed_subpackets.push(Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap());
    let (public, password) = (thief.primary_key.public_key(), Password::empty());
    let binding =
        binding.sign_subkey_binding(&thief.primary_key, public, &password, subkey.key.public_key()).unwrap();
    thief.secret_subkeys = vec![subkey.clone()];
    thief.secret_subkeys[0].signatures = vec![binding];
    let signature = sign_with(&subkey.key, HashAlgorithm::Sha256, MADE + 10, DATA);
    let now = policy(MADE + 20);
    keyring(&[&victim]).verify_detached(&signature, DATA, &now).unwrap();
    let error = keyring(&[&thief]).verify_detached(&signature, DATA, &now).unwrap_err();
    assert!(matches!(error, SignatureError::KeyNotForSigning { .. }));
}

#[test]
fn files_without_keys_are_refused() {
    assert!(matches!(Keyring::parse(b""), Err(KeyError::None)));
    assert!(matches!(Keyring::parse(b"<html>404</html>"), Err(KeyError::None)));
    let cut = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBE\n";
    assert!(matches!(Keyring::parse(cut), Err(KeyError::Unusable(_) | KeyError::None)));
    let mut key = new_key(1, false).to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap();
    assert!(Keyring::parse(&key).is_ok());
    let half = key.len() / 2;
    key.truncate(half);
    assert!(Keyring::parse(&key).is_err());
}

#[expect(clippy::disallowed_methods, reason = "tests find their data by an environment variable")]
fn test_data(below: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let data = PathBuf::from(std::env::var("CFS_TEST_DATA").unwrap_or_else(|_| beside.to_owned()));
    let dir = data.join(below);
    if !dir.exists() {
        eprintln!("skipped: {below} is missing; set CFS_TEST_DATA");
        return None;
    }
    Some(dir)
}

const NOW: Policy = Policy { now: 1_795_000_000, weak_hashes: false, expired_since: true };

#[test]
fn real_signed_metadata_is_accepted_and_a_change_noticed() {
    let Some(dir) = test_data("librepo/test_data/repo_yum_01/repodata") else { return };
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let ring = Keyring::parse(&read("repomd.xml.key")).unwrap();
    let weak = Policy { weak_hashes: true, ..NOW };
    let (signature, mut data) = (read("repomd.xml.asc"), read("repomd.xml"));
    ring.verify_detached(&signature, &data, &weak).unwrap();
    data[100] ^= 1;
    let error = ring.verify_detached(&signature, &data, &weak).unwrap_err();
    assert!(matches!(error, SignatureError::Bad { .. }), "{error}");

    let Some(dir) = test_data("librepo/test_data/expired_test") else { return };
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let ring = Keyring::parse(&read("expired_key.asc")).unwrap();
    let (signature, data) = (read("test_data.txt.asc"), read("test_data.txt"));
    let strict = Policy { expired_since: false, ..weak };
    let error = ring.verify_detached(&signature, &data, &strict).unwrap_err();
    assert!(matches!(error, SignatureError::KeyExpired { .. }), "{error}");
}

fn find(dir: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, suffix, found);
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
}

#[test]
fn real_packages_are_judged_as_another_implementation_judges_them() {
    let Some(dir) = test_data("rpm-rs") else { return };
    let (mut keys, mut packages) = (Vec::new(), Vec::new());
    find(&dir.join("signing_keys"), ".asc", &mut keys);
    find(&dir, ".rpm", &mut packages);
    let (mut good, mut bad) = (0, 0);
    for key in &keys {
        let bytes = fs::read(key).unwrap();
        let ring = Keyring::parse(&bytes).unwrap();
        let other = rpm::signature::pgp::Verifier::from_asc_bytes(&bytes).unwrap();
        for package in &packages {
            let expected = rpm::Package::open(package).unwrap().verify_signature(&other);
            let found = ring.verify_package(&mut File::open(package).unwrap(), &NOW);
            let what = format!("{} by {}", package.display(), key.display());
            assert_eq!(found.is_ok(), expected.is_ok(), "{what}: {found:?} {expected:?}");
            match found {
                Ok((_, cover)) => {
                    assert_eq!(cover, Cover::Whole, "{what}");
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
    }
    assert!(good >= 8 && bad >= 8, "{good} good and {bad} bad ones");
}

#[test]
fn old_packages_are_covered_by_a_signature_over_everything() {
    let Some(dir) = test_data("centos-release") else { return };
    let ring = Keyring::parse(&fs::read(dir.join("RPM-GPG-KEY-CentOS-6")).unwrap()).unwrap();
    let path = dir.join("centos-release-6-0.el6.centos.5.x86_64.rpm");
    let weak = Policy { weak_hashes: true, ..NOW };
    let (_, cover) = ring.verify_package(&mut File::open(&path).unwrap(), &weak).unwrap();
    assert_eq!(cover, Cover::Whole);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = ring.verify_package(&mut Cursor::new(bytes), &weak).unwrap_err();
    assert!(matches!(error, PackageError::Signature(SignatureError::Bad { .. })), "{error}");
}

#[test]
fn a_change_anywhere_in_a_signed_package_is_noticed() {
    let Some(dir) = test_data("rpm-rs") else { return };
    let ring =
        Keyring::parse(&fs::read(dir.join("signing_keys/v4/rpm-testkey-v4-ed25519.asc")).unwrap()).unwrap();
    let path = dir.join("RPMS/v4/signed/rpm-basic-with-ed25519-2.3.4-5.el9.noarch.rpm");
    let bytes = fs::read(path).unwrap();
    ring.verify_package(&mut Cursor::new(&bytes), &NOW).unwrap();
    // Where the header begins, behind the lead and the signature header, which nothing covers.
    let header_at = 96 + bytes[96..].windows(4).skip(1).position(|w| w == [0x8e, 0xad, 0xe8, 1]).unwrap() + 1;
    for at in (header_at..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        ring.verify_package(&mut Cursor::new(changed), &NOW).expect_err(&format!("byte {at}"));
    }
    for len in (0..bytes.len()).step_by(101) {
        let cut = ring.verify_package(&mut Cursor::new(&bytes[..len]), &NOW);
        assert!(matches!(
            cut,
            Err(PackageError::Broken(_)
                | PackageError::Read(_)
                | PackageError::Malformed(_)
                | PackageError::Payload)
        ));
    }
    // Nothing that stands in the unsigned part may bring the reader down.
    for at in 0..header_at {
        for value in [0, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let _ = ring.verify_package(&mut Cursor::new(changed), &NOW);
        }
    }
}
