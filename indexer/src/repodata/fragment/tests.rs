use super::*;
use crate::checksum::{Algorithm, Hasher};
use crate::rpm::{Change, Dependency, File};

fn wants(name: &str, flags: u32, version: &str) -> Dependency {
    Dependency { name: name.to_owned(), flags, version: version.to_owned() }
}

fn package() -> Package {
    let file = |path: &str, mode| File { path: path.to_owned(), mode, flags: 0, digest: String::new() };
    let change = |time, text: &str| Change { time, author: "A <a@b>  ".into(), text: text.to_owned() };
    let nevra = Nevra {
        name: "a&b".into(),
        epoch: 1,
        version: "1".into(),
        release: "2".into(),
        arch: "noarch".into(),
    };
    Package {
        nevra,
        summary: "\"<x>\"\r\x01".into(),
        files: vec![
            file("/usr/bin/a", 0o100_755),
            file("/usr/share/a", 0o040_755),
            file("/etc/a", 0o100_644),
        ],
        provides: vec![wants("own", 8, "1-2"), wants("odd", 8, "x:1")],
        requires: vec![
            wants("rpmlib(X)", 10, "1"),
            wants("/usr/bin/a", 0, ""),
            wants("own", 8, "1-2"),
            wants("libc.so.6(GLIBC_2.4)(64bit)", 0, ""),
            wants("libc.so.6(GLIBC_2.14)(64bit)", 0, ""),
            wants("libc.so.6()(64bit)", 0, ""),
            wants("sh", 1 << 9, ""),
            wants("sh", 0, ""),
            wants("sh", 0, ""),
            wants("(a if b)", 1 << 19, ""),
            wants("new", 12, "3:4-5"),
        ],
        changes: vec![change(5, "c"), change(5, "b"), change(5, "a"), change(4, "z")],
        ..Package::default()
    }
}

fn checksum() -> Checksum {
    Hasher::new(Algorithm::Sha256).finish().checksum
}

#[test]
fn requirements_that_clients_know_are_left_out() {
    let mut text = String::new();
    dependencies::write(&mut text, &package());
    let names: Vec<&str> = text.lines().map(str::trim).collect();
    let expected = [
        "<rpm:provides>",
        "<rpm:entry name=\"own\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"2\"/>",
        "</rpm:provides>",
        "<rpm:requires>",
        "<rpm:entry name=\"sh\" pre=\"1\"/>",
        "<rpm:entry name=\"sh\"/>",
        "<rpm:entry name=\"new\" flags=\"GE\" epoch=\"3\" ver=\"4\" rel=\"5\"/>",
        "<rpm:entry name=\"libc.so.6(GLIBC_2.14)(64bit)\"/>",
        "</rpm:requires>",
        "<rpm:recommends>",
        "<rpm:entry name=\"(a if b)\"/>",
        "</rpm:recommends>",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_record_holds_what_package_and_place_say() {
    let fragment = Fragment::of(&package()).unwrap();
    let (mut primary, mut other, mut files) = (String::new(), String::new(), String::new());
    let checksum = checksum();
    let place = Place { checksum: &checksum, file_time: Some(7), size_bytes: 8, href: "P/a&b.rpm" };
    fragment.write_primary(&mut primary, &place);
    fragment.write_filelists(&mut files, &checksum);
    fragment.write_other(&mut other, &checksum);
    assert!(
        primary.contains("<name>a&amp;b</name>") && primary.contains("<location href=\"P/a&amp;b.rpm\"/>")
    );
    assert!(primary.contains("<summary>\"&lt;x&gt;\"&#13;\u{fffd}</summary>"), "{primary}");
    assert!(primary.contains("<time file=\"7\" build=\"0\"/>\n  <size package=\"8\""), "{primary}");
    let listed: Vec<&str> = primary.lines().filter(|line| line.contains("<file")).map(str::trim).collect();
    assert_eq!(listed, ["<file>/usr/bin/a</file>", "<file>/etc/a</file>"]);
    assert!(files.contains("<file type=\"dir\">/usr/share/a</file>"), "{files}");
    let dates: Vec<&str> = other.lines().filter_map(|line| line.split("date=\"").nth(1)).collect();
    let expected = ["4\">z</changelog>", "5\">a</changelog>", "6\">b</changelog>", "7\">c</changelog>"];
    assert_eq!(dates, expected);
    assert!(other.contains("author=\"A &lt;a@b&gt;\""), "{other}");
}

#[test]
fn what_is_kept_comes_back_and_nothing_else_does() {
    let fragment = Fragment::of(&package()).unwrap();
    let bytes = fragment.encode();
    assert_eq!(Decoder::default().decode(&bytes), Some(fragment));
    assert!((0..bytes.len()).all(|cut| Decoder::default().decode(&bytes[..cut]).is_none()));
    assert_eq!(Decoder::default().decode(&[&[9], &bytes[1..]].concat()), None);
}

#[test]
fn names_that_xml_cannot_hold_are_refused() {
    let mut package = package();
    package.requires.push(wants("ksym(\x01)", 0, ""));
    let error = Fragment::of(&package).unwrap_err();
    assert_eq!(error.to_string(), "the dependency \"ksym(\\u{1})\" holds a control character");
}
