//! One pass over a tree that must not change: complete repositories, read as a client reads them.
//!
//! Always true: a pass that ends well has read every file that is there and every file that the metadata
//! names, each package with the checksum that `primary.xml` states; so two passes with one [`Fingerprint`]
//! saw the same bytes at the same paths.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cfs_fs::digest::{BlobId, Digest};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeError, resolve};
use cfs_fs::walk::walk;
use cfs_indexer::checksum::{Algorithm, Checksum, Hashed, Hasher};
use cfs_indexer::depot::Depot;
use cfs_indexer::repodata::primary::Packages;
use cfs_indexer::repodata::{RepodataError, compression, repomd};

/// More metadata than any repository has.
const METADATA_BYTES: u64 = 16 << 30;
/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Every path with its content.
pub type Manifest = BTreeMap<String, BlobId>;

/// Stands for a whole manifest.
pub type Fingerprint = Digest;

/// Why a pass did not end well.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The demo is over.
    #[error("stopped")]
    Stopped,
    /// A file or directory cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// Which.
        path: String,
        /// The failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Metadata is not metadata.
    #[error("{path}")]
    Metadata {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// A repository without a list of packages.
    #[error("{path}: names no primary metadata")]
    NoPrimary {
        /// The `repomd.xml`.
        path: String,
    },
    /// A file is not what the metadata says.
    #[error("{path}: is {found} of {found_bytes} bytes, but {by} says {expected}")]
    Differs {
        /// The file.
        path: String,
        /// What it is: its checksum.
        found: String,
        /// How long it is.
        found_bytes: u64,
        /// The metadata.
        by: String,
        /// What it should be.
        expected: String,
    },
    /// A file can be read but its directory does not list it.
    #[error("{path}: can be read, but its directory does not list it")]
    NotListed {
        /// The file.
        path: String,
    },
}

impl PassError {
    fn read(path: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Read { path: path.to_owned(), source: source.into() }
    }
}

/// A tree that does not change while it is read.
pub trait Frozen {
    /// The paths of all files.
    fn files(&self) -> Result<BTreeSet<String>, PassError>;

    /// Gives the bytes of a file to `take`.
    fn read(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), PassError>;
}

/// What a pass has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Everything that is there.
    pub manifest: Manifest,
    /// How many packages were compared with the metadata.
    pub packages: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Pass {
    /// Reads the repositories at `repositories` and what else is in `tree`, until `stopped` says so.
    pub fn over(
        tree: &dyn Frozen,
        repositories: &[TreePath],
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, PassError> {
        let mut reading = Reading { tree, stopped, read: BTreeMap::new(), packages: 0 };
        for repository in repositories {
            reading.repository(repository)?;
        }
        let listed = tree.files()?;
        if let Some(path) = reading.read.keys().find(|path| !listed.contains(*path)) {
            return Err(PassError::NotListed { path: path.clone() });
        }
        for path in listed {
            if !reading.read.contains_key(&path) {
                reading.file(&path, Algorithm::Sha256, &mut |_| ())?;
            }
        }
        let bytes = reading.read.values().map(|hashed| hashed.size_bytes).sum();
        let manifest = reading.read.into_iter().map(|(path, hashed)| (path, hashed.blob)).collect();
        Ok(Self { manifest, packages: reading.packages, bytes })
    }
}

/// Stands for `manifest`.
pub fn fingerprint(manifest: &Manifest) -> Fingerprint {
    let lines = manifest.iter().map(|(path, blob)| format!("{blob} {path}\n"));
    Digest::of(lines.collect::<String>().as_bytes())
}

/// A pass that is under way.
struct Reading<'a> {
    tree: &'a dyn Frozen,
    stopped: &'a dyn Fn() -> bool,
    read: BTreeMap<String, Hashed>,
    packages: u64,
}

impl Reading<'_> {
    /// Reads one repository as a client does: its `repomd.xml`, what that names, and what the primary
    /// metadata names.
    fn repository(&mut self, base: &TreePath) -> Result<(), PassError> {
        let below = |path: &str| if base.is_root() { path.to_owned() } else { format!("{base}/{path}") };
        let path = below("repodata/repomd.xml");
        let mut bytes = Vec::new();
        self.file(&path, Algorithm::Sha256, &mut |part| bytes.extend_from_slice(part))?;
        let repomd =
            repomd::parse(&bytes[..]).map_err(|source| PassError::Metadata { path: path.clone(), source })?;
        let mut primary = None;
        for record in &repomd.records {
            let mut bytes = Vec::new();
            let location = below(record.location.as_str());
            let keep = record.kind == "primary";
            self.expect(&location, &record.checksum, &path, &mut |part| {
                if keep {
                    bytes.extend_from_slice(part);
                }
            })?;
            if keep {
                primary = Some((location, bytes));
            }
        }
        let (primary, bytes) = primary.ok_or_else(|| PassError::NoPrimary { path: path.clone() })?;
        let plain = compression::reader(&bytes[..], METADATA_BYTES);
        for package in Packages::new(plain.map_err(|e| PassError::read(&primary, e))?) {
            let package = package.map_err(|source| PassError::Metadata { path: primary.clone(), source })?;
            self.expect(&below(package.location.as_str()), &package.checksum, &primary, &mut |_| ())?;
            self.packages += 1;
        }
        Ok(())
    }

    /// Reads a file that must be what `by` says.
    fn expect(
        &mut self,
        path: &str,
        expected: &Checksum,
        by: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), PassError> {
        let found = self.file(path, expected.algorithm(), take)?;
        if found.checksum == *expected {
            return Ok(());
        }
        Err(PassError::Differs {
            path: path.to_owned(),
            found: found.checksum.to_string(),
            found_bytes: found.size_bytes,
            by: by.to_owned(),
            expected: expected.to_string(),
        })
    }

    fn file(
        &mut self,
        path: &str,
        algorithm: Algorithm,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Hashed, PassError> {
        if (self.stopped)() {
            return Err(PassError::Stopped);
        }
        let mut hasher = Hasher::new(algorithm);
        self.tree.read(path, &mut |part| {
            hasher.update(part);
            take(part);
        })?;
        let found = hasher.finish();
        self.read.insert(path.to_owned(), found);
        Ok(found)
    }
}

/// A directory, read by the kernel.
#[derive(Debug)]
pub struct PlainDir {
    root: PathBuf,
    /// Keeps the directory open when `root` goes through it.
    _open: Option<File>,
}

impl PlainDir {
    /// The directory that `path` leads to now. It stays the same directory whatever `path` leads to later.
    pub fn open(path: &Path) -> Result<Self, PassError> {
        use std::os::fd::AsRawFd;
        let open = File::open(path).map_err(|e| PassError::read(&path.to_string_lossy(), e))?;
        Ok(Self { root: format!("/proc/self/fd/{}", open.as_raw_fd()).into(), _open: Some(open) })
    }

    /// The directory at `path` once its symlinks are followed.
    pub fn behind_links(path: &Path) -> Result<Self, PassError> {
        let root = path.canonicalize().map_err(|e| PassError::read(&path.to_string_lossy(), e))?;
        Ok(Self { root, _open: None })
    }
}

impl Frozen for PlainDir {
    fn files(&self) -> Result<BTreeSet<String>, PassError> {
        let (mut files, mut dirs) = (BTreeSet::new(), vec![String::new()]);
        while let Some(dir) = dirs.pop() {
            let failed = |e: io::Error| PassError::read(if dir.is_empty() { "." } else { &dir }, e);
            for entry in fs::read_dir(self.root.join(&dir)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry
                    .file_name()
                    .into_string()
                    .map_err(|name| PassError::read(&name.to_string_lossy(), "its name is not UTF-8"))?;
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    dirs.push(path);
                } else {
                    files.insert(path);
                }
            }
        }
        Ok(files)
    }

    fn read(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), PassError> {
        let failed = |e: io::Error| PassError::read(path, e);
        let mut file = File::open(self.root.join(path)).map_err(failed)?;
        let bytes = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(BUFFER_BYTES);
        let mut buffer = vec![0; bytes.clamp(1, BUFFER_BYTES)];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => return Ok(()),
                read => take(&buffer[..read]),
            }
        }
    }
}

/// A directory of a snapshot, read from the store.
#[derive(Debug)]
pub struct StoredDir<'a> {
    /// The store.
    pub depot: &'a Depot,
    /// The directory.
    pub root: Item,
}

impl StoredDir<'_> {
    /// Every path with its content, as the tree names it.
    pub fn manifest(&self) -> Result<Manifest, NodeError> {
        let mut manifest = Manifest::new();
        if let Kind::Dir(dir) = self.root.kind {
            walk(&self.depot.catalogue, dir, "", &mut |path, item| {
                if let Kind::File { blob, .. } = item.kind {
                    manifest.insert(path.to_owned(), blob);
                }
                Ok::<_, NodeError>(())
            })?;
        }
        Ok(manifest)
    }
}

impl Frozen for StoredDir<'_> {
    fn files(&self) -> Result<BTreeSet<String>, PassError> {
        Ok(self.manifest().map_err(|e| PassError::read(".", e))?.into_keys().collect())
    }

    fn read(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), PassError> {
        let tree_path = path.parse::<TreePath>().map_err(|e| PassError::read(path, e))?;
        let found = resolve(&self.depot.catalogue, &self.root, &tree_path);
        let Some(Item { kind: Kind::File { blob, .. }, .. }) = found.map_err(|e| PassError::read(path, e))?
        else {
            return Err(PassError::read(path, "there is no such file"));
        };
        let copied = self.depot.store.copy_blob(blob, &mut Taker(take));
        copied.map(drop).map_err(|e| PassError::read(path, e))
    }
}

/// Gives on what is written to it.
struct Taker<'a>(&'a mut dyn FnMut(&[u8]));

impl io::Write for Taker<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
