//! `cfs work status`

use cfs_indexer::workspace::status;

use super::Place;
use crate::commands::diff::{print_change, print_top};
use crate::context::Context;
use crate::report::CommandError;

/// Show what has changed in a workspace since it was opened, or since its last commit.
///
/// A added, R removed, C changed, as `cfs diff` prints it. Exit status 1 when anything has changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Runs `cfs work status`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let workspace = super::find(&depot, &args.place.dir)?;
    let mut printed = Ok(());
    let status = status(&depot, &workspace, &mut |path, change| {
        if printed.is_ok() {
            printed = print_change(context, path, &change);
        }
    })?;
    printed?;
    if status.top {
        print_top(context)?;
    }
    if status.is_clean() { Ok(()) } else { Err(CommandError::answered_no()) }
}
