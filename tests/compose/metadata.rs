//! What release tools read of a compose.

use super::*;

/// Runs a Python program with productmd, if that is installed.
pub(super) fn productmd(program: &str, args: &[&str]) -> Option<String> {
    let found = ran(Command::new("python3").args(["-c", "import productmd"])).code == 0;
    if !found {
        eprintln!("skipped: python3 has no productmd");
        return None;
    }
    let ran = ran(Command::new("python3").args(["-c", program]).args(args));
    assert_eq!(ran.code, 0, "{ran:?}");
    Some(ran.stdout)
}

#[test]
fn productmd_reads_what_a_compose_says_and_would_write_the_same() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run"]);
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9", out.to_str().unwrap()]);
    let program = r#"
import sys, productmd.compose
top = sys.argv[1]
compose = productmd.compose.Compose(top)
info = compose.info
assert info.dumps() == open(top + "/compose/metadata/composeinfo.json").read()
print(info.compose.id, info.compose.label, info.compose.final, info.release.version)
for variant in info.get_variants():
    print(variant.uid, ",".join(sorted(variant.arches)), variant.paths.os_tree.get("x86_64"),
          variant.paths.source_tree.get("aarch64"), variant.paths.debug_packages.get("x86_64"))
"#;
    let Some(text) = productmd(program, &[out.to_str().unwrap()]) else { return };
    let id = scene.latest().unwrap().trim_start_matches("compose/9/").to_owned();
    let expected = [
        format!("{id} RC-1.0 True 9.7"),
        "BaseOS aarch64,x86_64 BaseOS/x86_64/os BaseOS/source/tree BaseOS/x86_64/debug/tree/Packages".into(),
        "devel aarch64,x86_64 devel/x86_64/os devel/source/tree devel/x86_64/debug/tree/Packages".into(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn productmd_reads_what_a_tree_is_and_would_write_the_same() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run"]);
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9:compose", out.to_str().unwrap()]);
    let program = r#"
import sys, productmd.treeinfo, productmd.discinfo
for tree in sys.argv[2:]:
    top = sys.argv[1] + "/" + tree
    info = productmd.treeinfo.TreeInfo()
    info.load(top + "/.treeinfo")
    main = tree.split("/")[0]
    info.dump(sys.argv[1] + "/again", main_variant=main)
    assert open(sys.argv[1] + "/again").read() == open(top + "/.treeinfo").read(), tree
    disc = productmd.discinfo.DiscInfo()
    disc.load(top + "/.discinfo")
    assert "mediaid=%d\n" % disc.timestamp in open(top + "/media.repo").read()
    print(tree, info.tree.arch, info.release.version, disc.arch,
          [(v, info.variants[v].paths.repository) for v in sorted(info.variants)])
"#;
    let trees = ["BaseOS/x86_64/os", "BaseOS/x86_64/kickstart", "devel/aarch64/os", "BaseOS/source/tree"];
    let args: Vec<&str> = [out.to_str().unwrap()].into_iter().chain(trees).collect();
    let Some(text) = productmd(program, &args) else { return };
    let expected = [
        "BaseOS/x86_64/os x86_64 9.7 x86_64 [('BaseOS', '.'), ('devel', '../../../devel/x86_64/os')]",
        "BaseOS/x86_64/kickstart x86_64 9.7 x86_64 [('BaseOS', '.'), ('devel', '../../../devel/x86_64/kickstart')]",
        "devel/aarch64/os aarch64 9.7 aarch64 [('devel', '.')]",
        "BaseOS/source/tree src 9.7 src [('BaseOS', '.')]",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_tree_says_of_its_images_outlives_a_refresh_and_becomes_true() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run"]);
    let sum = ran(Command::new("sh").args(["-c", "printf image | sha256sum | cut -c1-64"])).stdout;
    let sum = sum.trim();
    let place = |tree: &str| format!("{}:compose/BaseOS/x86_64/{tree}", scene.latest().unwrap());
    for tree in ["os", "kickstart"] {
        scene.sandbox.ok(["checkout", &place(tree), tree]);
        for path in
            ["install.img", "mine.img", "pxeboot/vmlinuz", "pxeboot/initrd.img", "efiboot.img", "other.img"]
        {
            scene.sandbox.write(&format!("{tree}/images/{path}"), "image");
        }
        let plain = fs::read_to_string(scene.sandbox.path(format!("{tree}/.treeinfo"))).unwrap();
        let images = "[images-x86_64]\nkernel = images/gone\nefiboot.img = images/mine.img\n\n\
                      [checksums]\nimages/mine.img = sha256:00\nrepodata/repomd.xml = sha256:11\n\n";
        scene.sandbox.write(&format!("{tree}/.treeinfo"), format!("{plain}{images}").replace("9.7", "9.6"));
        scene.sandbox.ok(["import", tree, &place(tree)]);
    }
    scene.compose(&["sync", "9"]);
    let untouched = scene.sandbox.ok(["cat", &format!("{}/.treeinfo", place("kickstart"))]);
    assert!(
        untouched.contains("images/mine.img = sha256:00"),
        "who does not ask changes nothing: {untouched}"
    );
    scene.compose(&["sync", "9", "--refresh-treeinfo"]);
    for tree in ["os", "kickstart"] {
        let text = scene.sandbox.ok(["cat", &format!("{}/.treeinfo", place(tree))]);
        assert!(text.contains("version = 9.7"), "{tree}: {text}");
        let section = |name: &str| {
            let after = text.split_once(&format!("[{name}]\n")).unwrap_or_else(|| panic!("{name}: {text}")).1;
            after.split("\n\n").next().unwrap().to_owned()
        };
        let named = [
            "efiboot.img = images/mine.img",
            "initrd = images/pxeboot/initrd.img",
            "kernel = images/pxeboot/vmlinuz",
        ];
        assert_eq!(section("images-x86_64"), named.join("\n"));
        assert_eq!(section("stage2"), "mainimage = images/install.img");
        let sums = ["efiboot.img", "install.img", "mine.img", "pxeboot/initrd.img", "pxeboot/vmlinuz"];
        assert_eq!(section("checksums"), sums.map(|path| format!("images/{path} = sha256:{sum}")).join("\n"));
        assert!(scene.sandbox.listing(&place(tree)).contains("install.img"), "images stay");
    }
}

/// Makes a disc of deep directories and long names; returns what xorriso finds in it.
fn disc(sandbox: &Sandbox) -> String {
    let (long, deep) = ("x".repeat(200), (0..12).map(|n| format!("d{n}")).collect::<Vec<_>>().join("/"));
    for name in ["EFI/BOOT/grub.cfg", "Packages/b/bash-5.1-1.el9.x86_64.rpm", &long, &deep] {
        sandbox.write(&format!("disc/{name}/a file"), "content");
    }
    for number in 0..100 {
        sandbox.write(&format!("disc/many/of-a-name-that-is-long-{number}"), "");
    }
    let iso = sandbox.path("work/isos/x86_64/Rocky-9.7-x86_64-minimal.iso");
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-J", "-joliet-long", "-V", "Rocky-9-7", "-o"]).arg(&iso);
    assert_eq!(ran(command.arg(sandbox.path("disc"))).code, 0);
    let script =
        "xorriso -dev \"$0\" --find 2>/dev/null | tail -n+2 | tr -d \"'\" | cut -c2- | LC_ALL=C sort";
    let found = ran(Command::new("sh").args(["-c", script]).arg(&iso));
    assert!(found.stdout.lines().count() > 120, "{found:?}");
    found.stdout
}

/// A release of real packages.
fn real_release(data: &std::path::Path) -> Scene {
    let scene = Scene::new();
    let url = scene.upstream.url();
    scene.sandbox.write(
        "config.toml",
        format!(
            "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\narches = [\"x86_64\"]\n\
             kickstart = false\niso.dvd = {{ variant = \"BaseOS\", repositories = [\"BaseOS\"], disc = true }}\n\
             [release.9.upstream]\nurl = \"{url}$repo/$basearch\"\nrepositories = [\"BaseOS\"]\ndebug = false\n"
        ),
    );
    for (tree, name) in [
        (0, "empty-signed-rsa-0-0.x86_64.rpm"),
        (0, "super_kernel-6.0.1-2.x86_64.rpm"),
        (4, "empty-0-0.src.rpm"),
    ] {
        let mut repo = scene.repos[tree].clone();
        repo.packages.retain(|package| package.href.ends_with("0.x86_64.rpm"));
        for number in 0..5 {
            let _ = fs::remove_file(repo.dir.join(format!("Packages/own{number}.rpm")));
        }
        let bytes = fs::read(data.join("createrepo_c/packages").join(name)).unwrap();
        if repo.dir.join("Packages/empty-signed-rsa-0-0.x86_64.rpm").exists() {
            let first = fs::read(repo.dir.join("Packages/empty-signed-rsa-0-0.x86_64.rpm")).unwrap();
            repo.add("Packages/empty-signed-rsa-0-0.x86_64.rpm", &first);
        }
        repo.add(&format!("Packages/{name}"), &bytes);
        repo.write();
    }
    scene
}

#[test]
fn a_finished_compose_has_manifests_that_productmd_reads_and_never_changes() {
    let Some(data) = crate::harness::real_data() else { return };
    let scene = real_release(&data);
    let has_xorriso = crate::harness::installed("xorriso");
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-x86_64-dvd.iso", vec![7; 100_000]);
    let disc = has_xorriso.then(|| disc(&scene.sandbox));
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-x86_64-boot.iso", "boot");
    let said = "MD5 (Rocky-9.7-x86_64-boot.iso) = 881cc4157ed641a365a86452f27ed745\n";
    scene.sandbox.write("work/isos/x86_64/Rocky-9.7-x86_64-boot.iso.CHECKSUM", said);
    scene.sandbox.ok(["import", "work", &format!("{name}:work")]);
    let os = format!("{name}:compose/BaseOS/x86_64/os");
    scene.sandbox.ok(["checkout", &os, "tree"]);
    scene.sandbox.write("tree/EULA", "agreed");
    scene.sandbox.ok(["import", "tree", &os]);
    let modules = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: empty\n  stream: one\n  version: 7\n  context: c0\n  \
                   artifacts:\n    rpms: [empty-0:0-0.x86_64, gone-0:1-1.x86_64]\n...\n";
    let modules = scene.sandbox.write("modules.yaml", modules);
    scene.sandbox.ok(["repodata", "build", &os]);
    scene.sandbox.ok(["repodata", "inject", &os, "--type", "modules", modules.to_str().unwrap()]);
    let finalize = |more: &[&'static str]| {
        let args = ["--json", "compose", "finalize", "9"].iter().chain(more);
        let ran = scene.sandbox.run(args.copied());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let before = scene.sandbox.snapshot(&name);
    let planned = finalize(&["-n"]);
    let images = 2 + u64::from(has_xorriso);
    assert_eq!((&planned["packages"], &planned["images"]), (&3.into(), &images.into()), "{planned}");
    assert_eq!(scene.sandbox.snapshot(&name), before);
    let done = finalize(&[]);
    assert_eq!((&done["packages"], &done["moved"][0]), (&3.into(), &"compose/isos".into()), "{done}");
    assert_eq!(scene.file("STATUS"), "FINISHED\n");
    let listing = scene.sandbox.listing(&name);
    assert!(!listing.contains("work"), "{listing}");
    assert!(!listing.contains("dvd.iso.manifest"), "what is no image has no manifest: {listing}");
    if let Some(paths) = disc {
        assert_eq!(scene.file("compose/isos/x86_64/Rocky-9.7-x86_64-minimal.iso.manifest"), paths);
    }
    let checksums = scene.file("compose/isos/x86_64/CHECKSUM");
    assert!(checksums.starts_with(said.trim_end()), "{checksums}");
    assert!(checksums.contains("# Rocky-9.7-x86_64-dvd.iso: 100000 bytes\nSHA256 (Rocky-9.7"), "{checksums}");

    for args in [
        &["compose", "sync", "9"][..],
        &["compose", "finalize", "9"],
        &["import", "work", &format!("{name}:work")],
    ] {
        let error = scene.sandbox.fails(3, args);
        assert!(error.contains("never changes"), "{args:?}: {error}");
    }

    manifests_are_productmds(&scene, &name, has_xorriso);
}

/// What the manifests of the finished compose `name` say.
fn manifests_are_productmds(scene: &Scene, name: &str, has_disc: bool) {
    let extra: Value = serde_json::from_str(&scene.file("compose/metadata/extra_files.json")).unwrap();
    let file = &extra["payload"]["extra_files"]["BaseOS"]["x86_64"][0];
    assert_eq!((&file["file"], &file["size"]), (&"BaseOS/x86_64/os/EULA".into(), &6.into()), "{extra}");

    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", name, out.to_str().unwrap()]);
    let program = r#"
import sys, productmd.compose
compose = productmd.compose.Compose(sys.argv[1])
for name in ["info", "rpms", "images", "modules"]:
    document = getattr(compose, name)
    file = {"info": "composeinfo"}.get(name, name)
    assert document.dumps() == open(sys.argv[1] + "/compose/metadata/" + file + ".json").read(), name
for source, rpms in sorted(compose.rpms["BaseOS"]["x86_64"].items()):
    for rpm, facts in sorted(rpms.items()):
        print(source, rpm, facts["category"], facts["path"], facts["sigkey"])
module = compose.modules["BaseOS"]["x86_64"]["empty:one:7:c0"]
print(module["rpms"], list(module["modulemd_path"]), module["metadata"]["koji_tag"])
for image in sorted(compose.images["BaseOS"]["x86_64"], key=lambda image: image.path):
    print(image.path, image.type, image.format, image.size, image.subvariant)
"#;
    let Some(text) = productmd(program, &[out.to_str().unwrap()]) else { return };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6 + usize::from(has_disc), "{text}");
    assert!(lines.contains(&"['empty-0:0-0.x86_64'] ['binary'] module-empty-one-7-c0"), "{text}");
    assert!(
        lines[0].starts_with("empty-0:0-0.src empty-0:0-0.src source BaseOS/source/tree/Packages/"),
        "{text}"
    );
    assert!(
        lines.iter().any(|line| line.contains("binary BaseOS/x86_64/os/Packages/empty-signed-rsa")),
        "{text}"
    );
    assert!(text.contains("isos/x86_64/Rocky-9.7-x86_64-dvd.iso dvd iso 100000 dvd"), "{text}");
}
