use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use super::mounting::READABLE;
use super::*;
use crate::edit::build;
use crate::name::TreePath;
use crate::tree::NodeMap;
use crate::walk::walk;

/// A tree of files with the time 0.
fn base(files: &[(&str, &str)]) -> (NodeMap, Dir) {
    let nothing = NodeMap::new();
    let mut stage = Stage::new(&nothing);
    let item = |content: &str| {
        let (blob, size_bytes) = (BlobId::of(content.as_bytes()), content.len() as u64);
        Item { mtime: 0, kind: Kind::File { blob, size_bytes, executable: false } }
    };
    let items = files.iter().map(|(path, content)| (TreePath::new(path).unwrap(), item(content)));
    let root = build(&mut stage, items, &mut |_, _| 0).unwrap();
    let Kind::Dir(dir) = root.kind else { panic!("no directory") };
    (stage.into_new_nodes(), dir)
}

/// The paths that an upper directory makes of a tree, files with the length of their content.
fn seen(upper: &Path, driver: Driver, (nodes, dir): &(NodeMap, Dir)) -> Vec<String> {
    let mut changes = scan(upper, driver, nodes, *dir, Path::new("/w")).unwrap();
    changes.compare(&(), true).unwrap();
    let mut stage = Stage::new(nodes);
    let (top, _) = changes.apply(&mut stage).unwrap();
    let mut paths = Vec::new();
    walk(&stage, top, "", &mut |path, item| {
        paths.push(match &item.kind {
            Kind::File { size_bytes, executable, .. } => {
                format!("{path} {size_bytes}{}", if *executable { "x" } else { "" })
            }
            Kind::Dir(_) => format!("{path}/"),
            Kind::Symlink { target } => format!("{path} -> {target}"),
        });
        Ok::<_, NodeError>(())
    })
    .unwrap();
    paths
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn an_empty_upper_directory_changes_nothing() {
    let upper = tempfile::tempdir().unwrap();
    let base = base(&[("a/x", "1"), ("f", "2")]);
    let mut changes = scan(upper.path(), Driver::Fuse, &base.0, base.1, Path::new("/w")).unwrap();
    assert_eq!((changes.files(), changes.compare(&(), true).unwrap()), (0, 0));
    let mut stage = Stage::new(&base.0);
    assert_eq!(changes.apply(&mut stage).unwrap().0, base.1);
}

#[test]
fn files_that_stand_for_what_is_gone_are_followed() {
    let upper = tempfile::tempdir().unwrap();
    let at = |path: &str| upper.path().join(path);
    for (path, content) in [
        (".wh.f", ""),
        ("a/.wh.x", ""),
        ("a/new", "new"),
        ("b/.wh..wh..opq", ""),
        ("b/only", "here"),
        // Gone, and there again.
        (".wh.g", ""),
        ("g", "again"),
        // Was a file.
        ("h/i", "deep"),
    ] {
        write(&at(path), content);
    }
    std::os::unix::fs::symlink("a/y", at("link")).unwrap();
    let base =
        base(&[("a/x", "1"), ("a/y", "22"), ("b/z", "3"), ("f", "4"), ("g", "5"), ("h", "6"), ("i", "7")]);
    let expected = ["a/", "a/new 3", "a/y 2", "b/", "b/only 4", "g 5", "h/", "h/i 4", "i 1", "link -> a/y"];
    assert_eq!(seen(upper.path(), Driver::Fuse, &base), expected);
}

/// Sets a kernel's attribute; whoever is not root may not.
fn mark(path: &Path, name: &str, value: &str) -> bool {
    let set = setxattr(path, name, value.as_bytes(), XattrFlags::empty());
    if set.is_err() {
        eprintln!("skipped: only root may set {name}");
    }
    set.is_ok()
}

#[test]
fn the_kernels_marks_are_followed() {
    let upper = tempfile::tempdir().unwrap();
    let at = |path: &str| upper.path().join(path);
    let base = base(&[
        ("a/b/deep", "1"),
        ("a/c", "22"),
        ("dir/one", "333"),
        ("dir/two", "4444"),
        ("gone", "5"),
        ("old/x", "666666"),
        ("tool", "7777777"),
    ]);
    if !mark(upper.path(), READABLE, "y") {
        return;
    }
    let gone = |path: &str| mknodat(CWD, at(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    for dir in ["dir", "fresh", "moved", "moved/b2", "opaque", "opaque/deep"] {
        fs::create_dir(at(dir)).unwrap();
    }
    ["gone", "a", "old", "dir/one", "moved/b"].into_iter().for_each(gone);
    // a → moved, inside it b → b2; old → opaque/deep, below a directory that is new.
    mark(&at("moved"), "trusted.overlay.redirect", "a");
    mark(&at("moved/b2"), "trusted.overlay.redirect", "b");
    mark(&at("opaque"), "trusted.overlay.opaque", "y");
    mark(&at("opaque/deep"), "trusted.overlay.redirect", "/old");
    // Made anew where nothing was: opaque without anything below.
    mark(&at("fresh"), "trusted.overlay.opaque", "y");
    // Of these only attributes and names are here.
    for (path, redirect) in [("tool", None), ("fresh/c", Some("/a/c")), ("moved/renamed", Some("c"))] {
        fs::write(at(path), vec![0; 100]).unwrap();
        mark(&at(path), "trusted.overlay.metacopy", "");
        redirect.map(|redirect| mark(&at(path), "trusted.overlay.redirect", redirect));
    }
    fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    gone("moved/c");
    let expected = [
        "dir/",
        "dir/two 4",
        "fresh/",
        "fresh/c 2",
        "moved/",
        "moved/b2/",
        "moved/b2/deep 1",
        "moved/renamed 2",
        "opaque/",
        "opaque/deep/",
        "opaque/deep/x 6",
        "tool 7x",
    ];
    assert_eq!(seen(upper.path(), Driver::Kernel, &base), expected);

    // What stands for a file that is not below is no file at all.
    mark(&at("fresh/c"), "trusted.overlay.redirect", "/nowhere");
    let refused = scan(upper.path(), Driver::Kernel, &base.0, base.1, Path::new("/w")).unwrap_err();
    let OverlayError::Import(ImportError::Refused { refusals, .. }) = refused else { panic!("{refused}") };
    assert_eq!((refusals.len(), refusals[0].path.to_str()), (1, Some("/w/fresh/c")));
}

#[test]
fn marks_that_cannot_be_read_are_not_taken_for_absent() {
    let upper = tempfile::tempdir().unwrap();
    let base = base(&[("f", "1")]);
    let result = scan(upper.path(), Driver::Kernel, &base.0, base.1, Path::new("/w"));
    assert!(matches!(result, Err(OverlayError::Unreadable { .. })));
}

#[test]
fn only_files_that_might_be_equal_are_read_to_compare() {
    let upper = tempfile::tempdir().unwrap();
    let at = |path: &str| upper.path().join(path);
    for (path, content) in [("same", "1234"), ("other", "4321"), ("longer", "12345"), ("new", "new")] {
        write(&at(path), content);
    }
    fs::hard_link(at("new"), at("linked")).unwrap();
    let files = [("longer", "1234"), ("other", "1234"), ("same", "1234")];
    let (nodes, dir) = base(&files);
    let mut changes = scan(upper.path(), Driver::Fuse, &nodes, dir, Path::new("/w")).unwrap();
    assert_eq!((changes.files(), changes.compare(&(), true).unwrap()), (5, 2));
    let content = |name: &str| {
        let found = changes.files.iter().find(|file| file.host.path == at(name)).unwrap();
        found.host.blob.unwrap()
    };
    assert_eq!(content("same"), BlobId::of(b"1234"));
    assert_eq!(content("other"), BlobId::of(b"4321"));
    assert_eq!(content("new"), content("linked"), "one file is like itself");
    assert_ne!(content("new"), content("longer"), "files that nobody has read differ");
}

#[test]
fn what_cannot_enter_a_tree_is_refused_by_its_path_in_the_workspace() {
    let upper = tempfile::tempdir().unwrap();
    let at = |path: &str| upper.path().join(path);
    write(&at("dir/new\nline"), "");
    write(&at("dir/new\nline2/below"), "");
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("dir/socket")).unwrap();
    std::os::unix::fs::symlink("tab\there", at("link")).unwrap();
    let base = base(&[("f", "1")]);
    let refused = scan(upper.path(), Driver::Fuse, &base.0, base.1, Path::new("/w")).unwrap_err();
    let OverlayError::Import(ImportError::Refused { refusals, dir }) = refused else { panic!("{refused}") };
    let paths: Vec<_> = refusals.iter().map(|refusal| refusal.path.to_str().unwrap()).collect();
    assert_eq!(dir, Path::new("/w"));
    assert_eq!(paths, ["/w/dir/new\nline", "/w/dir/new\nline2", "/w/dir/socket", "/w/link", "/w/pipe"]);
}
