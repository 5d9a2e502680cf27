//! Workspaces: a writable directory over a snapshot, whose changes become a new snapshot.
//!
//! Always true: a workspace is its record and its upper directory, both on disk, so it outlives its mounts,
//! a reboot and a killed process; what it was opened on never changes under it; nothing that was written in
//! it is lost by a commit, whatever comes of that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use cfs_fs::digest::Digest;
use cfs_fs::edit::EditError;
use cfs_fs::overlay::{Driver, Layers, OverlayError};
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, resolve};
use rustix::fs::{FlockOperation, flock};

use crate::catalogue::CatalogueError;
use crate::depot::Depot;
use crate::revision::{RefPath, RevPath};

mod commit;
mod record;

pub use commit::{Committed, Request, Status, commit, plan, status};
pub use record::{Kept, Record};

/// The room of workspaces in a store.
const ROOM: &str = "work";
/// A workspace's record in its home.
const RECORD: &str = "record";
/// Where the store is mounted for a workspace, in its home.
const LOWER: &str = "lower";
/// What a record is called when its workspace is being removed.
const DISCARDED: &str = "discarded";

/// Why a workspace cannot be had, read or committed.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A file operation failed.
    #[error("{path}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A path that a record cannot hold.
    #[error("{path:?}: cannot be a workspace's: it is not UTF-8 or has control characters")]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// A record that says something impossible.
    #[error("{path}: is not a workspace's record: {reason}")]
    BadRecord {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no workspace at this place.
    #[error("{dir}: is not a workspace of this store")]
    NotAWorkspace {
        /// The place.
        dir: PathBuf,
    },
    /// There is a workspace at this place, on something else.
    #[error("{dir}: is a workspace on {source_path} already (snapshot {snapshot})")]
    Taken {
        /// The place.
        dir: PathBuf,
        /// What it was opened on.
        source_path: RevPath,
        /// Its snapshot, shortened.
        snapshot: String,
    },
    /// Only directories can be opened.
    #[error("{source_path}: is not a directory of that snapshot")]
    NotADirectory {
        /// What was to be opened.
        source_path: RevPath,
    },
    /// The target has what the workspace never saw.
    #[error("{target}: is not what the workspace was opened on, and not what it committed")]
    Moved {
        /// The target.
        target: RefPath,
    },
    /// The upper directory cannot be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The tree cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for WorkspaceError {
    fn from(error: NodeError) -> Self {
        Self::Edit(error.into())
    }
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_owned();
    move |source| WorkspaceError::Io { verb, path, source }
}

/// A workspace that this process has for itself: others wait until it is dropped.
#[derive(Debug)]
pub struct Workspace {
    /// `work/<name>/` in the store.
    home: PathBuf,
    /// What is known of it.
    pub record: Record,
    /// Whether [`Workspace::open`] made it just now.
    pub is_new: bool,
    lock: File,
}

impl Workspace {
    /// The workspace at `dir`, an absolute path without symlinks.
    pub fn find(depot: &Depot, dir: &Path) -> Result<Self, WorkspaceError> {
        let (home, lock) = claim(depot, dir)?;
        match Record::load(&home.join(RECORD))? {
            Some(record) if record.dir == dir => Ok(Self { home, record, is_new: false, lock }),
            _ => Err(WorkspaceError::NotAWorkspace { dir: dir.to_owned() }),
        }
    }

    /// The workspace at `dir` when it is on `source`; else a new one, which keeps its changes below `scratch` or in
    /// the store. What was left of a discarded one is removed.
    pub fn open(
        depot: &Depot,
        dir: &Path,
        source: &RevPath,
        scratch: Option<&Path>,
    ) -> Result<Self, WorkspaceError> {
        let (home, lock) = claim(depot, dir)?;
        if let Some(record) = Record::load(&home.join(RECORD))? {
            let same = record.source == *source
                || depot
                    .catalogue
                    .resolve(&source.revision)
                    .is_ok_and(|(id, _)| id == record.snapshot && source.path == record.source.path);
            if same && record.dir == dir {
                let workspace = Self { home, record, is_new: false, lock };
                workspace.make_dirs()?;
                return Ok(workspace);
            }
            let (source_path, snapshot) = (record.source, record.snapshot.short());
            return Err(WorkspaceError::Taken { dir: record.dir, source_path, snapshot });
        }
        let lease = Lease::take(&depot.store).map_err(CatalogueError::from)?;
        let (snapshot, found) = depot.catalogue.resolve(&source.revision)?;
        // From now on it stays, if it was not collected before; later the record keeps it.
        lease.hold(&depot.store, snapshot).map_err(CatalogueError::from)?;
        if let Some(at) = depot.catalogue.collected_at(snapshot)? {
            return Err(CatalogueError::Collected { id: snapshot, at }.into());
        }
        let top = resolve(&depot.catalogue, &found.root_item(), &source.path)?;
        if !matches!(top, Some(Item { kind: Kind::Dir(_), .. })) {
            return Err(WorkspaceError::NotADirectory { source_path: source.clone() });
        }
        remove_rest(&home)?;
        let name = home.file_name().unwrap_or_default();
        let scratch = scratch.map_or_else(|| home.clone(), |dir| dir.join("cfs-work").join(name));
        let dir = dir.to_owned();
        let source = source.clone();
        let record =
            Record { dir, source, snapshot, scratch, driver: None, committed: Vec::new(), committing: None };
        let workspace = Self { home, record, is_new: true, lock };
        fs::create_dir_all(&workspace.home).map_err(io_error("create", &workspace.home))?;
        workspace.save()?;
        workspace.make_dirs()?;
        Ok(workspace)
    }

    fn make_dirs(&self) -> Result<(), WorkspaceError> {
        let scratch = &self.record.scratch;
        fs::create_dir_all(scratch).map_err(io_error("create", scratch))?;
        let lower = self.lower_mount();
        match fs::create_dir(&lower) {
            // A dead mount may be there.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error("create", &lower)(error))
            }
            _ => Ok(()),
        }
    }

    /// Where the store is mounted for this workspace alone.
    pub fn lower_mount(&self) -> PathBuf {
        self.home.join(LOWER)
    }

    /// The directories of its overlay.
    pub fn layers(&self) -> Layers {
        let lower = self.lower_mount().join("snapshots").join(self.record.snapshot.to_string());
        let scratch = &self.record.scratch;
        Layers {
            lower: lower.join(self.record.source.path.as_str()),
            upper: scratch.join("upper"),
            work: scratch.join("work"),
        }
    }

    /// The directory that it was opened on.
    pub fn base(&self, depot: &Depot) -> Result<(Dir, i64), WorkspaceError> {
        let Record { snapshot, source, .. } = &self.record;
        let lost =
            |what| CatalogueError::Damaged { what: format!("{what} of a workspace on {source} is missing") };
        let found = depot.catalogue.snapshot(*snapshot)?.ok_or_else(|| lost("the snapshot"))?;
        match resolve(&depot.catalogue, &found.root_item(), &source.path)? {
            Some(Item { mtime, kind: Kind::Dir(dir) }) => Ok((dir, mtime)),
            _ => Err(lost("the directory").into()),
        }
    }

    /// Another handle of the lock: whoever holds it keeps the workspace to himself, also after this process.
    pub fn lock(&self) -> Result<File, WorkspaceError> {
        self.lock.try_clone().map_err(io_error("hold the lock of", &self.home))
    }

    /// Remembers whose overlay it is, since that decides how its changes are read.
    pub fn set_driver(&mut self, driver: Driver) -> Result<(), WorkspaceError> {
        self.record.driver = Some(driver);
        self.save()
    }

    /// Removes the workspace with everything that was written in it; its mounts must be gone. A removal that
    /// was interrupted is ended by the next workspace at the same place.
    pub fn discard(self) -> Result<(), WorkspaceError> {
        let record = self.home.join(RECORD);
        fs::rename(&record, self.home.join(DISCARDED)).map_err(io_error("rename", &record))?;
        remove_rest(&self.home)
    }

    fn save(&self) -> Result<(), WorkspaceError> {
        self.record.save(&self.home.join(RECORD))
    }
}

/// All workspaces of a store, by their directories.
pub fn list(depot: &Depot) -> Result<Vec<Record>, WorkspaceError> {
    let room = depot.store.root().join(ROOM);
    let entries = match fs::read_dir(&room) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", &room))?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let home = entry.map_err(io_error("list", &room))?.path();
        if home.is_dir() {
            records.extend(Record::load(&home.join(RECORD))?);
        }
    }
    records.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(records)
}

/// Where the store is mounted for the workspace at `dir`.
pub fn lower_mount(depot: &Depot, dir: &Path) -> Result<PathBuf, WorkspaceError> {
    Ok(home(&room(depot)?, dir).join(LOWER))
}

/// The room of workspaces, whole, since the mounts in it are served from elsewhere.
fn room(depot: &Depot) -> Result<PathBuf, WorkspaceError> {
    let store = depot.store.root();
    Ok(store.canonicalize().map_err(io_error("find", store))?.join(ROOM))
}

/// The name follows from the place, so two workspaces never share one.
fn home(room: &Path, dir: &Path) -> PathBuf {
    room.join(format!("{:.12}", Digest::of(dir.as_os_str().as_encoded_bytes())))
}

/// The home of the workspace at `dir`, there or not, with the lock on it.
fn claim(depot: &Depot, dir: &Path) -> Result<(PathBuf, File), WorkspaceError> {
    let room = room(depot)?;
    fs::create_dir_all(&room).map_err(io_error("create", &room))?;
    let home = home(&room, dir);
    let path = home.with_extension("lock");
    let mut options = OpenOptions::new();
    let lock =
        options.create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from).map_err(io_error("lock", &path))?;
    Ok((home, lock))
}

/// Removes what a discarded workspace left. The scratch directory goes before the word where it is.
fn remove_rest(home: &Path) -> Result<(), WorkspaceError> {
    let word = home.join(DISCARDED);
    if let Some(record) = Record::load(&word)? {
        for name in ["upper", "work"] {
            remove_dir(&record.scratch.join(name))?;
        }
        if record.scratch != home {
            // Others may have theirs beside it.
            let _ = fs::remove_dir(&record.scratch);
            let _ = record.scratch.parent().map(fs::remove_dir);
        }
    }
    remove_dir(home)
}

fn remove_dir(path: &Path) -> Result<(), WorkspaceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
