//! The tree of a repository, with times that move only where something moved.
//!
//! A new directory is as old as the newest thing in it. One whose direct children came, went or changed is at
//! least a second newer than before, so that every client notices; any other keeps its time.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use cfs_fs::digest::NodeId;
use cfs_fs::edit;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Entry, Item, Kind, NodeError, Stage, read_dir, resolve};
use cfs_fs::walk::walk;

use super::{Keep, SyncError};
use crate::depot::Depot;

/// `items`, and what is to stay of the tree `old`, unless they have something else at its path.
pub(super) fn with_kept(
    depot: &Depot,
    old: &Item,
    keep: Keep,
    items: &[(TreePath, Item)],
) -> Result<Vec<(TreePath, Item)>, SyncError> {
    let Kind::Dir(dir) = old.kind else { return Ok(items.to_vec()) };
    let taken: HashSet<&str> = items.iter().map(|(path, _)| path.as_str()).collect();
    let mut all = items.to_vec();
    walk(&depot.catalogue, dir, "", &mut |path, item| {
        let is_package = Path::new(path).extension().is_some_and(|extension| extension == "rpm");
        let stays = !matches!(item.kind, Kind::Dir(_))
            && !path.starts_with("repodata/")
            && (keep == Keep::Packages || !is_package)
            && !taken.contains(path);
        if stays && let Ok(path) = TreePath::new(path) {
            all.push((path, item.clone()));
        }
        Ok::<_, NodeError>(())
    })?;
    Ok(all)
}

/// Builds the tree of `items`; returns its top with the nodes that may be new.
pub(super) fn build(
    depot: &Depot,
    old: Option<&Item>,
    items: &[(TreePath, Item)],
) -> Result<(Item, HashMap<NodeId, Vec<u8>>), SyncError> {
    let mut stage = Stage::new(&depot.catalogue);
    let mut failed = None;
    let tree = edit::build(&mut stage, items.iter().cloned(), &mut |path, entries| {
        let newest = entries.iter().map(|entry| entry.item.mtime).max().unwrap_or(0);
        match old_dir(depot, old, path) {
            Ok(None) => newest,
            Ok(Some((mtime, before))) if same(&before, entries) => mtime,
            Ok(Some((mtime, _))) => newest.max(mtime.saturating_add(1)),
            Err(error) => {
                failed = Some(error);
                newest
            }
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((tree, stage.into_new_nodes())),
    }
}

/// The directory at `path` of the old tree: its time and its entries.
fn old_dir(
    depot: &Depot,
    old: Option<&Item>,
    path: &TreePath,
) -> Result<Option<(i64, Vec<Entry>)>, NodeError> {
    let Some(old) = old else { return Ok(None) };
    match resolve(&depot.catalogue, old, path)? {
        Some(Item { mtime, kind: Kind::Dir(dir) }) => Ok(Some((mtime, read_dir(&depot.catalogue, dir.id)?))),
        _ => Ok(None),
    }
}

/// Whether no direct child came, went or changed; what changed below a child directory is that one's affair.
fn same(before: &[Entry], now: &[Entry]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|(a, b)| {
            a.name == b.name
                && (a.item == b.item || matches!((&a.item.kind, &b.item.kind), (Kind::Dir(_), Kind::Dir(_))))
        })
}
