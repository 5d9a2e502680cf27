use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;

use proptest::prelude::*;

use super::compression::Format;
use super::primary::{Package, Packages};
use super::*;
use crate::checksum::{Algorithm, Hasher};

const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn record(kind: &str, href: &str) -> String {
    format!(
        r#"<data type="{kind}"><checksum type="sha256">{SHA}</checksum>
           <open-checksum type="sha256">{SHA}</open-checksum><location href="{href}"/>
           <timestamp>1255344137.03</timestamp><size>1</size><open-size>2</open-size></data>"#
    )
}

fn repomd(records: &str) -> Result<repomd::Repomd, RepodataError> {
    let text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>17</revision>{records}</repomd>"#
    );
    repomd::parse(text.as_bytes())
}

fn package(name: &str, href: &str) -> String {
    format!(
        r#"<package type="rpm"><name>{name}</name><arch>noarch</arch>
           <version epoch="1" ver="2" rel="3"/><checksum type="sha256" pkgid="YES">{SHA}</checksum>
           <time file="1000" build="900"/><size package="10" installed="20" archive="30"/>
           <location href="{href}"/><format><rpm:license>x</rpm:license><name>inner</name></format></package>"#
    )
}

fn primary(packages: &str) -> Result<Vec<Package>, RepodataError> {
    let text = format!(r#"<metadata xmlns:rpm="u" packages="1">{packages}</metadata>"#);
    Packages::new(text.as_bytes()).collect()
}

#[test]
fn repomd_gives_every_field_of_every_record() {
    let parsed = repomd(&(record("primary", "repodata/p.xml.gz") + &record("group", "comps.xml"))).unwrap();
    assert_eq!(parsed.revision_time(), Some(17));
    assert_eq!(parsed.records.len(), 2);
    let primary = parsed.record("primary").unwrap();
    assert_eq!(primary.location.as_str(), "repodata/p.xml.gz");
    assert_eq!(primary.checksum.to_string(), format!("sha256:{SHA}"));
    assert_eq!(primary.open_checksum, Some(primary.checksum));
    assert_eq!((primary.size_bytes, primary.open_size_bytes), (Some(1), Some(2)));
    assert_eq!(primary.timestamp, Some(1_255_344_137));
}

#[test]
fn repomd_refuses_what_two_readers_could_read_differently() {
    let twice = record("primary", "a") + &record("primary", "b");
    assert!(matches!(repomd(&twice).unwrap_err(), RepodataError::Twice { .. }));
    let conflict = record("primary", "a") + &record("group", "a");
    assert!(matches!(repomd(&conflict).unwrap_err(), RepodataError::Conflict { .. }));
    let sizes = record("primary", "a").replace("<size>1</size>", "<size>1</size><size>2</size>");
    assert!(matches!(repomd(&sizes).unwrap_err(), RepodataError::Twice { what: "size", .. }));
    let unchecked = record("primary", "a").replace("checksum", "unknown");
    assert!(matches!(repomd(&unchecked).unwrap_err(), RepodataError::Missing { what: "checksum", .. }));
    let based = record("primary", "a").replace("href", r#"xml:base="http://elsewhere/" href"#);
    assert!(matches!(repomd(&based).unwrap_err(), RepodataError::Base { .. }));
    for hostile in ["a/../".repeat(1000), "a\\".repeat(1000), format!("%2e%2e/{}", "%2e".repeat(1000))] {
        let error = repomd(&record("primary", &hostile)).unwrap_err();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains("is refused") && text.len() < 600, "{text}");
    }
    let negative = record("primary", "a").replace("<size>1", "<size>-1");
    assert!(matches!(repomd(&negative).unwrap_err(), RepodataError::Value { .. }));
    let short = record("primary", "a").replace(SHA, "00");
    assert!(matches!(repomd(&short).unwrap_err(), RepodataError::Checksum { .. }));
}

#[test]
fn primary_gives_packages_and_passes_over_their_dependencies() {
    let packages = primary(&(package("a", "Packages/a.rpm") + &package("b&amp;c&#x41;", "b.rpm"))).unwrap();
    assert_eq!(packages.len(), 2);
    let first = &packages[0];
    assert_eq!((first.name.as_str(), first.arch.as_str()), ("a", "noarch"));
    assert_eq!((first.epoch, first.version.as_str(), first.release.as_str()), (1, "2", "3"));
    assert_eq!((first.size_bytes, first.file_time, first.build_time), (10, Some(1000), Some(900)));
    assert_eq!(first.location.as_str(), "Packages/a.rpm");
    assert_eq!(first.checksum.to_hex(), SHA);
    assert_eq!(packages[1].name, "b&cA");
}

#[test]
fn primary_stops_at_the_first_error_and_names_the_package() {
    let broken = package("a", "a.rpm") + &package("b", "b.rpm").replace("size package", "size other");
    let text = format!("<metadata>{broken}</metadata>");
    let mut packages = Packages::new(text.as_bytes());
    assert!(packages.next().unwrap().is_ok());
    let error = packages.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("\"b.rpm\"") && error.to_string().contains("size"), "{error}");
    assert!(packages.next().is_none());
}

#[test]
fn hostile_xml_is_refused() {
    let doctype = r#"<!DOCTYPE m [<!ENTITY e "x">]><metadata>&e;</metadata>"#;
    let parse = |text: &str| Packages::new(text.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap_err();
    assert!(matches!(parse(doctype), RepodataError::Doctype { .. }));
    assert!(matches!(parse("<metadata>&e;</metadata>"), RepodataError::Entity { .. }));
    assert!(matches!(parse(&"<metadata>".repeat(100_000)), RepodataError::Limit { limit: 32, .. }));
    let mut attributes = String::new();
    for n in 0..100 {
        write!(attributes, " a{n}='1'").unwrap();
    }
    let crowded = primary(&package("a", "a").replace("<location", &format!("<location{attributes}")));
    assert!(matches!(crowded.unwrap_err(), RepodataError::Limit { limit: 64, .. }));
    assert!(matches!(parse("<metadata><package>"), RepodataError::Truncated { .. }));
    assert!(matches!(parse(""), RepodataError::Truncated { .. }));
    assert!(matches!(parse("<metadata/><metadata/>"), RepodataError::Limit { .. }));
    for stray in ["x<metadata/>", "<metadata/>x", "<metadata/>&amp;", "<metadata/>\n<![CDATA[x]]>"] {
        assert!(matches!(parse(stray), RepodataError::Stray { .. }), "{stray}");
    }
    assert!(Packages::new("<metadata/>\n\n".as_bytes()).next().is_none());
    assert!(matches!(parse("<html></html>"), RepodataError::WrongDocument { .. }));
    assert!(matches!(parse("<metadata></package>"), RepodataError::Xml { .. }));
    assert!(matches!(
        parse("<?xml version='1.0' encoding='latin1'?><metadata/>"),
        RepodataError::Encoding(_)
    ));
    let latin = Packages::new(&b"<metadata><package><name>\xe9</name></package></metadata>"[..]).next();
    assert!(matches!(latin, Some(Err(RepodataError::Xml { .. }))));
}

#[test]
fn one_endless_text_ends_at_the_limit() {
    let endless = (&b"<metadata>"[..]).chain(std::io::repeat(b'x').take(1 << 40));
    let error = Packages::new(BufReader::new(endless)).next().unwrap().unwrap_err();
    assert!(matches!(error, RepodataError::Limit { limit: xml::TEXT_BYTES_MAX, .. }), "{error}");
}

#[test]
fn locations_that_are_not_plain_paths_are_refused() {
    for href in [
        "",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        "a\nb",
        "a\tb",
        "a\u{7f}b",
        "a\\b",
        "%2e%2e/a",
        "a/%2E%2e/b",
        "%2fetc/passwd",
        "a%2fb",
        "a%5cb",
        "a%00b",
        "a%0ab",
        "%252e%252e%252fa",
        "%25252e%25252e/a",
        "a%ff",
        "http://elsewhere/a",
        "%2e/a",
    ] {
        href::location(href).expect_err(href);
    }
    for href in ["Packages/g/gcc-c++-1.0~rc1^2-3.x86_64.rpm", "a%20b", "50%", "100%25", "a b", "é.rpm", "..."]
    {
        assert_eq!(href::location(href).expect(href).as_str(), href);
    }
}

#[test]
fn url_paths_encode_what_servers_would_take_for_something_else() {
    let path = href::location("a b/c++%20?#é~1.rpm").unwrap();
    assert_eq!(href::to_url_path(&path), "a%20b/c%2B%2B%2520%3F%23%C3%A9~1.rpm");
}

proptest! {
    #[test]
    fn accepted_locations_stay_inside_however_often_they_are_decoded(
        parts in proptest::collection::vec(
            prop_oneof!["%25", "%2[eEfF]", "%5[cC]", "%0[0-9]", "\\.", "/", "[a-c%2ef5]", "\\PC"], 0..12)
    ) {
        let href = parts.concat();
        if let Ok(path) = href::location(&href) {
            prop_assert_eq!(path.as_str(), &href);
            let depth = href.split('/').count();
            let mut text = href.clone();
            for _ in 0..20 {
                let decoded = percent_encoding_free_decode(&text);
                prop_assert!(!decoded.split('/').any(|part| ["", ".", ".."].contains(&part)));
                prop_assert!(!decoded.contains(['\\', '\0', '\n']));
                prop_assert_eq!(decoded.split('/').count(), depth);
                text = decoded;
            }
        }
    }
}

/// Another decoder than the module's own: by splitting.
fn percent_encoding_free_decode(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).map(|digits| (digits, u8::from_str_radix(digits, 16))) {
            Some((digits, Ok(byte))) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                bytes.push(byte);
                bytes.extend(&piece.as_bytes()[2..]);
            }
            _ => {
                bytes.push(b'%');
                bytes.extend(piece.as_bytes());
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn compressed(format: Format, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Plain => out.extend(bytes),
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        Format::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(&mut out, 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        Format::Zstd => out = zstd::encode_all(bytes, 1).unwrap(),
        Format::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
    }
    out
}

const FORMATS: [Format; 5] = [Format::Plain, Format::Gzip, Format::Xz, Format::Zstd, Format::Bzip2];

#[test]
fn every_format_is_known_by_its_bytes_and_may_be_concatenated() {
    for format in FORMATS {
        let mut file = compressed(format, b"<first/>");
        assert_eq!(Format::of(&file), format);
        file.extend(compressed(format, b"<second/>"));
        let mut text = String::new();
        compression::reader(&file[..], 17).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "<first/><second/>", "{format:?}");
    }
    let mut none = Vec::new();
    compression::reader(&b""[..], 0).unwrap().read_to_end(&mut none).unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_bomb_ends_at_the_limit_and_a_truncated_file_fails() {
    let mut document = b"<metadata>".to_vec();
    document.resize(64 << 20, b' ');
    for format in FORMATS {
        let bomb = compressed(format, &document);
        let mut packages = Packages::new(compression::reader(&bomb[..], 1 << 20).unwrap());
        let error = packages.next().unwrap().unwrap_err();
        let limit = TooLarge { limit_bytes: 1 << 20 };
        assert!(matches!(error, RepodataError::TooLarge(found) if found == limit), "{format:?}: {error}");

        let whole = compressed(format, b"<metadata></metadata>");
        let mut packages = Packages::new(compression::reader(&whole[..whole.len() - 9], 1 << 20).unwrap());
        assert!(packages.next().unwrap().is_err(), "{format:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "tests find their data by an environment variable")]
fn test_data() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let dir = PathBuf::from(std::env::var("CFS_TEST_DATA").unwrap_or_else(|_| beside.to_owned()));
    if !dir.is_dir() {
        eprintln!("skipped: no real repositories; set CFS_TEST_DATA");
        return None;
    }
    Some(dir)
}

fn find(dir: &std::path::Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.file_name().is_some_and(|n| n == name) {
            found.push(path);
        }
    }
}

#[test]
fn real_repositories_are_understood() {
    let Some(data) = test_data() else { return };
    let mut found = Vec::new();
    find(&data, "repomd.xml", &mut found);
    let (mut primaries, mut packages) = (0, 0);
    for path in &found {
        let parsed = repomd::parse(&std::fs::read(path).unwrap()[..]);
        let parsed = parsed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(parsed.record("primary").is_some(), "{}", path.display());
        let base = path.parent().unwrap().parent().unwrap();
        let record = parsed.record("primary").unwrap();
        let Ok(bytes) = std::fs::read(base.join(record.location.as_str())) else { continue };
        let mut hasher = Hasher::new(record.checksum.algorithm());
        hasher.update(&bytes);
        if hasher.finish().checksum != record.checksum {
            continue; // some of the fixtures are broken on purpose
        }
        let limit = record.open_size_bytes.unwrap_or(1 << 30);
        let plain = compression::reader(&bytes[..], limit).unwrap();
        for package in Packages::new(plain) {
            let package = package.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(Algorithm::ALL.contains(&package.checksum.algorithm()));
            packages += 1;
        }
        primaries += 1;
    }
    assert!(primaries >= 5 && packages >= 10, "{primaries} primaries with {packages} packages");
}
