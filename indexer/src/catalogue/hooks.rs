//! What hooks have been told, and what came of it.

use rusqlite::{OptionalExtension, Row};

use super::{Catalogue, CatalogueError};

/// One run of a hook's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// The hook.
    pub hook: String,
    /// The number of the move that it was told of.
    pub entry: u64,
    /// When, seconds since 1970.
    pub at: i64,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// What it said, or what was wrong.
    pub output: String,
}

impl Catalogue {
    /// Returns the number of the last move that a hook has heard of. One that is new has heard of all that
    /// were before it.
    pub fn begin_hook(&self, hook: &str) -> Result<u64, CatalogueError> {
        let heard = "SELECT heard FROM hooks WHERE hook = ?";
        let found: Option<u64> = self.read("read what a hook has heard", |connection| {
            connection.prepare_cached(heard)?.query_row([hook], |row| row.get(0)).optional()
        })?;
        if let Some(number) = found {
            return Ok(number);
        }
        self.write("begin a hook", |tx| {
            tx.run(|connection| {
                let sql = "INSERT INTO hooks(hook, heard)
                     VALUES (?, (SELECT coalesce(max(number), 0) FROM reflog)) ON CONFLICT DO NOTHING";
                connection.prepare_cached(sql)?.execute([hook])?;
                connection.prepare_cached(heard)?.query_row([hook], |row| row.get(0))
            })
        })
    }

    /// Records that a hook has heard of all moves up to this number.
    pub fn hook_heard(&self, hook: &str, number: u64) -> Result<(), CatalogueError> {
        self.write("record what a hook has heard", |tx| {
            let sql = "UPDATE hooks SET heard = max(heard, ?) WHERE hook = ?";
            tx.run(|connection| connection.prepare_cached(sql)?.execute((number, hook)).map(drop))
        })
    }

    /// Records a run of a hook's program.
    pub fn record_hook_run(&self, run: &HookRun) -> Result<(), CatalogueError> {
        self.write("record a hook's run", |tx| {
            let sql = "INSERT INTO hook_runs(hook, entry, at, succeeded, output) VALUES (?, ?, ?, ?, ?)";
            let HookRun { hook, entry, at, succeeded, output } = run;
            let row = (hook, entry, at, succeeded, output);
            tx.run(|connection| connection.prepare_cached(sql)?.execute(row).map(drop))
        })
    }

    /// Returns the newest runs of hooks' programs, the newest first.
    pub fn hook_runs(&self, limit: usize) -> Result<Vec<HookRun>, CatalogueError> {
        let read = |row: &Row<'_>| {
            Ok(HookRun {
                hook: row.get(0)?,
                entry: row.get(1)?,
                at: row.get(2)?,
                succeeded: row.get(3)?,
                output: row.get(4)?,
            })
        };
        self.read("read the runs of hooks", |connection| {
            let sql = "SELECT hook, entry, at, succeeded, output FROM hook_runs ORDER BY number DESC LIMIT ?";
            connection.prepare_cached(sql)?.query_map([limit], read)?.collect()
        })
    }
}
