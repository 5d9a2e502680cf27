//! `cfs cat`

use cfs_fs::tree::Kind;
use cfs_indexer::revision::RevPath;

use crate::context::Context;
use crate::report::{self, CommandError};

/// Print a file of a snapshot.
///
/// Its bytes are verified against its name; exit status 4 after the last byte when they are not those.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file.
    #[arg(value_name = "REV:PATH")]
    place: RevPath,
}

/// Runs `cfs cat`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (_, item) = super::find(&depot, &args.place)?;
    let Kind::File { blob, .. } = item.kind else {
        return Err(CommandError::new(report::Kind::Failed, format!("{}: is not a file", args.place)));
    };
    let mut out = context.output.pipe();
    let copied = depot.store.copy_blob(blob, &mut out);
    out.result(copied).map(drop)
}
