//! `prune`: composes that have had their time lose their names.
//!
//! Always true: full composes, those of which a view has something, pinned ones and what a symbolic ref names
//! stay; what a compose named can be found by `REF@{N}` as long as the reflog keeps it, and its bytes go with the
//! garbage after that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use cfs_fs::digest::SnapshotId;

use super::hold::Hold;
use super::{ComposeError, Depot, series};
use crate::catalogue::{CatalogueError, Ref, SEALED, Signer, Target};
use crate::config::{Age, Config, Retention};
use crate::productmd::compose_id::{self, ReleaseType};
use crate::productmd::status::Status;
use crate::refname::RefName;

/// What becomes of a compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The compose.
    pub name: RefName,
    /// Its generation when it was judged.
    pub generation: u64,
    /// When it changed last, seconds since 1970.
    pub updated: i64,
    /// Whether it goes, and why.
    pub verdict: Verdict,
}

/// Whether a compose goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is of updates, and its time is over.
    OldUpdates,
    /// It never ended, and its time is over.
    NeverEnded,
    /// It stays: this symbolic ref names it.
    Named(RefName),
    /// It stays: something of it was promoted into this view.
    Promoted(RefName),
    /// It stays: a snapshot of it is pinned.
    Pinned,
    /// It stays: it is a whole release.
    Full,
    /// It stays: it is finished.
    Finished,
    /// It stays: it has not ended yet.
    Unfinished,
    /// It stays until this second since 1970.
    Until(i64),
}

impl Verdict {
    /// Whether it goes.
    pub fn goes(&self) -> bool {
        matches!(self, Self::OldUpdates | Self::NeverEnded)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldUpdates => f.write_str("its updates have had their time"),
            Self::NeverEnded => f.write_str("it never ended"),
            Self::Named(by) => write!(f, "{by} names it"),
            Self::Promoted(view) => write!(f, "{view} has something of it"),
            Self::Pinned => f.write_str("it is pinned"),
            Self::Full => f.write_str("it is a full compose"),
            Self::Finished => f.write_str("it is finished"),
            Self::Unfinished => f.write_str("it has not ended"),
            Self::Until(_) => f.write_str("its updates are young"),
        }
    }
}

/// Says of every compose whether it goes at `now` (seconds since 1970), in the order of their names.
pub fn judge(depot: &Depot, config: &Config, now: i64) -> Result<Vec<Judged>, ComposeError> {
    let refs = depot.catalogue.refs()?;
    let (composes, others): (Vec<&Ref>, Vec<&Ref>) = refs.iter().partition(|found| is_compose(config, found));
    let kept = Kept::find(depot, &others)?;
    let mut judged = Vec::with_capacity(composes.len());
    for found in composes {
        let verdict = verdict(depot, &config.retention, &kept, found, now)?;
        let Ref { name, generation, updated, .. } = found.clone();
        judged.push(Judged { name, generation, updated, verdict });
    }
    Ok(judged)
}

/// Deletes the composes that go, all or none. One that has moved since it was judged is an error.
pub fn prune(depot: &Depot, judged: &[Judged], signer: &Signer) -> Result<(), ComposeError> {
    let doomed = judged.iter().filter(|judged| judged.verdict.goes());
    // Nobody is at work on them.
    let take = |judged: &Judged| Hold::take(&depot.store, &judged.name);
    let _holds = doomed.clone().map(take).collect::<Result<Vec<_>, _>>()?;
    let doomed: Vec<_> = doomed.map(|judged| (judged.name.clone(), judged.generation)).collect();
    Ok(depot.catalogue.delete_refs(&doomed, signer, "compose prune")?)
}

/// Whether a ref is a compose: it stands where composes do, and is called as they are.
fn is_compose(config: &Config, found: &Ref) -> bool {
    let of_release = config.releases.values().filter_map(|release| release.refs.as_ref());
    let mut places = of_release.map(RefName::as_str).chain(["compose"]);
    let is_below =
        |place: &str| found.name.as_str().strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    matches!(found.target, Target::Snapshot(_)) && places.any(is_below) && kind(&found.name).is_some()
}

/// What kind of release a compose is of, by its name.
fn kind(name: &RefName) -> Option<ReleaseType> {
    let last = name.as_str().rsplit('/').next().unwrap_or_default();
    compose_id::kind_of(last)
}

fn verdict(
    depot: &Depot,
    retention: &Retention,
    kept: &Kept,
    found: &Ref,
    now: i64,
) -> Result<Verdict, ComposeError> {
    if let Some(by) = kept.named.get(&found.name) {
        return Ok(Verdict::Named(by.clone()));
    }
    for entry in depot.catalogue.log(&found.name)? {
        let Some(Target::Snapshot(id)) = entry.new else { continue };
        if let Some(view) = kept.promoted.get(&id) {
            return Ok(Verdict::Promoted(view.clone()));
        }
        if kept.pinned.contains(&id) {
            return Ok(Verdict::Pinned);
        }
    }
    let current = depot.catalogue.current(&found.name)?;
    let current = current.ok_or_else(|| CatalogueError::NoSuchRef { name: found.name.clone() })?;
    let status = series::status_of(depot, &current.snapshot.root_item())?;
    let is_finished = current.snapshot.meta.contains_key(SEALED) || status.is_some_and(Status::is_sealed);
    let aged = |age: Age, over: Verdict| {
        let end = found.updated.saturating_add(i64::from(age.seconds));
        if end <= now { over } else { Verdict::Until(end) }
    };
    let is_unfinished = !depot.catalogue.unfinished_syncs(&found.name)?.is_empty();
    Ok(match (kind(&found.name), is_finished) {
        (Some(ReleaseType::Updates | ReleaseType::UpdatesTesting), true) => {
            match retention.finished_updates {
                Some(age) => aged(age, Verdict::OldUpdates),
                None => Verdict::Finished,
            }
        }
        (Some(ReleaseType::Updates | ReleaseType::UpdatesTesting), false) => {
            aged(retention.updates(), Verdict::OldUpdates)
        }
        (_, false) if is_unfinished => match retention.unfinished {
            Some(age) => aged(age, Verdict::NeverEnded),
            None => Verdict::Unfinished,
        },
        _ => Verdict::Full,
    })
}

/// What keeps composes.
struct Kept {
    /// By ref, a symbolic one that names it.
    named: BTreeMap<RefName, RefName>,
    /// By snapshot, a view that has something of it.
    promoted: HashMap<SnapshotId, RefName>,
    pinned: BTreeSet<SnapshotId>,
}

impl Kept {
    /// What `others`, the refs that are no composes, keep.
    fn find(depot: &Depot, others: &[&Ref]) -> Result<Self, ComposeError> {
        let pinned = depot.catalogue.pins()?.into_iter().map(|pin| pin.snapshot).collect();
        let mut kept = Self { named: BTreeMap::new(), promoted: HashMap::new(), pinned };
        for found in others {
            if let Target::Symbolic(target) = &found.target {
                kept.named.insert(target.clone(), found.name.clone());
                continue;
            }
            for entry in depot.catalogue.log(&found.name)? {
                let Some(Target::Snapshot(id)) = entry.new else { continue };
                let Some(snapshot) = depot.catalogue.snapshot_record(id)? else { continue };
                kept.promoted.extend(snapshot.parents.into_iter().map(|id| (id, found.name.clone())));
            }
        }
        Ok(kept)
    }
}
