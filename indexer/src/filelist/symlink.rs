//! Where symlinks lead, inside one snapshot.
//!
//! Always true: what leads out of the snapshot leads nowhere, so the answer is the same on every host.

use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeError, Nodes, lookup};

use super::{Modes, State};

/// As the kernel does.
const FOLLOWED_MAX: usize = 40;

/// Whether a walker of the group that follows the symlink at `path` of the snapshot finds something.
pub(super) fn leads_somewhere(
    nodes: &dyn Nodes,
    state: State<'_>,
    path: &str,
    target: &str,
) -> Result<bool, NodeError> {
    let mut here: Vec<(String, Item)> = Vec::new();
    let mut todo: Vec<String> = Vec::new();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    push(&mut todo, target);
    push(&mut todo, parent);
    if target.starts_with('/') {
        return Ok(false);
    }
    let mut followed = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            if here.pop().is_none() {
                return Ok(false);
            }
            continue;
        }
        let Kind::Dir(dir) = here.last().map_or(&state.root.kind, |(_, item)| &item.kind) else {
            return Ok(false);
        };
        match lookup(nodes, dir.id, &name)? {
            None => return Ok(false),
            Some(Item { kind: Kind::Symlink { target }, .. }) => {
                followed += 1;
                if followed > FOLLOWED_MAX || target.starts_with('/') {
                    return Ok(false);
                }
                push(&mut todo, &target);
            }
            Some(item) => here.push((name, item)),
        }
    }
    let found = here.last().map_or(state.root, |(_, item)| item);
    let names: Vec<&str> = here.iter().map(|(name, _)| name.as_str()).collect();
    let at = TreePath::new(names.join("/")).unwrap_or_default();
    Ok(!Modes::hides(state.modes.of(at.as_str(), found)))
}

/// Puts the components of a path on top, the first one last.
fn push(todo: &mut Vec<String>, path: &str) {
    let names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
    todo.extend(names.rev().map(str::to_owned));
}
