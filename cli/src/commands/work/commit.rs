//! `cfs work commit`

use cfs_fs::import::Options;
use cfs_indexer::revision::RefPath;
use cfs_indexer::workspace::{Committed, Request, commit, plan};
use serde_json::json;

use super::Place;
use crate::commands::diff::{print_change, summary_json, summary_text};
use crate::context::Context;
use crate::output::{count, size};
use crate::report::CommandError;

/// Make what a workspace shows a path of a new snapshot of a ref.
///
/// Reads what has changed and nothing else; the rest is the snapshot's that was opened. The workspace stays
/// open and goes on. The target must be new, what the workspace was opened on, or what it committed last:
/// what others brought there meanwhile is never overwritten without --replace.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,

    /// The ref, and the path in it that becomes what the workspace shows. A new ref is created.
    #[arg(value_name = "REF[:PATH]")]
    target: RefPath,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Overwrite whatever the target is now.
    #[arg(long)]
    replace: bool,

    /// Print what has changed, and change nothing; with -v every path.
    #[arg(long)]
    dry_run: bool,

    /// Threads that read and hash [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs `cfs work commit`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_write(&args.target.name)?;
    let depot = context.depot()?;
    let mut workspace = super::find(&depot, &args.place.dir)?;
    let request = Request { target: &args.target, message: &args.message, replace: args.replace };
    let dir = args.place.dir.display();
    if args.dry_run {
        let mut printed = Ok(());
        let status = plan(&depot, &workspace, request, &mut |path, change| {
            if printed.is_ok() && context.output.is_verbose() {
                printed = print_change(context, path, &change);
            }
        })?;
        printed?;
        let text = format!("would commit {dir} to {}: {}", args.target, summary_text(&status.summary));
        let value = json!({
            "dry_run": true, "target": args.target.to_string(), "changes": summary_json(&status.summary),
        });
        return context.output.result(text, &value);
    }
    let options = Options {
        threads: args.threads.unwrap_or_else(Context::threads),
        started_ns: i64::try_from(Context::now_ns()).unwrap_or(i64::MAX),
    };
    let bar = context.output.progress("commit");
    let done = commit(&depot, &mut workspace, request, &context.signer(), options, &mut |p| {
        bar.set_length(p.bytes);
        bar.set_position(p.bytes_done);
        if p.files_done % 64 == 0 {
            bar.set_message(format!("{}/{} files", p.files_done, p.files));
        }
    });
    bar.finish_and_clear();
    let Committed { status, progress, update } = done?;
    let text = format!(
        "committed {dir} to {}: {} ({} files read, {} new)",
        args.target,
        summary_text(&status.summary),
        count(progress.files_read),
        size(progress.bytes_new),
    );
    let value = json!({
        "target": args.target.to_string(),
        "changes": summary_json(&status.summary),
        "files_read": progress.files_read,
        "bytes_new": progress.bytes_new,
        "changed": update.is_some(),
        "snapshot": update.as_ref().map(|update| update.id.to_string()),
        "generation": update.as_ref().map(|update| update.generation),
    });
    match update {
        Some(update) => {
            context.flip(&depot);
            let text = format!("{text}; snapshot {}, generation {}", update.id, update.generation);
            context.output.result(text, &value)
        }
        None => context.output.result(format_args!("{text}; nothing changed"), &value),
    }
}
