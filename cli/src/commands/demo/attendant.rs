//! The demo's second process: it serves the mount and tidies up, whatever becomes of the first one.
//!
//! Always true: it ends when its standard input does, that is when the first process has ended or was killed,
//! and then nothing is mounted and, unless it is to be kept, nothing is left of the directory. Readers that
//! live in the process which serves their mount could not even be killed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cfs_fs::follow::{self, Follower};
use cfs_fs::fuse::{self, Mounted};
use cfs_fs::mounts;
use cfs_fs::tree::cache::{CACHE_BYTES, CachedNodes};
use cfs_fs::view::{Options, View};
use cfs_indexer::depot::Depot;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::context::Context;
use crate::output;
use crate::report::{CommandError, Kind};

use super::scratch::{MOUNT_POINT, STORE};

/// The word that asks for the mount.
pub const MOUNT: &str = "mount";
/// The answer when it is there; any other is the reason why it is not.
pub const READY: &str = "ready";
/// Requests that wait for the disk must not keep those that need not waiting.
const THREADS_MIN: usize = 4;

/// Serves the demo that takes place in the directory `root` until it ends.
pub fn attend(root: &Path, keep: bool, context: &Context<'_>) -> Result<(), CommandError> {
    // What ends the first process ends this one, after it.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .map_err(|e| CommandError::io("catch signals for", root, e))?;
    }
    let mut mounted = None;
    for word in io::stdin().lines() {
        if word.is_ok_and(|word| word == MOUNT) {
            let answer = mount(root).map_or_else(
                |reason| reason,
                |mount| {
                    mounted = Some(mount);
                    READY.to_owned()
                },
            );
            context.output.line(answer.replace('\n', " "))?;
            context.output.finish()?;
        }
    }
    if let Some(mounted) = mounted {
        let dir = root.join(MOUNT_POINT);
        // Somebody else may be looking at it; it goes anyway, and they meet errors.
        let gone = mounts::unmount(&dir, false).or_else(|_| mounts::unmount(&dir, true));
        gone.map_err(|e| CommandError::new(Kind::Failed, e))?;
        drop(mounted);
    }
    tidy(root, keep)
}

/// Removes the mount point, and everything unless it is to be kept.
pub fn tidy(root: &Path, keep: bool) -> Result<(), CommandError> {
    let mount_point = root.join(MOUNT_POINT);
    let (gone, path) =
        if keep { (fs::remove_dir(&mount_point), &*mount_point) } else { (fs::remove_dir_all(root), root) };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CommandError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Mounts all of the store, or says why it cannot.
fn mount(root: &Path) -> Result<(Mounted, Follower), String> {
    let depot = Depot::open(&root.join(STORE)).map_err(|e| e.to_string())?;
    let catalogue = Arc::new(depot.catalogue);
    let nodes = CachedNodes::new(Arc::clone(&catalogue), CACHE_BYTES);
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let view = View::new(catalogue, nodes, depot.store, Options { uid, gid, ..Options::default() });
    let threads = Context::threads().max(THREADS_MIN);
    let settings = fuse::Settings {
        allow_other: false,
        threads,
        transport: fuse::Transport::Auto,
        passthrough: true,
        below_overlay: false,
    };
    let report = Arc::new(|text: &str| output::error(text));
    let dir = root.join(MOUNT_POINT);
    let mounted = follow::mount(Arc::new(view), &dir, settings, "demo", Vec::new(), report);
    mounted.map_err(|error| whole_text(&error))
}

/// An error with everything that led to it.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
