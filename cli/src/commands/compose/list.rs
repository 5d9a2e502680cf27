//! `cfs compose list`

use cfs_indexer::compose::made;
use serde_json::json;

use super::{gather, recipe};
use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// List the composes of a release, the oldest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release, as the configuration calls it.
    profile: String,

    /// The composes of this special interest group.
    #[arg(long, value_name = "SIG")]
    sig: Option<String>,
}

/// Runs `cfs compose list`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let recipe = recipe(&args.profile, args.sig.as_deref(), context)?;
    let depot = context.depot()?;
    let latest = match depot.catalogue.find_ref(&recipe.latest)? {
        Some(_) => Some(depot.catalogue.follow_ref(&recipe.latest)?.0.name),
        None => None,
    };
    for made in made(&depot, &recipe).map_err(|error| gather::failed(error, &recipe))? {
        let status = made.status.map_or("-", cfs_indexer::productmd::status::Status::word);
        let is_latest = latest.as_ref() == Some(&made.name);
        let mark = if is_latest { " (latest)" } else { "" };
        let unfinished =
            made.unfinished.as_ref().map(|why| format!(" (unfinished: {why})")).unwrap_or_default();
        let text = format!("{}  {}  {status}{mark}{unfinished}", time(made.updated), made.name);
        let value = json!({
            "compose": made.name.to_string(),
            "snapshot": made.id.to_string(),
            "status": status,
            "latest": is_latest,
            "unfinished": made.unfinished,
            "updated": made.updated,
        });
        context.output.result(text, &value)?;
    }
    Ok(())
}
