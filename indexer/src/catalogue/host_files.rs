//! What imported host files looked like, so that an unchanged one is not read again.
//!
//! Always true: this is a cache in a database of its own (`cache.db`). It may be deleted at any time; what it
//! says of a file is used only while device, inode, size and both times are as recorded, and the blob is in the store.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cfs_fs::digest::BlobId;
use cfs_fs::import::{Recall, Stamp};
use cfs_fs::store::publish::Record;
use rusqlite::{Connection, OptionalExtension};

use super::{CatalogueError, sqlite_error};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS host_files(
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK(length(hash) = 32),
        PRIMARY KEY(device, inode)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The open cache.
#[derive(Debug)]
pub struct HostFiles {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl HostFiles {
    /// Opens the cache at `path`; makes a new one where there is none or the old one cannot be used.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let connection = Self::connect(path).or_else(|_| {
            // Nothing is lost with it but time.
            let _ = std::fs::remove_file(path);
            Self::connect(path)
        });
        let connection = connection.map_err(|source| sqlite_error("open", path, source))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A power cut may lose the newest rows, which costs reading some files again.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    }

    /// What an import tells of durable blobs: remembers the files that they came from.
    pub fn recorder(&self) -> Box<Record<'_, Option<Stamp>>> {
        Box::new(|batch| {
            let stamps: Vec<_> = batch.iter().filter_map(|ready| Some((ready.tag?, ready.id))).collect();
            Ok(self.remember(&stamps)?)
        })
    }

    /// Remembers which content files had.
    pub fn remember(&self, files: &[(Stamp, BlobId)]) -> Result<(), CatalogueError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            let tx = connection.transaction()?;
            let sql = "INSERT INTO host_files VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,
                     ctime_ns = excluded.ctime_ns, hash = excluded.hash";
            let mut statement = tx.prepare_cached(sql)?;
            for (stamp, id) in files {
                let Stamp { device, inode, size_bytes, mtime_ns, ctime_ns } = *stamp;
                let keys = (device.cast_signed(), inode.cast_signed());
                statement.execute((keys.0, keys.1, size_bytes, mtime_ns, ctime_ns, id.as_bytes()))?;
            }
            drop(statement);
            tx.commit()
        };
        write().map_err(|source| sqlite_error("remember files in", &self.path, source))
    }
}

impl Recall for HostFiles {
    fn recall(&self, stamps: &[Stamp]) -> Vec<Option<BlobId>> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // A cache that cannot be read remembers nothing.
        recall(&mut connection, stamps).unwrap_or_else(|_| vec![None; stamps.len()])
    }
}

/// One transaction for all, since each would take and drop the lock of the database.
fn recall(connection: &mut Connection, stamps: &[Stamp]) -> rusqlite::Result<Vec<Option<BlobId>>> {
    let tx = connection.transaction()?;
    let mut statement = tx.prepare_cached(
        "SELECT hash FROM host_files
         WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?",
    )?;
    let one = |stamp: &Stamp| {
        let Stamp { device, inode, size_bytes, mtime_ns, ctime_ns } = *stamp;
        let key = (device.cast_signed(), inode.cast_signed(), size_bytes, mtime_ns, ctime_ns);
        let found = statement.query_row(key, |row| row.get::<_, [u8; 32]>(0)).optional()?;
        Ok(found.map(BlobId::from))
    };
    stamps.iter().map(one).collect()
}
