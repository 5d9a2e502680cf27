use super::*;

#[test]
fn names_that_would_break_mirrors_are_refused() {
    let check = |bytes: &[u8], expected| {
        assert_eq!(Name::new(bytes).map_err(|e| e.reason), Err(expected), "{bytes:?}");
    };
    check(b"", NameFault::Empty);
    check(b".", NameFault::Relative);
    check(b"..", NameFault::Relative);
    check(b"a/b", NameFault::Separator);
    check(b"a\nb", NameFault::Control);
    check(b"a\tb", NameFault::Control);
    check(b"a\0", NameFault::Control);
    check(b"\x7f", NameFault::Control);
    check("\u{85}".as_bytes(), NameFault::Control);
    check(b"\xff\xfe", NameFault::NotUtf8);
    check(&[b'a'; 256], NameFault::TooLong);
    for good in ["a", "...", "a b", "é", "c++-1.0~rc1^git-1.x86_64.rpm", &"a".repeat(255)] {
        assert_eq!(Name::new(good).unwrap().as_str(), good);
    }
}

#[test]
fn paths_are_normal_and_bounded() {
    for bad in ["/", "a//b", "/a", "a/", "a/../b", "./a", "a/\n"] {
        assert!(TreePath::new(bad).is_err(), "{bad:?}");
    }
    assert!(TreePath::new(vec!["a"; DEPTH_MAX].join("/")).is_ok());
    assert!(TreePath::new(vec!["a"; DEPTH_MAX + 1].join("/")).is_err());
    assert!(TreePath::new(vec!["a".repeat(200); 16].join("/")).is_err());
    assert_eq!("/a/b/".parse::<TreePath>().unwrap().as_str(), "a/b");
}

#[test]
fn a_path_takes_itself_apart() {
    let path = TreePath::new("a/b/c").unwrap();
    let (parent, last) = path.split_last().unwrap();
    assert_eq!((parent.as_str(), last.as_str()), ("a/b", "c"));
    assert_eq!(parent.join(&last).unwrap(), path);
    assert_eq!(TreePath::root().concat(&path).unwrap(), path);
    assert_eq!(path.concat(&TreePath::root()).unwrap(), path);
    assert!(TreePath::root().split_last().is_none());
    assert_eq!(TreePath::new("a").unwrap().split_last().unwrap().0, TreePath::root());
}

#[test]
fn paths_sort_as_a_walk_meets_them() {
    let path = |text| TreePath::new(text).unwrap();
    // '-' and '.' sort before '/', yet what is in "a" comes before "a-b" and "a.b".
    let mut paths = [path("a.b"), path("a/z"), path("a-b"), path("a")];
    paths.sort();
    assert_eq!(paths.map(|p| p.to_string()), ["a", "a/z", "a-b", "a.b"]);
}
