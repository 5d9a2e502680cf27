//! `cfs refs`

use cfs_indexer::catalogue::Target;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// List the refs.
///
/// One a line: name, generation, time of the last move, and what it names.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `cfs refs`.
pub fn run(_: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let refs = context.depot()?.catalogue.refs()?;
    let width = refs.iter().map(|found| found.name.as_str().len()).max().unwrap_or(0);
    for found in refs {
        let (snapshot, target) = match &found.target {
            Target::Snapshot(id) => (Some(id.to_string()), None),
            Target::Symbolic(name) => (None, Some(name.to_string())),
        };
        let names = match (&snapshot, &target) {
            (Some(id), _) => format!("{id:.12}"),
            (None, name) => format!("-> {}", name.as_deref().unwrap_or_default()),
        };
        let updated = time(found.updated);
        let text = format!("{:width$}  {:>5}  {updated}  {names}", found.name, found.generation);
        let value = json!({
            "ref": found.name.as_str(), "generation": found.generation, "updated": updated,
            "snapshot": snapshot, "target": target,
        });
        context.output.result(text, &value)?;
    }
    Ok(())
}
