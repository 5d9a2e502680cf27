use super::*;

fn check(text: &str, base: &str, when: When, path: &str) {
    let parsed: RevPath = text.parse().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((parsed.revision.base.as_str(), parsed.revision.when), (base, when), "{text}");
    assert_eq!(parsed.path.as_str(), path, "{text}");
}

#[test]
fn revisions_read_as_people_write_them() {
    check("production", "production", When::Now, "");
    check("production:", "production", When::Now, "");
    check("compose/9/R-9.7:BaseOS/x86_64", "compose/9/R-9.7", When::Now, "BaseOS/x86_64");
    check("production:/a/b/", "production", When::Now, "a/b");
    check("production@{2}:a@{1}", "production", When::Back(2), "a@{1}");
    check("p@1970-01-02", "p", When::At(2 * 86_400 - 1), "");
    check("p@1970-01-02:TZ/Z", "p", When::At(2 * 86_400 - 1), "TZ/Z");
    check("p@1970-01-01T00:01Z:x", "p", When::At(60), "x");
    check("p@1970-01-01T00:01:02Z", "p", When::At(62), "");
    check("p@19700101T000102Z:x:y", "p", When::At(62), "x:y");
}

#[test]
fn what_is_no_revision_is_refused() {
    for bad in
        ["", ":x", "a@", "a@{", "a@{-1}", "a@{x}", "a@yesterday", "a@{1}x", "a b", "../a", "a:../b", "-a"]
    {
        assert!(bad.parse::<RevPath>().is_err(), "{bad:?}");
    }
    assert!("a@{1}:x".parse::<RefPath>().is_err(), "the past is not written to");
    assert!("a:x".parse::<Revision>().is_err());
}

#[test]
fn revisions_print_what_they_read() {
    for text in ["production", "a/b@{3}", "p@2026-01-30T20:30:00Z"] {
        assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
    }
}
