//! `cfs work open`

use std::fs;
use std::path::PathBuf;

use cfs_fs::mounts;
use cfs_fs::overlay::Driver;
use cfs_indexer::revision::RevPath;
use cfs_indexer::workspace::Workspace;
use clap::ValueEnum;
use serde_json::json;

use super::layers;
use crate::context::Context;
use crate::report::{CommandError, Kind};

/// Open a directory of a snapshot as a writable directory.
///
/// At an empty directory. What programs write there is kept in the store's directory, or below --scratch, and
/// the snapshot stays as it is. After an unmount or a reboot the same command opens the workspace again, with
/// its changes, on the snapshot that it was opened on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of a snapshot.
    #[arg(value_name = "REV[:PATH]")]
    source: RevPath,

    /// Where it is to be seen: an empty directory.
    dir: PathBuf,

    /// Keep changes below this directory instead of in the store's. A local file system that is not an overlay
    /// itself is needed.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Whose overlay it is to be [default: the kernel's; fuse-overlayfs's where the kernel refuses].
    #[arg(long, value_name = "WHOSE")]
    overlay: Option<Whose>,
}

/// Whose overlay it is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    /// The kernel's: for root.
    Kernel,
    /// That of the program fuse-overlayfs: for everyone, but directories of the snapshot cannot be renamed.
    Fuse,
}

impl Whose {
    fn driver(self) -> Driver {
        match self {
            Self::Kernel => Driver::Kernel,
            Self::Fuse => Driver::Fuse,
        }
    }
}

/// Runs `cfs work open`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let dir = mounts::resolve(&args.dir)?;
    let refuse = |kind, text: &str| CommandError::new(kind, format!("{}: {text}", args.dir.display()));
    let root = depot.store.root();
    let root = root.canonicalize().map_err(|error| CommandError::io("find", root, error))?;
    if dir.starts_with(&root) || root.starts_with(&dir) {
        return Err(refuse(Kind::No, "a workspace and its store cannot be inside each other"));
    }
    let scratch = match &args.scratch {
        Some(scratch) => {
            Some(fs::canonicalize(scratch).map_err(|error| CommandError::io("find", scratch, error))?)
        }
        None => None,
    };
    let mut workspace = Workspace::open(&depot, &dir, &args.source, scratch.as_deref())?;
    let wanted = args.overlay.map(Whose::driver);
    if wanted.is_some() && !workspace.is_new && wanted != workspace.record.driver {
        return Err(refuse(Kind::No, "its changes are another overlay's").hint("leave out --overlay"));
    }
    let already = super::is_open(&dir, &workspace.lower_mount())?;
    if !already && let Err(error) = layers::mount(&mut workspace, wanted, &depot, context) {
        if workspace.is_new {
            // Nothing was written in it.
            workspace.discard()?;
        }
        return Err(error);
    }
    let record = &workspace.record;
    if let Ok((now, _)) = depot.catalogue.resolve(&args.source.revision)
        && now != record.snapshot
    {
        let text = format!(
            "{} is {} now; the workspace stays on {}",
            args.source.revision,
            now.short(),
            record.snapshot.short()
        );
        context.output.note(text);
    }
    let how = match (already, workspace.is_new) {
        (true, _) => "is open already",
        (false, true) => "opened",
        (false, false) => "opened again",
    };
    let driver = if record.driver == Some(Driver::Fuse) { "fuse" } else { "kernel" };
    context.output.result(
        format_args!("{}: {how}: {} (snapshot {})", args.dir.display(), record.source, record.snapshot),
        &json!({
            "dir": record.dir, "source": record.source.to_string(), "snapshot": record.snapshot.to_string(),
            "scratch": record.scratch, "overlay": driver, "new": workspace.is_new, "already_open": already,
        }),
    )
}
