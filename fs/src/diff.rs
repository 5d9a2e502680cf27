//! What differs between two trees.
//!
//! Always true: the cost follows the difference. Subtrees and chunks with equal ids are never opened, since
//! equal ids mean equal content.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use crate::digest::NodeId;
use crate::tree::{Dir, Entry, Item, Kind, Node, NodeError, Nodes, Sums};
use crate::walk::walk;

/// One difference between an old and a new tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Only the new tree has it.
    Added(&'a Item),
    /// Only the old tree had it.
    Removed(&'a Item),
    /// Both have it, with another content, mode, time, target or kind. A directory is reported for its own
    /// time only; what is below is reported by itself.
    Changed(&'a Item, &'a Item),
}

/// Counts of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// What only the new tree has.
    pub added: Sums,
    /// What only the old tree had.
    pub removed: Sums,
    /// What both have and is not equal, as it is in the new tree.
    pub changed: Sums,
}

impl Summary {
    /// Counts one difference.
    pub fn add(&mut self, change: &Change<'_>) {
        let (sums, item) = match change {
            Change::Added(item) => (&mut self.added, item),
            Change::Removed(item) => (&mut self.removed, item),
            Change::Changed(_, item) => (&mut self.changed, item),
        };
        match item.kind {
            Kind::Dir(_) => sums.dirs += 1,
            _ => sums.add(item),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Calls `visit(path, change)` for every difference from `old` to `new`, in walk order, directories before
/// their content. Everything in an added or removed directory is reported one by one.
pub fn diff<E: From<NodeError>>(
    nodes: &(impl Nodes + ?Sized),
    old: Dir,
    new: Dir,
    visit: &mut impl FnMut(&str, Change<'_>) -> Result<(), E>,
) -> Result<(), E> {
    Differ { nodes, path: String::with_capacity(256), visit }.dirs(old, new)
}

struct Differ<'a, N: ?Sized, F> {
    nodes: &'a N,
    path: String,
    visit: &'a mut F,
}

impl<N: Nodes + ?Sized, F, E: From<NodeError>> Differ<'_, N, F>
where
    F: FnMut(&str, Change<'_>) -> Result<(), E>,
{
    fn dirs(&mut self, old: Dir, new: Dir) -> Result<(), E> {
        if old.id == new.id {
            return Ok(());
        }
        let (old, new) = differing_entries(self.nodes, old.id, new.id)?;
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) => a.name.cmp(&b.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let a = if order.is_le() { old.next() } else { None };
            let b = if order.is_ge() { new.next() } else { None };
            self.entries(a, b)?;
        }
    }

    fn entries(&mut self, old: Option<&Entry>, new: Option<&Entry>) -> Result<(), E> {
        let Some(name) = old.or(new).map(|entry| entry.name.as_str()) else { return Ok(()) };
        let parent_len = self.path.len();
        if parent_len > 0 {
            self.path.push('/');
        }
        self.path.push_str(name);
        match (old.map(|e| &e.item), new.map(|e| &e.item)) {
            (Some(a), Some(b)) => self.both(a, b)?,
            (Some(a), None) => self.whole(a, |item| Change::Removed(item))?,
            (None, Some(b)) => self.whole(b, |item| Change::Added(item))?,
            (None, None) => {}
        }
        self.path.truncate(parent_len);
        Ok(())
    }

    fn both(&mut self, old: &Item, new: &Item) -> Result<(), E> {
        match (&old.kind, &new.kind) {
            (Kind::Dir(a), Kind::Dir(b)) => {
                if old.mtime != new.mtime {
                    (self.visit)(&self.path, Change::Changed(old, new))?;
                }
                self.dirs(*a, *b)
            }
            (Kind::Dir(_), _) | (_, Kind::Dir(_)) => {
                self.whole(old, |item| Change::Removed(item))?;
                self.whole(new, |item| Change::Added(item))
            }
            _ if old != new => (self.visit)(&self.path, Change::Changed(old, new)),
            _ => Ok(()),
        }
    }

    fn whole(&mut self, item: &Item, change: fn(&Item) -> Change<'_>) -> Result<(), E> {
        (self.visit)(&self.path, change(item))?;
        let Kind::Dir(dir) = item.kind else { return Ok(()) };
        let visit = &mut *self.visit;
        walk(self.nodes, dir, &self.path, &mut |path, item| visit(path, change(item)))
    }
}

/// The entries, in order, of the leaf nodes that only one of two directories has. What stands in a shared leaf
/// is equal on both sides, so nothing else can differ; some of what is returned is equal, too.
pub fn differing_entries(
    nodes: &(impl Nodes + ?Sized),
    old: NodeId,
    new: NodeId,
) -> Result<(Vec<Entry>, Vec<Entry>), NodeError> {
    let (mut old_level, mut new_level) = (vec![old], vec![new]);
    let (mut old_entries, mut new_entries) = (Vec::new(), Vec::new());
    // The two directories may stand on index levels of different heights, so a node that is shared may come
    // up on one side earlier than on the other; it then differs from itself in nothing, at some cost only.
    while !old_level.is_empty() || !new_level.is_empty() {
        let known: HashSet<NodeId> = old_level.iter().copied().collect();
        let shared: HashSet<NodeId> = new_level.iter().copied().filter(|id| known.contains(id)).collect();
        old_level = open_level(nodes, &old_level, &shared, &mut old_entries)?;
        new_level = open_level(nodes, &new_level, &shared, &mut new_entries)?;
    }
    old_entries.sort_by(|a: &Entry, b| a.name.cmp(&b.name));
    new_entries.sort_by(|a: &Entry, b| a.name.cmp(&b.name));
    Ok((old_entries, new_entries))
}

/// Opens the nodes of one level that are not `shared`: leaves go to `entries`, what is below index nodes is
/// returned.
fn open_level(
    nodes: &(impl Nodes + ?Sized),
    level: &[NodeId],
    shared: &HashSet<NodeId>,
    entries: &mut Vec<Entry>,
) -> Result<Vec<NodeId>, NodeError> {
    let mut below = Vec::new();
    for id in level.iter().filter(|id| !shared.contains(id)) {
        // Nobody else has a node that was just read, and it need not be copied.
        match Arc::unwrap_or_clone(nodes.node(*id)?) {
            Node::Leaf(leaf) if entries.is_empty() => *entries = leaf,
            Node::Leaf(leaf) => entries.extend(leaf),
            Node::Index(chunks) => below.extend(chunks.iter().map(|chunk| chunk.id)),
        }
    }
    Ok(below)
}

#[cfg(test)]
mod tests;
