//! `cfs demo`

use std::path::PathBuf;

use cfs_indexer::address::Address;

use crate::context::Context;
use crate::report::{CommandError, Kind};

mod attendant;
mod derived;
mod figures;
mod pass;
mod readers;
mod repodata;
mod scratch;
mod server;
mod source;
mod story;
mod upstream;
mod verdict;

use scratch::{MOUNT_POINT, STORE, Scratch};
use story::Story;

/// Show the main job from end to end, on a repository made for it or on yours.
///
/// An upstream of real packages is synced, promoted to staging and to production, and mounted. While
/// readers read complete repositories through the mount over and over, an update is synced and promoted,
/// and rolled back; each pass must have seen one compose, never a mixture of two.
///
/// All of it happens in a temporary directory (TMPDIR says where) with a store of its own, about the size
/// of the upstream. The store of --store is not touched, and nothing is left behind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Use this yum/dnf repository instead of one made on the spot. It is downloaded completely; its update
    /// is the same repository without one package, made here.
    #[arg(long, value_name = "URL-or-DIR")]
    upstream: Option<Address>,

    /// Work in this directory, absent or empty before, and leave the upstream and the store there.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Attend to the demo of another process in this directory.
    #[arg(long, value_name = "DIR", hide = true)]
    attend: Option<PathBuf>,
}

/// Runs `cfs demo`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    if let Some(root) = &args.attend {
        return attendant::attend(root, args.keep.is_some(), context);
    }
    let scratch = Scratch::new(args.keep.as_deref())?;
    let mut figures = Story::begin(context, &scratch)?.tell(args.upstream.as_ref())?;
    let root = scratch.root().to_owned();
    drop(scratch);
    if args.keep.is_none() && root.exists() {
        return Err(CommandError::new(Kind::Failed, format!("{}: cannot be removed", root.display())));
    }
    let total = format!("{:.1} s", figures.seconds);
    if args.keep.is_none() {
        return context.output.result(format_args!("done      in {total}; nothing is left behind"), &figures);
    }
    let (store, mnt) = (root.join(STORE), root.join(MOUNT_POINT));
    let (store, mnt) = (store.display(), mnt.display());
    let text = format!(
        "done      in {total}; the store and the upstream stay in {}. Look around with\n\n  \
         mkdir {mnt} && cfs --store {store} mount {mnt}\n  ls {mnt} {mnt}/views/production/9\n  \
         cfs --store {store} log production\n  cfs umount {mnt}",
        root.display()
    );
    figures.kept = Some(root);
    context.output.result(text, &figures)
}
