//! Groups of packages: comps files of the configuration in the metadata of composes.

use cfs_fs::digest::BlobId;

use super::*;
use crate::sync::signed::{key, sign_repomd};

const OS: &str = "compose/9/latest-Rocky-9:compose/BaseOS/x86_64/os";
const KICKSTART: &str = "compose/9/latest-Rocky-9:compose/BaseOS/x86_64/kickstart";

/// A comps file as people write them, whose group has this name.
fn comps(name: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps><group><id>core</id><name>{name}</name><description/><default>true</default><uservisible>true</uservisible>
<packagelist><packagereq type="mandatory">p0</packagereq></packagelist></group></comps>
"#
    )
}

/// A scene whose `BaseOS` has groups; `more` follows in the configuration.
fn scene(more: &str) -> Scene {
    let scene = Scene::new();
    for arch in ["x86_64", "aarch64"] {
        scene.sandbox.write(&format!("comps/comps-BaseOS.{arch}.xml"), comps(&format!("Core of {arch}")));
    }
    configure(&scene, more);
    scene
}

fn configure(scene: &Scene, more: &str) {
    scene.configure(&format!("[release.9.comps]\nBaseOS = \"comps/comps-$repo.$basearch.xml\"\n{more}"));
}

/// What a run said of the groups of a tree.
#[track_caller]
fn said<'a>(report: &'a Value, tree: &str) -> &'a Value {
    let trees = report["trees"].as_array().unwrap();
    let one = trees.iter().find(|one| one["tree"] == tree);
    &one.unwrap_or_else(|| panic!("{tree} is not in {report}"))["groups"]
}

/// The groups that the metadata at a place has: the uncompressed document.
fn groups(scene: &Scene, place: &str) -> String {
    let listing = scene.sandbox.ok(["ls", &format!("{place}/repodata")]);
    let mut names = listing.lines().filter(|name| name.ends_with("comps.xml"));
    let name = names.next().unwrap_or_else(|| panic!("{place}: {listing}"));
    assert_eq!(names.next(), None, "{listing}");
    scene.sandbox.ok(["cat", &format!("{place}/repodata/{name}")])
}

fn repomd(scene: &Scene, place: &str) -> String {
    scene.sandbox.ok(["cat", &format!("{place}/repodata/repomd.xml")])
}

/// Runs two updates that must change nothing; the second must know that every tree is the same as before.
#[track_caller]
fn nothing_changes(scene: &Scene) {
    let before = scene.sandbox.snapshot("compose/9/latest-Rocky-9");
    for is_first in [true, false] {
        let report = scene.compose(&["sync", "9"]);
        assert_eq!((&report["snapshot"], &report["fetched_files"]), (&Value::Null, &0.into()), "{report}");
        assert_eq!(said(&report, "compose/BaseOS/x86_64/os")["new"], false, "{report}");
        let trees = report["trees"].as_array().unwrap();
        assert!(is_first || trees.iter().all(|tree| tree["packages"].is_null()), "{report}");
    }
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before);
}

#[test]
fn groups_stand_in_the_metadata_of_every_architecture_as_if_injected() {
    let scene = scene("");
    let report = scene.compose(&["sync", "9", "--full-run"]);
    for tree in ["BaseOS/x86_64/os", "BaseOS/aarch64/os"] {
        let expected = serde_json::json!({ "new": true, "signature": "none" });
        assert_eq!(said(&report, &format!("compose/{tree}")), &expected, "{report}");
    }
    for tree in ["BaseOS/x86_64/debug/tree", "BaseOS/source/tree", "devel/x86_64/os"] {
        assert_eq!(said(&report, &format!("compose/{tree}")), &Value::Null, "{report}");
    }
    for (arch, tree) in
        [("x86_64", "os"), ("x86_64", "kickstart"), ("aarch64", "os"), ("aarch64", "kickstart")]
    {
        let place = format!("compose/9/latest-Rocky-9:compose/BaseOS/{arch}/{tree}");
        assert_eq!(groups(&scene, &place), comps(&format!("Core of {arch}")), "{place}");
    }
    assert_eq!(groups(&scene, "compose/9/latest-Rocky-9:compose/devel/x86_64/os"), "<comps/>");

    // The same as what is injected by hand, but for the times.
    scene.sandbox.ok(["import", "upstream/BaseOS/x86_64", "by-hand"]);
    let file = "comps/comps-BaseOS.x86_64.xml";
    scene.sandbox.ok(["repodata", "inject", "by-hand", file, "--type=group"]);
    let names = |place: &str| scene.sandbox.ok(["ls", &format!("{place}/repodata")]);
    assert_eq!(names(OS), names("by-hand:"));
    let timeless = |text: String| {
        let kept = |line: &&str| !line.contains("timestamp") && !line.contains("revision");
        text.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(timeless(repomd(&scene, OS)), timeless(repomd(&scene, "by-hand:")));

    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", OS, out.to_str().unwrap()]);
    assert!(out.join(".treeinfo").exists());
    if let Some(listed) = scene.dnf(&out, &["group", "list"]) {
        assert!(listed.stdout.contains("Core of x86_64"), "{listed:?}");
    }
}

#[test]
fn the_same_groups_change_nothing_and_other_ones_come_with_the_next_update() {
    let scene = scene("");
    scene.compose(&["sync", "9", "--full-run"]);
    nothing_changes(&scene);
    let before = scene.sandbox.snapshot("compose/9/latest-Rocky-9");

    scene.sandbox.write("comps/comps-BaseOS.x86_64.xml", comps("Another core"));
    let planned = scene.sandbox.json(["compose", "sync", "9", "--dry-run"]);
    let would: Vec<&Value> =
        planned.iter().filter(|line| line["groups"] == true).map(|line| &line["tree"]).collect();
    assert_eq!(would, ["compose/BaseOS/x86_64/os"], "{planned:?}");
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before, "a dry run changes nothing");
    let report = scene.compose(&["sync", "9"]);
    assert_eq!(
        (said(&report, "compose/BaseOS/x86_64/os")["new"].as_bool(), &report["fetched_files"]),
        (Some(true), &0.into())
    );
    assert_eq!(said(&report, "compose/BaseOS/aarch64/os")["new"], false, "{report}");
    assert_eq!(groups(&scene, OS), comps("Another core"));
    assert_eq!(groups(&scene, KICKSTART), comps("Core of x86_64"), "a kickstart tree never changes");
    nothing_changes(&scene);

    // The upstream changes: what comes has the groups too.
    let mut repo = scene.repos[0].clone();
    repo.add("Packages/new.rpm", &content(700));
    repo.edit_repomd = |text| text.replace("1700000000", "1700000100");
    repo.write();
    let report = scene.compose(&["sync", "9"]);
    assert_eq!(said(&report, "compose/BaseOS/x86_64/os")["new"], true, "{report}");
    assert!(scene.sandbox.listing(OS).contains("new.rpm"));
    assert_eq!(groups(&scene, OS), comps("Another core"));
    nothing_changes(&scene);

    // A new compose is made of what the latest one has.
    let report = scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!(report["fetched_files"], 0);
    assert_eq!(groups(&scene, KICKSTART), comps("Another core"));
    nothing_changes(&scene);

    // Without the file they stay until the upstream changes.
    scene.configure("");
    let before = scene.sandbox.snapshot("compose/9/latest-Rocky-9");
    scene.compose(&["sync", "9"]);
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before);
    repo.add("Packages/newer.rpm", &content(701));
    repo.edit_repomd = |text| text.replace("1700000000", "1700000200");
    repo.write();
    scene.compose(&["sync", "9"]);
    assert_eq!(groups(&scene, OS), "<comps/>");
}

#[test]
fn metadata_with_other_groups_is_signed_anew_or_loses_its_signature() {
    let signing = "[hook.sign]\nwhen = \"sign\"\ncommand = [\"sha256sum\"]\n\
                   views = [\"compose/9/latest-Rocky-9\"]\n";
    let scene = scene("");
    sign_repomd(&scene.repos[0].dir, &key(1, None), 1);
    let report = scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!(said(&report, "compose/BaseOS/x86_64/os")["signature"], "dropped", "{report}");
    let signature = |place: &str| scene.sandbox.run(["cat", &format!("{place}/repodata/repomd.xml.asc")]);
    for place in [OS, KICKSTART] {
        assert_eq!(signature(place).code, 3, "{place}");
    }
    nothing_changes(&scene);

    configure(&scene, signing);
    let report = scene.compose(&["sync", "9"]);
    assert_eq!(said(&report, "compose/BaseOS/x86_64/os")["signature"], "made", "{report}");
    scene.sandbox.write("repomd.xml", repomd(&scene, OS));
    let sum =
        ran(Command::new("sh").args(["-c", "sha256sum < \"$0\""]).arg(scene.sandbox.path("repomd.xml")));
    assert_eq!(signature(OS).stdout, sum.stdout);
    nothing_changes(&scene);
    scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!((signature(OS).stdout, signature(KICKSTART).stdout), (sum.stdout.clone(), sum.stdout));

    // What cannot be signed is not published.
    configure(&scene, &signing.replace("sha256sum", "false"));
    scene.sandbox.write("comps/comps-BaseOS.x86_64.xml", comps("Another core"));
    let before = scene.sandbox.snapshot("compose/9/latest-Rocky-9");
    let ran = scene.run(&["sync", "9"]);
    assert!(
        ran.code == 3 && ran.stderr.contains("BaseOS/x86_64/os: repodata/repomd.xml cannot be signed"),
        "{ran:?}"
    );
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before);
    assert_eq!(scene.run(&["sync", "9", "--full-run"]).code, 3);
    configure(&scene, signing);
    let resumed = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&resumed["whole"], &resumed["fetched_files"]), (&true.into(), &0.into()), "{resumed}");
    assert_eq!(groups(&scene, KICKSTART), comps("Another core"));
}

#[test]
fn a_file_that_is_no_comps_file_ends_the_run_before_anything_is_asked_for() {
    let scene = scene("");
    fs::remove_file(scene.sandbox.path("comps/comps-BaseOS.aarch64.xml")).unwrap();
    let missing = scene.run(&["sync", "9", "--full-run"]);
    let named = "[release.9.comps] BaseOS: ";
    assert!(missing.code == 3 && missing.stderr.contains(named), "{missing:?}");
    assert!(missing.stderr.contains("comps/comps-BaseOS.aarch64.xml: cannot read"), "{missing:?}");
    for wrong in ["<updates/>", "<comps><group>", "---\ndocument: modulemd\n", ""] {
        scene.sandbox.write("comps/comps-BaseOS.aarch64.xml", wrong);
        let wrong = scene.run(&["sync", "9", "--full-run"]);
        assert!(wrong.code == 2 && wrong.stderr.contains(named), "{wrong:?}");
        assert!(wrong.stderr.contains("aarch64.xml: is no group metadata"), "{wrong:?}");
    }
    assert_eq!((scene.upstream.request_count(), scene.sandbox.json(["refs"]).len()), (0, 0));
    // Who does not ask for that tree does not need it.
    scene.compose(&["sync", "9", "--full-run", "--arch=x86_64"]);
    assert_eq!(groups(&scene, OS), comps("Core of x86_64"));

    scene.configure("[release.9.comps]\nBaseO = \"comps.xml\"\n");
    let unknown = scene.sandbox.run(["config", "check"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("\"BaseO\""), "{unknown:?}");
}

#[test]
fn a_run_that_goes_on_and_a_group_of_people_have_groups_too() {
    let scene = scene("");
    scene.upstream.fault("/all/src/Packages/own3.rpm", Fault::Status(404));
    assert_eq!(scene.run(&["sync", "9", "--full-run"]).code, 3);
    scene.upstream.heal();
    let resumed = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!(
        (&resumed["whole"], &said(&resumed, "compose/BaseOS/x86_64/os")["new"]),
        (&true.into(), &false.into())
    );
    for place in [OS, KICKSTART] {
        assert_eq!(groups(&scene, place), comps("Core of x86_64"));
    }
    scene.compose(&["sync", "9", "--clean-old-packages"]);
    nothing_changes(&scene);

    let url = scene.upstream.url();
    scene.configure(&format!(
        "[sig.core.9]\narches = [\"x86_64\"]\ncomps = {{ BaseOS = \"{url}comps-$repo.xml\" }}\n\
         [sig.core.9.upstream]\nurl = \"{url}$repo/$basearch\"\nrepositories = [\"BaseOS\"]\n"
    ));
    fs::write(scene.sandbox.path("upstream/comps-BaseOS.xml"), comps("A SIG")).unwrap();
    scene.compose(&["sig", "9", "core", "--full-run"]);
    assert_eq!(groups(&scene, "compose/9/latest-SIG-core-9:compose/9/core/x86_64/BaseOS"), comps("A SIG"));
}

#[test]
fn an_upstream_that_goes_back_is_refused_when_its_own_metadata_is_nowhere_any_more() {
    let scene = scene("");
    let only = ["sync", "9", "--full-run", "--repo=BaseOS", "--arch=x86_64", "--ignore-debug"];
    let document = fs::read(scene.repos[0].dir.join("repodata/repomd.xml")).unwrap();
    let blob = BlobId::of(&document).to_string();
    let blob = scene.sandbox.store().join("blobs").join(&blob[..2]).join(&blob[2..]);
    scene.compose(&only);
    assert!(blob.exists());
    for _ in 0..2 {
        scene.sandbox.ok(["gc", "--grace", "0", "--keep", "0", "--keep-generations", "1", "--yes"]);
    }
    assert!(!blob.exists(), "nothing needs it");
    let mut repo = scene.repos[0].clone();
    repo.edit_repomd = |text| text.replace("1700000", "1600000");
    repo.write();
    let refused = scene.run(&only);
    assert!(refused.code == 3 && refused.stderr.contains("was synced before"), "{refused:?}");
}

#[test]
fn a_release_may_say_what_checksums_are_made_with() {
    let scene = scene("");
    let mut repo = scene.repos[0].clone();
    repo.algorithm = cfs_indexer::checksum::Algorithm::Sha512;
    repo.write();
    let kind = |scene: &Scene| {
        let repomd = repomd(scene, OS);
        let record = repomd.split("<data type=\"group\">").nth(1).unwrap_or_else(|| panic!("{repomd}"));
        let (_, kind) = record.split_once("<checksum type=\"").unwrap();
        kind[..6].to_owned()
    };
    scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!(kind(&scene), "sha512", "as the upstream's");
    let config = fs::read_to_string(scene.sandbox.path("config.toml")).unwrap();
    scene.sandbox.write("config.toml", config.replace("rc = 1", "checksum = \"sha256\""));
    scene.compose(&["sync", "9"]);
    assert_eq!(kind(&scene), "sha256");
    nothing_changes(&scene);
}
