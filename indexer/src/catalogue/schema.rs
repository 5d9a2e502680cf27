//! The tables, and how an older catalogue becomes a newer one.
//!
//! Always true: migrations are only ever appended; `user_version` counts those that were applied; a catalogue
//! with more of them than this cfs knows is refused and not touched.

use std::fs::OpenOptions;
use std::path::Path;

use rusqlite::{Connection, Row, TransactionBehavior};

use super::{CatalogueError, connect, seals, sqlite_error};

/// "cfs1", so that `file` and people know what the database is.
const APPLICATION_ID: i32 = 0x6366_7331;
/// A node larger than a page fills overflow pages to the last byte, so little is lost, and a small commit writes
/// little. Measured on a million files: 95 bytes a file in all, 129 with 16 KiB and 102 with 32 KiB.
const PAGE_BYTES: u32 = 8_192;

/// The list of all migrations. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    "
    -- Live blobs: durable in the store, and named by a tree or a digest. There is a row for every distinct
    -- file, so every byte of it counts.
    CREATE TABLE objects(
        hash BLOB PRIMARY KEY CHECK(length(hash) = 32),
        size INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Other digests of live blobs; only digests that cfs computed itself.
    CREATE TABLE digests(
        algorithm INTEGER NOT NULL,
        digest BLOB NOT NULL,
        hash BLOB NOT NULL CHECK(length(hash) = 32),
        PRIMARY KEY(algorithm, digest)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE nodes(
        number INTEGER PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK(length(hash) = 32),
        data BLOB NOT NULL
    ) STRICT;

    CREATE TABLE snapshots(
        id BLOB PRIMARY KEY CHECK(length(id) = 32),
        root BLOB NOT NULL CHECK(length(root) = 32),
        created INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- A ref names a snapshot, or (symbolic) another ref.
    CREATE TABLE refs(
        name TEXT PRIMARY KEY,
        snapshot BLOB REFERENCES snapshots(id),
        target TEXT,
        generation INTEGER NOT NULL CHECK(generation > 0),
        updated INTEGER NOT NULL,
        CHECK((snapshot IS NULL) <> (target IS NULL))
    ) STRICT, WITHOUT ROWID;

    -- Every move of every ref, each row hashed with the one before it.
    CREATE TABLE reflog(
        number INTEGER PRIMARY KEY,
        ref TEXT NOT NULL,
        generation INTEGER NOT NULL,
        old BLOB,
        new BLOB REFERENCES snapshots(id),
        target TEXT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        previous BLOB NOT NULL CHECK(length(previous) = 32),
        entry BLOB NOT NULL CHECK(length(entry) = 32),
        UNIQUE(ref, generation)
    ) STRICT;
    CREATE TRIGGER reflog_keeps BEFORE UPDATE ON reflog
        BEGIN SELECT RAISE(ABORT, 'the reflog is append-only'); END;
    CREATE TRIGGER reflog_stays BEFORE DELETE ON reflog
        BEGIN SELECT RAISE(ABORT, 'the reflog is append-only'); END;

    -- What the last complete sync of a path was made from.
    CREATE TABLE upstreams(
        ref TEXT NOT NULL,
        path TEXT NOT NULL,
        url TEXT NOT NULL,
        repomd BLOB NOT NULL CHECK(length(repomd) = 32),
        tree BLOB NOT NULL CHECK(length(tree) = 32),
        policy TEXT NOT NULL,
        synced INTEGER NOT NULL,
        PRIMARY KEY(ref, path)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Syncs that failed and were not made good since.
    CREATE TABLE unfinished(
        ref TEXT NOT NULL,
        path TEXT NOT NULL,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY(ref, path)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Up to which move each hook has heard.
    CREATE TABLE hooks(
        hook TEXT PRIMARY KEY,
        heard INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- What came of telling a hook of a move.
    CREATE TABLE hook_runs(
        number INTEGER PRIMARY KEY,
        hook TEXT NOT NULL,
        entry INTEGER NOT NULL,
        at INTEGER NOT NULL,
        succeeded INTEGER NOT NULL,
        output TEXT NOT NULL
    ) STRICT;
",
    "
    -- To tell the SHA-256 of a file.
    CREATE INDEX sha256_by_blob ON digests(hash) WHERE algorithm = 4;
",
    "
    -- Snapshots that stay whatever refs do.
    CREATE TABLE pins(
        snapshot BLOB PRIMARY KEY REFERENCES snapshots(id),
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Collections that condemned something. `leases` are those that lived after that, one a line; NULL until
    -- they are known.
    CREATE TABLE collections(
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        leases TEXT
    ) STRICT;

    -- What nobody needed then: 0 a snapshot, 1 a blob, 2 a commit file. What is being deleted has no row in
    -- `objects` any more.
    CREATE TABLE condemned(
        kind INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK(length(hash) = 32),
        collection INTEGER NOT NULL,
        deleting INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY(kind, hash)
    ) STRICT, WITHOUT ROWID;

    -- Snapshots whose trees are gone; their records stay. `nodes` are those left in the commit file, NULL for
    -- as many as there were.
    CREATE TABLE collected(
        snapshot BLOB PRIMARY KEY REFERENCES snapshots(id),
        at INTEGER NOT NULL,
        nodes INTEGER
    ) STRICT, WITHOUT ROWID;
",
    "
    -- A row of `reflog` with neither `new` nor `target` is the end of its ref; the generations of a ref that is
    -- made again follow it. To find who names a ref.
    CREATE INDEX refs_by_target ON refs(target) WHERE target IS NOT NULL;
",
    "
    -- What somebody said of a snapshot: that it may become part of a view, or may not any more.
    CREATE TABLE approvals(
        number INTEGER PRIMARY KEY,
        view TEXT NOT NULL,
        snapshot BLOB NOT NULL REFERENCES snapshots(id),
        user TEXT NOT NULL,
        given INTEGER NOT NULL CHECK(given IN (0, 1)),
        signature TEXT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        message TEXT NOT NULL
    ) STRICT;
    CREATE INDEX approvals_by_view ON approvals(view, snapshot);
    CREATE TRIGGER approvals_keep BEFORE UPDATE ON approvals
        BEGIN SELECT RAISE(ABORT, 'approvals are append-only'); END;
    CREATE TRIGGER approvals_stay BEFORE DELETE ON approvals
        BEGIN SELECT RAISE(ABORT, 'approvals are append-only'); END;

    -- Signatures of moves.
    CREATE TABLE signatures(
        entry INTEGER PRIMARY KEY REFERENCES reflog(number),
        signature TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER signatures_keep BEFORE UPDATE ON signatures
        BEGIN SELECT RAISE(ABORT, 'signatures are append-only'); END;
    CREATE TRIGGER signatures_stay BEFORE DELETE ON signatures
        BEGIN SELECT RAISE(ABORT, 'signatures are append-only'); END;
",
    seals::MIGRATION,
];

/// Creates an empty database in WAL mode at `path`; a database that is there already is left alone.
pub(super) fn create(path: &Path) -> rusqlite::Result<()> {
    // SQLite would make the file itself; made here, `connect` never creates one by mistake.
    let made = OpenOptions::new().create_new(true).write(true).open(path);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error)));
    }
    let connection = connect(path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Applies the migrations that the database lacks, all in one transaction.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogueError> {
    let fail = |source| sqlite_error("read the schema", path, source);
    let unusable = |reason| CatalogueError::Unusable { path: path.to_owned(), reason };
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id").map_err(fail)? != APPLICATION_ID {
        return Err(unusable("is not a cfs catalogue".into()));
    }
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(fail)?;
    // What is opened for reading where there is no log (see `open` above) has no mode to speak of.
    if mode != "wal" && !connection.is_readonly(rusqlite::MAIN_DB).map_err(fail)? {
        return Err(unusable(format!("its journal mode is {mode}, not wal")));
    }
    let applied = pragma("user_version").map_err(fail)?;
    let known = MIGRATIONS.len();
    match usize::try_from(applied) {
        Ok(applied) if applied == known => return Ok(()),
        Ok(applied) if applied < known => {}
        _ => return Err(CatalogueError::TooNew { path: path.to_owned(), found: applied, known }),
    }
    apply(connection).map_err(|source| sqlite_error("bring the schema up to date", path, source))
}

fn apply(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster; what counts is what is there under the lock.
    let applied: usize = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for migration in MIGRATIONS.iter().skip(applied) {
        tx.execute_batch(migration)?;
        if *migration == seals::MIGRATION {
            seals::renew(&tx)?;
        }
    }
    tx.pragma_update(None, "user_version", MIGRATIONS.len().max(applied))?;
    tx.commit()
}

/// A table, an index or a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// `table`, `index` or `trigger`.
    pub(super) kind: String,
    pub(super) name: String,
    /// The table that it is about.
    table: String,
    /// How it is made; `None` for what SQLite makes by itself.
    sql: Option<String>,
}

/// What a database consists of.
pub(super) fn listing(connection: &Connection) -> rusqlite::Result<Vec<Part>> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    let part = |row: &Row<'_>| {
        Ok(Part { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    };
    connection.prepare(sql)?.query_map([], part)?.collect()
}

/// What a catalogue should consist of.
pub(super) fn expected() -> rusqlite::Result<Vec<Part>> {
    let mut connection = Connection::open_in_memory()?;
    apply(&mut connection)?;
    listing(&connection)
}
