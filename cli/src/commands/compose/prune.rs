//! `cfs compose prune`

use cfs_indexer::compose::{Judged, Verdict, judge, prune};
use serde_json::json;

use crate::context::Context;
use crate::output::{count, time};
use crate::report::CommandError;

/// Delete composes that have had their time.
///
/// Composes of updates stay for a week, or as long as [retention] in the configuration says. Full composes, finished
/// ones, those of which a view has something, pinned ones and what a symbolic ref such as latest-Rocky-9 names stay.
/// REF@{1} is what a deleted compose named, until `cfs gc` finds it too old.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only show what would be deleted.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Show what stays, too, and why.
    #[arg(short, long)]
    all: bool,
}

/// Runs `cfs compose prune`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_delete()?;
    let depot = context.depot()?;
    let config = &context.settings.configuration.1;
    let signer = context.signer();
    let failed = |error| super::gather::error(error, None);
    let judged = judge(&depot, config, signer.now).map_err(failed)?;
    let going = judged.iter().filter(|judged| judged.verdict.goes()).count();
    if !args.dry_run && going > 0 {
        prune(&depot, &judged, &signer).map_err(failed)?;
        context.flip(&depot);
    }
    for judged in judged.iter().filter(|judged| args.all || judged.verdict.goes()) {
        print(judged, args.dry_run, context)?;
    }
    let what = if args.dry_run { "would be deleted" } else { "deleted" };
    let text = format!("{} of {} composes {what}", count(going as u64), count(judged.len() as u64));
    let value = json!({ "composes": judged.len(), "deleted": going, "dry_run": args.dry_run });
    context.output.result(text, &value)
}

fn print(judged: &Judged, is_dry: bool, context: &Context<'_>) -> Result<(), CommandError> {
    let Judged { name, generation, updated, verdict } = judged;
    let what = match (verdict.goes(), is_dry) {
        (false, _) => "stays",
        (true, true) => "would go",
        (true, false) => "is gone",
    };
    let until = match verdict {
        Verdict::Until(second) => Some(time(*second)),
        _ => None,
    };
    let end = until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
    let text = format!("{}  {name}  {what}: {verdict}{end}", time(*updated));
    let value = json!({
        "compose": name.to_string(),
        "generation": generation,
        "updated": updated,
        "goes": verdict.goes(),
        "why": verdict.to_string(),
        "until": until,
    });
    context.output.result(text, &value)
}
