//! The gate `deletes`: not more is removed than anybody could have meant.
//!
//! A number of files, and a part of what the places that are promoted to had before, whichever is less.
//! Directories do not count; a file that becomes another does not either.

use cfs_fs::diff::{Change, diff};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Kind, NodeError, Sums, resolve};

use super::{Check, Gate, PromoteError, Scene};

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Deletes);
    let Some((old, new)) = scene.change.dirs() else { return Ok(check) };
    let mut removed = 0_u64;
    let mut first = None;
    diff(scene, old, new, &mut |path, change| {
        if let Change::Removed(item) = change
            && !matches!(item.kind, Kind::Dir(_))
        {
            removed += 1;
            first.get_or_insert_with(|| path.to_owned());
        }
        Ok::<(), NodeError>(())
    })?;
    let before = before(scene)?;
    let policy = &scene.change.policy;
    let (most, percent) = (policy.max_deletes(), policy.max_deletes_percent());
    let part = before.saturating_mul(percent) / 100;
    let allowed = scene.wishes.allow_deletes.unwrap_or(most.min(part));
    if removed > allowed {
        let first = first.unwrap_or_default();
        check.find(format!(
            "{removed} files of {before} would be removed (the first is {first}); {allowed} are allowed"
        ));
    }
    Ok(check)
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
