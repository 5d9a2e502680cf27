//! The catalogue: one SQLite database that says which blobs, nodes, snapshots and refs exist.
//!
//! Always true: SQL lives in this room and nowhere else; rows hold values, never documents; every write is
//! one `BEGIN IMMEDIATE` transaction, durable when it returns (WAL, `synchronous=FULL`); several processes
//! may have the catalogue open, and a reader never waits for a writer.

use std::cell::Cell;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cfs_fs::digest::{BlobId, DigestError, NodeId, SnapshotId};
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::Access;

use crate::refname::RefName;
use crate::revision::Revision;

mod approvals;
mod checked;
mod commit;
mod failure;
mod forgetting;
mod fragments;
mod garbage;
mod hooks;
mod host_files;
mod integrity;
mod journal;
mod log;
mod nodes;
mod objects;
mod rebuild;
mod reflog;
mod refs;
mod revisions;
mod schema;
mod seals;
mod snapshots;
#[cfg(test)]
pub(crate) mod tamper;
mod unfinished;
mod upstreams;

pub use approvals::Approval;
pub use checked::Checked;
pub use commit::{Current, Draft, Planned, RefUpdate, SEALED, Seal, Signer, Taken};
pub use fragments::{Fragments, Known, Learnt};
pub use garbage::{Collection, Condemned, Moment, Pin, Retention};
pub use hooks::HookRun;
pub use host_files::HostFiles;
pub use integrity::{Raw, SnapshotRow};
pub use journal::{CopyFault, Link};
pub use objects::Totals;
pub use rebuild::LASTING;
pub use reflog::{Chain, ChainFault, LogEntry};
pub use refs::{Ref, Target};
pub use unfinished::UnfinishedSync;
pub use upstreams::Upstream;

/// The first SQLite without the bug that can corrupt a WAL database which several processes write.
const SQLITE_NEEDED: i32 = 3_051_003;
/// How long a writer waits for another one. A commit takes milliseconds; a large import, seconds.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// A write-ahead log beyond this is brought home after the next commit. Whoever opens the catalogue reads all of
/// it, so it should be small; a promotion appends some 50 KB.
const LOG_LIMIT_BYTES: u64 = 1 << 20;
/// How long bringing it home may wait for readers before it is left to the next commit.
const LOG_PATIENCE: Duration = Duration::from_millis(50);

/// Why the catalogue cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The ref's snapshot says that it is the last one.
    #[error("{name}: is finished and never changes")]
    Sealed {
        /// The ref.
        name: RefName,
    },
    /// SQLite failed.
    #[error("catalogue {path}: cannot {verb}")]
    Sqlite {
        /// What was being done.
        verb: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The catalogue is on a file system where SQLite's locks or shared memory do not hold.
    #[error("catalogue {path}: is on {kind}, where a database that several processes write gets corrupted")]
    RemoteFileSystem {
        /// The database file.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The database cannot be used by this cfs.
    #[error("catalogue {path}: {reason}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The database was written by a newer cfs.
    #[error("catalogue {path}: has schema {found}; this cfs knows {known}")]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The migrations that were applied.
        found: i32,
        /// Those that are known here.
        known: usize,
    },
    /// There is no database where snapshots are.
    #[error("catalogue {path}: is missing")]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// What the catalogue says cannot be true.
    #[error("catalogue is damaged: {what}")]
    Damaged {
        /// The object and what is wrong with it.
        what: String,
    },
    /// There is no such ref.
    #[error("no ref is called {name}")]
    NoSuchRef {
        /// The name asked for.
        name: RefName,
    },
    /// A ref would be a directory and a leaf of the namespace at once.
    #[error("ref {name} cannot exist beside {other}")]
    RefConflict {
        /// The ref to be made.
        name: RefName,
        /// The one that exists.
        other: RefName,
    },
    /// A verb that writes a snapshot met a symbolic ref.
    #[error("ref {name} is symbolic (it names {target})")]
    Symbolic {
        /// The symbolic ref.
        name: RefName,
        /// What it names.
        target: RefName,
    },
    /// A symbolic ref would lead to itself.
    #[error("ref {name} cannot name {target}, which leads back to {name}")]
    SymbolicLoop {
        /// The symbolic ref.
        name: RefName,
        /// What it would name.
        target: RefName,
    },
    /// A snapshot ref stands where a symbolic one should.
    #[error("ref {name} is not symbolic")]
    NotSymbolic {
        /// The ref.
        name: RefName,
    },
    /// Others moved the ref each time this process tried.
    #[error("ref {name} moved {attempts} times while it was being updated")]
    RefBusy {
        /// The ref.
        name: RefName,
        /// How often it was tried.
        attempts: u32,
    },
    /// A ref is not any more what was looked at.
    #[error("ref {name} moved meanwhile")]
    RefMoved {
        /// The ref.
        name: RefName,
    },
    /// A ref cannot go while another one names it.
    #[error("ref {name} is named by {by}")]
    Named {
        /// The ref.
        name: RefName,
        /// The symbolic ref.
        by: RefName,
    },
    /// No snapshot fits the revision.
    #[error("no snapshot is called {revision}: {reason}")]
    NoSuchRevision {
        /// The revision as written.
        revision: Revision,
        /// What is missing.
        reason: &'static str,
    },
    /// More than one snapshot begins with these digits.
    #[error("{revision} is ambiguous: {first} and {second} begin so")]
    Ambiguous {
        /// The revision as written.
        revision: Revision,
        /// One of them.
        first: SnapshotId,
        /// Another.
        second: SnapshotId,
    },
    /// A new tree names a blob that the store does not hold.
    #[error("blob {id} is named by a new tree and not in the store")]
    MissingBlob {
        /// The blob.
        id: BlobId,
    },
    /// The tree of a snapshot is not kept any more.
    #[error("snapshot {id} was collected as garbage at second {at}: its tree is gone")]
    Collected {
        /// The snapshot.
        id: SnapshotId,
        /// When, seconds since 1970.
        at: i64,
    },
    /// A tree that was to become part of a new one was collected meanwhile.
    #[error("node {id} of the new tree was collected as garbage meanwhile")]
    Vanished {
        /// The node.
        id: NodeId,
    },
    /// A node is missing or damaged.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DigestError> for CatalogueError {
    fn from(error: DigestError) -> Self {
        Self::Damaged { what: error.to_string() }
    }
}

/// An open catalogue. Shared by the threads of a process.
#[derive(Debug)]
pub struct Catalogue {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle connections for reading; as many come to be as threads read at once.
    readers: Mutex<Vec<Connection>>,
}

impl Catalogue {
    /// Makes the catalogue of a new store at `path`.
    pub fn create(path: &Path) -> Result<Self, CatalogueError> {
        check_place(path)?;
        schema::create(path).map_err(|source| sqlite_error("create the schema", path, source))?;
        Self::open(path)
    }

    /// Opens the catalogue at `path`, bringing an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        if rusqlite::version_number() < SQLITE_NEEDED {
            let reason = format!("SQLite {} can corrupt it; 3.51.3 is needed", rusqlite::version());
            return Err(CatalogueError::Unusable { path: path.to_owned(), reason });
        }
        check_place(path)?;
        let mut writer = connect(path).map_err(|source| sqlite_error("open", path, source))?;
        schema::migrate(&mut writer, path)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// Brings the write-ahead log home into the database file and empties it, as far as readers permit.
    pub fn checkpoint(&self) -> Result<(), CatalogueError> {
        self.read("bring the write-ahead log home", bring_log_home)
    }

    /// Writes a copy of the catalogue as it is at one moment to the new file `target`.
    pub fn copy_to(&self, target: &Path) -> Result<(), CatalogueError> {
        self.read("copy", |connection| {
            let mut copy = Connection::open(target)?;
            let backup = Backup::new(connection, &mut copy)?;
            // In one go: all of it is read in one transaction.
            backup.run_to_completion(c_int::MAX, Duration::ZERO, None)
        })
    }

    fn log_bytes(&self) -> u64 {
        let [_, log, _] = family(&self.path);
        log.metadata().map_or(0, |meta| meta.len())
    }

    /// Runs `work` on a connection for reading, outside a transaction: each statement sees the newest state.
    fn read<T>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let fail = |source| sqlite_error(verb, &self.path, source);
        let connection = match idle {
            Some(connection) => connection,
            None => connect_to_read(&self.path).map_err(fail)?,
        };
        let result = work(&connection);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result.map_err(fail)
    }

    /// Runs `work` in one write transaction and commits it, unless it fails.
    fn write<T, E: From<CatalogueError>>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let fail = |source| sqlite_error(verb, &self.path, source);
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, moved) = {
            let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let tx = Tx { inner: begun.map_err(fail)?, verb, path: &self.path, moved: Cell::new(false) };
            let result = work(&tx)?;
            let moved = tx.moved.get();
            tx.inner.commit().map_err(fail)?;
            (result, moved)
        };
        if moved {
            // The move stands whatever comes of this; the next one brings the copy up to date.
            let _ = journal::catch_up(&journal::path_beside(&self.path), &connection);
        }
        if self.log_bytes() > LOG_LIMIT_BYTES {
            // The commit stands whatever comes of this.
            let _ = bring_log_home(&connection);
        }
        Ok(result)
    }
}

/// An open write transaction, which only [`Catalogue::write`] makes.
struct Tx<'a> {
    inner: Transaction<'a>,
    verb: &'static str,
    path: &'a Path,
    /// Whether the reflog has grown.
    moved: Cell<bool>,
}

impl Tx<'_> {
    /// Runs statements and names what failed.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CatalogueError> {
        work(&self.inner).map_err(|source| sqlite_error(self.verb, self.path, source))
    }
}

/// A database with the files that SQLite keeps beside it: its log and the index of that.
pub(crate) fn family(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| {
        let mut path = path.as_os_str().to_owned();
        path.push(ending);
        path.into()
    })
}

fn bring_log_home(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOG_PATIENCE)?;
    let result = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    result
}

fn sqlite_error(verb: &'static str, path: &Path, source: rusqlite::Error) -> CatalogueError {
    failure::note(path, &source);
    CatalogueError::Sqlite { verb, path: path.to_owned(), source }
}

/// A connection with the settings that the promises rest on.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The write-ahead log stays when the last process goes, so a promotion is one append and one sync; whoever
    // finds it grown after a commit brings it home. SQLite's own way would do that at every commit of a
    // short-lived process, which cannot know what was brought home before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // A database that somebody else has made must not turn SQL of ours into something else.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    seals::define(&connection)?;
    Ok(connection)
}

/// A connection of which a process has many.
fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    // In KiB: every thread of a mount has one. The kernel remembers the pages of the file anyway.
    connection.pragma_update(None, "cache_size", -512)?;
    Ok(connection)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // Where the file cannot be written, SQLite opens it for reading.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    if path.with_extension("db-wal").exists() || rustix::fs::access(dir, Access::WRITE_OK).is_ok() {
        return Ok(connection);
    }
    // The write-ahead log is not there and cannot be made, so everything is in the database itself, and nobody
    // here changes it.
    let escaped = |byte: &u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(*byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    let address: String = path.as_os_str().as_encoded_bytes().iter().map(escaped).collect();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{address}?immutable=1"), flags)
}

/// Refuses file systems on which WAL's shared memory or locks do not work.
fn check_place(path: &Path) -> Result<(), CatalogueError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let stat = rustix::fs::statfs(dir).map_err(|source| {
        let path = dir.to_owned();
        StoreError::Io { verb: "look at the file system of", path, source: source.into() }
    })?;
    // Magic numbers of statfs(2).
    let kind = match stat.f_type.cast_unsigned() & 0xffff_ffff {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x00c3_6400 => "Ceph",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9p",
        _ => return Ok(()),
    };
    Err(CatalogueError::RemoteFileSystem { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests;
