//! Lists of any snapshot, whether it has some among its files or not.
//!
//! Always true: a list that the snapshot has is told as it is; for another directory the time at which each path
//! entered the view is found in the history of the ref.

use std::collections::HashMap;
use std::io::Write;

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::SnapshotId;
use cfs_fs::name::{Name, TreePath};
use cfs_fs::tree::{Dir, Item, Kind, NodeError, resolve};

use super::published::{META, made_in, sha1};
use super::scan::Scope;
use super::write::{Format, Outs, write};
use super::{FilelistError, Modes, State};
use crate::catalogue::Target;
use crate::depot::Depot;
use crate::revision::{RevPath, Revision};
use crate::snapshot::Snapshot;

/// Writes a list of the directory `place` to `out`; `false` when there is no such directory.
pub fn tell(
    depot: &Depot,
    place: &RevPath,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, FilelistError> {
    let (id, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let root = snapshot.root_item();
    let made = snapshot.meta.get(META).map_or("", String::as_str);
    let own = made_in(made, &place.path).unwrap_or_default();
    if let Some(name) = own.get(format as usize)
        && let Some(Item { kind: Kind::File { blob, .. }, .. }) =
            resolve(&depot.catalogue, &root, &below(place, name))?
    {
        depot.store.copy_blob(blob, out)?;
        return Ok(true);
    }
    let Some(dir) = directory(depot, &root, &place.path)? else { return Ok(false) };
    let history = match format {
        Format::Timelist => History::of(depot, &place.revision, &place.path, (id, &snapshot), dir)?,
        Format::Filelist | Format::Imagelist => History { entered: HashMap::new(), first: 0 },
    };
    let scope = Scope {
        directory: place.path.clone(),
        own: own.iter().filter_map(|name| Name::new(name).ok()).collect(),
    };
    let mut outs = Outs::default();
    match format {
        Format::Timelist => outs.timelist = Some(out),
        Format::Filelist => outs.filelist = Some(out),
        Format::Imagelist => outs.imagelist = Some(out),
    }
    let mut time = |path: &str, _: &_| Ok(history.entered.get(path).copied().unwrap_or(history.first));
    write(
        &depot.catalogue,
        State { root: &root, modes: &Modes::from(&snapshot.access) },
        &scope,
        &mut time,
        &mut |blob| sha1(depot, blob),
        &mut outs,
    )?;
    Ok(true)
}

fn below(place: &RevPath, name: &str) -> TreePath {
    let name = TreePath::new(name).unwrap_or_default();
    place.path.concat(&name).unwrap_or_default()
}

fn directory(depot: &Depot, root: &Item, path: &TreePath) -> Result<Option<Dir>, NodeError> {
    Ok(resolve(&depot.catalogue, root, path)?.and_then(|item| match item.kind {
        Kind::Dir(dir) => Some(dir),
        _ => None,
    }))
}

/// When what stands in a directory entered the view.
struct History {
    /// What came or changed after the first snapshot.
    entered: HashMap<String, i64>,
    /// When everything else did.
    first: i64,
}

impl History {
    /// Reads the history of the ref backwards from the snapshot, as far as its trees are there.
    fn of(
        depot: &Depot,
        revision: &Revision,
        path: &TreePath,
        (id, snapshot): (SnapshotId, &Snapshot),
        dir: Dir,
    ) -> Result<Self, FilelistError> {
        let mut history = Self { entered: HashMap::new(), first: snapshot.created };
        if depot.catalogue.find_ref(&revision.base)?.is_none() {
            return Ok(history);
        }
        let (found, _) = depot.catalogue.follow_ref(&revision.base)?;
        let log = depot.catalogue.log(&found.name)?;
        let mut new = dir;
        for entry in log.iter().skip_while(|entry| entry.new != Some(Target::Snapshot(id))) {
            history.first = entry.at;
            let Some(old) = entry.old else { break };
            match history.go_back(depot, path, old, new, entry.at) {
                Ok(Some(old)) => new = old,
                // The directory came with this snapshot, or what was before is not kept any more.
                Ok(None) | Err(FilelistError::Node(NodeError::Missing { .. })) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(history)
    }

    /// Notes what came or changed between the snapshot `old` and the directory `new`, and returns the directory
    /// as it was.
    fn go_back(
        &mut self,
        depot: &Depot,
        path: &TreePath,
        old: SnapshotId,
        new: Dir,
        at: i64,
    ) -> Result<Option<Dir>, FilelistError> {
        // What was before it is not kept any more.
        let Some(snapshot) = depot.catalogue.snapshot(old)? else { return Ok(None) };
        let Some(old) = directory(depot, &snapshot.root_item(), path)? else { return Ok(None) };
        diff(&depot.catalogue, old, new, &mut |path, change| {
            if let Change::Added(_) | Change::Changed(..) = change {
                // A later change counts.
                self.entered.entry(path.to_owned()).or_insert(at);
            }
            Ok::<(), FilelistError>(())
        })?;
        Ok(Some(old))
    }
}
