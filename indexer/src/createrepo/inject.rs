//! Putting one more document into the metadata of a repository: errata, modules.

use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;

use super::build::{old_at, wishes};
use super::extra::is_variant;
use super::place::{New, Old, REPODATA, Time};
use super::{CreaterepoError, Extra, Report};
use crate::catalogue::{Current, Signer};
use crate::checksum::Algorithm;
use crate::config::Config;
use crate::depot::Depot;
use crate::promote::flip::{self, Flip};
use crate::repodata::compression::Format;
use crate::repodata::repomd::Repomd;
use crate::revision::{RefPath, RevPath};

/// What is to be put where.
#[derive(Debug, Clone)]
pub struct Injection {
    /// The repository.
    pub target: RefPath,
    /// The document, which takes the place of the one of its type.
    pub extra: Extra,
    /// How it is compressed.
    pub format: Format,
    /// The time of what is new, seconds since 1970; by default now.
    pub time: Option<i64>,
    /// Why, in the user's words.
    pub message: String,
}

/// Says what [`inject`] would do, and changes nothing.
pub fn plan(
    depot: &Depot,
    config: &Config,
    request: &Injection,
    signer: &Signer,
) -> Result<Report, CreaterepoError> {
    let current = [depot.catalogue.current(&request.target.name)?];
    let names = std::slice::from_ref(&request.target.name);
    let mut flip = Flip::begin(depot, config, names, &current, signer);
    let mut report = prepare(depot, config, request, &mut flip, true, signer)?;
    report.changed = flip.changes.iter().any(flip::Change::is_some);
    Ok(report)
}

/// Puts the document into the metadata, in one flip.
pub fn inject(
    depot: &Depot,
    config: &Config,
    request: &Injection,
    signer: &Signer,
) -> Result<Report, CreaterepoError> {
    let names = std::slice::from_ref(&request.target.name);
    let mut done = None;
    let (_, mut updates) = flip::commit(depot, config, names, signer, |current: &[Option<Current>]| {
        let mut flip = Flip::begin(depot, config, names, current, signer);
        done = Some(prepare(depot, config, request, &mut flip, false, signer)?);
        if let Some(change) = flip.changes.first_mut() {
            change.message.clone_from(&request.message);
            change.reason = format!("repodata inject {} into {}", request.extra.kind(), request.target);
        }
        Ok::<_, CreaterepoError>((flip, wishes()))
    })?;
    let place = RevPath::from(&request.target);
    let mut report = done.ok_or(CreaterepoError::Stopped { place })?;
    report.update = updates.pop();
    report.changed = report.update.is_some();
    Ok(report)
}

fn prepare(
    depot: &Depot,
    config: &Config,
    request: &Injection,
    flip: &mut Flip,
    is_plan: bool,
    signer: &Signer,
) -> Result<Report, CreaterepoError> {
    let place = RevPath::from(&request.target);
    let mut stage = flip.take_stage(depot);
    let no_repomd = || CreaterepoError::NoRepomd { place: place.clone() };
    let change = flip.changes.first_mut().filter(|change| change.current.is_some()).ok_or_else(no_repomd)?;
    let (top, old) = old_at(depot, &stage, &change.new, &request.target)?;
    let (_, before) = old.repomd.as_ref().ok_or_else(no_repomd)?;
    if !before.unknown.is_empty() {
        return Err(CreaterepoError::Unknown { place, names: before.unknown.clone() });
    }
    let second = request.time.unwrap_or(signer.now);
    let newer = old.newest().map_or(second, |newest| second.max(newest.saturating_add(1)));
    let time = Time { second: if request.time.is_some() { second } else { newer }, told: false };
    let (mut new, carried) = replaced(&old, before, request, time)?;
    let repomd = described(before, &new, time);
    let signature = new.close(config, &request.target, &old, &repomd, is_plan)?;
    if !is_plan {
        new.store(depot)?;
    }
    let report = Report {
        packages: 0,
        packages_read: 0,
        broken: Vec::new(),
        duplicates: Vec::new(),
        files: new.listed(),
        carried,
        revision: repomd.revision.unwrap_or_default(),
        signature,
        changed: false,
        update: None,
    };
    let repodata = new.dir(&mut stage, &old);
    if old.dir.as_ref() != Some(&repodata) {
        let at: TreePath = REPODATA.parse().unwrap_or_default();
        let new = graft(&mut stage, &top, &at, repodata, signer.now)?;
        change.new = graft(&mut stage, &change.new, &request.target.path, new, signer.now)?;
    }
    flip.put_back(stage);
    Ok(report)
}

/// The metadata with the document in the place of those of its type, and the types of the others.
fn replaced(
    old: &Old,
    before: &Repomd,
    request: &Injection,
    time: Time,
) -> Result<(New, Vec<String>), CreaterepoError> {
    let mut new = New::default();
    let mut carried = Vec::new();
    let gone = |kind: &str| is_variant(kind, request.extra.kind());
    for record in before.records.iter().filter(|record| !gone(&record.kind)) {
        if new.carry(old, record) {
            carried.push(record.kind.clone());
        }
    }
    // What no record names, such as what was retained, stays.
    let names_gone: Vec<&str> = before
        .records
        .iter()
        .filter(|record| gone(&record.kind))
        .filter_map(|record| record.location.as_str().strip_prefix("repodata/"))
        .collect();
    let is_ours = |name: &str| name.starts_with("repomd.xml") || names_gone.contains(&name);
    for (name, item) in old.items.iter().filter(|(name, _)| !is_ours(name.as_str())) {
        new.retain(name, item);
    }
    let algorithm = before.record("primary").map_or(Algorithm::Sha256, |record| record.checksum.algorithm());
    let algorithm = if algorithm.is_strong() { algorithm } else { Algorithm::Sha256 };
    for (kind, name, made) in request.extra.files(request.format, algorithm)? {
        new.add(old, kind, &name, made, time);
    }
    Ok((new, carried))
}

/// The new repomd.xml: what it said before, and the revision of now where that is a time.
fn described(before: &Repomd, new: &New, time: Time) -> Repomd {
    let records = new.records().to_vec();
    let revision = match before.revision_time() {
        Some(old) if before.records != records && old >= 100_000_000 => Some(time.second.to_string()),
        _ => before.revision.clone(),
    };
    Repomd { revision, tags: before.tags.clone(), records, unknown: Vec::new() }
}
