//! Metadata of composes against productmd itself: the same bytes for the same values, and every document loads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cfs_indexer::productmd::composeinfo::{Compose, ComposeInfo};
use cfs_indexer::productmd::discinfo::discinfo;
use cfs_indexer::productmd::extra_files::{ExtraFile, ExtraFiles};
use cfs_indexer::productmd::images::{Image, Images};
use cfs_indexer::productmd::modules::{Identity, Modules};
use cfs_indexer::productmd::rpms::{Category, Rpm, Rpms};
use cfs_indexer::productmd::treeinfo::{TreeInfo, Variant};

use crate::harness::{Sandbox, ran, real_data};

/// A Python that knows productmd; says so when a test is skipped for want of one.
pub fn python() -> Option<&'static str> {
    let knows = |python: &&str| {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$0\" -c 'import productmd.images' 2> /dev/null", python]);
        ran(&mut command).code == 0
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| knows(python));
    if found.is_none() {
        eprintln!("skipped: no Python that knows productmd");
    }
    found
}

/// What the script of the tests makes of a directory.
fn productmd(python: &str, verb: &str, dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/productmd_documents.py");
    let done = ran(Command::new(python).arg(script).arg(verb).arg(dir));
    assert_eq!(done.code, 0, "{done:?}");
}

/// A directory with documents of every kind, written by productmd.
fn made(sandbox: &Sandbox, python: &str) -> PathBuf {
    let dir = sandbox.path("made");
    fs::create_dir(&dir).unwrap();
    productmd(python, "make", &dir);
    dir
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn compose() -> Compose {
    Compose {
        id: "Rocky-9.7-20251124.0".into(),
        kind: cfs_indexer::productmd::compose_id::ComposeType::Production,
        date: "20251124".into(),
        respin: 0,
        label: Some("RC-1.0".parse().unwrap()),
        is_final: Some(true),
    }
}

fn rpms() -> Rpms {
    let mut rpms = Rpms::new(compose());
    let source = "bash-0:5.1.8-9.el9.src";
    let rpm = |path: &str, sigkey: Option<&str>, category| Rpm {
        category,
        path: path.to_owned(),
        sigkey: sigkey.map(str::to_owned),
    };
    let mut add = |nevra: &str, source: Option<&str>, rpm| rpms.add("BaseOS", "x86_64", nevra, source, rpm);
    let path = "BaseOS/source/tree/Packages/b/bash-5.1.8-9.el9.src.rpm";
    add(source, None, rpm(path, Some("350d275d"), Category::Source)).unwrap();
    let path = "BaseOS/x86_64/os/Packages/b/bash-5.1.8-9.el9.x86_64.rpm";
    add("bash-0:5.1.8-9.el9.x86_64", Some(source), rpm(path, Some("350d275d"), Category::Binary)).unwrap();
    let path = "BaseOS/x86_64/debug/tree/Packages/b/x.rpm";
    add("bash-debuginfo-0:5.1.8-9.el9.x86_64", Some(source), rpm(path, None, Category::Debug)).unwrap();
    rpms
}

fn image(kind: &str, path: &str, number: i64) -> Image {
    let is_dvd = kind == "dvd";
    Image {
        path: path.into(),
        mtime: 1_700_000_000 + number,
        size_bytes: 1 << 33,
        volume_id: is_dvd.then(|| "Rocky-9-7-x86_64-dvd".into()),
        kind: kind.into(),
        format: "iso".into(),
        arch: "x86_64".into(),
        disc_number: 1,
        disc_count: 1,
        checksums: BTreeMap::from([("sha256".into(), "00ff".repeat(16)), ("md5".into(), "0f".repeat(16))]),
        implant_md5: is_dvd.then(|| "0".repeat(32)),
        bootable: true,
        subvariant: "BaseOS".into(),
        unified: false,
        additional_variants: Vec::new(),
    }
}

fn images() -> Images {
    let mut images = Images::new(compose());
    images.add("BaseOS", "x86_64", image("dvd", "BaseOS/x86_64/iso/z.iso", 0)).unwrap();
    images.add("BaseOS", "x86_64", image("boot", "BaseOS/x86_64/iso/a.iso", 1)).unwrap();
    images
}

fn modules() -> Modules {
    let mut modules = Modules::new(compose());
    for (category, word) in [(Category::Binary, "binary"), (Category::Source, "source")] {
        let identity = Identity::new("nodejs:18:9040020240301:a1b2c3d4", "module-nodejs").unwrap();
        let path = format!("AppStream/x86_64/os/repodata/{word}-modules.yaml.gz");
        let rpms = [format!("nodejs-1:18.0-1.{word}")];
        modules.add("AppStream", "x86_64", identity, category, &path, rpms).unwrap();
    }
    modules
}

fn extra_files() -> ExtraFiles {
    let mut files = ExtraFiles::new(compose());
    for name in ["EULA", "LICENSE"] {
        let checksums = BTreeMap::from([("sha256".to_owned(), "00ff".repeat(16))]);
        let file = ExtraFile { file: format!("BaseOS/x86_64/os/{name}"), size_bytes: 7, checksums };
        files.add("BaseOS", "x86_64", file).unwrap();
    }
    files
}

fn treeinfo() -> TreeInfo {
    let variant = |id: &str, repository: &str, packages: &str| Variant {
        id: id.into(),
        paths: BTreeMap::from([
            ("repository".into(), repository.into()),
            ("packages".into(), packages.into()),
        ]),
    };
    let other = "../../../AppStream/x86_64/os";
    let kernel = ("kernel".to_owned(), "images/pxeboot/vmlinuz".to_owned());
    TreeInfo {
        name: "Rocky Linux".into(),
        short: "Rocky".into(),
        version: "9.7".into(),
        arch: "x86_64".into(),
        platforms: ["xen".to_owned()].into(),
        build_timestamp: 1_763_990_000,
        variants: vec![
            variant("BaseOS", ".", "Packages"),
            variant("AppStream", other, &format!("{other}/Packages")),
        ],
        main_variant: Some("BaseOS".into()),
        checksums: BTreeMap::from([("images/boot.iso".into(), format!("sha256:{}", "00ff".repeat(16)))]),
        images: BTreeMap::from([
            (
                "x86_64".into(),
                BTreeMap::from([("boot.iso".into(), "images/boot.iso".into()), kernel.clone()]),
            ),
            ("xen".into(), BTreeMap::from([kernel])),
        ]),
        main_image: Some("images/install.img".into()),
        media: None,
    }
}

#[test]
fn documents_have_the_bytes_that_productmd_writes_of_the_same_values() {
    let Some(python) = python() else { return };
    let sandbox = Sandbox::new();
    let dir = made(&sandbox, python);
    let theirs = |name: &str| fs::read(dir.join(name)).unwrap();
    let info = ComposeInfo::parse(&theirs("composeinfo.json")).unwrap();
    assert_eq!(info.compose, compose());
    for (name, ours) in [
        ("composeinfo.json", info.write()),
        ("rpms.json", rpms().write()),
        ("images.json", images().write()),
        ("modules.json", modules().write()),
        ("extra_files.json", extra_files().write()),
        ("tree_extra_files.json", extra_files().write_tree("BaseOS", "x86_64", "BaseOS/x86_64/os")),
        ("treeinfo", treeinfo().write()),
    ] {
        assert_eq!(text(&ours), text(&theirs(name)), "{name}");
    }
    assert_eq!(Rpms::parse(&theirs("rpms.json")).unwrap(), rpms());
    assert_eq!(Images::parse(&theirs("images.json")).unwrap(), images());
    assert_eq!(Modules::parse(&theirs("modules.json")).unwrap(), modules());
    assert_eq!(ExtraFiles::parse(&theirs("extra_files.json")).unwrap(), extra_files());
}

#[test]
fn productmd_loads_what_is_written_and_writes_it_again() {
    let Some(python) = python() else { return };
    let sandbox = Sandbox::new();
    let info =
        ComposeInfo::parse(&fs::read(made(&sandbox, python).join("composeinfo.json")).unwrap()).unwrap();
    let dir = sandbox.path("ours");
    fs::create_dir(&dir).unwrap();
    let documents = [
        ("composeinfo.json", info.write()),
        ("rpms.json", rpms().write()),
        ("images.json", images().write()),
        ("modules.json", modules().write()),
        ("extra_files.json", extra_files().write()),
    ];
    documents.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
    productmd(python, "again", &dir);
    for (name, bytes) in documents {
        assert_eq!(text(&bytes), text(&fs::read(dir.join(name)).unwrap()), "{name}");
    }
    let script = "import sys, productmd.discinfo as d, productmd.treeinfo as t\n\
        disc = d.DiscInfo(); disc.load(sys.argv[1])\n\
        tree = t.TreeInfo(); tree.load(sys.argv[2])\n\
        print(int(disc.timestamp), disc.description, disc.arch, disc.disc_numbers, tree.tree.arch, sorted(tree.variants.variants))";
    let disc = sandbox.path("discinfo");
    fs::write(&disc, discinfo(1_763_990_000, "Rocky Linux 9.7", "x86_64")).unwrap();
    let tree = sandbox.path("treeinfo");
    fs::write(&tree, treeinfo().write()).unwrap();
    let done = ran(Command::new(python).args(["-c", script]).arg(disc).arg(tree));
    let expected = "1763990000 Rocky Linux 9.7 x86_64 ['ALL'] x86_64 ['AppStream', 'BaseOS']\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[test]
fn real_documents_come_back_as_productmd_writes_them() {
    let (Some(python), Some(data)) = (python(), real_data()) else { return };
    let sandbox = Sandbox::new();
    let dir = sandbox.path("real");
    fs::create_dir(&dir).unwrap();
    let mut seen = 0;
    for name in ["f23.json", "src_move_after.json"] {
        let Ok(bytes) = fs::read(data.join("productmd/images").join(name)) else { continue };
        let path = dir.join("images.json");
        fs::write(&path, &bytes).unwrap();
        productmd(python, "again", &dir);
        let ours = Images::parse(&bytes).unwrap().write();
        assert_eq!(text(&ours), text(&fs::read(&path).unwrap()), "{name}");
        seen += 1;
    }
    assert!(seen > 0, "no real images.json in {}", data.display());
}

#[test]
fn what_productmd_would_refuse_is_refused() {
    let mut rpms = rpms();
    let rpm = Rpm { category: Category::Binary, path: "a.rpm".into(), sigkey: None };
    let mut refused = |arch: &str, nevra: &str, source: Option<&str>, rpm: &Rpm| {
        rpms.add("BaseOS", arch, nevra, source, rpm.clone()).unwrap_err().to_string()
    };
    let source = Some("a-0:1-1.src");
    assert!(refused("src", "a-0:1-1.noarch", source, &rpm).contains("is no architecture of a tree"));
    assert!(refused("x86_64", "a-1-1.noarch", source, &rpm).contains("is not of the form"));
    assert!(refused("x86_64", "a-0:1-1.src", None, &rpm).contains("do not fit"));
    assert!(refused("x86_64", "a-0:1-1.noarch", None, &rpm).contains("do not fit"));
    let absolute = Rpm { path: "/a.rpm".into(), ..rpm };
    assert!(refused("x86_64", "a-0:1-1.noarch", source, &absolute).contains("is no path below compose/"));
    let mut images = images();
    let again =
        Image { checksums: BTreeMap::from([("sha256".into(), "11".repeat(32))]), ..image("dvd", "b.iso", 2) };
    let error = images.add("AppStream", "x86_64", again).unwrap_err().to_string();
    assert!(error.contains("b.iso cannot be told from BaseOS/x86_64/iso/z.iso"), "{error}");
    let odd = Image { format: "qcow2".into(), ..image("dvd", "c.qcow2", 2) };
    let error = images.add("BaseOS", "x86_64", odd).unwrap_err().to_string();
    assert!(error.contains("a dvd is not of the format \"qcow2\""), "{error}");
    assert!(Identity::new("nodejs", "tag").is_err() && Identity::new("nodejs:18", "").is_err());
    assert_eq!(Identity::new("nodejs:18", "tag").unwrap().version, "");
}
