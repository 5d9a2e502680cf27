use proptest::prelude::*;

use super::*;

fn file(name: &str, content: u64) -> Entry {
    Entry {
        name: Name::new(name).unwrap(),
        item: Item {
            mtime: 1_700_000_000 + i64::try_from(content % 1000).unwrap(),
            kind: Kind::File {
                blob: BlobId::of(&content.to_le_bytes()),
                size_bytes: content,
                executable: content.is_multiple_of(7),
            },
        },
    }
}

fn packages(count: u64) -> Vec<Entry> {
    (0..count).map(|n| file(&format!("pkg{n:06}-1.0-{}.el9.x86_64.rpm", n % 9), n)).collect()
}

fn nothing() -> HashMap<NodeId, Vec<u8>> {
    HashMap::new()
}

#[test]
fn a_directory_of_any_size_reads_back_and_finds_every_name() {
    for count in [0, 1, 255, 256, 257, 1000, 40_000] {
        let entries = packages(count);
        let base = nothing();
        let mut stage = Stage::new(&base);
        let dir = stage.write_dir(&entries);
        assert_eq!(dir.sums.files, count);
        assert_eq!(read_dir(&stage, dir.id).unwrap(), entries);
        for entry in entries.iter().step_by(97) {
            let found = lookup(&stage, dir.id, entry.name.as_str()).unwrap();
            assert_eq!(found.as_ref(), Some(&entry.item));
        }
        for absent in ["", "a", "pkg000000", "zzz"] {
            assert_eq!(lookup(&stage, dir.id, absent).unwrap(), None);
        }
    }
}

#[test]
fn one_change_in_ten_thousand_entries_writes_few_nodes() {
    let entries = packages(10_000);
    let base = nothing();
    let mut before = Stage::new(&base);
    before.write_dir(&entries);
    let mut changed = entries.clone();
    changed[5000] = file(entries[5000].name.as_str(), 77);
    changed.insert(7000, file(&format!("{}+", entries[6999].name), 78));
    let mut after = Stage::new(&base);
    after.write_dir(&changed);
    let before = before.into_new_nodes();
    let fresh = after.into_new_nodes().keys().filter(|id| !before.contains_key(id)).count();
    assert!(before.len() > 50, "{} nodes", before.len());
    // One chunk each, perhaps the neighbour that the insertion pushed over a cut, and the index above them.
    assert!(fresh <= 6, "{fresh} fresh nodes");
}

#[test]
fn package_names_cost_little() {
    let base = nothing();
    let mut stage = Stage::new(&base);
    stage.write_dir(&packages(10_000));
    let bytes: usize = stage.into_new_nodes().values().map(Vec::len).sum();
    assert!(bytes < 60 * 10_000, "{} bytes an entry", bytes / 10_000);
}

#[test]
#[should_panic(expected = "sorted and unique")]
fn a_directory_with_a_name_twice_gets_no_identity() {
    let base = nothing();
    Stage::new(&base).write_dir(&[file("a", 1), file("a", 2)]);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let base = nothing();
    let mut stage = Stage::new(&base);
    let dir = stage.write_dir(&packages(20));
    let nodes = stage.into_new_nodes();
    let bytes = &nodes[&dir.id];
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = Node::verified(dir.id, &damaged).unwrap_err();
        assert!(matches!(error, NodeError::Damaged { id, .. } if id == dir.id));
    }
    assert!(matches!(nothing().node(dir.id), Err(NodeError::Missing { id }) if id == dir.id));
}

fn any_item() -> impl Strategy<Value = Item> {
    let sums = any::<[u32; 4]>().prop_map(|[files, dirs, symlinks, bytes]| Sums {
        files: files.into(),
        dirs: dirs.into(),
        symlinks: symlinks.into(),
        bytes: bytes.into(),
    });
    let kind = prop_oneof![
        (any::<[u8; 32]>(), any::<u64>(), any::<bool>()).prop_map(|(id, size_bytes, executable)| {
            Kind::File { blob: id.into(), size_bytes, executable }
        }),
        (any::<[u8; 32]>(), sums).prop_map(|(id, sums)| Kind::Dir(Dir { id: id.into(), sums })),
        "[a-z./]{1,30}".prop_map(|target| Kind::Symlink { target: target.into() }),
    ];
    (any::<i64>(), kind).prop_map(|(mtime, kind)| Item { mtime, kind })
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(
        entries in proptest::collection::btree_map("[a-zé~+.-]{1,12}", any_item(), 0..300)
    ) {
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter_map(|(name, item)| Some(Entry { name: Name::new(name).ok()?, item }))
            .collect();
        let base = nothing();
        let mut stage = Stage::new(&base);
        let dir = stage.write_dir(&entries);
        prop_assert_eq!(read_dir(&stage, dir.id).unwrap(), entries.clone());
        let mut again = Stage::new(&base);
        prop_assert_eq!(again.write_dir(&entries), dir);
        for (id, bytes) in again.into_new_nodes() {
            let (mut nodes, mut blobs) = (Vec::new(), Vec::new());
            for_each_link(id, &bytes, &mut |link| match link {
                Link::Node(id) => nodes.push(id),
                Link::Blob(id, size_bytes) => blobs.push((id, size_bytes)),
            })
            .unwrap();
            let node = Node::verified(id, &bytes).unwrap();
            prop_assert_eq!((nodes, blobs), (node.nodes().collect(), node.blobs().collect()));
        }
    }

    #[test]
    fn hostile_bytes_are_an_error_or_the_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[1, 0][..], &bytes].concat();
        if let Ok(Node::Leaf(entries)) = encoding::decode(&bytes) {
            prop_assert_eq!(encoding::leaf(&entries), bytes);
        }
    }
}
