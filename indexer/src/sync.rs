//! `sync`: a yum/dnf repository becomes a path of a new snapshot of a ref.
//!
//! [`harvest`] gathers the files of repositories, [`sync`] makes one of them a tree and commits it. Always true: the ref moves only when every file that the metadata names is in the store with the
//! declared size and checksum; what was downloaded before a failure is kept and not downloaded again; nothing
//! is taken from the upstream into a path of this host.

use std::ops::ControlFlow;

use cfs_fs::edit::EditError;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Item, Kind, NodeError, Sums, resolve};

use crate::catalogue::{CatalogueError, Current, Draft, RefUpdate, Signer, Taken};
use crate::checksum::Algorithm;
use crate::config::Lists;
use crate::depot::{Depot, place};
use crate::filelist::FilelistError;
use crate::filelist::published::complete;
use crate::openpgp::{Fingerprint, Keyring, SignatureError};
use crate::repodata::RepodataError;
use crate::repository::{read_ahead, with_causes};
use crate::revision::RefPath;

mod documents;
pub mod fetch;
mod gather;
mod harvest;
mod partial;
mod plan;
mod refetch;
mod repository;
mod small;
mod tree;
mod verify;

pub use harvest::{Gathered, Harvest, Survey, harvest, survey};
pub use refetch::{Wanted, refetch};
pub use small::{small_files, split};

use crate::address::Address;
use fetch::FetchError;

/// How a sync goes about it.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a demand of its own")]
pub struct Options {
    /// Downloads, timeouts, attempts.
    pub fetch: fetch::Options,
    /// Accept checksums and signatures that rest on MD5, SHA-1 or SHA-224.
    pub weak_checksums: bool,
    /// With keys: accept metadata without a signature, but no package without one.
    pub unsigned_metadata: bool,
    /// With keys: accept packages without a signature; the metadata's checksums vouch for them.
    pub unsigned_packages: bool,
    /// The most bytes that a metadata file may have, as it is and uncompressed.
    pub metadata_cap_bytes: u64,
    /// The most bytes that a package may have.
    pub package_cap_bytes: u64,
    /// The most files that a repository may have.
    pub files_max: u64,
    /// The most bytes that all packages of a repository may have.
    pub bytes_max: u64,
    /// Accept metadata that is older than what was synced last.
    pub older: bool,
    /// Where the tree is to have files of another origin, so that no package may stand there.
    pub taken: Vec<TreePath>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fetch: fetch::Options::default(),
            weak_checksums: false,
            unsigned_metadata: false,
            unsigned_packages: false,
            metadata_cap_bytes: 4 << 30,
            package_cap_bytes: 32 << 30,
            files_max: 4_000_000,
            bytes_max: 16 << 40,
            older: false,
            taken: Vec::new(),
        }
    }
}

/// What stays of an older tree at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing: the tree becomes what the upstream has.
    #[default]
    Nothing,
    /// What is neither a package nor repodata.
    Others,
    /// The same, and packages that the upstream no longer lists.
    Packages,
}

/// What is to be synced where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The repository.
    pub address: Address,
    /// The path that becomes it.
    pub target: RefPath,
    /// Where much the same may stand when the target does not exist: what an earlier sync of the same
    /// repository made.
    pub like: Option<RefPath>,
    /// What stays of what stands at the target.
    pub keep: Keep,
    /// The keys that must have signed the metadata and every package; `None` demands no signatures.
    pub keys: Option<Keyring>,
    /// Why, in the user's words.
    pub message: String,
    /// How.
    pub options: Options,
}

/// What a sync is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting until another sync of the same repository has ended.
    Waiting,
    /// Downloading metadata.
    Metadata,
    /// Hashing packages of the old tree whose checksums are not known.
    Hashing,
    /// Downloading packages.
    Packages,
    /// Checking signatures of packages.
    Signatures,
}

/// How far a sync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Files that this phase is about.
    pub files: u64,
    /// Files that are done.
    pub files_done: u64,
    /// Bytes that this phase is about, as far as they are declared.
    pub bytes: u64,
    /// Bytes that are done.
    pub bytes_done: u64,
}

/// Is told how far a sync is, and stops it by breaking: what was downloaded by then is kept.
pub type OnProgress<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Packages that the repository has; not counted when nothing had changed.
    pub packages: Option<u64>,
    /// All its files, metadata included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were downloaded.
    pub fetched_files: u64,
    /// Bytes that were received for them.
    pub fetched_bytes: u64,
    /// The key that signed the metadata, when keys were given.
    pub key: Option<Fingerprint>,
    /// What identifies packages of which it has several that differ: clients take any of them.
    pub duplicates: Vec<String>,
    /// The ref's move; `None` when nothing changed.
    pub update: Option<RefUpdate>,
}

/// A file that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its URL, or its path on this host.
    pub url: String,
    /// Why not.
    pub reason: String,
}

/// Why a sync was not made. The ref is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// There is no repository at the address.
    #[error("{url}: there is no repository: it is not there")]
    NoRepository {
        /// Where its repomd.xml should be.
        url: String,
    },
    /// The list of metadata files, its signature or its key cannot be had.
    #[error("{url}: cannot be downloaded")]
    Document {
        /// Which of them.
        url: String,
        /// Why not.
        source: FetchError,
    },
    /// Metadata cannot be used.
    #[error("{url}: cannot be used")]
    Metadata {
        /// The metadata file.
        url: String,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// The repository does not list its packages in a way that cfs reads.
    #[error("{url}: lists no primary metadata")]
    NoPrimary {
        /// Its repomd.xml.
        url: String,
    },
    /// Two files would stand at one path, or one inside another.
    #[error("{url}: names {path} as a file and as something else")]
    Overlap {
        /// The metadata that says so.
        url: String,
        /// The path.
        path: TreePath,
    },
    /// A file is vouched for only by a checksum that can be forged.
    #[error("{url}: its {algorithm} checksum can be forged")]
    WeakChecksum {
        /// The file.
        url: String,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// A file is declared larger than it may be.
    #[error("{url}: is declared with {size_bytes} bytes; at most {limit_bytes} are allowed")]
    Oversize {
        /// The file.
        url: String,
        /// The declared size.
        size_bytes: u64,
        /// The most it may have.
        limit_bytes: u64,
    },
    /// A repository is larger than any that was meant.
    #[error("{url}: lists more than {limit} {what}")]
    Budget {
        /// The metadata that says so.
        url: String,
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: u64,
    },
    /// Metadata is older than what was synced last: a mirror that is behind, or somebody who hides updates behind
    /// metadata that was once good.
    #[error("{url}: is of {offered}, and that of {synced} was synced before")]
    Older {
        /// Its repomd.xml.
        url: String,
        /// What it says of its age.
        offered: String,
        /// What the last one said.
        synced: String,
    },
    /// Keys were given and the metadata is not signed.
    #[error("{url}: is not there, so the metadata is not signed")]
    UnsignedMetadata {
        /// Where the signature should be.
        url: String,
    },
    /// Keys were given and the metadata's signature is not good.
    #[error("{url}: the metadata {source}")]
    MetadataSignature {
        /// The signed file.
        url: String,
        /// What is wrong with its signature.
        source: SignatureError,
    },
    /// Files could not be had or are not what they should be; others were, and are kept.
    #[error("{address}: {} files cannot be had", failures.len())]
    Failed {
        /// The repository.
        address: String,
        /// All of them.
        failures: Vec<Failure>,
    },
    /// The sync was stopped.
    #[error("{address}: the sync was stopped")]
    Stopped {
        /// The repository.
        address: String,
    },
    /// Downloading cannot even begin.
    #[error("cannot start downloading")]
    Start(#[source] FetchError),
    /// The tree cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A file list cannot be made.
    #[error(transparent)]
    Filelist(#[from] FilelistError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for SyncError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Makes the repository a path of a new snapshot of the target's ref, which has these `lists`. When nothing has changed since the last
/// sync, there is no new snapshot. A sync that fails is recorded until one into the same path succeeds.
pub fn sync(
    depot: &Depot,
    request: &Request,
    lists: &[Lists],
    signer: &Signer,
    progress: &mut OnProgress<'_>,
) -> Result<Report, SyncError> {
    let result = match attempt(depot, request, lists, signer, progress) {
        // It was garbage when it was found and gone when it was needed; now it is downloaded.
        Err(SyncError::Catalogue(CatalogueError::MissingBlob { .. })) => {
            attempt(depot, request, lists, signer, progress)
        }
        done => done,
    };
    match &result {
        Ok(_) => depot.catalogue.forget_unfinished(&request.target)?,
        // Nothing was tried.
        Err(SyncError::Catalogue(_)) => {}
        Err(error) => depot.catalogue.record_unfinished(&request.target, signer.now, &with_causes(error))?,
    }
    result
}

fn attempt(
    depot: &Depot,
    request: &Request,
    lists: &[Lists],
    signer: &Signer,
    progress: &mut OnProgress<'_>,
) -> Result<Report, SyncError> {
    // A symbolic ref cannot be synced into: say so before hours of downloading.
    let current = depot.catalogue.current(&request.target.name)?;
    let old = item_at(depot, current.as_ref(), &request.target.path)?;
    let harvest = harvest(depot, std::slice::from_ref(request), signer.now, progress)?;
    let lost = || CatalogueError::Damaged { what: "nothing came of the only repository".into() };
    let gathered = harvest.repositories.into_iter().next().ok_or_else(lost)??;
    let (tree, update) = match gathered.unchanged() {
        Some(tree) => (tree.clone(), None),
        None => commit(depot, request, lists, signer, &gathered)?,
    };
    if update.is_some() {
        read_ahead(depot, &depot.catalogue, old.as_ref(), &tree);
    }
    gathered.record(depot, request, &tree, signer.now)?;
    let sums = sums(&tree);
    Ok(Report {
        packages: gathered.packages,
        files: sums.files,
        bytes: sums.bytes,
        fetched_files: harvest.fetched_files,
        fetched_bytes: harvest.fetched_bytes,
        key: gathered.key,
        duplicates: gathered.duplicates,
        update,
    })
}

fn sums(tree: &Item) -> Sums {
    match tree.kind {
        Kind::Dir(dir) => dir.sums,
        _ => Sums::default(),
    }
}

/// What stands at `path` of a snapshot.
fn item_at(depot: &Depot, current: Option<&Current>, path: &TreePath) -> Result<Option<Item>, SyncError> {
    let Some(current) = current else { return Ok(None) };
    Ok(resolve(&depot.catalogue, &current.snapshot.root_item(), path)?)
}

/// What a request demands of a repository, as it is recorded.
fn policy(request: &Request) -> String {
    let Options { weak_checksums, unsigned_metadata, unsigned_packages, .. } = request.options;
    let keep = match request.keep {
        Keep::Nothing => "",
        Keep::Others => " keep=others",
        Keep::Packages => " keep=packages",
    };
    let Some(keys) = &request.keys else { return format!("1 weak={weak_checksums} keys={keep}") };
    let mut names: Vec<String> = keys.fingerprints().map(|key| key.to_string()).collect();
    names.sort_unstable();
    let packages = if unsigned_packages { " packages=unsigned" } else { "" };
    let names = names.join(",");
    format!("1 weak={weak_checksums} unsigned={unsigned_metadata} keys={names}{packages}{keep}")
}

/// Builds the tree and moves the ref to it, unless it is there already.
fn commit(
    depot: &Depot,
    request: &Request,
    lists: &[Lists],
    signer: &Signer,
    gathered: &Gathered,
) -> Result<(Item, Option<RefUpdate>), SyncError> {
    let mut built = None;
    let update = depot.catalogue.update_ref(&depot.store, &request.target.name, signer, |current| {
        let old = item_at(depot, current, &request.target.path)?;
        let (tree, nodes) = gathered.tree(depot, request.keep, old.as_ref())?;
        let placed = place(&depot.catalogue, current, &request.target.path, &tree, nodes, signer.now)?;
        built = Some(tree);
        let Some((root, nodes)) = placed else { return Ok::<_, SyncError>(None) };
        let repomd = gathered.repomd().map(|repomd| ("sync.repomd".into(), repomd.to_string()));
        let url = ("sync.url".into(), request.address.to_string());
        let draft = Draft {
            root,
            nodes,
            taken: Taken::default(),
            parents: Vec::new(),
            access: None,
            meta: [Some(url), repomd].into_iter().flatten().collect(),
            message: request.message.clone(),
            reason: format!("sync {}", request.address),
        };
        Ok(complete(depot, lists, current, draft, signer.now)?)
    })?;
    let lost = || CatalogueError::Damaged { what: format!("no tree was made of {}", request.address) };
    Ok((built.ok_or_else(lost)?, update))
}
