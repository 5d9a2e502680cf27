//! What the collector of garbage must know and may do.
//!
//! A collection first condemns what nobody needs and, when nobody has come for it in a while, a later one
//! deletes it. Always true: a snapshot that is not collected is whole; a node that is there has everything
//! below it there; whoever names a condemned blob again frees it, in the transaction that names it. What a
//! [`Moment`] tells cannot change before its transaction ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::Store;
use cfs_fs::tree::{Node, NodeError, Nodes};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Catalogue, CatalogueError, Signer, Tx, objects, snapshots};
use crate::snapshot::Snapshot;

/// What is condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condemned {
    /// A snapshot that no ref names or named lately.
    Snapshot(SnapshotId),
    /// A blob that no such snapshot shows, in the catalogue or only in the store.
    Blob(BlobId),
    /// The commit file of a snapshot that was never committed.
    Commit(SnapshotId),
}

impl Condemned {
    /// The columns `kind` and `hash`. Never change a number that was released.
    fn columns(&self) -> (u8, &[u8; 32]) {
        match self {
            Self::Snapshot(id) => (0, id.as_bytes()),
            Self::Blob(id) => (1, id.as_bytes()),
            Self::Commit(id) => (2, id.as_bytes()),
        }
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let hash: [u8; 32] = row.get(1)?;
        Ok(match row.get::<_, u8>(0)? {
            0 => Some(Self::Snapshot(hash.into())),
            1 => Some(Self::Blob(hash.into())),
            2 => Some(Self::Commit(hash.into())),
            _ => None,
        })
    }
}

/// A collection that condemned something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its number.
    pub number: u64,
    /// When, seconds since 1970.
    pub at: i64,
    /// The leases that lived after it had condemned; `None` until they are known.
    pub leases: Option<Vec<String>>,
}

/// A snapshot that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Since when, seconds since 1970.
    pub at: i64,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Which states of the past stay reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What a ref named at this second (since 1970) or later stays.
    pub since: i64,
    /// So many generations of each ref stay, however old.
    pub generations: u64,
}

/// The catalogue while nobody can change it but who holds this.
pub struct Moment<'a>(&'a Tx<'a>);

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl Nodes for Moment<'_> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        let found = self.0.run(|connection| {
            let mut statement = connection.prepare_cached("SELECT data FROM nodes WHERE hash = ?")?;
            let read = |row: &Row<'_>| Ok(Node::verified(id, row.get_ref(0)?.as_blob()?));
            statement.query_row([id.as_bytes()], read).optional()
        });
        let backend = |source| NodeError::Backend { id, source: Box::new(source) };
        found.map_err(backend)?.ok_or(NodeError::Missing { id })?.map(Arc::new)
    }
}

impl Catalogue {
    /// Runs `work` while nobody else can change the catalogue; what it does is one transaction. It should take
    /// milliseconds, since all writers wait.
    pub fn hold_still<T, E: From<CatalogueError>>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Moment<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(verb, |tx| work(&Moment(tx)))
    }

    /// Returns the snapshots that refs, the reflog and pins keep, with the number of the last move.
    pub fn kept_snapshots(&self, retention: Retention) -> Result<(Vec<SnapshotId>, u64), CatalogueError> {
        self.read("read what is kept", |connection| {
            let sql = "SELECT snapshot FROM refs WHERE snapshot IS NOT NULL
                 UNION SELECT snapshot FROM pins
                 UNION SELECT past.new FROM reflog AS past
                     LEFT JOIN refs ON refs.name = past.ref
                     LEFT JOIN reflog AS next
                         ON next.ref = past.ref AND next.generation = past.generation + 1
                     WHERE past.new IS NOT NULL AND (coalesce(next.at, past.at) >= ?1
                         OR past.generation + ?2 > refs.generation)";
            // The number first: what moves meanwhile is looked at again.
            let last =
                connection.query_row("SELECT coalesce(max(number), 0) FROM reflog", [], |row| row.get(0))?;
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map((retention.since, retention.generations), snapshot_id)?;
            Ok((rows.collect::<Result<_, _>>()?, last))
        })
    }

    /// Returns all snapshots that are not collected.
    pub fn whole_snapshots(&self) -> Result<Vec<SnapshotId>, CatalogueError> {
        self.read("list snapshots", |connection| {
            let sql = "SELECT id FROM snapshots WHERE id NOT IN (SELECT snapshot FROM collected) ORDER BY id";
            connection.prepare_cached(sql)?.query_map([], snapshot_id)?.collect()
        })
    }

    /// Returns all snapshots, collected ones too.
    pub fn all_snapshots(&self) -> Result<Vec<SnapshotId>, CatalogueError> {
        self.read("list snapshots", |connection| {
            connection.prepare_cached("SELECT id FROM snapshots")?.query_map([], snapshot_id)?.collect()
        })
    }

    /// Returns when the tree of a snapshot was collected, in seconds since 1970; `None` for one that is whole.
    pub fn collected_at(&self, id: SnapshotId) -> Result<Option<i64>, CatalogueError> {
        self.read("look for a collected snapshot", |connection| {
            let sql = "SELECT at FROM collected WHERE snapshot = ?";
            connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()
        })
    }

    /// Returns the collected snapshots whose commit files still hold nodes.
    pub fn collected_with_nodes(&self) -> Result<Vec<SnapshotId>, CatalogueError> {
        self.read("list collected snapshots", |connection| {
            let sql = "SELECT snapshot FROM collected WHERE nodes IS NULL OR nodes > 0";
            connection.prepare_cached(sql)?.query_map([], snapshot_id)?.collect()
        })
    }

    /// Remembers how many nodes the commit file of a collected snapshot still holds.
    pub fn set_nodes_left(&self, id: SnapshotId, nodes: u64) -> Result<(), CatalogueError> {
        self.write("record what is left of a snapshot", |tx| {
            let sql = "UPDATE collected SET nodes = ? WHERE snapshot = ?";
            tx.run(|connection| connection.prepare_cached(sql)?.execute((nodes, id.as_bytes())).map(drop))
        })
    }

    /// Returns the live blobs whose names begin with `byte`, sorted, with their sizes.
    pub fn blobs_beginning(&self, byte: u8) -> Result<Vec<(BlobId, u64)>, CatalogueError> {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (byte, byte);
        self.read("list blobs", |connection| {
            let sql = "SELECT hash, size FROM objects WHERE hash BETWEEN ? AND ? ORDER BY hash";
            let read = |row: &Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?.into(), row.get(1)?));
            connection.prepare_cached(sql)?.query_map((low, high), read)?.collect()
        })
    }

    /// Calls `visit` with the name of every node, in the order of names.
    pub fn node_ids(&self, visit: &mut dyn FnMut(NodeId)) -> Result<(), CatalogueError> {
        self.read("list nodes", |connection| {
            let mut statement = connection.prepare_cached("SELECT hash FROM nodes ORDER BY hash")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get::<_, [u8; 32]>(0)?.into());
            }
            Ok(())
        })
    }

    /// Returns the bytes of a node, 0 when it is not there.
    pub fn node_bytes(&self, id: NodeId) -> Result<u64, CatalogueError> {
        self.read("look at a node", |connection| {
            let sql = "SELECT length(data) FROM nodes WHERE hash = ?";
            let found = connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0));
            Ok(found.optional()?.unwrap_or(0))
        })
    }

    /// Whether a node is there.
    pub fn has_node(&self, id: NodeId) -> Result<bool, CatalogueError> {
        self.read("look for a node", |connection| {
            connection.prepare_cached("SELECT 1 FROM nodes WHERE hash = ?")?.exists([id.as_bytes()])
        })
    }

    /// Returns everything that is condemned, with the collection that did it and whether it is being deleted.
    pub fn condemned(&self) -> Result<BTreeMap<Condemned, (u64, bool)>, CatalogueError> {
        self.read("read what is condemned", |connection| {
            let sql = "SELECT kind, hash, collection, deleting FROM condemned";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Condemned::from_row(row)?.map(|what| Ok((what, (row.get(2)?, row.get(3)?)))))
            })?;
            rows.filter_map(Result::transpose).map(|found| found?).collect()
        })
    }

    /// Returns the collections that condemned something, the oldest first.
    pub fn collections(&self) -> Result<Vec<Collection>, CatalogueError> {
        self.read("read what was collected", |connection| {
            let sql = "SELECT number, at, leases FROM collections ORDER BY number";
            let read = |row: &Row<'_>| {
                let leases: Option<String> = row.get(2)?;
                let leases = leases.map(|text| text.lines().map(str::to_owned).collect());
                Ok(Collection { number: row.get(0)?, at: row.get(1)?, leases })
            };
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    /// Begins a collection at `now` (seconds since 1970) and returns its number.
    pub fn begin_collection(&self, now: i64) -> Result<u64, CatalogueError> {
        self.write("begin a collection", |tx| {
            tx.run(|connection| {
                // Numbers of forgotten ones are not used again while others are known.
                let sql = "INSERT INTO collections(at) VALUES (?) RETURNING number";
                connection.prepare_cached(sql)?.query_row([now], |row| row.get(0))
            })
        })
    }

    /// Remembers which leases lived when everything that a collection condemned was condemned.
    pub fn set_leases(&self, collection: u64, leases: &[String]) -> Result<(), CatalogueError> {
        self.write("record leases", |tx| {
            let sql = "UPDATE collections SET leases = ? WHERE number = ?";
            let leases = leases.join("\n");
            tx.run(|connection| connection.prepare_cached(sql)?.execute((leases, collection)).map(drop))
        })
    }

    /// Forgets collections of whose condemned nothing is left.
    pub fn forget_collections(&self) -> Result<(), CatalogueError> {
        self.write("forget old collections", |tx| {
            let sql = "DELETE FROM collections
                 WHERE number NOT IN (SELECT collection FROM condemned)
                     AND number < (SELECT max(number) FROM collections)";
            tx.run(|connection| connection.execute(sql, []).map(drop))
        })
    }

    /// Frees those of `blobs` that are condemned, so that they stay at least until a later collection finds
    /// again that nobody needs them. What is being deleted and still there becomes live again; what is gone
    /// stays gone.
    pub fn revive(&self, store: &Store, blobs: &[BlobId]) -> Result<(), CatalogueError> {
        let condemned =
            self.read("look for condemned blobs", |connection| among_condemned(connection, blobs))?;
        if condemned.is_empty() {
            return Ok(());
        }
        self.write("revive blobs", |tx| {
            for id in condemned {
                let Some(bytes) = cfs_fs::sweep::blob_bytes(store, id) else { continue };
                if is_being_deleted(tx, id)? {
                    objects::insert(tx, [(id, bytes)])?;
                }
                free(tx, Condemned::Blob(id))?;
            }
            Ok(())
        })
    }

    /// Keeps a snapshot whatever refs do, until [`Catalogue::unpin`].
    pub fn pin(&self, id: SnapshotId, signer: &Signer, reason: &str) -> Result<(), CatalogueError> {
        self.write("pin a snapshot", |tx| {
            tx.run(|connection| snapshots::check_whole(connection, id))??;
            free(tx, Condemned::Snapshot(id))?;
            tx.run(|connection| {
                let sql = "INSERT INTO pins(snapshot, at, actor, reason) VALUES (?, ?, ?, ?)
                     ON CONFLICT DO UPDATE SET at = excluded.at, actor = excluded.actor, reason = excluded.reason";
                let row = (id.as_bytes(), signer.now, &signer.actor, reason);
                connection.prepare_cached(sql)?.execute(row).map(drop)
            })
        })
    }

    /// Takes a pin back; returns whether there was one.
    pub fn unpin(&self, id: SnapshotId) -> Result<bool, CatalogueError> {
        self.write("take a pin back", |tx| {
            let sql = "DELETE FROM pins WHERE snapshot = ?";
            tx.run(|connection| Ok(connection.prepare_cached(sql)?.execute([id.as_bytes()])? > 0))
        })
    }

    /// Returns all pins, the oldest first.
    pub fn pins(&self) -> Result<Vec<Pin>, CatalogueError> {
        self.read("list pins", |connection| {
            let sql = "SELECT snapshot, at, actor, reason FROM pins ORDER BY at, snapshot";
            let read = |row: &Row<'_>| {
                Ok(Pin {
                    snapshot: snapshot_id(row)?,
                    at: row.get(1)?,
                    actor: row.get(2)?,
                    reason: row.get(3)?,
                })
            };
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    /// Deletes up to `limit` digests of blobs that are gone, beginning after `after`; returns where to go on.
    pub fn delete_stale_digests(
        &self,
        after: &(u8, Vec<u8>),
        limit: usize,
    ) -> Result<Option<(u8, Vec<u8>)>, CatalogueError> {
        self.write("delete digests of deleted blobs", |tx| {
            tx.run(|connection| {
                let page = "SELECT algorithm, digest FROM digests WHERE (algorithm, digest) > (?, ?)
                     ORDER BY algorithm, digest LIMIT 1 OFFSET ?";
                let read = |row: &Row<'_>| Ok((row.get::<_, u8>(0)?, row.get::<_, Vec<u8>>(1)?));
                let mut statement = connection.prepare_cached(page)?;
                let end = statement.query_row((after.0, &after.1, limit), read).optional()?;
                let (last, digest) = end.clone().unwrap_or((u8::MAX, Vec::new()));
                let sql =
                    "DELETE FROM digests WHERE (algorithm, digest) > (?, ?) AND (algorithm, digest) <= (?, ?)
                     AND hash NOT IN (SELECT hash FROM objects)";
                connection.prepare_cached(sql)?.execute((after.0, &after.1, last, digest))?;
                Ok(end)
            })
        })
    }
}

impl Moment<'_> {
    /// Returns what refs have come to name since the move `last`, and all pins, with the number of the last move.
    pub fn arrivals(&self, last: u64) -> Result<(Vec<SnapshotId>, u64), CatalogueError> {
        self.0.run(|connection| {
            let sql = "SELECT new FROM reflog WHERE number > ? AND new IS NOT NULL
                 UNION SELECT snapshot FROM pins";
            let found =
                connection.prepare_cached(sql)?.query_map([last], snapshot_id)?.collect::<Result<_, _>>()?;
            let sql = "SELECT coalesce(max(number), 0) FROM reflog";
            let last = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok((found, last))
        })
    }

    /// Returns the snapshot called `id`, if its tree is there.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, CatalogueError> {
        let record = self.0.run(|connection| snapshots::whole_record(connection, id))?;
        record.map(|record| snapshots::verified(id, &record)).transpose()
    }

    /// Whether a snapshot was ever committed.
    pub fn is_committed(&self, id: SnapshotId) -> Result<bool, CatalogueError> {
        self.0.run(|connection| {
            connection.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?")?.exists([id.as_bytes()])
        })
    }

    /// Condemns `what`, unless it is condemned already.
    pub fn condemn(&self, what: Condemned, collection: u64) -> Result<(), CatalogueError> {
        let (kind, hash) = what.columns();
        self.0.run(|connection| {
            let sql = "INSERT INTO condemned(kind, hash, collection) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            connection.prepare_cached(sql)?.execute((kind, hash, collection)).map(drop)
        })
    }

    /// Whether `what` is condemned and not being deleted.
    pub fn is_condemned(&self, what: Condemned) -> Result<bool, CatalogueError> {
        let key = what.columns();
        self.0.run(|connection| {
            let sql = "SELECT 1 FROM condemned WHERE kind = ? AND hash = ? AND deleting = 0";
            connection.prepare_cached(sql)?.exists(key)
        })
    }

    /// Makes `what` as it was before it was condemned.
    pub fn free(&self, what: Condemned) -> Result<(), CatalogueError> {
        free(self.0, what)
    }

    /// Gives up a condemned snapshot's tree: from now on nobody can name it. Its record stays.
    pub fn collect(&self, id: SnapshotId, now: i64) -> Result<(), CatalogueError> {
        free(self.0, Condemned::Snapshot(id))?;
        self.0.run(|connection| {
            let sql = "INSERT INTO collected(snapshot, at) VALUES (?, ?) ON CONFLICT DO NOTHING";
            connection.prepare_cached(sql)?.execute((id.as_bytes(), now)).map(drop)
        })
    }

    /// Deletes a node; returns how many bytes it had. No node that is there may name it.
    pub fn delete_node(&self, id: NodeId) -> Result<u64, CatalogueError> {
        self.0.run(|connection| {
            let sql = "DELETE FROM nodes WHERE hash = ? RETURNING length(data)";
            let deleted = connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0));
            Ok(deleted.optional()?.unwrap_or(0))
        })
    }

    /// Begins to delete a condemned blob: it has no row any more, but its file. No node that is there may name it.
    pub fn begin_deleting(&self, id: BlobId) -> Result<(), CatalogueError> {
        self.0.run(|connection| {
            connection.prepare_cached("DELETE FROM objects WHERE hash = ?")?.execute([id.as_bytes()])?;
            let sql = "INSERT INTO condemned(kind, hash, collection, deleting) VALUES (1, ?, 0, 1)
                 ON CONFLICT DO UPDATE SET deleting = 1";
            connection.prepare_cached(sql)?.execute([id.as_bytes()]).map(drop)
        })
    }

    /// Whether a blob is still being deleted: nobody has made it live again.
    pub fn is_deleting(&self, id: BlobId) -> Result<bool, CatalogueError> {
        let live = self.0.run(|connection| {
            connection.prepare_cached("SELECT 1 FROM objects WHERE hash = ?")?.exists([id.as_bytes()])
        })?;
        Ok(!live && is_being_deleted(self.0, id)?)
    }
}

/// Frees blobs (sorted) that a tree or a digest names now.
pub(super) fn free_blobs(tx: &Tx<'_>, blobs: &[BlobId]) -> Result<(), CatalogueError> {
    for id in tx.run(|connection| among_condemned(connection, blobs))? {
        free(tx, Condemned::Blob(id))?;
    }
    Ok(())
}

/// Makes a snapshot that is committed, again perhaps, neither condemned nor collected.
pub(super) fn restore_snapshot(tx: &Tx<'_>, id: SnapshotId) -> Result<(), CatalogueError> {
    free(tx, Condemned::Snapshot(id))?;
    free(tx, Condemned::Commit(id))?;
    tx.run(|connection| {
        let sql = "DELETE FROM collected WHERE snapshot = ?";
        connection.prepare_cached(sql)?.execute([id.as_bytes()]).map(drop)
    })
}

fn free(tx: &Tx<'_>, what: Condemned) -> Result<(), CatalogueError> {
    let key = what.columns();
    tx.run(|connection| {
        let sql = "DELETE FROM condemned WHERE kind = ? AND hash = ?";
        connection.prepare_cached(sql)?.execute(key).map(drop)
    })
}

fn is_being_deleted(tx: &Tx<'_>, id: BlobId) -> Result<bool, CatalogueError> {
    tx.run(|connection| {
        let sql = "SELECT 1 FROM condemned WHERE kind = 1 AND hash = ? AND deleting = 1";
        connection.prepare_cached(sql)?.exists([id.as_bytes()])
    })
}

/// Those of `blobs` that are condemned; nothing is asked for each while nothing is condemned.
fn among_condemned(connection: &Connection, blobs: &[BlobId]) -> rusqlite::Result<Vec<BlobId>> {
    if !connection.prepare_cached("SELECT 1 FROM condemned WHERE kind = 1 LIMIT 1")?.exists([])? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached("SELECT 1 FROM condemned WHERE kind = 1 AND hash = ?")?;
    let mut found = Vec::new();
    for id in blobs {
        if statement.exists([id.as_bytes()])? {
            found.push(*id);
        }
    }
    Ok(found)
}

fn snapshot_id(row: &Row<'_>) -> rusqlite::Result<SnapshotId> {
    Ok(row.get::<_, [u8; 32]>(0)?.into())
}
