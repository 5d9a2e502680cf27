//! `cfs log`

use cfs_indexer::catalogue::{CatalogueError, Target};
use cfs_indexer::refname::RefName;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// Show how a ref has moved.
///
/// Newest first: generation, time, what it names since, who and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ref.
    #[arg(value_name = "REF")]
    name: RefName,

    /// At most this many moves.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
}

/// Runs `cfs log`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let log = depot.catalogue.log(&args.name)?;
    if log.is_empty() {
        return Err(CatalogueError::NoSuchRef { name: args.name.clone() }.into());
    }
    for entry in log.into_iter().take(args.limit.unwrap_or(usize::MAX)) {
        let (names, new) = match &entry.new {
            Some(Target::Snapshot(id)) => (format!("{id:.12}"), Some(id.to_string())),
            Some(Target::Symbolic(name)) => (format!("-> {name}"), Some(name.to_string())),
            None => ("deleted".to_owned(), None),
        };
        let at = time(entry.at);
        let text = format!("{:>5}  {at}  {names}  {}  {}", entry.generation, entry.actor, entry.reason);
        let value = json!({
            "ref": entry.name.as_str(), "generation": entry.generation, "at": at,
            "old": entry.old.map(|id| id.to_string()), "new": new, "actor": entry.actor,
            "reason": entry.reason,
        });
        context.output.result(text, &value)?;
    }
    Ok(())
}
