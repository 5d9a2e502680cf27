//! `cfs init`

use cfs_fs::sweep;
use cfs_indexer::depot::Depot;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// Make a new, empty store.
///
/// It is made where --store says; the directory must be absent or empty.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `cfs init`.
pub fn run(_: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = Depot::create(&context.settings.store)?;
    let root = depot.store.root();
    sweep::keep_ballast(root)?;
    context
        .output
        .result(format_args!("made an empty store in {}", root.display()), &json!({ "store": root }))
}
