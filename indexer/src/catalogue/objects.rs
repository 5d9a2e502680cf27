//! Objects: the blobs that are durable in the store, and the digests by which others call them.

use std::collections::{HashMap, HashSet};

use cfs_fs::digest::BlobId;
use cfs_fs::store::Store;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Catalogue, CatalogueError, Tx, garbage};
use crate::checksum::{Algorithm, Checksum};

/// Sums over the whole catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Blobs in the store.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Nodes.
    pub nodes: u64,
    /// Their bytes.
    pub node_bytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Refs.
    pub refs: u64,
    /// Known digests besides BLAKE3.
    pub digests: u64,
}

impl Catalogue {
    /// Records blobs that the store holds durably, with digests that cfs computed from their bytes. Nothing is
    /// recorded when one of them is not there any more: it may have been garbage that was collected just now.
    pub fn record_stored<'a>(
        &self,
        store: &Store,
        blobs: impl IntoIterator<Item = (BlobId, u64, &'a [Checksum])>,
    ) -> Result<(), CatalogueError> {
        self.record(Some(store), blobs)
    }

    /// Records blobs whose files nobody looks for.
    #[doc(hidden)]
    pub fn record_blobs<'a>(
        &self,
        blobs: impl IntoIterator<Item = (BlobId, u64, &'a [Checksum])>,
    ) -> Result<(), CatalogueError> {
        self.record(None, blobs)
    }

    fn record<'a>(
        &self,
        store: Option<&Store>,
        blobs: impl IntoIterator<Item = (BlobId, u64, &'a [Checksum])>,
    ) -> Result<(), CatalogueError> {
        let mut blobs: Vec<_> = blobs.into_iter().collect();
        // Sorted, a bulk insert is ten times faster.
        blobs.sort_unstable_by_key(|(id, ..)| *id);
        let mut aliases: Vec<(&Checksum, BlobId)> =
            blobs.iter().flat_map(|(id, _, digests)| digests.iter().map(|digest| (digest, *id))).collect();
        aliases.sort_unstable_by_key(|(digest, _)| *digest);
        self.write("record blobs", |tx| {
            let lost =
                |(id, size, _): &&(BlobId, u64, _)| store.is_some_and(|store| !store.has_blob(*id, *size));
            if let Some((id, ..)) = blobs.iter().find(lost) {
                return Err(CatalogueError::MissingBlob { id: *id });
            }
            garbage::free_blobs(tx, &blobs.iter().map(|(id, ..)| *id).collect::<Vec<_>>())?;
            insert(tx, blobs.iter().map(|(id, size, _)| (*id, *size)))?;
            insert_digests(tx, &aliases)
        })
    }

    /// Returns the blob whose bytes have this digest, and its size, when the store holds it. One that was
    /// condemned stays because of that.
    pub fn blob_by_checksum(&self, checksum: &Checksum) -> Result<Option<(BlobId, u64)>, CatalogueError> {
        let key = (code(checksum.algorithm()), checksum.as_bytes());
        let find = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT hash, size, EXISTS (SELECT 1 FROM condemned WHERE kind = 1 AND hash = objects.hash)
                 FROM digests JOIN objects USING(hash) WHERE algorithm = ? AND digest = ?",
            )?;
            let read = |row: &Row<'_>| {
                Ok((BlobId::from(row.get::<_, [u8; 32]>(0)?), row.get::<_, u64>(1)?, row.get::<_, bool>(2)?))
            };
            statement.query_row(key, read).optional()
        };
        match self.read("look for a digest", find)? {
            Some((_, _, true)) => self.write("revive a blob", |tx| {
                let Some((id, size_bytes, _)) = tx.run(find)? else { return Ok(None) };
                garbage::free_blobs(tx, &[id])?;
                Ok(Some((id, size_bytes)))
            }),
            found => Ok(found.map(|(id, size_bytes, _)| (id, size_bytes))),
        }
    }

    /// The digests by `algorithm` of those of `blobs` of which there is one. Reads the whole table: digests are
    /// found by their bytes, not by their blobs.
    pub fn checksums_of(
        &self,
        blobs: &HashSet<BlobId>,
        algorithm: Algorithm,
    ) -> Result<HashMap<BlobId, Checksum>, CatalogueError> {
        self.read("look for digests of blobs", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT digest, hash FROM digests WHERE algorithm = ?")?;
            let mut rows = statement.query([code(algorithm)])?;
            let mut found = HashMap::new();
            while let Some(row) = rows.next()? {
                let blob = BlobId::from(row.get::<_, [u8; 32]>(1)?);
                if blobs.contains(&blob)
                    && let Ok(checksum) = Checksum::new(algorithm, row.get_ref(0)?.as_blob()?)
                {
                    found.insert(blob, checksum);
                }
            }
            Ok(found)
        })
    }

    /// Returns the SHA-256 of a blob in hexadecimal digits, where it was computed.
    pub fn sha256_of(&self, blob: BlobId) -> Result<Option<String>, CatalogueError> {
        self.read("look for the digest of a blob", |connection| {
            // Its code stands here as it does in the index, which a parameter would not be known to match.
            let mut statement = connection
                .prepare_cached("SELECT lower(hex(digest)) FROM digests WHERE algorithm = 4 AND hash = ?")?;
            statement.query_row([blob.as_bytes()], |row| row.get(0)).optional()
        })
    }

    /// Counts everything; reads whole tables.
    pub fn totals(&self) -> Result<Totals, CatalogueError> {
        self.read("count", |connection| {
            connection.query_row(
                "SELECT (SELECT count(*) FROM objects), (SELECT coalesce(sum(size), 0) FROM objects),
                        (SELECT count(*) FROM nodes), (SELECT coalesce(sum(length(data)), 0) FROM nodes),
                        (SELECT count(*) FROM snapshots), (SELECT count(*) FROM refs),
                        (SELECT count(*) FROM digests)",
                [],
                |row| {
                    Ok(Totals {
                        blobs: row.get(0)?,
                        blob_bytes: row.get(1)?,
                        nodes: row.get(2)?,
                        node_bytes: row.get(3)?,
                        snapshots: row.get(4)?,
                        refs: row.get(5)?,
                        digests: row.get(6)?,
                    })
                },
            )
        })
    }
}

/// An algorithm in the column `algorithm`. Never change one that was released.
pub(super) fn code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Md5 => 1,
        Algorithm::Sha1 => 2,
        Algorithm::Sha224 => 3,
        Algorithm::Sha256 => 4,
        Algorithm::Sha384 => 5,
        Algorithm::Sha512 => 6,
    }
}

/// The algorithm of a number in the column `algorithm`.
pub(super) fn algorithm(number: u8) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| code(*algorithm) == number)
}

/// Makes blobs (sorted) live.
pub(super) fn insert(
    tx: &Tx<'_>,
    blobs: impl IntoIterator<Item = (BlobId, u64)>,
) -> Result<(), CatalogueError> {
    tx.run(|connection| {
        let mut statement = connection
            .prepare_cached("INSERT INTO objects(hash, size) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
        for (id, size) in blobs {
            statement.execute((id.as_bytes(), size))?;
        }
        Ok(())
    })
}

fn insert_digests(tx: &Tx<'_>, aliases: &[(&Checksum, BlobId)]) -> Result<(), CatalogueError> {
    tx.run(|connection| {
        let mut statement = connection.prepare_cached(
            "INSERT INTO digests(algorithm, digest, hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )?;
        for (digest, id) in aliases {
            statement.execute((code(digest.algorithm()), digest.as_bytes(), id.as_bytes()))?;
        }
        Ok(())
    })
}

/// Keeps of `blobs` (sorted) those that are not live.
pub(super) fn retain_unknown(tx: &Tx<'_>, blobs: &mut Vec<(BlobId, u64)>) -> Result<(), CatalogueError> {
    tx.run(|connection| {
        let mut statement = connection.prepare_cached("SELECT 1 FROM objects WHERE hash = ?")?;
        let mut failed = Ok(());
        blobs.retain(|(id, _)| match statement.exists([id.as_bytes()]) {
            Ok(known) => !known,
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed
    })
}
