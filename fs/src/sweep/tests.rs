use std::time::{Duration, SystemTime};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("s")).unwrap();
    (dir, store)
}

#[test]
fn only_what_is_named_is_removed_and_what_is_gone_is_no_error() {
    let (_dir, store) = store();
    let (a, b) = (BlobId::of(b"a"), BlobId::of(b"b"));
    for (id, content) in [(a, "a"), (b, "b")] {
        fs::write(store.blob_path(id), content).unwrap();
    }
    fs::write(store.blob_path(a).with_extension("foreign"), "x").unwrap();
    assert_eq!(blobs(&store, a.as_bytes()[0]).unwrap(), [a]);
    assert_eq!(blob_bytes(&store, a), Some(1));
    assert!(remove_blob(&store, a).unwrap());
    assert!(!remove_blob(&store, a).unwrap());
    assert_eq!(blob_bytes(&store, a), None);
    assert!(store.has_blob(b, 1));
}

#[test]
fn a_download_goes_when_it_is_old_and_nobody_works_on_it() {
    let (_dir, store) = store();
    let dir = store.partial_dir().join("upstream");
    fs::create_dir(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    fs::write(dir.join("sha256-1"), "half").unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
    assert!(partials(&store, SystemTime::UNIX_EPOCH).unwrap().is_empty(), "it is younger");
    assert_eq!(partials(&store, now).unwrap(), [(dir.clone(), 4)]);
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(!remove_partial(&dir).unwrap());
    drop(lock);
    assert!(remove_partial(&dir).unwrap());
    assert!(!dir.exists());
}

#[test]
fn ballast_is_given_back() {
    let (_dir, store) = store();
    if keep_ballast(store.root()).unwrap() {
        assert!(BALLAST_BYTES.contains(&fs::metadata(ballast(store.root())).unwrap().len()));
        assert!(drop_ballast(store.root()).unwrap());
    }
    assert!(!drop_ballast(store.root()).unwrap());
}
