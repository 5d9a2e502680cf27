//! The shapes of promotion: what becomes of a place when trees are promoted to it.
//!
//! Always true: what is equal on both sides is not opened, so the cost follows the difference; trees that are
//! laid over each other never disagree silently.

use std::collections::BTreeMap;
use std::path::Path;

use cfs_fs::digest::SnapshotId;
use cfs_fs::edit::{direct_change, graft};
use cfs_fs::import::symlink_target;
use cfs_fs::name::Name;
use cfs_fs::tree::{Dir, Entry, Item, Kind, NodeError, Stage, read_dir, resolve};

use super::flip::{Arrival, Flip};
use super::{Pattern, PromoteError, Step};
use crate::depot::Depot;
use crate::revision::{RefPath, RevPath, When};

/// Paths of a conflict that are named.
const CONFLICTS_NAMED: usize = 10;

/// Makes a step of a request part of a flip.
pub(super) fn step(depot: &Depot, flip: &mut Flip, step: &Step, now: i64) -> Result<(), PromoteError> {
    let Some(number) = flip.changes.iter().position(|change| change.name == step.to.name) else {
        return Ok(());
    };
    let mut stage = flip.take_stage(depot);
    let mut arrivals = Vec::new();
    let mut merged: Option<Item> = None;
    for source in &step.from {
        let (item, snapshot) = find(depot, &stage, flip, source)?;
        if step.to.path.is_root() && !matches!(item.kind, Kind::Dir(_)) {
            return Err(PromoteError::NotADirectory { source_path: source.clone(), target: step.to.clone() });
        }
        arrivals.push(Arrival { source: source.clone(), snapshot, target: step.to.path.clone() });
        merged = Some(match merged {
            None => item,
            Some(before) => merge(&mut stage, step, &before, &item)?,
        });
    }
    let Some(merged) = merged else { return Ok(()) };
    let change = &flip.changes[number];
    let old = resolve(&stage, &change.new, &step.to.path)?;
    let new = match &old {
        _ if step.keep || !step.exclude.is_empty() || !step.protect.is_empty() => {
            let mut layer = Layer { stage: &mut stage, step, keep: step.keep };
            layer.lay("", old.as_ref(), Some(&merged))?.unwrap_or(merged)
        }
        _ => merged,
    };
    let top = graft(&mut stage, &change.new, &step.to.path, new, now)?;
    flip.put_back(stage);
    flip.changes[number].new = top;
    for arrival in &arrivals {
        let meta = &mut flip.changes[number].meta;
        let words = meta.entry("promote.source".to_owned()).or_default();
        if !words.is_empty() {
            words.push_str(", ");
        }
        words.push_str(&arrival.source.to_string());
    }
    flip.changes[number].arrivals.extend(arrivals);
    Ok(())
}

/// Makes a symlink of a view say `target`.
pub(super) fn link(
    depot: &Depot,
    flip: &mut Flip,
    at: &RefPath,
    target: &str,
    now: i64,
) -> Result<(), PromoteError> {
    let Some(number) = flip.changes.iter().position(|change| change.name == at.name) else { return Ok(()) };
    let mut stage = flip.take_stage(depot);
    let top = &flip.changes[number].new;
    let Some(target) = symlink_target(Path::new(target)) else {
        return Err(PromoteError::Link { at: at.clone(), target: target.to_owned() });
    };
    let kind = Kind::Symlink { target };
    let old = resolve(&stage, top, &at.path)?;
    let new = match old {
        // It says that already.
        Some(old) if old.kind == kind => top.clone(),
        _ => graft(&mut stage, top, &at.path, Item { mtime: now, kind }, now)?,
    };
    flip.put_back(stage);
    flip.changes[number].new = new;
    Ok(())
}

/// What a source names: in what an earlier step of the same flip has made of a view, or in a snapshot.
fn find(
    depot: &Depot,
    stage: &Stage<'_>,
    flip: &Flip,
    source: &RevPath,
) -> Result<(Item, Option<SnapshotId>), PromoteError> {
    let missing = || PromoteError::NoSource { source_path: source.clone() };
    let revision = &source.revision;
    let planned = flip.changes.iter().find(|change| {
        change.name == revision.base && revision.when == When::Now && !change.arrivals.is_empty()
    });
    let (root, snapshot) = if let Some(change) = planned {
        (change.new.clone(), None)
    } else {
        let (id, snapshot) = depot.catalogue.resolve(revision)?;
        (snapshot.root_item(), Some(id))
    };
    let item = resolve(stage, &root, &source.path)?.ok_or_else(missing)?;
    Ok((item, snapshot))
}

/// Two trees as one.
fn merge(stage: &mut Stage<'_>, step: &Step, first: &Item, second: &Item) -> Result<Item, PromoteError> {
    let mut merging = Merging { stage, step, conflicts: Vec::new() };
    let item = merging.merge("", first, second)?;
    if merging.conflicts.is_empty() {
        return Ok(item);
    }
    let mut paths = merging.conflicts;
    paths.truncate(CONFLICTS_NAMED);
    Err(PromoteError::Conflict { target: step.to.clone(), paths })
}

struct Merging<'a, 's> {
    stage: &'a mut Stage<'s>,
    step: &'a Step,
    conflicts: Vec<String>,
}

impl Merging<'_, '_> {
    fn merge(&mut self, path: &str, first: &Item, second: &Item) -> Result<Item, NodeError> {
        let (Kind::Dir(a), Kind::Dir(b)) = (&first.kind, &second.kind) else {
            let excluded = matches(&self.step.exclude, path, false);
            if first.kind != second.kind && !excluded {
                self.conflicts.push(path.to_owned());
            }
            return Ok(first.clone());
        };
        let mtime = first.mtime.max(second.mtime);
        if a.id == b.id || !path.is_empty() && matches(&self.step.exclude, path, true) {
            return Ok(Item { mtime, kind: first.kind.clone() });
        }
        let mut entries: BTreeMap<Name, Item> =
            read_dir(self.stage, a.id)?.into_iter().map(|entry| (entry.name, entry.item)).collect();
        for Entry { name, item } in read_dir(self.stage, b.id)? {
            let merged = match entries.get(&name) {
                Some(there) => self.merge(&below(path, &name), &there.clone(), &item)?,
                None => item,
            };
            entries.insert(name, merged);
        }
        Ok(Item { mtime, kind: Kind::Dir(write(self.stage, entries)) })
    }
}

/// Lays new content on old where old content or patterns have a say.
struct Layer<'a, 's> {
    stage: &'a mut Stage<'s>,
    step: &'a Step,
    /// Whether what only the old content has stays.
    keep: bool,
}

impl Layer<'_, '_> {
    /// What stands at `path` afterwards.
    fn lay(&mut self, path: &str, old: Option<&Item>, new: Option<&Item>) -> Result<Option<Item>, NodeError> {
        let is_dir = |item: &Item| matches!(item.kind, Kind::Dir(_));
        let meant = |patterns: &[Pattern], item: &Item| matches(patterns, path, is_dir(item));
        if !path.is_empty() {
            if old.is_some_and(|old| meant(&self.step.exclude, old) || meant(&self.step.protect, old)) {
                return Ok(old.cloned());
            }
            if new.is_some_and(|new| meant(&self.step.exclude, new)) {
                return if self.keep { Ok(old.cloned()) } else { self.lay_nothing(path, old) };
            }
        }
        match (old, new) {
            (None, None) => Ok(None),
            (Some(_), None) if self.keep => Ok(old.cloned()),
            (Some(_), None) => self.lay_nothing(path, old),
            (_, Some(new)) if !is_dir(new) => Ok(Some(new.clone())),
            (_, Some(new)) => self.lay_dir(path, old, new).map(Some),
        }
    }

    /// What is left of `old` where nothing new stands: what patterns keep.
    fn lay_nothing(&mut self, path: &str, old: Option<&Item>) -> Result<Option<Item>, NodeError> {
        let Some(Item { mtime, kind: Kind::Dir(dir) }) = old else { return Ok(None) };
        let mut left = BTreeMap::new();
        for Entry { name, item } in read_dir(self.stage, dir.id)? {
            if let Some(item) = self.lay(&below(path, &name), Some(&item), None)? {
                left.insert(name, item);
            }
        }
        let some = !left.is_empty();
        Ok(some.then(|| Item { mtime: *mtime, kind: Kind::Dir(write(self.stage, left)) }))
    }

    fn lay_dir(&mut self, path: &str, old: Option<&Item>, new: &Item) -> Result<Item, NodeError> {
        let Kind::Dir(dir) = new.kind else { return Ok(new.clone()) };
        let old_dir = match old.map(|old| &old.kind) {
            Some(Kind::Dir(old)) if old.id == dir.id => return Ok(new.clone()),
            Some(Kind::Dir(old)) => read_dir(self.stage, old.id)?,
            _ => Vec::new(),
        };
        let mut before: BTreeMap<Name, Item> =
            old_dir.iter().map(|entry| (entry.name.clone(), entry.item.clone())).collect();
        let mut laid = BTreeMap::new();
        let new_entries = read_dir(self.stage, dir.id)?;
        // The metadata of a repository that comes is whole: what older metadata there was would only add up.
        let is_metadata =
            is_repodata(path) && new_entries.iter().any(|entry| entry.name.as_str() == "repomd.xml");
        let keep = self.keep;
        self.keep &= !is_metadata;
        for Entry { name, item } in new_entries {
            let there = before.remove(&name);
            if let Some(item) = self.lay(&below(path, &name), there.as_ref(), Some(&item))? {
                laid.insert(name, item);
            }
        }
        for (name, item) in before {
            if let Some(item) = self.lay(&below(path, &name), Some(&item), None)? {
                laid.insert(name, item);
            }
        }
        self.keep = keep;
        let entries: Vec<Entry> = laid.into_iter().map(|(name, item)| Entry { name, item }).collect();
        let mtime = match old {
            Some(Item { mtime, kind: Kind::Dir(_) }) if !direct_change(&old_dir, &entries) => *mtime,
            Some(Item { mtime, kind: Kind::Dir(_) }) => new.mtime.max(mtime.saturating_add(1)),
            _ => new.mtime,
        };
        Ok(Item { mtime, kind: Kind::Dir(self.stage.write_dir(&entries)) })
    }
}

/// Whether this is where repositories have their metadata.
fn is_repodata(path: &str) -> bool {
    path.rsplit('/').next() == Some("repodata")
}

fn write(stage: &mut Stage<'_>, entries: BTreeMap<Name, Item>) -> Dir {
    let entries: Vec<Entry> = entries.into_iter().map(|(name, item)| Entry { name, item }).collect();
    stage.write_dir(&entries)
}

fn matches(patterns: &[Pattern], path: &str, is_dir: bool) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path, is_dir))
}

fn below(path: &str, name: &Name) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}/{name}") }
}
