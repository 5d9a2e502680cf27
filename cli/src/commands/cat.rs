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
    let mut out = Pipe { out: &mut *context.output.raw(), failed: None };
    let copied = depot.store.copy_blob(blob, &mut out);
    match out.failed {
        Some(error) => Err(CommandError::stdout(error)),
        None => Ok(copied.map(drop)?),
    }
}

/// Keeps apart the failures of standard output and those of the store.
struct Pipe<'a, W> {
    out: &'a mut W,
    failed: Option<std::io::Error>,
}

impl<W: std::io::Write> std::io::Write for Pipe<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
