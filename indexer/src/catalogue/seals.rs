//! Seals: for each table whose rows nothing else in the store repeats, the sum of the hashes of its rows.
//!
//! Always true: triggers keep `seals.sum` the exclusive or of the BLAKE3 of all rows of the table, so a row that
//! anything else but SQL has changed shows. Nodes, snapshots, blobs, digests, refs and the reflog need none: their
//! names, their chain and their files vouch for them.

use cfs_fs::digest::Digest;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error};

use super::{Catalogue, CatalogueError};

/// The sealed tables with their columns, in the order in which they are hashed. Never change one that was released.
pub(super) const TABLES: [(&str, &str); 10] = [
    ("upstreams", "ref, path, url, repomd, tree, policy, synced"),
    ("unfinished", "ref, path, at, reason"),
    ("hooks", "hook, heard"),
    ("hook_runs", "number, hook, entry, at, succeeded, output"),
    ("pins", "snapshot, at, actor, reason"),
    ("approvals", "number, view, snapshot, user, given, signature, at, actor, message"),
    ("signatures", "entry, signature"),
    ("collections", "number, at, leases"),
    ("condemned", "kind, hash, collection, deleting"),
    ("collected", "snapshot, at, nodes"),
];

/// The triggers of one table.
macro_rules! sealed {
    ($table:literal $(, $column:literal)+) => {
        concat!(
            "CREATE TRIGGER ", $table, "_seal_insert AFTER INSERT ON ", $table, " BEGIN\n    UPDATE seals SET sum = ",
            "cfs_seal(sum, '", $table, "'", $(", new.", $column,)+ ") WHERE name = '", $table, "'; END;\n",
            "CREATE TRIGGER ", $table, "_seal_delete AFTER DELETE ON ", $table, " BEGIN\n    UPDATE seals SET sum = ",
            "cfs_seal(sum, '", $table, "'", $(", old.", $column,)+ ") WHERE name = '", $table, "'; END;\n",
            "CREATE TRIGGER ", $table, "_seal_update AFTER UPDATE ON ", $table, " BEGIN\n    UPDATE seals SET sum = ",
            "cfs_seal(cfs_seal(sum, '", $table, "'", $(", old.", $column,)+ "), '", $table, "'",
            $(", new.", $column,)+ ") WHERE name = '", $table, "'; END;\n",
        )
    };
}

/// The migration that makes them; [`renew`] goes after it.
pub(super) const MIGRATION: &str = concat!(
    "
    -- For each table whose rows nothing else repeats, the exclusive or of the hashes of its rows.
    CREATE TABLE seals(
        name TEXT PRIMARY KEY,
        sum BLOB NOT NULL CHECK(length(sum) = 32)
    ) STRICT, WITHOUT ROWID;
",
    sealed!("upstreams", "ref", "path", "url", "repomd", "tree", "policy", "synced"),
    sealed!("unfinished", "ref", "path", "at", "reason"),
    sealed!("hooks", "hook", "heard"),
    sealed!("hook_runs", "number", "hook", "entry", "at", "succeeded", "output"),
    sealed!("pins", "snapshot", "at", "actor", "reason"),
    sealed!(
        "approvals",
        "number",
        "view",
        "snapshot",
        "user",
        "given",
        "signature",
        "at",
        "actor",
        "message"
    ),
    sealed!("signatures", "entry", "signature"),
    sealed!("collections", "number", "at", "leases"),
    sealed!("condemned", "kind", "hash", "collection", "deleting"),
    sealed!("collected", "snapshot", "at", "nodes"),
);

/// Makes the function that the triggers call known to a connection.
pub(super) fn define(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("cfs_seal", -1, flags, |call| {
        let mut sum: [u8; 32] = call.get(0)?;
        let mut row =
            Row::new(call.get_raw(1).as_str().map_err(|error| Error::UserFunctionError(Box::new(error)))?);
        (2..call.len()).for_each(|at| row.add(call.get_raw(at)));
        row.seal(&mut sum);
        Ok(sum)
    })
}

/// Writes the sums of what the tables hold.
pub(super) fn renew(connection: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        let sum = sum(connection, table, columns)?;
        let sql = "INSERT INTO seals(name, sum) VALUES (?, ?) ON CONFLICT DO UPDATE SET sum = excluded.sum";
        connection.execute(sql, (table, sum))?;
    }
    Ok(())
}

impl Catalogue {
    /// The sealed tables whose rows are not those that were written.
    pub fn seal_faults(&self) -> Result<Vec<String>, CatalogueError> {
        self.read("check the seals", |connection| {
            let moment = connection.unchecked_transaction()?;
            let mut faults = Vec::new();
            for (table, columns) in TABLES {
                match holds(&moment, table, columns) {
                    Ok(true) => {}
                    Ok(false) => faults.push(format!("rows of {table} are not those that were written")),
                    Err(error) => faults.push(format!("{table} cannot be read: {error}")),
                }
            }
            Ok(faults)
        })
    }
}

/// Whether a table holds what was written to it.
pub(super) fn holds(connection: &Connection, table: &str, columns: &str) -> rusqlite::Result<bool> {
    let sealed: [u8; 32] =
        connection.query_row("SELECT sum FROM seals WHERE name = ?", [table], |row| row.get(0))?;
    Ok(sealed == sum(connection, table, columns)?)
}

fn sum(connection: &Connection, table: &str, columns: &str) -> rusqlite::Result<[u8; 32]> {
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    let mut sum = [0; 32];
    while let Some(found) = rows.next()? {
        let mut row = Row::new(table);
        for at in 0..width {
            row.add(found.get_ref(at)?);
        }
        row.seal(&mut sum);
    }
    Ok(sum)
}

/// A row about to be hashed: its table, and each value after its kind and its length.
struct Row(Vec<u8>);

impl Row {
    fn new(table: &str) -> Self {
        Self(table.as_bytes().to_vec())
    }

    fn add(&mut self, value: ValueRef<'_>) {
        let (kind, bytes): (u8, &[u8]) = match &value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => (1, &number.to_le_bytes()),
            ValueRef::Real(number) => (2, &number.to_le_bytes()),
            ValueRef::Text(bytes) => (3, bytes),
            ValueRef::Blob(bytes) => (4, bytes),
        };
        self.0.push(kind);
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn seal(self, sum: &mut [u8; 32]) {
        for (byte, other) in sum.iter_mut().zip(Digest::of(&self.0).as_bytes()) {
            *byte ^= other;
        }
    }
}
