//! Visits everything below a directory.
//!
//! Always true: a directory comes right before its content, entries in byte order of their names; memory
//! follows the depth, not the size.

use crate::tree::{Dir, Item, Kind, NodeError, Nodes, for_each_entry};

/// Calls `visit(path, item)` for everything below `dir`. `path` is relative to `prefix`, which stands before
/// it with a `/` unless it is empty. The first error ends the walk.
pub fn walk<E: From<NodeError>>(
    nodes: &(impl Nodes + ?Sized),
    dir: Dir,
    prefix: &str,
    visit: &mut impl FnMut(&str, &Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut path = String::with_capacity(256);
    path.push_str(prefix);
    descend(nodes, dir, &mut path, visit)
}

fn descend<E: From<NodeError>>(
    nodes: &(impl Nodes + ?Sized),
    dir: Dir,
    path: &mut String,
    visit: &mut impl FnMut(&str, &Item) -> Result<(), E>,
) -> Result<(), E> {
    let parent_len = path.len();
    for_each_entry(nodes, dir.id, &mut |entry| {
        if parent_len > 0 {
            path.push('/');
        }
        path.push_str(entry.name.as_str());
        visit(path, &entry.item)?;
        if let Kind::Dir(below) = entry.item.kind {
            descend(nodes, below, path, visit)?;
        }
        path.truncate(parent_len);
        Ok(())
    })
}
