//! `cfs compose sig`

use cfs_indexer::compose::Recipe;

use super::gather::{self, Flags};
use crate::context::Context;
use crate::report::CommandError;

/// Gather what a special interest group adds to a release.
///
/// As `cfs compose sync`, with the groups' layout: compose/9/core/x86_64/core-common and so on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release, as the configuration calls it.
    profile: String,

    /// The group.
    sig: String,

    #[command(flatten)]
    flags: Flags,
}

/// Runs `cfs compose sig`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let config = &context.settings.configuration.1;
    let recipe = Recipe::of_sig(config, &args.profile, &args.sig, &args.flags.selection());
    gather::run(&recipe.map_err(|error| context.unknown(&error))?, &args.flags, context)
}
