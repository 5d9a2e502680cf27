//! `cfs pin` and `cfs unpin`

use cfs_indexer::revision::Revision;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::{CommandError, Kind};

/// Keep a snapshot for ever, whatever refs do; without one, list what is kept so.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshot.
    revision: Option<Revision>,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,
}

/// Let a snapshot go that `cfs pin` kept.
///
/// It stays as long as refs name it or named it lately.
#[derive(Debug, clap::Args)]
pub struct UnpinArgs {
    /// The snapshot.
    revision: Revision,
}

/// Runs `cfs pin`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    if let Some(revision) = &args.revision {
        context.may_delete()?;
        let (id, _) = depot.catalogue.resolve(revision)?;
        depot.catalogue.pin(id, &context.signer(), &args.message)?;
        return context.output.result(format_args!("pinned {id}"), &json!({ "snapshot": id.to_string() }));
    }
    for pin in depot.catalogue.pins()? {
        let value = json!({
            "snapshot": pin.snapshot.to_string(), "at": pin.at, "actor": pin.actor, "message": pin.reason,
        });
        let line = format!("{}  {}  {}  {}", pin.snapshot, time(pin.at), pin.actor, pin.reason);
        context.output.result(line.trim_end(), &value)?;
    }
    Ok(())
}

/// Runs `cfs unpin`.
pub fn run_unpin(args: &UnpinArgs, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_delete()?;
    let depot = context.depot()?;
    let (id, _) = depot.catalogue.resolve(&args.revision)?;
    if !depot.catalogue.unpin(id)? {
        return Err(CommandError::new(Kind::No, format!("snapshot {id} is not pinned")));
    }
    context.output.result(format_args!("unpinned {id}"), &json!({ "snapshot": id.to_string() }))
}
