//! From what people write to snapshots.

use cfs_fs::digest::SnapshotId;

use super::{Catalogue, CatalogueError, Target};
use crate::revision::{Revision, When};
use crate::snapshot::Snapshot;

/// A shorter beginning of an id is more likely a mistyped ref.
const PREFIX_MIN_DIGITS: usize = 4;

impl Catalogue {
    /// Returns the snapshot that `revision` names, with its id.
    pub fn resolve(&self, revision: &Revision) -> Result<(SnapshotId, Snapshot), CatalogueError> {
        let id = self.resolve_id(revision)?;
        if let Some(snapshot) = self.snapshot(id)? {
            return Ok((id, snapshot));
        }
        Err(match self.collected_at(id)? {
            Some(at) => CatalogueError::Collected { id, at },
            None => CatalogueError::Damaged { what: format!("snapshot {id} is named by a ref and missing") },
        })
    }

    fn resolve_id(&self, revision: &Revision) -> Result<SnapshotId, CatalogueError> {
        let none = |reason| CatalogueError::NoSuchRevision { revision: revision.clone(), reason };
        let (name, last) = match self.find_ref(&revision.base)? {
            Some(_) => {
                let (found, newest) = self.follow_ref(&revision.base)?;
                if let When::Now | When::Back(0) = revision.when {
                    return Ok(newest);
                }
                (found.name, found.generation)
            }
            // One that was deleted has its past.
            None => match (self.log_last(&revision.base)?, revision.when) {
                (None, When::Now) => return self.resolve_prefix(revision),
                (None, _) => return Err(CatalogueError::NoSuchRef { name: revision.base.clone() }),
                (Some(last), _) => (revision.base.clone(), last),
            },
        };
        let entry = match revision.when {
            When::Now => return Err(none("the ref was deleted; @{1} is what it named last")),
            When::Back(moves) => {
                let generation = last.checked_sub(moves).filter(|generation| *generation > 0);
                self.log_generation(&name, generation.ok_or_else(|| none("it has not moved so often"))?)?
            }
            When::At(time) => self.log_at(&name, time)?,
        };
        match entry.ok_or_else(|| none("the ref is younger"))?.new {
            Some(Target::Snapshot(id)) => Ok(id),
            Some(Target::Symbolic(_)) => Err(none("the ref was symbolic then")),
            None => Err(none("the ref was deleted then")),
        }
    }

    /// The one snapshot whose id begins with the digits that the revision is.
    fn resolve_prefix(&self, revision: &Revision) -> Result<SnapshotId, CatalogueError> {
        let digits = revision.base.as_str();
        let none = |reason| CatalogueError::NoSuchRevision { revision: revision.clone(), reason };
        let is_prefix = (PREFIX_MIN_DIGITS..=64).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_prefix {
            return Err(none("no ref is called so"));
        }
        let low: SnapshotId = format!("{digits:0<64}").parse()?;
        let high: SnapshotId = format!("{digits:f<64}").parse()?;
        match self.snapshots_between(*low.as_bytes(), *high.as_bytes())?[..] {
            [] => Err(none("no ref is called so, and no snapshot's id begins so")),
            [id] => Ok(id),
            [first, second, ..] => {
                Err(CatalogueError::Ambiguous { revision: revision.clone(), first, second })
            }
        }
    }
}
