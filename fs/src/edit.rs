//! New trees out of old ones: put a subtree somewhere, build one from a list.
//!
//! Always true: only the directories on the way to a change are written again; everything else is shared by
//! id. Times of directories follow one rule: a directory's own time moves only when one of its direct
//! children comes, goes or changes, then by at least a second; a change below a child directory is that
//! child's affair.

use std::collections::BTreeMap;

use crate::name::{Name, TreePath};
use crate::tree::{Entry, Item, Kind, NodeError, Stage, read_dir, resolve};

/// Why an edit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A part of the path is a file or a symlink.
    #[error("{path}: is not a directory")]
    NotADirectory {
        /// The path that is something else.
        path: TreePath,
    },
    /// Two different things are said to stand at one path, or one below a file.
    #[error("{path}: is there twice")]
    Twice {
        /// The path that is taken.
        path: TreePath,
    },
    /// A node of the old tree cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// An empty directory.
pub fn empty_dir(stage: &mut Stage<'_>, mtime: i64) -> Item {
    Item { mtime, kind: Kind::Dir(stage.write_dir(&[])) }
}

/// Returns `root` with `item` standing at `path` instead of whatever was there. Directories on the way that
/// do not exist are made with the time `now` (seconds); the directory that gains or replaces the name gets
/// the time `now` too, unless the replaced item was a directory as the new one is.
pub fn graft(
    stage: &mut Stage<'_>,
    root: &Item,
    path: &TreePath,
    item: Item,
    now: i64,
) -> Result<Item, EditError> {
    let names: Vec<&str> = path.components().collect();
    graft_at(stage, Some(root), &names, 0, item, now)
}

fn graft_at(
    stage: &mut Stage<'_>,
    here: Option<&Item>,
    names: &[&str],
    depth: usize,
    item: Item,
    now: i64,
) -> Result<Item, EditError> {
    let at = |depth: usize| TreePath::new(names[..depth].join("/")).unwrap_or_default();
    let Some(name) = names.get(depth) else { return Ok(item) };
    let (mut entries, mtime) = match here {
        None => (Vec::new(), now),
        Some(Item { mtime, kind: Kind::Dir(dir) }) => (read_dir(stage, dir.id)?, *mtime),
        Some(_) => return Err(EditError::NotADirectory { path: at(depth) }),
    };
    let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(name));
    let old = found.ok().map(|at| entries[at].item.clone());
    let new = graft_at(stage, old.as_ref(), names, depth + 1, item, now)?;
    let same_name = matches!((&old, &new.kind), (Some(Item { kind: Kind::Dir(_), .. }), Kind::Dir(_)))
        || old.as_ref() == Some(&new);
    match found {
        Ok(at) => entries[at].item = new,
        Err(index) => {
            entries.insert(index, Entry { name: Name::of_component(name), item: new });
        }
    }
    let mtime = if same_name || here.is_none() { mtime } else { now.max(mtime.saturating_add(1)) };
    Ok(Item { mtime, kind: Kind::Dir(stage.write_dir(&entries)) })
}

/// Returns `root` without what stands at `path`, if anything does; the directory that loses it gets the time
/// `now` (seconds).
pub fn prune(stage: &mut Stage<'_>, root: &Item, path: &TreePath, now: i64) -> Result<Item, NodeError> {
    let Some((parent, name)) = path.split_last() else { return Ok(root.clone()) };
    let Some(Item { mtime, kind: Kind::Dir(dir) }) = resolve(stage, root, &parent)? else {
        return Ok(root.clone());
    };
    let mut entries = read_dir(stage, dir.id)?;
    let before = entries.len();
    entries.retain(|entry| entry.name != name);
    if entries.len() == before {
        return Ok(root.clone());
    }
    let kind = Kind::Dir(stage.write_dir(&entries));
    let item = Item { mtime: now.max(mtime.saturating_add(1)), kind };
    match graft(stage, root, &parent, item, now) {
        Ok(new) => Ok(new),
        Err(EditError::Node(error)) => Err(error),
        // Everything above was found to be a directory.
        Err(EditError::NotADirectory { .. } | EditError::Twice { .. }) => Ok(root.clone()),
    }
}

/// Whether a direct child came, went or changed; two directories of one name count as unchanged.
pub fn direct_change(old: &[Entry], new: &[Entry]) -> bool {
    let same = |a: &Entry, b: &Entry| {
        a.name == b.name
            && (a.item == b.item || matches!((&a.item.kind, &b.item.kind), (Kind::Dir(_), Kind::Dir(_))))
    };
    old.len() != new.len() || !old.iter().zip(new).all(|(a, b)| same(a, b))
}

/// Builds a directory out of `items`, each at its path; the directories above them are made. `dir_mtime`
/// gives a directory's time: it is called with its path and its finished entries, children first.
pub fn build(
    stage: &mut Stage<'_>,
    items: impl IntoIterator<Item = (TreePath, Item)>,
    dir_mtime: &mut dyn FnMut(&TreePath, &[Entry]) -> i64,
) -> Result<Item, EditError> {
    let mut top = Sketch::default();
    for (path, item) in items {
        top.place(&path, &item)?;
    }
    top.write(stage, &TreePath::root(), dir_mtime)
}

/// A directory under construction.
#[derive(Default)]
struct Sketch(BTreeMap<Name, Planned>);

enum Planned {
    Item(Item),
    Dir(Sketch),
}

impl Sketch {
    fn place(&mut self, path: &TreePath, item: &Item) -> Result<(), EditError> {
        let twice = || EditError::Twice { path: path.clone() };
        let (parent, last) = path.split_last().ok_or_else(twice)?;
        let mut here = self;
        for component in parent.components() {
            let next = here
                .0
                .entry(Name::of_component(component))
                .or_insert_with(|| Planned::Dir(Sketch::default()));
            let Planned::Dir(below) = next else { return Err(twice()) };
            here = below;
        }
        match here.0.insert(last, Planned::Item(item.clone())) {
            None => Ok(()),
            Some(Planned::Item(old)) if old == *item => Ok(()),
            Some(_) => Err(twice()),
        }
    }

    fn write(
        self,
        stage: &mut Stage<'_>,
        path: &TreePath,
        dir_mtime: &mut dyn FnMut(&TreePath, &[Entry]) -> i64,
    ) -> Result<Item, EditError> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (name, planned) in self.0 {
            let item = match planned {
                Planned::Item(item) => item,
                Planned::Dir(below) => {
                    let path = path.join(&name).map_err(|_| EditError::Twice { path: path.clone() })?;
                    below.write(stage, &path, dir_mtime)?
                }
            };
            entries.push(Entry { name, item });
        }
        let mtime = dir_mtime(path, &entries);
        Ok(Item { mtime, kind: Kind::Dir(stage.write_dir(&entries)) })
    }
}

#[cfg(test)]
mod tests;
