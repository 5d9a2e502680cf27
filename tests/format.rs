//! `docs/format.md`, checked with the tools it names: `b3sum` and `sqlite3`, on a copy of the catalogue.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Sandbox, installed, ran};

#[track_caller]
fn ok(command: &mut Command) -> String {
    let ran = ran(command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran.stdout
}

fn b3sum(path: &Path) -> String {
    ok(Command::new("b3sum").arg("--no-names").arg(path)).trim().to_owned()
}

/// Runs SQL on a copy: an old sqlite3 must not touch a catalogue in use.
fn sql(sandbox: &Sandbox, statement: &str) -> Vec<String> {
    for name in ["catalogue.db", "catalogue.db-wal"] {
        let _ = fs::copy(sandbox.store().join(name), sandbox.path(name));
    }
    let _ = fs::remove_file(sandbox.path("catalogue.db-shm"));
    let mut command = Command::new("sqlite3");
    let text = ok(command.arg(sandbox.path("catalogue.db")).arg(statement));
    text.lines().map(str::to_owned).collect()
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let text = ok(Command::new("find").arg(dir).args(["-type", "f"]));
    text.lines().map(PathBuf::from).collect()
}

fn sample() -> Option<Sandbox> {
    if !["b3sum", "sqlite3"].into_iter().all(installed) {
        return None;
    }
    let sandbox = Sandbox::with_store();
    for n in 0..700 {
        sandbox.write(&format!("tree/Packages/p{n:04}.rpm"), format!("package {n}"));
    }
    sandbox.ok(["import", "tree", "compose/9/x", "-m", "two lines\nand a \\"]);
    sandbox.ok(["promote", "compose/9/x", "production:pub"]);
    sandbox.ok(["link", "latest", "compose/9/x"]);
    Some(sandbox)
}

#[test]
fn every_blob_is_called_by_its_hash() {
    let Some(sandbox) = sample() else { return };
    let blobs = files(&sandbox.store().join("blobs"));
    assert_eq!(blobs.len(), 700);
    for blob in blobs.iter().step_by(50) {
        let name =
            blob.strip_prefix(sandbox.store().join("blobs")).unwrap().to_string_lossy().replace('/', "");
        assert_eq!(b3sum(blob), name);
    }
    let rows = sql(&sandbox, "SELECT count(*), sum(size) FROM objects");
    let bytes: u64 = blobs.iter().map(|blob| fs::metadata(blob).unwrap().len()).sum();
    assert_eq!(rows, [format!("700|{bytes}")]);
    assert_eq!(fs::read_to_string(sandbox.store().join("FORMAT")).unwrap(), "cfs-store 1\n");
}

#[test]
fn every_node_and_record_is_called_by_its_hash_and_stands_in_a_commit() {
    let Some(sandbox) = sample() else { return };
    let out = sandbox.path("bytes");
    let mut in_commits: Vec<u8> = Vec::new();
    files(&sandbox.store().join("commits"))
        .iter()
        .for_each(|path| in_commits.extend(fs::read(path).unwrap()));
    for (table, key, value) in [("nodes", "hash", "data"), ("snapshots", "id", "record")] {
        let ids = sql(&sandbox, &format!("SELECT lower(hex({key})) FROM {table}"));
        assert!(ids.len() >= 2, "{table}: {ids:?}");
        for id in ids {
            let path = out.display();
            sql(
                &sandbox,
                &format!("SELECT writefile('{path}', {value}) FROM {table} WHERE hex({key}) = upper('{id}')"),
            );
            assert_eq!(b3sum(&out), id, "{table}");
            let bytes = fs::read(&out).unwrap();
            assert!(
                in_commits.windows(bytes.len()).any(|window| window == bytes),
                "{table} {id} is in no commit"
            );
        }
    }
    let record = ok(Command::new("sh").arg("-c").arg("cat \"$0\"/commits/*").arg(sandbox.store()));
    assert!(record.starts_with("cfs-commit 1\nrecord "), "{record:.40}");
    assert!(record.contains("message two lines\\u{a}and a \\\\\n"), "the message is on one line");
}

#[test]
fn the_reflog_chains_as_written() {
    let Some(sandbox) = sample() else { return };
    // Each field as its length, ':', its text and a newline; the entry before it in front.
    let part =
        |expression: &str| format!("length(CAST({expression} AS BLOB)) || ':' || {expression} || char(10)");
    let expressions = [
        "number",
        "ref",
        "generation",
        "coalesce(lower(hex(old)), '')",
        "CASE WHEN target IS NULL THEN 'snapshot ' || lower(hex(new)) ELSE 'ref ' || target END",
        "at",
        "actor",
        "reason",
    ];
    let text = expressions.map(|e| part(&format!("({e})"))).join(" || ");
    let entries = sql(&sandbox, "SELECT lower(hex(previous)), lower(hex(entry)) FROM reflog ORDER BY number");
    assert_eq!(entries.len(), 3);
    let mut last = "0".repeat(64);
    for (index, row) in entries.iter().enumerate() {
        let (previous, entry) = row.split_once('|').unwrap();
        assert_eq!(previous, last);
        let (out, number) = (sandbox.path("entry"), index + 1);
        let path = out.display();
        let bytes = format!("CAST(previous AS BLOB) || CAST({text} AS BLOB)");
        sql(
            &sandbox,
            &format!("SELECT writefile('{path}', CAST({bytes} AS BLOB)) FROM reflog WHERE number = {number}"),
        );
        assert_eq!(b3sum(&out), entry, "entry {number}");
        entry.clone_into(&mut last);
    }
}
