//! What was read out of packages, so that none is read twice.
//!
//! Always true: this is a cache in `cache.db`. It may be deleted at any time, which costs reading headers again, and
//! hashing the packages whose digests the catalogue does not know; everything in it is called by its blob, so
//! nothing here can become wrong.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cfs_fs::digest::BlobId;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::objects::code;
use super::{CatalogueError, sqlite_error};
use crate::checksum::{Algorithm, Checksum};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS fragments(
        number INTEGER PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK(length(hash) = 32),
        format INTEGER NOT NULL,
        nevra TEXT NOT NULL,
        fragment BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS package_digests(
        hash BLOB NOT NULL CHECK(length(hash) = 32),
        algorithm INTEGER NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY(hash, algorithm)
    ) STRICT, WITHOUT ROWID;
";
/// How much of the file is read without copying it.
const MAPPED_BYTES: i64 = 1 << 40;

/// What is done with the place of a number in a list, and the fragment behind it.
pub type Visit<'v, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 'v;

/// The open cache.
#[derive(Debug)]
pub struct Fragments {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// What is known of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// By which [`Fragments::visit`] finds the fragment.
    pub number: i64,
    /// The package's name, epoch, version, release and architecture.
    pub nevra: String,
    /// The digest that was asked for.
    pub checksum: Option<Checksum>,
}

/// What was found out about a package.
#[derive(Debug, Clone)]
pub struct Learnt {
    /// The package.
    pub blob: BlobId,
    /// Its name, epoch, version, release and architecture.
    pub nevra: String,
    /// Its fragment, encoded.
    pub fragment: Vec<u8>,
    /// A digest of its bytes.
    pub checksum: Checksum,
}

impl Fragments {
    /// Opens the cache at `path`; makes a new one where there is none or the old one is damaged.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let connection = Self::connect(path).or_else(|error| {
            let damaged = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
            if error.sqlite_error_code().is_some_and(|code| damaged.contains(&code)) {
                // Nothing is lost with it but time.
                let _ = std::fs::remove_file(path);
                return Self::connect(path);
            }
            Err(error)
        });
        let connection = connection.map_err(|source| sqlite_error("open", path, source))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Memory that can be given back at any time: it is the file's own pages.
        connection.pragma_update_and_check(None, "mmap_size", MAPPED_BYTES, |_| Ok(()))?;
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    }

    /// What is known of each of `blobs`, with its digest by `algorithm`; `None` where there is no fragment of this
    /// format.
    pub fn known(
        &self,
        blobs: &[BlobId],
        format: u8,
        algorithm: Algorithm,
    ) -> Result<Vec<Option<Known>>, CatalogueError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = || -> rusqlite::Result<_> {
            // One transaction for all, since each would take and drop the lock of the database.
            let tx = connection.transaction()?;
            let mut statement = tx.prepare_cached(
                "SELECT number, nevra, (SELECT digest FROM package_digests AS d
                                        WHERE d.hash = f.hash AND d.algorithm = ?2)
                 FROM fragments AS f WHERE f.hash = ?1 AND f.format = ?3",
            )?;
            let one = |blob: &BlobId| {
                let found = statement.query_row((blob.as_bytes(), code(algorithm), format), |row| {
                    let digest: Option<Vec<u8>> = row.get(2)?;
                    let checksum = digest.and_then(|digest| Checksum::new(algorithm, &digest).ok());
                    Ok(Known { number: row.get(0)?, nevra: row.get(1)?, checksum })
                });
                found.optional()
            };
            blobs.iter().map(one).collect()
        };
        read().map_err(|source| sqlite_error("look for packages in", &self.path, source))
    }

    /// Calls `visit` with the encoded fragment behind each number, in the order of `numbers`.
    pub fn visit<E: From<CatalogueError>>(&self, numbers: &[i64], visit: &mut Visit<'_, E>) -> Result<(), E> {
        let fail = |source| sqlite_error("read packages from", &self.path, source);
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = connection.transaction().map_err(fail)?;
        let mut statement =
            tx.prepare_cached("SELECT fragment FROM fragments WHERE number = ?").map_err(fail)?;
        for (at, number) in numbers.iter().enumerate() {
            let mut rows = statement.query([number]).map_err(fail)?;
            let row = rows.next().map_err(fail)?.ok_or(rusqlite::Error::QueryReturnedNoRows).map_err(fail)?;
            let fragment = row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).map_err(fail)?;
            visit(at, fragment)?;
        }
        Ok(())
    }

    /// Keeps what was found out, with fragments of this format.
    pub fn keep(&self, format: u8, learnt: &[Learnt]) -> Result<(), CatalogueError> {
        let mut sorted: Vec<&Learnt> = learnt.iter().collect();
        sorted.sort_unstable_by_key(|one| one.blob);
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || {
            let tx = connection.transaction()?;
            let mut fragment = tx.prepare_cached(
                "INSERT INTO fragments(hash, format, nevra, fragment) VALUES (?, ?, ?, ?)
                 ON CONFLICT(hash) DO UPDATE SET format = excluded.format, nevra = excluded.nevra,
                     fragment = excluded.fragment",
            )?;
            let mut digest =
                tx.prepare_cached("INSERT INTO package_digests VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?;
            for Learnt { blob, nevra, fragment: bytes, checksum } in sorted {
                fragment.execute((blob.as_bytes(), format, nevra, bytes))?;
                digest.execute((blob.as_bytes(), code(checksum.algorithm()), checksum.as_bytes()))?;
            }
            drop((fragment, digest));
            tx.commit()
        };
        write().map_err(|source| sqlite_error("keep packages in", &self.path, source))
    }
}
