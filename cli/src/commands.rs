//! The verbs, one file each. A command never calls another one; what they share is a library's.

use cfs_fs::digest::SnapshotId;
use cfs_fs::tree::{Item, resolve};
use cfs_indexer::depot::Depot;
use cfs_indexer::revision::RevPath;
use clap::Subcommand;

use crate::context::Context;
use crate::report::{CommandError, Kind};

mod approve;
mod backup;
mod cat;
mod changelog;
mod checkout;
mod closure;
mod completions;
mod compose;
mod config;
mod demo;
mod diff;
mod filelist;
mod fsck;
mod gc;
mod hooks;
mod import;
mod init;
mod keeper;
mod link;
mod log;
mod ls;
mod metalink;
mod mount;
mod packages;
mod pin;
mod policy;
mod promote;
mod refs;
mod reindex;
mod repodata;
mod rollback;
mod rsyncd_config;
mod serve;
mod show;
mod stats;
mod sync;
mod umount;
mod work;

/// The verbs. What each says of itself stands on its `Args`.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Args),
    Sync(sync::Args),
    Import(import::Args),
    Compose(compose::Args),
    Checkout(checkout::Args),
    Promote(promote::Args),
    Rollback(rollback::Args),
    Policy(policy::Args),
    Approve(approve::Args),
    Hooks(hooks::Args),
    Link(link::Args),
    Refs(refs::Args),
    Log(log::Args),
    Show(show::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Diff(diff::Args),
    Packages(packages::Args),
    Changelog(changelog::Args),
    Closure(closure::Args),
    Filelist(filelist::Args),
    Metalink(metalink::Args),
    RsyncdConfig(rsyncd_config::Args),
    Stats(stats::Args),
    Pin(pin::Args),
    Unpin(pin::UnpinArgs),
    Gc(gc::Args),
    Fsck(fsck::Args),
    Reindex(reindex::Args),
    Backup(backup::Args),
    Config(config::Args),
    Keeper(keeper::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Work(work::Args),
    Repodata(repodata::Args),
    Serve(serve::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

impl Command {
    /// Whether a keeper does it for others: what it does to the store is up to a policy.
    pub fn is_kept(&self) -> bool {
        matches!(
            self,
            Command::Promote(_)
                | Command::Approve(_)
                | Command::Rollback(_)
                | Command::Policy(_)
                | Command::Link(_)
                | Command::Refs(_)
                | Command::Log(_)
                | Command::Show(_)
                | Command::Diff(_)
                | Command::Pin(_)
                | Command::Unpin(_)
        )
    }

    /// Whether it names a file of the host, which the user may be unable to read and the keeper not.
    pub fn names_file(&self) -> bool {
        match self {
            Command::Promote(args) => args.names_file(),
            Command::Approve(args) => args.names_file(),
            Command::Rollback(args) => args.key.is_some(),
            Command::Policy(args) => args.names_file(),
            _ => false,
        }
    }

    /// What is asked of a keeper first, when this is an approval that its user signs himself.
    pub fn to_be_signed(&self) -> Option<approve::ToBeSigned> {
        match self {
            Command::Approve(args) => args.to_be_signed(),
            _ => None,
        }
    }
}

/// Runs one verb.
pub fn run(command: Command, context: &Context<'_>) -> Result<(), CommandError> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Sync(args) => sync::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Compose(args) => compose::run(&args, context),
        Command::Checkout(args) => checkout::run(&args, context),
        Command::Promote(args) => promote::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Policy(args) => policy::run(&args, context),
        Command::Approve(args) => approve::run(&args, context),
        Command::Hooks(args) => hooks::run(&args, context),
        Command::Link(args) => link::run(&args, context),
        Command::Refs(args) => refs::run(&args, context),
        Command::Log(args) => log::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Packages(args) => packages::run(&args, context),
        Command::Changelog(args) => changelog::run(&args, context),
        Command::Closure(args) => closure::run(&args, context),
        Command::Filelist(args) => filelist::run(&args, context),
        Command::Metalink(args) => metalink::run(&args, context),
        Command::RsyncdConfig(args) => rsyncd_config::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Pin(args) => pin::run(&args, context),
        Command::Unpin(args) => pin::run_unpin(&args, context),
        Command::Gc(args) => gc::run(&args, context),
        Command::Keeper(args) => keeper::run(&args, context),
        Command::Fsck(args) => fsck::run(&args, context),
        Command::Reindex(args) => reindex::run(&args, context),
        Command::Backup(args) => backup::run(&args, context),
        Command::Config(args) => config::run(&args, context),
        Command::Mount(args) => mount::run(&args, context),
        Command::Umount(args) => umount::run(&args, context),
        Command::Work(args) => work::run(&args, context),
        Command::Repodata(args) => repodata::run(&args, context),
        Command::Serve(args) => serve::run(&args, context),
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
