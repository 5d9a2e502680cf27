//! `cfs rollback`

use std::path::PathBuf;

use cfs_fs::diff::{Summary, diff};
use cfs_fs::tree::NodeError;
use cfs_indexer::refname::RefName;
use cfs_indexer::revision::Revision;
use cfs_indexer::rollback::{Request, apply, plan};
use serde_json::json;

use super::diff::{summary_json, summary_text};
use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// Give a ref the tree it had before.
///
/// It becomes a new snapshot, one generation on; so a rollback can be rolled back too. Every repomd.xml that
/// changes back gets times newer than those that are withdrawn, so that mirrors and clients follow; its
/// signature is made by the view's sign hook, or dropped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ref.
    #[arg(value_name = "REF")]
    name: RefName,

    /// The snapshot whose tree it gets [default: the one before, REF@{1}].
    #[arg(long, value_name = "REV")]
    to: Option<Revision>,

    /// Bring the tree back byte by byte, with its old times. Mirror managers take that for stale.
    #[arg(long)]
    raw: bool,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// The SSH key to sign the move with, where the view has `signers` [default: the configuration's `signing-key`].
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Print what would happen, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs `cfs rollback`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (to, raw, message) = (args.to.clone(), args.raw, args.message.clone());
    let request = Request { name: args.name.clone(), to, raw, message };
    let plan = plan(&depot, &request)?;
    context.may(&plan.name)?;
    let (id, snapshot) = &plan.to;
    let what = format!("{} to {id} of {}", plan.name, time(snapshot.created));
    let mut value = json!({ "ref": plan.name.as_str(), "from": plan.from.0.to_string(), "to": id.to_string(), "raw": raw });
    let mut summary = Summary::default();
    diff(&depot.catalogue, plan.from.1.root, snapshot.root, &mut |_, change| {
        summary.add(&change);
        Ok::<(), NodeError>(())
    })?;
    value["changes"] = summary_json(&summary);
    let what = format!("{what}: {}", summary_text(&summary));
    if args.dry_run {
        value["dry_run"] = true.into();
        return context.output.result(format_args!("would roll back {what}"), &value);
    }
    if raw {
        let text = "mirror managers keep the newest times as the truth, and may call correct mirrors stale";
        context.output.note(format_args!("warning: --raw brings old times back; {text}"));
    }
    let config = &context.config_with(args.key.as_deref());
    let (stamped, update) = apply(&depot, config, &request, &plan, &context.signer())?;
    for one in stamped.iter().filter(|one| one.signature_dropped) {
        let text = "its signature holds no longer and was dropped; a sign hook would make another";
        context.output.note(format_args!("warning: {}:{}: {text}", plan.name, one.path));
    }
    for (path, error) in stamped.iter().filter_map(|one| Some((&one.path, one.unreadable.as_ref()?))) {
        context.output.note(format_args!("warning: {}:{path}: comes back as it was: {error}", plan.name));
    }
    value["changed"] = update.is_some().into();
    value["stamped"] = stamped.iter().map(|one| one.path.as_str()).collect::<Vec<_>>().into();
    match update {
        None => context
            .output
            .result(format_args!("{} has that tree already; nothing changed", plan.name), &value),
        Some(update) => {
            context.flip(&depot);
            value["snapshot"] = update.id.to_string().into();
            value["generation"] = update.generation.into();
            let text =
                format!("rolled back {what}; snapshot {}, generation {}", update.id, update.generation);
            context.output.result(text, &value)?;
            context.tell_hooks(&depot)
        }
    }
}
