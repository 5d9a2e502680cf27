//! `cfs work list`

use cfs_indexer::workspace::list;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// List the workspaces of the store.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `cfs work list`.
pub fn run(_args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    for record in list(&depot)? {
        let open = cfs_fs::overlay::is_attached(&record.dir)?;
        let word = if open { "open" } else { "closed" };
        let (dir, snapshot) = (record.dir.display(), record.snapshot.short());
        context.output.result(
            format_args!("{word:<6}  {snapshot}  {dir}  {}", record.source),
            &json!({
                "dir": record.dir, "source": record.source.to_string(), "snapshot": record.snapshot.to_string(),
                "scratch": record.scratch, "open": open,
            }),
        )?;
    }
    Ok(())
}
