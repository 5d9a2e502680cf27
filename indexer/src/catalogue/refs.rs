//! Refs: names that move from snapshot to snapshot, and symbolic refs that name other refs.
//!
//! Always true: a ref that is deleted leaves its history in the reflog, and one that is made again under its name
//! goes on with its generations.

use cfs_fs::digest::SnapshotId;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::reflog::{self, Move};
use super::{Catalogue, CatalogueError, Signer, Tx};
use crate::refname::RefName;

/// How many symbolic refs are followed before it is called a loop, which [`Catalogue::link`] never makes. The
/// kernel follows as many symlinks of a mount.
const SYMBOLIC_DEPTH_MAX: usize = 40;

/// Reads all refs, whose rows are for [`from_row`].
pub(super) const ALL: &str = "SELECT name, snapshot, target, generation, updated FROM refs ORDER BY name";

/// A ref as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Its name.
    pub name: RefName,
    /// What it names.
    pub target: Target,
    /// How often it has moved; only grows.
    pub generation: u64,
    /// When it moved last, seconds since 1970.
    pub updated: i64,
}

/// What a ref names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// Another ref, which need not exist yet.
    Symbolic(RefName),
}

impl Catalogue {
    /// Returns the ref called `name`, not followed when it is symbolic.
    pub fn find_ref(&self, name: &RefName) -> Result<Option<Ref>, CatalogueError> {
        self.read("read a ref", |connection| find(connection, name))
    }

    /// Returns all refs in the order of their names.
    pub fn refs(&self) -> Result<Vec<Ref>, CatalogueError> {
        self.read("list refs", |connection| {
            connection.prepare_cached(ALL)?.query_map([], from_row)?.collect()
        })
    }

    /// Returns the ref that `name` stands for, symbolic refs followed, with the snapshot it names.
    pub fn follow_ref(&self, name: &RefName) -> Result<(Ref, SnapshotId), CatalogueError> {
        let mut next = name.clone();
        for _ in 0..SYMBOLIC_DEPTH_MAX {
            let found = self.find_ref(&next)?.ok_or(CatalogueError::NoSuchRef { name: next })?;
            match &found.target {
                Target::Snapshot(id) => {
                    let id = *id;
                    return Ok((found, id));
                }
                Target::Symbolic(target) => next = target.clone(),
            }
        }
        Err(CatalogueError::Damaged { what: format!("ref {name} leads to itself") })
    }

    /// Makes `name` a symbolic ref to `target`, or moves it there. Returns its generation, unchanged when it
    /// named `target` already.
    pub fn link(
        &self,
        name: &RefName,
        target: &RefName,
        signer: &Signer,
        reason: &str,
    ) -> Result<u64, CatalogueError> {
        self.write("move a symbolic ref", |tx| link(tx, name, target, signer, reason))
    }

    /// As [`Catalogue::link`] to a compose that has come to be whole: in the same transaction its mark as unfinished
    /// goes. An error when there is no such ref any more.
    pub fn link_whole(
        &self,
        name: &RefName,
        target: &RefName,
        signer: &Signer,
        reason: &str,
    ) -> Result<u64, CatalogueError> {
        self.write("move a symbolic ref", |tx| {
            if tx.run(|connection| find(connection, target))?.is_none() {
                return Err(CatalogueError::NoSuchRef { name: target.clone() });
            }
            let sql = "DELETE FROM unfinished WHERE ref = ? AND path = ''";
            tx.run(|connection| connection.prepare_cached(sql)?.execute([target.as_str()]).map(drop))?;
            link(tx, name, target, signer, reason)
        })
    }

    /// Deletes refs, all of them or none: each of `doomed` is a ref and the generation at which it was seen. What
    /// they named stays as long as the reflog keeps it.
    pub fn delete_refs(
        &self,
        doomed: &[(RefName, u64)],
        signer: &Signer,
        reason: &str,
    ) -> Result<(), CatalogueError> {
        self.write("delete refs", |tx| {
            for (name, seen) in doomed {
                let found = tx.run(|connection| find(connection, name))?;
                let found = found.ok_or_else(|| CatalogueError::NoSuchRef { name: name.clone() })?;
                if found.generation != *seen {
                    return Err(CatalogueError::RefMoved { name: name.clone() });
                }
                let sql = "SELECT name FROM refs WHERE target = ? LIMIT 1";
                let by = tx.run(|connection| {
                    let row = |row: &Row<'_>| parse_name(row, 0);
                    connection.prepare_cached(sql)?.query_row([name.as_str()], row).optional()
                })?;
                if let Some(by) = by {
                    return Err(CatalogueError::Named { name: name.clone(), by });
                }
                tx.run(|connection| forget(connection, name))?;
                let generation = tx.run(|connection| reflog::next_generation(connection, name))?;
                let old = match found.target {
                    Target::Snapshot(id) => Some(id),
                    Target::Symbolic(_) => None,
                };
                reflog::append(tx, &Move { name, generation, old, new: None, signer, reason })?;
            }
            Ok(())
        })
    }
}

/// Removes a ref and what is known of its syncs.
pub(super) fn forget(connection: &Connection, name: &RefName) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM refs WHERE name = ?",
        "DELETE FROM upstreams WHERE ref = ?",
        "DELETE FROM unfinished WHERE ref = ?",
    ] {
        connection.prepare_cached(sql)?.execute([name.as_str()])?;
    }
    Ok(())
}

/// Makes `name` a symbolic ref to `target`; its generation.
fn link(
    tx: &Tx<'_>,
    name: &RefName,
    target: &RefName,
    signer: &Signer,
    reason: &str,
) -> Result<u64, CatalogueError> {
    let old = tx.run(|connection| find(connection, name))?;
    let generation = match &old {
        None => {
            check_no_conflict(tx, name)?;
            tx.run(|connection| reflog::next_generation(connection, name))?
        }
        Some(Ref { target: Target::Snapshot(_), .. }) => {
            return Err(CatalogueError::NotSymbolic { name: name.clone() });
        }
        Some(Ref { target: Target::Symbolic(old), generation, .. }) if old == target => {
            return Ok(*generation);
        }
        Some(old) => old.generation + 1,
    };
    if tx.run(|connection| leads_back(connection, target, name))? {
        return Err(CatalogueError::SymbolicLoop { name: name.clone(), target: target.clone() });
    }
    let target = Target::Symbolic(target.clone());
    set(tx, name, &target, generation, signer.now)?;
    reflog::append(tx, &Move { name, generation, old: None, new: Some(&target), signer, reason })?;
    Ok(generation)
}

/// Whether whoever follows `from` comes to `name`.
fn leads_back(connection: &Connection, from: &RefName, name: &RefName) -> rusqlite::Result<bool> {
    let sql = "WITH RECURSIVE way(name) AS (
             VALUES (?1) UNION
             SELECT refs.target FROM way JOIN refs ON refs.name = way.name WHERE refs.target IS NOT NULL)
         SELECT EXISTS (SELECT 1 FROM way WHERE name = ?2)";
    connection.prepare_cached(sql)?.query_row([from.as_str(), name.as_str()], |row| row.get(0))
}

/// Reads one ref.
pub(super) fn find(connection: &Connection, name: &RefName) -> rusqlite::Result<Option<Ref>> {
    let sql = "SELECT name, snapshot, target, generation, updated FROM refs WHERE name = ?";
    connection.prepare_cached(sql)?.query_row([name.as_str()], from_row).optional()
}

/// Writes a ref's new state; the caller has checked what was there.
pub(super) fn set(
    tx: &Tx<'_>,
    name: &RefName,
    target: &Target,
    generation: u64,
    updated: i64,
) -> Result<(), CatalogueError> {
    let (snapshot, symbolic) = target.columns();
    tx.run(|connection| {
        let sql = "INSERT INTO refs(name, snapshot, target, generation, updated) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT(name) DO UPDATE SET snapshot = excluded.snapshot, target = excluded.target,
                 generation = excluded.generation, updated = excluded.updated";
        let row = (name.as_str(), snapshot, symbolic, generation, updated);
        connection.prepare_cached(sql)?.execute(row).map(drop)
    })
}

/// Refuses a new ref that would be a directory above another, or stand below one.
pub(super) fn check_no_conflict(tx: &Tx<'_>, name: &RefName) -> Result<(), CatalogueError> {
    let other = tx.run(|connection| {
        // '0' is the byte after '/': between them lies everything below the name.
        let sql = "SELECT name FROM refs WHERE (name > ?1 || '/' AND name < ?1 || '0')
             OR ?1 > name || '/' AND ?1 < name || '0' LIMIT 1";
        connection.prepare_cached(sql)?.query_row([name.as_str()], |row| parse_name(row, 0)).optional()
    })?;
    match other {
        None => Ok(()),
        Some(other) => Err(CatalogueError::RefConflict { name: name.clone(), other }),
    }
}

impl Target {
    /// The columns `snapshot` and `target`, of which one is NULL.
    pub(super) fn columns(&self) -> (Option<&[u8; 32]>, Option<&str>) {
        match self {
            Self::Snapshot(id) => (Some(id.as_bytes()), None),
            Self::Symbolic(name) => (None, Some(name.as_str())),
        }
    }

    /// Reads the columns `snapshot` and `target` at `at` and `at + 1`; both are NULL where a ref ends.
    pub(super) fn in_columns(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Self>> {
        match (row.get::<_, Option<[u8; 32]>>(at)?, row.get_ref(at + 1)?) {
            (Some(id), _) => Ok(Some(Self::Snapshot(id.into()))),
            (None, ValueRef::Null) => Ok(None),
            (None, _) => parse_name(row, at + 1).map(|name| Some(Self::Symbolic(name))),
        }
    }

    /// As [`Target::in_columns`], of a ref that there is.
    fn from_columns(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let nothing = || rusqlite::Error::InvalidColumnType(at, "snapshot".to_owned(), Type::Null);
        Self::in_columns(row, at)?.ok_or_else(nothing)
    }
}

/// Reads a ref's name out of a column.
pub(super) fn parse_name(row: &Row<'_>, at: usize) -> rusqlite::Result<RefName> {
    let text = row.get_ref(at)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Ref> {
    Ok(Ref {
        name: parse_name(row, 0)?,
        target: Target::from_columns(row, 1)?,
        generation: row.get(3)?,
        updated: row.get(4)?,
    })
}
