//! `cfs rollback`

use cfs_indexer::refname::RefName;
use cfs_indexer::revision::Revision;
use cfs_indexer::rollback::{apply, plan};
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// Give a ref the tree it had before.
///
/// It becomes a new snapshot, one generation on; so a rollback can be rolled back too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ref.
    #[arg(value_name = "REF")]
    name: RefName,

    /// The snapshot whose tree it gets [default: the one before, REF@{1}].
    #[arg(long, value_name = "REV")]
    to: Option<Revision>,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Print what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `cfs rollback`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let plan = plan(&depot, &args.name, args.to.as_ref())?;
    let (id, snapshot) = &plan.to;
    let what = format!("{} to {id} of {}", plan.name, time(snapshot.created));
    let mut value =
        json!({ "ref": plan.name.as_str(), "from": plan.from.0.to_string(), "to": id.to_string() });
    if args.dry_run {
        value["dry_run"] = true.into();
        return context.output.result(format_args!("would roll back {what}"), &value);
    }
    let update = apply(&depot, &plan, &context.signer(), &args.message)?;
    value["changed"] = update.is_some().into();
    match update {
        None => context
            .output
            .result(format_args!("{} has that tree already; nothing changed", plan.name), &value),
        Some(update) => {
            value["snapshot"] = update.id.to_string().into();
            value["generation"] = update.generation.into();
            let text =
                format!("rolled back {what}; snapshot {}, generation {}", update.id, update.generation);
            context.output.result(text, &value)
        }
    }
}
