//! Approvals: who said of which snapshot that it may become part of a view; and signatures of moves.
//!
//! Always true: both are only ever added; who takes an approval back adds a row that says so, and the last one counts.

use cfs_fs::digest::SnapshotId;
use rusqlite::OptionalExtension;

use super::{Catalogue, CatalogueError, Signer, Tx};
use crate::refname::RefName;

/// What somebody said of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The view that it may become part of.
    pub view: RefName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The user of the host who said so.
    pub user: String,
    /// That it may; or that it may not any more.
    pub given: bool,
    /// The signature; none where none was asked for.
    pub signature: Option<String>,
    /// When, seconds since 1970.
    pub at: i64,
    /// Who and from where.
    pub actor: String,
    /// Why, in his words.
    pub message: String,
}

impl Catalogue {
    /// Adds what somebody says.
    pub fn record_approval(&self, approval: &Approval) -> Result<(), CatalogueError> {
        let Approval { view, snapshot, user, given, signature, at, actor, message } = approval;
        self.write("record an approval", |tx| {
            tx.run(|connection| {
                let sql = "INSERT INTO approvals(view, snapshot, user, given, signature, at, actor, message)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
                let row = (view.as_str(), snapshot.as_bytes(), user, given, signature, at, actor, message);
                connection.prepare_cached(sql)?.execute(row).map(drop)
            })
        })
    }

    /// What was said of snapshots for a view, of each user and snapshot the last thing, in the order in which it was
    /// said: of one snapshot, or of all.
    pub fn approvals(&self, view: &RefName, of: Option<SnapshotId>) -> Result<Vec<Approval>, CatalogueError> {
        self.read("read approvals", |connection| {
            let sql = "SELECT view, snapshot, user, given, signature, at, actor, message FROM approvals
                 WHERE number IN (SELECT max(number) FROM approvals
                     WHERE view = ?1 AND (?2 IS NULL OR snapshot = ?2) GROUP BY snapshot, user)
                 ORDER BY number";
            let of = of.as_ref().map(SnapshotId::as_bytes);
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map((view.as_str(), of), |row| {
                Ok(Approval {
                    view: super::refs::parse_name(row, 0)?,
                    snapshot: row.get::<_, [u8; 32]>(1)?.into(),
                    user: row.get(2)?,
                    given: row.get(3)?,
                    signature: row.get(4)?,
                    at: row.get(5)?,
                    actor: row.get(6)?,
                    message: row.get(7)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The signature of a move, by the number of its entry in the reflog.
    pub fn signature(&self, number: u64) -> Result<Option<String>, CatalogueError> {
        self.read("read a signature", |connection| {
            let sql = "SELECT signature FROM signatures WHERE entry = ?";
            connection.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()
        })
    }
}

/// Adds the signature of a move.
pub(super) fn sign(tx: &Tx<'_>, number: u64, signature: &str) -> Result<(), CatalogueError> {
    tx.run(|connection| {
        let sql = "INSERT INTO signatures(entry, signature) VALUES (?, ?)";
        connection.prepare_cached(sql)?.execute((number, signature)).map(drop)
    })
}

impl Approval {
    /// What `signer` says now.
    pub fn new(view: &RefName, snapshot: SnapshotId, user: &str, signer: &Signer) -> Self {
        Self {
            view: view.clone(),
            snapshot,
            user: user.to_owned(),
            given: true,
            signature: None,
            at: signer.now,
            actor: signer.actor.clone(),
            message: String::new(),
        }
    }
}
