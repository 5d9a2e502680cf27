use super::*;
use cfs_fs::digest::{NodeId, SnapshotId};

#[test]
fn a_record_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let kept = Kept { id: NodeId::of(b"tree"), mtime: -3 };
    let mut record = Record {
        dir: "/srv/a work".into(),
        source: "compose/9/x@{2}:BaseOS/x86_64".parse().unwrap(),
        snapshot: SnapshotId::of(b"record"),
        scratch: "/scratch".into(),
        driver: None,
        committed: Vec::new(),
        committing: None,
    };
    assert_eq!(Record::load(&path).unwrap(), None);
    for (driver, committed, committing) in [
        (None, vec![], None),
        (Some(Driver::Kernel), vec![], Some(kept)),
        (Some(Driver::Fuse), vec![kept, Kept { id: NodeId::of(b"other"), mtime: 7 }], Some(kept)),
    ] {
        (record.driver, record.committed, record.committing) = (driver, committed, committing);
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap().as_ref(), Some(&record));
    }
    let text = fs::read_to_string(&path).unwrap();
    for (old, new) in
        [("cfs-workspace 1", "cfs-workspace 2"), ("driver fuse", "driver odd"), ("scratch", "scrap")]
    {
        fs::write(&path, text.replace(old, new)).unwrap();
        assert!(matches!(Record::load(&path), Err(WorkspaceError::BadRecord { .. })), "{new}");
    }
    record.dir = "/new\nline".into();
    assert!(matches!(record.save(&path), Err(WorkspaceError::BadPath { .. })));
}
