//! `cfs work close`

use serde_json::json;

use super::{Place, layers};
use crate::context::Context;
use crate::report::CommandError;

/// Unmount a workspace and keep what has changed.
///
/// It can be committed all the same, and opened again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,

    /// Unmount even when somebody is inside, who must be gone before it is opened again.
    #[arg(long)]
    lazy: bool,
}

/// Runs `cfs work close`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let workspace = super::find(&depot, &args.place.dir)?;
    layers::unmount(&workspace, args.lazy, context)?;
    let record = &workspace.record;
    context.output.result(format_args!("{}: closed", args.place.dir.display()), &json!({ "dir": record.dir }))
}
