//! What has passed a check before, so that it need not be looked at again.
//!
//! Always true: this is a cache in `cache.db`. It may be deleted at any time, which costs checking again; what
//! passed is called by a hash of the check, its demands and the content, so nothing here can become wrong. A
//! cache that cannot be read or written remembers nothing, and is no error.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cfs_fs::digest::BlobId;
use rusqlite::{Connection, OptionalExtension};

use super::{CatalogueError, sqlite_error};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS passed(
        key BLOB PRIMARY KEY CHECK(length(key) = 32)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS extracts(
        hash BLOB PRIMARY KEY CHECK(length(hash) = 32),
        extract BLOB NOT NULL
    ) STRICT;
";

/// The open cache.
#[derive(Debug)]
pub struct Checked {
    /// None for one that remembers nothing.
    connection: Mutex<Option<Connection>>,
}

impl Checked {
    /// Opens the cache at `path`; makes a new one where there is none or the old one cannot be used.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let connection = Self::connect(path).or_else(|_| {
            // Nothing is lost with it but time.
            let _ = std::fs::remove_file(path);
            Self::connect(path)
        });
        let connection = connection.map_err(|source| sqlite_error("open", path, source))?;
        Ok(Self { connection: Mutex::new(Some(connection)) })
    }

    /// A cache that remembers nothing, for checks that are done faster than a cache is opened.
    pub fn nothing() -> Self {
        Self { connection: Mutex::new(None) }
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    }

    /// Whether `key` has passed.
    pub fn knows(&self, key: &[u8; 32]) -> bool {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = &*connection else { return false };
        let found = connection
            .prepare_cached("SELECT 1 FROM passed WHERE key = ?")
            .and_then(|mut statement| statement.exists([key]));
        found.unwrap_or(false)
    }

    /// Remembers what has passed.
    pub fn remember(&self, keys: &[[u8; 32]]) {
        if keys.is_empty() {
            return;
        }
        let mut keys: Vec<_> = keys.to_vec();
        keys.sort_unstable();
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = &mut *connection else { return };
        let mut write = || {
            let tx = connection.transaction()?;
            let mut statement =
                tx.prepare_cached("INSERT INTO passed(key) VALUES (?) ON CONFLICT DO NOTHING")?;
            keys.iter().try_for_each(|key| statement.execute([key]).map(drop))?;
            drop(statement);
            tx.commit()
        };
        // What is not remembered is checked again.
        let _: rusqlite::Result<()> = write();
    }

    /// What was extracted from a blob.
    pub fn extract(&self, blob: BlobId) -> Option<Vec<u8>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement =
            connection.as_ref()?.prepare_cached("SELECT extract FROM extracts WHERE hash = ?").ok()?;
        statement.query_row([blob.as_bytes()], |row| row.get(0)).optional().ok()?
    }

    /// Keeps what was extracted from a blob.
    pub fn keep_extract(&self, blob: BlobId, extract: &[u8]) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = &*connection else { return };
        let sql = "INSERT INTO extracts(hash, extract) VALUES (?, ?) ON CONFLICT DO NOTHING";
        // What is not kept is extracted again.
        let _ = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((blob.as_bytes(), extract)));
    }
}
