//! `cfs packages`

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use cfs_indexer::checksum::Algorithm;
use cfs_indexer::createrepo::{CreaterepoError, Progress, inventory};
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::interrupt;
use crate::report::{CommandError, Kind};

/// List the packages below a directory, with metadata or without.
///
/// What is printed comes from the packages themselves: name, epoch, version, release and architecture, and the
/// path; with --json also the source package, the key that is said to have signed it, size and digests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory.
    #[arg(value_name = "REV[:PATH]")]
    place: RevPath,
}

/// Runs `cfs packages`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let interrupted = interrupt::flag()?;
    let bar = context.output.progress("packages");
    let mut progress = |progress: &Progress| {
        bar.set_message(format!("{}/{}", progress.packages_done, progress.packages));
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = inventory(&depot, &args.place, Algorithm::Sha256, &mut progress);
    bar.finish_and_clear();
    let found = found.map_err(|error| match error {
        CreaterepoError::Promote(error) => error.into(),
        error => CommandError::new(Kind::Failed, error),
    })?;
    for member in &found.members {
        let signer = (!member.signer.is_empty()).then_some(&member.signer);
        let value = json!({
            "nevra": member.nevra.to_string(),
            "path": member.path,
            "source": member.source_rpm,
            "signer": signer,
            "bytes": member.size_bytes,
            "checksum": member.checksum.to_string(),
            "blob": member.blob.to_string(),
        });
        context.output.result(format_args!("{} {}", member.nevra, member.path), &value)?;
    }
    for broken in &found.broken {
        let place = &args.place;
        context.output.note(format_args!("warning: {place}: {} is left out: {}", broken.path, broken.reason));
    }
    Ok(())
}
