//! Upstreams that do what they should not. Each time: an error that names the file, the ref as it was,
//! nothing outside the store, and the next sync of a healed upstream succeeds.

use std::path::Path;

use cfs_indexer::checksum::Algorithm;

use super::{Scene, stats};
use crate::harness::repo::{Repo, content};
use crate::harness::upstream::Fault;

const VICTIM: &str = "/Packages/p0003.rpm";

/// Syncs with a fault at one package; the error must name its URL and say `reason`, and a sync afterwards
/// must succeed. Returns the requests for the package in that sync.
#[track_caller]
fn fault_fails(fault: &Fault, reason: &str) -> Vec<Option<usize>> {
    let scene = Scene::new(8);
    scene.sandbox.ok(["sync", scene.repo.dir.to_str().unwrap(), "before"]);
    scene.upstream.fault(VICTIM, fault.clone());
    let mut repo = scene.repo.clone();
    for package in &mut repo.packages {
        package.content.extend_from_slice(b"changed since");
    }
    repo.write();
    let before = stats(scene.sandbox.path("").as_path());
    let text = scene.fails(&[]);
    let url = format!("{}{}", scene.upstream.url(), &VICTIM[1..]);
    assert!(text.contains(&url) && text.contains(reason), "{fault:?}: {text}");
    assert!(text.contains("resume"), "{text}");
    assert_unchanged(&scene, &before);
    let asked = scene.file_requests().iter().filter(|path| *path != VICTIM).count();
    assert_eq!(asked, 7 + 1, "the other packages and primary; comps.xml was known");

    scene.upstream.heal();
    scene.sync();
    assert_eq!(scene.sandbox.ok(["cat", "before:Packages/p0003.rpm"]).len(), super::lossy(&content(3)));
    let requests = scene.upstream.requests();
    assert!(scene.file_requests().iter().all(|path| path == VICTIM), "{requests:?}");
    requests.iter().filter(|request| request.path == VICTIM).map(|request| request.from).collect()
}

/// The ref does not exist, and outside of the store all is as before.
#[track_caller]
fn assert_unchanged(scene: &Scene, before: &str) {
    let refs = scene.sandbox.ok(["refs"]);
    assert!(!refs.contains("test"), "{refs}");
    let outside = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("./store")).map(str::to_owned).collect()
    };
    assert_eq!(outside(&stats(&scene.sandbox.path(""))), outside(before));
    assert!(!Path::new("/tmp/cfs-test-escaped").exists());
}

#[test]
fn a_download_that_breaks_off_is_resumed_by_the_next_run() {
    // Two attempts, each of which brings 1,000 bytes.
    assert_eq!(fault_fails(&Fault::Truncate(1000), "attempt 2 of 2 failed"), [Some(2000)]);
    assert_eq!(fault_fails(&Fault::End(1000), "ends after 2000 of"), [Some(2000)]);
}

#[test]
fn other_bytes_are_refused_and_not_kept() {
    let mut wrong = content(3);
    wrong.extend_from_slice(b"changed sincE");
    assert_eq!(fault_fails(&Fault::Content(wrong), "has the checksum sha256:"), [None]);
}

#[test]
fn another_length_is_refused() {
    assert_eq!(fault_fails(&Fault::Content(b"short".into()), "the metadata declares 5016"), [None]);
    assert_eq!(fault_fails(&Fault::Content(vec![0; 1 << 20]), "has 1048576 bytes or more"), [None]);
    assert_eq!(fault_fails(&Fault::Length(10), "has 10 bytes or more"), [None]);
    assert_eq!(fault_fails(&Fault::Length(1 << 40), "has 1099511627776 bytes"), [None]);
}

#[test]
fn a_missing_file_is_named() {
    assert_eq!(fault_fails(&Fault::Status(404), "is not there (404"), [None]);
    assert_eq!(fault_fails(&Fault::Status(403), "answers 403"), [None]);
}

#[test]
fn a_server_that_hangs_closes_trickles_or_fails_is_given_up() {
    assert_eq!(fault_fails(&Fault::Close, "the connection failed"), [None]);
    assert_eq!(fault_fails(&Fault::Hang(Some(500)), "attempt 2 of 2 failed"), [Some(1000)]);
    assert_eq!(fault_fails(&Fault::Status(503), "answers 503"), [None]);
    let from = fault_fails(&Fault::Trickle, "the server sent");
    assert!(from[0].is_some_and(|from| from > 0), "{from:?}");
}

#[test]
fn redirects_are_followed_a_few_times_and_only_to_the_web() {
    assert_eq!(fault_fails(&Fault::Redirect(VICTIM.into()), "redirect"), [None]);
    assert_eq!(fault_fails(&Fault::Redirect("file:///etc/passwd".into()), ""), [None]);
    let scene = Scene::new(4);
    scene.upstream.fault(VICTIM, Fault::Redirect("/Packages/../Packages/p0003.rpm?mirror".into()));
    let text = scene.fails(&[]);
    assert!(text.contains("404"), "the server knows no queries: {text}");

    let scene = Scene::new(2);
    scene.upstream.fault("/Packages/p0000.rpm", Fault::Status(404));
    scene.upstream.fault("/Packages/p0001.rpm", Fault::Redirect("/moved/p1".into()));
    let moved = scene.repo.dir.join("moved/p1");
    std::fs::create_dir(moved.parent().unwrap()).unwrap();
    std::fs::copy(scene.repo.dir.join("Packages/p0001.rpm"), moved).unwrap();
    let text = scene.fails(&[]);
    assert!(!text.contains("p0001.rpm") && text.contains("p0000.rpm"), "{text}");
}

#[test]
fn a_fault_that_passes_is_got_over() {
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Close,
        Fault::Truncate(100),
        Fault::End(100),
        Fault::Hang(Some(100)),
    ] {
        let scene = Scene::new(4);
        scene.upstream.fault_times(VICTIM, fault.clone(), 1);
        scene.upstream.fault_times("/repodata/repomd.xml", fault.clone(), 1);
        // Nothing says where repomd.xml ends when no length is announced.
        if matches!(fault, Fault::End(_)) {
            scene.upstream.fault_times("/repodata/repomd.xml", Fault::Close, 1);
        }
        let report = scene.sync();
        assert_eq!(report["files"], 7, "{fault:?}");
    }
}

#[test]
fn a_server_that_cannot_resume_starts_over() {
    for fault in [Fault::NoRanges, Fault::WrongRange] {
        let scene = Scene::new(4);
        scene.upstream.fault(VICTIM, Fault::Truncate(700));
        scene.fails(&[]);
        scene.upstream.heal();
        scene.upstream.fault(VICTIM, fault.clone());
        let report = scene.sync();
        assert_eq!(report["files"], 7, "{fault:?}");
        let requests = scene.upstream.requests();
        let first = requests.iter().find(|request| request.path == VICTIM).unwrap();
        assert_eq!(first.from, Some(1400));
    }
}

/// The only download of `scene` that broke off, as the store keeps it.
fn broken_off(scene: &Scene) -> std::path::PathBuf {
    scene.upstream.fault(VICTIM, Fault::Truncate(700));
    scene.fails(&[]);
    let mut found = Vec::new();
    for dir in std::fs::read_dir(scene.sandbox.store().join("partial")).unwrap() {
        found.extend(std::fs::read_dir(dir.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    scene.upstream.heal();
    found.into_iter().find(|path| path.metadata().unwrap().len() == 1400).unwrap()
}

#[test]
fn what_an_earlier_run_finished_is_never_written_to() {
    let scene = Scene::new(4);
    let partial = broken_off(&scene);
    let blob = scene.sandbox.path("blob");
    std::fs::hard_link(&partial, &blob).unwrap();
    let before = std::fs::read(&blob).unwrap();
    std::fs::set_permissions(&partial, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    scene.sync();
    assert!(std::fs::read(&blob).unwrap() == before, "a blob under its old name got more bytes");
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "test:os", out.to_str().unwrap()]);
    assert!(std::fs::read(out.join(&VICTIM[1..])).unwrap() == content(3));
}

#[test]
fn what_was_left_by_another_run_is_not_believed() {
    for garbage in [vec![b'x'; 1400], vec![b'x'; content(3).len()], vec![b'x'; 9000]] {
        let scene = Scene::new(4);
        std::fs::write(broken_off(&scene), &garbage).unwrap();
        scene.sync();
        let out = scene.sandbox.path("out");
        scene.sandbox.ok(["checkout", "test:os", out.to_str().unwrap()]);
        assert!(std::fs::read(out.join(&VICTIM[1..])).unwrap() == content(3));
    }
}

#[test]
fn all_failures_are_listed_and_a_dead_server_is_not_asked_for_ever() {
    let scene = Scene::new(60);
    for number in 0..60 {
        let fault = if number % 2 == 0 { Fault::Status(404) } else { Fault::Close };
        scene.upstream.fault(&format!("/Packages/p{number:04}.rpm"), fault);
    }
    let text = scene.fails(&[]);
    for number in 0..60 {
        assert!(text.contains(&format!("p{number:04}.rpm: ")), "{number}: {text}");
    }
    assert!(text.contains("60 files cannot be had") && text.contains("was not tried"), "{text}");
    assert!(scene.file_requests().len() < 80, "{:?}", scene.file_requests().len());
    let json = scene.fails(&["--json"]);
    let error: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(error["details"].as_array().unwrap().len(), 60);
}

#[test]
fn documents_are_bounded_and_named() {
    for (path, fault, reason) in [
        ("/repodata/repomd.xml", Fault::Status(404), "there is no repository"),
        ("/repodata/repomd.xml", Fault::Content(vec![b' '; 17 << 20]), "larger than 16777216 bytes"),
        ("/repodata/repomd.xml", Fault::Content(b"<html></html>".into()), "is a <html> document"),
        ("/repodata/repomd.xml", Fault::Hang(None), "the server sent 0 bytes"),
        ("/repodata/repomd.xml.asc", Fault::Status(500), "answers 500"),
        ("/repodata/comps.xml", Fault::Status(404), "is not there"),
    ] {
        let scene = Scene::new(1);
        let before = stats(&scene.sandbox.path(""));
        scene.upstream.fault(path, fault);
        // Ten seconds for connecting are added to the wait for an answer.
        let text = scene.fails(&["--connect-timeout=0.5"]);
        assert!(text.contains(reason) && text.contains(path), "{path}: {text}");
        assert_unchanged(&scene, &before);
    }
}

/// A sync of what `make` makes of a repository must fail, say `reasons` and change nothing.
#[track_caller]
fn repo_fails(make: impl FnOnce(&mut Repo), more: &[&str], reasons: &[&str]) {
    let mut scene = Scene::new(2);
    make(&mut scene.repo);
    scene.repo.write();
    let before = stats(&scene.sandbox.path(""));
    let text = scene.fails(more);
    for reason in reasons {
        assert!(text.contains(reason), "{reason}: {text}");
    }
    assert!(text.contains(&scene.upstream.url()), "{text}");
    assert_unchanged(&scene, &before);
    // A directory as upstream must not be left either.
    let dir = scene.repo.dir.to_str().unwrap();
    scene.sandbox.fails(3, ["sync", dir, "test:os"].into_iter().chain(more.iter().copied()));
    assert_unchanged(&scene, &before);
}

#[test]
fn locations_outside_of_the_repository_are_refused() {
    for href in [
        "../../../../../../../../tmp/cfs-test-escaped",
        "/tmp/cfs-test-escaped",
        "../upstream-evil/escaped.rpm",
        "Packages/.",
        "Packages/../../escaped.rpm",
        "..",
        "./a.rpm",
        "Packages//a.rpm",
        "Packages/",
        "",
        "%2e%2e/%2e%2e/escaped.rpm",
        "Packages/%2e%2e%2f%2e%2e%2fescaped.rpm",
        "%252e%252e/escaped.rpm",
        "%2Ftmp%2Fcfs-test-escaped",
        "..\\escaped.rpm",
        "a%00.rpm",
        "a\nb.rpm",
        "a\tb.rpm",
        "http://elsewhere/a.rpm",
        "file:///etc/passwd",
    ] {
        let make = |repo: &mut Repo| repo.add(href, b"escaped");
        repo_fails(make, &[], &["-primary.xml.gz: cannot be used", "location"]);
    }
    let nul = |repo: &mut Repo| repo.edit_primary = |text| text.replace("p0001.rpm", "a&#0;b.rpm");
    repo_fails(nul, &[], &["-primary.xml.gz: cannot be used"]);
    let based = |repo: &mut Repo| {
        repo.edit_primary = |text| text.replace("<location ", "<location xml:base=\"http://elsewhere/\" ");
    };
    repo_fails(based, &[], &["xml:base", "http://elsewhere/"]);
    let record = |repo: &mut Repo| {
        repo.edit_repomd = |text| text.replace("repodata/comps.xml", "../../../tmp/cfs-test-escaped");
    };
    repo_fails(record, &[], &["repodata/repomd.xml: cannot be used", "../../../tmp/cfs-test-escaped"]);
}

#[test]
fn names_that_collide_are_refused() {
    repo_fails(|repo| repo.add("Packages/p0000.rpm", b"other"), &[], &["Packages/p0000.rpm", "listed twice"]);
    repo_fails(|repo| repo.add("repodata/repomd.xml", b"mine"), &[], &["repodata/repomd.xml"]);
    repo_fails(|repo| repo.add("repodata/comps.xml", b"mine"), &[], &["repodata/comps.xml"]);
    let inside = |repo: &mut Repo| {
        repo.packages[0].href = "a".into();
        repo.packages[1].href = "a/b".into();
        std::fs::create_dir_all(repo.dir.join("moved")).unwrap();
        repo.dir.push("moved");
    };
    let mut scene = Scene::new(2);
    inside(&mut scene.repo);
    scene.repo.packages[1].href = "x".into();
    scene.repo.edit_primary = |text| text.replace("href=\"x\"", "href=\"a/b\"");
    scene.repo.write();
    let text = scene.sandbox.fails(3, ["sync", &format!("{}moved", scene.upstream.url()), "test"]);
    assert!(text.contains("names a as a file and as something else"), "{text}");
}

#[test]
fn hostile_xml_and_bombs_are_refused() {
    let doctype = |repo: &mut Repo| {
        repo.edit_primary = |text| {
            text.replace("<metadata", "<!DOCTYPE m [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><metadata")
        };
    };
    repo_fails(doctype, &[], &["-primary.xml.gz: cannot be used", "DOCTYPE"]);
    let doctype = |repo: &mut Repo| repo.edit_repomd = |text| text.replace("<repomd", "<!DOCTYPE r><repomd");
    repo_fails(doctype, &[], &["repodata/repomd.xml: cannot be used", "DOCTYPE"]);
    let deep = |repo: &mut Repo| repo.edit_primary = |_| "<metadata>".repeat(100_000);
    repo_fails(deep, &[], &["-primary.xml.gz: cannot be used", "inside each other"]);
    let endless = |repo: &mut Repo| {
        repo.edit_primary = |text| text.replace("<name>p0<", &format!("<name>{}<", "x".repeat(20 << 20)));
    };
    repo_fails(endless, &[], &["-primary.xml.gz: cannot be used", "bytes of one text"]);
    let cut = |repo: &mut Repo| repo.edit_primary = |text| text[..text.len() - 20].to_owned();
    repo_fails(cut, &[], &["-primary.xml.gz: cannot be used"]);

    let bomb = |repo: &mut Repo| {
        repo.edit_primary =
            |text| text.replace("</metadata>", &format!("{}</metadata>", " ".repeat(100 << 20)));
        repo.open_size = Some(5000);
    };
    repo_fails(bomb, &[], &["-primary.xml.gz: cannot be used", "larger than 5000 bytes when uncompressed"]);
    let honest = |repo: &mut Repo| {
        repo.edit_primary =
            |text| text.replace("</metadata>", &format!("{}</metadata>", " ".repeat(100 << 20)));
    };
    let limited = ["--metadata-cap=8M"];
    repo_fails(honest, &limited, &["-primary.xml.gz", "larger than 8388608 bytes when uncompressed"]);
}

#[test]
fn declared_sizes_beyond_the_limits_are_refused_before_a_byte_is_asked_for() {
    let huge = |repo: &mut Repo| {
        repo.edit_primary = |text| text.replace("<size package=\"5000\"", "<size package=\"99999999999999\"");
    };
    repo_fails(huge, &[], &["Packages/p0000.rpm", "is declared with 99999999999999 bytes"]);
    let scene = Scene::new(3);
    let text = scene.fails(&["--package-cap=4K"]);
    assert!(text.contains("at most 4096 are allowed") && text.contains("--package-cap"), "{text}");
    assert!(scene.file_requests().iter().all(|path| path.starts_with("/repodata/")));
}

#[test]
fn checksums_that_can_be_forged_are_refused_unless_accepted() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha1] {
        let mut scene = Scene::new(3);
        scene.repo.algorithm = algorithm;
        scene.repo.write();
        let text = scene.fails(&[]);
        assert!(text.contains("can be forged") && text.contains("--allow-weak-checksums"), "{text}");
        let args = ["sync", &scene.upstream.url(), "test:os", "--allow-weak-checksums"];
        scene.sandbox.ok(args);
        scene.upstream.heal();
        scene.sandbox.ok(args);
        assert_eq!(scene.file_requests(), [] as [&str; 0], "nothing has changed");
        // Such a checksum never stands for bytes that were not read.
        scene.sandbox.ok(["sync", &scene.upstream.url(), "other", "--allow-weak-checksums"]);
        assert_eq!(scene.file_requests().len(), 5);
    }
}

#[test]
fn passwords_in_addresses_are_sent_and_not_shown() {
    let scene = Scene::new(2);
    let url = scene.upstream.url().replace("http://", "http://user:hunter2@");
    scene.upstream.fault("/Packages/p0001.rpm", Fault::Status(404));
    let text = scene.sandbox.fails(3, ["sync", &url, "test:os"]);
    scene.upstream.heal();
    let text = text + &scene.sandbox.ok(["sync", &url, "test:os"]) + &scene.sandbox.ok(["show", "test"]);
    assert!(!text.contains("hunter2") && text.contains("user@"), "{text}");
    let sent = scene.upstream.requests();
    assert!(sent.iter().all(|request| request.headers.contains("authorization: basic")), "{sent:?}");
}
