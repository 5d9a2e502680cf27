//! What a check of the catalogue itself must see: tables as they are, whatever they hold.
//!
//! Always true: nothing here takes a value for what it should be; a row that cannot be one is told as such, and only
//! a database that cannot be read at all is an error.

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::tree::NodeError;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::objects::algorithm;
use super::{Catalogue, CatalogueError, schema};
use crate::checksum::Checksum;

/// The tables that are small in any store.
const SMALL: [&str; 14] = [
    "refs",
    "reflog",
    "snapshots",
    "upstreams",
    "unfinished",
    "hooks",
    "hook_runs",
    "pins",
    "collections",
    "condemned",
    "collected",
    "approvals",
    "signatures",
    "seals",
];
/// Faults of its own that SQLite tells before it stops looking.
const FAULTS_MAX: u32 = 100;

/// Of digests: they are of no live blob, or no digests.
pub(super) const USELESS: &str = "hash NOT IN (SELECT hash FROM objects)
    OR length(digest) <> CASE algorithm WHEN 1 THEN 16 WHEN 2 THEN 20 WHEN 3 THEN 28 WHEN 4 THEN 32
        WHEN 5 THEN 48 WHEN 6 THEN 64 ELSE -1 END";

/// A row of `snapshots`, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// What it is called.
    pub id: SnapshotId,
    /// The column `root`.
    pub root: NodeId,
    /// The column `created`.
    pub created: i64,
    /// The record.
    pub record: Vec<u8>,
    /// Whether its tree was given up.
    pub collected: bool,
}

/// What a reader of rows is given.
#[derive(Debug)]
pub enum Raw<'a> {
    /// A row of `snapshots`; all of them come first.
    Snapshot(SnapshotRow),
    /// A row of `nodes`: what it is called, and its bytes.
    Node(NodeId, &'a [u8]),
    /// A row that cannot be one.
    Broken(&'static str, i64),
}

impl Catalogue {
    /// What SQLite finds wrong with its own structures: in all tables, or in those that are small.
    pub fn structure_faults(&self, all: bool) -> Result<Vec<String>, CatalogueError> {
        self.read("check the structure", |connection| {
            let mut found = Vec::new();
            let mut run = |sql: String| -> rusqlite::Result<()> {
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    found.push(row.get::<_, String>(0)?);
                }
                Ok(())
            };
            if all {
                run(format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
            } else {
                SMALL.iter().try_for_each(|table| run(format!("PRAGMA integrity_check({table})")))?;
            }
            found.retain(|text| text != "ok");
            Ok(found)
        })
    }

    /// What differs from the tables, indexes and triggers that there should be.
    pub fn schema_faults(&self) -> Result<Vec<String>, CatalogueError> {
        let wanted =
            schema::expected().map_err(|source| super::sqlite_error("make a schema", &self.path, source))?;
        let found = self.read("read the schema", schema::listing)?;
        let gone = wanted.iter().filter(|part| !found.contains(part));
        let strange = found.iter().filter(|part| !wanted.contains(part));
        let name = |part: &schema::Part| format!("{} {}", part.kind, part.name);
        Ok(gone
            .map(|part| format!("{}: is not as it was made", name(part)))
            .chain(strange.map(|part| format!("{}: should not be so", name(part))))
            .collect())
    }

    /// Calls `visit` with every row of `snapshots` and then every row of `nodes`, as they are at one moment.
    pub fn for_each_raw(&self, visit: &mut dyn FnMut(Raw<'_>)) -> Result<(), CatalogueError> {
        self.read("read all nodes", |connection| {
            let moment = connection.unchecked_transaction()?;
            snapshot_rows(&moment, visit)?;
            let mut statement =
                moment.prepare_cached("SELECT number, hash, data FROM nodes ORDER BY number")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match (row.get::<_, [u8; 32]>(1), row.get_ref(2)?.as_blob()) {
                    (Ok(hash), Ok(data)) => visit(Raw::Node(hash.into(), data)),
                    _ => visit(Raw::Broken("nodes", row.get(0)?)),
                }
            }
            Ok(())
        })
    }

    /// Calls `visit` with every row of `snapshots`.
    pub fn for_each_snapshot_row(&self, visit: &mut dyn FnMut(Raw<'_>)) -> Result<(), CatalogueError> {
        self.read("read all snapshots", |connection| snapshot_rows(connection, visit))
    }

    /// The digests of the blobs whose names begin with `byte`, sorted by blob.
    pub fn digests_beginning(&self, byte: u8) -> Result<Vec<(BlobId, Checksum)>, CatalogueError> {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (byte, byte);
        self.read("read digests", |connection| {
            // The first part has an index; the others are few.
            let sql = "SELECT hash, algorithm, digest FROM digests WHERE algorithm = 4 AND hash BETWEEN ?1 AND ?2
                 UNION ALL
                 SELECT hash, algorithm, digest FROM digests WHERE algorithm IN (1, 2, 3, 5, 6) AND hash BETWEEN ?1 AND ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query((low, high))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(checksum) = checksum(row) {
                    found.push((BlobId::from(row.get::<_, [u8; 32]>(0)?), checksum));
                }
            }
            found.sort_unstable();
            Ok(found)
        })
    }

    /// How many digests say nothing: they are of no live blob, or no digests.
    pub fn useless_digests(&self) -> Result<u64, CatalogueError> {
        self.read("look at digests", |connection| {
            let sql = format!("SELECT count(*) FROM digests WHERE {USELESS}");
            connection.query_row(&sql, [], |row| row.get(0))
        })
    }

    /// The size of a live blob.
    pub fn live_bytes(&self, id: BlobId) -> Result<Option<u64>, CatalogueError> {
        self.read("look for a blob", |connection| {
            let sql = "SELECT size FROM objects WHERE hash = ?";
            connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()
        })
    }
}

impl CatalogueError {
    /// Whether the database, rather than the disk or another process, is at fault.
    pub fn is_corruption(&self) -> bool {
        match self {
            // What is none of these is a value that is not what its column holds, and the like.
            Self::Sqlite { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::DiskFull
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::CannotOpen
                        | ErrorCode::ReadOnly
                        | ErrorCode::PermissionDenied
                        | ErrorCode::OutOfMemory
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::OperationInterrupted
                )
            ),
            Self::Node(NodeError::Backend { source, .. }) => {
                source.downcast_ref::<Self>().is_some_and(Self::is_corruption)
            }
            Self::Unusable { .. }
            | Self::Lost { .. }
            | Self::Damaged { .. }
            | Self::Collected { .. }
            | Self::Node(_) => true,
            _ => false,
        }
    }
}

fn snapshot_rows(connection: &Connection, visit: &mut dyn FnMut(Raw<'_>)) -> rusqlite::Result<()> {
    let sql = "SELECT id, root, created, record, EXISTS (SELECT 1 FROM collected WHERE snapshot = id)
         FROM snapshots ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        let read = || {
            Ok::<_, rusqlite::Error>(SnapshotRow {
                id: row.get::<_, [u8; 32]>(0)?.into(),
                root: row.get::<_, [u8; 32]>(1)?.into(),
                created: row.get(2)?,
                record: row.get(3)?,
                collected: row.get(4)?,
            })
        };
        match read() {
            Ok(row) => visit(Raw::Snapshot(row)),
            Err(_) => visit(Raw::Broken("snapshots", number)),
        }
    }
    Ok(())
}

/// The columns 1 and 2 as a digest.
fn checksum(row: &Row<'_>) -> Option<Checksum> {
    let algorithm = algorithm(row.get(1).ok()?)?;
    Checksum::new(algorithm, row.get_ref(2).ok()?.as_blob().ok()?).ok()
}
