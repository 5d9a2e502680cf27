//! `rollback`: a ref goes back to an earlier tree, by a move forward.
//!
//! Always true: nothing is undone; the earlier tree becomes a new snapshot, one generation on, so that a
//! rollback can itself be rolled back. Unless it is to be raw, everything that changes back is newer than what
//! is withdrawn: mirror managers keep the newest times of a repomd.xml as the truth, and would call every mirror
//! that follows a byte-identical rollback stale.

use std::collections::BTreeSet;

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::{BlobId, SnapshotId};
use cfs_fs::edit::{graft, prune};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeError, resolve};

use crate::catalogue::{CatalogueError, Current, RefUpdate, Signer, Target};
use crate::config::{Config, Gate};
use crate::depot::Depot;
use crate::hooks::{self, HookError};
use crate::promote::PromoteError;
use crate::promote::flip::{self, Flip};
use crate::promote::gates::Wishes;
use crate::refname::RefName;
use crate::repodata::restamp::{newest, restamp};
use crate::repodata::{RepodataError, repomd};
use crate::revision::{Revision, When};
use crate::snapshot::Snapshot;

/// Ends of the paths of what is stamped anew, and of its signature.
const REPOMD: &str = "repodata/repomd.xml";

/// What is to be rolled back how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The ref.
    pub name: RefName,
    /// The snapshot whose tree it gets; by default of the snapshot before.
    pub to: Option<Revision>,
    /// The tree byte by byte, with its old times.
    pub raw: bool,
    /// Why, in the user's words.
    pub message: String,
}

/// Why a rollback is not made.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Somebody moved the ref meanwhile, so "the previous" would be another one.
    #[error("ref {name} was moved by somebody else meanwhile")]
    Moved {
        /// The ref.
        name: RefName,
    },
    /// The view gets what was approved and nothing else.
    #[error("{name} never was {id}, and that is not approved")]
    Unapproved {
        /// The ref.
        name: RefName,
        /// The snapshot.
        id: SnapshotId,
    },
    /// A repomd.xml cannot be signed again.
    #[error("{path}: cannot be signed")]
    Sign {
        /// The file.
        path: String,
        /// Why not.
        source: HookError,
    },
    /// The view cannot get its new state.
    #[error(transparent)]
    Promote(#[from] PromoteError),
}

impl From<CatalogueError> for RollbackError {
    fn from(error: CatalogueError) -> Self {
        Self::Promote(error.into())
    }
}

/// A rollback that could be applied.
#[derive(Debug)]
pub struct Plan {
    /// The ref, symbolic ones followed.
    pub name: RefName,
    /// Its generation now.
    pub generation: u64,
    /// The snapshot it names now.
    pub from: (SnapshotId, Snapshot),
    /// The snapshot whose tree it will have.
    pub to: (SnapshotId, Snapshot),
}

/// A repomd.xml that got new times.
#[derive(Debug)]
pub struct Stamped {
    /// The file.
    pub path: String,
    /// Its new time.
    pub time: i64,
    /// Whether it had a signature, which holds no longer, and none could be made.
    pub signature_dropped: bool,
    /// Why it came back with its old times: nobody can read them.
    pub unreadable: Option<RepodataError>,
}

/// Plans a rollback; changes nothing.
pub fn plan(depot: &Depot, request: &Request) -> Result<Plan, RollbackError> {
    let catalogue = &depot.catalogue;
    let (found, _) = catalogue.follow_ref(&request.name).map_err(PromoteError::from)?;
    let previous = Revision { base: found.name.clone(), when: When::Back(1) };
    let now = Revision { base: found.name.clone(), when: When::Now };
    let resolve = |revision: &Revision| catalogue.resolve(revision).map_err(PromoteError::from);
    Ok(Plan {
        generation: found.generation,
        from: resolve(&now)?,
        to: resolve(request.to.as_ref().unwrap_or(&previous))?,
        name: found.name,
    })
}

/// Carries out a plan, if the ref still is where it was. Returns what got new times, and the ref's move unless
/// it has that tree already.
pub fn apply(
    depot: &Depot,
    config: &Config,
    request: &Request,
    plan: &Plan,
    signer: &Signer,
) -> Result<(Vec<Stamped>, Option<RefUpdate>), RollbackError> {
    check_approved(depot, config, plan)?;
    let names = std::slice::from_ref(&plan.name);
    let mut stamped = Vec::new();
    let (_, mut updates) = flip::commit(depot, config, names, signer, |current| {
        let there = current.first().and_then(Option::as_ref);
        if there.is_none_or(|current| current.generation != plan.generation) {
            return Err(RollbackError::Moved { name: plan.name.clone() });
        }
        let (flip, all) = shape(depot, config, request, plan, current, signer)?;
        stamped = all;
        let mut wishes = Wishes::none();
        if !request.raw {
            wishes.only = Some(BTreeSet::from([Gate::Mtime]));
        }
        Ok((flip, wishes))
    })?;
    Ok((stamped, updates.pop()))
}

/// What the view was once was approved then; a way back must not wait for anybody. Anything else is a promotion.
fn check_approved(depot: &Depot, config: &Config, plan: &Plan) -> Result<(), RollbackError> {
    let id = plan.to.0;
    if config.view(&plan.name).approvals.is_none() {
        return Ok(());
    }
    let was =
        depot.catalogue.log(&plan.name)?.into_iter().any(|entry| entry.new == Some(Target::Snapshot(id)));
    if was { Ok(()) } else { Err(RollbackError::Unapproved { name: plan.name.clone(), id }) }
}

/// The flip that a request means, and what in it got new times.
fn shape(
    depot: &Depot,
    config: &Config,
    request: &Request,
    plan: &Plan,
    current: &[Option<Current>],
    signer: &Signer,
) -> Result<(Flip, Vec<Stamped>), RollbackError> {
    let (id, snapshot) = &plan.to;
    let mut flip = Flip::begin(depot, config, std::slice::from_ref(&plan.name), current, signer);
    let mut stamped = Vec::new();
    if let Some(change) = flip.changes.first_mut() {
        change.new = snapshot.root_item();
        change.access = snapshot.access.clone();
        change.parents = vec![*id];
        change.meta.insert("rollback.to".into(), id.to_string());
        change.message.clone_from(&request.message);
        change.reason = format!("rollback to {}", id.short());
    }
    if !request.raw {
        stamped = stamp(depot, config, &mut flip, signer)?;
    }
    Ok((flip, stamped))
}

/// Gives every repomd.xml that changes back new times.
fn stamp(
    depot: &Depot,
    config: &Config,
    flip: &mut Flip,
    signer: &Signer,
) -> Result<Vec<Stamped>, RollbackError> {
    let mut found: Vec<(String, BlobId, i64, BlobId)> = Vec::new();
    let nodes = &depot.catalogue;
    let Some(change) = flip.changes.first() else { return Ok(Vec::new()) };
    if let Some((old, new)) = change.dirs() {
        let differences = diff(nodes, old, new, &mut |path, change| {
            if let Change::Changed(old, new) = change
                && (path == REPOMD || path.ends_with(&format!("/{REPOMD}")))
                && let (Kind::File { blob: withdrawn, .. }, Kind::File { blob, .. }) = (&old.kind, &new.kind)
                && withdrawn != blob
            {
                found.push((path.to_owned(), *withdrawn, old.mtime, *blob));
            }
            Ok::<(), NodeError>(())
        });
        differences.map_err(PromoteError::from)?;
    }
    let name = change.name.clone();
    let mut stage = flip.take_stage(depot);
    let Some(change) = flip.changes.first_mut() else { return Ok(Vec::new()) };
    let mut stamped = Vec::new();
    for (path, withdrawn, withdrawn_mtime, blob) in found {
        let read = |blob| depot.store.read_blob(blob).map_err(PromoteError::from);
        let newest_withdrawn =
            repomd::parse(&read(withdrawn)?[..]).ok().and_then(|old| newest(&old)).unwrap_or(0);
        let time = signer.now.max(newest_withdrawn.saturating_add(1)).max(withdrawn_mtime.saturating_add(1));
        let document = match restamp(&read(blob)?, time) {
            Ok(document) => document,
            Err(error) => {
                stamped.push(Stamped { path, time, signature_dropped: false, unreadable: Some(error) });
                continue;
            }
        };
        let at: TreePath = path.parse().unwrap_or_default();
        let signature_at: TreePath = format!("{path}.asc").parse().unwrap_or_default();
        let has_signature =
            resolve(&stage, &change.new, &signature_at).map_err(PromoteError::from)?.is_some();
        let signature = hooks::sign(config, &name, &path, &document)
            .map_err(|source| RollbackError::Sign { path: format!("{name}:{path}"), source })?;
        let signature_dropped = has_signature && signature.is_none();
        let mut place = |at: &TreePath, bytes: &[u8]| -> Result<(), PromoteError> {
            let (blob, size_bytes) = depot.add_blob(bytes)?;
            let item = Item { mtime: time, kind: Kind::File { blob, size_bytes, executable: false } };
            change.new = graft(&mut stage, &change.new, at, item, signer.now)?;
            Ok(())
        };
        place(&at, &document)?;
        match signature {
            Some(signature) => place(&signature_at, &signature)?,
            None if has_signature => {
                change.new =
                    prune(&mut stage, &change.new, &signature_at, signer.now).map_err(PromoteError::from)?;
            }
            None => {}
        }
        stamped.push(Stamped { path, time, signature_dropped, unreadable: None });
    }
    flip.put_back(stage);
    Ok(stamped)
}
