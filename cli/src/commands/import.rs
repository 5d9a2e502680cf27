//! `cfs import`

use std::path::PathBuf;

use cfs_fs::import::Options;
use cfs_indexer::import::import_dir;
use cfs_indexer::revision::RefPath;
use serde_json::json;

use crate::context::Context;
use crate::output::{count, size};
use crate::report::CommandError;

/// Make a host directory a path of a new snapshot of a ref.
///
/// A new ref is created. Symlinks, times (whole seconds) and the executable bit are kept. An unchanged file
/// is not read again, so an interrupted import is resumed by running it again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host directory.
    dir: PathBuf,

    /// The ref, and the path in it that the directory becomes.
    #[arg(value_name = "REF[:PATH]")]
    target: RefPath,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Threads that read and hash [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs `cfs import`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_write(&args.target.name)?;
    let depot = context.depot()?;
    let view = context.settings.configuration.1.view(&args.target.name);
    let options = Options {
        threads: args.threads.unwrap_or_else(Context::threads),
        started_ns: i64::try_from(Context::now_ns()).unwrap_or(i64::MAX),
    };
    let bar = context.output.progress("import");
    let why = (args.message.as_str(), &view.lists[..]);
    let done = import_dir(&depot, &args.dir, &args.target, &context.signer(), options, why, &mut |p| {
        bar.set_length(p.bytes);
        bar.set_position(p.bytes_done);
        if p.files_done % 64 == 0 {
            bar.set_message(format!("{}/{} files", p.files_done, p.files));
        }
    });
    bar.finish_and_clear();
    let (progress, update) = done?;
    if update.is_some() {
        context.flip(&depot);
    }
    let text = format!(
        "{} files, {} ({} read, {} new)",
        count(progress.files),
        size(progress.bytes),
        count(progress.files_read),
        size(progress.bytes_new),
    );
    let value = json!({
        "target": args.target.to_string(),
        "files": progress.files,
        "bytes": progress.bytes,
        "files_read": progress.files_read,
        "bytes_new": progress.bytes_new,
        "changed": update.is_some(),
        "snapshot": update.as_ref().map(|update| update.id.to_string()),
        "generation": update.as_ref().map(|update| update.generation),
    });
    match update {
        Some(update) => {
            let text =
                format!("{}: {text}; snapshot {}, generation {}", args.target, update.id, update.generation);
            context.output.result(text, &value)
        }
        None => context.output.result(format_args!("{}: {text}; nothing changed", args.target), &value),
    }
}
