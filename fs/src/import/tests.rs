use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;

use super::*;
use crate::tree::resolve;

const OPTIONS: Options = Options { threads: 3, started_ns: i64::MAX };

/// Remembers what it was told, as the real cache does.
#[derive(Default)]
struct Memory(Mutex<HashMap<Stamp, BlobId>>);

impl Recall for Memory {
    fn recall(&self, stamps: &[Stamp]) -> Vec<Option<BlobId>> {
        let memory = self.0.lock().unwrap();
        stamps.iter().map(|stamp| memory.get(stamp).copied()).collect()
    }
}

fn run(store: &Store, dir: &Path, memory: &Memory) -> Result<Imported, ImportError> {
    let record = Box::new(|batch: Vec<crate::store::publish::Ready<Option<Stamp>>>| {
        let mut memory = memory.0.lock().unwrap();
        memory.extend(batch.iter().filter_map(|ready| Some((ready.tag?, ready.id))));
        Ok(())
    });
    import(store, dir, OPTIONS, memory, record, &mut |_| {})
}

#[test]
fn a_directory_is_taken_as_it_is_and_not_read_twice() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::create(&temp.path().join("store")).unwrap();
    let dir = temp.path().join("dir");
    fs::create_dir_all(dir.join("a/empty")).unwrap();
    fs::write(dir.join("a/small"), "small").unwrap();
    fs::write(dir.join("a/script"), "#!").unwrap();
    fs::set_permissions(dir.join("a/script"), fs::Permissions::from_mode(0o4755)).unwrap();
    let big: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    fs::write(dir.join("big"), &big).unwrap();
    fs::hard_link(dir.join("big"), dir.join("big2")).unwrap();
    symlink("../outside", dir.join("link")).unwrap();

    let memory = Memory::default();
    let first = run(&store, &dir, &memory).unwrap();
    assert_eq!((first.progress.files, first.progress.files_read), (4, 3), "the hard link is not read");
    let get = |path: &str| resolve(&first.nodes, &first.root, &path.parse().unwrap()).unwrap().unwrap();
    let meta = fs::metadata(dir.join("big")).unwrap();
    let big_id = BlobId::of(&big);
    let kind = Kind::File { blob: big_id, size_bytes: big.len() as u64, executable: false };
    assert_eq!(get("big"), Item { mtime: meta.mtime(), kind });
    assert_eq!(get("big2"), get("big"));
    assert!(matches!(get("a/script").kind, Kind::File { executable: true, .. }));
    assert_eq!(get("link").kind, Kind::Symlink { target: "../outside".into() });
    assert!(matches!(get("a/empty").kind, Kind::Dir(dir) if dir.sums == crate::tree::Sums::default()));
    assert_eq!(store.read_blob(big_id).unwrap(), big);

    let again = run(&store, &dir, &memory).unwrap();
    assert_eq!((again.root.clone(), again.progress.files_read), (first.root.clone(), 0));
    fs::write(dir.join("a/small"), "other").unwrap();
    let changed = run(&store, &dir, &memory).unwrap();
    assert_eq!(changed.progress.files_read, 1);
    assert_ne!(changed.root, first.root);
}

#[test]
fn everything_that_cannot_enter_is_listed_and_nothing_is_stored() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::create(&temp.path().join("store")).unwrap();
    let dir = temp.path().join("dir");
    fs::create_dir_all(dir.join("bad\ndir")).unwrap();
    fs::write(dir.join("bad\ndir/tab\there"), "").unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"latin\xe9")), "").unwrap();
    fs::write(dir.join("good"), "good").unwrap();
    symlink("a\nb", dir.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();

    let Err(ImportError::Refused { refusals, .. }) = run(&store, &dir, &Memory::default()) else {
        panic!("was taken")
    };
    let reasons: Vec<&str> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(refusals.len(), 6, "{refusals:?}");
    for expected in ["control character", "UTF-8", "socket", "named pipe", "symlink"] {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
    }
    assert!(!store.has_blob(BlobId::of(b"good"), 4));
}
