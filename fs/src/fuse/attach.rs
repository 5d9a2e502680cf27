//! The mount point: from a directory to a connection with the kernel.
//!
//! Always true: what is mounted is read-only, without devices and set-user-id programs, and the kernel checks
//! permissions by itself. Users who may not mount do it through the helper `fusermount3`.

use std::ffi::CString;
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use crate::mounts;

/// The device that connections are made with.
pub(super) const DEVICE: &str = "/dev/fuse";
/// By this name the helper knows the socket that it sends the connection through.
const HELPER_SOCKET: &str = "_FUSE_COMMFD";

/// Mounts at `dir` and returns the connection. The kernel's first question waits in it.
pub(super) fn attach(dir: &Path, allow_other: bool) -> io::Result<OwnedFd> {
    match attach_directly(dir, allow_other) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => attach_by_helper(dir, allow_other),
        attached => attached,
    }
}

/// Opens the device, for a connection or another channel of one.
pub(super) fn open_device() -> io::Result<OwnedFd> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| io::Error::new(io::Error::from(errno).kind(), format!("{DEVICE}: {errno}")))
}

fn attach_directly(dir: &Path, allow_other: bool) -> io::Result<OwnedFd> {
    let device = open_device()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // The type of the top directory; its permissions are asked for.
    let mode = fs::metadata(dir)?.mode() & 0o170_000;
    let mut options = format!("fd={},rootmode={mode:o},user_id={uid},group_id={gid}", device.as_raw_fd());
    options += ",default_permissions";
    if allow_other {
        options += ",allow_other";
    }
    let kind = format!("fuse.{}", mounts::SUBTYPE);
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(mounts::source(), dir, kind, flags, CString::new(options)?.as_c_str())?;
    Ok(device)
}

fn attach_by_helper(dir: &Path, allow_other: bool) -> io::Result<OwnedFd> {
    let (own, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::CLOEXEC)?;
    let (source, subtype) = (mounts::source(), mounts::SUBTYPE);
    let mut options = format!("ro,nosuid,nodev,default_permissions,fsname={source},subtype={subtype}");
    if allow_other {
        options += ",allow_other";
    }
    let mut helper = Command::new(mounts::HELPER);
    helper.args(["-o", &options, "--"]).arg(dir).env(HELPER_SOCKET, other.as_raw_fd().to_string());
    helper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let helper = helper.spawn().map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", mounts::HELPER)))?;
    drop(other);
    let received = receive(&own);
    let output = helper.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    match received? {
        Some(device) if output.status.success() => {
            rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::CLOEXEC)?;
            Ok(device)
        }
        _ if said.is_empty() => Err(io::Error::other(format!("{}: {}", mounts::HELPER, output.status))),
        _ => Err(io::Error::other(said)),
    }
}

/// The descriptor that comes through a socket, before its other end is closed.
fn receive(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}
