//! The mounts of a workspace: the store's own below, the overlay above.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cfs_fs::mounts::{self, MountsError};
use cfs_fs::overlay::{self, Driver, OverlayMountError};
use cfs_indexer::depot::Depot;
use cfs_indexer::workspace::Workspace;

use crate::context::Context;
use crate::report::{CommandError, Kind};

/// How often the lower mount is tried to be unmounted.
const TRIES: u32 = 50;
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Mounts both, whatever is left of earlier mounts. `wanted` is whose overlay it is to be.
pub(super) fn mount(
    workspace: &mut Workspace,
    wanted: Option<Driver>,
    depot: &Depot,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let dir = workspace.record.dir.clone();
    // What is mounted is of no use: the overlay, or what is below it, is dead. But who is still inside could write,
    // and two overlays must not share an upper directory.
    unmount(workspace, false, context)?;
    let mut entries = fs::read_dir(&dir).map_err(|error| CommandError::io("list", &dir, error))?;
    if entries.next().is_some() {
        let error = CommandError::new(Kind::Failed, format!("{}: is not empty", dir.display()));
        return Err(error.hint("a workspace would hide what is there; name an empty directory"));
    }
    let layers = workspace.layers();
    overlay::prepare(&layers, workspace.base(depot)?.1)?;
    let lower = workspace.lower_mount();
    let below = cfs(context, workspace, &["mount", "--below-overlay"], &lower);
    // One that was killed on the way may have brought it about.
    if below.is_err() && !super::is_served(&lower)? {
        return below;
    }
    let mounted = match wanted.or(workspace.record.driver) {
        Some(driver) => attach(workspace, driver),
        None => attach(workspace, Driver::Kernel).or_else(|refusal| {
            let error = match attach(workspace, Driver::Fuse) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Who may not mount overlays at all wants to know why the other way fails.
            Err(if is_permission(&refusal) { error } else { refusal })
        }),
    };
    if mounted.is_err() {
        // The overlay's error is what there is to say.
        let _ = unmount(workspace, true, context);
    }
    mounted.map_err(Failure::into_command)
}

enum Failure {
    Mount(OverlayMountError),
    Other(CommandError),
}

impl Failure {
    fn into_command(self) -> CommandError {
        match self {
            Self::Mount(error) => error.into(),
            Self::Other(error) => error,
        }
    }
}

fn attach(workspace: &mut Workspace, driver: Driver) -> Result<(), Failure> {
    // Known before anything can be written, since it decides how that is read.
    workspace.set_driver(driver).map_err(|error| Failure::Other(error.into()))?;
    overlay::attach(&workspace.layers(), &workspace.record.dir, driver).map_err(Failure::Mount)
}

fn is_permission(failure: &Failure) -> bool {
    matches!(failure, Failure::Mount(OverlayMountError::Kernel { source, .. })
        if source.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Unmounts both, as far as they are mounted, the upper one first.
pub(super) fn unmount(workspace: &Workspace, lazy: bool, context: &Context<'_>) -> Result<(), CommandError> {
    let dir = &workspace.record.dir;
    while overlay::is_attached(dir)? {
        mounts::unmount(dir, lazy).map_err(|error| {
            let busy = matches!(error, MountsError::Busy { .. });
            let error = CommandError::from(error);
            if busy {
                error.hint(
                    "close and discard unmount it all the same with --lazy; `fuser -vm` tells who uses it",
                )
            } else {
                error
            }
        })?;
    }
    let lower = workspace.lower_mount();
    if mounts::find(&lower)?.is_some_and(|mount| mount.is_cfs()) {
        let flags: &[&str] = if lazy { &["umount", "--lazy"] } else { &["umount"] };
        let mut tries = if workspace.record.driver == Some(Driver::Fuse) { TRIES } else { 1 };
        loop {
            tries -= 1;
            match cfs(context, workspace, flags, &lower) {
                // Unmounted, fuse-overlayfs still has files open for a moment.
                Err(_) if tries > 0 => std::thread::sleep(PAUSE),
                done => return done,
            }
        }
    }
    Ok(())
}

/// Runs this program with another verb. Its standard input is the workspace's lock, so that whoever comes next
/// waits for its end even if this process is killed.
fn cfs(context: &Context<'_>, workspace: &Workspace, verb: &[&str], dir: &Path) -> Result<(), CommandError> {
    let program = std::env::current_exe().map_err(|error| CommandError::io("find", "cfs".as_ref(), error))?;
    let mut command = Command::new(&program);
    command.arg("--store").arg(&context.settings.store).arg("--quiet");
    if let Some(config) = &context.settings.config {
        command.arg("--config").arg(config);
    }
    command.stdin(workspace.lock()?);
    let output = command.args(verb).arg("--").arg(dir).output();
    let output = output.map_err(|error| CommandError::io("run", &program, error))?;
    if output.status.success() {
        return Ok(());
    }
    let verb = verb.first().unwrap_or(&"cfs");
    let mut error = CommandError::new(Kind::Failed, format!("{}: `cfs {verb}` failed", dir.display()));
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        match line.strip_prefix("hint: ") {
            Some(hint) => error = error.hint(hint),
            None => error.details.push(line.trim_start_matches("error: ").to_owned()),
        }
    }
    Err(error)
}
