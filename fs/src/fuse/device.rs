//! Questions that come through the device, and what is told unasked.
//!
//! Always true: every thread has a channel of its own, a question is answered where it came in, and the end of
//! the mount ends the thread.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::adapter::{Answers, Outcome};
use super::attach::open_device;
use super::kernel;
use super::protocol::answer::{Notice, header};
use super::protocol::hello::{Offer, Wish};
use super::protocol::question::Header;
use super::protocol::{ANSWER_BYTES, IN_HEADER_BYTES, opcode};

/// Room for a question. The kernel wants 8 KiB at least; more lets it put many FORGETs into one.
const QUESTION_BYTES: usize = 64 << 10;

/// Has the first exchange. `wishes` says what to take of what is offered.
pub(super) fn greet(device: &OwnedFd, wishes: impl FnOnce(&Offer) -> Wish) -> io::Result<Wish> {
    let mut bytes = vec![0; QUESTION_BYTES];
    let whole = loop {
        match rustix::io::read(device, &mut bytes) {
            Ok(length) => break &bytes[..length],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let first = Header::parse(whole).filter(|first| first.opcode == opcode::INIT);
    let first = first.ok_or_else(|| io::Error::other("the kernel does not begin with a greeting"))?;
    match Offer::parse(whole.get(IN_HEADER_BYTES..).unwrap_or_default()) {
        Ok(offer) => {
            let wish = wishes(&offer);
            let answer = offer.accept(wish);
            send(device, first.unique, Ok(&answer))?;
            Ok(wish)
        }
        Err(error) => {
            send(device, first.unique, Err(error.into()))?;
            Err(io::Error::other(error.to_string()))
        }
    }
}

/// Another channel of the connection.
pub(super) fn channel(session: &OwnedFd) -> io::Result<OwnedFd> {
    let device = open_device()?;
    kernel::join(&device, session.as_fd())?;
    Ok(device)
}

/// Answers questions until the mount is gone.
pub(super) fn serve(device: &OwnedFd, answers: &dyn Answers) -> io::Result<()> {
    let (mut question, mut room) = (vec![0; QUESTION_BYTES], vec![0; ANSWER_BYTES]);
    loop {
        let bytes = match rustix::io::read(device, &mut question) {
            Ok(length) => &question[..length],
            // Whoever asked has given up.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let (header, outcome) = match Header::split(bytes) {
            Ok((header, head, body)) => (header, answers.answer(header, head, body, &mut room)),
            Err(malformed) => match Header::parse(bytes) {
                Some(header) => (header, Outcome::Refused(Errno::IO)),
                None => return Err(io::Error::other(malformed.to_string())),
            },
        };
        let sent = match outcome {
            Outcome::Answered(length) => send(device, header.unique, Ok(&room[..length])),
            Outcome::Refused(errno) => send(device, header.unique, Err(errno)),
            Outcome::Silent => Ok(()),
        };
        match sent {
            // Nobody waits for it any more, or the mount is gone, as the next question will tell.
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            // The kernel does not like the answer; it must have one.
            Err(_) => drop(send(device, header.unique, Err(Errno::IO))),
        }
    }
}

fn send(device: &OwnedFd, unique: u64, answer: Result<&[u8], Errno>) -> Result<(), Errno> {
    let header = header(unique, answer.map(<[u8]>::len));
    let body = answer.unwrap_or_default();
    rustix::io::writev(device, &[IoSlice::new(&header), IoSlice::new(body)]).map(drop)
}

/// Tells the kernel to forget what it remembers. Never to be used by a thread that answers questions: the
/// kernel may need an answer first.
#[derive(Debug, Clone)]
pub struct Notifier {
    device: Arc<OwnedFd>,
}

impl Notifier {
    pub(super) fn new(device: Arc<OwnedFd>) -> Self {
        Self { device }
    }

    /// What `name` in the directory `parent` stands for has to be asked anew.
    pub fn forget_name(&self, parent: crate::view::Inode, name: &str) -> io::Result<()> {
        self.tell(Notice::Entry { parent: parent.0, name: name.as_bytes() })
    }

    /// Attributes of an inode have to be asked anew.
    pub fn forget_attributes(&self, inode: crate::view::Inode) -> io::Result<()> {
        self.tell(Notice::Attributes { inode: inode.0 })
    }

    /// Attributes, pages and lines of an inode have to be asked anew.
    pub fn forget_content(&self, inode: crate::view::Inode) -> io::Result<()> {
        self.tell(Notice::Inode { inode: inode.0 })
    }

    fn tell(&self, notice: Notice<'_>) -> io::Result<()> {
        match rustix::io::write(&*self.device, &notice.bytes()) {
            // It remembers nothing of that.
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
