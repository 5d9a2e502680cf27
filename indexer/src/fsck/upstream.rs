//! The level `upstream`: what refs show of repositories is what their metadata says: every file that a repomd.xml
//! lists, every package that the primary metadata lists.

use std::collections::HashSet;

use cfs_fs::digest::NodeId;
use cfs_fs::tree::{Dir, Kind as ItemKind, read_dir};

use super::finding::{Kind, Object};
use super::{Check, FsckError, Phase};
use crate::catalogue::{CatalogueError, Checked, Target};
use crate::repository::content::Contents;
use crate::repository::{self, List};

/// Checks it.
pub(super) fn check(check: &mut Check<'_, '_>) -> Result<(), FsckError> {
    let depot = check.depot;
    let mut search = Search { memory: depot.checked(), seen: HashSet::new(), number: 0 };
    for found in check.try_read(|| depot.catalogue.refs())?.unwrap_or_default() {
        let Target::Snapshot(id) = found.target else { continue };
        let Some(Some(snapshot)) = check.try_read(|| depot.catalogue.snapshot(id))? else { continue };
        search.visit(check, snapshot.root, &format!("{}:", found.name))?;
    }
    check.checked.repositories = search.number;
    Ok(())
}

struct Search {
    memory: Checked,
    /// Directories that were looked at: refs share most of them.
    seen: HashSet<NodeId>,
    number: u64,
}

impl Search {
    fn visit(&mut self, check: &mut Check<'_, '_>, dir: Dir, path: &str) -> Result<(), FsckError> {
        if !self.seen.insert(dir.id) {
            return Ok(());
        }
        let depot = check.depot;
        check.step(Phase::Repositories, self.number, None)?;
        let result = self.repository(check, dir, path);
        // What cannot be read is told by the levels below.
        check.try_read(|| result)?;
        let entries = check.try_read(|| Ok(read_dir(&depot.catalogue, dir.id)?))?.unwrap_or_default();
        for entry in entries {
            if let ItemKind::Dir(below) = entry.item.kind {
                let slash = if path.ends_with(':') { "" } else { "/" };
                self.visit(check, below, &format!("{path}{slash}{}", entry.name.as_str()))?;
            }
        }
        Ok(())
    }

    fn repository(&mut self, check: &mut Check<'_, '_>, dir: Dir, path: &str) -> Result<(), CatalogueError> {
        let depot = check.depot;
        let mut contents = Contents::new(depot, &depot.catalogue, dir);
        match repository::repomd(depot, &depot.catalogue, dir)? {
            None => return Ok(()),
            Some(Err(fault)) => contents.findings.push(fault),
            Some(Ok(repomd)) => {
                contents.listed(&repomd)?;
                match List::of(depot, &self.memory, &depot.catalogue, dir, &repomd)? {
                    Ok(list) => list.lines().try_for_each(|line| contents.package(&line))?,
                    Err(fault) => contents.findings.push(fault),
                }
            }
        }
        contents.read_the_unread()?;
        self.number += 1;
        check.add_all(Kind::Repodata, &Object::Path(path.to_owned()), contents.findings);
        Ok(())
    }
}
