//! `cfs gc`

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use cfs_fs::sweep;
use cfs_indexer::config::Age;
use cfs_indexer::depot::Depot;
use cfs_indexer::gc::{self, Amount, GcError, Options, Phase, Progress, Report};
use serde_json::{Value, json};

use crate::context::Context;
use crate::interrupt;
use crate::output::{count, size, time};
use crate::report::{CommandError, Kind};

/// Delete what nobody needs any more.
///
/// What refs name and named lately, pins, workspaces and what mounts and exports show stays. The rest is condemned
/// now and deleted by a later run, when its grace is over and still nobody needs it. Everybody can go on working
/// meanwhile. Whatever ends a run, the next one goes on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only show what would be condemned and deleted.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// How long something stays after it was found useless [default: the configuration's, or 24h].
    #[arg(long, value_name = "TIME")]
    grace: Option<Age>,

    /// What a ref named in this time stays [default: the configuration's, or 90d].
    #[arg(long, value_name = "TIME")]
    keep: Option<Age>,

    /// So many generations of each ref stay, however old [default: the configuration's, or 10].
    #[arg(long, value_name = "N")]
    keep_generations: Option<u64>,

    /// Delete even more than a tenth of all blobs or nodes.
    #[arg(long)]
    yes: bool,

    /// Work on a full disk: give the room back that `cfs init` has reserved, and reserve it again when there is
    /// enough.
    #[arg(long)]
    emergency: bool,
}

/// Objects that are deleted at once where every page counts.
const EMERGENCY_BATCH: usize = 50;

/// Runs `cfs gc`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_delete()?;
    let root = &context.settings.store;
    if args.emergency && !args.dry_run && sweep::drop_ballast(root)? {
        context.output.detail("the reserved room is free");
    }
    // A catalogue on a full disk cannot even be opened before.
    let depot = context.depot()?;
    let options = options(args, context);
    let stop = interrupt::flag()?;
    let bar = context.output.progress("gc");
    let result = gc::collect(&depot, &options, &mut |progress| {
        show(&bar, &progress);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let report = result.map_err(failed)?;
    if !args.dry_run {
        reserve(&depot, args, context);
    }
    print(&report, args, context)
}

fn options(args: &Args, context: &Context<'_>) -> Options {
    let configured = &context.settings.configuration.1.gc;
    let default = Options::default();
    let seconds = |given: Option<Age>, configured: Option<Age>, default: i64| {
        given.or(configured).map_or(default, |age| age.seconds.into())
    };
    Options {
        now: context.signer().now,
        keep_seconds: seconds(args.keep, configured.keep, default.keep_seconds),
        keep_generations: args
            .keep_generations
            .or(configured.generations)
            .unwrap_or(default.keep_generations),
        grace_seconds: seconds(args.grace, configured.grace, default.grace_seconds),
        dry_run: args.dry_run,
        confirmed: args.yes,
        batch: if args.emergency { EMERGENCY_BATCH } else { default.batch },
        ..default
    }
}

fn reserve(depot: &Depot, args: &Args, context: &Context<'_>) {
    match sweep::keep_ballast(depot.store.root()) {
        Ok(false) if args.emergency => {
            context.output.note("there is not enough space to reserve room for the next full disk");
        }
        // The collection is done whatever comes of this.
        _ => {}
    }
}

fn show(bar: &indicatif::ProgressBar, progress: &Progress) {
    let what = match progress.phase {
        Phase::Marking => "marks nodes",
        Phase::Looking => "looks at blobs",
        Phase::Condemning => "condemns",
        Phase::Collecting => "gives up snapshots",
        Phase::Nodes => "deletes nodes",
        Phase::Blobs => "deletes blobs",
        Phase::Remains => "tidies up",
    };
    bar.set_length(progress.total.unwrap_or(0));
    bar.set_position(progress.done);
    bar.set_message(match progress.total {
        Some(total) => format!("{what} {}/{}", count(progress.done), count(total)),
        None => format!("{what} {}", count(progress.done)),
    });
}

fn print(report: &Report, args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let output = context.output;
    if output.is_json() {
        return output.json(&json!({
            "dry_run": args.dry_run,
            "roots": report.roots,
            "kept": amount(&report.kept),
            "condemned": amount(&report.condemned),
            "waiting": amount(&report.waiting),
            "next": report.next,
            "leases": report.leases,
            "deleted": amount(&report.deleted),
            "deleted_bytes": report.deleted.bytes(),
        }));
    }
    for (what, number) in &report.roots {
        output.detail(format_args!("roots: {} of {what}", count(*number)));
    }
    let would = if args.dry_run { "would be " } else { "" };
    let line = |verb: &str, amount: &Amount| output.line(format_args!("{verb}: {}", words(amount)));
    line("kept", &report.kept)?;
    line(&format!("{would}condemned"), &report.condemned)?;
    line("waiting", &report.waiting)?;
    line(&format!("{would}deleted"), &report.deleted)?;
    if let Some(next) = report.next {
        output.note(format_args!("the next run after {} may delete more", time(next)));
    }
    if !report.leases.is_empty() {
        let names = report.leases.join(", ");
        output.note(format_args!("some of it may be in use by running processes (process-number: {names})"));
    }
    Ok(())
}

fn amount(amount: &Amount) -> Value {
    json!({
        "snapshots": amount.snapshots,
        "nodes": amount.nodes, "node_bytes": amount.node_bytes,
        "blobs": amount.blobs, "blob_bytes": amount.blob_bytes,
        "files": amount.files, "file_bytes": amount.file_bytes,
    })
}

fn words(amount: &Amount) -> String {
    let parts = [
        (amount.snapshots, "snapshots", None),
        (amount.nodes, "nodes", Some(amount.node_bytes)),
        (amount.blobs, "blobs", Some(amount.blob_bytes)),
        (amount.files, "other files", Some(amount.file_bytes)),
    ];
    let words: Vec<String> = parts
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, what, bytes)| match bytes.filter(|bytes| *bytes > 0) {
            Some(bytes) => format!("{} {what} ({})", count(number), size(bytes)),
            None => format!("{} {what}", count(number)),
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn failed(error: GcError) -> CommandError {
    match error {
        GcError::Catalogue(error) => error.into(),
        GcError::Workspace(error) => error.into(),
        GcError::CommitFile(error) => CommandError::new(Kind::Damaged, error),
        error @ GcError::TooMuch { .. } => CommandError::new(Kind::No, error)
            .hint("`cfs gc --dry-run` shows it, and --yes deletes it; has a ref been lost?"),
        error @ GcError::Stopped => {
            CommandError::new(Kind::Failed, error).hint("nothing is lost; the next `cfs gc` goes on")
        }
        error @ GcError::Busy { .. } => CommandError::new(Kind::Failed, error),
    }
}
