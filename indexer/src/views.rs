//! What a view asks of the catalogue.
//!
//! Always true: each answer is one read of the newest committed state, so once a promotion has returned,
//! every later question is answered with the new snapshot.

use std::sync::Arc;

use cfs_fs::digest::{BlobId, SnapshotId};
use cfs_fs::name::TreePath;
use cfs_fs::view::access::{self, Access};
use cfs_fs::view::roots::{self, Past, Root, Roots, RootsError};

use crate::catalogue::{Catalogue, Ref, Target};
use crate::refname::RefName;
use crate::snapshot::{Rule, Rules};

mod held;

pub use held::Held;

/// The extended attribute of a file that tells its SHA-256.
const SHA256_LABEL: &str = "user.cfs.sha256";

impl Roots for Catalogue {
    fn find(&self, name: &TreePath) -> Result<Option<roots::Target>, RootsError> {
        // What cannot name a ref names none.
        let Ok(name) = name.as_str().parse::<RefName>() else { return Ok(None) };
        Ok(self.find_ref(&name)?.map(|found| target(&found)))
    }

    fn refs(&self) -> Result<Vec<(TreePath, roots::Target)>, RootsError> {
        let refs = Self::refs(self)?;
        Ok(refs.iter().map(|found| (found.name.as_path().clone(), target(found))).collect())
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        Ok(Self::snapshot(self, id)?
            .map(|snapshot| Root { item: snapshot.root_item(), access: access(&snapshot.access) }))
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        Ok(self.snapshot_ids()?)
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        let Ok(name) = name.as_str().parse::<RefName>() else { return Ok(None) };
        Ok(self.log_at(&name, time)?.and_then(|entry| snapshot_of(entry.new.as_ref())))
    }

    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        let Ok(name) = name.as_str().parse::<RefName>() else { return Ok(None) };
        Ok(self.log_generation(&name, generation)?.and_then(|entry| snapshot_of(entry.new.as_ref())))
    }

    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError> {
        let Ok(name) = name.as_str().parse::<RefName>() else { return Ok(Vec::new()) };
        let past = self.log_past(&name, generation, since, limit)?;
        Ok(past.into_iter().map(|(generation, id, ended)| Past { generation, id, ended }).collect())
    }

    fn moves(&self) -> Result<u64, RootsError> {
        Ok(self.log_length()?)
    }

    fn labels(&self, blob: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        let sha256 = self.sha256_of(blob)?;
        Ok(sha256.map(|hex| (SHA256_LABEL.to_owned(), hex)).into_iter().collect())
    }
}

fn access(rules: &Rules) -> Option<Arc<Access>> {
    if rules.is_empty() {
        return None;
    }
    let top = rules.get(&TreePath::root()).copied().unwrap_or_default();
    let rule = |rule: &Rule| access::Rule { mode: rule.mode, uid: rule.owner, gid: rule.group };
    let paths = rules.iter().map(|(path, found)| (path.clone(), rule(found)));
    Some(Arc::new(Access::new(top.owner, top.group, paths)))
}

fn snapshot_of(target: Option<&Target>) -> Option<SnapshotId> {
    match target {
        Some(Target::Snapshot(id)) => Some(*id),
        Some(Target::Symbolic(_)) | None => None,
    }
}

fn target(found: &Ref) -> roots::Target {
    match &found.target {
        Target::Snapshot(id) => roots::Target::Snapshot { id: *id, generation: found.generation },
        Target::Symbolic(name) => roots::Target::Symbolic(name.as_path().clone()),
    }
}

#[cfg(test)]
mod tests;
