//! `cfs reindex`

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use cfs_indexer::reindex::reindex;
use serde_json::json;

use crate::context::Context;
use crate::interrupt;
use crate::output::count;
use crate::report::CommandError;

/// Rebuild the catalogue from the store alone.
///
/// From commit files, blobs and the copy of the reflog; of the old catalogue, which is kept in the directory
/// quarantine, what can still be trusted is used too. Nobody may use the store meanwhile, no mount and no export.
/// Digests that upstreams use are computed again when they are needed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would come of it.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs `cfs reindex`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let (output, stop) = (context.output, interrupt::flag()?);
    let bar = output.progress("reindex");
    let result = reindex(&context.settings.store, context.signer().now, args.dry_run, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let report = result?;
    if output.is_json() {
        return output.json(&json!({
            "dry_run": args.dry_run,
            "refs": report.refs, "moves": report.moves, "snapshots": report.snapshots, "whole": report.whole,
            "nodes": report.nodes, "blobs": report.blobs, "kept": report.kept, "lost": report.lost,
            "old": report.old,
        }));
    }
    let would = if args.dry_run { "would be " } else { "" };
    output.line(format_args!(
        "{would}rebuilt: {} refs, {} moves, {} snapshots ({} whole), {} nodes, {} blobs",
        count(report.refs),
        count(report.moves),
        count(report.snapshots),
        count(report.whole),
        count(report.nodes),
        count(report.blobs),
    ))?;
    report.lost.iter().try_for_each(|what| output.line(format_args!("lost: {what}")))?;
    if !report.kept.is_empty() {
        output.detail(format_args!("taken from the old catalogue: {}", report.kept.join(", ")));
    }
    if let Some(old) = &report.old {
        output.note(format_args!("the old catalogue is now {}", old.display()));
    }
    Ok(())
}
