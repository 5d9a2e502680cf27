//! What finishing a compose makes of its images and of trees that are empty.

use std::collections::BTreeMap;

use super::metadata::productmd;
use super::*;

/// A build of everything that Rocky makes besides discs.
const BUILD: &str = "20251123.2";
const CLOUD: [(&str, &str, &str); 19] = [
    ("Azure-Base", "vhd", "vpc"),
    ("Azure-LVM", "vhd", "vpc"),
    ("Container-Base", "tar.xz", "container"),
    ("Container-Minimal", "tar.xz", "container"),
    ("Container-Toolbox", "tar.xz", "container"),
    ("Container-UBI", "tar.xz", "container"),
    ("EC2-Base", "qcow2", "qcow2"),
    ("EC2-LVM", "qcow2", "qcow2"),
    ("GenericCloud-Base", "qcow2", "qcow2"),
    ("GenericCloud-LVM", "qcow2", "qcow2"),
    ("OCP-Base", "qcow2", "qcow2"),
    ("RPI-Base", "raw.xz", "raw-xz"),
    ("WSL-Base", "wsl", "wsl2"),
    ("Vagrant-Libvirt", "box", "vagrant-libvirt"),
    ("Vagrant-Vbox", "box", "vagrant-virtualbox"),
    ("Vagrant-VMware", "box", "vagrant-vmware-fusion"),
    ("Archive", "ociarchive", "ociarchive"),
    ("Disk", "vdi", "vdi"),
    ("Old", "qcow", "qcow"),
];
const LIVE: [&str; 6] = ["Workstation", "Workstation-Lite", "KDE", "XFCE", "Cinnamon", "MATE"];

/// A release of one repository that is empty, and a group with the same.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for tree in [0, 1, 4] {
        for old in std::mem::take(&mut scene.repos[tree].packages) {
            let _ = fs::remove_file(scene.repos[tree].dir.join(old.href));
        }
        let _ = fs::remove_dir(scene.repos[tree].dir.join("Packages"));
    }
    for tree in [0, 1, 4] {
        scene.repos[tree].write();
    }
    let url = scene.upstream.url();
    let upstream = format!("url = \"{url}$repo/$basearch\"\nrepositories = [\"BaseOS\"]\n");
    scene.sandbox.write(
        "config.toml",
        format!(
            "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\narches = [\"x86_64\"]\n\
             iso.minimal = {{ disc = true, variant = \"minimal\", repositories = [\"BaseOS\"] }}\n\
             [release.9.upstream]\n{upstream}[sig.core.9]\ndirectories = [\"images\"]\n[sig.core.9.upstream]\n{upstream}"
        ),
    );
    scene
}

/// The same with two packages whose source package it has not.
fn scene_with_packages() -> Option<Scene> {
    let packages = crate::harness::real_data()?.join("pulp-fixtures/assets-modularity");
    let mut scene = scene();
    for name in ["nodejs", "nodejs-devel"] {
        let name = format!("{name}-10.11.0-1.module_2200+adbac02b.x86_64.rpm");
        scene.repos[0].add(&format!("Packages/{name}"), &fs::read(packages.join(&name)).unwrap());
    }
    scene.repos[0].write();
    Some(scene)
}

/// Finishes a compose of the release whose `work/` was made in the sandbox.
fn finalize(scene: &Scene) -> Ran {
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    scene.sandbox.ok(["import", "work", &format!("{name}:work")]);
    scene.sandbox.run(["--json", "compose", "finalize", "9"])
}

#[track_caller]
fn finalized(scene: &Scene) -> Value {
    let ran = finalize(scene);
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

fn document(scene: &Scene, name: &str) -> Value {
    serde_json::from_str(&scene.file(&format!("compose/metadata/{name}.json"))).unwrap()
}

/// Every image of the finished release, as `TYPE SUBVARIANT` by its file's name.
fn images(scene: &Scene) -> BTreeMap<String, String> {
    let images = &document(scene, "images")["payload"]["images"]["BaseOS"]["x86_64"];
    let word = |image: &Value, key: &str| image[key].as_str().unwrap().to_owned();
    let line = |image: &Value| format!("{} {}", word(image, "type"), word(image, "subvariant"));
    let name = |image: &Value| word(image, "path").rsplit('/').next().unwrap().to_owned();
    images.as_array().unwrap().iter().map(|image| (name(image), line(image))).collect()
}

fn digest(text: &str) -> String {
    let mut hasher = cfs_indexer::checksum::Hasher::new(cfs_indexer::checksum::Algorithm::Sha256);
    hasher.update(text.as_bytes());
    hasher.finish().checksum.to_hex()
}

#[test]
fn everything_that_rocky_makes_can_be_told_apart() {
    let scene = scene();
    let mut expected = BTreeMap::new();
    for (what, end, kind) in CLOUD {
        let name = format!("Rocky-9-{what}-9.7-{BUILD}.x86_64.{end}");
        scene.sandbox.write(&format!("work/images/x86_64/{name}"), &name);
        expected.insert(name, format!("{kind} {what}"));
    }
    for what in LIVE {
        let name = format!("Rocky-9.7-{what}-x86_64-{BUILD}.iso");
        scene.sandbox.write(&format!("work/live/x86_64/{name}"), &name);
        expected.insert(name, format!("live {what}"));
    }
    for (what, kind) in [("boot", "boot"), ("dvd", "dvd"), ("minimal", "dvd")] {
        let name = format!("Rocky-9.7-x86_64-{what}.iso");
        scene.sandbox.write(&format!("work/isos/x86_64/{name}"), &name);
        expected.insert(name, format!("{kind} {what}"));
    }
    // An alias that is no link; and the same disc, built again.
    scene.sandbox.write("work/isos/x86_64/Rocky-9-latest-x86_64-dvd.iso", "Rocky-9.7-x86_64-dvd.iso");
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-20251201.0-x86_64-dvd.iso", "again");
    expected.insert("Rocky-9.7-20251201.0-x86_64-dvd.iso".into(), "dvd dvd-20251201.0".into());
    // What productmd has no word for, what is nothing, and an alias of something else.
    for (name, content) in [
        ("images/x86_64/Rocky-9-Toaster.img", "x"),
        ("live/x86_64/none.iso", ""),
        ("isos/stray.iso", "x"),
        ("isos/x86_64/Rocky-x86_64-boot.iso", "x"),
    ] {
        scene.sandbox.write(&format!("work/{name}"), content);
    }
    let done = finalized(&scene);
    assert_eq!(done["images"], expected.len() + 4, "{done}");
    let warnings: Vec<&str> = done["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let said = [
        "work/isos/stray.iso: stands in no directory of an architecture",
        "compose/images/x86_64/Rocky-9-Toaster.img: is of no type that images.json knows",
        "compose/live/x86_64/none.iso: is empty",
        "compose/isos/x86_64/Rocky-x86_64-boot.iso: is another image than compose/isos/x86_64/Rocky-9.7-x86_64-boot.iso",
    ];
    assert_eq!(warnings, said);
    assert_eq!(images(&scene), expected);

    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9", out.to_str().unwrap()]);
    let program = r#"
import sys, productmd.compose
compose = productmd.compose.Compose(sys.argv[1])
for name, document in (("composeinfo", compose.info), ("images", compose.images)):
    assert document.dumps() == open(sys.argv[1] + "/compose/metadata/" + name + ".json").read(), name
assert set(compose.images.images) <= set(compose.info.variants.variants)
print(sum(len(arches["x86_64"]) for arches in compose.images.images.values()))
"#;
    if let Some(text) = productmd(program, &[out.to_str().unwrap()]) {
        assert_eq!(text.trim(), expected.len().to_string());
    }
}

#[test]
fn composeinfo_names_what_is_there() {
    let Some(scene) = scene_with_packages() else { return };
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-x86_64-minimal.iso", "a disc");
    scene.sandbox.write("work/images/x86_64/Rocky-9-Azure-Base-9.7-20251123.2.x86_64.vhd", "an image");
    finalized(&scene);
    let info = document(&scene, "composeinfo");
    let expected = serde_json::json!({
        "debug_repository": { "x86_64": "BaseOS/x86_64/debug/tree" },
        "debug_tree": { "x86_64": "BaseOS/x86_64/debug/tree" },
        "images": { "x86_64": "images/x86_64" },
        "isos": { "x86_64": "isos/x86_64" },
        "os_tree": { "x86_64": "BaseOS/x86_64/os" },
        "packages": { "x86_64": "BaseOS/x86_64/os/Packages" },
        "repository": { "x86_64": "BaseOS/x86_64/os" },
        "source_repository": { "x86_64": "BaseOS/source/tree" },
        "source_tree": { "x86_64": "BaseOS/source/tree" },
    });
    assert_eq!(info["payload"]["variants"]["BaseOS"]["paths"], expected, "{info}");
    let rpms = document(&scene, "rpms");
    let sources = rpms["payload"]["rpms"]["BaseOS"]["x86_64"].as_object().unwrap();
    let sources: Vec<&str> = sources.keys().map(String::as_str).collect();
    assert_eq!(
        sources,
        ["nodejs-1:10.11.0-1.module_2200+adbac02b.src"],
        "its epoch is that of what was built of it"
    );
}

#[test]
fn every_image_has_a_line_in_checksum_and_what_builders_say_stays() {
    let scene = scene();
    let at = |name: &str| format!("work/isos/x86_64/{name}");
    let (boot, dvd) = ("Rocky-9.7-x86_64-boot.iso", "Rocky-9.7-x86_64-dvd.iso");
    scene.sandbox.write(&at(boot), "boot");
    scene.sandbox.write(&at(dvd), "dvd");
    let line = |name: &str, text: &str| {
        format!("# {name}: {} bytes\nSHA256 ({name}) = {}\n", text.len(), digest(text))
    };
    let said = format!("{}MD5 ({boot}) = 881cc4157ed641a365a86452f27ed745\n\n", line(boot, "boot"));
    scene.sandbox.write(&at(&format!("{boot}.CHECKSUM")), &said);
    // The size alone; cfs says the rest.
    scene.sandbox.write(&at(&format!("{dvd}.CHECKSUM")), format!("# {dvd}: 3 bytes\n"));
    for alias in ["Rocky-9-latest-x86_64-boot.iso", "Rocky-x86_64-boot.iso"] {
        std::os::unix::fs::symlink(boot, scene.sandbox.path(at(alias))).unwrap();
    }
    let alias = "Rocky-x86_64-boot.iso";
    scene.sandbox.write(&at(&format!("{alias}.CHECKSUM")), line(alias, "boot"));
    scene.sandbox.write(&at("old.iso.CHECKSUM"), line("old.iso", "gone"));
    let done = finalized(&scene);
    assert_eq!(done["images"], 2, "{done}");
    let warnings = serde_json::json!([
        "work/isos/x86_64/old.iso.CHECKSUM: line 1: there is no old.iso",
        "work/isos/x86_64/old.iso.CHECKSUM: line 2: there is no old.iso",
    ]);
    assert_eq!(done["warnings"], warnings);
    let dvd = format!("# {dvd}: 3 bytes\n{}", line(dvd, "dvd"));
    let expected = [
        line("Rocky-9-latest-x86_64-boot.iso", "boot"),
        said.trim_end().to_owned() + "\n",
        dvd,
        line(alias, "boot"),
    ];
    assert_eq!(scene.file("compose/isos/x86_64/CHECKSUM"), expected.concat());
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9:compose/isos", out.to_str().unwrap()]);
    let check = ran(Command::new("sha256sum").args(["--check", "CHECKSUM"]).current_dir(out.join("x86_64")));
    assert_eq!((check.code, check.stdout.matches(": OK").count()), (0, 4), "{check:?}");
}

#[test]
fn checksums_that_are_not_so_are_refused_with_their_line() {
    let scene = scene();
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    let zeros = "0".repeat(64);
    let md5 = "0".repeat(32);
    for (text, line, said) in [
        (format!("# R.iso: 4 bytes\nSHA256 (R.iso) = {zeros}\n"), 2, "R.iso has sha256:"),
        (format!("SHA256 (R.iso) = {}\nMD5 (R.iso) = {md5}\n", digest("iso\n")), 2, "R.iso has md5:"),
        ("# R.iso: 5 bytes\n".to_owned(), 1, "R.iso has 4 bytes, not 5"),
        (format!("\nSHA256 (latest.iso) = {zeros}\n"), 2, "latest.iso has sha256:"),
        ("<html>404</html>\n".to_owned(), 1, "is neither `# NAME: SIZE bytes`"),
        (format!("{zeros}  R.iso\n"), 1, "is neither"),
    ] {
        let _ = fs::remove_dir_all(scene.sandbox.path("work"));
        scene.sandbox.write("work/isos/x86_64/R.iso", "iso\n");
        std::os::unix::fs::symlink("R.iso", scene.sandbox.path("work/isos/x86_64/latest.iso")).unwrap();
        scene.sandbox.write("work/isos/x86_64/R.iso.CHECKSUM", &text);
        scene.sandbox.ok(["import", "work", &format!("{name}:work")]);
        let before = scene.sandbox.snapshot(&name);
        for args in [&["compose", "finalize", "9", "-n"][..], &["compose", "finalize", "9"]] {
            let error = scene.sandbox.fails(3, args);
            let place = format!("work/isos/x86_64/R.iso.CHECKSUM: line {line}: {said}");
            assert!(error.contains(&place), "{text}: {error}");
        }
        assert_eq!(scene.sandbox.snapshot(&name), before);
    }
}

#[test]
fn a_damaged_image_gets_no_checksum() {
    let scene = scene();
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-x86_64-boot.iso", "an image");
    scene.sandbox.ok(["import", "work", &format!("{name}:work")]);
    let id = blake3::hash(b"an image").to_hex();
    let blob = scene.sandbox.store().join("blobs").join(&id[..2]).join(&id[2..]);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "AN IMAGE").unwrap();
    for _ in 0..2 {
        let refused = scene.sandbox.run(["compose", "finalize", "9"]);
        assert!(refused.code != 0 && refused.stderr.contains(&*id), "{refused:?}");
    }
    fs::write(&blob, "an image").unwrap();
    scene.sandbox.ok(["compose", "finalize", "9"]);
}

#[test]
fn a_groups_compose_is_finished_like_a_release() {
    let Some(scene) = scene_with_packages() else { return };
    let name = scene.compose(&["sig", "9", "core", "--full-run"])["compose"].as_str().unwrap().to_owned();
    let image = "Rocky-9-Pi-9.7-20251123.2.x86_64.raw.xz";
    scene.sandbox.write(&format!("work/images/x86_64/{image}"), "a small machine");
    scene.sandbox.ok(["import", "work", &format!("{name}:work")]);
    let ran = scene.sandbox.run(["--json", "compose", "finalize", "9", "--sig", "core"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let done: Value = serde_json::from_str(&ran.stdout).unwrap();
    let told = (&done["packages"], &done["images"], &done["moved"]);
    assert_eq!(told, (&2.into(), &1.into(), &serde_json::json!(["compose/9/core/images"])), "{done}");
    let file = |path: &str| scene.sandbox.ok(["cat", &format!("{name}:compose/9/core/{path}")]);
    let document =
        |name: &str| serde_json::from_str::<Value>(&file(&format!("metadata/{name}.json"))).unwrap();
    let entry = &document("images")["payload"]["images"]["BaseOS"]["x86_64"][0];
    assert_eq!(entry["path"], format!("9/core/images/x86_64/{image}"));
    assert!(file("images/x86_64/CHECKSUM").contains(&digest("a small machine")));
    let info = document("composeinfo");
    let paths = &info["payload"]["variants"]["BaseOS"]["paths"];
    assert_eq!(paths["packages"]["x86_64"], "9/core/x86_64/BaseOS/Packages", "{info}");
    assert_eq!(paths["debug_tree"]["x86_64"], "9/core/x86_64/BaseOS-debug", "{info}");
    assert_eq!(paths["images"]["x86_64"], "9/core/images/x86_64", "{info}");
    let listing = scene.sandbox.listing(&name);
    assert!(!listing.contains("work") && !listing.contains("compose/images"), "{listing}");

    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", &format!("{name}:compose/9/core/metadata"), out.to_str().unwrap()]);
    let program = r#"
import sys, productmd.composeinfo, productmd.rpms, productmd.images
for name, document in (("composeinfo", productmd.composeinfo.ComposeInfo()), ("rpms", productmd.rpms.Rpms()),
                       ("images", productmd.images.Images())):
    path = sys.argv[1] + "/" + name + ".json"
    document.load(path)
    assert document.dumps() == open(path).read(), name
    if name == "composeinfo":
        print(document.compose.id, document.release.short)
    if name == "rpms":
        print(sum(len(rpms) for rpms in document["BaseOS"]["x86_64"].values()))
"#;
    if let Some(text) = productmd(program, &[out.to_str().unwrap()]) {
        let id = name.trim_start_matches("compose/9/");
        assert_eq!(text, format!("{id} SIG-core\n2\n"));
    }
}
