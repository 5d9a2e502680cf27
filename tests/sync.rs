//! `cfs sync`: what comes out, what goes over the wire, and what it costs when nothing has changed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::repo::{Repo, TIME, content, put};
use crate::harness::upstream::{Fault, Upstream};
use crate::harness::{Sandbox, ran};

mod hostile;
mod real;
pub mod signed;

/// The requests that every sync makes.
const DOCUMENTS: [&str; 3] = ["/repodata/repomd.xml", "/repodata/repomd.xml.asc", "/repodata/repomd.xml.key"];

/// A store, and a repository on a server.
struct Scene {
    sandbox: Sandbox,
    repo: Repo,
    upstream: Upstream,
}

impl Scene {
    /// A repository of `count` packages, written.
    fn new(count: usize) -> Self {
        let sandbox = Sandbox::with_store();
        let repo = Repo::with_packages(&sandbox.path("upstream"), count);
        repo.write();
        let upstream = Upstream::serve(&repo.dir);
        Self { sandbox, repo, upstream }
    }

    /// The arguments of a sync into `target` that gives up soon.
    fn args<'a>(&self, target: &'a str) -> Vec<std::borrow::Cow<'a, str>> {
        let url = self.upstream.url();
        vec!["sync".into(), url.into(), target.into(), "--attempts=2".into(), "--idle-timeout=1".into()]
    }

    #[track_caller]
    fn sync(&self) -> serde_json::Value {
        let args = self.args("test:os");
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        self.sandbox.json(args).remove(0)
    }

    /// Syncs, which must fail with status 3; returns what it says.
    #[track_caller]
    fn fails(&self, more: &[&str]) -> String {
        let args = self.args("test:os");
        self.sandbox.fails(3, args.iter().map(AsRef::<str>::as_ref).chain(more.iter().copied()))
    }

    /// Requests besides those for the documents, sorted.
    fn file_requests(&self) -> Vec<String> {
        let mut paths = self.upstream.paths();
        paths.retain(|path| !DOCUMENTS.contains(&path.as_str()));
        paths
    }
}

/// Path, time and size of every file below `dir`, then of every directory its path only.
fn stats(dir: &Path) -> String {
    let mut command = std::process::Command::new("sh");
    command.current_dir(dir).arg("-c").arg("find . -type f -printf '%p %Ts %s\\n' -o -printf '%p\\n' | sort");
    ran(&mut command).stdout
}

#[test]
fn everything_arrives_with_its_time_and_a_second_sync_asks_for_the_documents_only() {
    let scene = Scene::new(20);
    let first = scene.sync();
    assert_eq!((&first["packages"], &first["files"]), (&20.into(), &23.into()));
    assert_eq!((&first["fetched_files"], &first["changed"]), (&22.into(), &true.into()));
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "test:os", out.to_str().unwrap()]);
    assert_eq!(ran(std::process::Command::new("diff").arg("-r").arg(&scene.repo.dir).arg(&out)).stdout, "");
    assert_eq!(stats(&out), stats(&scene.repo.dir));
    for request in scene.upstream.requests() {
        assert!(!request.headers.contains("accept-encoding"), "bytes are to come as they are: {request:?}");
    }

    scene.upstream.heal();
    let second = scene.sync();
    assert_eq!((&second["changed"], &second["files"]), (&false.into(), &23.into()));
    assert_eq!(scene.upstream.paths(), DOCUMENTS);
    assert!(scene.sandbox.ok(["log", "test"]).lines().count() < 4, "one move only");
    let partial = fs::read_dir(scene.sandbox.store().join("partial")).unwrap().count();
    assert_eq!(partial, 0, "nothing unfinished is left");
}

#[test]
fn what_the_store_knows_is_not_asked_for() {
    let mut scene = Scene::new(10);
    scene.sync();
    let old = scene.sandbox.listing("test:os");
    scene.repo.add("Packages/new.rpm", b"new");
    scene.repo.packages.remove(3);
    // Another name for a known content.
    scene.repo.add("Packages/again.rpm", &content(5));
    let primary = scene.repo.write();
    scene.upstream.heal();
    let second = scene.sync();
    assert_eq!(scene.file_requests(), ["/Packages/new.rpm".to_owned(), format!("/{primary}")]);
    assert_eq!((&second["packages"], &second["fetched_files"]), (&11.into(), &2.into()));
    let new = scene.sandbox.listing("test:os");
    assert!(old.contains("p0003.rpm") && !new.contains("p0003.rpm"), "{new}");
    assert!(scene.sandbox.ok(["cat", "test:os/Packages/again.rpm"]).starts_with("package 5\n"));

    // The same repository elsewhere costs the metadata list.
    scene.upstream.heal();
    let url = scene.upstream.url();
    scene.sandbox.ok(["sync", &url, "other"]);
    assert_eq!(scene.upstream.paths(), DOCUMENTS);
}

#[test]
fn a_directory_is_as_new_as_what_is_in_it_and_moves_only_when_that_does() {
    let mut scene = Scene::new(3);
    scene.repo.add("Extra/e.rpm", b"extra");
    scene.repo.write();
    scene.sync();
    let time = |path: &str| {
        let lines = scene.sandbox.json(["ls", "test:os"]);
        let line = lines.iter().find(|line| line["path"] == path || line["name"] == path);
        line.unwrap_or_else(|| panic!("{lines:?}"))["mtime"].clone()
    };
    let (packages, extra) = (time("Packages"), time("Extra"));
    assert_eq!(packages.as_i64(), Some(TIME.cast_signed() + 2));
    let mut repo = scene.repo.clone();
    repo.packages.remove(0);
    repo.write();
    scene.sync();
    assert_eq!(time("Extra"), extra);
    assert_eq!(time("Packages").as_i64(), Some(TIME.cast_signed() + 3), "a loss is seen too");
}

#[test]
fn an_imported_tree_is_hashed_instead_of_downloaded() {
    let scene = Scene::new(6);
    // One package is another one of the same size there.
    let target = scene.repo.dir.join("Packages/p0002.rpm");
    let mut changed = content(2);
    changed[100] ^= 1;
    put(&target, &changed, TIME + 2);
    scene.sandbox.ok(["import", scene.repo.dir.to_str().unwrap(), "test:os"]);
    put(&target, &content(2), TIME + 2);
    let report = scene.sync();
    assert_eq!(scene.file_requests(), ["/Packages/p0002.rpm"]);
    assert_eq!((&report["fetched_files"], &report["changed"]), (&1.into(), &true.into()));
    assert_eq!(scene.sandbox.ok(["cat", "test:os/Packages/p0002.rpm"]).as_bytes()[..10], content(2)[..10]);
}

#[test]
fn a_server_that_forbids_what_it_lacks_is_an_upstream() {
    let scene = Scene::new(1);
    scene.upstream.fault("/repodata/repomd.xml.asc", Fault::Status(403));
    scene.upstream.fault("/repodata/repomd.xml.key", Fault::Status(403));
    assert_eq!(scene.sync()["changed"], true);
    assert_eq!(scene.sync()["changed"], false);
    scene.upstream.fault("/repodata/repomd.xml", Fault::Status(403));
    let text = scene.fails(&[]);
    assert!(text.contains("repomd.xml: cannot be downloaded: the server answers 403"), "{text}");
}

#[test]
fn a_blob_that_was_lost_is_brought_again() {
    let mut scene = Scene::new(3);
    scene.sync();
    let blob = blake3::hash(&scene.repo.packages[1].content).to_hex();
    std::fs::remove_file(scene.sandbox.store().join("blobs").join(&blob[..2]).join(&blob[2..])).unwrap();
    scene.sandbox.fails(4, ["cat", "test:os/Packages/p0001.rpm"]);
    scene.repo.add("Packages/new.rpm", b"new");
    scene.repo.write();
    scene.sync();
    scene.sandbox.ok(["cat", "test:os/Packages/p0001.rpm"]);
}

#[test]
fn files_and_directories_are_upstreams_too() {
    let scene = Scene::new(4);
    let dir = scene.repo.dir.to_str().unwrap();
    scene.sandbox.ok(["sync", &format!("file://{dir}"), "url:os"]);
    scene.sandbox.ok(["sync", "upstream", "dir:os"]);
    scene.sync();
    for other in ["url:os", "dir:os"] {
        assert_eq!(scene.sandbox.listing(other), scene.sandbox.listing("test:os"));
    }
    assert_eq!(scene.file_requests(), [] as [&str; 0], "the store knew everything by then");
    let text = scene.sandbox.fails(3, ["sync", "nowhere", "dir:os"]);
    assert!(
        text.contains("there is no repository") && text.contains("nowhere/repodata/repomd.xml"),
        "{text}"
    );
}

#[test]
fn every_compression_is_read() {
    for compressor in [&[][..], &["gzip", "-c"], &["xz", "-c"], &["bzip2", "-c"], &["zstd", "-c"]] {
        if compressor.first().is_some_and(|program| !crate::harness::installed(program)) {
            continue;
        }
        let scene = Scene::new(0);
        let mut repo = Repo { compressor: compressor.to_vec(), ..scene.repo.clone() };
        repo.add("p.rpm", b"package");
        repo.write();
        let report = scene.sync();
        assert_eq!(report["packages"], 1, "{compressor:?}");
    }
}

#[test]
fn a_killed_sync_goes_on_where_it_was() {
    let scene = Scene::new(30);
    let whole = content(29).len();
    scene.upstream.fault("/Packages/p0029.rpm", Fault::Hang(Some(whole / 2)));
    let mut child = scene
        .sandbox
        .cfs()
        .args(["sync", &scene.upstream.url(), "test:os"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let half_there = || {
        let mut found = Vec::new();
        collect(&scene.sandbox.store().join("partial"), &mut found);
        found.contains(&(whole as u64 / 2))
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while scene.file_requests().len() < 32 || !half_there() {
        assert!(Instant::now() < deadline, "{:?}", scene.file_requests());
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    scene.sandbox.fails(3, ["show", "test"]);

    scene.upstream.heal();
    scene.sync();
    let requests = scene.upstream.requests();
    let last = requests.iter().find(|request| request.path == "/Packages/p0029.rpm").unwrap();
    assert_eq!(last.from, Some(whole / 2));
    // What had arrived was in the store, or waited for the next batch: it is not asked for again.
    assert_eq!(scene.file_requests(), ["/Packages/p0029.rpm"]);
    assert_eq!(scene.sandbox.ok(["cat", "test:os/Packages/p0029.rpm"]).len(), lossy(&content(29)));
}

fn lossy(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).len()
}

fn collect(dir: &Path, sizes: &mut Vec<u64>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => collect(&entry.path(), sizes),
            Ok(meta) => sizes.push(meta.len()),
            Err(_) => {}
        }
    }
}

#[test]
fn an_interrupted_sync_stops_cleanly() {
    let scene = Scene::new(5);
    scene.upstream.fault("/Packages/p0004.rpm", Fault::Hang(None));
    let child = scene
        .sandbox
        .cfs()
        .args(["sync", &scene.upstream.url(), "test:os"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while scene.file_requests().len() < 7 {
        assert!(Instant::now() < deadline, "{:?}", scene.file_requests());
        std::thread::sleep(Duration::from_millis(20));
    }
    ran(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("stopped") && text.contains("resume"), "{text}");
    scene.upstream.heal();
    scene.sync();
    assert_eq!(scene.file_requests(), ["/Packages/p0004.rpm"]);
}

#[test]
fn two_syncs_of_one_repository_do_not_fight() {
    let scene = Scene::new(40);
    let url = scene.upstream.url();
    let children: Vec<_> = ["one:os", "two:os", "three:os"]
        .map(|target| {
            let mut command = scene.sandbox.cfs();
            command.args(["sync", &url, target]).stdout(Stdio::null()).spawn().unwrap()
        })
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut paths = scene.file_requests();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all, "a file was asked for twice");
    let listing = scene.sandbox.listing("one:os");
    assert_eq!(listing, scene.sandbox.listing("two:os"));
    assert_eq!(listing, scene.sandbox.listing("three:os"));
}

#[test]
fn a_symbolic_ref_is_not_synced_into() {
    let scene = Scene::new(1);
    scene.sync();
    scene.sandbox.ok(["link", "latest", "test"]);
    scene.upstream.heal();
    let text = scene.sandbox.fails(1, ["sync", &scene.upstream.url(), "latest"]);
    assert!(text.contains("symbolic"), "{text}");
    assert_eq!(scene.upstream.requests(), []);
}
