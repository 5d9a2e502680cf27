//! `cfs compose finalize`

use std::fmt::Write as _;

use cfs_indexer::compose::{ComposeError, finalize, latest};
use cfs_indexer::productmd::version::Version;
use cfs_indexer::refname::RefName;
use serde_json::json;

use super::{gather, recipe};
use crate::context::Context;
use crate::output::count;
use crate::report::{CommandError, Kind};

/// Finish a compose: nothing of it changes any more.
///
/// Images below work/isos, work/images and work/live go to compose/, those of a group beside its repositories; one
/// CHECKSUM for each of their directories, a manifest for each ISO, composeinfo.json, rpms.json, images.json,
/// modules.json and `extra_files.json` are written; STATUS says FINISHED. A compose that is not whole is refused, and
/// so is a file `*.CHECKSUM` beside images that says what is not so. Where the configuration says `productmd = "2.0"`,
/// these documents name every file with its size, its SHA-256 and, with `base-url`, its address.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release, as the configuration calls it.
    profile: String,

    /// The compose [default: the latest].
    #[arg(value_name = "COMPOSE")]
    compose: Option<RefName>,

    /// The composes of this special interest group.
    #[arg(long, value_name = "SIG")]
    sig: Option<String>,

    /// Print what there is to finish, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs `cfs compose finalize`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let recipe = recipe(&args.profile, args.sig.as_deref(), context)?;
    let depot = context.depot()?;
    let name = match &args.compose {
        Some(name) => name.clone(),
        None => {
            latest(&depot, &recipe).map_err(|error| gather::failed(error, &recipe))?.ok_or_else(|| {
                gather::failed(ComposeError::NoLatest { latest: recipe.latest.clone() }, &recipe)
            })?
        }
    };
    context.may_write(&name)?;
    let done = finalize(&depot, &recipe, &name, &context.signer(), args.dry_run);
    let done = done.map_err(|error| match error {
        ComposeError::NotWhole { .. } => {
            CommandError::new(Kind::No, error).hint("a sync that succeeds makes it whole")
        }
        error => gather::failed(error, &recipe),
    })?;
    let what = if args.dry_run { "would be finished" } else { "is finished" };
    let moved: Vec<String> = done.moved.iter().map(ToString::to_string).collect();
    let mut text =
        format!("{name}: {what}: {} packages, {} images", count(done.packages), count(done.images));
    // Where a group's compose will stand, the release does not say.
    let version = if recipe.group.is_none() { recipe.release.productmd } else { Version::Paths };
    if version == Version::Locations {
        let _ = write!(text, ", documents of version {}", Version::Locations);
    }
    let value = json!({
        "compose": name.to_string(),
        "packages": done.packages,
        "images": done.images,
        "moved": moved,
        "productmd": version,
        "warnings": done.warnings,
        "snapshot": done.update.as_ref().map(|update| update.id.to_string()),
        "generation": done.update.as_ref().map(|update| update.generation),
    });
    done.warnings.iter().for_each(|warning| context.output.note(format!("warning: {warning}")));
    context.output.result(text, &value)
}
