//! Composes of special interest groups, and signatures.

use super::*;
use crate::sync::signed::{key, package, sign_repomd};

#[test]
fn a_group_has_its_own_layout_and_its_own_latest() {
    let scene = Scene::new();
    let armored =
        key(1, None).to_public_key().to_armored_string(pgp::composed::ArmorOptions::default()).unwrap();
    let url = scene.upstream.url();
    fs::write(scene.sandbox.path("upstream/RPM-GPG-KEY-core"), &armored).unwrap();
    scene.configure(&format!(
        "\n[sig.core.9]\ndirectories = [\"images\"]\n[sig.core.9.upstream]\nurl = \"{url}$repo/$basearch\"\n\
         repositories = [\"BaseOS\"]\ngpg-keys = [\"{url}RPM-GPG-KEY-core\"]\n"
    ));
    let unchecked = ["--disable-gpg-check", "--disable-repo-gpg-check"];
    let done = scene.compose(&[&["sig", "9", "core", "--full-run"][..], &unchecked].concat());
    assert_eq!(done["latest"], "compose/9/latest-SIG-core-9");
    assert!(done["compose"].as_str().unwrap().starts_with("compose/9/SIG-core-9.7-"), "{done}");
    let listing = scene.sandbox.listing("compose/9/latest-SIG-core-9");
    for path in [
        "compose/9/core/x86_64/BaseOS/Packages/own0.rpm",
        "compose/9/core/aarch64/BaseOS-debug/repodata/repomd.xml",
        "compose/9/core/source/BaseOS/Packages",
        "compose/9/core/source/BaseOS/RPM-GPG-KEY-core",
        "compose/9/core/x86_64/BaseOS-debug/RPM-GPG-KEY-core",
        "compose/9/core/metadata/COMPOSE_ID",
        "compose/9/core/images",
    ] {
        assert!(listing.contains(path), "{path} is not in {listing}");
    }
    assert!(!listing.contains(".treeinfo"), "{listing}");
    let name = done["compose"].as_str().unwrap();
    let found = scene.sandbox.ok(["cat", &format!("{name}:compose/9/core/x86_64/BaseOS/RPM-GPG-KEY-core")]);
    assert_eq!(found, armored);
    let again = scene.compose(&[&["sig", "9", "core"][..], &unchecked].concat());
    assert_eq!(again["snapshot"], Value::Null, "nothing has changed: {again}");
    let clean = [&["sig", "9", "core", "--clean-old-packages"][..], &unchecked].concat();
    assert_eq!(scene.compose(&clean)["snapshot"], Value::Null);
    assert_eq!(scene.latest(), None, "the release has none");
    scene.sandbox.fails(2, ["compose", "sig", "9", "cloud"]);
}

#[test]
fn what_is_not_signed_is_refused_unless_that_is_switched_off() {
    let scene = Scene::new();
    let keys = key(1, None);
    let armored = keys.to_public_key().to_armored_string(pgp::composed::ArmorOptions::default()).unwrap();
    scene.sandbox.write("KEY", armored);
    scene.configure("gpg-keys = [\"KEY\"]\n");
    let select =
        ["sync", "9", "--full-run", "--repo=BaseOS", "--arch=x86_64", "--ignore-source", "--ignore-debug"];
    let with = |more: &[&'static str]| [&select[..], more].concat();
    let error = scene.run(&with(&[]));
    assert!(error.code == 3 && error.stderr.contains("not signed"), "{error:?}");
    let error = scene.run(&with(&["--disable-repo-gpg-check"]));
    assert!(error.code == 3 && error.stderr.contains("own0.rpm"), "{error:?}");
    scene.compose(&with(&["--disable-repo-gpg-check", "--disable-gpg-check"]));

    let mut repo = scene.repos[0].clone();
    repo.packages.clear();
    repo.add("Packages/signed.rpm", &package("signed", Some(&keys), 1));
    repo.write();
    sign_repomd(&repo.dir, &keys, 1);
    scene.compose(&with(&[]));
    repo.add("Packages/not.rpm", &package("not", None, 1));
    repo.write();
    sign_repomd(&repo.dir, &keys, 1);
    let error = scene.run(&with(&[]));
    assert!(error.code == 3 && error.stderr.contains("not.rpm"), "{error:?}");
    scene.compose(&with(&["--disable-gpg-check"]));
}
