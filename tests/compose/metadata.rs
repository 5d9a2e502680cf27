//! What release tools read of a compose.

use std::process::Command;

use super::*;
use crate::harness::ran;

/// Runs a Python program with productmd, if that is installed.
fn productmd(program: &str, args: &[&str]) -> Option<String> {
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
