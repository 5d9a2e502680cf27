//! The verbs, one file each. A command never calls another one; what they share is a library's.

use cfs_fs::digest::SnapshotId;
use cfs_fs::tree::{Item, resolve};
use cfs_indexer::depot::Depot;
use cfs_indexer::revision::RevPath;
use clap::Subcommand;

use crate::context::Context;
use crate::report::{CommandError, Kind};

mod cat;
mod checkout;
mod completions;
mod demo;
mod diff;
mod import;
mod init;
mod link;
mod log;
mod ls;
mod mount;
mod promote;
mod refs;
mod rollback;
mod show;
mod stats;
mod sync;
mod umount;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new, empty store.
    Init(init::Args),
    /// Make a yum/dnf repository a path of a new snapshot of a ref.
    Sync(sync::Args),
    /// Make a host directory a path of a new snapshot of a ref.
    Import(import::Args),
    /// Write a tree to a plain directory.
    Checkout(checkout::Args),
    /// Make a tree of one ref a path of another, atomically.
    Promote(promote::Args),
    /// Give a ref the tree it had before.
    Rollback(rollback::Args),
    /// Make a ref symbolic: another name for a ref, such as latest-Rocky-9.
    Link(link::Args),
    /// List the refs.
    Refs(refs::Args),
    /// Show how a ref has moved.
    Log(log::Args),
    /// Show a snapshot's record.
    Show(show::Args),
    /// List a directory of a snapshot.
    Ls(ls::Args),
    /// Print a file of a snapshot.
    Cat(cat::Args),
    /// Show what differs between two trees.
    Diff(diff::Args),
    /// Count what is stored.
    Stats(stats::Args),
    /// Show refs and snapshots as a file system.
    Mount(mount::Args),
    /// Unmount a file system of cfs.
    Umount(umount::Args),
    /// Show the main job from end to end, on a repository made for it or on yours.
    ///
    /// An upstream of real packages is synced, promoted to staging and to production, and mounted. While
    /// readers read complete repositories through the mount over and over, an update is synced and promoted,
    /// and rolled back; each pass must have seen one compose, never a mixture of two.
    ///
    /// All of it happens in a temporary directory (TMPDIR says where) with a store of its own, about the size
    /// of the upstream. The store of --store is not touched, and nothing is left behind.
    Demo(demo::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
}

/// Runs one verb.
pub fn run(command: Command, context: &Context<'_>) -> Result<(), CommandError> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Sync(args) => sync::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Checkout(args) => checkout::run(&args, context),
        Command::Promote(args) => promote::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Link(args) => link::run(&args, context),
        Command::Refs(args) => refs::run(&args, context),
        Command::Log(args) => log::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Mount(args) => mount::run(&args, context),
        Command::Umount(args) => umount::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}

/// Returns what stands at `place`, with its snapshot.
fn find(depot: &Depot, place: &RevPath) -> Result<(SnapshotId, Item), CommandError> {
    let (id, snapshot) = depot.catalogue.resolve(&place.revision)?;
    match resolve(&depot.catalogue, &snapshot.root_item(), &place.path)? {
        Some(item) => Ok((id, item)),
        None => Err(CommandError::new(Kind::Failed, format!("{place}: there is no such path"))),
    }
}
