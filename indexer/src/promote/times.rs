//! Times that tell mirrors what changed.
//!
//! Always true of a settled tree: content that changed at a path has a later time than before, by a second at
//! least (otherwise rsync, nginx and mirror scripts never repair what they have); a directory's time moves when
//! one of its direct children came, went or changed, and only then (mirror managers read a repository again
//! only if its directory's time moved). The cost follows the difference.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use cfs_fs::diff::differing_entries;
use cfs_fs::name::Name;
use cfs_fs::tree::{Dir, Entry, Item, Kind, NodeError, Stage, read_dir};

use super::flip::Change;

/// Gives the new tree of a view the times that follow from its old one.
pub(super) fn settle(stage: &mut Stage<'_>, change: &mut Change) -> Result<(), NodeError> {
    let Some((old, new)) = change.dirs() else { return Ok(()) };
    if change.current.is_none() {
        return Ok(());
    }
    let mut settling = Settling { stage, bumped: &mut change.bumped };
    change.new = settling.dir("", (old, change.old.mtime), (new, change.new.mtime))?;
    Ok(())
}

struct Settling<'a, 's> {
    stage: &'a mut Stage<'s>,
    bumped: &'a mut Vec<String>,
}

impl Settling<'_, '_> {
    fn dir(&mut self, path: &str, old: (Dir, i64), new: (Dir, i64)) -> Result<Item, NodeError> {
        let ((old, old_mtime), (new, new_mtime)) = (old, new);
        if old.id == new.id {
            return Ok(Item { mtime: old_mtime, kind: Kind::Dir(new) });
        }
        let (before, after) = differing_entries(self.stage, old.id, new.id)?;
        let mut replaced = BTreeMap::new();
        let mut direct = false;
        let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some(a), Some(b)) => a.name.cmp(&b.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let a = if order.is_le() { before.next() } else { None };
            let b = if order.is_ge() { after.next() } else { None };
            let (Some(a), Some(b)) = (a, b) else {
                direct = true;
                continue;
            };
            let settled = self.entry(path, a, b)?;
            direct |= !same(&a.item, &settled);
            if settled != b.item {
                replaced.insert(b.name.clone(), settled);
            }
        }
        let dir = if replaced.is_empty() { new } else { self.replace(new, &replaced)? };
        let mtime = if direct { new_mtime.max(old_mtime.saturating_add(1)) } else { old_mtime };
        Ok(Item { mtime, kind: Kind::Dir(dir) })
    }

    /// What stands at a name after the flip, when something stood there before.
    fn entry(&mut self, dir: &str, old: &Entry, new: &Entry) -> Result<Item, NodeError> {
        let path = || if dir.is_empty() { new.name.to_string() } else { format!("{dir}/{}", new.name) };
        let changed = match (&old.item.kind, &new.item.kind) {
            (Kind::Dir(a), Kind::Dir(b)) => {
                return self.dir(&path(), (*a, old.item.mtime), (*b, new.item.mtime));
            }
            (Kind::File { blob: a, .. }, Kind::File { blob: b, .. }) => a != b,
            (a, b) => a != b,
        };
        if !changed && new.item.kind == old.item.kind && new.item.mtime < old.item.mtime {
            // Its time was moved on before: promoting the same again changes nothing.
            return Ok(old.item.clone());
        }
        if !changed || new.item.mtime > old.item.mtime {
            return Ok(new.item.clone());
        }
        self.bumped.push(path());
        Ok(Item { mtime: old.item.mtime.saturating_add(1), kind: new.item.kind.clone() })
    }

    fn replace(&mut self, dir: Dir, replaced: &BTreeMap<Name, Item>) -> Result<Dir, NodeError> {
        let mut entries = read_dir(self.stage, dir.id)?;
        for entry in &mut entries {
            if let Some(item) = replaced.get(&entry.name) {
                entry.item = item.clone();
            }
        }
        Ok(self.stage.write_dir(&entries))
    }
}

/// Whether a child is the same; what happens below a directory is that directory's affair.
fn same(old: &Item, new: &Item) -> bool {
    old == new || matches!((&old.kind, &new.kind), (Kind::Dir(_), Kind::Dir(_)))
}
