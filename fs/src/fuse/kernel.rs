//! The calls into the kernel that the language cannot check: the one file with `unsafe` code.
//!
//! Always true: what is exported is safe to call with any arguments. Everything that has to be believed is
//! written beside the place where it is believed.
#![expect(unsafe_code, reason = "no safe interface offers these calls; each says why it is sound")]

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, opcode};

/// The group of the device's calls.
const GROUP: u8 = 229;

/// Makes `device`, just opened, another channel of the connection of `session`.
pub(super) fn join(device: &OwnedFd, session: BorrowedFd<'_>) -> Result<(), Errno> {
    const CLONE: Opcode = opcode::read::<u32>(GROUP, 0);
    let number = session.as_raw_fd().cast_unsigned();
    // SAFETY: FUSE_DEV_IOC_CLONE takes a pointer to a u32, the number of a descriptor, and writes nothing.
    unsafe { rustix::ioctl::ioctl(device, Setter::<CLONE, u32>::new(number)) }
}

/// `struct fuse_backing_map`.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// A call whose answer is what it returns.
struct BackingOpen(BackingMap);

// SAFETY: FUSE_DEV_IOC_BACKING_OPEN reads a `struct fuse_backing_map`, which `as_ptr` points to, and writes
// nothing; its result is the value it returns, so `output_from_ptr` looks at no pointer.
unsafe impl Ioctl for BackingOpen {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<BackingMap>(GROUP, 1)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<i32, Errno> {
        Ok(output)
    }
}

/// Lets the kernel take `file` as a backing, and returns its number. `file` may be closed then.
pub(super) fn open_backing(device: &OwnedFd, file: BorrowedFd<'_>) -> Result<i32, Errno> {
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: see the implementation of `Ioctl`; on another device the call is refused.
    unsafe { rustix::ioctl::ioctl(device.as_fd(), BackingOpen(map)) }
}

/// Lets the kernel give a backing back.
pub(super) fn close_backing(device: &OwnedFd, backing: i32) -> Result<(), Errno> {
    const CLOSE: Opcode = opcode::write::<u32>(GROUP, 2);
    // SAFETY: FUSE_DEV_IOC_BACKING_CLOSE takes a pointer to a u32 and writes nothing.
    unsafe { rustix::ioctl::ioctl(device, Setter::<CLOSE, u32>::new(backing.cast_unsigned())) }
}
