//! `cfs backup`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use cfs_indexer::backup::{BackupError, Blobs, Report, backup};
use serde_json::json;

use crate::context::Context;
use crate::interrupt;
use crate::output::{count, size};
use crate::report::{CommandError, Kind};

/// Copy the store to a directory, which is a store then.
///
/// Everybody can go on working meanwhile, but for `cfs gc`. What the copy has already is not copied again, and
/// nothing in it is deleted. To restore, use the copy as the store, or back it up to where the store should be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A new directory, or an earlier copy.
    #[arg(value_name = "DIR")]
    target: PathBuf,

    /// What becomes of blobs.
    #[arg(long, value_enum, default_value_t = BlobsArg::Copy)]
    blobs: BlobsArg,

    /// Only count what would be copied.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What becomes of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BlobsArg {
    /// They are copied and verified.
    Copy,
    /// They get a second name on the same file system, which a bad disk does not respect.
    Link,
    /// They are left out: the catalogue, commit files and the reflog only.
    Leave,
}

/// Runs `cfs backup`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (output, stop) = (context.output, interrupt::flag()?);
    let blobs = match args.blobs {
        BlobsArg::Copy => Blobs::Copy,
        BlobsArg::Link => Blobs::Link,
        BlobsArg::Leave => Blobs::Leave,
    };
    let bar = output.progress("backup");
    let result = backup(&depot, &args.target, blobs, args.dry_run, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let report = result.map_err(failed)?;
    let Report { blobs, blob_bytes, known, commits, bad } = &report;
    let would = if args.dry_run { "would be " } else { "" };
    let text = format!(
        "{}: {} blobs ({}) and {} commit files {would}copied; {} blobs were there",
        args.target.display(),
        count(*blobs),
        size(*blob_bytes),
        count(*commits),
        count(*known),
    );
    let names: Vec<String> = bad.iter().map(ToString::to_string).collect();
    let value = json!({
        "target": args.target, "dry_run": args.dry_run, "blobs": blobs, "blob_bytes": blob_bytes, "known": known,
        "commits": commits, "bad": names,
    });
    output.result(text, &value)?;
    if names.is_empty() {
        return Ok(());
    }
    let error = format!("{} blobs are missing or damaged, and not in the copy", names.len());
    Err(CommandError { details: names, ..CommandError::new(Kind::Damaged, error) }
        .hint("`cfs fsck --level data --repair` may make them good"))
}

fn failed(error: BackupError) -> CommandError {
    match error {
        BackupError::Catalogue(error) => error.into(),
        error @ BackupError::Stopped => CommandError::new(Kind::Failed, error)
            .hint("what was copied stays; the next `cfs backup` goes on"),
        error => CommandError::new(Kind::Failed, error),
    }
}
