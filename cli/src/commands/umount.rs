//! `cfs umount`

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cfs_fs::mounts::{self, DAEMON_LABEL, MountsError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use crate::context::Context;
use crate::report::{CommandError, Kind};

/// How long the process that served the mount is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Unmount a file system of cfs.
///
/// Waits until the process that served it has ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The mount point.
    dir: PathBuf,

    /// Unmount even when somebody is inside: the name is free at once, and the mount ends with its last user.
    #[arg(long)]
    lazy: bool,
}

/// Runs `cfs umount`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let dir = mounts::resolve(&args.dir)?;
    let shown = args.dir.display();
    if !mounts::find(&dir)?.is_some_and(|mount| mount.is_cfs()) {
        let error = CommandError::new(Kind::Failed, format!("{shown}: is not a cfs mount"));
        let workspace = cfs_fs::overlay::is_attached(&dir)?;
        return Err(if workspace { error.hint("`cfs work close` unmounts a workspace") } else { error });
    }
    let daemon = daemon(&dir);
    mounts::unmount(&dir, args.lazy).map_err(|error| {
        let busy = matches!(error, MountsError::Busy { .. });
        let error = CommandError::from(error);
        if busy {
            error.hint("--lazy unmounts it all the same; `fuser -vm` tells who uses it")
        } else {
            error
        }
    })?;
    if let Some(daemon) = daemon.filter(|_| !args.lazy)
        && !has_ended(&daemon)
    {
        let text = format!("{shown}: is unmounted, but its process has not ended in {PATIENCE:?}");
        return Err(CommandError::new(Kind::Failed, text));
    }
    context.output.result(format_args!("unmounted {shown}"), &json!({ "dir": dir }))
}

/// The process that serves a mount, if it lives and may be asked.
fn daemon(dir: &Path) -> Option<OwnedFd> {
    let mut text = [0; 20];
    let len = rustix::fs::getxattr(dir, DAEMON_LABEL, &mut text).ok()?;
    let number = std::str::from_utf8(text.get(..len)?).ok()?.parse().ok()?;
    pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()
}

fn has_ended(process: &OwnedFd) -> bool {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&patience)).is_ok_and(|count| count > 0)
}
