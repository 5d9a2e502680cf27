//! `cfs umount`

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use cfs_fs::mounts::{self, Health, Mount, MountsError};
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
    let Some(mount) = mounts::find(&dir)?.filter(Mount::is_cfs) else {
        let error = CommandError::new(Kind::Failed, format!("{shown}: is not a cfs mount"));
        let workspace = cfs_fs::overlay::is_attached(&dir)?;
        return Err(if workspace { error.hint("`cfs work close` unmounts a workspace") } else { error });
    };
    let daemon = daemon(&mount);
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

/// The process that serves a mount, if it lives. The number of one that died may be another's by now.
fn daemon(mount: &Mount) -> Option<OwnedFd> {
    let lives = mounts::health(&mount.dir).is_ok_and(|health| health == Health::Alive);
    pidfd_open(Pid::from_raw(mount.process().filter(|_| lives)?)?, PidfdFlags::empty()).ok()
}

fn has_ended(process: &OwnedFd) -> bool {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&patience)).is_ok_and(|count| count > 0)
}
