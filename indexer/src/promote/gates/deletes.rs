//! The gate `deletes`: not more is removed than anybody could have meant.
//!
//! A number of files, and a part of what the places that are promoted to had before, whichever is less.
//! Directories do not count; a file that becomes another does not either. And no repository loses its last package:
//! one that does is a small part of a large view, but all of itself.

use cfs_fs::diff::{Change, diff};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeError, Sums, resolve};

use super::{Check, Gate, PromoteError, Scene};
use crate::repository::{self, List, REPOMD};

/// More than the primary metadata of no package has, compressed or not.
const EMPTY_BYTES_MAX: u64 = 4096;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Deletes);
    let Some((old, new)) = scene.change.dirs() else { return Ok(check) };
    let mut removed = 0_u64;
    let mut first = None;
    let mut repositories: Vec<TreePath> = Vec::new();
    diff(scene, old, new, &mut |path, change| {
        if let Change::Removed(item) = change
            && !matches!(item.kind, Kind::Dir(_))
        {
            removed += 1;
            first.get_or_insert_with(|| path.to_owned());
        }
        if let Change::Changed(..) = change
            && let Some(dir) = path.strip_suffix(REPOMD)
        {
            // What is in a tree is a path.
            repositories.extend(dir.trim_end_matches('/').parse::<TreePath>());
        }
        Ok::<(), NodeError>(())
    })?;
    let before = before(scene)?;
    let change = scene.change;
    let policy = &change.policy;
    let (most, percent) = (policy.max_deletes(), policy.max_deletes_percent());
    let part = before.saturating_mul(percent) / 100;
    let allowed = scene.wishes.allow_deletes.unwrap_or(most.min(part));
    if removed > allowed {
        let first = first.unwrap_or_default();
        check.find(format!(
            "{removed} files of {before} would be removed (the first is {first}); {allowed} are allowed"
        ));
    }
    for at in repositories {
        if has_packages(scene, &change.old, &at)? && !has_packages(scene, &change.new, &at)? {
            check.find(format!("{at} would have no packages any more"));
        }
    }
    Ok(check)
}

/// Whether the repository at `at` lists any package; one that cannot be read may.
fn has_packages(scene: &Scene<'_>, top: &Item, at: &TreePath) -> Result<bool, PromoteError> {
    let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(scene, top, at)? else { return Ok(true) };
    let Some(Ok(repomd)) = repository::repomd(scene.depot, scene, dir)? else { return Ok(true) };
    let size_bytes = repomd.record("primary").and_then(|record| record.size_bytes);
    if size_bytes.is_none_or(|size| size > EMPTY_BYTES_MAX) {
        return Ok(true);
    }
    let list = List::of(scene.depot, scene.memory, scene, dir, &repomd)?;
    Ok(list.map_or(true, |list| list.lines().next().is_some()))
}

/// How many files the places that are promoted to have now.
fn before(scene: &Scene<'_>) -> Result<u64, NodeError> {
    let change = scene.change;
    let mut places: Vec<TreePath> = change.arrivals.iter().map(|arrival| arrival.target.clone()).collect();
    if places.is_empty() {
        places.push(TreePath::root());
    }
    places.sort_unstable();
    places.dedup();
    let mut files = 0;
    for place in places {
        let mut sums = Sums::default();
        if let Some(item) = resolve(scene, &change.old, &place)? {
            sums.add(&item);
        }
        files += sums.files + sums.symlinks;
    }
    Ok(files)
}
