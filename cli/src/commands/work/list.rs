//! `cfs work list`

use cfs_indexer::workspace::{list, lower_mount};
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// List the workspaces of the store.
///
/// Each is open, closed, or dead: the process below it has ended, and `cfs work open` shows it again.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `cfs work list`.
pub fn run(_args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    for record in list(&depot)? {
        let open = super::is_open(&record.dir, &lower_mount(&depot, &record.dir)?)?;
        let word = match open {
            true => "open",
            false if cfs_fs::overlay::is_attached(&record.dir)? => "dead",
            false => "closed",
        };
        let (dir, snapshot) = (record.dir.display(), record.snapshot.short());
        context.output.result(
            format_args!("{word:<6}  {snapshot}  {dir}  {}", record.source),
            &json!({
                "dir": record.dir, "source": record.source.to_string(), "snapshot": record.snapshot.to_string(),
                "scratch": record.scratch, "open": open, "state": word,
            }),
        )?;
    }
    Ok(())
}
