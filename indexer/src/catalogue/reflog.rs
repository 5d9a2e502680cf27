//! The reflog: every move of every ref, append-only, each entry hashed with the one before it.
//!
//! The end of a ref is an entry too. A ref that is made again under its name goes on with the generations.
//!
//! Always true: an entry's hash is BLAKE3 of the previous entry's hash followed by the entry's text
//! (`docs/format.md`, "Reflog"), so a changed, dropped or reordered entry breaks every later one.

use std::collections::BTreeMap;

use cfs_fs::digest::{Digest, SnapshotId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::journal::Link;
use super::refs::{self, Target, parse_name};
use super::{Catalogue, CatalogueError, Signer, Tx};
use crate::refname::RefName;

/// One move of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the whole log, from 1.
    pub number: u64,
    /// The ref that moved.
    pub name: RefName,
    /// Its generation after the move.
    pub generation: u64,
    /// The snapshot it named before.
    pub old: Option<SnapshotId>,
    /// What it names since; `None` when it was deleted.
    pub new: Option<Target>,
    /// When, seconds since 1970.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A move about to be written.
pub(super) struct Move<'a> {
    pub(super) name: &'a RefName,
    pub(super) generation: u64,
    pub(super) old: Option<SnapshotId>,
    pub(super) new: Option<&'a Target>,
    pub(super) signer: &'a Signer,
    pub(super) reason: &'a str,
}

impl Catalogue {
    /// Returns the moves of one ref, newest first.
    pub fn log(&self, name: &RefName) -> Result<Vec<LogEntry>, CatalogueError> {
        self.read("read the reflog", |connection| {
            let sql = "SELECT number, ref, generation, old, new, target, at, actor, reason
                 FROM reflog WHERE ref = ? ORDER BY generation DESC";
            connection.prepare_cached(sql)?.query_map([name.as_str()], from_row)?.collect()
        })
    }

    /// Returns the last generation that `name` had, `None` for a ref that there never was.
    pub fn log_last(&self, name: &RefName) -> Result<Option<u64>, CatalogueError> {
        let next = self.read("read the reflog", |connection| next_generation(connection, name))?;
        Ok(next.checked_sub(1).filter(|last| *last > 0))
    }

    /// Returns what `name` named at one generation.
    pub fn log_generation(
        &self,
        name: &RefName,
        generation: u64,
    ) -> Result<Option<LogEntry>, CatalogueError> {
        let sql = "SELECT number, ref, generation, old, new, target, at, actor, reason
             FROM reflog WHERE ref = ? AND generation = ?";
        self.read("read the reflog", |connection| {
            connection.prepare_cached(sql)?.query_row((name.as_str(), generation), from_row).optional()
        })
    }

    /// Returns the last move of `name` not later than `time`, seconds since 1970.
    pub fn log_at(&self, name: &RefName, time: i64) -> Result<Option<LogEntry>, CatalogueError> {
        let sql = "SELECT number, ref, generation, old, new, target, at, actor, reason
             FROM reflog WHERE ref = ? AND at <= ? ORDER BY generation DESC LIMIT 1";
        self.read("read the reflog", |connection| {
            connection.prepare_cached(sql)?.query_row((name.as_str(), time), from_row).optional()
        })
    }

    /// Returns what `name` named before its `generation`th, the newest first: at most `limit` generations that
    /// ended at `since` (seconds since 1970) or later, each with its snapshot and its end.
    pub fn log_past(
        &self,
        name: &RefName,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<(u64, SnapshotId, i64)>, CatalogueError> {
        let sql = "SELECT past.generation, past.new, next.at FROM reflog AS past
             JOIN reflog AS next ON next.ref = past.ref AND next.generation = past.generation + 1
             WHERE past.ref = ? AND past.generation < ? AND past.new IS NOT NULL AND next.at >= ?
             ORDER BY past.generation DESC LIMIT ?";
        self.read("read the reflog", |connection| {
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)?.into(), row.get(2)?));
            connection
                .prepare_cached(sql)?
                .query_map((name.as_str(), generation, since, limit), row)?
                .collect()
        })
    }

    /// Returns how many moves there are.
    pub fn log_length(&self) -> Result<u64, CatalogueError> {
        self.read("read the reflog", |connection| {
            let sql = "SELECT coalesce(max(number), 0) FROM reflog";
            connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
        })
    }

    /// Returns the first move of any ref whose number is higher than `number`.
    pub fn log_after(&self, number: u64) -> Result<Option<LogEntry>, CatalogueError> {
        let sql = "SELECT number, ref, generation, old, new, target, at, actor, reason
             FROM reflog WHERE number > ? ORDER BY number LIMIT 1";
        self.read("read the reflog", |connection| {
            connection.prepare_cached(sql)?.query_row([number], from_row).optional()
        })
    }

    /// Checks every entry of the log against its hash and the one before it, and every ref against its last move.
    pub fn verify_chain(&self) -> Result<Chain, CatalogueError> {
        self.read("read the reflog", |connection| {
            // Both tables as they were at one moment.
            let moment = connection.unchecked_transaction()?;
            let mut chain = Chain { length: 0, head: [0; 32].into(), faults: Vec::new() };
            let moves = follow_chain(&moment, &mut chain)?;
            check_refs(&moment, moves, &mut chain)?;
            Ok(chain)
        })
    }

    /// As [`Catalogue::verify_chain`]; the first fault is an error. Returns how many entries there are.
    pub fn verify_reflog(&self) -> Result<u64, CatalogueError> {
        let chain = self.verify_chain()?;
        match chain.faults.first() {
            Some(fault) => Err(CatalogueError::Damaged { what: fault.to_string() }),
            None => Ok(chain.length),
        }
    }
}

/// What the chain of the reflog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// How many entries there are.
    pub length: u64,
    /// The hash of the last one, zeros when there is none: who has written it down sees later whether anything
    /// before it was changed.
    pub head: Digest,
    /// What is not as it was written.
    pub faults: Vec<ChainFault>,
}

/// An entry of the reflog, or a ref, that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {what}")]
pub struct ChainFault {
    /// `reflog entry 7` or `ref staging`.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

impl Chain {
    fn fault(&mut self, object: String, what: impl Into<String>) {
        self.faults.push(ChainFault { object, what: what.into() });
    }

    /// Looks at the next entry.
    fn add(&mut self, entry: &LogEntry, previous: [u8; 32], hash: [u8; 32]) {
        self.length += 1;
        let object = || format!("reflog entry {}", entry.number);
        if Digest::from(previous) != self.head {
            self.fault(object(), "does not follow the entry before it");
        } else if entry.number != self.length && self.faults.is_empty() {
            self.fault(object(), format!("is the {}th", self.length));
        }
        if chain(&previous, entry) != hash {
            self.fault(object(), "was changed");
        }
        self.head = hash.into();
    }
}

/// The last move of each ref: generation, what it names since, when.
type Moves = BTreeMap<RefName, (u64, Option<Target>, i64)>;

fn follow_chain(connection: &Connection, chain: &mut Chain) -> rusqlite::Result<Moves> {
    let mut statement = connection.prepare_cached(LINKS)?;
    let mut rows = statement.query([i64::MIN])?;
    let mut moves = Moves::new();
    while let Some(row) = rows.next()? {
        let Link { entry, previous, hash } = match link_from_row(row) {
            Ok(link) => link,
            Err(error) => {
                chain.length += 1;
                let number: i64 = row.get(0)?;
                chain.fault(format!("reflog entry {number}"), format!("cannot be read: {error}"));
                continue;
            }
        };
        chain.add(&entry, previous, hash);
        let before = moves.insert(entry.name.clone(), (entry.generation, entry.new.clone(), entry.at));
        let (generation, old) = match before {
            Some((generation, Some(Target::Snapshot(old)), _)) => (generation + 1, Some(old)),
            Some((generation, Some(Target::Symbolic(_)) | None, _)) => (generation + 1, None),
            None => (1, None),
        };
        if (entry.generation, entry.old) != (generation, old) {
            let what = format!("does not go on from the last move of {}", entry.name);
            chain.fault(format!("reflog entry {}", entry.number), what);
        }
    }
    Ok(moves)
}

/// Every ref is where its last move has left it.
fn check_refs(connection: &Connection, mut moves: Moves, chain: &mut Chain) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(refs::ALL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let found = match refs::from_row(row) {
            Ok(found) => found,
            Err(error) => {
                let name =
                    String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
                chain.fault(format!("ref {name}"), format!("cannot be read: {error}"));
                continue;
            }
        };
        match moves.remove(&found.name) {
            None => chain.fault(format!("ref {}", found.name), "is in no entry of the reflog"),
            Some(last) if last == (found.generation, Some(found.target), found.updated) => {}
            Some((generation, ..)) => {
                let what = format!("is not what its last move, to generation {generation}, has made it");
                chain.fault(format!("ref {}", found.name), what);
            }
        }
    }
    for (name, (_, last, _)) in moves {
        if last.is_none() {
            continue; // It was deleted.
        }
        chain.fault(format!("ref {name}"), "is in the reflog and not among the refs");
    }
    Ok(())
}

/// The generation that the next move of `name` makes; the reflog knows those of a ref that was deleted.
pub(super) fn next_generation(connection: &Connection, name: &RefName) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(generation), 0) + 1 FROM reflog WHERE ref = ?";
    connection.prepare_cached(sql)?.query_row([name.as_str()], |row| row.get(0))
}

/// Appends one move; returns its number.
pub(super) fn append(tx: &Tx<'_>, moved: &Move<'_>) -> Result<u64, CatalogueError> {
    let last: Option<(u64, [u8; 32])> = tx.run(last)?;
    let (number, previous) = last.map_or((1, [0; 32]), |(number, entry)| (number + 1, entry));
    let entry = LogEntry {
        number,
        name: moved.name.clone(),
        generation: moved.generation,
        old: moved.old,
        new: moved.new.cloned(),
        at: moved.signer.now,
        actor: moved.signer.actor.clone(),
        reason: moved.reason.to_owned(),
    };
    let hash = chain(&previous, &entry);
    tx.moved.set(true);
    insert(tx, &Link { entry, previous, hash })?;
    Ok(number)
}

/// Writes a row.
pub(super) fn insert(tx: &Tx<'_>, link: &Link) -> Result<(), CatalogueError> {
    let Link { entry, previous, hash } = link;
    let (new, target) = entry.new.as_ref().map_or((None, None), Target::columns);
    tx.run(|connection| {
        let sql = "INSERT INTO reflog(number, ref, generation, old, new, target, at, actor, reason, previous, entry)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let old = entry.old.as_ref().map(SnapshotId::as_bytes);
        let row = (
            entry.number, entry.name.as_str(), entry.generation, old, new, target, entry.at, &entry.actor,
            &entry.reason, previous, hash,
        );
        connection.prepare_cached(sql)?.execute(row).map(drop)
    })
}

fn last(connection: &Connection) -> rusqlite::Result<Option<(u64, [u8; 32])>> {
    let sql = "SELECT number, entry FROM reflog ORDER BY number DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// BLAKE3 of the previous hash and the entry's text.
pub(super) fn chain(previous: &[u8; 32], entry: &LogEntry) -> [u8; 32] {
    let mut bytes = previous.to_vec();
    bytes.extend(text(entry));
    *Digest::of(&bytes).as_bytes()
}

/// The entry's fields, each with its length before it.
pub(super) fn text(entry: &LogEntry) -> Vec<u8> {
    let old = entry.old.map(|id| id.to_string()).unwrap_or_default();
    let new = match &entry.new {
        Some(Target::Snapshot(id)) => format!("snapshot {id}"),
        Some(Target::Symbolic(name)) => format!("ref {name}"),
        None => "deleted".to_owned(),
    };
    let fields = [
        entry.number.to_string(),
        entry.name.to_string(),
        entry.generation.to_string(),
        old,
        new,
        entry.at.to_string(),
        entry.actor.clone(),
        entry.reason.clone(),
    ];
    fields.iter().flat_map(|field| format!("{}:{field}\n", field.len()).into_bytes()).collect()
}

/// Reads the entries after a number, whose rows are for [`link_from_row`].
pub(super) const LINKS: &str =
    "SELECT number, ref, generation, old, new, target, at, actor, reason, previous, entry
     FROM reflog WHERE number > ? ORDER BY number";

pub(super) fn link_from_row(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { entry: from_row(row)?, previous: row.get(9)?, hash: row.get(10)? })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    Ok(LogEntry {
        number: row.get(0)?,
        name: parse_name(row, 1)?,
        generation: row.get(2)?,
        old: row.get::<_, Option<[u8; 32]>>(3)?.map(SnapshotId::from),
        new: Target::in_columns(row, 4)?,
        at: row.get(6)?,
        actor: row.get(7)?,
        reason: row.get(8)?,
    })
}
