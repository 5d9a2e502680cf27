use cfs_fs::digest::NodeId;
use proptest::prelude::*;

use super::*;

fn snapshot() -> Snapshot {
    Snapshot {
        root: Dir { id: NodeId::of(b"x"), sums: Sums { files: 3, dirs: 1, symlinks: 0, bytes: 99 } },
        mtime: -5,
        parents: vec![SnapshotId::of(b"a"), SnapshotId::of(b"b")],
        created: 1_764_000_000,
        creator: "root@host".into(),
        tool: "cfs 0.1.0".into(),
        meta: BTreeMap::from([("sync.url".into(), "http://h/".into())]),
        access: Rules::from([
            (TreePath::root(), Rule { mode: None, owner: Some(10_004), group: Some(10_005) }),
            ("pub/a b".parse().unwrap(), Rule { mode: Some(0o750), ..Rule::default() }),
        ]),
        message: String::new(),
    }
}

#[test]
fn every_byte_of_a_record_counts() {
    let text = snapshot().encode();
    assert_eq!(Snapshot::decode(&text), Ok(snapshot()));
    for at in 0..text.len() {
        let cut = &text[..at];
        assert!(Snapshot::decode(cut).is_err(), "accepted the first {at} bytes");
    }
    for bad in [
        text.replace("files 3", "files +3"),
        text.replace("files 3", "files 03"),
        format!("{text}x\n"),
        text.replace("0750", "750"),
        text.replace("0750", "1750"),
    ] {
        assert!(Snapshot::decode(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_record_without_access_is_what_it_always_was() {
    let plain = Snapshot { access: Rules::new(), ..snapshot() };
    let text = plain.encode();
    assert!(!text.contains("access") && text.ends_with("meta sync.url http://h/\nmessage \n"), "{text}");
    assert_eq!(Snapshot::decode(&text), Ok(plain));
    assert!(snapshot().encode().contains("access - 10004 10005 /\naccess 0750 - - /pub/a b\nmessage"));
}

proptest! {
    #[test]
    fn any_message_reads_back(message in any::<String>(), value in any::<String>()) {
        let mut written = snapshot();
        written.message = message;
        written.meta.insert("k".into(), value);
        let text = written.encode();
        let read = Snapshot::decode(&text);
        prop_assert_eq!(read.as_ref(), Ok(&written));
        prop_assert_eq!(written.id(), SnapshotId::of(text.as_bytes()));
    }
}
