//! init, import, ls, cat, checkout, diff, stats.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::harness::{Sandbox, ran};

fn sample(sandbox: &Sandbox) {
    sandbox.write("tree/a/one", "1");
    sandbox.write("tree/a/two", "22");
    let tool = sandbox.write("tree/bin/tool", "#!");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../a/one", sandbox.path("tree/bin/link")).unwrap();
}

#[test]
fn init_makes_a_store_once() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(3, ["refs"]);
    assert!(error.contains("is not a cfs store") && error.contains("hint:"), "{error}");
    sandbox.ok(["init"]);
    assert!(sandbox.fails(3, ["init"]).contains("already"));
    assert_eq!(sandbox.ok(["refs"]), "");
    sandbox.write("other/file", "");
    let error = sandbox.fails(3, ["init", "--store", "other"]);
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn what_is_imported_can_be_listed_read_and_checked_out() {
    let sandbox = Sandbox::with_store();
    sample(&sandbox);
    let text = sandbox.ok(["import", "tree", "compose/9/x:pub"]);
    assert!(text.contains("3 files") && text.contains("generation 1"), "{text}");
    assert_eq!(sandbox.ok(["ls", "compose/9/x:pub"]), "a\nbin\n");
    assert_eq!(sandbox.ok(["ls", "-R", "compose/9/x:pub/bin"]), "link\ntool\n");
    let long = sandbox.ok(["ls", "-l", "compose/9/x:pub/bin"]);
    assert!(long.starts_with("lrwxrwxrwx") && long.contains("link -> ../a/one\n-rwxr-xr-x"), "{long}");
    assert_eq!(sandbox.ok(["cat", "compose/9/x:pub/a/two"]), "22");
    assert_eq!(sandbox.json(["ls", "compose/9/x:pub/a"])[1]["size"], 2);
    sandbox.fails(3, ["cat", "compose/9/x:pub/a"]);
    sandbox.fails(3, ["ls", "compose/9/x:nowhere"]);

    sandbox.ok(["checkout", "compose/9/x:pub", "out"]);
    // rsync's own comparison: content, times, modes and links.
    let mut compare = Command::new("rsync");
    compare.args(["-anci", "--delete", "tree/", "out/"]).current_dir(sandbox.path(""));
    let compared = ran(&mut compare);
    assert_eq!((compared.code, compared.stdout.replace(".d..t...... ./\n", "")), (0, String::new()));
    let error = sandbox.fails(3, ["checkout", "compose/9/x:pub", "out"]);
    assert!(error.contains("not an empty directory"), "{error}");
}

#[test]
fn an_import_of_the_same_makes_no_snapshot_and_reads_nothing() {
    let sandbox = Sandbox::with_store();
    sample(&sandbox);
    // Times right before the import could hide a later change; such files are read again.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let first = &sandbox.json(["import", "tree", "x"])[0];
    assert_eq!((&first["files_read"], &first["changed"]), (&3.into(), &true.into()));
    let again = &sandbox.json(["import", "tree", "x"])[0];
    assert_eq!((&again["files_read"], &again["changed"]), (&0.into(), &false.into()));
    sandbox.write("tree/a/two", "33");
    let changed = &sandbox.json(["import", "tree", "x"])[0];
    assert_eq!((&changed["files_read"], &changed["generation"]), (&1.into(), &2.into()));
    fs::remove_file(sandbox.path("store/cache.db")).unwrap();
    fs::write(sandbox.path("store/cache.db"), "not a database").unwrap();
    let without = &sandbox.json(["import", "tree", "x"])[0];
    assert_eq!((&without["files_read"], &without["changed"]), (&3.into(), &false.into()));
}

#[test]
fn names_that_would_break_mirrors_are_refused_with_a_list() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/good", "");
    sandbox.write("tree/new\nline", "");
    sandbox.write("tree/tab\tbed", "");
    let error = sandbox.fails(1, ["import", "tree", "x"]);
    assert!(
        error.contains("2 entries") && error.contains("new\\nline") && error.contains("tab\\tbed"),
        "{error}"
    );
    assert_eq!(sandbox.ok(["refs"]), "");
    sandbox.fails(3, ["import", "nowhere", "x"]);
    sandbox.fails(2, ["import", "tree", "bad ref"]);
}

#[test]
fn what_would_be_too_deep_to_be_named_is_refused() {
    let sandbox = Sandbox::with_store();
    let deepest = "d/".repeat(63) + "f";
    sandbox.write(&format!("tree/{deepest}"), "good");
    sandbox.ok(["import", "tree", "x"]);
    assert_eq!(sandbox.ok(["cat", &format!("x:{deepest}")]), "good");
    sandbox.write(&format!("tree/{}g", "d/".repeat(64)), "bad");
    let error = sandbox.fails(1, ["import", "tree/", "x"]);
    assert!(error.contains("too deep"), "{error}");
    sandbox.ok(["cat", &format!("x:{deepest}")]);
}

#[test]
fn diff_says_what_differs_and_exits_1() {
    let sandbox = Sandbox::with_store();
    sample(&sandbox);
    sandbox.ok(["import", "tree", "x"]);
    assert_eq!(sandbox.ok(["diff", "x", "x"]), "");
    sandbox.write("tree/a/two", "222");
    sandbox.write("tree/c/new", "");
    fs::remove_file(sandbox.path("tree/bin/tool")).unwrap();
    sandbox.ok(["import", "tree", "x"]);
    let ran = sandbox.run(["diff", "x@{1}", "x"]);
    let lines: Vec<&str> =
        ran.stdout.lines().filter(|line| !line.ends_with('/') || line.starts_with('A')).collect();
    assert_eq!((ran.code, lines), (1, vec!["C a/two", "R bin/tool", "A c/", "A c/new"]));
    let stat = sandbox.run(["diff", "--stat", "x@{1}:a", "x:a"]);
    assert_eq!(
        (stat.code, stat.stdout.contains("0 added (0 B), 0 removed (0 B), 1 changed (3 B)")),
        (1, true)
    );
}

#[test]
fn stats_count_every_byte_once() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/a", "0123456789");
    sandbox.write("tree/b", "0123456789");
    sandbox.ok(["import", "tree", "x"]);
    sandbox.ok(["promote", "x", "y"]);
    let stats = &sandbox.json(["stats"])[0];
    assert_eq!(
        (&stats["logical_bytes"], &stats["stored_bytes"], &stats["blobs"]),
        (&40.into(), &10.into(), &1.into())
    );
    assert_eq!(stats["dedup_ratio"], 4.0);
}

#[test]
fn a_blob_can_be_read_by_all_whatever_the_umask() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/a", "content");
    let mut shell = Command::new("sh");
    shell.current_dir(sandbox.path("")).env("CFS_STORE", sandbox.store());
    shell.args(["-c", "umask 077; exec \"$0\" import tree x", env!("CARGO_BIN_EXE_cfs")]);
    assert_eq!(ran(&mut shell).code, 0);
    let hex = blake3_hex(&sandbox, "x", "a");
    let blob = sandbox.path("store/blobs").join(&hex[..2]).join(&hex[2..]);
    assert_eq!(fs::metadata(blob).unwrap().permissions().mode() & 0o777, 0o444);
}

#[test]
fn a_damaged_blob_is_exit_4_and_named() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/a", "content");
    sandbox.ok(["import", "tree", "x"]);
    let hex = blake3_hex(&sandbox, "x", "a");
    let blob = sandbox.path("store/blobs").join(&hex[..2]).join(&hex[2..]);
    fs::remove_file(&blob).unwrap();
    assert!(sandbox.fails(4, ["cat", "x:a"]).contains(&hex));
    assert!(sandbox.fails(4, ["checkout", "--hardlink", "x", "missing"]).contains(&hex));
    fs::write(&blob, "short").unwrap();
    assert!(sandbox.fails(4, ["checkout", "--hardlink", "x", "short"]).contains(&hex));
    fs::write(&blob, "CONTENT").unwrap();
    assert!(sandbox.fails(4, ["cat", "x:a"]).contains("damaged"));
    assert!(sandbox.fails(4, ["checkout", "x", "out"]).contains(&hex));
}

fn blake3_hex(sandbox: &Sandbox, revision: &str, path: &str) -> String {
    sandbox.json(["ls", &format!("{revision}:{path}")])[0]["blob"].as_str().unwrap().to_owned()
}

#[test]
fn completions_are_for_every_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(sandbox.ok(["completions", shell]).contains("promote"), "{shell}");
    }
}
