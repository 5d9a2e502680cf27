//! `cfs compose`

use cfs_indexer::compose::{Recipe, Selection};
use clap::Subcommand;

use crate::context::Context;
use crate::report::CommandError;

mod disc;
mod finalize;
mod gather;
mod groups;
mod list;
mod prune;
mod sig;
mod sync;

/// Make composes: all repositories of a release in one snapshot.
///
/// Releases are described in the configuration. A compose is a ref such as compose/9/Rocky-9.7-20251124.0;
/// compose/9/latest-Rocky-9 names the newest one that is whole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Sync(sync::Args),
    Sig(sig::Args),
    Disc(disc::Args),
    Finalize(finalize::Args),
    List(list::Args),
    Prune(prune::Args),
}

/// Runs one of the verbs.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Verb::Sync(args) => sync::run(args, context),
        Verb::Sig(args) => sig::run(args, context),
        Verb::Disc(args) => disc::run(args, context),
        Verb::Finalize(args) => finalize::run(args, context),
        Verb::List(args) => list::run(args, context),
        Verb::Prune(args) => prune::run(args, context),
    }
}

/// The recipe of a release, or of what a group adds to it.
fn recipe(profile: &str, sig: Option<&str>, context: &Context<'_>) -> Result<Recipe, CommandError> {
    let config = &context.settings.configuration.1;
    let recipe = match sig {
        None => Recipe::of_release(config, profile, &Selection::default()),
        Some(sig) => Recipe::of_sig(config, profile, sig, &Selection::default()),
    };
    recipe.map_err(|error| context.unknown(&error))
}
