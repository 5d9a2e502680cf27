//! Discs of composes: what the real xorriso makes of the script, and what real clients make of that.

use std::collections::BTreeSet;

use super::*;
use crate::mount::{can_mount, mount, sh_ok};
use crate::productmd::python;

const LATEST: &str = "compose/9/latest-Rocky-9";
const LABEL: &str = "Rocky-9-7-x86_64-dvd";

/// A scene with a disc, a compose, an install tree, its boot image and a file for the top of the disc.
fn scene() -> Scene {
    let scene = Scene::new();
    let config = fs::read_to_string(scene.sandbox.path("config.toml")).unwrap();
    let discs = "iso.dvd = { disc = true, variant = \"all\", repositories = [\"BaseOS\", \"all\"] }\n\
                 iso.strange = { disc = true, variant = \"BaseOS\", repositories = [\"BaseOS\"] }\n";
    let config = config.replace("\n[release.9.upstream]", &format!("{discs}\n[release.9.upstream]"));
    fs::remove_file(scene.sandbox.path("config.toml")).unwrap();
    scene.sandbox.write("config.toml", config);
    scene.compose(&["sync", "9", "--full-run", "--ignore-debug", "--ignore-source"]);
    let tree = [
        ("images/eltorito.img", "starts the machine"),
        ("images/install.img", "installs"),
        ("images/pxeboot/vmlinuz", "kernel"),
        ("EFI/BOOT/grub.cfg", "set timeout=60"),
        (".discinfo", "of the boot image"),
    ];
    for (path, content) in tree {
        scene.sandbox.write(&format!("boot/{path}"), content.repeat(500));
        scene.sandbox.write(&format!("tree/{path}"), content.repeat(500));
    }
    scene.sandbox.write("tree/EFI/BOOT/grub.cfg", "set timeout=5");
    scene.sandbox.write("tree/images/boot.iso", "the image itself");
    scene.sandbox.write("tree/images/pxeboot/initrd of a disc.img", "more");
    scene.sandbox.write(
        "tree/.treeinfo",
        "[header]\ntype = productmd.treeinfo\nversion = 1.2\n\n[checksums]\nimages/install.img = sha256:00\n\n\
         [images-x86_64]\nboot.iso = images/boot.iso\nkernel = images/pxeboot/vmlinuz\n\n\
         [stage2]\nmainimage = images/install.img\n",
    );
    scene.sandbox.write("extra/EULA", "You may.");
    scene
}

/// Makes the boot image; false, and a word about it, where there is no xorriso.
fn boot(scene: &Scene) -> bool {
    if !installed("xorriso") {
        return false;
    }
    let script = "xorriso -as mkisofs -quiet -R -J -V \"$0\" -c boot.cat -b images/eltorito.img -no-emul-boot \
                  -boot-load-size 4 -o boot.iso boot";
    let made = ran(Command::new("sh").args(["-c", script, LABEL]).current_dir(scene.sandbox.path("")));
    assert_eq!(made.code, 0, "{made:?}");
    true
}

/// Arguments for a disc of the scene; `more` takes the place of what is as usual.
fn args<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args =
        vec!["compose", "disc", "9", "dvd", "--arch=x86_64", "--mount=mnt", "--boot=boot.iso", "-o"];
    args.push(output);
    args.extend(more);
    args
}

/// Runs a script as it is.
fn xorriso(scene: &Scene, script: &str) -> crate::harness::Ran {
    let mut command = Command::new("xorriso");
    command.args(["-dialog", "on"]).stdin(fs::File::open(scene.sandbox.path(script)).unwrap());
    command.env("SOURCE_DATE_EPOCH", "1700000000").env("TZ", "UTC");
    ran(command.current_dir("/"))
}

#[test]
fn xorriso_makes_a_disc_of_a_mounted_compose() {
    let scene = scene();
    if !can_mount() || !boot(&scene) {
        return;
    }
    let sandbox = &scene.sandbox;
    let more = ["--tree=tree", "--extra=extra", "--time=1700000000"];
    let report = sandbox.json(args("dvd.iso", &more)).remove(0);
    assert_eq!(report["volume_id"], LABEL, "{report}");
    // What stands in the compose now is on the disc, whatever becomes of the compose.
    let mut expected = vec![("BaseOS", "BaseOS"), ("devel", "devel")];
    for (repository, name) in &mut expected {
        let out = sandbox.path(format!("expected/{name}"));
        sandbox.ok(["checkout", &format!("{LATEST}:compose/{repository}/x86_64/os"), out.to_str().unwrap()]);
        sh_ok(&out, "chmod -R u+w .; rm .treeinfo .discinfo media.repo");
    }
    let mut repo = scene.repos[0].clone();
    repo.packages.remove(0);
    repo.add("Packages/new.rpm", &content(700));
    repo.write();
    scene.compose(&["sync", "9", "--clean-old-packages"]);
    assert!(!sandbox.listing(&format!("{LATEST}:compose/BaseOS/x86_64/os")).contains("own0.rpm"));

    let _live = mount(sandbox, "mnt", &[]);
    let made = xorriso(&scene, "dvd.iso.xorriso");
    assert_eq!(made.code, 0, "{made:?}");
    let out = sandbox.path("out");
    let extract =
        format!("xorriso -osirrox on -indev '{}' -extract / out", sandbox.path("dvd.iso").display());
    sh_ok(&sandbox.path(""), &format!("{extract} 2> log; chmod -R u+w out; rm out/boot.cat"));
    let assemble = "cp -r boot/. tree/images/pxeboot expected; mv expected/pxeboot/* expected/images/pxeboot
        rmdir expected/pxeboot; cp tree/EFI/BOOT/grub.cfg expected/EFI/BOOT; cp extra/EULA expected
        for name in treeinfo discinfo; do cp dvd.iso.xorriso.$name expected/.$name; done
        cp dvd.iso.xorriso.media.repo expected/media.repo; diff -r expected out";
    assert_eq!(sh_ok(&sandbox.path(""), assemble), "");

    let boots = sh_ok(&sandbox.path(""), "xorriso -indev dvd.iso -report_el_torito as_mkisofs 2>&1");
    let says = |text: &str| assert!(boots.contains(text), "{text} is not in {boots}");
    says(&format!("-V '{LABEL}'"));
    says("-b '/images/eltorito.img'");
    assert!(!boots.contains("SORRY"), "{boots}");
    installs_from(&scene, &out);

    // The same again gives the same image, and a file that is missing gives none.
    fs::rename(sandbox.path("dvd.iso"), sandbox.path("first.iso")).unwrap();
    assert_eq!(xorriso(&scene, "dvd.iso.xorriso").code, 0);
    sh_ok(&sandbox.path(""), "cmp dvd.iso first.iso");
    fs::remove_file(sandbox.path("dvd.iso")).unwrap();
    fs::remove_file(sandbox.path("extra/EULA")).unwrap();
    let refused = xorriso(&scene, "dvd.iso.xorriso");
    assert!(refused.code != 0 && !sandbox.path("dvd.iso").exists(), "{refused:?}");
}

/// What clients make of the content of a disc.
fn installs_from(scene: &Scene, out: &Path) {
    if let Some(python) = python() {
        let script = "import sys, productmd.treeinfo as t; i = t.TreeInfo(); i.load(sys.argv[1]); v = i.variants
print(*sorted(v.variants), v['devel'].paths.repository, v['devel'].paths.packages, i.media.discnum, i.media.totaldiscs)
print(sorted(i.images.images['x86_64'].items()), i.stage2.mainimage, i.tree.build_timestamp)";
        let loaded = ran(Command::new(python).args(["-c", script]).arg(out.join(".treeinfo")));
        let expected = "BaseOS devel devel devel/Packages 1 1\n\
                        [('kernel', 'images/pxeboot/vmlinuz')] images/install.img 1700000000\n";
        assert_eq!(loaded.stdout, expected, "{loaded:?}");
    }
    let info = fs::read_to_string(out.join(".treeinfo")).unwrap();
    assert!(info.contains("\nvariant = devel\n"), "{info}");
    for name in ["BaseOS", "devel"] {
        let Some(listed) = scene.dnf(&out.join(name), &["repoquery", "--location", "--refresh"]) else {
            break;
        };
        let locations: BTreeSet<&str> = listed.stdout.lines().collect();
        assert_eq!(locations.len(), 7, "{name}: {listed:?}");
        for location in locations {
            let path = Path::new(location.trim_start_matches("file://"));
            assert!(path.starts_with(out.join(name)) && path.exists(), "{location}");
        }
    }
}

#[test]
fn a_script_says_the_same_each_time_and_names_the_snapshot() {
    let scene = scene();
    if !boot(&scene) {
        return;
    }
    let sandbox = &scene.sandbox;
    // An update leaves a package behind that the metadata does not list.
    let mut repo = scene.repos[0].clone();
    repo.packages.remove(1);
    repo.write();
    scene.compose(&["sync", "9"]);
    let left = sandbox.listing(&format!("{LATEST}:compose/BaseOS/x86_64/os"));
    assert!(left.contains("own1.rpm"), "{left}");
    // The compose has an install tree of its own.
    sandbox.ok([
        "import",
        "tree/images",
        &format!("{}:compose/BaseOS/x86_64/os/images", scene.latest().unwrap()),
    ]);
    let snapshot = sandbox.snapshot(LATEST);
    fs::create_dir(sandbox.path("scripts")).unwrap();
    let write = || {
        let report = sandbox.json(args("dvd.iso", &["--script=scripts/dvd"])).remove(0);
        assert_eq!(report["snapshot"], snapshot.as_str());
        let parts = ["", ".treeinfo", ".discinfo", ".media.repo"];
        parts.map(|part| fs::read_to_string(sandbox.path(format!("scripts/dvd{part}"))).unwrap())
    };
    let first = write();
    assert_eq!(write(), first);
    let [script, info, ..] = first;
    let mnt = sandbox.path("mnt").display().to_string();
    let lines: Vec<&str> = script.lines().collect();
    let compose = format!("{mnt}/snapshots/{snapshot}/compose");
    for line in [
        format!("-map '{compose}/BaseOS/x86_64/os/Packages/own0.rpm' '/BaseOS/Packages/own0.rpm'"),
        format!("-map '{compose}/devel/x86_64/os/repodata/repomd.xml' '/devel/repodata/repomd.xml'"),
        format!(
            "-map '{compose}/BaseOS/x86_64/os/images/pxeboot/initrd of a disc.img' \
             '/images/pxeboot/initrd of a disc.img'"
        ),
        format!("-volid '{LABEL}'"),
    ] {
        assert!(lines.contains(&line.as_str()), "{line} is not in {script}");
    }
    for absent in ["boot.iso' '/", "install.img", "BaseOS/.treeinfo", "EULA", "BaseOS/Packages/own1.rpm"] {
        assert!(!script.contains(absent), "{absent} is in {script}");
    }
    assert_eq!((lines[0], *lines.last().unwrap()), ("-abort_on FAILURE", "-end"));
    let of = |ending: &str| lines.iter().position(|line| line.contains(ending)).unwrap();
    assert!(
        of("initrd") < of("/devel/repodata/repomd.xml'") && of("/devel/repodata/repomd.xml'") < of(".rpm'")
    );
    assert!(info.contains("discnum = 1") && info.contains("repository = BaseOS"), "{info}");
}

#[test]
fn what_makes_no_disc_is_said() {
    let scene = scene();
    let sandbox = &scene.sandbox;
    sandbox.write("boot.iso", "no image at all");
    let fails = |code: i32, changed: &str, to: &str, said: &str| {
        let mut args = args("dvd.iso", &[]);
        let at = args.iter().position(|arg| *arg == changed).unwrap();
        args[at] = to;
        let error = sandbox.fails(code, args);
        assert!(error.contains(said), "{said:?} is not in {error}");
    };
    fails(3, "9", "9", "boot.iso: is no ISO image with a label");
    fails(2, "dvd", "cd", "no disc is called \"cd\"; there are dvd, strange");
    fails(2, "dvd", "BaseOS", "BaseOS: is the install tree of a variant and no disc");
    fails(3, "dvd.iso", "boot.iso", "boot.iso: is there already");
    if boot(&scene) {
        fails(
            2,
            "--arch=x86_64",
            "--arch=s390x",
            "no architecture is called \"s390x\"; there are aarch64, x86_64",
        );
        fails(3, "--boot=boot.iso", "--boot=tree/none.iso", "none.iso: cannot be read");
        sandbox.ok(["import", "extra", "compose/9/empty"]);
        sandbox.ok(["import", "upstream/BaseOS/x86_64", "compose/9/damaged:compose/BaseOS/x86_64/os"]);
        fs::create_dir(sandbox.path("none")).unwrap();
        sandbox.ok(["import", "none", "compose/9/damaged:compose/BaseOS/x86_64/os/Packages"]);
        let error = sandbox.fails(3, args("dvd.iso", &["--compose=compose/9/damaged"]));
        assert!(error.contains("os: Packages/own0.rpm: is listed and not there"), "{error}");
        let mut lacking = args("dvd.iso", &["--compose=compose/9/empty"]);
        let error = sandbox.fails(3, lacking.clone());
        assert!(error.contains("compose/9/empty: has no compose/BaseOS/x86_64/os"), "{error}");
        lacking.push("--tree=nowhere");
        sandbox.fails(3, lacking);
    }
    assert!(!sandbox.path("dvd.iso.xorriso").exists());
}
