use super::*;

/// A header with these entries: tag, type, count, data.
fn header(entries: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in entries {
        for number in [*tag, *kind, u32::try_from(data.len()).unwrap(), *count] {
            index.extend(number.to_be_bytes());
        }
        data.extend_from_slice(bytes);
    }
    let mut all = vec![0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
    all.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
    all.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    all.extend(index);
    all.extend(data);
    all
}

fn package(entries: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = LEAD_MAGIC.to_vec();
    bytes.resize(LEAD_BYTES, 0);
    bytes.extend(header(&[]));
    bytes.extend(header(entries));
    bytes
}

const NEVRA: [(u32, u32, u32, &[u8]); 5] = [
    (tag::NAME, 6, 1, b"tree\0"),
    (tag::VERSION, 6, 1, b"1.0\0"),
    (tag::RELEASE, 6, 1, b"2\0"),
    (tag::ARCH, 6, 1, b"noarch\0"),
    (tag::SOURCE_RPM, 6, 1, b"tree-1.0-2.src.rpm\0"),
];

fn with(more: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    package(&NEVRA.iter().chain(more).copied().collect::<Vec<_>>())
}

fn read(bytes: &[u8]) -> Result<Package, RpmError> {
    Package::read(&mut &bytes[..])
}

#[test]
fn a_small_package_is_read_and_provides_itself() {
    let found = read(&with(&[])).unwrap();
    assert_eq!(found.nevra.to_string(), "tree-0:1.0-2.noarch");
    assert_eq!((found.header_start, found.provides[0].evr()), (112, Some(("0", "1.0", "2"))));
    assert_eq!(found.provides[0].sense(), Some(Sense::Equal));
    // The header's mark says that nothing is to be mended.
    let found = read(&with(&[(tag::IMMUTABLE, 7, 0, b"")])).unwrap();
    assert_eq!(found.provides, []);
}

#[test]
fn what_is_no_utf_8_is_iso_8859_1() {
    let found =
        read(&with(&[(tag::SUMMARY, 9, 1, b"B\xedl\xfd\0"), (tag::URL, 6, 1, "ž\0".as_bytes())])).unwrap();
    assert_eq!((found.summary.as_str(), found.url.as_str()), ("Bílý", "ž"));
}

#[test]
fn old_and_new_file_names_are_paths() {
    let modes: (u32, u32, u32, &[u8]) = (tag::FILE_MODES, 3, 2, &[0x81, 0xa4, 0x41, 0xed]);
    let flags: (u32, u32, u32, &[u8]) = (tag::FILE_FLAGS, 4, 2, &[0, 0, 0, 0x40, 0, 0, 0, 0]);
    let old = read(&with(&[(tag::OLD_FILE_NAMES, 8, 2, b"/etc/a\0/etc/b\0"), modes, flags])).unwrap();
    let dirs: [(u32, u32, u32, &[u8]); 3] = [
        (tag::BASE_NAMES, 8, 2, b"a\0b\0"),
        (tag::DIR_NAMES, 8, 1, b"/etc/\0"),
        (tag::DIR_INDEXES, 4, 2, &[0; 8]),
    ];
    let new = read(&with(&[dirs[0], dirs[1], dirs[2], modes, flags])).unwrap();
    assert_eq!(old.files, new.files);
    let paths: Vec<_> =
        new.files.iter().map(|file| (file.path.as_str(), file.is_dir(), file.is_ghost())).collect();
    assert_eq!(paths, [("/etc/a", false, true), ("/etc/b", true, false)]);
}

#[test]
fn what_is_broken_is_said_with_its_place() {
    let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(said(b"no"), "byte 2: ends inside the lead");
    assert_eq!(said(&[0; 200]), "byte 0: the magic number of a package is missing");
    let whole = with(&[]);
    let mut odd = whole.clone();
    odd[112] = 0;
    assert_eq!(said(&odd), "byte 112: the magic number of a header is missing");
    assert_eq!(said(&whole[..whole.len() - 1]), format!("byte {}: ends inside a header", whole.len() - 1));
    let mut many = whole.clone();
    many[120..124].copy_from_slice(&[0xff; 4]);
    assert!(said(&many).starts_with("byte 120: entries of a header over the limit"), "{}", said(&many));
    let mut outside = whole.clone();
    outside[136..140].copy_from_slice(&[0x7f; 4]);
    assert_eq!(said(&outside), "byte 128: the entry of tag 1000 lies outside of the header");
    let kind = with(&[(tag::URL, 4, 1, &[0; 4])]);
    assert!(said(&kind).ends_with("the entry of tag 1020 is of the wrong type"), "{}", said(&kind));
    let endless = with(&[(tag::URL, 6, 1, b"x")]);
    assert!(said(&endless).ends_with("the entry of tag 1020 holds a string that does not end"));
    let dirs = with(&[(tag::BASE_NAMES, 8, 1, b"a\0"), (tag::DIR_INDEXES, 4, 1, &[0, 0, 0, 9])]);
    assert!(said(&dirs).ends_with("names and directories of the files do not belong together"));
    let count = with(&[(tag::BASE_NAMES, 8, u32::MAX, b"a\0")]);
    assert!(said(&count).contains("values of an entry over the limit"), "{}", said(&count));
    let nameless = package(&[]);
    assert_eq!(said(&nameless), "byte 112: the header has no name");
}

/// Every cut and every flipped byte of real headers is a value or an error, in bounded time.
#[test]
fn no_cut_and_no_flipped_byte_of_a_real_package_is_a_panic() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let data = std::env::var("CFS_TEST_DATA").map_or(data, Into::into);
    let names = [
        "createrepo_c/packages/super_kernel-6.0.1-2.x86_64.rpm",
        "createrepo_c/packages/empty-signed-v6-multiple-0-0.x86_64.rpm",
        "centos-release/centos-release-as-2.1AS-4.noarch.rpm",
        "rpm-rs/RPMS/v6/rpm-rich-deps-1.0-1.noarch.rpm",
    ];
    let mut seen = 0;
    for name in names {
        let Ok(bytes) = std::fs::read(data.join(name)) else { continue };
        let end = usize::try_from(read(&bytes).unwrap().header_end).unwrap();
        let headers = &bytes[..end];
        assert!((0..end).all(|cut| read(&headers[..cut]).is_err()), "{name}");
        for at in 0..end {
            for bits in [0x01, 0x80, 0xff] {
                let mut odd = headers.to_vec();
                odd[at] ^= bits;
                seen += usize::from(read(&odd).is_ok());
            }
        }
    }
    // Text may be any text.
    assert!(seen > 0 || !data.is_dir(), "no flipped byte was in a text");
}
