//! `cfs filelist`

use cfs_indexer::filelist::{Format, history};
use cfs_indexer::revision::RevPath;

use crate::context::Context;
use crate::report::{CommandError, Kind};

/// Print a list of everything below a directory, as mirrors read it.
///
/// A list that the snapshot holds is printed as it is. For another directory one is made, in which the time of a
/// line is the later one of the file's own and the one at which it entered the ref.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory.
    #[arg(value_name = "REV[:PATH]")]
    place: RevPath,

    /// timelist (fullfiletimelist-*), filelist (fullfilelist) or imagelist (imagelist-*).
    #[arg(long, default_value = "timelist", value_name = "FORMAT")]
    format: Format,
}

/// Runs `cfs filelist`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let mut out = context.output.pipe();
    let told = history::tell(&depot, &args.place, args.format, &mut out);
    if out.result(told)? {
        return Ok(());
    }
    Err(CommandError::new(Kind::Failed, format!("{}: is not a directory", args.place)))
}
