//! Talking with a program until it ends: its input is written, its output is read, and nobody waits longer than a time.
//!
//! Always true: nothing here waits for a pipe that somebody else keeps open; of the output, only so much is kept,
//! and the rest is read and forgotten, so that the program can go on.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Whether the program ended in time.
    pub(super) in_time: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Talks with `child`, whose three streams are pipes, until it has ended or the time is over.
pub(super) fn talk(
    child: &mut Child,
    input: &[u8],
    timeout: Duration,
    kept_bytes: usize,
) -> io::Result<Talk> {
    let started = Instant::now();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    // It becomes readable when the program has ended.
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut input = Input { pipe: child.stdin.take(), left: input };
    let mut stdout = Output { pipe: child.stdout.take(), kept: Vec::new(), kept_bytes };
    let mut stderr = Output { pipe: child.stderr.take(), kept: Vec::new(), kept_bytes };
    input.pipe.iter().try_for_each(|pipe| ioctl_fionbio(pipe, true))?;
    stdout.pipe.iter().try_for_each(|pipe| ioctl_fionbio(pipe, true))?;
    stderr.pipe.iter().try_for_each(|pipe| ioctl_fionbio(pipe, true))?;
    let mut in_time = true;
    loop {
        input.write();
        // Whether it has ended is asked before the last is read: what it said before it ended is there then.
        let left = timeout.saturating_sub(started.elapsed());
        let over = wait(&ended, [input.fd(), stdout.fd(), stderr.fd()], left)?;
        stdout.read();
        stderr.read();
        match over {
            Over::Ended => break,
            Over::Ready => {}
            Over::Late => {
                in_time = false;
                break;
            }
        }
    }
    Ok(Talk { in_time, stdout: stdout.kept, stderr: stderr.kept })
}

/// More than any pipe holds, unless the administrator permits it.
const PIPE_BYTES: usize = 1 << 20;

enum Over {
    Ended,
    /// There is something to read or to write.
    Ready,
    Late,
}

/// Waits until the program has ended, a pipe is ready, or the time is over.
fn wait(
    ended: &impl AsFd,
    pipes: [Option<(std::os::fd::BorrowedFd<'_>, PollFlags)>; 3],
    left: Duration,
) -> io::Result<Over> {
    let mut fds = vec![PollFd::new(ended, PollFlags::IN)];
    fds.extend(pipes.into_iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    match poll(&mut fds, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) => Ok(Over::Ready),
        Err(error) => Err(error.into()),
        Ok(_) if !fds[0].revents().is_empty() => Ok(Over::Ended),
        Ok(0) => Ok(Over::Late),
        Ok(_) if left.is_zero() => Ok(Over::Late),
        Ok(_) => Ok(Over::Ready),
    }
}

struct Input<'a, P> {
    pipe: Option<P>,
    left: &'a [u8],
}

impl<P: Write + AsFd> Input<'_, P> {
    /// Writes what fits, and closes the pipe after the last byte. A program that does not read its input is no failure.
    fn write(&mut self) {
        while let Some(pipe) = self.pipe.as_mut().filter(|_| !self.left.is_empty()) {
            match pipe.write(self.left) {
                Ok(written) if written > 0 => self.left = &self.left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.pipe = None;
    }

    fn fd(&self) -> Option<(std::os::fd::BorrowedFd<'_>, PollFlags)> {
        self.pipe.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::OUT))
    }
}

struct Output<P> {
    pipe: Option<P>,
    kept: Vec<u8>,
    kept_bytes: usize,
}

impl<P: Read + AsFd> Output<P> {
    /// Reads what is there, and not more than a pipe holds: others may go on writing for ever.
    fn read(&mut self) {
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..PIPE_BYTES / buffer.len() {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    let wanted = read.min(self.kept_bytes - self.kept.len());
                    self.kept.extend_from_slice(&buffer[..wanted]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What cannot be read has not been said.
                Err(_) => self.pipe = None,
            }
        }
    }

    fn fd(&self) -> Option<(std::os::fd::BorrowedFd<'_>, PollFlags)> {
        self.pipe.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN))
    }
}
