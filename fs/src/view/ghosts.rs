//! Names that a promotion removed, for those who still come for them.
//!
//! A client that read an index just before a flip asks for what it names just after. So a path that is absent
//! in a ref's generation is looked for in the generations before it, as long as they ended within the
//! [`Grace`]. Only exact paths find ghosts; listings never show them.
//!
//! Always true: nothing is stored for ghosts; what a generation has at a path hides every ghost there; the
//! generation that had the path last tells what the ghost is, and when it goes.

use std::collections::HashSet;

use super::ViewError;
use super::roots::{Past, Roots};
use crate::digest::{NodeId, SnapshotId};
use crate::name::TreePath;
use crate::tree::{self, Item, Kind, Nodes};

/// How long removed names are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Seconds after the flip that removed a name.
    pub seconds: u32,
    /// So many earlier generations are looked at, and no more.
    pub generations: usize,
}

impl Grace {
    /// No ghosts at all.
    pub const NONE: Self = Self { seconds: 0, generations: 0 };
}

impl Default for Grace {
    /// Three days, as mirrors may lag so far.
    fn default() -> Self {
        Self { seconds: 72 * 3600, generations: 1000 }
    }
}

/// A generation of a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<'a> {
    /// The ref; not a symbolic one.
    pub name: &'a TreePath,
    /// Its generation.
    pub generation: u64,
    /// The snapshot that it names.
    pub id: SnapshotId,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The file, directory or symlink.
    pub item: Item,
    /// The generation that has it. Earlier than the one asked, it is a ghost.
    pub generation: u64,
    /// The snapshot that has it.
    pub snapshot: SnapshotId,
    /// Of a ghost: the second since 1970 from which on it is not found any more.
    pub until: Option<i64>,
}

/// Returns what stands at `path` of a generation, symlinks not followed, or else its ghost. `now` is in
/// seconds since 1970. Each question reads the roots of snapshots, so `roots` should remember them
/// ([`Kept`](super::roots::Kept)).
pub fn resolve(
    roots: &dyn Roots,
    nodes: &impl Nodes,
    at: &At<'_>,
    path: &TreePath,
    now: i64,
    grace: Grace,
) -> Result<Option<Resolved>, ViewError> {
    let root = roots.snapshot(at.id).map_err(|source| ViewError::roots(at.id, source))?;
    let root = root.ok_or(ViewError::NoSuchSnapshot { id: at.id })?;
    if let Some(item) = tree::resolve(nodes, &root.item, path)? {
        return Ok(Some(Resolved { item, generation: at.generation, snapshot: at.id, until: None }));
    }
    find(roots, nodes, at, path, now, grace)
}

/// Returns the ghost at a `path` that the generation does not have.
pub fn find(
    roots: &dyn Roots,
    nodes: &impl Nodes,
    at: &At<'_>,
    path: &TreePath,
    now: i64,
    grace: Grace,
) -> Result<Option<Resolved>, ViewError> {
    if grace.generations == 0 || path.is_root() {
        return Ok(None);
    }
    let seconds = i64::from(grace.seconds);
    // What ends at this second is over.
    let since = now.saturating_sub(seconds).saturating_add(1);
    let past = roots
        .past(at.name, at.generation, since, grace.generations)
        .map_err(|source| ViewError::roots(at.name, source))?;
    let names: Vec<&str> = path.components().collect();
    let mut searched = HashSet::new();
    for Past { generation, id, ended } in past {
        // A snapshot that is gone has no ghosts.
        let Some(root) = roots.snapshot(id).map_err(|source| ViewError::roots(id, source))? else { continue };
        if let Some(item) = descend(nodes, root.item, &names, &mut searched)? {
            let until = Some(ended.saturating_add(seconds));
            return Ok(Some(Resolved { item, generation, snapshot: id, until }));
        }
    }
    Ok(None)
}

/// Goes down from `item` by `names`, except through directories that were `searched` at that depth before:
/// generations share most of them.
fn descend(
    nodes: &impl Nodes,
    item: Item,
    names: &[&str],
    searched: &mut HashSet<(usize, NodeId)>,
) -> Result<Option<Item>, ViewError> {
    let mut item = item;
    for (depth, name) in names.iter().enumerate() {
        let Kind::Dir(dir) = item.kind else { return Ok(None) };
        if !searched.insert((depth, dir.id)) {
            return Ok(None);
        }
        match tree::lookup(nodes, dir.id, name)? {
            Some(below) => item = below,
            None => return Ok(None),
        }
    }
    Ok(Some(item))
}
