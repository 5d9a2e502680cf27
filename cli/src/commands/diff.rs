//! `cfs diff`

use cfs_fs::diff::{Change, Summary, diff};
use cfs_fs::tree::{Dir, Kind};
use cfs_indexer::depot::Depot;
use cfs_indexer::promote::packages::{self, RepositoryChange};
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::output::{count, size};
use crate::report::{self, CommandError};

/// Show what differs between two trees.
///
/// A added, R removed, C changed; of packages also U upgraded. Exit status 1 when anything differs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The old tree.
    #[arg(value_name = "REV[:PATH]")]
    old: RevPath,

    /// The new tree.
    #[arg(value_name = "REV[:PATH]")]
    new: RevPath,

    /// Print counts instead of paths.
    #[arg(long)]
    stat: bool,

    /// Print which packages differ in the repositories of both trees, instead of paths.
    #[arg(long, conflicts_with = "stat")]
    packages: bool,
}

/// Runs `cfs diff`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (old, new) = (dir(&depot, &args.old)?, dir(&depot, &args.new)?);
    if args.packages {
        return packages_between(&depot, old, new, context);
    }
    let mut summary = Summary::default();
    diff(&depot.catalogue, old, new, &mut |path, change| {
        summary.add(&change);
        if args.stat {
            return Ok(());
        }
        print_change(context, path, &change)
    })?;
    if args.stat {
        context.output.result(summary_text(&summary), &summary_json(&summary))?;
    }
    if summary.is_empty() { Ok(()) } else { Err(CommandError::answered_no()) }
}

fn packages_between(depot: &Depot, old: Dir, new: Dir, context: &Context<'_>) -> Result<(), CommandError> {
    let changes = packages::between(depot, old, new)?;
    let mut same = true;
    for RepositoryChange { path, added, removed, upgraded, replaced } in &changes {
        let mut say = |letter: char, word: &str, package: &str, before: Option<&str>| {
            same = false;
            let arrow = before.map_or(String::new(), |before| format!("{before} -> "));
            let value = json!({ "change": word, "repository": path, "package": package, "before": before });
            let at = if path.is_empty() { "." } else { path };
            context.output.result(format_args!("{letter} {at}: {arrow}{package}"), &value)
        };
        added.iter().try_for_each(|package| say('A', "added", package, None))?;
        removed.iter().try_for_each(|package| say('R', "removed", package, None))?;
        upgraded.iter().try_for_each(|(before, package)| say('U', "upgraded", package, Some(before)))?;
        replaced.iter().try_for_each(|package| say('C', "replaced", package, None))?;
    }
    if same { Ok(()) } else { Err(CommandError::answered_no()) }
}

fn dir(depot: &Depot, place: &RevPath) -> Result<Dir, CommandError> {
    match super::find(depot, place)?.1.kind {
        Kind::Dir(dir) => Ok(dir),
        _ => Err(CommandError::new(report::Kind::Failed, format!("{place}: is not a directory"))),
    }
}

/// Prints one difference.
pub(super) fn print_change(
    context: &Context<'_>,
    path: &str,
    change: &Change<'_>,
) -> Result<(), CommandError> {
    let (letter, word, item) = match change {
        Change::Added(item) => ('A', "added", item),
        Change::Removed(item) => ('R', "removed", item),
        Change::Changed(_, item) => ('C', "changed", item),
    };
    let slash = if matches!(item.kind, Kind::Dir(_)) { "/" } else { "" };
    context.output.result(format_args!("{letter} {path}{slash}"), &json!({ "change": word, "path": path }))
}

/// Prints that the time of a tree's top differs.
pub(super) fn print_top(context: &Context<'_>) -> Result<(), CommandError> {
    context.output.result("C ./", &json!({ "change": "changed", "path": "." }))
}

/// Counts for people.
pub(super) fn summary_text(summary: &Summary) -> String {
    let parts = [("added", summary.added), ("removed", summary.removed), ("changed", summary.changed)];
    let parts = parts.map(|(word, sums)| {
        format!("{} {word} ({})", count(sums.files + sums.dirs + sums.symlinks), size(sums.bytes))
    });
    parts.join(", ")
}

/// Counts for programs.
pub(super) fn summary_json(summary: &Summary) -> serde_json::Value {
    let value = |sums: cfs_fs::tree::Sums| json!({ "files": sums.files, "dirs": sums.dirs, "symlinks": sums.symlinks, "bytes": sums.bytes });
    json!({
        "added": value(summary.added), "removed": value(summary.removed), "changed": value(summary.changed),
    })
}
