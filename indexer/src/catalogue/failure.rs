//! What is done about a disk that failed to make something durable.
//!
//! Always true: after such a failure no ref moves before what it could have cost was read back from the disk.

use cfs_fs::recheck::{forget_pages, recheck};
use cfs_fs::store::unclean;
use cfs_fs::store::{Store, StoreError};

use super::{Catalogue, CatalogueError};

/// Marks the store of the catalogue at `path` when SQLite could not make something durable.
pub(super) fn note(path: &std::path::Path, error: &rusqlite::Error) {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    let Some(failure) = error.sqlite_error() else { return };
    if let Some(root) = path.parent()
        && [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&failure.extended_code)
    {
        unclean::mark(root, &format!("{}: {error}", path.display()));
    }
}

impl Catalogue {
    /// When the store has the mark of a failure, reads back what came lately and takes the mark away.
    pub(super) fn look_after_failure(&self, store: &Store) -> Result<(), CatalogueError> {
        let Some(mark) = unclean::read(store)? else { return Ok(()) };
        let lost = |source: Box<dyn std::error::Error + Send + Sync>| {
            let (path, why) = (store.root().to_owned(), mark.text.clone());
            CatalogueError::from(StoreError::Unclean { path, why, source })
        };
        recheck(store, &mark).map_err(|error| lost(error.into()))?;
        self.read_back().map_err(|error| lost(error.into()))?;
        Ok(mark.clear()?)
    }

    /// Checks the pages of the database on the disk, and the reflog.
    fn read_back(&self) -> Result<(), CatalogueError> {
        forget_pages(&self.path)?;
        let said: String = self.read("check the pages", |connection| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        })?;
        if said != "ok" {
            return Err(CatalogueError::Damaged { what: said });
        }
        self.verify_reflog().map(drop)
    }
}
