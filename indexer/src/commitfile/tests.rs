use std::collections::BTreeMap;

use cfs_fs::tree::{Dir, Sums};

use super::*;

fn file() -> (SnapshotId, Vec<u8>) {
    let mut nodes: Vec<(NodeId, Vec<u8>)> =
        ["one", "two", "three"].map(|text| (NodeId::of(text.as_bytes()), text.into())).into();
    nodes.sort();
    let snapshot = Snapshot {
        root: Dir { id: nodes[0].0, sums: Sums::default() },
        mtime: 1,
        parents: Vec::new(),
        created: 2,
        creator: "tester@here".into(),
        tool: "cfs test".into(),
        meta: BTreeMap::new(),
        access: BTreeMap::new(),
        message: "why".into(),
    };
    (snapshot.id(), encode(&snapshot, &nodes))
}

#[test]
fn what_is_written_is_read_and_written_again() {
    let (id, bytes) = file();
    let read = decode(id, &bytes).unwrap();
    assert_eq!(read.nodes.len(), 3);
    assert_eq!(encode(&read.snapshot, &read.nodes), bytes);
}

#[test]
fn no_other_byte_and_no_other_length_is_read() {
    let (id, bytes) = file();
    let names: Vec<NodeId> = decode(id, &bytes).unwrap().nodes.iter().map(|(id, _)| *id).collect();
    for at in 0..bytes.len() {
        assert!(decode(id, &bytes[..at]).is_err(), "cut at {at}");
        let mut other = bytes.clone();
        other[at] ^= 1;
        // A changed node has another name, which the reader knows by the catalogue, or is out of order.
        let same =
            decode(id, &other).is_ok_and(|read| read.nodes.iter().map(|(id, _)| *id).eq(names.clone()));
        assert!(!same, "byte {at}");
    }
    assert!(decode(id, &[&bytes[..], b"x"].concat()).is_err());
}
