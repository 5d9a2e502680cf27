//! `cfs link`

use cfs_indexer::refname::RefName;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// Make a ref symbolic: another name for a ref, such as latest-Rocky-9.
///
/// Mounts show it as a symlink. Moving it later is one atomic step, and is logged as any move.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The symbolic ref.
    name: RefName,

    /// The ref it stands for.
    target: RefName,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,
}

/// Runs `cfs link`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_write(&args.name)?;
    let depot = context.depot()?;
    depot.catalogue.follow_ref(&args.target)?;
    let reason = format!("link {}", args.message);
    let generation = depot.catalogue.link(&args.name, &args.target, &context.signer(), reason.trim_end())?;
    context.flip(&depot);
    let value = json!({
        "ref": args.name.as_str(), "target": args.target.as_str(), "generation": generation,
    });
    context.output.result(format_args!("{} -> {}, generation {generation}", args.name, args.target), &value)
}
