//! Snapshots by id.

use cfs_fs::digest::SnapshotId;
use rusqlite::{Connection, OptionalExtension};

use super::{Catalogue, CatalogueError, Tx};
use crate::snapshot::Snapshot;

impl Catalogue {
    /// Returns the snapshot called `id`, verified against its name; `None` for one that was collected.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, CatalogueError> {
        let record = self.read("read a snapshot", |connection| whole_record(connection, id))?;
        record.map(|record| verified(id, &record)).transpose()
    }

    /// Returns what is known of the snapshot called `id`, whether its tree is still there or not.
    pub fn snapshot_record(&self, id: SnapshotId) -> Result<Option<Snapshot>, CatalogueError> {
        let record = self.read("read a snapshot", |connection| record(connection, id))?;
        record.map(|record| verified(id, &record)).transpose()
    }

    /// Returns the ids of all snapshots whose trees are there, newest first.
    pub fn snapshot_ids(&self) -> Result<Vec<SnapshotId>, CatalogueError> {
        self.read("list snapshots", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM snapshots WHERE id NOT IN (SELECT snapshot FROM collected)
                 ORDER BY created DESC, id",
            )?;
            let ids = statement.query_map([], |row| Ok(SnapshotId::from(row.get::<_, [u8; 32]>(0)?)))?;
            ids.collect()
        })
    }

    /// Returns up to two snapshots whose ids lie between `low` and `high`, both included.
    pub(super) fn snapshots_between(
        &self,
        low: [u8; 32],
        high: [u8; 32],
    ) -> Result<Vec<SnapshotId>, CatalogueError> {
        self.read("look for a snapshot", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT id FROM snapshots WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 2")?;
            let ids =
                statement.query_map((low, high), |row| Ok(SnapshotId::from(row.get::<_, [u8; 32]>(0)?)))?;
            ids.collect()
        })
    }
}

fn record(connection: &Connection, id: SnapshotId) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT record FROM snapshots WHERE id = ?")?;
    statement.query_row([id.as_bytes()], |row| row.get(0)).optional()
}

/// The record of a snapshot that was not collected.
pub(super) fn whole_record(connection: &Connection, id: SnapshotId) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT record FROM snapshots WHERE id = ?1
         AND NOT EXISTS (SELECT 1 FROM collected WHERE snapshot = ?1)";
    connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()
}

/// An error unless the snapshot is there and was not collected.
pub(super) fn check_whole(
    connection: &Connection,
    id: SnapshotId,
) -> rusqlite::Result<Result<(), CatalogueError>> {
    let sql = "SELECT at FROM collected WHERE snapshot = ?";
    let at = connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    Ok(match at {
        Some(at) => Err(CatalogueError::Collected { id, at }),
        None if record(connection, id)?.is_some() => Ok(()),
        None => Err(CatalogueError::Damaged { what: format!("snapshot {id} is missing") }),
    })
}

pub(super) fn verified(id: SnapshotId, record: &[u8]) -> Result<Snapshot, CatalogueError> {
    let damaged = |reason: String| CatalogueError::Damaged { what: format!("snapshot {id}: {reason}") };
    if SnapshotId::of(record) != id {
        return Err(damaged("its record hashes to another name".into()));
    }
    let text = std::str::from_utf8(record).map_err(|error| damaged(error.to_string()))?;
    Snapshot::decode(text).map_err(|error| damaged(error.to_string()))
}

/// Adds a snapshot; the same one may be there already.
pub(super) fn insert(tx: &Tx<'_>, id: SnapshotId, snapshot: &Snapshot) -> Result<(), CatalogueError> {
    let row = (id.as_bytes(), snapshot.root.id.as_bytes(), snapshot.created, snapshot.encode().into_bytes());
    tx.run(|connection| {
        let sql =
            "INSERT INTO snapshots(id, root, created, record) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute(row).map(drop)
    })
}
