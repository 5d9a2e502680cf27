//! Everything that a list shows of a directory.
//!
//! Always true: paths come in byte order, in which `a-b` stands before `a/b`; what the walker's group may not
//! read is left out with everything below; symlinks that lead nowhere are left out, too.

use std::collections::BTreeSet;

use cfs_fs::name::{Name, TreePath};
use cfs_fs::tree::{Dir, Item, Kind, Nodes, for_each_entry, resolve};

use super::line::Shade;
use super::{FilelistError, Modes, State, is_skipped, symlink};

/// What a list is about: a directory of a snapshot, without the names that the lists themselves have there.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) directory: TreePath,
    pub(super) own: BTreeSet<Name>,
}

/// A symlink's target, or anything else's shade, for a path that is listed.
pub(super) type Visit<'a> = dyn FnMut(&str, &Item, Shade) -> Result<(), FilelistError> + 'a;

impl Scope {
    /// The path in the snapshot of a path in the list.
    pub(super) fn in_snapshot(&self, path: &str) -> String {
        match self.directory.as_str() {
            "" => path.to_owned(),
            directory => format!("{directory}/{path}"),
        }
    }

    /// The path in the list of a path in the snapshot; `None` for what is not below the directory.
    pub(super) fn in_list<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.directory.as_str() {
            "" => Some(path).filter(|path| !path.is_empty()),
            directory => path.strip_prefix(directory)?.strip_prefix('/'),
        }
    }

    /// Whether no list shows this path of the list, whatever stands there.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let first = path.split('/').next().unwrap_or(path);
        self.own.contains(first) || path.split('/').any(is_skipped)
    }

    /// The directory in a state of the snapshot.
    pub(super) fn find(&self, nodes: &dyn Nodes, state: State<'_>) -> Result<Option<Dir>, FilelistError> {
        let found = resolve(nodes, state.root, &self.directory)?;
        Ok(found.and_then(|item| match item.kind {
            Kind::Dir(dir) => Some(dir),
            _ => None,
        }))
    }

    /// The shade of `item` at a path of the list, or `None` when it is not listed.
    pub(super) fn shade(
        &self,
        nodes: &dyn Nodes,
        state: State<'_>,
        path: &str,
        item: &Item,
    ) -> Result<Option<Shade>, FilelistError> {
        let whole = self.in_snapshot(path);
        let mut below_restricted = false;
        // Directories between the list's and this one.
        let top = whole.len() - path.len();
        for (at, _) in path.match_indices('/') {
            let mode = state.modes.of_dir(&whole[..top + at]);
            if Modes::hides(mode) {
                return Ok(None);
            }
            below_restricted |= Modes::restricts(mode);
        }
        own_shade(nodes, state, &whole, item, below_restricted)
    }
}

/// The shade of `item` at a path of the snapshot, below directories that are restricted or not.
fn own_shade(
    nodes: &dyn Nodes,
    state: State<'_>,
    whole: &str,
    item: &Item,
    below_restricted: bool,
) -> Result<Option<Shade>, FilelistError> {
    if let Kind::Symlink { target } = &item.kind
        && !symlink::leads_somewhere(nodes, state, whole, target)?
    {
        return Ok(None);
    }
    let mode = state.modes.of(whole, item);
    Ok(match () {
        () if Modes::hides(mode) => None,
        () if Modes::restricts(mode) => Some(Shade::Restricted),
        () if below_restricted => Some(Shade::Below),
        () => Some(Shade::Open),
    })
}

/// Calls `visit` with everything that a list shows of the directory.
pub(super) fn scan(
    nodes: &dyn Nodes,
    state: State<'_>,
    scope: &Scope,
    visit: &mut Visit<'_>,
) -> Result<(), FilelistError> {
    let Some(dir) = scope.find(nodes, state)? else { return Ok(()) };
    let mut path = scope.directory.as_str().to_owned();
    if !path.is_empty() {
        path.push('/');
    }
    let top = path.len();
    Scan { nodes, state, scope, path, top, visit }.directory(dir, false)
}

struct Scan<'a, 'v> {
    nodes: &'a dyn Nodes,
    state: State<'a>,
    scope: &'a Scope,
    /// In the snapshot; ends in `/` between entries.
    path: String,
    /// Where the path in the list begins.
    top: usize,
    visit: &'a mut Visit<'v>,
}

/// A directory whose line is written and whose content is not.
struct Pending {
    name: Name,
    dir: Dir,
    restricted: bool,
}

impl Scan<'_, '_> {
    fn directory(&mut self, dir: Dir, restricted: bool) -> Result<(), FilelistError> {
        let nodes = self.nodes;
        // Directories whose content comes after names that are still to be met: each name here begins with
        // the one before it, so the last one is always the first whose turn it is.
        let mut pending: Vec<Pending> = Vec::new();
        for_each_entry(nodes, dir.id, &mut |entry| {
            let name = entry.name.as_str();
            while let Some(last) = pending.pop() {
                if stands_before_content(name, last.name.as_str()) {
                    pending.push(last);
                    break;
                }
                self.content(&last)?;
            }
            if is_skipped(name) || self.path.len() == self.top && self.scope.own.contains(name) {
                return Ok(());
            }
            let parent_len = self.path.len();
            self.path.push_str(name);
            let shade = own_shade(nodes, self.state, &self.path, &entry.item, restricted)?;
            if let Some(shade) = shade {
                (self.visit)(&self.path[self.top..], &entry.item, shade)?;
                if let Kind::Dir(dir) = entry.item.kind {
                    let restricted = shade != Shade::Open;
                    pending.push(Pending { name: entry.name.clone(), dir, restricted });
                }
            }
            self.path.truncate(parent_len);
            Ok::<(), FilelistError>(())
        })?;
        while let Some(last) = pending.pop() {
            self.content(&last)?;
        }
        Ok(())
    }

    fn content(&mut self, pending: &Pending) -> Result<(), FilelistError> {
        let parent_len = self.path.len();
        self.path.push_str(pending.name.as_str());
        self.path.push('/');
        self.directory(pending.dir, pending.restricted)?;
        self.path.truncate(parent_len);
        Ok(())
    }
}

/// Whether `name` (after `directory` in its directory's order) stands before `directory/…` in byte order.
fn stands_before_content(name: &str, directory: &str) -> bool {
    name.strip_prefix(directory).and_then(|rest| rest.bytes().next()).is_some_and(|byte| byte < b'/')
}
