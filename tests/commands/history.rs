//! promote, rollback, link, refs, log, show, and how revisions address them.

use std::process::{Command, Stdio};

use crate::harness::Sandbox;

fn store_with(files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::with_store();
    for (path, content) in files {
        sandbox.write(&format!("tree/{path}"), content);
    }
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox
}

#[test]
fn a_promotion_makes_the_target_equal_to_the_source() {
    let sandbox = store_with(&[("p/a", "1"), ("p/b", "2")]);
    let plan = sandbox.ok(["promote", "compose/9/one", "staging", "--dry-run", "-v"]);
    assert!(plan.contains("A p/a") && plan.contains("3 added"), "{plan}");
    assert!(!sandbox.ok(["refs"]).contains("staging"), "a dry run changed something");

    sandbox.ok(["promote", "compose/9/one", "staging", "-m", "first"]);
    sandbox.ok(["diff", "compose/9/one", "staging"]);
    let again = &sandbox.json(["promote", "compose/9/one", "staging"])[0];
    assert_eq!(again["changed"], false);

    std::fs::remove_file(sandbox.path("tree/p/a")).unwrap();
    sandbox.write("tree/p/c", "3");
    sandbox.ok(["import", "tree", "compose/9/two"]);
    let done = &sandbox.json(["promote", "compose/9/two", "staging"])[0];
    assert_eq!(
        (&done["changes"]["added"]["files"], &done["changes"]["removed"]["files"]),
        (&1.into(), &1.into())
    );
    assert_eq!(sandbox.ok(["ls", "-R", "staging"]), "p\np/b\np/c\n");
}

#[test]
fn keep_lets_older_versions_stay() {
    let sandbox = store_with(&[("p/old", "1"), ("p/same", "2"), ("repodata/repomd.xml", "v1")]);
    sandbox.ok(["promote", "compose/9/one", "production:pub/9"]);
    std::fs::remove_file(sandbox.path("tree/p/old")).unwrap();
    sandbox.write("tree/p/new", "3");
    sandbox.write("tree/repodata/repomd.xml", "v2");
    sandbox.ok(["import", "tree", "compose/9/two"]);
    sandbox.ok(["promote", "compose/9/two", "production:pub/9", "--keep"]);
    assert_eq!(sandbox.ok(["ls", "production:pub/9/p"]), "new\nold\nsame\n");
    assert_eq!(sandbox.ok(["cat", "production:pub/9/repodata/repomd.xml"]), "v2");
}

#[test]
fn subtrees_are_promoted_alone() {
    let sandbox = store_with(&[("BaseOS/a", "1"), ("AppStream/b", "2")]);
    sandbox.ok(["promote", "compose/9/one:BaseOS", "production:pub/9/BaseOS"]);
    sandbox.ok(["promote", "compose/9/one:AppStream/b", "production:pub/9/file"]);
    assert_eq!(
        sandbox.ok(["ls", "-R", "production"]),
        "pub\npub/9\npub/9/BaseOS\npub/9/BaseOS/a\npub/9/file\n"
    );
}

#[test]
fn refusals_exit_1_and_change_nothing() {
    let sandbox = store_with(&[("a", "1")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    sandbox.ok(["link", "latest", "compose/9/one"]);
    let before = sandbox.ok(["refs"]);
    for (args, reason) in [
        (["promote", "compose/9/one:nowhere", "production"], "nothing to promote"),
        (["promote", "compose/9/one:a", "production"], "is not a directory"),
        (["promote", "compose/9/one", "production:a/b"], "a: is not a directory"),
        (["promote", "compose/9/one", "latest"], "is symbolic"),
        (["promote", "compose/9/one", "production/9"], "cannot exist beside production"),
        (["link", "production", "compose/9/one"], "is not symbolic"),
        (["link", "latest", "latest"], "leads back to latest"),
    ] {
        let error = sandbox.fails(1, args);
        assert!(error.contains(reason), "{args:?}: {error}");
    }
    sandbox.fails(3, ["promote", "nothing", "production"]);
    assert_eq!(sandbox.ok(["refs"]), before);
}

#[test]
fn promotions_into_different_paths_at_once_all_succeed() {
    let sandbox = store_with(&[("a", "1"), ("b", "2")]);
    let children: Vec<_> = (0..8)
        .map(|n| {
            let target = format!("production:pub/{n}");
            let mut command = sandbox.cfs();
            command.args(["promote", "compose/9/one", &target]).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(sandbox.ok(["ls", "production:pub"]), "0\n1\n2\n3\n4\n5\n6\n7\n");
    assert_eq!(sandbox.json(["refs"])[1]["generation"], 8);
}

#[test]
fn rollback_gives_back_the_tree_before_as_a_new_generation() {
    let sandbox = store_with(&[("a", "1")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    let first = sandbox.listing("production");
    sandbox.fails(3, ["rollback", "production"]);
    sandbox.write("tree/b", "2");
    sandbox.ok(["import", "tree", "compose/9/two"]);
    sandbox.ok(["promote", "compose/9/two", "production"]);
    assert!(sandbox.ok(["rollback", "production", "--dry-run"]).starts_with("would roll back production"));
    assert_eq!(sandbox.json(["rollback", "production", "-m", "bad push"])[0]["generation"], 3);
    assert_eq!(sandbox.listing("production"), first);
    sandbox.ok(["rollback", "production"]);
    sandbox.ok(["diff", "production", "compose/9/two"]);
    sandbox.ok(["rollback", "production", "--to", "production@{3}"]);
    assert_eq!(sandbox.listing("production"), first);
    let log = sandbox.ok(["log", "production"]);
    assert_eq!(log.lines().count(), 5);
    assert!(log.contains("rollback to") && log.contains("promote compose/9/two"), "{log}");
}

#[test]
fn history_is_shown_and_addressed() {
    let sandbox = store_with(&[("a", "1")]);
    sandbox.write("tree/a", "22");
    sandbox.ok(["import", "tree", "compose/9/one", "-m", "a new line\nand more"]);
    sandbox.ok(["link", "compose/9/latest", "compose/9/one"]);
    let id = sandbox.snapshot("compose/9/one@{1}");
    assert_eq!(sandbox.ok(["cat", &format!("{}:a", &id[..12])]), "1");
    assert_eq!(sandbox.ok(["cat", "compose/9/latest:a"]), "22");
    let show = sandbox.ok(["show", "compose/9/latest"]);
    assert!(show.contains("1 files") && show.contains(&id), "{show}");
    assert_eq!(sandbox.json(["show", "compose/9/one"])[0]["message"], "a new line\nand more");
    let refs = sandbox.ok(["refs"]);
    assert!(refs.contains("-> compose/9/one"), "{refs}");
    assert_eq!(sandbox.json(["log", "compose/9/latest"])[0]["new"], "compose/9/one");
    sandbox.fails(3, ["log", "nothing"]);
    sandbox.fails(3, ["show", "ffffffff"]);
    sandbox.fails(2, ["show", "compose/9/one@yesterday"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::with_store();
    for n in 0..20_000 {
        sandbox.write(&format!("tree/{}/{n}", n % 10), "");
    }
    sandbox.ok(["import", "tree", "x"]);
    let script = format!("{} ls -R x | head -1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_cfs"));
    let mut shell = Command::new("bash");
    let status = shell.args(["-c", &script]).env("CFS_STORE", sandbox.store()).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
