//! Upstreams that sign, as they should and otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Scene;
use crate::harness::Sandbox;
use crate::harness::upstream::Fault;

const DAY: u32 = 86_400;

#[expect(clippy::disallowed_methods, reason = "signatures are made in the present")]
fn now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A key made ten days ago, which ends after `days`.
pub fn key(seed: u64, days: Option<u32>) -> SignedSecretKey {
    let made = now() - 10 * DAY;
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(Timestamp::from_secs(made))
        .primary_user_id(format!("Upstream {seed}"));
    let mut key = params.build().unwrap().generate(StdRng::seed_from_u64(seed)).unwrap();
    if let Some(days) = days {
        let mut statement = statement(SignatureType::CertPositive, &key.primary_key, made);
        let term = SubpacketData::KeyExpirationTime(Duration::from_secs(days * DAY));
        statement.hashed_subpackets.push(Subpacket::regular(term).unwrap());
        let (public, id) = (key.primary_key.public_key(), &key.details.users[0].id);
        let signed =
            statement.sign_certification(&key.primary_key, public, &Password::empty(), Tag::UserId, id);
        key.details.users[0].signatures = vec![signed.unwrap()];
    }
    key
}

fn statement(typ: SignatureType, key: &impl SigningKey, at: u32) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ]
    .map(|data| Subpacket::regular(data).unwrap())
    .into();
    config
}

/// Signs repomd.xml as it is, `ago` days in the past.
fn sign_metadata(scene: &Scene, key: &SignedSecretKey, ago: u32) {
    sign_repomd(&scene.repo.dir, key, ago);
}

/// Signs the repomd.xml of the repository in `dir` as it is, `ago` days in the past.
pub fn sign_repomd(dir: &Path, key: &SignedSecretKey, ago: u32) {
    let file = dir.join("repodata/repomd.xml");
    let config = statement(SignatureType::Binary, &key.primary_key, now() - ago * DAY);
    let data = fs::read(&file).unwrap();
    let signed = config.sign(&key.primary_key, &Password::empty(), &data[..]).unwrap();
    let text = DetachedSignature::new(signed).to_armored_bytes(ArmorOptions::default()).unwrap();
    fs::write(dir.join("repodata/repomd.xml.asc"), text).unwrap();
}

/// A real package with some content, signed or not.
pub fn package(name: &str, key: Option<&SignedSecretKey>, ago: u32) -> Vec<u8> {
    let mut builder = rpm::PackageBuilder::new(name, "1", "MIT", "noarch", "a package");
    let config = rpm::BuildConfig::v4().source_date(now() - ago * DAY);
    builder.using_config(config);
    builder
        .with_file_contents(name.repeat(100), rpm::FileOptions::new(format!("/usr/share/{name}")))
        .unwrap();
    let built = match key {
        None => builder.build(),
        Some(key) => {
            builder.build_and_sign(rpm::signature::pgp::Signer::new(key.primary_key.clone()).unwrap())
        }
    };
    let mut bytes = Vec::new();
    built.unwrap().write(&mut bytes).unwrap();
    bytes
}

pub fn key_file(sandbox: &Sandbox, name: &str, keys: &[&SignedSecretKey]) -> PathBuf {
    let mut text = b"Keys of the upstream\n".to_vec();
    for key in keys {
        text.extend(key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap());
    }
    sandbox.write(name, text)
}

/// A scene with three signed packages and signed metadata.
fn signed(key: &SignedSecretKey) -> Scene {
    let mut scene = Scene::new(0);
    for name in ["one", "two", "three"] {
        scene.repo.add(&format!("{name}.rpm"), &package(name, Some(key), 1));
    }
    scene.repo.write();
    sign_metadata(&scene, key, 1);
    scene
}

fn gpgkey(path: &std::path::Path) -> String {
    format!("--gpgkey={}", path.display())
}

#[test]
fn signed_metadata_and_packages_are_taken_and_the_key_is_named() {
    let key = key(1, None);
    let scene = signed(&key);
    let keys = key_file(&scene.sandbox, "keys", &[&self::key(2, None), &key]);
    let report = scene.sandbox.json(["sync", &scene.upstream.url(), "test:os", &gpgkey(&keys)]).remove(0);
    assert_eq!(report["key"], key.fingerprint().to_string().to_lowercase());
    assert!(scene.sandbox.listing("test:os").contains("repomd.xml.asc"));
    let again = scene.sandbox.json(["sync", &scene.upstream.url(), "test:os", &gpgkey(&keys)]).remove(0);
    assert_eq!(again["changed"], false);
    // The same repository, signed anew: one file differs.
    sign_metadata(&scene, &key, 0);
    let resigned = scene.sandbox.json(["sync", &scene.upstream.url(), "test:os", &gpgkey(&keys)]).remove(0);
    assert_eq!((&resigned["changed"], &resigned["fetched_files"]), (&true.into(), &0.into()));
}

#[test]
fn metadata_that_is_tampered_with_unsigned_or_anothers_is_refused() {
    let (good, other, expired) = (key(1, None), key(2, None), key(3, Some(5)));
    let refuse = |change: &dyn Fn(&Scene), reason: &str| {
        let scene = signed(&good);
        change(&scene);
        let keys = key_file(&scene.sandbox, "keys", &[&good, &expired]);
        let text = scene.fails(&[&gpgkey(&keys)]);
        assert!(text.contains(reason) && text.contains("repodata/repomd.xml"), "{text}");
        let whole = text.lines().next().unwrap().rsplit(": ").next().unwrap();
        assert_eq!(text.matches(whole).count(), 1, "the reason is said once: {text}");
        assert!(!scene.sandbox.ok(["refs"]).contains("test"));
        assert_eq!(
            scene.file_requests(),
            [] as [&str; 0],
            "nothing is asked for before the signature is good"
        );
    };
    let repomd = |scene: &Scene| scene.repo.dir.join("repodata/repomd.xml");
    refuse(
        &|scene| {
            let text = fs::read_to_string(repomd(scene)).unwrap().replace("<size>", "<size> ");
            fs::write(repomd(scene), text).unwrap();
        },
        "bad signature",
    );
    refuse(&|scene| sign_metadata(scene, &other, 1), "which is not among the given ones");
    refuse(&|scene| sign_metadata(scene, &expired, 6), "had expired");
    refuse(&|scene| scene.upstream.fault("/repodata/repomd.xml.asc", Fault::Status(404)), "is not signed");
    refuse(
        &|scene| scene.upstream.fault("/repodata/repomd.xml.asc", Fault::Content(b"<html>".into())),
        "signature",
    );
}

#[test]
fn packages_that_are_unsigned_or_anothers_are_all_named() {
    let (good, other, expired) = (key(1, None), key(2, None), key(3, Some(5)));
    let mut scene = signed(&good);
    scene.repo.add("unsigned.rpm", &package("unsigned", None, 1));
    scene.repo.add("foreign.rpm", &package("foreign", Some(&other), 1));
    scene.repo.add("archived.rpm", &package("archived", Some(&expired), 6));
    scene.repo.add("late.rpm", &package("late", Some(&expired), 1));
    scene.repo.add("none.rpm", b"this is no package");
    let mut changed = package("changed", Some(&good), 1);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    scene.repo.add("changed.rpm", &changed);
    scene.repo.write();
    sign_metadata(&scene, &good, 1);
    let keys = key_file(&scene.sandbox, "keys", &[&good, &expired]);
    let text = scene.fails(&[&gpgkey(&keys)]);
    for (name, reason) in [
        ("unsigned", "is not signed"),
        ("foreign", "which is not among the given ones"),
        ("late", "had expired"),
        ("none", "is no valid package: byte 18: ends inside the lead"),
        ("changed", "another payload"),
    ] {
        let line = text.lines().find(|line| line.contains(&format!("{name}.rpm"))).unwrap_or_default();
        assert!(line.contains(reason), "{name}: {text}");
    }
    assert!(text.contains("5 files cannot be had"), "{text}");
    assert!(!scene.sandbox.ok(["refs"]).contains("test"));

    // Without keys nobody asks; with them, what was synced without is looked at again.
    scene.sync();
    scene.upstream.heal();
    let text = scene.fails(&[&gpgkey(&keys)]);
    assert!(text.contains("5 files cannot be had"), "{text}");
    assert_eq!(scene.file_requests(), [] as [&str; 0]);
    scene.repo.packages.retain(|package| {
        ["one.rpm", "two.rpm", "three.rpm", "archived.rpm"].contains(&package.href.as_str())
    });
    scene.repo.write();
    sign_metadata(&scene, &good, 0);
    scene.sandbox.ok(["sync", &scene.upstream.url(), "test:os", &gpgkey(&keys)]);
}

#[test]
fn unsigned_metadata_may_be_accepted_and_unsigned_packages_not() {
    let good = key(1, None);
    let mut scene = signed(&good);
    fs::remove_file(scene.repo.dir.join("repodata/repomd.xml.asc")).unwrap();
    let keys = gpgkey(&key_file(&scene.sandbox, "keys", &[&good]));
    let text = scene.fails(&[&keys]);
    assert!(text.contains("--allow-unsigned-metadata"), "{text}");
    let args = ["sync", &scene.upstream.url(), "test:os", &keys, "--allow-unsigned-metadata"];
    let report = scene.sandbox.json(args).remove(0);
    assert_eq!((&report["changed"], &report["key"]), (&true.into(), &serde_json::Value::Null));
    scene.repo.add("unsigned.rpm", &package("unsigned", None, 1));
    scene.repo.write();
    let text = scene.fails(&[&keys, "--allow-unsigned-metadata"]);
    assert!(text.contains("unsigned.rpm: the package is not signed"), "{text}");
    // A signature that is there counts.
    sign_metadata(&scene, &key(2, None), 1);
    let text = scene.fails(&[&keys, "--allow-unsigned-metadata"]);
    assert!(text.contains("which is not among the given ones"), "{text}");
}

#[test]
fn a_file_without_keys_is_wrong_usage() {
    let scene = Scene::new(1);
    let keys = gpgkey(&scene.sandbox.write("keys", "no keys"));
    let text = scene.sandbox.fails(2, ["sync", &scene.upstream.url(), "test:os", &keys]);
    assert!(text.contains("holds no OpenPGP public key"), "{text}");
    assert_eq!(scene.upstream.requests(), []);
}
