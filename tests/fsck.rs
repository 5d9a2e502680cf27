//! `cfs fsck`, `cfs reindex` and `cfs backup` as commands: exit statuses, what programs read, real upstreams, and what
//! goes on meanwhile. What each kind of damage looks like is tested beside the code.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::check;
use crate::harness::Sandbox;
use crate::harness::repo::Repo;
use crate::harness::upstream::Upstream;

/// The file that is the blob with this content.
fn blob(sandbox: &Sandbox, content: &[u8]) -> PathBuf {
    let hex = blake3::hash(content).to_hex();
    sandbox.store().join("blobs").join(&hex[..2]).join(&hex[2..])
}

/// Makes a blob another one of the same size.
fn spoil(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

fn report(sandbox: &Sandbox, code: i32, args: &[&str]) -> Value {
    let ran = sandbox.run(["--json", "fsck"].iter().chain(args));
    assert_eq!(ran.code, code, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn damage_is_status_4_and_says_where_it_shows() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/dir/file", "content");
    sandbox.ok(["import", "tree", "release"]);
    for level in ["quick", "tree", "data", "upstream"] {
        let whole = report(&sandbox, 0, &["--level", level]);
        assert_eq!(whole["damaged"], false);
        assert!(!whole["unchecked"].as_array().unwrap().is_empty());
    }
    spoil(&blob(&sandbox, b"content"));
    report(&sandbox, 0, &[]);
    let found = report(&sandbox, 4, &["--level", "data"]);
    let finding = &found["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["places"][0]),
        (&"blob-damaged".into(), &"release:dir/file".into())
    );
    let left = report(&sandbox, 4, &["--level", "data", "--repair", "--offline"]);
    assert_eq!(left["findings"][0]["kind"], "blob-missing");
    assert!(left["repaired"]["left"][0].as_str().unwrap().contains("not to be had"));
    // What came back by itself is whole again.
    sandbox.ok(["import", "tree", "other"]);
    report(&sandbox, 0, &["--level", "data"]);
}

#[test]
fn what_an_upstream_still_has_is_fetched_again() {
    let sandbox = Sandbox::with_store();
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 5);
    repo.add("Packages/own.rpm", b"the bytes of a package");
    repo.write();
    let upstream = Upstream::serve(&sandbox.path("repo"));
    sandbox.ok(["sync", &upstream.url(), "x:repo"]);
    let repomd = fs::read(sandbox.path("repo/repodata/repomd.xml")).unwrap();
    for content in [&b"the bytes of a package"[..], &repomd] {
        spoil(&blob(&sandbox, content));
    }
    let found = report(&sandbox, 4, &["--level", "data"]);
    assert_eq!(found["findings"].as_array().unwrap().len(), 2, "{found}");
    let mended = report(&sandbox, 0, &["--level", "data", "--repair"]);
    assert_eq!(mended["repaired"]["left"], Value::Array(Vec::new()));
    report(&sandbox, 0, &["--level", "data", "--restart"]);
    report(&sandbox, 0, &["--level", "upstream"]);
    check(&sandbox.store());
}

#[test]
fn a_repository_that_is_not_what_its_metadata_says_is_found_upstream() {
    let sandbox = Sandbox::with_store();
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 3);
    repo.add("Packages/own.rpm", b"the bytes of a package");
    repo.write();
    sandbox.write("repo/Packages/own.rpm", "other bytes, other size");
    sandbox.ok(["import", "repo", "x"]);
    report(&sandbox, 0, &["--level", "tree"]);
    let found = report(&sandbox, 4, &["--level", "upstream"]);
    let finding = &found["findings"][0];
    assert_eq!(finding["kind"], "repodata");
    assert!(finding["what"].as_str().unwrap().starts_with("Packages/own.rpm: has "), "{finding}");
}

#[test]
fn a_check_a_backup_and_a_rebuilding_meet_nobody_at_the_wrong_time() {
    let sandbox = Sandbox::with_store();
    for number in 0..5 {
        sandbox.write("tree/file", format!("{number}"));
        sandbox.ok(["import", "tree", "release"]);
    }
    // While others import, what is found is never their work.
    std::thread::scope(|scope| {
        let importer = scope.spawn(|| {
            for number in 0..20 {
                sandbox.write("tree/file", format!("more {number}"));
                sandbox.ok(["import", "tree", "release"]);
            }
        });
        let mut checks = 0;
        while !importer.is_finished() || checks < 3 {
            report(&sandbox, 0, &["--level", if checks % 2 == 0 { "tree" } else { "data" }]);
            sandbox.ok(["backup", "copy"]);
            let copy = sandbox.run(["--store", "copy", "fsck", "--level", "data"]);
            assert_eq!(copy.code, 0, "{copy:?}");
            checks += 1;
        }
    });
    let before = sandbox.ok(["log", "release"]);
    let listing = sandbox.listing("release@{3}");
    let dry = sandbox.json(["reindex", "--dry-run"]);
    fs::remove_file(sandbox.store().join("catalogue.db")).unwrap();
    assert!(sandbox.fails(4, ["refs"]).contains("cfs reindex"));
    assert_ne!(sandbox.run(["init"]).code, 0, "a store with snapshots is not made anew");
    let done = sandbox.json(["reindex"]);
    assert_eq!(done[0]["moves"], dry[0]["moves"]);
    assert_eq!(sandbox.ok(["log", "release"]), before);
    assert_eq!(sandbox.listing("release@{3}"), listing);
    check(&sandbox.store());
}

#[test]
fn a_server_finds_bad_blobs_by_itself_and_says_so() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/file", "content");
    sandbox.ok(["import", "tree", "release"]);
    spoil(&blob(&sandbox, b"content"));
    let mut command = sandbox.cfs();
    command.args(["--json", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--scrub", "8"]);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address =
        said["metrics"][0].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let end = Instant::now() + Duration::from_secs(20);
    let mut text = String::new();
    while !text.contains("cfs_scrub_rounds_total 1") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        text.clear();
        stream.read_to_string(&mut text).unwrap();
    }
    assert!(text.contains("cfs_scrub_findings_total 1"), "{text}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    server.wait().unwrap();
    assert!(log.contains("scrub: blob-damaged: ") && log.contains("release:file"), "{log}");
}
