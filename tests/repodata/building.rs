//! When metadata is made anew, and what becomes of what was there.

use std::fs;
use std::process::Command;

use super::{checkout, metadata, plain, repomd, with_packages};
use crate::harness::packages::package;
use crate::harness::repo::put;
use crate::harness::{installed, ran};

const COMPS: &str = "<?xml version=\"1.0\"?>\n<comps><group><id>zoo</id><name>Zoo</name></group></comps>\n";
const MODULES: &str = "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: zoo\n...\n";

fn build(sandbox: &crate::harness::Sandbox, more: &[&str]) -> serde_json::Value {
    let args = ["repodata", "build", "repo:os"].into_iter().chain(more.iter().copied());
    sandbox.json(args).remove(0)
}

#[test]
fn the_same_packages_give_the_same_bytes_and_no_new_snapshot() {
    let sandbox = with_packages("");
    let plan = build(&sandbox, &["--dry-run"]);
    assert_eq!(
        (&plan["changed"], &plan["packages_read"], &plan["snapshot"]),
        (&true.into(), &3.into(), &().into())
    );
    let first = build(&sandbox, &[]);
    assert_eq!(first["packages"], 3);
    assert_eq!(
        (&first["packages_read"], &first["files"]),
        (&0.into(), &plan["files"]),
        "the plan has read them"
    );
    let document = repomd(&sandbox, "repo:os");
    let snapshot = sandbox.snapshot("repo");
    let again = build(&sandbox, &[]);
    assert_eq!((&again["changed"], sandbox.snapshot("repo")), (&false.into(), snapshot));
    // Another ref, another cache and another store make no difference.
    sandbox.ok(["repodata", "build", "repo@{1}:os", "other/place"]);
    assert_eq!(repomd(&sandbox, "other/place:"), document);
    assert_eq!(sandbox.listing("other/place"), sandbox.listing("repo:os"));
    fs::remove_file(sandbox.store().join("cache.db")).unwrap();
    let without = build(&sandbox, &[]);
    assert_eq!((&without["changed"], &without["packages_read"]), (&false.into(), &3.into()));
    let elsewhere = with_packages("");
    build(&elsewhere, &[]);
    assert_eq!(repomd(&elsewhere, "repo:os"), document);
}

#[test]
fn with_build_times_the_times_of_files_make_no_difference() {
    let sandbox = with_packages("");
    let out = checkout(&sandbox, "repo", "out");
    for entry in fs::read_dir(out.join("os/Packages")).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
    }
    sandbox.ok(["import", "out", "later"]);
    let made = |more: &[&str]| -> [String; 2] {
        ["repo", "later"].map(|name| {
            let place = format!("{name}:os");
            let args = ["repodata", "build", &place, "made", "--time=1700000000"];
            sandbox.ok(args.iter().chain(more).copied());
            repomd(&sandbox, "made:")
        })
    };
    let [first, second] = made(&[]);
    assert_ne!(first, second);
    let [first, second] = made(&["--build-times"]);
    assert_eq!(first, second);
}

#[test]
fn a_new_package_is_read_alone_and_gives_a_newer_time() {
    let sandbox = with_packages("");
    build(&sandbox, &["--revision=9", "--distro=cpe:/o:rocky:rocky:9,Rocky Linux 9", "--content=binary"]);
    let before = repomd(&sandbox, "repo:os");
    assert!(before.contains("<revision>9</revision>"), "{before}");
    assert!(before.contains("<distro cpeid=\"cpe:/o:rocky:rocky:9\">Rocky Linux 9</distro>"), "{before}");
    assert!(before.contains("<content>binary</content>"), "{before}");
    let out = checkout(&sandbox, "repo", "out");
    fs::remove_file(out.join("os/Packages/ant-1-1.noarch.rpm")).unwrap();
    package(&out.join("os/Packages"), "ant", "2");
    sandbox.ok(["import", "out", "repo"]);
    let report = build(&sandbox, &[]);
    assert_eq!(report["revision"], "9", "a version is no time");
    assert_eq!((&report["packages"], &report["packages_read"]), (&3.into(), &1.into()));
    let after = repomd(&sandbox, "repo:os");
    assert!(after.contains("Rocky Linux 9"), "what it said of itself before it says again: {after}");
    let newest = |text: &str| -> i64 {
        let times =
            text.split("<timestamp>").skip(1).map(|rest| rest.split('<').next().unwrap().parse().unwrap());
        times.max().unwrap()
    };
    assert!(newest(&after) > newest(&before), "{before}{after}");
    let out = checkout(&sandbox, "repo:os", "after");
    let primary = plain(&metadata(&out, "-primary.xml"));
    assert!(
        primary.contains("ver=\"2\"") && primary.contains("href=\"Packages/ant-2-1.noarch.rpm\""),
        "{primary}"
    );
    assert!(!primary.contains("ant-1-1"), "{primary}");
}

#[test]
fn comps_modules_and_what_else_was_there_are_kept_until_they_are_given_anew() {
    let sandbox = with_packages("");
    sandbox.write("comps.xml", COMPS);
    sandbox.write("modules.yaml", MODULES);
    build(&sandbox, &["--comps=comps.xml", "--modules=modules.yaml", "--compress=zst"]);
    let out = checkout(&sandbox, "repo:os", "out");
    assert_eq!(plain(&metadata(&out, "-comps.xml.zst")), COMPS);
    assert_eq!(plain(&metadata(&out, "-modules.yaml.zst")), MODULES);
    let comps = fs::read_dir(out.join("repodata"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(comps.filter(|name| name.ends_with("-comps.xml")).count(), 1);
    package(&out.join("Packages"), "dog", "1");
    put(&out.join("repodata/repomd.xml.key"), b"key", 1_700_000_000);
    put(&out.join("repodata/left-over"), b"?", 1_700_000_000);
    sandbox.ok(["import", out.to_str().unwrap(), "repo:os"]);
    let report = build(&sandbox, &["--compress=xz", "--checksum=sha512"]);
    assert_eq!(report["carried"], serde_json::json!(["group", "group_zst", "modules"]));
    let out = checkout(&sandbox, "repo:os", "out");
    assert_eq!(plain(&metadata(&out, "-comps.xml.zst")), COMPS);
    assert!(plain(&metadata(&out, "-primary.xml.xz")).contains("<checksum type=\"sha512\""));
    assert!(out.join("repodata/repomd.xml.key").exists() && !out.join("repodata/left-over").exists());
    sandbox.write("comps.xml", COMPS.replace("zoo", "park"));
    let report = build(&sandbox, &["--compress=gz", "--comps=comps.xml"]);
    assert_eq!(report["carried"], serde_json::json!(["modules"]));
    let out = checkout(&sandbox, "repo:os", "out");
    assert!(plain(&metadata(&out, "-comps.xml.gz")).contains("park"));
}

#[test]
fn files_of_earlier_metadata_stay_as_long_as_they_are_wanted() {
    let sandbox = with_packages("");
    let mut generations = Vec::new();
    for version in ["1", "2", "3"] {
        package(&sandbox.path("in/os/Packages"), "dog", version);
        let out = checkout(&sandbox, "repo", "out");
        fs::copy(
            sandbox.path(format!("in/os/Packages/dog-{version}-1.noarch.rpm")),
            out.join(format!("os/Packages/dog-{version}-1.noarch.rpm")),
        )
        .unwrap();
        sandbox.ok(["import", "out", "repo"]);
        build(&sandbox, &["--retain=1"]);
        let out = checkout(&sandbox, "repo:os", "now");
        let names = fs::read_dir(out.join("repodata")).unwrap().map(|entry| entry.unwrap().file_name());
        let primary = names.filter(|name| name.to_string_lossy().contains("-primary")).count();
        generations.push(primary);
        assert_eq!(build(&sandbox, &["--retain=1"])["changed"], false, "{version}");
    }
    assert_eq!(generations, [1, 2, 2]);
    build(&sandbox, &[]);
    metadata(&checkout(&sandbox, "repo:os", "now"), "-primary");
}

#[test]
fn what_cannot_be_published_is_said_and_left_out_only_on_demand() {
    let sandbox = with_packages("");
    put(&sandbox.path("in/os/Packages/zebra.rpm"), b"no package", 1_700_000_000);
    sandbox.ok(["import", "in", "repo"]);
    let snapshot = sandbox.snapshot("repo");
    let error = sandbox.fails(1, ["repodata", "build", "repo:os"]);
    assert!(error.contains("Packages/zebra.rpm: byte 10: ends inside the lead"), "{error}");
    assert_eq!(sandbox.snapshot("repo"), snapshot);
    let report = build(&sandbox, &["--skip-broken"]);
    assert_eq!((&report["packages"], report["broken"].as_array().unwrap().len()), (&3.into(), 1));
    let error = sandbox.fails(2, ["repodata", "build", "repo@{1}:os"]);
    assert!(error.contains("the past cannot be written to"), "{error}");
    let error = sandbox.fails(3, ["repodata", "build", "repo:nowhere"]);
    assert!(error.contains("repo:nowhere: there is no such directory"), "{error}");
    let error = sandbox.fails(2, ["repodata", "build", "repo:os", "--comps=in/os/Packages/zebra.rpm"]);
    assert!(error.contains("is no group metadata"), "{error}");
}

#[test]
fn the_list_of_packages_that_is_kept_is_the_one_that_metadata_gives() {
    if !installed("sqlite3") {
        return;
    }
    let sandbox = with_packages("");
    build(&sandbox, &[]);
    let cache = sandbox.store().join("cache.db");
    let sqlite = |sql: &str| ran(Command::new("sqlite3").arg(&cache).arg(sql)).stdout;
    let lists = || {
        sqlite("SELECT CAST(extract AS TEXT) FROM extracts WHERE CAST(extract AS TEXT) LIKE '%Packages/ant%'")
    };
    let kept = lists();
    assert_eq!(kept.lines().filter(|line| !line.is_empty()).count(), 3, "{kept}");
    sqlite("DELETE FROM extracts");
    assert_eq!(lists(), "");
    checkout(&sandbox, "repo", "out");
    sandbox.ok(["import", "out", "other"]);
    assert_eq!(lists(), kept);
}
