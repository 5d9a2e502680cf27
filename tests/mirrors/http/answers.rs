//! Addresses, names and headers.

use std::fs;

use super::*;
use crate::harness::{installed, ran};
use crate::mirrors::ok;

/// What one server is asked about in most of these tests.
fn site() -> (Sandbox, Served) {
    let sandbox = Sandbox::with_store();
    let files = [
        ("os/Packages/a+b~1^2.rpm", "a package"),
        ("os/repodata/repomd.xml", "<repomd/>"),
        ("os/.treeinfo", "[general]"),
        ("os/a b&c <d>", "odd"),
        ("empty", ""),
        ("digits", "0123456789"),
        ("x.iso", "an image"),
    ];
    for (link, target) in
        [("latest", "os"), ("os/up", "../digits"), ("out", "../../etc/passwd"), ("dangling", "x")]
    {
        let path = sandbox.path(format!("tree/{link}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("tree/absolute")).unwrap();
    import(&sandbox, "tree", "production", &files);
    let served = serve(&sandbox, &["--view", "production"]);
    (sandbox, served)
}

#[test]
fn a_file_is_told_and_sent_exactly() {
    let (sandbox, served) = site();
    says(
        "`GET` and `HEAD` tell the exact length and the same headers, and nothing is compressed or changed on the \
         way, whatever the client accepts.",
    );
    says("The entity tag is strong and is the BLAKE3 of the content; `Last-Modified` is the file's time.");
    says("Every answer about a path of a snapshot names the snapshot in the header `X-Cfs-Snapshot`.");
    let get = served.ask("GET", "/os/repodata/repomd.xml", "Accept-Encoding: gzip, br\r\n");
    assert_eq!((get.status, get.text().as_str()), (200, "<repomd/>"));
    assert_eq!(get.field("Content-Length"), Some("9"));
    assert_eq!(get.field("ETag").unwrap(), format!("\"{}\"", blake3::hash(b"<repomd/>")));
    // The tree's times say how long a file is.
    assert_eq!(get.field("Last-Modified"), Some("Tue, 14 Nov 2023 22:13:29 GMT"));
    assert_eq!(get.field("Content-Encoding"), None);
    let snapshot = sandbox.snapshot("production");
    assert_eq!(get.field("X-Cfs-Snapshot"), Some(snapshot.as_str()));
    let head = served.ask("HEAD", "/os/repodata/repomd.xml", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let without_date = |response: &Response| {
        let mut fields = response.fields.clone();
        fields.retain(|(name, _)| name != "Date");
        fields
    };
    assert_eq!(without_date(&head), without_date(&get));
    for target in ["/nothing", "/os", "/os/", "/digits/", "/nothing%0a"] {
        assert_eq!(served.get(target).field("X-Cfs-Snapshot"), Some(snapshot.as_str()), "{target}");
    }
    assert_eq!(served.get("/empty").field("Content-Length"), Some("0"));
}

#[test]
fn names_are_found_however_they_are_written() {
    let (_sandbox, served) = site();
    says("A name is found raw and percent-encoded; names that begin with a dot are served like all others.");
    for target in [
        "/os/Packages/a+b~1^2.rpm",
        "/os/Packages/a%2Bb%7E1%5E2.rpm",
        "/os/Packages/a%2bb~1^2%2Erpm",
        "//os///Packages/./a+b~1^2.rpm",
        "/os/repodata/../Packages/a+b~1^2.rpm",
        "/os/Packages/a+b~1^2.rpm?query=/../..",
        "http://anything.example/os/Packages/a+b~1^2.rpm",
    ] {
        assert_eq!(served.get(target).text(), "a package", "{target}");
    }
    assert_eq!(served.get("/os/.treeinfo").text(), "[general]");
    assert_eq!(served.get("/os/a%20b&c%20%3Cd%3E").text(), "odd");
    says("A target that leads above the top or is badly encoded is 400; what no tree can hold is 404.");
    for target in ["/..", "/%2e%2e/%2e%2e/etc/passwd", "/os/../../x", "/%", "/%00", "/a%zz", "x", "/#"] {
        assert_eq!(served.get(target).status, 400, "{target}");
    }
    for target in ["/%0a", "/%FF", "/os/Packages/a b", "/digits/x", "/digits/"] {
        let status = served.get(&target.replace(' ', "%20")).status;
        assert_eq!(status, 404, "{target}");
    }
}

#[test]
fn symlinks_are_followed_inside() {
    let (_sandbox, served) = site();
    says(
        "Symlinks are followed inside the snapshot; one that leads out of it, is absolute or dangles is 404.",
    );
    assert_eq!(served.get("/latest/.treeinfo").text(), "[general]");
    assert_eq!(served.get("/os/up").text(), "0123456789");
    assert_eq!(served.get("/latest/up").text(), "0123456789");
    for target in ["/out", "/absolute", "/dangling", "/out/x"] {
        assert_eq!(served.get(target).status, 404, "{target}");
    }
    // A link to a directory is asked for like a directory.
    assert_eq!(served.get("/latest").field("Location"), Some("/latest/"));
}

#[test]
fn a_directory_is_a_page_of_links() {
    let (_sandbox, served) = site();
    says(
        "A directory without a slash at the end is redirected to the one with it, whose page lists the names in \
         order, escaped, with times and sizes.",
    );
    let redirect = served.ask("GET", "/os/repodata", "");
    assert_eq!((redirect.status, redirect.field("Location")), (301, Some("/os/repodata/")));
    let page = served.get("/");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let hrefs = |page: &Response| -> Vec<String> {
        let text = page.text();
        let parts = text.split("href=\"").skip(1);
        parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!(hrefs(&page), ["digits", "empty", "latest/", "os/", "x.iso"]);
    let page = served.get("/os/");
    assert_eq!(hrefs(&page), ["../", ".treeinfo", "Packages/", "a%20b&amp;c%20%3Cd%3E", "repodata/", "up"]);
    assert!(page.text().contains(">a b&amp;c &lt;d&gt;</a>"), "{}", page.text());
    assert!(page.text().contains("14-Nov-2023 22:13"), "{}", page.text());
    let etag = page.field("ETag").unwrap();
    assert_eq!(served.ask("GET", "/os/", &format!("If-None-Match: {etag}\r\n")).status, 304);
}

#[test]
fn parts_and_conditions_are_those_of_the_standard() {
    let (_sandbox, served) = site();
    says(
        "One range is answered with 206, several with `multipart/byteranges` in the order of the content, none that \
         can be with 416, and more than 512 with the whole.",
    );
    let range = |range: &str| served.ask("GET", "/digits", &format!("Range: bytes={range}\r\n"));
    assert_eq!((range("2-3").status, range("2-3").text().as_str()), (206, "23"));
    assert_eq!(range("2-3").field("Content-Range"), Some("bytes 2-3/10"));
    assert_eq!(range("7-").text(), "789");
    assert_eq!(range("-2").text(), "89");
    assert_eq!((range("10-").status, range("10-").field("Content-Range")), (416, Some("bytes */10")));
    let many = range("8-8,0-1");
    let boundary =
        many.field("Content-Type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |span: &str, text: &str| {
        let media = "application/octet-stream";
        format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes {span}/10\r\n\r\n{text}")
    };
    assert_eq!(many.text(), part("0-1", "01") + &part("8-8", "8") + &format!("\r\n--{boundary}--\r\n"));
    let too_many: Vec<String> = (0..600).map(|n| format!("{n}-{n}")).collect();
    assert_eq!(range(&too_many.join(",")).text(), "0123456789");

    says(
        "`If-None-Match` and `If-Modified-Since` give 304, `If-Match` and `If-Unmodified-Since` give 412, and a range \
         with an `If-Range` that is not of exactly this content is answered with the whole.",
    );
    let get = served.get("/digits");
    let (etag, date) = (get.field("ETag").unwrap(), get.field("Last-Modified").unwrap());
    let ask = |fields: &str| served.ask("GET", "/digits", fields).status;
    assert_eq!(ask(&format!("If-None-Match: \"x\", {etag}\r\n")), 304);
    assert_eq!(ask(&format!("If-Modified-Since: {date}\r\n")), 304);
    assert_eq!(ask("If-None-Match: \"x\"\r\n"), 200);
    assert_eq!(ask("If-Match: \"x\"\r\n"), 412);
    assert_eq!(ask("If-Unmodified-Since: Tue, 14 Nov 2000 22:13:20 GMT\r\n"), 412);
    assert_eq!(ask(&format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n")), 206);
    assert_eq!(ask("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"), 200);
}

#[test]
fn caches_are_told_what_they_may_keep() {
    let (sandbox, served) = site();
    says(
        "Packages and metadata with a checksum in their names may be kept for ever, images for a day, what is not \
         there or forbidden for ten seconds; everything else has to be asked for again each time.",
    );
    let keep = |target: &str| served.get(target).field("Cache-Control").unwrap().to_owned();
    assert_eq!(keep("/os/Packages/a+b~1^2.rpm"), "public, max-age=31536000, immutable");
    assert_eq!(keep("/x.iso"), "public, max-age=86400");
    assert_eq!(keep("/nothing"), "public, max-age=10");
    for target in ["/os/repodata/repomd.xml", "/os/.treeinfo", "/digits", "/os/", "/os/up"] {
        assert_eq!(keep(target), "no-cache", "{target}");
    }
    says("What is asked for by the id of its snapshot may be kept for ever.");
    let snapshot = sandbox.snapshot("production");
    let target = format!("/snapshots/{snapshot}/os/repodata/repomd.xml");
    assert_eq!(keep(&target), "public, max-age=31536000, immutable");
}

#[test]
fn history_has_addresses() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "1", "production", &[("file", "one")]);
    import(&sandbox, "2", "production", &[("file", "other")]);
    import(&sandbox, "3", "compose/9/secret", &[("file", "embargoed")]);
    import(&sandbox, "4", "staging", &[("file", "staged")]);
    let served = serve(&sandbox, &["--view", "production"]);
    says(
        "With `--view REF` the address / is the ref as it is now, `/snapshots/<id>/` every snapshot that the ref names \
         or has named, and `/at/<REF>/<time>/` the ref as it was; other refs cannot be reached.",
    );
    assert_eq!(served.get("/file").text(), "other");
    let (old, secret) = (sandbox.snapshot("production@{1}"), sandbox.snapshot("compose/9/secret"));
    assert_eq!(served.get(&format!("/snapshots/{old}/file")).text(), "one");
    assert_eq!(served.get(&format!("/snapshots/{old}/file")).field("X-Cfs-Snapshot"), Some(old.as_str()));
    assert_eq!(served.get("/at/production/29991231T235959Z/file").text(), "other");
    let hidden = [
        format!("/snapshots/{secret}/file"),
        "/at/staging/29991231T235959Z/file".to_owned(),
        "/at/production/19991231T235959Z/file".to_owned(),
        "/compose/9/secret/file".to_owned(),
        "/snapshots/".to_owned(),
    ];
    for target in hidden {
        assert_eq!(served.get(&target).status, 404, "{target}");
    }
    let everything = serve(&sandbox, &[]);
    says("Without `--view` the addresses are compose/, views/, snapshots/ and at/, as on a mount.");
    for (target, expected) in [
        ("/compose/9/secret/file".to_owned(), "embargoed"),
        ("/views/staging/file".to_owned(), "staged"),
        (format!("/snapshots/{old}/file"), "one"),
        ("/at/staging/29991231T235959Z/file".to_owned(), "staged"),
    ] {
        assert_eq!(everything.get(&target).text(), expected, "{target}");
    }
    for (target, expected) in
        [("/", "views/"), ("/compose/", "9/"), ("/compose/9/", "secret/"), ("/views/", "staging/")]
    {
        let page = everything.get(target).text();
        assert!(page.contains(&format!("href=\"{expected}\"")), "{target}: {page}");
    }
    assert_eq!(everything.get("/views").field("Location"), Some("/views/"));
    assert_eq!(everything.get("/views/compose/9/secret/file").status, 404);
}

#[test]
fn embargoed_paths_are_forbidden_until_the_flip_that_lifts_it() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "compose/9", &[("9.7/os/a.rpm", "a"), ("9.6/os/a.rpm", "old")]);
    sandbox.ok(["promote", "compose/9", "production"]);
    sandbox.ok(["policy", "set", "production:9.7", "--mode", "0750", "--group", "10005"]);
    let served = serve(&sandbox, &["--view", "production"]);
    says(
        "What others than owner and group may not read is 403, with everything below it, and no page lists it.",
    );
    for target in ["/9.7", "/9.7/", "/9.7/os/a.rpm", "/9.7/nothing", "/9.6/../9.7/os/", "/%39.7/os/a.rpm"] {
        let answer = served.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (403, "403 Forbidden\n"), "{target}");
    }
    assert!(!served.get("/").text().contains("9.7"));
    assert_eq!(served.get("/9.6/os/a.rpm").text(), "old");
    let embargoed = sandbox.snapshot("production");
    sandbox.ok(["policy", "unset", "production:9.7"]);
    assert_eq!(served.get("/9.7/os/a.rpm").text(), "a");
    assert!(served.get("/").text().contains("href=\"9.7/\""));
    // History stays as it was.
    assert_eq!(served.get(&format!("/snapshots/{embargoed}/9.7/os/a.rpm")).status, 403);
}

#[test]
fn damaged_blobs_are_never_sent() {
    let (sandbox, served) = site();
    says(
        "A blob that is missing, has the wrong size, or, up to 64 MiB, has other bytes than its name says is 500, and \
         the log names it; one that is damaged in place is noticed at the next request.",
    );
    let blob = |content: &[u8]| {
        let hex = blake3::hash(content).to_string();
        sandbox.store().join("blobs").join(&hex[..2]).join(&hex[2..])
    };
    let write = |content: &[u8], bytes: &[u8]| {
        let path = blob(content);
        ok(std::process::Command::new("chmod").arg("u+w").arg(&path));
        fs::write(path, bytes).unwrap();
    };
    assert_eq!(served.get("/digits").text(), "0123456789");
    write(b"0123456789", b"0123456780");
    write(b"an image", b"an imag");
    fs::remove_file(blob(b"a package")).unwrap();
    for target in ["/digits", "/x.iso", "/os/Packages/a+b~1^2.rpm"] {
        let answer = served.get(target);
        assert_eq!((answer.status, answer.field("ETag")), (500, None), "{target}");
    }
    let log = fs::read_to_string(sandbox.path("serve.log")).unwrap();
    for content in [b"0123456789".as_slice(), b"an image", b"a package"] {
        let id = blake3::hash(content).to_string();
        assert!(log.contains(&id), "{id} is not in {log}");
    }
    assert_eq!(served.get("/os/.treeinfo").status, 200, "what is whole stays readable");
    // A whole one in its place is served again.
    write(b"0123456789", b"0123456789");
    assert_eq!(served.get("/digits").text(), "0123456789");
}

#[test]
fn curl_gets_what_it_asks_for() {
    if !installed("curl") {
        return;
    }
    let (sandbox, served) = site();
    let curl = |args: &[&str], path: &str| {
        let mut command = std::process::Command::new("curl");
        ran(command.args(["-sS", "-f"]).args(args).arg(format!("{}{path}", served.url)))
    };
    assert_eq!(curl(&[], "/digits").stdout, "0123456789");
    assert_eq!(curl(&["-0"], "/digits").stdout, "0123456789", "HTTP/1.0");
    assert_eq!(curl(&["-r", "2-4"], "/digits").stdout, "234");
    assert!(curl(&["-r", "0-1,5-6"], "/digits").stdout.contains("Content-Range: bytes 5-6/10\r\n\r\n56\r\n"));
    assert_eq!(curl(&["-L"], "/latest/../os/up").stdout, "0123456789");
    assert_eq!(curl(&["--path-as-is"], "/../x").code, 22, "400 is an error");
    // A download that broke off goes on where it was.
    let part = sandbox.write("part", "01234");
    assert_eq!(curl(&["-C", "-", "-o", part.to_str().unwrap()], "/digits").code, 0);
    assert_eq!(fs::read_to_string(&part).unwrap(), "0123456789");
    let etag = sandbox.path("etag").display().to_string();
    let saved = sandbox.path("saved").display().to_string();
    for expected in ["200", "304"] {
        let args = ["--etag-save", &etag, "--etag-compare", &etag, "-o", &saved, "-w", "%{http_code}"];
        assert_eq!(curl(&args, "/digits").stdout, expected);
    }
    let upload = curl(&["-X", "POST", "-d", "x=y", "-o", "/dev/null", "-w", "%{http_code}"], "/digits");
    assert_eq!(upload.stdout, "405");
}
