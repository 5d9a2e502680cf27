//! Upstreams: from what the last complete sync of a path was made, so that the next one can end at once.

use cfs_fs::digest::{BlobId, NodeId};
use rusqlite::{OptionalExtension, Row};

use super::{Catalogue, CatalogueError};
use crate::revision::RefPath;

/// A complete sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it came from.
    pub url: String,
    /// The repomd.xml that was synced.
    pub repomd: BlobId,
    /// The tree that came out.
    pub tree: NodeId,
    /// What was demanded of it (keys, checksums), so that a stricter sync is not skipped.
    pub policy: String,
    /// When, seconds since 1970.
    pub synced: i64,
}

impl Catalogue {
    /// Returns all last complete syncs, the newest first.
    pub fn upstreams(&self) -> Result<Vec<Upstream>, CatalogueError> {
        self.read("read upstreams", |connection| {
            let sql =
                "SELECT url, repomd, tree, policy, synced FROM upstreams ORDER BY synced DESC, ref, path";
            connection.prepare_cached(sql)?.query_map([], from_row)?.collect()
        })
    }

    /// Returns the last complete sync into `place`.
    pub fn upstream(&self, place: &RefPath) -> Result<Option<Upstream>, CatalogueError> {
        self.read("read an upstream", |connection| {
            let sql = "SELECT url, repomd, tree, policy, synced FROM upstreams WHERE ref = ? AND path = ?";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row((place.name.as_str(), place.path.as_str()), from_row);
            found.optional()
        })
    }

    /// Records a complete sync into `place`.
    pub fn record_upstream(&self, place: &RefPath, upstream: &Upstream) -> Result<(), CatalogueError> {
        self.write("record an upstream", |tx| {
            tx.run(|connection| {
                let sql = "INSERT INTO upstreams(ref, path, url, repomd, tree, policy, synced)
                     VALUES (?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT(ref, path) DO UPDATE SET url = excluded.url, repomd = excluded.repomd,
                         tree = excluded.tree, policy = excluded.policy, synced = excluded.synced";
                let Upstream { url, repomd, tree, policy, synced } = upstream;
                let row = (
                    place.name.as_str(),
                    place.path.as_str(),
                    url,
                    repomd.as_bytes(),
                    tree.as_bytes(),
                    policy,
                    synced,
                );
                connection.prepare_cached(sql)?.execute(row).map(drop)
            })
        })
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Upstream> {
    Ok(Upstream {
        url: row.get(0)?,
        repomd: row.get::<_, [u8; 32]>(1)?.into(),
        tree: row.get::<_, [u8; 32]>(2)?.into(),
        policy: row.get(3)?,
        synced: row.get(4)?,
    })
}
