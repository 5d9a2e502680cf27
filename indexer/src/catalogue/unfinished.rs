//! Syncs that failed and were not made good since: what stands at their place is not what it should be.

use rusqlite::Row;

use super::{Catalogue, CatalogueError};
use crate::refname::RefName;
use crate::revision::RefPath;

/// A sync that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedSync {
    /// Where it should have gone.
    pub place: RefPath,
    /// When it failed, seconds since 1970.
    pub at: i64,
    /// Why.
    pub reason: String,
}

impl Catalogue {
    /// Records that a sync into `place` failed at `now` (seconds since 1970).
    pub fn record_unfinished(&self, place: &RefPath, now: i64, reason: &str) -> Result<(), CatalogueError> {
        self.record_all_unfinished(std::slice::from_ref(place), now, reason)
    }

    /// Records the same of many places, all or none.
    pub fn record_all_unfinished(
        &self,
        places: &[RefPath],
        now: i64,
        reason: &str,
    ) -> Result<(), CatalogueError> {
        self.write("record a failed sync", |tx| {
            tx.run(|connection| {
                let sql = "INSERT INTO unfinished(ref, path, at, reason) VALUES (?, ?, ?, ?)
                     ON CONFLICT DO UPDATE SET at = excluded.at, reason = excluded.reason";
                let mut statement = connection.prepare_cached(sql)?;
                places.iter().try_for_each(|place| {
                    statement.execute((place.name.as_str(), place.path.as_str(), now, reason)).map(drop)
                })
            })
        })
    }

    /// Forgets a failed sync into `place`, which has been made good.
    pub fn forget_unfinished(&self, place: &RefPath) -> Result<(), CatalogueError> {
        let key = (place.name.as_str(), place.path.as_str());
        let found = self.read("look for failed syncs", |connection| {
            connection.prepare_cached("SELECT 1 FROM unfinished WHERE ref = ? AND path = ?")?.exists(key)
        })?;
        if !found {
            return Ok(());
        }
        self.write("forget a failed sync", |tx| {
            let sql = "DELETE FROM unfinished WHERE ref = ? AND path = ?";
            tx.run(|connection| connection.prepare_cached(sql)?.execute(key).map(drop))
        })
    }

    /// Returns the failed syncs into `name`.
    pub fn unfinished_syncs(&self, name: &RefName) -> Result<Vec<UnfinishedSync>, CatalogueError> {
        let read = |row: &Row<'_>| {
            let path = row.get::<_, String>(0)?.parse().unwrap_or_default();
            Ok(UnfinishedSync {
                place: RefPath { name: name.clone(), path },
                at: row.get(1)?,
                reason: row.get(2)?,
            })
        };
        self.read("look for failed syncs", |connection| {
            let sql = "SELECT path, at, reason FROM unfinished WHERE ref = ? ORDER BY path";
            connection.prepare_cached(sql)?.query_map([name.as_str()], read)?.collect()
        })
    }
}
