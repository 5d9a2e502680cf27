//! `cfs show`

use cfs_indexer::revision::Revision;
use serde_json::json;

use super::policy;
use crate::context::Context;
use crate::output::{count, size, time};
use crate::report::CommandError;

/// Show a snapshot's record.
///
/// What it holds, where it comes from, who made it and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshot.
    #[arg(value_name = "REV")]
    revision: Revision,
}

/// Runs `cfs show`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let (id, snapshot) = context.depot()?.catalogue.resolve(&args.revision)?;
    let sums = snapshot.root.sums;
    let parents: Vec<String> = snapshot.parents.iter().map(ToString::to_string).collect();
    if context.output.is_json() {
        return context.output.json(&json!({
            "snapshot": id.to_string(),
            "root": snapshot.root.id.to_string(),
            "created": time(snapshot.created),
            "creator": snapshot.creator,
            "tool": snapshot.tool,
            "parents": parents,
            "files": sums.files,
            "dirs": sums.dirs,
            "symlinks": sums.symlinks,
            "bytes": sums.bytes,
            "meta": snapshot.meta,
            "access": snapshot.access.iter().map(|(path, rule)| policy::value(path.as_str(), rule)).collect::<Vec<_>>(),
            "message": snapshot.message,
        }));
    }
    let line =
        |key: &str, value: &dyn std::fmt::Display| context.output.line(format_args!("{key:10}{value}"));
    line("snapshot", &id)?;
    line("root", &snapshot.root.id)?;
    line("created", &time(snapshot.created))?;
    line("creator", &format_args!("{} with {}", snapshot.creator, snapshot.tool))?;
    parents.iter().try_for_each(|parent| line("parent", parent))?;
    line(
        "content",
        &format_args!(
            "{} files, {} directories, {} symlinks, {}",
            count(sums.files),
            count(sums.dirs),
            count(sums.symlinks),
            size(sums.bytes)
        ),
    )?;
    for (key, value) in &snapshot.meta {
        let mut parts = value.lines();
        line("meta", &format_args!("{key} = {}", parts.next().unwrap_or_default().trim_end()))?;
        parts.try_for_each(|part| line("", &format_args!("    {}", part.trim_end())))?;
    }
    snapshot
        .access
        .iter()
        .try_for_each(|(path, rule)| line("access", &format_args!("/{path}: {}", policy::text(rule))))?;
    if snapshot.message.is_empty() { Ok(()) } else { line("message", &snapshot.message) }
}
