//! `cfs work`

use std::path::{Path, PathBuf};

use cfs_fs::mounts::{self, Health};
use cfs_indexer::depot::Depot;
use cfs_indexer::workspace::Workspace;
use clap::Subcommand;

use crate::context::Context;
use crate::report::CommandError;

mod close;
mod commit;
mod discard;
mod layers;
mod list;
mod open;
mod status;

/// Change a snapshot with ordinary programs: open it as a writable directory, commit what has changed.
///
/// What is written stays beside the snapshot until it is committed or discarded, over unmounts and reboots.
/// A commit reads what has changed and nothing else.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Open(open::Args),
    Commit(commit::Args),
    Status(status::Args),
    List(list::Args),
    Close(close::Args),
    Discard(discard::Args),
}

/// Runs `cfs work`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Verb::Open(args) => open::run(args, context),
        Verb::Commit(args) => commit::run(args, context),
        Verb::Status(args) => status::run(args, context),
        Verb::List(args) => list::run(args, context),
        Verb::Close(args) => close::run(args, context),
        Verb::Discard(args) => discard::run(args, context),
    }
}

/// The workspace whose directory the user names.
fn find(depot: &Depot, dir: &Path) -> Result<Workspace, CommandError> {
    Ok(Workspace::find(depot, &mounts::resolve(dir)?)?)
}

/// Whether a workspace can be worked in: its overlay is mounted, and what is below it answers.
fn is_open(dir: &Path, lower: &Path) -> Result<bool, CommandError> {
    Ok(cfs_fs::overlay::is_attached(dir)? && is_served(lower)? && mounts::health(dir)? == Health::Alive)
}

/// Whether a mount of cfs at `dir` answers.
fn is_served(dir: &Path) -> Result<bool, CommandError> {
    Ok(mounts::find(dir)?.is_some_and(|mount| mount.is_cfs()) && mounts::health(dir)? == Health::Alive)
}

/// The directory argument of most of these verbs.
#[derive(Debug, clap::Args)]
struct Place {
    /// The workspace's directory.
    dir: PathBuf,
}
