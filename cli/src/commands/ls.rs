//! `cfs ls`

use cfs_fs::tree::{Item, Kind, for_each_entry};
use cfs_fs::walk::walk;
use cfs_indexer::revision::RevPath;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::CommandError;

/// List a directory of a snapshot.
///
/// In byte order of names; a directory's size is that of everything below it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory, or a file.
    #[arg(value_name = "REV[:PATH]")]
    place: RevPath,

    /// With mode, size and time.
    #[arg(short, long)]
    long: bool,

    /// With everything below.
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// Runs `cfs ls`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let (_, item) = super::find(&depot, &args.place)?;
    let mut print = |path: &str, item: &Item| print(args, context, path, item);
    match item.kind {
        Kind::Dir(dir) if args.recursive => walk(&depot.catalogue, dir, "", &mut print),
        Kind::Dir(dir) => {
            for_each_entry(&depot.catalogue, dir.id, &mut |entry| print(entry.name.as_str(), &entry.item))
        }
        _ => print(args.place.path.as_str(), &item),
    }
}

fn print(args: &Args, context: &Context<'_>, path: &str, item: &Item) -> Result<(), CommandError> {
    if context.output.is_json() {
        return context.output.json(&json_line(path, item));
    }
    if !args.long {
        return context.output.line(path);
    }
    let (mode, size, arrow) = match &item.kind {
        Kind::File { size_bytes, executable: true, .. } => ("-rwxr-xr-x", *size_bytes, None),
        Kind::File { size_bytes, .. } => ("-rw-r--r--", *size_bytes, None),
        Kind::Dir(dir) => ("drwxr-xr-x", dir.sums.bytes, None),
        Kind::Symlink { target } => ("lrwxrwxrwx", target.len() as u64, Some(target)),
    };
    let arrow = arrow.map(|target| format!(" -> {target}")).unwrap_or_default();
    context.output.line(format_args!("{mode} {size:>12} {} {path}{arrow}", time(item.mtime)))
}

fn json_line(path: &str, item: &Item) -> serde_json::Value {
    let mut value = json!({ "path": path, "mtime": item.mtime });
    match &item.kind {
        Kind::File { blob, size_bytes, executable } => {
            value["kind"] = "file".into();
            value["size"] = (*size_bytes).into();
            value["executable"] = (*executable).into();
            value["blob"] = blob.to_string().into();
        }
        Kind::Dir(dir) => {
            value["kind"] = "dir".into();
            value["bytes"] = dir.sums.bytes.into();
            value["node"] = dir.id.to_string().into();
        }
        Kind::Symlink { target } => {
            value["kind"] = "symlink".into();
            value["target"] = target.as_ref().into();
        }
    }
    value
}
