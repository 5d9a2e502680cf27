//! Gathering whole repositories, any number of them at once: one pool of downloads, every distinct file once.
//!
//! The order is: documents of all, metadata of all, packages of all, signatures of packages. Always true: a
//! repository that fails keeps no other from being gathered, and what was gathered of it stays in the store;
//! one that is gathered has every file that its metadata names, with the declared size and checksum.

use std::collections::HashSet;
use std::ops::ControlFlow;

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Item, Kind, NodeMap};

use super::fetch::Fetcher;
use super::gather::{Gathering, Piece};
use super::repository::{self, Found, Repository};
use super::{Keep, OnProgress, Phase, Progress, Request, SyncError, tree, verify};
use crate::catalogue::{CatalogueError, Upstream};
use crate::depot::Depot;
use crate::openpgp::Fingerprint;
use crate::spread::spread;

/// What came of some repositories.
#[derive(Debug)]
pub struct Harvest {
    /// One for each request.
    pub repositories: Vec<Result<Gathered, SyncError>>,
    /// Files that were downloaded.
    pub fetched_files: u64,
    /// Bytes that were received for them.
    pub fetched_bytes: u64,
    /// What was found in the store stays there as long as this lives.
    _lease: Lease,
}

/// A repository that is in the store.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// Packages that it has; not counted when nothing had changed.
    pub packages: Option<u64>,
    /// The key that signed the metadata, when keys were given and something had changed.
    pub key: Option<Fingerprint>,
    /// What identifies packages of which it has several that differ.
    pub duplicates: Vec<String>,
    made: Made,
}

#[derive(Debug, Clone)]
enum Made {
    /// What an earlier sync made, at the target itself or at its like.
    Same {
        tree: Item,
        in_place: bool,
    },
    New {
        repomd: BlobId,
        items: Vec<(TreePath, Item)>,
    },
}

impl Gathered {
    /// The repository's tree, to stand where `old` stands now, with the nodes that may be new.
    pub fn tree(&self, depot: &Depot, keep: Keep, old: Option<&Item>) -> Result<(Item, NodeMap), SyncError> {
        match (&self.made, old) {
            (Made::Same { tree, .. }, _) => Ok((tree.clone(), NodeMap::new())),
            (Made::New { items, .. }, Some(before)) if keep != Keep::Nothing => {
                let items = tree::with_kept(depot, before, keep, items)?;
                tree::build(depot, old, &items)
            }
            (Made::New { items, .. }, _) => tree::build(depot, old, items),
        }
    }

    /// Records that `request` was fulfilled at `now` (seconds since 1970) with `tree`.
    pub fn record(&self, depot: &Depot, request: &Request, tree: &Item, now: i64) -> Result<(), SyncError> {
        let Kind::Dir(dir) = tree.kind else {
            let what = format!("the tree of {} is no directory", request.address);
            return Err(CatalogueError::Damaged { what }.into());
        };
        let repomd = match &self.made {
            Made::New { repomd, .. } => *repomd,
            Made::Same { tree: same, in_place: true } if same.kind == tree.kind => return Ok(()),
            Made::Same { tree: same, in_place } => {
                let place = if *in_place { Some(&request.target) } else { request.like.as_ref() };
                let last = place.map(|place| depot.catalogue.upstream(place)).transpose()?.flatten();
                let is_of_it = |last: &Upstream| matches!(same.kind, Kind::Dir(dir) if dir.id == last.tree);
                // When it was synced anew meanwhile, the next sync takes a closer look.
                let Some(last) = last.filter(is_of_it) else { return Ok(()) };
                last.repomd
            }
        };
        let upstream = Upstream {
            url: request.address.to_string(),
            repomd,
            tree: dir.id,
            policy: super::policy(request),
            synced: now,
        };
        Ok(depot.catalogue.record_upstream(&request.target, &upstream)?)
    }

    /// The tree at the target, when it is to stay.
    pub fn unchanged(&self) -> Option<&Item> {
        match &self.made {
            Made::Same { tree, in_place: true } => Some(tree),
            _ => None,
        }
    }

    /// The repomd.xml, when it is a new one.
    pub(super) fn repomd(&self) -> Option<BlobId> {
        match &self.made {
            Made::Same { .. } => None,
            Made::New { repomd, .. } => Some(*repomd),
        }
    }
}

/// Gathers the repositories of all `requests`; `now` is in seconds since 1970. Fails as a whole when the store
/// fails or `progress` stops it.
pub fn harvest(
    depot: &Depot,
    requests: &[Request],
    now: i64,
    progress: &mut OnProgress<'_>,
) -> Result<Harvest, SyncError> {
    let lease = Lease::take(&depot.store)?;
    let Some(first) = requests.first() else {
        return Ok(Harvest { repositories: Vec::new(), fetched_files: 0, fetched_bytes: 0, _lease: lease });
    };
    let fetcher = Fetcher::new(first.options.fetch.clone()).map_err(SyncError::Start)?;
    let mut found = find_all(depot, &fetcher, requests, now, progress)?;
    let mut gathering = Gathering::new(depot, &fetcher);

    list_all(&mut found, &mut gathering, progress)?;
    gathering.gather(Phase::Packages, &pieces(&found, |repository| &repository.packages), progress)?;
    fail_where(&mut found, |repository| gathering.check(repository.request, repository.packages.iter()));

    let open: Vec<&Repository<'_>> = found.iter().filter_map(new).collect();
    let mut verdicts = verify::packages(&gathering, &open, now, progress)?.into_iter();
    fail_where(&mut found, |_| verdicts.next().unwrap_or(Ok(())));

    let repositories = finish(depot, found, &gathering)?;
    Ok(Harvest {
        _lease: lease,
        repositories,
        fetched_files: gathering.fetched_files,
        fetched_bytes: gathering.fetched_bytes,
    })
}

/// What a harvest would have to download for one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Packages that it has; `None` when nothing has changed.
    pub packages: Option<u64>,
    /// Packages that are nowhere in the store, each counted with the first repository that has it.
    pub missing_files: u64,
    /// Their bytes.
    pub missing_bytes: u64,
}

/// Looks what a harvest of all `requests` would download. Metadata that the store lacks is downloaded, since it
/// must be read; nothing else changes.
pub fn survey(
    depot: &Depot,
    requests: &[Request],
    now: i64,
    progress: &mut OnProgress<'_>,
) -> Result<Vec<Result<Survey, SyncError>>, SyncError> {
    let Some(first) = requests.first() else { return Ok(Vec::new()) };
    let fetcher = Fetcher::new(first.options.fetch.clone()).map_err(SyncError::Start)?;
    let mut found = find_all(depot, &fetcher, requests, now, progress)?;
    let mut gathering = Gathering::new(depot, &fetcher);
    list_all(&mut found, &mut gathering, progress)?;
    let mut seen = HashSet::new();
    let mut surveys = Vec::with_capacity(found.len());
    for found in found {
        surveys.push(match found {
            Err(error) => Err(error),
            Ok(Found::Same { .. }) => Ok(Survey::default()),
            Ok(Found::New(repository)) => {
                let mut survey = Survey { packages: Some(0), ..Survey::default() };
                for wanted in &repository.packages {
                    survey.packages = survey.packages.map(|count| count + 1);
                    if seen.insert(wanted.checksum) && !gathering.find_known(wanted)? {
                        survey.missing_files += 1;
                        survey.missing_bytes += wanted.size_bytes.unwrap_or(0);
                    }
                }
                Ok(survey)
            }
        });
    }
    Ok(surveys)
}

/// Gathers the metadata of all repositories and reads which packages they have.
fn list_all(
    found: &mut [Result<Found<'_>, SyncError>],
    gathering: &mut Gathering<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<(), SyncError> {
    gathering.gather(Phase::Metadata, &pieces(found, |repository| &repository.metadata), progress)?;
    fail_where(found, |repository| gathering.check(repository.request, repository.metadata.iter()));
    for found in found {
        if let Ok(Found::New(repository)) = found
            && let Err(error) = repository.list_packages(gathering)
        {
            *found = Err(error);
        }
    }
    Ok(())
}

/// Asks all upstreams what they have, several at once.
fn find_all<'a>(
    depot: &Depot,
    fetcher: &Fetcher,
    requests: &'a [Request],
    now: i64,
    progress: &mut OnProgress<'_>,
) -> Result<Vec<Result<Found<'a>, SyncError>>, SyncError> {
    let mut found: Vec<Option<Result<Found<'a>, SyncError>>> = requests.iter().map(|_| None).collect();
    let files = requests.len() as u64;
    let mut state = Progress { phase: Phase::Metadata, files, files_done: 0, bytes: 0, bytes_done: 0 };
    let all: Vec<&'a Request> = requests.iter().collect();
    let work = |request: &&'a Request| repository::find(depot, fetcher, request, now);
    spread(&all, work, &mut |number, outcome| {
        found[number] = Some(outcome);
        state.files_done += 1;
        progress(&state)
    });
    let stopped = || SyncError::Stopped { address: requests[0].address.to_string() };
    let found = found.into_iter().map(|found| found.ok_or_else(stopped)).collect::<Result<Vec<_>, _>>()?;
    found.into_iter().map(|found| if is_of_the_store(&found) { found.map(Ok) } else { Ok(found) }).collect()
}

/// Whether an error is none of a repository's.
fn is_of_the_store<T>(result: &Result<T, SyncError>) -> bool {
    matches!(result, Err(SyncError::Catalogue(_)))
}

fn new<'r, 'a>(found: &'r Result<Found<'a>, SyncError>) -> Option<&'r Repository<'a>> {
    match found {
        Ok(Found::New(repository)) => Some(repository),
        _ => None,
    }
}

/// Files of all repositories that are still open.
fn pieces<'r, 'a>(
    found: &'r [Result<Found<'a>, SyncError>],
    files: impl Fn(&'r Repository<'a>) -> &'r [super::plan::Wanted],
) -> Vec<Piece<'r>> {
    let open = found.iter().filter_map(new);
    open.flat_map(|repository| {
        let old = repository.old.as_ref();
        files(repository).iter().map(move |wanted| Piece { request: repository.request, old, wanted })
    })
    .collect()
}

/// Closes the open repositories that a check finds fault with.
fn fail_where<'a>(
    found: &mut [Result<Found<'a>, SyncError>],
    mut check: impl FnMut(&Repository<'a>) -> Result<(), SyncError>,
) {
    for found in found {
        if let Some(repository) = new(found)
            && let Err(error) = check(repository)
        {
            *found = Err(error);
        }
    }
}

/// Stores the documents of what was gathered: they are the last to come, as in a mirror.
fn finish(
    depot: &Depot,
    found: Vec<Result<Found<'_>, SyncError>>,
    gathering: &Gathering<'_>,
) -> Result<Vec<Result<Gathered, SyncError>>, SyncError> {
    let lease = Lease::take(&depot.store)?;
    // They become live with the commit that names them.
    let mut publisher = Publisher::with_floor(&depot.store, Box::new(|_: Vec<Ready<()>>| Ok(())))?;
    let mut repositories = Vec::with_capacity(found.len());
    for found in found {
        repositories.push(match found {
            Err(error) => Err(error),
            Ok(Found::Same { tree, in_place }) => {
                let (packages, duplicates) = (None, Vec::new());
                Ok(Gathered { packages, key: None, duplicates, made: Made::Same { tree, in_place } })
            }
            Ok(Found::New(repository)) => {
                let mut items = repository.documents.publish(&lease, &mut publisher, repository.time)?;
                for wanted in repository.files() {
                    items.push((wanted.path.clone(), gathering.item(wanted)?));
                }
                let made = Made::New { repomd: repository.documents.repomd_blob(), items };
                let packages = Some(repository.packages.len() as u64);
                Ok(Gathered { packages, key: repository.key, duplicates: repository.duplicates, made })
            }
        });
    }
    publisher.finish()?;
    Ok(repositories)
}

/// Stops what `spread` does when a check says so.
pub(super) fn go_on(stopped: bool) -> ControlFlow<()> {
    if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
