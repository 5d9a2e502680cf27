//! Building the metadata of a repository.

use std::collections::BTreeSet;

use cfs_fs::digest::BlobId;
use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, Nodes, Stage, resolve};

use super::documents::{self, Made, Style};
use super::extra::is_variant;
use super::packages::{self, Packages};
use super::place::{self, New, Old, REPODATA, Time};
use super::{CreaterepoError, Extra, OnProgress, Report, Signature};
use crate::catalogue::{Current, Signer};
use crate::checksum::Algorithm;
use crate::config::{Config, Gate};
use crate::depot::Depot;
use crate::promote::flip::{self, Flip};
use crate::promote::gates::Wishes;
use crate::repodata::compression::Format;
use crate::repodata::document;
use crate::repodata::repomd::{Record, Repomd, Tags};
use crate::repository::read_ahead;
use crate::revision::{RefPath, RevPath};

/// A revision below this is a name and no time: Rocky's is the major version.
const TIME_MIN: i64 = 100_000_000;
/// What lists packages, and so is made anew.
const OF_PACKAGES: [&str; 5] = ["primary", "filelists", "other", "filelists-ext", "filelists_ext"];

/// How metadata is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// How documents are compressed.
    pub format: Format,
    /// The checksums of packages and documents.
    pub algorithm: Algorithm,
    /// The revision; by default the time.
    pub revision: Option<String>,
    /// The time of what is new, seconds since 1970; by default it follows from the packages.
    pub time: Option<i64>,
    /// What the repository says of itself; `None` for what it said before.
    pub tags: Option<Tags>,
    /// Comps, modules and others that take the places of those before.
    pub extras: Vec<Extra>,
    /// Keep the files of so many earlier repomd.xml.
    pub retain: usize,
    /// Leave out packages that cannot be published, instead of failing.
    pub skip_broken: bool,
    /// Give packages the times of their builds instead of those of their files.
    pub build_times: bool,
}

/// What is to be built where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The packages.
    pub source: RevPath,
    /// The path that becomes them with their metadata.
    pub target: RefPath,
    /// How.
    pub options: Options,
    /// Why, in the user's words.
    pub message: String,
}

impl Request {
    /// Whether the metadata is made where the packages are.
    fn is_in_place(&self) -> bool {
        self.source.as_ref_path().as_ref() == Some(&self.target)
    }
}

/// Says what [`build`] would do, and moves nothing; what packages say is read and kept.
pub fn plan(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
    progress: &mut OnProgress<'_>,
) -> Result<Report, CreaterepoError> {
    let current = [depot.catalogue.current(&request.target.name)?];
    let names = std::slice::from_ref(&request.target.name);
    let mut flip = Flip::begin(depot, config, names, &current, signer);
    let mut report = prepare(depot, config, request, &mut flip, true, signer, progress)?;
    report.changed = flip.changes.iter().any(flip::Change::is_some);
    Ok(report)
}

/// Builds the metadata of the packages at the source and makes both the target, in one flip.
pub fn build(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
    progress: &mut OnProgress<'_>,
) -> Result<Report, CreaterepoError> {
    let names = std::slice::from_ref(&request.target.name);
    let mut done = None;
    let (flip, mut updates) = flip::commit(depot, config, names, signer, |current: &[Option<Current>]| {
        let mut flip = Flip::begin(depot, config, names, current, signer);
        done = Some(prepare(depot, config, request, &mut flip, false, signer, progress)?);
        describe(&mut flip, request);
        Ok::<_, CreaterepoError>((flip, wishes()))
    })?;
    for change in flip.changes.iter().filter(|_| !updates.is_empty()) {
        read_ahead(depot, &depot.catalogue, Some(&change.old), &change.new);
    }
    let mut report = done.ok_or_else(|| CreaterepoError::Stopped { place: request.source.clone() })?;
    report.update = updates.pop();
    report.changed = report.update.is_some();
    Ok(report)
}

fn describe(flip: &mut Flip, request: &Request) {
    if let Some(change) = flip.changes.first_mut() {
        change.message.clone_from(&request.message);
        change.reason = format!("repodata build {}", request.source);
        change.meta.insert("repodata.source".into(), request.source.to_string());
    }
}

/// Times that mirrors see, and no gates: these are for promotions.
pub(super) fn wishes() -> Wishes {
    Wishes { only: Some(BTreeSet::from([Gate::Mtime])), ..Wishes::none() }
}

/// Puts the source with new metadata at the target of a flip.
fn prepare(
    depot: &Depot,
    config: &Config,
    request: &Request,
    flip: &mut Flip,
    is_plan: bool,
    signer: &Signer,
    progress: &mut OnProgress<'_>,
) -> Result<Report, CreaterepoError> {
    let mut stage = flip.take_stage(depot);
    let top = source(depot, request, flip, &stage)?;
    let place = &request.source;
    let Kind::Dir(dir) = top.kind else {
        return Err(CreaterepoError::NotADirectory { place: place.clone() });
    };
    let found = packages::list(&stage, dir)?;
    let packages = packages::learn(depot, place, found, request.options.algorithm, progress)?;
    if !packages.broken.is_empty() && !request.options.skip_broken {
        return Err(CreaterepoError::Broken { place: place.clone(), broken: packages.broken });
    }
    let old = Old::of(depot, &stage, place, &top)?;
    let made = metadata(depot, config, request, &top, &old, &packages, is_plan)?;
    let report = Report {
        packages: packages.entries.len() as u64,
        packages_read: packages.read,
        broken: packages.broken,
        duplicates: packages.duplicates,
        files: made.new.listed(),
        carried: made.carried,
        revision: made.revision,
        signature: made.signature,
        changed: false,
        update: None,
    };
    let repodata = made.new.dir(&mut stage, &old);
    let at: TreePath = REPODATA.parse().unwrap_or_default();
    let now = repodata.mtime;
    let new =
        if old.dir.as_ref() == Some(&repodata) { top } else { graft(&mut stage, &top, &at, repodata, now)? };
    if let Some(change) = flip.changes.first_mut() {
        change.new = graft(&mut stage, &change.new, &request.target.path, new, signer.now)?;
    }
    flip.put_back(stage);
    Ok(report)
}

/// The tree that holds the packages.
fn source(depot: &Depot, request: &Request, flip: &Flip, stage: &Stage<'_>) -> Result<Item, CreaterepoError> {
    let missing = || CreaterepoError::NotADirectory { place: request.source.clone() };
    let root = match flip.changes.first() {
        // As it is at this very moment.
        Some(change) if request.is_in_place() && change.current.is_some() => change.old.clone(),
        _ => depot.catalogue.resolve(&request.source.revision)?.1.root_item(),
    };
    resolve(stage, &root, &request.source.path)?.ok_or_else(missing)
}

/// New metadata and what is said of it.
struct Metadata {
    new: New,
    carried: Vec<String>,
    revision: String,
    signature: Signature,
}

fn metadata(
    depot: &Depot,
    config: &Config,
    request: &Request,
    top: &Item,
    old: &Old,
    packages: &Packages,
    is_plan: bool,
) -> Result<Metadata, CreaterepoError> {
    let Options { format, algorithm, extras, retain, build_times, .. } = &request.options;
    let style = Style { format: *format, algorithm: *algorithm, build_times: *build_times };
    let (documents, memory) = documents::make(depot, packages, style)?;
    let remembered: Vec<Made> = documents.iter().map(|made| Made { bytes: None, ..made.clone() }).collect();
    let time = time(&request.options, top, old, packages);
    let mut new = New::default();
    for (kind, made) in document::Kind::ALL.into_iter().zip(documents) {
        let name = format!("{}.xml{}", kind.word(), format.suffix());
        new.add(old, kind.word().to_owned(), &name, made, time);
    }
    for extra in extras {
        for (kind, name, made) in extra.files(*format, *algorithm)? {
            new.add(old, kind, &name, made, time);
        }
    }
    let carried = carry(&mut new, old, extras);
    let repomd = repomd(&request.options, old, &new, time);
    let document = repomd.to_xml();
    for (name, item) in place::retained(depot, &request.target, BlobId::of(document.as_bytes()), *retain)? {
        new.retain(&name, &item);
    }
    new.retain_beside(old);
    let signature = new.close(config, &request.target, old, &repomd, is_plan)?;
    if !is_plan {
        new.store(depot)?;
        memory.keep(&remembered, &packages.entries);
    }
    Ok(Metadata { new, carried, revision: repomd.revision.unwrap_or_default(), signature })
}

/// Takes over what is said of other things than packages, where nothing takes its place.
fn carry(new: &mut New, old: &Old, extras: &[Extra]) -> Vec<String> {
    let Some((_, repomd)) = &old.repomd else { return Vec::new() };
    let is_replaced = |record: &Record| {
        let replaced = OF_PACKAGES.iter().copied().chain(extras.iter().map(Extra::kind));
        replaced.into_iter().any(|kind| is_variant(&record.kind, kind))
    };
    let kept = repomd.records.iter().filter(|record| !is_replaced(record));
    kept.filter(|record| new.carry(old, record)).map(|record| record.kind.clone()).collect()
}

/// When what is new was made: as told, or when the newest package was, and later than what was there.
fn time(options: &Options, top: &Item, old: &Old, packages: &Packages) -> Time {
    let of_revision =
        options.revision.as_ref().and_then(|text| text.parse().ok()).filter(|time| *time >= TIME_MIN);
    if let Some(second) = options.time.or(of_revision) {
        return Time { second, told: true };
    }
    let of_packages = packages.entries.iter().map(|entry| entry.found.mtime).max();
    let second = of_packages.unwrap_or(top.mtime).max(0);
    let after = old.newest().map_or(second, |newest| second.max(newest.saturating_add(1)));
    Time { second: after, told: false }
}

fn repomd(options: &Options, old: &Old, new: &New, time: Time) -> Repomd {
    let before = old.repomd.as_ref().map(|(_, repomd)| repomd);
    let tags = match (&options.tags, before) {
        (Some(tags), _) => tags.clone(),
        (None, Some(before)) => before.tags.clone(),
        (None, None) => Tags::default(),
    };
    let mut repomd = Repomd {
        revision: options.revision.clone(),
        tags,
        records: new.records().to_vec(),
        unknown: Vec::new(),
    };
    if repomd.revision.is_none() {
        let same = before.filter(|before| before.records == repomd.records && before.tags == repomd.tags);
        repomd.revision = match same {
            // Nothing is new, so it is of the same time.
            Some(before) if !time.told => before.revision.clone(),
            _ => before.and_then(name).or_else(|| Some(time.second.to_string())),
        };
    }
    repomd
}

/// The revision of metadata when it is a small number, such as the major version of the release: a name that new
/// metadata goes on to have.
fn name(before: &Repomd) -> Option<String> {
    let is_name = |text: &String| text.parse::<i64>().is_ok_and(|number| (0..TIME_MIN).contains(&number));
    before.revision.clone().filter(is_name)
}

/// What stands at the target.
pub(super) fn old_at(
    depot: &Depot,
    nodes: &impl Nodes,
    root: &Item,
    target: &RefPath,
) -> Result<(Item, Old), CreaterepoError> {
    let place = RevPath::from(target);
    let top = resolve(nodes, root, &target.path)?;
    let top = top.ok_or_else(|| CreaterepoError::NotADirectory { place: place.clone() })?;
    let old = Old::of(depot, nodes, &place, &top)?;
    Ok((top, old))
}
