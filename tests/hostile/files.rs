//! Files of the host that are not what they seem: trees, databases, packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Sandbox, installed, ran};

#[test]
fn devices_pipes_and_rights_of_others_do_not_come_in() {
    let sandbox = Sandbox::with_store();
    let tool = sandbox.write("tree/tool", "#!");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o6755)).unwrap();
    let open = sandbox.write("tree/open", "");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1666)).unwrap();
    sandbox.ok(["import", "tree", "x"]);
    let listing = sandbox.listing("x");
    assert!(listing.contains("-rwxr-xr-x") && listing.contains("-rw-r--r--"), "{listing}");
    sandbox.ok(["checkout", "x", "out"]);
    let mode = |path: &str| fs::metadata(sandbox.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("out/tool"), mode("out/open")), (0o755, 0o644));
    for (name, args) in [("pipe", &["p"][..]), ("zero", &["c", "1", "5"]), ("disk", &["b", "7", "0"])] {
        let path = sandbox.path(format!("tree/{name}"));
        if ran(Command::new("mknod").arg(&path).args(args)).code != 0 {
            eprintln!("skipped: no {name} can be made here");
            continue;
        }
        let error = sandbox.fails(1, ["import", "tree", "y"]);
        assert!(error.contains(name), "{error}");
        fs::remove_file(path).unwrap();
    }
    assert!(!sandbox.ok(["refs"]).contains('y'));
}

/// What import refuses, no other way brings in either.
#[test]
fn links_say_nothing_that_a_tree_cannot_hold() {
    for (text, shown) in [("", "\"\""), ("a\\nb", "\"a\\nb\""), ("a\\u0000b", "no symlink can say")] {
        let config = format!("[promotion.p]\nlinks = {{ \"production:x\" = \"{text}\" }}\n");
        let sandbox = Sandbox::with_config(&config);
        let ran = sandbox.run(["promote", "p"]);
        assert!(ran.code == 1 && ran.stderr.contains(shown), "{config}: {ran:?}");
        assert!(ran.stderr.contains("production:x: no symlink can say"), "{ran:?}");
        assert_eq!(sandbox.ok(["refs"]), "");
    }
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/a", "x");
    sandbox.ok(["import", "tree", "x"]);
    let error = sandbox.fails(1, ["promote", "x", "y", "--link", "y:l=a\nb"]);
    assert!(error.contains("no symlink can say"), "{error}");
}

/// What statements are put together from: names of tables and columns, and parts of statements, all constants.
const CONSTANTS: [&str; 5] = ["table", "columns", "marks", "USELESS", "FAULTS_MAX"];

#[test]
fn names_are_values_and_never_sql() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/a'); DROP TABLE refs; --", "x");
    sandbox.write("tree/%_\"", "x");
    for name in ["it's", "a\"b", "x';DROP TABLE refs;--", "100%", "under_score"] {
        let ran = sandbox.run(["import", "tree", name, "-m", "'); DELETE FROM reflog; --"]);
        assert!([0, 2].contains(&ran.code), "{ran:?}");
        if ran.code == 0 {
            assert!(sandbox.ok(["log", name]).contains("import"), "{name}");
        }
    }
    sandbox.ok(["import", "tree", "last"]);
    assert!(sandbox.ok(["ls", "last"]).contains("DROP TABLE"));
    // And no statement is put together from text but that of the program itself.
    let mut dirs = vec![super::root().join("indexer/src/catalogue")];
    let mut files = vec![super::root().join("indexer/src/catalogue.rs")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for call in text.split("format!(").skip(1) {
            let literal: String = call.trim_start().chars().take(80).collect();
            let said = literal.to_uppercase();
            let sql = ["\"SELECT ", "\"INSERT ", "\"DELETE ", "\"UPDATE ", "\"PRAGMA "];
            if !sql.iter().any(|word| said.starts_with(word)) {
                continue;
            }
            let statement = call.split('"').nth(1).unwrap_or_default();
            for part in statement.split('{').skip(1) {
                let name = part.split('}').next().unwrap_or_default();
                assert!(CONSTANTS.contains(&name), "{}: {{{name}}} in {statement}", file.display());
            }
        }
    }
}

#[test]
fn a_catalogue_that_somebody_else_made_is_refused_or_read_without_its_programs() {
    if !installed("sqlite3") {
        return;
    }
    let sql = |sandbox: &Sandbox, text: &str| {
        let ran = ran(Command::new("sqlite3").arg(sandbox.store().join("catalogue.db")).arg(text));
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let store = || {
        let sandbox = Sandbox::with_store();
        sandbox.write("tree/a", "x");
        sandbox.ok(["import", "tree", "x"]);
        // All of it in one file, as somebody else would bring it.
        sql(&sandbox, "PRAGMA wal_checkpoint(TRUNCATE)");
        sandbox
    };
    let other = store();
    for bytes in [&b""[..], b"not a database", &[0; 8192]] {
        fs::write(other.store().join("catalogue.db"), bytes).unwrap();
        let ran = other.run(["refs"]);
        assert!([3, 4].contains(&ran.code) && ran.stderr.contains("catalogue"), "{ran:?}");
    }
    // A view in the place of a table, that would do something else.
    let viewed = store();
    sql(
        &viewed,
        "ALTER TABLE refs RENAME TO real; CREATE VIEW refs AS SELECT * FROM real WHERE load_extension('/tmp/x')",
    );
    assert!([3, 4].contains(&viewed.run(["refs"]).code));
    // A trigger that loads what it likes.
    let triggered = store();
    sql(
        &triggered,
        "CREATE TRIGGER evil AFTER INSERT ON snapshots BEGIN SELECT load_extension('/tmp/x'); END",
    );
    triggered.write("tree/b", "y");
    let ran = triggered.run(["import", "tree", "x"]);
    assert!([3, 4].contains(&ran.code), "{ran:?}");
    assert!(triggered.ok(["ls", "x"]).contains('a'), "what was there can be read");
}

#[test]
fn packages_with_hostile_headers_are_named_and_not_published() {
    let sandbox = Sandbox::with_store();
    let good = crate::harness::packages::package(&sandbox.path("tree/Packages"), "good", "1");
    let bytes = fs::read(&good).unwrap();
    // The signature header's numbers of entries and of bytes are at 104 and 108; its first entry follows.
    let hostile: [(&str, usize, &[u8]); 6] = [
        ("entries", 104, &[0xff; 4]),
        ("bytes", 108, &[0x7f, 0xff, 0xff, 0xff]),
        ("region-kind", 116, &[0, 0, 0, 9]),
        ("region-offset", 120, &[0xff; 4]),
        ("region-count", 124, &[0xff; 4]),
        ("magic", 96, &[0; 4]),
    ];
    for (name, at, piece) in hostile {
        let mut odd = bytes.clone();
        odd[at..at + piece.len()].copy_from_slice(piece);
        sandbox.write(&format!("tree/Packages/{name}.rpm"), odd);
    }
    sandbox.write("tree/Packages/cut.rpm", &bytes[..bytes.len() / 3]);
    sandbox.write("tree/Packages/empty.rpm", "");
    sandbox.write("tree/Packages/text.rpm", "no package at all\n".repeat(100));
    sandbox.ok(["import", "tree", "x"]);
    let ran = sandbox.run(["repodata", "build", "x"]);
    assert!([1, 3].contains(&ran.code) && !ran.stderr.contains("panicked"), "{ran:?}");
    for name in ["entries", "bytes", "region-offset", "magic", "cut", "empty", "text"] {
        assert!(ran.stderr.contains(&format!("{name}.rpm")), "{name}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("good-"), "{}", ran.stderr);
}
