//! The composes of a release: what they are called, which there are, and which is the latest.
//!
//! Always true: two runs never get one id, since the ref that an id names is made in one transaction.

use std::collections::BTreeMap;

use cfs_fs::digest::SnapshotId;
use cfs_fs::edit::{empty_dir, graft};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeMap, Stage, resolve};

use super::hold::Hold;
use super::{ComposeError, Recipe};
use crate::catalogue::{CatalogueError, Draft, Signer, Taken, Target};
use crate::depot::Depot;
use crate::productmd::compose_id::{ComposeId, Moment};
use crate::productmd::status::Status;
use crate::refname::RefName;
use crate::revision::RefPath;

/// The word of [`crate::snapshot::Snapshot::meta`] for the table of the configuration that a compose is made of: releases
/// may share names and versions, as a release and its beta do.
const TABLE: &str = "compose.table";

/// A compose that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its ref.
    pub name: RefName,
    /// Its place among those of its release.
    pub moment: Moment,
    /// The snapshot.
    pub id: SnapshotId,
    /// How far it came; `None` when it does not say.
    pub status: Option<Status>,
    /// When its ref moved last, seconds since 1970.
    pub updated: i64,
    /// Why it is not whole.
    pub unfinished: Option<String>,
}

impl Recipe {
    /// What the ids of its composes say besides the moment.
    pub(super) fn id(&self, moment: Moment) -> ComposeId {
        ComposeId {
            short: self.short.clone(),
            version: self.release.version.clone(),
            release_type: self.release.release_type,
            moment,
        }
    }

    /// A file of its metadata.
    pub(super) fn metadata_path(&self, name: &str) -> TreePath {
        TreePath::new(format!("{}/{name}", self.metadata)).unwrap_or_default()
    }

    /// What the snapshots of its composes say of themselves.
    fn meta(&self, name: &RefName) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("compose.id".into(), self.id_of(name)),
            ("compose.release".into(), self.release.version.clone()),
            (TABLE.into(), self.table.clone()),
        ])
    }

    /// A tree about to become a state of the compose `name`.
    pub(super) fn draft(&self, name: &RefName, root: Item, nodes: NodeMap, reason: String) -> Draft {
        Draft {
            root,
            nodes,
            taken: Taken::default(),
            parents: Vec::new(),
            access: None,
            meta: self.meta(name),
            message: String::new(),
            reason,
        }
    }

    /// A name beside its composes.
    pub(super) fn beside(&self, word: &str) -> RefName {
        let text = format!("{}/{word}", self.refs);
        text.parse().unwrap_or_else(|_| self.refs.clone())
    }

    pub(super) fn id_of(&self, name: &RefName) -> String {
        name.as_str()
            .strip_prefix(self.refs.as_str())
            .unwrap_or(name.as_str())
            .trim_start_matches('/')
            .to_owned()
    }
}

/// All composes of a recipe and its release's version, the oldest first.
pub fn made(depot: &Depot, recipe: &Recipe) -> Result<Vec<Made>, ComposeError> {
    let beginning = format!("{}/{}", recipe.refs, recipe.id(Moment::default()).series());
    let mut all = Vec::new();
    for found in depot.catalogue.refs()? {
        let Some(end) = found.name.as_str().strip_prefix(&beginning) else { continue };
        // A longer series, such as that of the updates, has something before its date.
        let (Ok(moment), Target::Snapshot(id)) = (end.parse::<Moment>(), &found.target) else { continue };
        if moment.to_string() != end {
            continue;
        }
        let snapshot = depot.catalogue.snapshot(*id)?.ok_or_else(|| CatalogueError::Damaged {
            what: format!("snapshot {id} of ref {} is missing", found.name),
        })?;
        if snapshot.meta.get(TABLE).is_some_and(|table| *table != recipe.table) {
            continue;
        }
        let unfinished = depot.catalogue.unfinished_syncs(&found.name)?.into_iter().next();
        all.push(Made {
            moment,
            id: *id,
            status: status_of(depot, &snapshot.root_item())?,
            updated: found.updated,
            unfinished: unfinished.map(|unfinished| unfinished.reason),
            name: found.name,
        });
    }
    all.sort_by_key(|made| made.moment);
    Ok(all)
}

/// What the file `STATUS` of a compose says.
pub(super) fn status_of(depot: &Depot, root: &Item) -> Result<Option<Status>, ComposeError> {
    let path = TreePath::new("STATUS").unwrap_or_default();
    match resolve(&depot.catalogue, root, &path)? {
        Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) if size_bytes <= 64 => {
            let bytes = depot.store.read_blob(blob)?;
            Ok(String::from_utf8_lossy(&bytes).parse().ok())
        }
        _ => Ok(None),
    }
}

/// The compose that the latest link names now.
pub fn latest(depot: &Depot, recipe: &Recipe) -> Result<Option<RefName>, ComposeError> {
    if depot.catalogue.find_ref(&recipe.latest)?.is_none() {
        return Ok(None);
    }
    let (found, _) = depot.catalogue.follow_ref(&recipe.latest)?;
    Ok(Some(found.name))
}

/// The newest full run that did not end and that nobody is at work on, with its lock.
pub(super) fn unfinished(depot: &Depot, recipe: &Recipe) -> Result<(RefName, Hold), ComposeError> {
    let mut busy = None;
    loop {
        let latest = latest(depot, recipe)?;
        let found = made(depot, recipe)?.into_iter().rev().find(|made| {
            made.unfinished.is_some()
                && made.status.is_some_and(|status| !status.is_sealed())
                && Some(&made.name) != latest.as_ref()
                && busy.as_ref().is_none_or(|busy: &Made| made.moment < busy.moment)
        });
        let Some(made) = found else {
            let latest = recipe.latest.clone();
            let nothing = ComposeError::NothingUnfinished { latest };
            return Err(busy.map_or(nothing, |made| ComposeError::Busy { name: made.name }));
        };
        let Some(hold) = Hold::try_take(&depot.store, &made.name)? else {
            busy = Some(made);
            continue;
        };
        // Whoever had it a moment ago may have ended well.
        if !depot.catalogue.unfinished_syncs(&made.name)?.is_empty() {
            return Ok((made.name, hold));
        }
    }
}

/// The day of a time in seconds since 1970, such as 20251124.
fn day_of(now: i64) -> u32 {
    let Ok(time) = jiff::Timestamp::from_second(now) else { return 0 };
    let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (year, month, day) = (date.year().unsigned_abs(), date.month(), date.day());
    u32::from(year) * 10_000 + u32::from(month.unsigned_abs()) * 100 + u32::from(day.unsigned_abs())
}

/// Writes how far a compose came.
pub(super) fn set_status(
    depot: &Depot,
    recipe: &Recipe,
    name: &RefName,
    status: Status,
    signer: &Signer,
) -> Result<(), ComposeError> {
    let (blob, size_bytes) = depot.add_blob(&status.file())?;
    let path = TreePath::new("STATUS").unwrap_or_default();
    let kind = Kind::File { blob, size_bytes, executable: false };
    depot.catalogue.update_ref(&depot.store, name, signer, |current| {
        let Some(current) = current else { return Ok(None) };
        let root = current.snapshot.root_item();
        if resolve(&depot.catalogue, &root, &path)?.is_some_and(|old| old.kind == kind) {
            return Ok(None);
        }
        let mut stage = Stage::new(&depot.catalogue);
        let item = Item { mtime: signer.now, kind: kind.clone() };
        let root = graft(&mut stage, &root, &path, item, signer.now)?;
        Ok::<_, ComposeError>(Some(recipe.draft(
            name,
            root,
            stage.into_new_nodes(),
            format!("compose sync: {status}"),
        )))
    })?;
    Ok(())
}

/// Makes the ref of a new compose, marked as unfinished, with its id and its status in it. Its trees are marked, too,
/// until they are gathered.
pub(super) fn begin(
    depot: &Depot,
    recipe: &Recipe,
    signer: &Signer,
) -> Result<(RefName, Hold), ComposeError> {
    let kind = recipe.release.compose_type;
    let date = day_of(signer.now);
    let of_today = |made: &&Made| made.moment.date == date && made.moment.kind == kind;
    let last = made(depot, recipe)?.iter().filter(of_today).map(|made| made.moment.respin).max();
    let mut moment = Moment { date, kind, respin: last.map_or(0, |last| last + 1) };
    loop {
        let id = recipe.id(moment).to_string();
        let text = format!("{}/{id}", recipe.refs);
        let name: RefName = text.parse().map_err(|error| CatalogueError::Damaged {
            what: format!("the name of a new compose: {error}"),
        })?;
        let Some(hold) = Hold::try_take(&depot.store, &name)? else {
            moment.respin += 1;
            continue;
        };
        // One that was pruned has had its name; nobody gets it again.
        if depot.catalogue.find_ref(&name)?.is_some() || depot.catalogue.log_last(&name)?.is_some() {
            moment.respin += 1;
            continue;
        }
        // Before the ref, so that no moment knows it as whole.
        let places = [TreePath::root()].into_iter().chain(recipe.trees.iter().map(|tree| tree.path.clone()));
        let places: Vec<RefPath> = places.map(|path| RefPath { name: name.clone(), path }).collect();
        let (top, trees) = places.split_at(1);
        depot.catalogue.record_all_unfinished(trees, signer.now, "it has not been gathered")?;
        depot.catalogue.record_all_unfinished(top, signer.now, "the full run has not ended")?;
        let status = Status::Started.file();
        let blobs = depot.add_blobs(&[id.as_bytes(), &status])?;
        let update = depot.catalogue.update_ref(&depot.store, &name, signer, |current| {
            if current.is_some() {
                return Ok(None); // somebody else's
            }
            let mut stage = Stage::new(&depot.catalogue);
            let mut root = empty_dir(&mut stage, signer.now);
            for (path, (blob, size_bytes)) in ["COMPOSE_ID", "STATUS"].iter().zip(&blobs) {
                let path = TreePath::new(*path).unwrap_or_default();
                let kind = Kind::File { blob: *blob, size_bytes: *size_bytes, executable: false };
                root = graft(&mut stage, &root, &path, Item { mtime: signer.now, kind }, signer.now)?;
            }
            Ok::<_, ComposeError>(Some(recipe.draft(
                &name,
                root,
                stage.into_new_nodes(),
                "compose sync: begun".to_owned(),
            )))
        })?;
        if update.is_some() {
            return Ok((name, hold));
        }
        moment.respin += 1;
    }
}
