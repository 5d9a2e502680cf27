//! Times that tell mirrors what changed.
//!
//! Always true of a settled tree: content that changed at a path has a later time than before, by a second at
//! least (otherwise rsync, nginx and mirror scripts never repair what they have); a directory's time moves when
//! one of its direct children came, went or changed, and only then (mirror managers read a repository again
//! only if its directory's time moved). The cost follows the difference.

use cfs_fs::diff::differing_entries;
use cfs_fs::tree::{Dir, Entry, Item, Kind, NodeError, Stage, Sums, read_dir};

use super::flip::Change;
use crate::catalogue::Taken;

/// Gives the new tree of a view the times that follow from its old one.
pub(super) fn settle(stage: &mut Stage<'_>, change: &mut Change) -> Result<(), NodeError> {
    let Some((old, new)) = change.dirs() else { return Ok(()) };
    if change.current.is_none() {
        return Ok(());
    }
    let mut settling = Settling { stage, bumped: &mut change.bumped, taken: &mut change.taken };
    change.new = settling.dir("", (old, change.old.mtime), (new, change.new.mtime))?;
    Ok(())
}

struct Settling<'a, 's> {
    stage: &'a mut Stage<'s>,
    bumped: &'a mut Vec<String>,
    taken: &'a mut Taken,
}

impl Settling<'_, '_> {
    fn dir(&mut self, path: &str, old: (Dir, i64), new: (Dir, i64)) -> Result<Item, NodeError> {
        let ((old, old_mtime), (new, new_mtime)) = (old, new);
        if old.id == new.id {
            return Ok(Item { mtime: old_mtime, kind: Kind::Dir(new) });
        }
        let (before, mut after) = differing_entries(self.stage, old.id, new.id)?;
        let (mut direct, mut replaced) = (false, false);
        let mut before = before.iter().peekable();
        for b in &mut after {
            while before.next_if(|a| a.name < b.name).is_some() {
                direct = true;
            }
            let Some(a) = before.next_if(|a| a.name == b.name) else {
                direct = true;
                continue;
            };
            let settled = self.entry(path, a, b)?;
            direct |= !same(&a.item, &settled);
            if settled != b.item {
                b.item = settled;
                replaced = true;
            }
        }
        direct |= before.next().is_some();
        let dir = if replaced { self.replace(new, after)? } else { new };
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

    /// The directory with `replaced` in the place of those of its entries that have their names; what changed in
    /// them are times.
    fn replace(&mut self, dir: Dir, replaced: Vec<Entry>) -> Result<Dir, NodeError> {
        if !self.stage.wrote(dir.id) {
            self.taken.add(dir.id, &replaced);
        }
        // Nothing counts for nothing, so they are all when they add up to the same.
        if Sums::of(&replaced) == dir.sums {
            return Ok(self.stage.write_dir(&replaced));
        }
        let mut entries = read_dir(self.stage, dir.id)?;
        let mut replaced = replaced.into_iter().peekable();
        for entry in &mut entries {
            if let Some(new) = replaced.next_if(|new| new.name == entry.name) {
                *entry = new;
            }
        }
        Ok(self.stage.write_dir(&entries))
    }
}

/// Whether a child is the same; what happens below a directory is that directory's affair.
fn same(old: &Item, new: &Item) -> bool {
    old == new || matches!((&old.kind, &new.kind), (Kind::Dir(_), Kind::Dir(_)))
}
