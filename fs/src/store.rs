//! The content store: one plain immutable file per blob, named by the BLAKE3 of its bytes.
//!
//! ```text
//! FORMAT            "cfs-store 1"
//! blobs/ab/cdef…    a blob; the fan-out directories exist and are durable before the first one
//! commits/<id>      a snapshot's record and the nodes it brought: what a lost catalogue is rebuilt from
//! partial/          downloads that broke off, to be resumed
//! tmp/<lease>/      files of running processes; whoever comes next removes those of dead ones
//! run/              sockets and logs of mounts
//! work/<name>/      workspaces: what is not committed yet
//! quarantine/       what was found to be damaged
//! ballast           room for the day on which the disk is full
//! unclean           what the disk failed to make durable, until it was looked at
//! ```
//!
//! Always true: a file under `blobs/` is whole. It gets its name by a rename, and its bytes are on stable
//! storage before that (see [`publish`]).

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digest::{BlobId, SnapshotId};

pub mod lease;
pub mod publish;
pub mod unclean;

use lease::Lease;

/// Content of the file `FORMAT`.
const FORMAT: &str = "cfs-store 1\n";
/// The share of a file system that new content leaves free …
const FLOOR_SHARE: u64 = 32;
/// … and how much that is at most.
const FLOOR_BYTES: u64 = 2 << 30;
/// The directories of a new store.
const ROOMS: [&str; 5] = ["blobs", "commits", "partial", "tmp", "run"];

/// The most that the mode of a store's directory may have: all for its owner, reading for its group. (A directory that
/// gives its group to what is made in it goes on to do so.)
const OPEN_TO: u32 = 0o2750;

/// Why the store cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    /// There is no store at this place.
    #[error("{path}: is not a cfs store")]
    NotAStore {
        /// The place.
        path: PathBuf,
    },
    /// The place of a new store is taken.
    #[error("{path}: is already a cfs store")]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The place of a new store holds something else.
    #[error("{path}: is not empty and not a cfs store")]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// The store was written by a newer cfs.
    #[error("{path}: has the unknown format {format:?}")]
    UnknownFormat {
        /// The store.
        path: PathBuf,
        /// Content of its `FORMAT` file.
        format: String,
    },
    /// The place of a new store belongs to somebody else.
    #[error("{path}: belongs to user {owner}, who alone can make a store of it")]
    Foreign {
        /// The place.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// The store is somebody else's.
    #[error("{path}: is not open to user {user}")]
    Closed {
        /// The store.
        path: PathBuf,
        /// The number of the user of this process.
        user: u32,
    },
    /// A blob that something names is not there.
    #[error("blob {id} is missing")]
    Missing {
        /// The blob.
        id: BlobId,
    },
    /// A blob's bytes are not what its name says.
    #[error("blob {id} is damaged: its bytes hash to {found}")]
    Damaged {
        /// The blob.
        id: BlobId,
        /// What its bytes really are.
        found: BlobId,
    },
    /// There is too little room for new content.
    #[error(
        "{path}: the disk is almost full: {free_bytes} bytes are free, and {floor_bytes} are kept for promotions and collections"
    )]
    Full {
        /// The store.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is to stay free.
        floor_bytes: u64,
    },
    /// The disk failed, and what came before that is not whole.
    #[error("{path}: the disk failed ({why}), and not all that was written before is whole")]
    Unclean {
        /// The store.
        path: PathBuf,
        /// What failed.
        why: String,
        /// What was found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The keeper of the rows about blobs failed.
    #[error("cannot record new blobs")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Adds to an I/O error what was being done to which file.
pub(crate) trait Context<T> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { verb, path: path.to_owned(), source: source.into() })
    }
}

/// An open store. Cheap to clone; any number of processes may hold one.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes a store in `root`, which must be absent or an empty directory; durable when it returns.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        Self::create_with(root, |_| Ok(()))
    }

    /// Makes a store as [`Store::create`] does, with what `content` puts into it: whoever can open it finds that, too.
    /// A creation that was interrupted is done again; `content` may find what it left.
    pub fn create_with<E: From<StoreError>>(
        root: &Path,
        content: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let store = Self { root: root.to_owned() };
        store.lay_out()?;
        content(&store)?;
        // What the store consists of is durable before the file that says that it is one.
        sync_file_system(root)?;
        let (format, new) = (root.join("FORMAT"), root.join("FORMAT.new"));
        let mut file = File::create(&new).context("create", &new)?;
        file.write_all(FORMAT.as_bytes()).context("write", &new)?;
        file.sync_all().context("sync", &new)?;
        fs::rename(&new, &format).context("rename to", &format)?;
        sync_dir(root)?;
        Ok(store)
    }

    /// Makes the directories of a new store.
    fn lay_out(&self) -> Result<(), StoreError> {
        let root = &self.root;
        if root.join("FORMAT").exists() {
            return Err(StoreError::Exists { path: root.clone() });
        }
        fs::create_dir_all(root).context("create", root)?;
        close(root)?;
        // What an interrupted creation left may stand here; anything else may not.
        for entry in fs::read_dir(root).context("list", root)? {
            let name = entry.context("list", root)?.file_name();
            let ours = ROOMS.iter().any(|room| name == *room)
                || name == "FORMAT.new"
                || name.to_string_lossy().starts_with("catalogue.db");
            if !ours {
                return Err(StoreError::Occupied { path: root.clone() });
            }
        }
        for name in ROOMS {
            let path = root.join(name);
            fs::create_dir_all(&path).context("create", &path)?;
        }
        for byte in 0..=u8::MAX {
            let path = root.join("blobs").join(format!("{byte:02x}"));
            fs::create_dir_all(&path).context("create", &path)?;
        }
        Ok(())
    }

    /// Opens the store in `root`.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("FORMAT");
        match fs::read_to_string(&path) {
            Ok(format) if format == FORMAT => Ok(Self { root: root.to_owned() }),
            Ok(format) => Err(StoreError::UnknownFormat { path: root.to_owned(), format }),
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {
                Err(StoreError::NotAStore { path: root.to_owned() })
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let user = rustix::process::geteuid().as_raw();
                Err(StoreError::Closed { path: root.to_owned(), user })
            }
            Err(e) => Err(e).context("read", &path),
        }
    }

    /// The directory the store is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that is, or would be, the blob `id`.
    pub fn blob_path(&self, id: BlobId) -> PathBuf {
        let hex = id.to_string();
        let mut path = self.root.join("blobs");
        path.push(&hex[..2]);
        path.push(&hex[2..]);
        path
    }

    /// The file that is, or would be, the commit of the snapshot `id`.
    pub fn commit_path(&self, id: SnapshotId) -> PathBuf {
        self.root.join("commits").join(id.to_string())
    }

    /// The directory of broken-off downloads.
    pub fn partial_dir(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The directory of what belongs to running mounts.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The directory of what was found to be damaged.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Takes what stands at `path` of the store out of use, for people to look at; returns where it is. `None` when
    /// nothing was there.
    pub fn quarantine(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        let dir = self.quarantine_dir();
        fs::create_dir_all(&dir).context("create", &dir)?;
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('/', "-");
        for number in 0_u32.. {
            let target = dir.join(format!("{name}.{number}"));
            if target.symlink_metadata().is_ok() {
                continue;
            }
            return match fs::rename(path, &target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                renamed => renamed.context("take out of use", path).map(|()| Some(target)),
            };
        }
        Ok(None)
    }

    /// Opens a blob for reading. Its length is the blob's size; its bytes are not verified here.
    pub fn open_blob(&self, id: BlobId) -> Result<File, StoreError> {
        let path = self.blob_path(id);
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing { id }),
            opened => opened.context("open", &path),
        }
    }

    /// Whether the blob `id` is there with `size_bytes`.
    pub fn has_blob(&self, id: BlobId, size_bytes: u64) -> bool {
        fs::metadata(self.blob_path(id)).is_ok_and(|meta| meta.is_file() && meta.len() == size_bytes)
    }

    /// Copies the blob `id` to `out`, and fails after the last byte when the bytes were not the blob's.
    pub fn copy_blob(&self, id: BlobId, out: &mut dyn Write) -> Result<u64, StoreError> {
        let path = self.blob_path(id);
        let mut file = self.open_blob(id)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut copied = 0;
        loop {
            let read = io::Read::read(&mut file, &mut buffer).context("read", &path)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            out.write_all(&buffer[..read]).context("copy", &path)?;
            copied += read as u64;
        }
        let found = BlobId::from(crate::digest::Digest::from(hasher.finalize()));
        if found == id { Ok(copied) } else { Err(StoreError::Damaged { id, found }) }
    }

    /// Reads a whole blob, verified. For small blobs such as repomd.xml.
    pub fn read_blob(&self, id: BlobId) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.copy_blob(id, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the commit file of a snapshot, not verified; `None` when there is none.
    pub fn read_commit(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.commit_path(id);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.context("read", &path).map(Some),
        }
    }

    /// Writes `bytes` as `commits/<name>`, replacing a file of that name: bytes and name are durable when it returns.
    pub fn write_commit(&self, lease: &Lease, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (mut file, temporary) = lease.temporary()?;
        file.write_all(bytes).context("write", &temporary)?;
        self.note_failure(file.sync_data().context("sync", &temporary))?;
        let dir = self.root.join("commits");
        let path = dir.join(name);
        fs::rename(&temporary, &path).context("rename to", &path)?;
        // The catalogue's own sync takes names along only where a journal does.
        self.note_failure(sync_dir(&dir))
    }

    /// Makes everything that was written to the store's file system durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.note_failure(sync_file_system(&self.root))
    }

    /// Marks the store when something could not be made durable.
    fn note_failure<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Io { path, source, .. }) = &result {
            unclean::mark(&self.root, &format!("{}: {source}", path.display()));
        }
        result
    }

    /// Refuses new content when the disk is almost full: promotions and collections need the room.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        let stat = rustix::fs::statvfs(&self.root).context("look at the file system of", &self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let (free_bytes, floor_bytes) =
            (bytes(stat.f_bavail), (bytes(stat.f_blocks) / FLOOR_SHARE).min(FLOOR_BYTES));
        if free_bytes < floor_bytes {
            return Err(StoreError::Full { path: self.root.clone(), free_bytes, floor_bytes });
        }
        Ok(())
    }
}

/// Makes the directory of a new store one that its owner writes and its group reads, and nobody else. Who may read
/// what, views say; and a file that somebody else wrote there its owner could not change.
fn close(root: &Path) -> Result<(), StoreError> {
    let meta = fs::metadata(root).context("look at", root)?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(StoreError::Foreign { path: root.to_owned(), owner: meta.uid() });
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & !OPEN_TO != 0 {
        fs::set_permissions(root, Permissions::from_mode(mode & OPEN_TO)).context("set the mode of", root)?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).context("open", path)?.sync_all().context("sync", path)
}

/// Makes everything written to the file system that holds `path` durable.
fn sync_file_system(path: &Path) -> Result<(), StoreError> {
    let dir = File::open(path).context("open", path)?;
    rustix::fs::syncfs(&dir).context("sync the file system of", path)
}

#[cfg(test)]
mod tests;
