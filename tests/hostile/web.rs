//! Requests that ask for what is not there to be asked for.

use crate::harness::Sandbox;
use crate::mirrors::http::{import, serve};

#[test]
fn encoded_slashes_and_dots_lead_nowhere() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "production", &[("os/file", "good")]);
    sandbox.write("etc/passwd", "outside");
    let served = serve(&sandbox, &["--view", "production"]);
    for target in [
        "/%2F%2F..%2F..%2Fetc/passwd",
        "/%2F%2F..%2F..%2Fetc%2Fpasswd",
        "/os/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/.%2e/.%2e/etc/passwd",
        "/%252e%252e/%252e%252e/etc/passwd",
        "/%252F..%252F..%252Fetc/passwd",
        "/..\\..\\etc\\passwd",
        "/%5c..%5c..%5cetc/passwd",
        "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
        "/os/....//....//etc/passwd",
        "/os/file/../../../etc/passwd",
        "/;/etc/passwd",
        "/os/file%00.html",
        "//etc/passwd",
        "http://[::1]/../etc/passwd",
    ] {
        let answer = served.get(target);
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
        assert!(!answer.text().contains("outside") && !answer.text().contains("root:"), "{target}");
    }
    assert_eq!(served.get("/os%2Ffile").text(), "good", "an encoded slash is a slash");
}

#[test]
fn names_are_text_in_listings_and_headers() {
    let sandbox = Sandbox::with_store();
    let names = [
        "<script>alert(1)</script>",
        "\"onmouseover=\"x",
        "'x'",
        "&amp;",
        "javascript:x",
        "a%0d%0aSet-Cookie: x",
    ];
    for name in names {
        sandbox.write(&format!("tree/d/{}", name.replace('/', "\u{2215}")), "x");
    }
    sandbox.ok(["import", "tree", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    let page = served.get("/d/").text();
    assert!(page.contains("&lt;script&gt;") && page.contains("&amp;amp;"), "{page}");
    for evil in ["<script", "href=\"javascript:", "\"onmouseover=", "='x'"] {
        assert!(!page.contains(evil), "{evil}: {page}");
    }
    let answer = served.get("/d/nothing%0d%0aSet-Cookie:%20x");
    assert!(answer.field("Set-Cookie").is_none() && answer.status == 404, "{answer:?}");
    let moved = served.get("/d%0d%0aSet-Cookie:x");
    assert!(moved.field("Set-Cookie").is_none(), "{moved:?}");
}
