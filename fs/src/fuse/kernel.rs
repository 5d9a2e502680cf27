//! The calls into the kernel that the language cannot check: the one file with `unsafe` code.
//!
//! Always true: what is exported is safe to call with any arguments. Everything that has to be believed is
//! written beside the place where it is believed.
#![expect(unsafe_code, reason = "no safe interface offers these calls; each says why it is sound")]

use std::collections::VecDeque;
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fmt, io, mem};

use io_uring::opcode::UringCmd80;
use io_uring::{IoUring, cqueue, squeue, types};
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

/// Gives memory that is free in this process back to the system, which the allocator does not do by itself while
/// something above it is in use.
pub(crate) fn release_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad_bytes: usize) -> i32;
        }
        // Whether there was any is nobody's concern.
        let _ = malloc_trim(0);
    }
}

/// Length of the header that a question in a ring has (`struct fuse_uring_req_header`): at its front is the
/// header that questions have anyway, or the answer's.
pub(super) const RING_HEADER_BYTES: usize = 288;
/// Where the part of fixed length begins in it.
pub(super) const RING_HEAD_AT: usize = 128;
/// Where the number of the entry stands in it.
pub(super) const RING_COMMIT_AT: usize = 264;
/// Where the length of what follows stands in it.
pub(super) const RING_LENGTH_AT: usize = 272;

/// Commands that a ring carries to the device.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// `struct iovec`.
#[repr(C)]
struct Piece {
    at: *mut c_void,
    bytes: usize,
}

/// Memory that the kernel puts a question into and takes the answer from.
struct Slot {
    /// The kernel's queue: the number of a processor.
    queue: u16,
    headers: NonNull<[u8; RING_HEADER_BYTES]>,
    room: NonNull<[u8]>,
    /// The question in it waits for an answer; else it is the kernel's.
    is_ours: bool,
    is_lost: bool,
}

/// A ring through which questions come, for the thread that made it.
pub(super) struct Ring {
    queues: IoUring<squeue::Entry128, cqueue::Entry>,
    session: Arc<OwnedFd>,
    slots: Vec<Slot>,
    /// Numbers of slots, each with what became of it, in the order of the kernel.
    arrived: VecDeque<(u64, i32)>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring with a slot for each of `queues`, with room for `room_bytes`. Nothing is registered yet. The
    /// memory of the slots is the kernel's until the process ends, so it is never freed.
    pub(super) fn new(session: Arc<OwnedFd>, queues: &[u16], room_bytes: usize) -> io::Result<Self> {
        let entries = u32::try_from(queues.len()).unwrap_or(u32::MAX).next_power_of_two();
        let ring = IoUring::<squeue::Entry128, cqueue::Entry>::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries)?;
        let slot = |&queue: &u16| Slot {
            queue,
            headers: NonNull::from(Box::leak(Box::new([0; RING_HEADER_BYTES]))),
            room: NonNull::from(Box::leak(vec![0; room_bytes].into_boxed_slice())),
            is_ours: false,
            is_lost: false,
        };
        Ok(Self { queues: ring, session, slots: queues.iter().map(slot).collect(), arrived: VecDeque::new() })
    }

    /// Gives the kernel all slots. An error says that it does not take them.
    pub(super) fn register(&mut self) -> io::Result<()> {
        let pieces = |slot: &Slot| {
            let headers = Piece { at: slot.headers.as_ptr().cast(), bytes: RING_HEADER_BYTES };
            [headers, Piece { at: slot.room.as_ptr().cast(), bytes: slot.room.len() }]
        };
        // They live until the entries are submitted.
        let pieces: Vec<[Piece; 2]> = self.slots.iter().map(pieces).collect();
        for (at, pieces) in pieces.iter().enumerate() {
            self.push(at, REGISTER, 0, pieces)?;
        }
        let submitted = self.queues.submit();
        if submitted.as_ref().ok() != Some(&pieces.len()) {
            // Entries that are left in the ring may still be read one day.
            mem::forget(pieces);
        }
        submitted?;
        // A slot that is taken is heard of when there is a question in it, which may be so already.
        self.arrived.extend(self.queues.completion().map(|done| (done.user_data(), done.result())));
        let failed = self.arrived.iter().find(|(_, result)| *result < 0);
        failed.map_or(Ok(()), |(_, result)| Err(io::Error::from_raw_os_error(-result)))
    }

    /// Waits for a question and returns the slot that it is in. `None` when the mount is gone.
    pub(super) fn next(&mut self) -> io::Result<Option<usize>> {
        loop {
            if self.arrived.is_empty() {
                self.arrived.extend(self.queues.completion().map(|done| (done.user_data(), done.result())));
            }
            if let Some((number, result)) = self.arrived.pop_front() {
                let at = usize::try_from(number).unwrap_or(usize::MAX);
                let Some(slot) = self.slots.get_mut(at) else { continue };
                if result >= 0 {
                    slot.is_ours = true;
                    return Ok(Some(at));
                }
                slot.is_lost = true;
                continue;
            }
            if self.slots.iter().all(|slot| slot.is_lost) {
                return Ok(None);
            }
            match self.queues.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }

    /// The headers and the room of a slot that [`Ring::next`] returned and that is not committed yet.
    pub(super) fn memory(&mut self, at: usize) -> Option<(&mut [u8; RING_HEADER_BYTES], &mut [u8])> {
        let slot = self.slots.get_mut(at).filter(|slot| slot.is_ours)?;
        // SAFETY: both were allocated by `new`, zeroed, and are never freed. The kernel writes into them and
        // reads from them only while it has the slot: from `register` or `commit` on until the completion
        // that set `is_ours`. `&mut self` keeps `commit` away as long as the references live.
        Some(unsafe { (slot.headers.as_mut(), slot.room.as_mut()) })
    }

    /// Gives the kernel the answer in a slot, and the slot for another question. It is sent by the next call
    /// of [`Ring::next`].
    pub(super) fn commit(&mut self, at: usize, number: u64) -> io::Result<()> {
        match self.slots.get_mut(at) {
            Some(slot) if slot.is_ours => slot.is_ours = false,
            _ => return Ok(()),
        }
        self.push(at, COMMIT_AND_FETCH, number, &[])
    }

    fn push(&mut self, at: usize, command: u32, number: u64, pieces: &[Piece]) -> io::Result<()> {
        let slot = &self.slots[at];
        // `struct fuse_uring_cmd_req`: flags, number, queue.
        let mut body = [0; 80];
        body[8..16].copy_from_slice(&number.to_ne_bytes());
        body[16..18].copy_from_slice(&slot.queue.to_ne_bytes());
        let device = types::Fd(self.session.as_raw_fd());
        let entry = UringCmd80::new(device, command).cmd(body).addr(Some(pieces.as_ptr().addr() as u64));
        let entry = with_length(entry.build().user_data(at as u64), pieces.len());
        // SAFETY: the device stays open as long as `self.session`, which outlives the ring. Of the memory that
        // is told, `pieces` lives until it was submitted (see `register`), which is when the kernel reads
        // it; headers and room are never freed (see `new`) and not touched here while they are the kernel's
        // (see `memory`).
        let pushed = unsafe { self.queues.submission().push(&entry) };
        pushed.map_err(|_| io::Error::other("a ring has fewer places than slots"))
    }
}

/// An entry that says how many pieces of memory its address is the beginning of, which the crate has no word
/// for.
fn with_length(entry: squeue::Entry128, length: usize) -> squeue::Entry128 {
    /// Where it stands in `struct io_uring_sqe`.
    const AT: usize = 24;
    // SAFETY: an entry is a `struct io_uring_sqe` of 64 bytes and the 64 bytes that extend it: numbers without
    // gaps between them, of which all bytes are set.
    let mut bytes = unsafe { mem::transmute::<squeue::Entry128, [u8; 128]>(entry) };
    bytes[AT..AT + 4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    // SAFETY: as above, and all bytes are numbers.
    unsafe { mem::transmute::<[u8; 128], squeue::Entry128>(bytes) }
}
