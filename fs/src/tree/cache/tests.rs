use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::digest::BlobId;
use crate::name::Name;
use crate::tree::{Item, Stage, for_each_entry, lookup};

/// Counts what reaches the nodes below the cache.
struct Counting(HashMap<NodeId, Vec<u8>>, AtomicUsize);

impl Nodes for Counting {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.node(id)
    }
}

fn directory(count: u64) -> (HashMap<NodeId, Vec<u8>>, NodeId) {
    let entries: Vec<Entry> = (0..count)
        .map(|n| Entry {
            name: Name::new(format!("package-{n:07}.rpm")).unwrap(),
            item: Item {
                mtime: 1,
                kind: Kind::File { blob: BlobId::of(&n.to_le_bytes()), size_bytes: n, executable: false },
            },
        })
        .collect();
    let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut stage = Stage::new(&base);
    let id = stage.write_dir(&entries).id;
    (stage.into_new_nodes(), id)
}

#[test]
fn a_node_is_fetched_once_and_stays_the_same() {
    let (nodes, top) = directory(5000);
    let (plain, count) = (nodes.clone(), nodes.len());
    let cached = CachedNodes::new(Counting(nodes, AtomicUsize::new(0)), CACHE_BYTES);
    for _ in 0..3 {
        let mut seen = 0;
        for_each_entry(&cached, top, &mut |entry| {
            seen += 1;
            let name = entry.name.as_str();
            assert_eq!(lookup(&plain, top, name).unwrap().as_ref(), Some(&entry.item));
            Ok::<(), NodeError>(())
        })
        .unwrap();
        assert_eq!(seen, 5000);
    }
    assert_eq!(cached.nodes.1.load(Ordering::Relaxed), count);
}

#[test]
fn memory_stays_below_the_limit_and_the_nodes_stay_right() {
    let (nodes, top) = directory(50_000);
    let limit = 1 << 20;
    let cached = CachedNodes::new(Counting(nodes, AtomicUsize::new(0)), limit);
    for _ in 0..2 {
        let mut seen = 0;
        for_each_entry(&cached, top, &mut |_| {
            seen += 1;
            assert!(cached.bytes() <= limit);
            Ok::<(), NodeError>(())
        })
        .unwrap();
        assert_eq!(seen, 50_000);
    }
    assert!(cached.bytes() > limit / 2, "{} bytes kept: the limit is used", cached.bytes());
}

#[test]
fn a_node_that_is_missing_is_asked_for_again() {
    let cached = CachedNodes::new(Counting(HashMap::new(), AtomicUsize::new(0)), CACHE_BYTES);
    for _ in 0..2 {
        let id = NodeId::of(b"nowhere");
        assert!(matches!(cached.node(id), Err(NodeError::Missing { id: named }) if named == id));
    }
    assert_eq!(cached.nodes.1.load(Ordering::Relaxed), 2);
    assert_eq!(cached.bytes(), 0);
}

#[test]
fn room_is_made_for_others_and_taken_back() {
    let (nodes, top) = directory(50_000);
    let limit = 4 << 20;
    let cached = CachedNodes::new(Counting(nodes, AtomicUsize::new(0)), limit);
    let fill = || {
        for_each_entry(&cached, top, &mut |_| Ok::<(), NodeError>(())).unwrap();
        cached.bytes()
    };
    assert!(fill() > limit / 2);
    cached.make_room(limit / 2);
    assert!(cached.bytes() <= limit / 2 && fill() <= limit / 2 && fill() > limit / 4);
    cached.make_room(usize::MAX);
    assert!(cached.bytes() <= limit / 4 && fill() > limit / 8);
    cached.make_room(0);
    assert!(fill() > limit / 2);
}
