//! Stores that earlier versions of cfs made: `data/catalogues` has a catalogue of every schema that there was, as SQL.
//!
//! Each is opened, brought up to date, and loses nothing. When there is a new schema, `CFS_REGENERATE=1` adds one of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cfs_fs::digest::BlobId;
use cfs_indexer::catalogue::Catalogue;
use cfs_indexer::depot::Depot;
use rusqlite::Connection;

use crate::harness::Sandbox;

/// What the files of the stored catalogues hold.
const CONTENTS: [&str; 3] = ["one\n", "two\n", "three\n"];
const LISTING: &str = "\
drwxr-xr-x            4 2023-11-14T22:13:20Z dir
-rw-r--r--            4 2023-11-14T22:13:20Z dir/two
lrwxrwxrwx            7 2023-11-14T22:13:20Z link -> dir/two
-rw-r--r--            4 2023-11-14T22:13:20Z one
-rw-r--r--            6 2023-11-14T22:15:00Z three
";

fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/catalogues")
}

/// The stored catalogues by their schemas.
fn stored() -> BTreeMap<i64, String> {
    let entries = fs::read_dir(room()).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    entries.map(|path| (number(&path), fs::read_to_string(&path).unwrap())).collect()
}

fn version(connection: &Connection) -> i64 {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// A store with a stored catalogue, and the catalogue's path.
fn store_of(sql: &str) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_store();
    let store = sandbox.store();
    for content in CONTENTS {
        let hex = BlobId::of(content.as_bytes()).to_string();
        fs::write(store.join("blobs").join(&hex[..2]).join(&hex[2..]), content).unwrap();
    }
    let path = store.join("catalogue.db");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", path.display()));
    }
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    (sandbox, path)
}

/// What a database is made of, in the words that made it; what SQLite adds by itself has none.
fn schema(connection: &Connection) -> BTreeMap<String, (String, String)> {
    let sql = "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The rows of a table as SQL, sorted; of its columns those that it had `before`.
fn rows(connection: &Connection, table: &str, columns: &[String]) -> Vec<String> {
    let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
    let sql = format!("SELECT {} FROM {table}", quoted.join(" || ',' || "));
    let mut statement = connection.prepare(&sql).unwrap();
    let mut found: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    found.sort_unstable();
    found
}

fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?)").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Every table with its columns and rows.
fn content(connection: &Connection) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let tables = schema(connection).into_iter().filter(|(_, (kind, _))| kind == "table");
    let all = tables.map(|(name, _)| {
        let columns = columns(connection, &name);
        let rows = rows(connection, &name, &columns);
        (name, (columns, rows))
    });
    all.collect()
}

#[test]
fn a_catalogue_of_every_schema_is_brought_up_to_date_and_loses_nothing() {
    let fresh = Sandbox::with_store();
    let fresh = Connection::open(fresh.store().join("catalogue.db")).unwrap();
    for (number, sql) in stored() {
        let (sandbox, path) = store_of(&sql);
        let connection = Connection::open(&path).unwrap();
        assert_eq!(version(&connection), number);
        let before = content(&connection);
        drop(connection);

        assert_eq!(sandbox.listing("compose/9/x"), LISTING, "schema {number}");
        let connection = Connection::open(&path).unwrap();
        assert_eq!(version(&connection), version(&fresh), "schema {number}");
        assert_eq!(schema(&connection), schema(&fresh), "schema {number}: not what a new store has");
        for (table, (columns, old)) in before {
            assert_eq!(rows(&connection, &table, &columns), old, "schema {number}: {table}");
        }
        drop(connection);
        works(&sandbox, number);
    }
}

/// Every part of a store of before is of use.
fn works(sandbox: &Sandbox, number: i64) {
    let depot = Depot::open(&sandbox.store()).unwrap();
    assert_eq!(depot.catalogue.verify_reflog().unwrap(), 5, "schema {number}");
    drop(depot);
    assert_eq!(sandbox.ok(["cat", "latest:dir/two"]), "two\n");
    assert_eq!(sandbox.ok(["ls", "compose/9/x@{1}"]).lines().count(), 3);
    sandbox.ok(["promote", "compose/9/x@{1}", "production"]);
    sandbox.ok(["pin", "production@{1}"]);
    sandbox.ok(["rollback", "production"]);
    assert_eq!(sandbox.listing("latest"), LISTING);
    sandbox.ok(["gc", "--keep", "0", "--keep-generations", "1", "--grace", "0"]);
    assert_eq!(sandbox.ok(["cat", "latest:dir/two"]), "two\n", "schema {number}");
}

#[test]
fn every_schema_that_there_was_is_stored() {
    let fresh = Sandbox::with_store();
    let newest = version(&Connection::open(fresh.store().join("catalogue.db")).unwrap());
    let stored = stored();
    let last = *stored.keys().last().unwrap();
    let regenerate = std::env::var_os("CFS_REGENERATE").is_some();
    if regenerate && last < newest {
        let (_sandbox, path) = store_of(&stored[&last]);
        drop(Catalogue::open(&path).unwrap());
        fs::write(room().join(format!("{newest}.sql")), dump(&Connection::open(&path).unwrap())).unwrap();
        return;
    }
    let numbers: Vec<i64> = stored.into_keys().collect();
    let all: Vec<i64> = (1..=newest).collect();
    assert_eq!(numbers, all, "CFS_REGENERATE=1 adds one of the newest schema to tests/data/catalogues");
}

/// A database as SQL.
fn dump(connection: &Connection) -> String {
    let number = version(connection);
    let mut text = format!("-- A catalogue of schema {number}, as cfs wrote it then.\n");
    // Tables come in the order of their names.
    text += "PRAGMA foreign_keys = OFF;\nPRAGMA page_size = 8192;\nPRAGMA application_id = 1667658545;\n";
    let schema = schema(connection);
    let made = |kind: &'static str| {
        schema.values().filter(move |(found, _)| (found == "table") == (kind == "table"))
    };
    made("table").for_each(|(_, sql)| text.extend([sql, ";\n"]));
    for (table, (columns, rows)) in content(connection) {
        for row in rows {
            text.extend(["INSERT INTO ", &table, "(", &columns.join(","), ") VALUES(", &row, ");\n"]);
        }
    }
    made("other").for_each(|(_, sql)| text.extend([sql, ";\n"]));
    text + &format!("PRAGMA user_version = {number};\n")
}

#[test]
fn a_catalogue_of_a_newer_cfs_is_refused_and_not_touched() {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/file", "content");
    let path = sandbox.store().join("catalogue.db");
    let connection = Connection::open(&path).unwrap();
    let newest = version(&connection);
    connection.pragma_update(None, "user_version", newest + 1).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    for args in [&["import", "tree", "x"][..], &["refs"], &["gc"], &["promote", "a", "b"], &["mount", "mnt"]]
    {
        let said = sandbox.fails(3, args);
        assert!(said.contains(&format!("has schema {}", newest + 1)), "{args:?}: {said}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}
