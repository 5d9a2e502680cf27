//! `cfs metalink`

use std::fs;
use std::path::PathBuf;

use cfs_fs::name::TreePath;
use cfs_indexer::metalink::{self, Limits};
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// Print a metalink for a repomd.xml: its digests, those it had before, and the mirrors that serve it.
///
/// With it, dnf takes the metadata of a mirror that is a step behind, and refuses what was never published.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repomd.xml.
    #[arg(value_name = "REV:PATH")]
    place: RevPath,

    /// File with a mirror in each line: address, country (DE) and preference (0 to 100); only the address must be
    /// there. What follows # is a remark.
    #[arg(long, value_name = "FILE")]
    mirrors: PathBuf,

    /// The directory of the view that the addresses are those of [default: the top].
    #[arg(long, value_name = "PATH", default_value = "")]
    base: TreePath,

    /// The most alternates.
    #[arg(long, value_name = "N", default_value_t = 10)]
    alternates: usize,

    /// Metadata that was replaced so many days ago is no alternate any more.
    #[arg(long, value_name = "DAYS", default_value_t = 4)]
    days: u32,
}

/// Runs `cfs metalink`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let path = match args.base.as_str() {
        "" => Some(args.place.path.as_str()),
        base => args.place.path.as_str().strip_prefix(base).and_then(|rest| rest.strip_prefix('/')),
    };
    let outside = || CommandError::usage(format!("{} is not below {}", args.place.path, args.base));
    let path = path.ok_or_else(outside)?;
    let text = fs::read_to_string(&args.mirrors);
    let text = text.map_err(|error| CommandError::io("read", &args.mirrors, error))?;
    let mirrors = metalink::mirrors(&text)
        .map_err(|error| CommandError::usage(format!("{}: {error}", args.mirrors.display())))?;
    let depot = context.depot()?;
    let now = context.signer().now;
    let limits = Limits { count: args.alternates, since: now - i64::from(args.days) * 86_400 };
    let versions = metalink::versions(&depot, &args.place, limits)?;
    let document = metalink::write(&versions, &mirrors, path, now);
    if context.output.is_json() {
        return context.output.json(&json!({ "versions": versions.len(), "metalink": document }));
    }
    context.output.line(document.trim_end())
}
