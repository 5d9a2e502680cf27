//! Putting one more document into the metadata of a repository: errata, modules.

use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;

use super::amend::{Amended, Amendment};
use super::build::{old_at, wishes};
use super::place::REPODATA;
use super::{CreaterepoError, Extra, Report};
use crate::catalogue::{Current, Signer};
use crate::config::Config;
use crate::depot::Depot;
use crate::promote::flip::{self, Flip};
use crate::repodata::compression::Format;
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
    let amendment = Amendment {
        config,
        target: &request.target,
        extra: &request.extra,
        format: request.format,
        algorithm: None,
        time: request.time,
        now: signer.now,
        is_plan,
    };
    let Amended { new, carried, repomd, signature } = amendment.apply(depot, before, &old, &old)?;
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
