//! Filling a new catalogue from what the store holds, and single rows from what vouches for them.
//!
//! Always true: only values that were verified by whoever calls get in; nothing here moves a ref.

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::integrity::USELESS;
use super::journal::Link;
use super::{Catalogue, CatalogueError, nodes, reflog, refs, seals, snapshots};
use crate::checksum::Checksum;
use crate::snapshot::Snapshot;

/// The sealed tables that say something of the world beside the collection of garbage.
pub const LASTING: [&str; 7] =
    ["upstreams", "unfinished", "hooks", "hook_runs", "pins", "approvals", "signatures"];

impl Catalogue {
    /// Adds nodes that were verified, and makes those that are there what they should be.
    pub fn restore_nodes(&self, all: &[(NodeId, Vec<u8>)]) -> Result<(), CatalogueError> {
        self.write("restore nodes", |tx| {
            nodes::insert(tx, all)?;
            tx.run(|connection| {
                let sql = "UPDATE nodes SET data = ?2 WHERE hash = ?1 AND data <> ?2";
                let mut statement = connection.prepare_cached(sql)?;
                all.iter().try_for_each(|(id, data)| statement.execute((id.as_bytes(), data)).map(drop))
            })
        })
    }

    /// Removes nodes that nobody needs, or that are none.
    pub fn forget_nodes(&self, ids: &[NodeId]) -> Result<(), CatalogueError> {
        self.write("remove nodes", |tx| {
            tx.run(|connection| {
                let mut statement = connection.prepare_cached("DELETE FROM nodes WHERE hash = ?")?;
                ids.iter().try_for_each(|id| statement.execute([id.as_bytes()]).map(drop))
            })
        })
    }

    /// Adds snapshots.
    pub fn restore_snapshots(&self, all: &[(SnapshotId, Snapshot)]) -> Result<(), CatalogueError> {
        self.write("restore snapshots", |tx| {
            all.iter().try_for_each(|(id, snapshot)| snapshots::insert(tx, *id, snapshot))
        })
    }

    /// Says of snapshots that their trees are gone.
    pub fn restore_collected(&self, ids: &[SnapshotId], now: i64) -> Result<(), CatalogueError> {
        self.write("restore collected snapshots", |tx| {
            tx.run(|connection| {
                let sql = "INSERT INTO collected(snapshot, at) VALUES (?, ?) ON CONFLICT DO NOTHING";
                let mut statement = connection.prepare_cached(sql)?;
                ids.iter().try_for_each(|id| statement.execute((id.as_bytes(), now)).map(drop))
            })
        })
    }

    /// Adds the whole reflog to an empty one, and the refs as its moves leave them.
    pub fn restore_history(&self, links: &[Link]) -> Result<(), CatalogueError> {
        self.without_references(|| {
            self.write("restore the reflog", |tx| {
                for link in links {
                    let entry = &link.entry;
                    reflog::insert(tx, link)?;
                    match &entry.new {
                        Some(target) => refs::set(tx, &entry.name, target, entry.generation, entry.at)?,
                        None => tx.run(|connection| refs::forget(connection, &entry.name))?,
                    }
                }
                Ok(())
            })
        })
    }

    /// Takes over the tables of another catalogue that only it has, where their seals hold; returns which. What pins
    /// and the like are about need not be here.
    pub fn take_over(&self, other: &Self) -> Result<Vec<&'static str>, CatalogueError> {
        let mut taken = Vec::new();
        for (table, columns) in seals::TABLES.into_iter().filter(|(table, _)| LASTING.contains(table)) {
            let rows = other.read("read a table", |connection| {
                let moment = connection.unchecked_transaction()?;
                if seals::holds(&moment, table, columns)? {
                    rows(&moment, table, columns).map(Some)
                } else {
                    Ok(None)
                }
            });
            // What cannot be read is not taken.
            let Ok(Some(rows)) = rows else { continue };
            self.without_references(|| {
                self.write("take a table over", |tx| {
                    let marks = vec!["?"; columns.split(',').count()].join(", ");
                    let sql =
                        format!("INSERT INTO {table}({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING");
                    tx.run(|connection| {
                        let mut statement = connection.prepare(&sql)?;
                        rows.iter().try_for_each(|row| statement.execute(params_from_iter(row)).map(drop))
                    })
                })
            })?;
            taken.push(table);
        }
        Ok(taken)
    }

    /// Forgets a digest that is not that of the blob.
    pub fn forget_digest(&self, blob: BlobId, digest: &Checksum) -> Result<(), CatalogueError> {
        self.write("forget a digest", |tx| {
            let sql = "DELETE FROM digests WHERE hash = ? AND digest = ?";
            let key = (blob.as_bytes(), digest.as_bytes());
            tx.run(|connection| connection.prepare_cached(sql)?.execute(key).map(drop))
        })
    }

    /// Forgets digests that say nothing.
    pub fn forget_useless_digests(&self) -> Result<(), CatalogueError> {
        self.write("forget digests", |tx| {
            let sql = format!("DELETE FROM digests WHERE {USELESS}");
            tx.run(|connection| connection.execute(&sql, []).map(drop))
        })
    }

    /// Runs `work` while rows may refer to what is not there: what was lost is found and told, not made up.
    fn without_references<T>(
        &self,
        work: impl FnOnce() -> Result<T, CatalogueError>,
    ) -> Result<T, CatalogueError> {
        let set = |on: &str| {
            let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let set = writer.pragma_update(None, "foreign_keys", on);
            set.map_err(|source| super::sqlite_error("set up references", &self.path, source))
        };
        set("OFF")?;
        let result = work();
        set("ON")?;
        result
    }
}

fn rows(connection: &Connection, table: &str, columns: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|at| row.get(at)).collect())?;
    rows.collect()
}
