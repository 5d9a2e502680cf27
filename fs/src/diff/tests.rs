use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::digest::BlobId;
use crate::edit::{build, graft};
use crate::name::TreePath;
use crate::tree::Stage;

/// Counts the nodes that are opened.
struct Counting<'a>(&'a dyn Nodes, Cell<usize>);

impl Nodes for Counting<'_> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        self.1.set(self.1.get() + 1);
        self.0.node(id)
    }
}

fn file(content: usize) -> Item {
    let blob = BlobId::of(&content.to_le_bytes());
    Item { mtime: 1, kind: Kind::File { blob, size_bytes: 8, executable: false } }
}

fn dir_of(item: &Item) -> Dir {
    let Kind::Dir(dir) = item.kind else { panic!("{item:?} is no directory") };
    dir
}

#[test]
fn the_cost_follows_the_change() {
    let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut stage = Stage::new(&base);
    let path = |dir: usize, name: usize| TreePath::new(format!("d{dir:03}/f{name:05}")).unwrap();
    let items = (0..100).flat_map(|dir| (0..500).map(move |name| (path(dir, name), file(dir * 1000 + name))));
    let old = build(&mut stage, items, &mut |_, _| 1).unwrap();
    let new = graft(&mut stage, &old, &path(7, 250), file(999_999), 2).unwrap();

    let counting = Counting(&stage, Cell::new(0));
    let mut changes = Vec::new();
    diff(&counting, dir_of(&old), dir_of(&new), &mut |path, change| {
        changes.push((path.to_owned(), matches!(change, Change::Changed(..))));
        Ok::<(), NodeError>(())
    })
    .unwrap();
    // The directory's own time moved, since its child changed.
    assert_eq!(changes, [("d007".to_owned(), true), ("d007/f00250".to_owned(), true)]);
    assert!(counting.1.get() <= 8, "{} nodes of some 700 opened", counting.1.get());
}
