use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::*;
use crate::import::{Imported, Options, import};

fn imported(store: &Store, dir: &Path) -> (Imported, Dir) {
    let options = Options { threads: 2, started_ns: 0 };
    let imported = import(store, dir, options, &(), Box::new(|_| Ok(())), &mut |_| {}).unwrap();
    let Kind::Dir(root) = imported.root.kind else { panic!("no directory") };
    (imported, root)
}

fn set_time(path: &Path, mtime: i64) -> rustix::io::Result<()> {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    utimensat(
        CWD,
        path,
        &Timestamps { last_access: time, last_modification: time },
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

#[test]
fn what_was_imported_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::create(&temp.path().join("store")).unwrap();
    let source = temp.path().join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/tool"), "#!").unwrap();
    fs::set_permissions(source.join("a/b/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(source.join("a/data"), vec![7; 2_000_000]).unwrap();
    symlink("b/tool", source.join("a/link")).unwrap();
    set_time(&source.join("a/data"), -1_000).unwrap();
    set_time(&source.join("a"), 1_000_000).unwrap();

    let (first, root) = imported(&store, &source);
    let dest = temp.path().join("dest");
    let done = checkout(&first.nodes, &store, (root, 5), &dest, How::Copy, 2, &|_, _| {}).unwrap();
    assert_eq!((done.files, done.bytes), (2, 2_000_002));
    assert_eq!(fs::metadata(&dest).unwrap().mtime(), 5);
    set_time(&dest, first.root.mtime).unwrap();
    let (second, _) = imported(&store, &dest);
    assert_eq!(second.root, first.root, "times, modes and links included");

    let twice = checkout(&first.nodes, &store, (root, 5), &dest, How::Copy, 2, &|_, _| {});
    assert!(matches!(twice, Err(CheckoutError::Occupied { .. })));

    let linked = temp.path().join("linked");
    checkout(&first.nodes, &store, (root, 5), &linked, How::Hardlink, 2, &|_, _| {}).unwrap();
    assert_eq!(fs::metadata(linked.join("a/data")).unwrap().nlink(), 2);
}

#[test]
fn a_damaged_blob_is_not_passed_on_in_silence() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::create(&temp.path().join("store")).unwrap();
    let source = temp.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "good").unwrap();
    let (first, root) = imported(&store, &source);
    let blob = store.blob_path(BlobId::of(b"good"));
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "evil").unwrap();
    let result = checkout(&first.nodes, &store, (root, 0), &temp.path().join("d"), How::Copy, 1, &|_, _| {});
    assert!(
        matches!(result, Err(CheckoutError::Blob { source: StoreError::Damaged { .. }, .. })),
        "{result:?}"
    );
}

/// Somebody who may write to the destination puts a symlink in the place of a directory while it is filled.
#[test]
fn a_destination_that_is_changed_meanwhile_leads_nowhere_else() {
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    let outside = temp.path().join("outside");
    fs::create_dir_all(dest.join("a/b")).unwrap();
    fs::create_dir_all(outside.join("b")).unwrap();
    let mut place = Beneath::open(&dest).unwrap();
    drop(place.create("a/b/first", 0o644).unwrap());
    fs::rename(dest.join("a"), temp.path().join("moved")).unwrap();
    symlink("../outside", dest.join("a")).unwrap();
    // Another thread, which has nothing open yet.
    let mut other = Beneath::open(&dest).unwrap();
    for error in [
        other.create("a/b/second", 0o644).unwrap_err(),
        other.make_dir("a/c").unwrap_err(),
        other.make_symlink("a/l", "x").unwrap_err(),
        other.link(&temp.path().join("moved/b/first"), "a/b/linked").unwrap_err(),
        other.set_time("a/b", 1).unwrap_err(),
    ] {
        let code = error.raw_os_error();
        let refused =
            [rustix::io::Errno::LOOP, rustix::io::Errno::NOTDIR].map(|code| Some(code.raw_os_error()));
        assert!(refused.contains(&code), "{error}");
    }
    assert_eq!(fs::read_dir(outside.join("b")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // Whoever was inside goes on there, as with any directory that is moved.
    drop(place.create("a/b/third", 0o644).unwrap());
    assert!(temp.path().join("moved/b/third").exists());
}
