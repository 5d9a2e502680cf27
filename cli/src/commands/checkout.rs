//! `cfs checkout`

use std::path::PathBuf;

use cfs_fs::checkout::{How, checkout};
use cfs_fs::tree::Kind;
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::output::{count, size};
use crate::report::{self, CommandError};

/// Write a tree to a plain directory.
///
/// The directory must be absent or empty. Copied bytes are verified; where the file system can, files share
/// their extents with the store.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tree.
    #[arg(value_name = "REV[:PATH]")]
    source: RevPath,

    /// The directory to be made.
    dir: PathBuf,

    /// Link files to the store instead of copying: no space and no time, but modes and times are the
    /// store's, and writing to them would damage it.
    #[arg(long)]
    hardlink: bool,
}

/// Runs `cfs checkout`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (_, item) = super::find(&depot, &args.source)?;
    let Kind::Dir(dir) = item.kind else {
        let error = CommandError::new(report::Kind::No, format!("{}: is not a directory", args.source));
        return Err(error.hint("`cfs cat` prints a file"));
    };
    let bar = context.output.progress("checkout");
    bar.set_length(dir.sums.bytes);
    let how = if args.hardlink { How::Hardlink } else { How::Copy };
    let progress = |_, bytes| bar.set_position(bytes);
    let root = (dir, item.mtime);
    let done = checkout(&depot.catalogue, &depot.store, root, &args.dir, how, Context::threads(), &progress);
    bar.finish_and_clear();
    let done = done?;
    let text = format!(
        "{}: {} files, {} ({} sharing extents with the store)",
        args.dir.display(),
        count(done.files),
        size(done.bytes),
        count(done.reflinked)
    );
    let value =
        json!({ "dir": args.dir, "files": done.files, "bytes": done.bytes, "reflinked": done.reflinked });
    context.output.result(text, &value)
}
