//! What has passed a check before, so that it need not be looked at again.
//!
//! Always true: this is a cache in `cache.db`. It may be deleted at any time, which costs checking again; what
//! passed is called by a hash of the check, its demands and the content, so nothing here can become wrong. A
//! cache that cannot be read or written remembers nothing, and is no error.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cfs_fs::digest::BlobId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

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
    /// Opens the cache at `path`; makes a new one where there is none or the old one is damaged.
    pub fn open(path: &Path) -> Self {
        let connection = Self::connect(path).or_else(|error| {
            let damaged = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
            if error.sqlite_error_code().is_some_and(|code| damaged.contains(&code)) {
                // Nothing is lost with it but time.
                let _ = std::fs::remove_file(path);
                return Self::connect(path);
            }
            Err(error)
        });
        Self { connection: Mutex::new(connection.ok()) }
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
        // Who closes it last would bring the log home, and wait for the disk; who finds it grown does it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    }

    /// Whether `key` has passed.
    pub fn knows(&self, key: &[u8; 32]) -> bool {
        self.finds("SELECT 1 FROM passed WHERE key = ?", key)
    }

    /// Remembers what has passed.
    pub fn remember(&self, keys: &[[u8; 32]]) {
        let mut keys: Vec<_> = keys.to_vec();
        keys.sort_unstable();
        self.write("INSERT INTO passed(key) VALUES (?) ON CONFLICT DO NOTHING", &keys, |key| [*key]);
    }

    /// What was extracted from a blob.
    pub fn extract(&self, blob: BlobId) -> Option<Vec<u8>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement =
            connection.as_ref()?.prepare_cached("SELECT extract FROM extracts WHERE hash = ?").ok()?;
        statement.query_row([blob.as_bytes()], |row| row.get(0)).optional().ok()?
    }

    /// Whether something extracted from a blob is kept.
    pub fn has_extract(&self, blob: BlobId) -> bool {
        self.finds("SELECT 1 FROM extracts WHERE hash = ?", blob.as_bytes())
    }

    /// Keeps what was extracted from blobs, in the place of what was kept of them.
    pub fn keep_extracts(&self, extracts: &[(BlobId, &[u8])]) {
        self.write(
            "INSERT INTO extracts(hash, extract) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET extract = excluded.extract",
            extracts,
            |row| (*row.0.as_bytes(), row.1),
        );
    }

    fn finds(&self, sql: &str, key: &[u8; 32]) -> bool {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = &*connection else { return false };
        let found = connection.prepare_cached(sql).and_then(|mut statement| statement.exists([key]));
        found.unwrap_or(false)
    }

    /// Writes rows in one transaction. What cannot be kept is found out again when it is needed.
    fn write<R, P: rusqlite::Params>(&self, sql: &str, rows: &[R], params: impl Fn(&R) -> P) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = connection.as_mut().filter(|_| !rows.is_empty()) else { return };
        let mut write = || {
            let tx = connection.transaction()?;
            let mut statement = tx.prepare_cached(sql)?;
            rows.iter().try_for_each(|row| statement.execute(params(row)).map(drop))?;
            drop(statement);
            tx.commit()
        };
        let _: rusqlite::Result<()> = write();
    }
}
