//! What tests do to a catalogue behind its back.

use std::path::Path;

use rusqlite::Connection;

/// Of nodes: one that is the top of no snapshot.
pub(crate) const BELOW: &str =
    "number = (SELECT min(number) FROM nodes WHERE hash NOT IN (SELECT root FROM snapshots))";

/// Runs SQL on the catalogue of the store at `root`.
pub(crate) fn sql(root: &Path, text: &str) {
    let connection = Connection::open(root.join("catalogue.db")).unwrap();
    connection.execute_batch(text).unwrap();
}

/// What the catalogue says, row by row.
pub(crate) fn dump(root: &Path) -> Vec<String> {
    let connection = Connection::open(root.join("catalogue.db")).unwrap();
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut lines = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..width).map(|at| row.get_ref(at).unwrap()).collect();
            lines.push(format!("{table} {values:?}"));
        }
    }
    lines
}
