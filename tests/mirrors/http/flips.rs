//! Requests while refs move.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::harness::installed;
use crate::mirrors::put;

#[test]
fn an_answer_on_its_way_is_of_one_generation() {
    let sandbox = Sandbox::with_store();
    // More than sockets hold, so that most of it is sent after the flip.
    let bytes = 24 << 20;
    let content = |word: &str| word.repeat(bytes / word.len());
    for word in ["old!", "new!"] {
        put(&sandbox.path(format!("{word}/dir/file")), content(word), 1_700_000_000);
        sandbox.ok(["import", word, &format!("compose/{}", word.trim_end_matches('!'))]);
    }
    sandbox.ok(["promote", "compose/old", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    says("An answer is of one generation from its first byte to its last, however long it takes.");
    let mut wire = served.connect();
    wire.say(b"GET /dir/file HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut begun = [0; 64];
    wire.stream.read_exact(&mut begun).unwrap();
    sandbox.ok(["promote", "compose/new", "production"]);
    assert_eq!(
        served.get("/dir/file").body,
        content("new!").into_bytes(),
        "who asks after it gets the new one"
    );
    let mut rest = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let head_end = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let mut all = begun.to_vec();
    while head_end(&all).is_none_or(|end| all.len() < end + 4 + bytes) {
        let count = wire.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the answer ends after {} bytes", all.len());
        all.extend_from_slice(&buffer[..count]);
        if all.len() < 4 << 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    rest.extend_from_slice(&all[head_end(&all).unwrap() + 4..]);
    assert!(rest == content("old!").into_bytes(), "bytes of two generations");

    says(
        "A download that is resumed with `If-Range` after a promotion begins anew when the content is another one.",
    );
    let (old, new) = (sandbox.snapshot("production@{1}"), served.get("/dir/file"));
    let old = served.ask("HEAD", &format!("/snapshots/{old}/dir/file"), "");
    let resume = |etag: &str| {
        let fields = format!("Range: bytes=8-11\r\nIf-Range: {etag}\r\n");
        served.ask("GET", "/dir/file", &fields)
    };
    assert_eq!(resume(old.field("ETag").unwrap()).status, 200);
    let resumed = resume(new.field("ETag").unwrap());
    assert_eq!((resumed.status, resumed.text().as_str()), (206, "new!"));
}

#[test]
fn removed_files_are_found_for_a_while() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "old", "compose/old", &[("os/a-1.rpm", "a1"), ("os/b.rpm", "b"), ("gone/c.rpm", "c")]);
    import(&sandbox, "new", "compose/new", &[("os/a-2.rpm", "a2"), ("os/b.rpm", "b")]);
    sandbox.ok(["promote", "compose/old", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    assert_eq!(served.get("/os/a-1.rpm").field("X-Cfs-Ghost"), None);
    sandbox.ok(["promote", "compose/new", "production"]);
    says(
        "A file that a promotion removed is found by its exact path for 72 hours, or as long as `--grace` says, with \
         the header `X-Cfs-Ghost` that tells until when; no page lists it.",
    );
    for (target, expected) in [("/os/a-1.rpm", "a1"), ("/gone/c.rpm", "c")] {
        let ghost = served.get(target);
        assert_eq!((ghost.status, ghost.text().as_str()), (200, expected), "{target}");
        assert!(ghost.field("X-Cfs-Ghost").unwrap().ends_with(" GMT"), "{ghost:?}");
        assert_eq!(ghost.field("X-Cfs-Snapshot"), Some(sandbox.snapshot("production@{1}").as_str()));
    }
    let pages = served.get("/").text() + &served.get("/os/").text();
    assert!(!pages.contains("gone") && !pages.contains("a-1"), "{pages}");
    assert_eq!(served.get("/gone/").status, 404);
    assert_eq!(served.get("/os/a-2.rpm").field("X-Cfs-Ghost"), None);
    // History has no ghosts.
    let id = sandbox.snapshot("production");
    assert_eq!(served.get(&format!("/snapshots/{id}/os/a-1.rpm")).status, 404);
    let strict = serve(&sandbox, &["--view", "production", "--grace", "0"]);
    assert_eq!(strict.get("/os/a-1.rpm").status, 404);
}

#[test]
fn a_mirror_made_by_wget_during_flips_misses_nothing() {
    if !installed("wget") {
        return;
    }
    let sandbox = Sandbox::with_store();
    crate::mirrors::generations(&sandbox, 3000);
    sandbox.ok(["promote", "compose/g0", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    let still = sandbox.path("still");
    let mirror = |to: &std::path::Path| {
        let mut command = Command::new("wget");
        command.args(["-r", "-np", "-nH", "-nv", "--reject=index.html*", "-P"]).arg(to);
        crate::harness::ran(command.arg(format!("{}/", served.url)))
    };
    assert_eq!(mirror(&still).code, 0);
    assert_eq!(crate::mirrors::generation_of(&still), 0, "a pull of a still view is the view");
    let ((), flips) = crate::mirrors::while_flipping(&sandbox, 1, || {
        for round in 0..12 {
            // Each request is of one generation; what was listed a moment ago is still there.
            let pulled = mirror(&sandbox.path(format!("flipping-{round}")));
            assert_eq!(pulled.code, 0, "{pulled:?}");
        }
    });
    assert!(flips > 2, "{flips} flips");
    assert_eq!(served.count("cfs_http_bad_blobs_total"), 0);
}
