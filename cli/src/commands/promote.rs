//! `cfs promote`

use cfs_indexer::promote::{Request, apply, plan};
use cfs_indexer::revision::{RefPath, RevPath};
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

use super::diff::{print_change, summary_json, summary_text};

/// Make a tree of one ref a path of another, atomically.
///
/// Readers see the old tree or the new one, never a mixture. The path becomes equal to the source, unless
/// --keep lets what the source lacks stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tree to be promoted.
    #[arg(value_name = "SRC[:PATH]")]
    source: RevPath,

    /// The ref, and the path in it that becomes the tree. A new ref is created.
    #[arg(value_name = "DST[:PATH]")]
    target: RefPath,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Keep what the target has and the source lacks.
    #[arg(long)]
    keep: bool,

    /// Print what would change, and change nothing; with -v every path.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `cfs promote`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let request = Request {
        source: args.source.clone(),
        target: args.target.clone(),
        keep: args.keep,
        message: args.message.clone(),
    };
    if args.dry_run {
        let plan = plan(&depot, &request, context.signer().now)?;
        let mut failed = Ok(());
        if context.output.is_verbose() {
            plan.changes(&depot, &mut |path, change| {
                if failed.is_ok() {
                    failed = print_change(context, path, &change);
                }
                Ok(())
            })?;
        }
        failed?;
        let summary = plan.summary(&depot)?;
        let text = format!("would promote {} to {}: {}", args.source, args.target, summary_text(&summary));
        let value = json!({
            "dry_run": true, "source": plan.source.to_string(), "target": args.target.to_string(),
            "changes": summary_json(&summary),
        });
        return context.output.result(text, &value);
    }
    let (plan, update) = apply(&depot, &request, &context.signer())?;
    let Some(update) = update else {
        let text = format!("{} equals {} already; nothing changed", args.target, args.source);
        return context.output.result(text, &json!({ "changed": false, "target": args.target.to_string() }));
    };
    let summary = plan.summary(&depot)?;
    let text = format!(
        "promoted {} to {}: {}; snapshot {}, generation {}",
        args.source,
        args.target,
        summary_text(&summary),
        update.id,
        update.generation
    );
    let value = json!({
        "changed": true,
        "source": plan.source.to_string(),
        "target": args.target.to_string(),
        "snapshot": update.id.to_string(),
        "generation": update.generation,
        "changes": summary_json(&summary),
    });
    context.output.result(text, &value)
}
