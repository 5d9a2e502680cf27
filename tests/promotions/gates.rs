//! Each gate refuses what it must, and a refused promotion changes nothing.

use std::os::unix::fs::symlink;

use super::{import, store_with};
use crate::harness::Sandbox;

/// Promotes to production, which must be refused by one gate, for this reason.
#[track_caller]
fn refused(sandbox: &Sandbox, gate: &str, reason: &str) {
    let refs = sandbox.ok(["refs"]);
    for extra in [&[][..], &["--dry-run"]] {
        let args = ["promote", "compose/9/one", "production"].iter().chain(extra);
        let error = sandbox.fails(1, args);
        assert!(error.contains(&format!("refused by {gate}\n")) && error.contains(reason), "{error}");
    }
    assert_eq!(sandbox.ok(["refs"]), refs, "a refused promotion changed something");
}

#[test]
fn names_that_tools_stumble_over_are_refused() {
    let config = "[view.production]\ngates = [\"names\"]\n";
    for (name, reason) in [
        ("a b", "a b: contains white space"),
        ("p/-rf", "p/-rf: begins with -"),
        ("#x", "#x: begins like a comment"),
        ("p/.~tmp~/x", ".~tmp~: is a temporary name"),
    ] {
        let sandbox = store_with(config, &[("good", "1"), (name, "2")]);
        refused(&sandbox, "names", reason);
        sandbox.ok(["promote", "compose/9/one", "staging"]);
    }
}

#[test]
fn what_passed_is_not_looked_at_again_but_its_neighbours_are() {
    let sandbox = store_with("[view.production]\ngates = [\"names\"]\n", &[("p/good", "1"), ("q/good", "1")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    import(&sandbox, "compose/9/one", &[("p/good", "1"), ("q/good", "1"), ("q/not good", "1")]);
    refused(&sandbox, "names", "q/not good: contains white space");
    // Remembering costs nothing but time when it is lost.
    std::fs::remove_file(sandbox.store().join("cache.db")).unwrap();
    refused(&sandbox, "names", "q/not good: contains white space");
    assert!(sandbox.ok(["show", "production"]).contains("gate.names = passed"));
}

#[test]
fn links_that_break_or_lead_out_are_refused() {
    let config = "[view.production]\ngates = [\"symlinks\"]\n";
    for (target, reason) in [
        ("/etc/passwd", "is absolute"),
        ("../../x", "leads out of the view"),
        ("nowhere", "leads nowhere"),
        ("file/x", "leads through a file"),
        ("link", "leads to itself"),
    ] {
        let sandbox = Sandbox::with_config(config);
        sandbox.write("tree/p/file", "1");
        symlink(target, sandbox.path("tree/p/link")).unwrap();
        sandbox.ok(["import", "tree", "compose/9/one"]);
        refused(&sandbox, "symlinks", &format!("p/link -> {target}: {reason}"));
    }
    let sandbox = Sandbox::with_config(config);
    sandbox.write("tree/q/file", "1");
    std::fs::create_dir(sandbox.path("tree/p")).unwrap();
    symlink("../q/./file", sandbox.path("tree/p/link")).unwrap();
    symlink("p/link", sandbox.path("tree/again")).unwrap();
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    // Nothing near the links changes; what they lead to goes.
    std::fs::remove_file(sandbox.path("tree/q/file")).unwrap();
    sandbox.ok(["import", "tree", "compose/9/one"]);
    refused(&sandbox, "symlinks", "again -> p/link: leads nowhere");
}

#[test]
fn too_many_removals_are_refused_unless_they_are_meant() {
    let config = "[view.production]\ngates = [\"deletes\"]\n";
    let names: Vec<String> = (0..40).map(|number| format!("p/{number:02}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let sandbox = store_with(config, &files);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    import(&sandbox, "compose/9/one", &files[..36]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    import(&sandbox, "compose/9/one", &files[..32]);
    refused(&sandbox, "deletes", "4 files of 36 would be removed (the first is p/32); 3 are allowed");
    sandbox.fails(1, ["promote", "compose/9/one", "production", "--allow-deletes", "3"]);
    sandbox.ok(["promote", "compose/9/one", "production", "--keep"]);
    sandbox.ok(["promote", "compose/9/one", "production", "--allow-deletes", "4"]);
    assert_eq!(sandbox.ok(["ls", "production:p"]).lines().count(), 32);
}

#[test]
fn who_forces_a_gate_says_why_and_is_recorded() {
    let sandbox = store_with("[view.production]\ngates = [\"names\"]\n", &[("a b", "1")]);
    let force = ["promote", "compose/9/one", "production", "--force", "names"];
    sandbox.fails(2, force);
    let done = sandbox.ok(force.iter().copied().chain(["-m", "vendor's file"]));
    assert!(done.contains("gate names forced: 1 found"), "{done}");
    let shown = sandbox.ok(["show", "production"]);
    assert!(
        shown.contains("gate.names = forced by ") && shown.contains("a b: contains white space"),
        "{shown}"
    );
    assert!(shown.contains("vendor's file"), "{shown}");
    let value = &sandbox.json(["promote", "compose/9/one", "other", "--gate", "incomplete", "-n"])[0];
    assert_eq!(value["views"][0]["gates"][0]["gate"], "incomplete");
}

#[test]
fn content_that_changes_gets_a_later_time_and_directories_only_then() {
    let sandbox = store_with("", &[("p/file", "1"), ("q/other", "1")]);
    let age = |path: &str, time: u64| {
        let file = std::fs::File::open(sandbox.path(format!("compose-9-one/{path}"))).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
    };
    let all = |time: u64| ["p/file", "q/other", "p", "q", ""].map(|path| age(path, time));
    all(1_700_000_000);
    sandbox.ok(["import", "compose-9-one", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    // Another content with the same time, and directories that only look touched.
    sandbox.write("compose-9-one/p/file", "2");
    all(1_700_000_000);
    age("q", 1_800_000_000);
    sandbox.ok(["import", "compose-9-one", "compose/9/one"]);
    let done = &sandbox.json(["promote", "compose/9/one", "production"])[0];
    assert_eq!(done["views"][0]["times_moved_on"][0], "p/file");
    let times: Vec<(String, i64)> = sandbox
        .json(["ls", "-lR", "production"])
        .iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line["mtime"].as_i64().unwrap()))
        .collect();
    let time = |path: &str| times.iter().find(|(found, _)| found == path).unwrap().1;
    assert_eq!([time("p/file"), time("p"), time("q")], [1_700_000_001, 1_700_000_001, 1_700_000_000]);
    assert!(sandbox.ok(["show", "production"]).contains("gate.mtime = passed: 1 moved on: p/file"));
}
