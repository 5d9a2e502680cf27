use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use super::lease::Gate;
use super::publish::{Publisher, Ready};
use super::*;

fn write(lease: &Lease, content: &[u8]) -> (BlobId, PathBuf) {
    let (mut file, path) = lease.temporary().unwrap();
    file.write_all(content).unwrap();
    (BlobId::of(content), path)
}

#[test]
fn a_store_is_made_once_and_only_in_an_empty_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("s");
    assert!(matches!(Store::open(&root), Err(StoreError::NotAStore { .. })));
    Store::create(&root).unwrap();
    Store::open(&root).unwrap();
    assert!(matches!(Store::create(&root), Err(StoreError::Exists { .. })));
    fs::write(root.join("FORMAT"), "cfs-store 2\n").unwrap();
    assert!(matches!(Store::open(&root), Err(StoreError::UnknownFormat { .. })));

    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("precious"), "x").unwrap();
    assert!(matches!(Store::create(&other), Err(StoreError::Occupied { .. })));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "nothing was made there");
}

#[test]
fn what_is_recorded_is_there_read_only_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let recorded = Mutex::new(Vec::new());
    let record = Box::new(|batch: Vec<Ready<u32>>| {
        for ready in batch {
            assert!(store.has_blob(ready.id, ready.size_bytes), "recorded before it was there");
            recorded.lock().unwrap().push((ready.id, ready.tag));
        }
        Ok(())
    });
    let lease = Lease::take(&store).unwrap();
    let mut publisher = Publisher::new(&store, record).unwrap();
    for n in 0..2500_u32 {
        // Every content comes five times.
        let content = (n / 5).to_le_bytes();
        let (id, file) = write(&lease, &content);
        publisher.add(Ready { id, size_bytes: 4, tag: n, file: Some(file) }).unwrap();
    }
    publisher.finish().unwrap();
    assert_eq!(recorded.lock().unwrap().len(), 2500);
    let id = BlobId::of(&7_u32.to_le_bytes());
    assert_eq!(store.read_blob(id).unwrap(), 7_u32.to_le_bytes());
    assert_eq!(fs::metadata(store.blob_path(id)).unwrap().permissions().mode() & 0o777, 0o444);
    let left = fs::read_dir(store.root().join("tmp")).unwrap().count();
    assert_eq!(left, 2, "the gate and this lease");
    drop(lease);
}

#[test]
fn whoever_ends_before_the_record_finds_files_under_their_old_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let lease = Lease::take(&store).unwrap();
    let (id, file) = write(&lease, b"once");
    let ready = || Ready { id, size_bytes: 4, tag: (), file: Some(file.clone()) };
    let refuse = Box::new(|_: Vec<Ready<()>>| Err("ended".into()));
    let mut publisher = Publisher::new(&store, refuse).unwrap().keeping_names();
    publisher.add(ready()).unwrap();
    publisher.finish().unwrap_err();
    assert!(store.has_blob(id, 4) && file.exists(), "it has both names");

    // Damaged content in its place does not keep it away.
    fs::remove_file(store.blob_path(id)).unwrap();
    fs::write(store.blob_path(id), "on").unwrap();
    let mut publisher = Publisher::new(&store, Box::new(|_| Ok(()))).unwrap().keeping_names();
    publisher.add(ready()).unwrap();
    publisher.finish().unwrap();
    assert_eq!(store.read_blob(id).unwrap(), b"once");
    assert!(!file.exists());
}

#[test]
fn a_damaged_or_missing_blob_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let id = BlobId::of(b"good");
    assert!(matches!(store.read_blob(id), Err(StoreError::Missing { id: named }) if named == id));
    fs::write(store.blob_path(id), "evil").unwrap();
    let error = store.read_blob(id).unwrap_err();
    assert!(
        matches!(error, StoreError::Damaged { id: named, found } if named == id && found == BlobId::of(b"evil"))
    );
}

#[test]
fn the_files_of_the_dead_are_removed_and_those_of_the_living_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let dead = store.root().join("tmp/999999-0");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    fs::write(dead.join("1"), "left behind").unwrap();
    let living = Lease::take(&store).unwrap();
    assert!(!dead.exists());
    let (_, path) = write(&living, b"mine");
    let other = Lease::take(&store).unwrap();
    assert!(path.exists());
    drop((other, living));
    assert!(!path.exists());
}

#[test]
fn a_commit_file_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let lease = Lease::take(&store).unwrap();
    store.write_commit(&lease, "abc", b"record").unwrap();
    store.write_commit(&lease, "abc", b"record again").unwrap();
    let mut text = String::new();
    let mut file = OpenOptions::new().read(true).open(store.root().join("commits/abc")).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "record again");
}

#[test]
fn a_lease_says_what_it_holds_as_long_as_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    let [a, b] = [&b"a"[..], b"b"].map(SnapshotId::of);
    let lease = Lease::take(&store).unwrap();
    let other = Lease::take(&store).unwrap();
    lease.hold(&store, a).unwrap();
    lease.hold(&store, b).unwrap();
    let held = |store| Gate::close(store).unwrap().living().unwrap();
    let mine = |store| held(store).into_iter().find(|living| living.name == lease.name()).unwrap();
    assert_eq!(mine(&store).holds, [a, b]);
    lease.hold_only(&store, &[b], 7).unwrap();
    assert_eq!((mine(&store).holds, mine(&store).past_seconds), (vec![b], Some(7)));
    drop(other);
    assert_eq!(held(&store).len(), 1);
    drop(lease);
    assert!(held(&store).is_empty());
}
