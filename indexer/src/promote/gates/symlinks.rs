//! The gate `symlinks`: they are relative, stay inside the view, and lead somewhere.
//!
//! A link may break although nothing near it changed, so where something was removed all links of the view are
//! followed; directories without any are not opened.

use std::collections::BTreeSet;

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::Digest;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, for_each_entry, lookup};

use super::{Check, Gate, PromoteError, Scene, join};

/// Links that lead to links are followed as far as the kernel follows them.
const FOLLOW_MAX: usize = 40;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Symlinks);
    let Some((old, new)) = scene.change.dirs() else { return Ok(check) };
    let key = |dir: Dir| *Digest::of(format!("symlinks 1 {}", dir.id).as_bytes()).as_bytes();
    if scene.memory.knows(&key(new)) {
        return Ok(check);
    }
    let mut links: BTreeSet<(String, Box<str>)> = BTreeSet::new();
    let mut all = !scene.memory.knows(&key(old));
    if !all {
        diff(scene, old, new, &mut |path, change| {
            match change {
                Change::Added(item) | Change::Changed(_, item) => {
                    if let Kind::Symlink { target } = &item.kind {
                        links.insert((path.to_owned(), target.clone()));
                    }
                }
                Change::Removed(_) => all = true,
            }
            Ok::<(), NodeError>(())
        })?;
    }
    if all {
        collect(scene, new, "", &mut links)?;
    }
    for (path, target) in links {
        if let Some(reason) = fault(scene, new, &path, &target)? {
            check.find(format!("{path} -> {target}: {reason}"));
        }
    }
    scene.passed.borrow_mut().push(key(new));
    Ok(check)
}

/// Finds all links below a directory.
fn collect(
    scene: &Scene<'_>,
    dir: Dir,
    path: &str,
    links: &mut BTreeSet<(String, Box<str>)>,
) -> Result<(), NodeError> {
    if dir.sums.symlinks == 0 {
        return Ok(());
    }
    for_each_entry(scene, dir.id, &mut |entry| match &entry.item.kind {
        Kind::File { .. } => Ok(()),
        Kind::Symlink { target } => {
            links.insert((join(path, entry.name.as_str()), target.clone()));
            Ok(())
        }
        Kind::Dir(below) => collect(scene, *below, &join(path, entry.name.as_str()), links),
    })
}

/// What is wrong with a link.
fn fault(scene: &Scene<'_>, root: Dir, path: &str, target: &str) -> Result<Option<&'static str>, NodeError> {
    if target.starts_with('/') {
        return Ok(Some("is absolute"));
    }
    let top = Item { mtime: 0, kind: Kind::Dir(root) };
    // The directories that were gone through, and the names that are still to be gone.
    let mut trail = vec![top];
    let mut names: Vec<String> =
        path.rsplit_once('/').map_or("", |(dir, _)| dir).split('/').map(str::to_owned).collect();
    names.extend(target.split('/').map(str::to_owned));
    names.reverse();
    let mut followed = 0;
    while let Some(name) = names.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                if trail.len() == 1 {
                    return Ok(Some("leads out of the view"));
                }
                trail.pop();
                continue;
            }
            _ => {}
        }
        let Some(Item { kind: Kind::Dir(here), .. }) = trail.last() else {
            return Ok(Some("leads through a file"));
        };
        let Some(item) = lookup(scene, here.id, &name)? else { return Ok(Some("leads nowhere")) };
        if let Kind::Symlink { target } = &item.kind {
            followed += 1;
            if followed > FOLLOW_MAX {
                return Ok(Some("leads to itself"));
            }
            if target.starts_with('/') {
                return Ok(Some("leads to an absolute one"));
            }
            names.extend(target.split('/').rev().map(str::to_owned));
        } else {
            trail.push(item);
        }
    }
    Ok(None)
}
