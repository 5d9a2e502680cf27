//! `cfs work discard`

use serde_json::json;

use super::{Place, layers};
use crate::context::Context;
use crate::report::CommandError;

/// Unmount a workspace and drop what has changed since its last commit.
///
/// Without asking; `cfs work status` tells what would be lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,

    /// Unmount even when somebody is inside.
    #[arg(long)]
    lazy: bool,
}

/// Runs `cfs work discard`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let workspace = super::find(&depot, &args.place.dir)?;
    layers::unmount(&workspace, args.lazy, context)?;
    let dir = workspace.record.dir.clone();
    workspace.discard()?;
    context.output.result(format_args!("{}: discarded", args.place.dir.display()), &json!({ "dir": dir }))
}
