//! Forgetting what `cache.db` says of blobs that were collected.
//!
//! Always true: only what can be found out again is removed. What was derived from several blobs, or from one in
//! several ways, has a name of its own and goes with the rest: it is made again when it is asked for.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::Catalogue;

/// The tables that call things by blobs, each with what removes its rows without a blob.
const TABLES: [(&str, &str); 4] = [
    ("extracts", "DELETE FROM main.extracts WHERE hash NOT IN (SELECT hash FROM catalogue.objects)"),
    ("fragments", "DELETE FROM main.fragments WHERE hash NOT IN (SELECT hash FROM catalogue.objects)"),
    (
        "package_digests",
        "DELETE FROM main.package_digests WHERE hash NOT IN (SELECT hash FROM catalogue.objects)",
    ),
    ("host_files", "DELETE FROM main.host_files WHERE hash NOT IN (SELECT hash FROM catalogue.objects)"),
];

impl Catalogue {
    /// Removes from the cache at `cache` what it says of blobs that are not there any more; the number of rows. A cache
    /// that cannot be written stays as it is.
    pub fn forget_collected(&self, cache: &Path) -> u64 {
        self.try_forget(cache).unwrap_or(0)
    }

    fn try_forget(&self, cache: &Path) -> rusqlite::Result<u64> {
        let connection = Connection::open_with_flags(cache, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        let Some(path) = self.path.to_str() else { return Ok(0) };
        connection.execute("ATTACH DATABASE ? AS catalogue", [path])?;
        let mut removed = 0;
        for (table, delete) in TABLES {
            let is_there = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
            if connection.prepare_cached(is_there)?.exists([table])? {
                removed += connection.execute(delete, [])? as u64;
            }
        }
        Ok(removed)
    }
}
