//! `cfs compose sync`

use cfs_indexer::compose::Recipe;

use super::gather::{self, Flags};
use crate::context::Context;
use crate::report::CommandError;

/// Gather all repositories of a release.
///
/// Without --full-run the latest compose is brought up to date: all of its repositories or, when any of them
/// fails, none. A full run makes a new compose, which becomes the latest when everything is there that the run
/// was begun with, unless a newer one is whole by then. What
/// several repositories share is downloaded once. Groups of packages that the configuration names are put into
/// the metadata of the repositories. Exit status 3 when anything failed; what was downloaded is
/// kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release, as the configuration calls it.
    profile: String,

    #[command(flatten)]
    flags: Flags,
}

/// Runs `cfs compose sync`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let config = &context.settings.configuration.1;
    let recipe = Recipe::of_release(config, &args.profile, &args.flags.selection());
    gather::run(&recipe.map_err(|error| context.unknown(&error))?, &args.flags, context)
}
