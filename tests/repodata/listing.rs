//! What is said of packages.

use std::fs;

use super::with_packages;
use crate::harness::{Sandbox, real_data};

#[test]
fn packages_are_listed_with_metadata_or_without() {
    let sandbox = with_packages("");
    let listed = sandbox.ok(["packages", "repo"]);
    let expected =
        ["ant", "bee", "cat"].map(|name| format!("{name}-0:1-1.noarch os/Packages/{name}-1-1.noarch.rpm"));
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    sandbox.ok(["repodata", "build", "repo:os"]);
    let of_path = sandbox.json(["packages", "repo:os"]);
    assert_eq!((of_path.len(), &of_path[0]["path"]), (3, &"Packages/ant-1-1.noarch.rpm".into()));
    assert_eq!(of_path[0]["source"], "(none)", "as its builder says");
    assert_eq!(of_path[0]["signer"], serde_json::Value::Null);
    let error = sandbox.fails(3, ["packages", "repo:nowhere"]);
    assert!(error.contains("repo:nowhere: there is no such directory"), "{error}");
}

#[test]
fn whoever_is_said_to_have_signed_is_named() {
    let Some(data) = real_data() else { return };
    let sandbox = Sandbox::with_store();
    fs::create_dir(sandbox.path("in")).unwrap();
    for (name, from) in [
        ("header", "rpm-rs/RPMS/v4/signed/rpm-basic-with-rsa4096-2.3.4-5.el9.noarch.rpm"),
        ("many", "rpm-rs/RPMS/v6/signed/rpm-basic-multiple-signatures-2.3.4-5.el9.noarch.rpm"),
        ("none", "rpm-rs/RPMS/v4/rpm-basic-2.3.4-5.el9.noarch.rpm"),
        ("old", "centos-release/centos-release-5-0.0.el5.centos.2.i386.rpm"),
    ] {
        fs::copy(data.join(from), sandbox.path(format!("in/{name}.rpm"))).unwrap();
    }
    sandbox.ok(["import", "in", "repo"]);
    let listed = sandbox.json(["packages", "repo"]);
    let signer = |name: &str| {
        let path = format!("{name}.rpm");
        listed.iter().find(|one| one["path"] == path.as_str()).unwrap()["signer"].clone()
    };
    // The key of CentOS 5, as everybody knows it.
    assert_eq!(signer("old"), "a8a447dce8562897");
    assert_eq!(signer("none"), serde_json::Value::Null);
    assert_eq!(signer("header"), "e964f9fb30d073b5");
    let many = signer("many").as_str().unwrap().to_owned();
    assert!(many.len() == 16 && many.bytes().all(|byte| byte.is_ascii_hexdigit()), "{many}");
}
