//! Upstreams that want more than to be copied. (What only breaks is in `sync::hostile`.)

use std::fs;
use std::net::TcpListener;

use crate::harness::repo::{Repo, TIME, content};
use crate::harness::upstream::{Fault, Upstream};
use crate::harness::{Sandbox, installed};

/// A sandbox with this configuration, and a repository of so many packages on a server.
fn scene(config: &str, count: usize) -> (Sandbox, Repo, Upstream) {
    let sandbox = Sandbox::with_config(config);
    let repo = Repo::with_packages(&sandbox.path("upstream"), count);
    repo.write();
    let upstream = Upstream::serve(&repo.dir);
    (sandbox, repo, upstream)
}

/// The arguments of a sync of `url` that gives up soon.
fn sync<'a>(url: &'a str, target: &'a str) -> [&'a str; 5] {
    ["sync", url, target, "--attempts=1", "--idle-timeout=2"]
}

#[test]
fn redirects_into_private_networks_are_refused() {
    let (sandbox, _, upstream) = scene("", 2);
    // A service of this host that nobody here has named; whoever connects is heard of.
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    inside.set_nonblocking(true).unwrap();
    let port = inside.local_addr().unwrap().port();
    let named = upstream.url().replace("127.0.0.1", "localhost");
    for target in [
        format!("http://127.0.0.1:{port}/x"),
        format!("http://127.1:{port}/x"),
        format!("http://2130706433:{port}/x"),
        format!("http://[::ffff:127.0.0.1]:{port}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://0.0.0.0:{port}/x"),
    ] {
        for path in ["/repodata/repomd.xml", "/Packages/p0001.rpm"] {
            upstream.heal();
            upstream.fault(path, Fault::Redirect(target.clone()));
            let text = sandbox.fails(3, sync(&named, "test"));
            assert!(text.contains("is inside a private network") && text.contains(path), "{target}: {text}");
            assert!(!sandbox.ok(["refs"]).contains("test"));
        }
    }
    let nobody = inside.accept().map(drop).unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock, "somebody connected");
    // What the operator names may be anywhere, and so may its redirects.
    upstream.heal();
    sandbox.write("upstream/moved", content(1));
    let moved = format!("{}moved", upstream.url());
    upstream.fault("/Packages/p0001.rpm", Fault::Redirect(moved));
    sandbox.write("config.toml", "[fetch]\nprivate-hosts = [\"127.0.0.1\"]\n");
    sandbox.ok(sync(&named, "test"));
}

#[test]
fn plain_http_is_refused_where_only_https_is_allowed() {
    let (sandbox, repo, upstream) = scene("[fetch]\nhttps-only = true\n", 1);
    let text = sandbox.fails(3, sync(&upstream.url(), "test"));
    assert!(text.contains("is not asked for without TLS"), "{text}");
    assert!(upstream.requests().is_empty());
    sandbox.ok(["sync", repo.dir.to_str().unwrap(), "test"]);
}

#[test]
fn old_metadata_is_refused_unless_it_is_meant() {
    let (sandbox, mut repo, upstream) = scene("", 2);
    let save = |name: &str| {
        fs::rename(repo.dir.join("repodata"), sandbox.path(name)).unwrap();
    };
    save("old");
    repo.edit_repomd = |text| text.replace("1700000000", "1700009999");
    repo.packages.pop();
    repo.write();
    let url = upstream.url();
    sandbox.ok(sync(&url, "test:os"));
    let synced = sandbox.snapshot("test");
    // The same bytes as before, with everything that was good about them.
    fs::remove_dir_all(repo.dir.join("repodata")).unwrap();
    fs::rename(sandbox.path("old"), repo.dir.join("repodata")).unwrap();
    let text = sandbox.fails(3, sync(&url, "test:os"));
    assert!(text.contains("revision 1700000000") && text.contains("revision 1700009999"), "{text}");
    assert!(text.contains("--allow-rollback") && text.contains("repodata/repomd.xml"), "{text}");
    assert_eq!(sandbox.snapshot("test"), synced);
    // Elsewhere it is as new as any.
    sandbox.ok(sync(&url, "other:os"));
    sandbox.ok(sync(&url, "test:os").iter().chain(&["--allow-rollback"]));
    assert_ne!(sandbox.snapshot("test"), synced);
}

#[test]
fn a_repository_beyond_its_budget_is_refused_before_a_download() {
    for (limit, what) in
        [("max-files = 5", "more than 5 files"), ("max-bytes = 20000", "more than 20000 bytes")]
    {
        let (sandbox, _, upstream) = scene(&format!("[fetch]\n{limit}\n"), 6);
        let text = sandbox.fails(3, sync(&upstream.url(), "test"));
        assert!(text.contains(what) && text.contains("max-files"), "{text}");
        assert!(upstream.paths().iter().all(|path| path.starts_with("/repodata/")), "{:?}", upstream.paths());
    }
}

#[test]
fn a_package_that_is_listed_twice_is_reported() {
    let (sandbox, mut repo, upstream) = scene("", 1);
    repo.add("elsewhere/p0000.rpm", b"another one of the same name");
    repo.edit_primary = |text| text.replace("<name>p1<", "<name>p0<");
    repo.write();
    let ran = sandbox.run(sync(&upstream.url(), "test"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("p0-0:1-1.noarch is listed several times"), "{ran:?}");
}

#[test]
fn a_known_checksum_with_another_size_is_not_believed() {
    let (sandbox, mut repo, upstream) = scene("", 2);
    sandbox.ok(sync(&upstream.url(), "test"));
    // Whoever knows a checksum gets neither the bytes by another name and size, nor a word about them.
    repo.edit_primary = |text| text.replace("<size package=\"5001\"", "<size package=\"5002\"");
    repo.write();
    let text = sandbox.fails(3, sync(&upstream.url(), "other"));
    assert!(text.contains("Packages/p0001.rpm") && text.contains("5002"), "{text}");
    assert!(!sandbox.ok(["refs"]).contains("other"));
}

#[test]
fn bombs_of_every_format_end_at_the_cap() {
    for compressor in [&["gzip", "-cn"][..], &["xz", "-c"], &["zstd", "-qc"], &["bzip2", "-c"]] {
        if !installed(compressor[0]) {
            continue;
        }
        let (sandbox, mut repo, upstream) = scene("", 1);
        repo.compressor = compressor.to_vec();
        repo.edit_primary =
            |text| text.replace("</metadata>", &format!("{}</metadata>", " ".repeat(64 << 20)));
        repo.write();
        let text = sandbox.fails(3, sync(&upstream.url(), "test").iter().chain(&["--metadata-cap=1M"]));
        assert!(text.contains("larger than 1048576 bytes"), "{compressor:?}: {text}");
    }
}

#[test]
fn entities_and_too_many_attributes_are_refused() {
    /// Changes the text of primary.xml.
    type Edit = fn(String) -> String;
    let laughs = |text: String| {
        let entities: Vec<String> =
            (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
        let document = format!("<!DOCTYPE m [<!ENTITY l0 \"ha\">{}]><metadata", entities.concat());
        text.replace("<metadata", &document).replace("<name>p0<", "<name>&l9;<")
    };
    let unknown = |text: String| text.replace("<name>p0<", "<name>&bomb;<");
    let wide = |text: String| {
        let attributes: Vec<String> = (0..100).map(|n| format!(" a{n}=\"x\"")).collect();
        text.replace("<location ", &format!("<location{} ", attributes.concat()))
    };
    let edits: [(Edit, &str); 3] =
        [(laughs, "DOCTYPE"), (unknown, "bomb"), (wide, "attributes of an element")];
    for (edit, reason) in edits {
        let (sandbox, mut repo, upstream) = scene("", 1);
        repo.edit_primary = edit;
        repo.write();
        let text = sandbox.fails(3, sync(&upstream.url(), "test"));
        assert!(text.contains(reason) && text.contains("-primary.xml.gz"), "{reason}: {text}");
    }
}

/// A password stands in no output, no log, no file of the store and no command line.
#[test]
fn a_password_is_nowhere_to_be_found() {
    const CANARY: &str = "canary-7f3a-hunter2";
    let (sandbox, _, upstream) = scene("", 2);
    let file = sandbox.write("password", format!("{CANARY}\n"));
    let file = format!("--password-file={}", file.display());
    let url = upstream.url().replace("http://", "http://user@");
    upstream.fault("/Packages/p0001.rpm", Fault::Status(404));
    let failed = sandbox.run(sync(&url, "test").iter().chain(&[file.as_str(), "-vv"]));
    assert_eq!(failed.code, 3);
    upstream.heal();
    // A running one is seen by everybody.
    upstream.fault("/Packages/p0001.rpm", Fault::Hang(Some(10)));
    let mut child = sandbox.cfs().args(sync(&url, "test")).arg(&file).spawn().unwrap();
    let mut seen = String::new();
    while !upstream.paths().contains(&"/Packages/p0001.rpm".to_owned()) {
        std::thread::yield_now();
    }
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{name}", child.id())).unwrap();
        seen += &String::from_utf8_lossy(&bytes);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    upstream.heal();
    let done = sandbox.run(sync(&url, "test").iter().chain(&[file.as_str(), "-vv"]));
    assert_eq!(done.code, 0, "{done:?}");
    let encoded = "dXNlcjpjYW5hcnktN2YzYS1odW50ZXIy";
    assert!(upstream.requests().iter().all(|request| request.headers.contains(&encoded.to_lowercase())));
    for text in
        [&failed.stdout, &failed.stderr, &done.stdout, &done.stderr, &seen, &sandbox.ok(["show", "test"])]
    {
        assert!(!text.contains(CANARY), "{text}");
    }
    let mut grep = std::process::Command::new("grep");
    let found = crate::harness::ran(grep.args(["-raFl", "-e", CANARY, "-e", encoded]).arg(sandbox.store()));
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "the password is in the store");
    // In the command line it would be; so that is said.
    let open = sandbox.run(sync(&upstream.url().replace("http://", "http://user:x@"), "test"));
    assert!(open.stderr.contains("--password-file"), "{open:?}");
}

#[test]
fn an_emptied_repository_is_not_promoted() {
    let sandbox =
        Sandbox::with_config("[view.production]\ngates = [\"deletes\"]\nmax-deletes-percent = 50\n");
    let mut repo = Repo::with_packages(&sandbox.path("small"), 2);
    repo.write();
    let large = Repo::with_packages(&sandbox.path("large"), 40);
    large.write();
    let take = |repo: &Repo, target: &str| {
        sandbox.ok(["sync", repo.dir.to_str().unwrap(), target]);
    };
    take(&large, "compose/9/x:large");
    take(&repo, "compose/9/x:small");
    sandbox.ok(["promote", "compose/9/x", "production"]);
    // One that loses some packages is as usual; one that loses all of a few is no large part of the view.
    repo.packages.pop();
    repo.write();
    take(&repo, "compose/9/x:small");
    sandbox.ok(["promote", "compose/9/x", "production"]);
    let _ = fs::remove_dir_all(repo.dir.join("Packages"));
    repo.packages.clear();
    repo.edit_repomd = |text| text.replace(&TIME.to_string(), "1700000500");
    repo.write();
    take(&repo, "compose/9/x:small");
    let text = sandbox.fails(1, ["promote", "compose/9/x", "production"]);
    assert!(text.contains("deletes production:small would have no packages any more"), "{text}");
    // Its old packages do not help those who read the metadata.
    let text = sandbox.fails(1, ["promote", "compose/9/x", "production", "--keep"]);
    assert!(text.contains("small would have no packages any more"), "{text}");
    sandbox.ok(["promote", "compose/9/x", "production", "--force", "deletes", "-m", "it is retired"]);
}
