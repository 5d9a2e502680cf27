use super::*;
use crate::http::head;

const CONTENT: &[u8] = b"0123456789";
const MTIME: i64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn snapshot() -> SnapshotId {
    SnapshotId::of(b"snapshot")
}

fn file() -> Found {
    let thing = Thing::File { blob: BlobId::of(CONTENT), size_bytes: 10, mtime: MTIME };
    Found { snapshot: Some(snapshot()), is_permanent: false, is_link: false, ghost_until: None, thing }
}

fn answer(method: &str, target: &str, fields: &str, found: &Found) -> Answer {
    let text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let (request, _) = head::parse(text.as_bytes()).unwrap().unwrap();
    if let Some(answer) = to_misuse(&request) {
        return answer;
    }
    let asked = request.target.clone().unwrap();
    to_request(&request, &asked.path.unwrap(), asked.as_dir, found.clone())
}

/// What a client gets: the status, the fields, and the body where the content is [`CONTENT`].
fn sent(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let mut head = Vec::new();
    answer.write_head("now", None, &mut head);
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut body = Vec::new();
    let mut add = |content: &[u8], parts: &[Part]| {
        for part in parts {
            body.extend_from_slice(&part.before);
            let index = |at: u64| usize::try_from(at).unwrap();
            body.extend_from_slice(&content[index(part.range.start)..index(part.range.end)]);
        }
    };
    match &answer.body {
        Body::Nothing => {}
        Body::Bytes(bytes) => body.extend_from_slice(bytes),
        Body::Page(page, parts) => add(page, parts),
        Body::Blob { parts, .. } => add(CONTENT, parts),
    }
    let status = status.split(' ').nth(1).unwrap().parse().unwrap();
    (status, lines.filter(|line| !line.is_empty()).collect(), body)
}

fn field(fields: &[String], name: &str) -> Option<String> {
    let mut found = fields.iter().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
    let value = found.next().map(str::to_owned);
    assert!(found.next().is_none(), "{name} stands twice in {fields:?}");
    value
}

#[test]
fn a_file_is_sent_with_everything_that_is_known_of_it() {
    let (status, fields, body) = sent(&answer("GET", "/a/b.xml", "", &file()));
    assert_eq!((status, body.as_slice()), (200, CONTENT));
    let etag = format!("\"{}\"", BlobId::of(CONTENT));
    for (name, expected) in [
        ("Content-Length", "10"),
        ("Content-Type", "text/xml"),
        ("Last-Modified", DATE),
        ("ETag", &etag),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "no-cache"),
        ("X-Cfs-Snapshot", &snapshot().to_string()),
        ("Date", "now"),
        ("Server", "cfs"),
    ] {
        assert_eq!(field(&fields, name).as_deref(), Some(expected), "{name}");
    }
    let (status, head_fields, body) = sent(&answer("HEAD", "/a/b.xml", "", &file()));
    assert_eq!((status, head_fields, body), (200, fields, Vec::new()), "HEAD is the head of GET");
}

#[test]
fn statuses_are_those_of_the_standard() {
    let etag = format!("\"{}\"", BlobId::of(CONTENT));
    let none = |tag: &str| format!("If-None-Match: {tag}\r\n");
    let range = "Range: bytes=2-3\r\n";
    for (method, fields, status, body) in [
        ("GET", range.to_owned(), 206, "23"),
        // Parts are for GET; HEAD has the head of the whole.
        ("HEAD", range.to_owned(), 200, ""),
        ("GET", none(&etag), 304, ""),
        ("GET", none("*"), 304, ""),
        ("GET", none("\"other\""), 200, "0123456789"),
        ("GET", none(&etag) + range, 304, ""),
        ("GET", format!("If-Modified-Since: {DATE}\r\n"), 304, ""),
        ("HEAD", format!("If-Modified-Since: {DATE}\r\n"), 304, ""),
        ("GET", format!("If-Match: {etag}\r\n"), 200, "0123456789"),
        ("GET", "If-Match: \"other\"\r\n".to_owned(), 412, "412 Precondition Failed\n"),
        ("HEAD", "If-Match: \"other\"\r\n".to_owned(), 412, ""),
        ("GET", format!("If-Range: {etag}\r\n{range}"), 206, "23"),
        ("GET", format!("If-Range: {DATE}\r\n{range}"), 206, "23"),
        ("GET", format!("If-Range: \"other\"\r\n{range}"), 200, "0123456789"),
        ("GET", format!("If-Range: W/{etag}\r\n{range}"), 200, "0123456789"),
        ("GET", "Range: bytes=10-\r\n".to_owned(), 416, "416 Range Not Satisfiable\n"),
        ("GET", "Range: bytes=9-2\r\n".to_owned(), 200, "0123456789"),
        ("POST", String::new(), 405, "405 Method Not Allowed\n"),
        ("OPTIONS", String::new(), 405, "405 Method Not Allowed\n"),
        ("GET", "Content-Length: 5\r\n".to_owned(), 413, "413 Content Too Large\n"),
    ] {
        let (found, fields_found, sent_body) = sent(&answer(method, "/a", &fields, &file()));
        let text = String::from_utf8(sent_body).unwrap();
        assert_eq!((found, text.as_str()), (status, body), "{method} with {fields:?}");
        let length = field(&fields_found, "Content-Length");
        match status {
            304 => assert_eq!(length, None),
            _ if method == "GET" => assert_eq!(length, Some(body.len().to_string()), "{fields:?}"),
            _ => assert!(length.is_some()),
        }
        if status == 304 {
            assert_eq!(field(&fields_found, "ETag"), Some(etag.clone()));
            assert!(field(&fields_found, "Cache-Control").is_some());
        }
        if status == 206 {
            assert_eq!(field(&fields_found, "Content-Range").as_deref(), Some("bytes 2-3/10"));
        }
        if status == 405 {
            assert_eq!(field(&fields_found, "Allow").as_deref(), Some("GET, HEAD"));
        } else if status != 413 {
            assert_eq!(field(&fields_found, "X-Cfs-Snapshot"), Some(snapshot().to_string()), "{fields:?}");
        }
    }
    let (_, fields, _) = sent(&answer("GET", "/a", "Range: bytes=10-\r\n", &file()));
    assert_eq!(field(&fields, "Content-Range").as_deref(), Some("bytes */10"));
}

#[test]
fn several_parts_are_sent_as_multipart() {
    let (status, fields, body) = sent(&answer("GET", "/a.xml", "Range: bytes=7-,0-1\r\n", &file()));
    let boundary = BlobId::of(CONTENT).to_string()[..32].to_owned();
    assert_eq!(status, 206);
    let media = format!("multipart/byteranges; boundary={boundary}");
    assert_eq!(field(&fields, "Content-Type"), Some(media));
    assert_eq!(field(&fields, "Content-Range"), None);
    let part = |span: &str, content: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/xml\r\nContent-Range: bytes {span}/10\r\n\r\n{content}"
        )
    };
    let expected = part("0-1", "01") + &part("7-9", "789") + &format!("\r\n--{boundary}--\r\n");
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    assert_eq!(field(&fields, "Content-Length"), Some(expected.len().to_string()));
}

#[test]
fn directories_have_a_slash_at_the_end_and_files_have_none() {
    let page: Arc<[u8]> = b"<html>".as_slice().into();
    let dir = |page| Found { thing: Thing::Dir { page, mtime: MTIME }, ..file() };
    let (status, fields, _) = sent(&answer("GET", "/a%20b/c+d?q", "", &dir(None)));
    assert_eq!(status, 301);
    assert_eq!(field(&fields, "Location").as_deref(), Some("/a%20b/c+d/"));
    // Never an address that a browser could take for another host's.
    let (_, fields, _) = sent(&answer("GET", "//host/c", "", &dir(None)));
    assert_eq!(field(&fields, "Location").as_deref(), Some("/host/c/"));
    let (status, fields, body) = sent(&answer("GET", "/a/", "", &dir(Some(Arc::clone(&page)))));
    assert_eq!((status, body.as_slice()), (200, &page[..]));
    assert_eq!(field(&fields, "Content-Type").as_deref(), Some("text/html; charset=utf-8"));
    let etag = field(&fields, "ETag").unwrap();
    let fields = format!("If-None-Match: {etag}\r\n");
    assert_eq!(answer("GET", "/a/", &fields, &dir(Some(page))).status, 304);
    assert_eq!(answer("GET", "/a/", "", &file()).status, 404);
}

#[test]
fn what_is_not_there_is_remembered_for_ten_seconds_at_most() {
    for (thing, status) in [(Thing::Absent, 404), (Thing::Forbidden, 403)] {
        let (found, fields, _) = sent(&answer("GET", "/x.rpm", "", &Found { thing, ..file() }));
        assert_eq!(found, status);
        assert_eq!(field(&fields, "Cache-Control").as_deref(), Some("public, max-age=10"));
    }
}

#[test]
fn addresses_say_how_long_an_answer_holds() {
    let keep = |target: &str, found: &Found| {
        let (_, fields, _) = sent(&answer("GET", target, "", found));
        field(&fields, "Cache-Control").unwrap()
    };
    assert_eq!(keep("/a.rpm", &file()), "public, max-age=31536000, immutable");
    assert_eq!(keep("/repodata/repomd.xml", &file()), "no-cache");
    // A link leads elsewhere tomorrow.
    assert_eq!(keep("/latest.rpm", &Found { is_link: true, ..file() }), "no-cache");
    assert_eq!(
        keep("/snapshots/x/repodata/repomd.xml", &Found { is_permanent: true, ..file() }),
        "public, max-age=31536000, immutable"
    );
}

#[test]
fn targets_that_are_no_paths_are_refused() {
    for target in ["/..", "/%", "*", "/a%00"] {
        let (status, _, body) = sent(&answer("GET", target, "", &file()));
        assert_eq!((status, body.as_slice()), (400, b"400 Bad Request\n".as_slice()), "{target}");
        assert_eq!(sent(&answer("HEAD", target, "", &file())).2, b"");
    }
}
