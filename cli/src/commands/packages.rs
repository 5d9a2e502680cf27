//! `cfs packages`

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use cfs_indexer::checksum::Algorithm;
use cfs_indexer::createrepo::{CreaterepoError, Progress, inventory};
use cfs_indexer::packages::{self, Capability, Conditions, Package};
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::interrupt;
use crate::report::{CommandError, Kind};

/// List the packages below a directory, with metadata or without.
///
/// What is printed comes from the packages themselves: name, epoch, version, release and architecture, and the
/// path; with --json also the source package, the key that is said to have signed it, size and digests. With a
/// condition, it comes from the metadata that the repositories at and below the directory publish.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory.
    #[arg(value_name = "REV[:PATH]")]
    place: RevPath,

    /// Only packages that provide this: a name, a name with a version ("lib >= 2"), or a path.
    #[arg(long, value_name = "WHAT")]
    whatprovides: Option<Capability>,

    /// Only packages that require this, in a rich dependency too.
    #[arg(long, value_name = "WHAT", visible_alias = "whatrequires")]
    requires: Option<Capability>,
}

/// Runs `cfs packages`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    if args.whatprovides.is_some() || args.requires.is_some() {
        let conditions = Conditions { provides: args.whatprovides.clone(), requires: args.requires.clone() };
        return packages::list(&depot, &args.place, &conditions, &mut |package| print(&package, context));
    }
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

/// Prints a package for which the conditions hold.
fn print(package: &Package, context: &Context<'_>) -> Result<(), CommandError> {
    let (nevra, path) = (package.nevra(), package.path());
    let value = json!({
        "nevra": nevra, "path": path, "repository": package.repository, "bytes": package.size_bytes,
        "checksum": package.checksum,
    });
    context.output.result(format_args!("{nevra} {path}"), &value)
}
