//! The thread that accepts connections and hands them to the others, each in its turn.
//!
//! Always true: who comes when there is no room is told so and sent away; what has come before the end is
//! still served.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, SocketFlags, acceptfrom_with, send, shutdown};

use super::metrics::{Cut, add};
use super::worker::{Mailbox, Message};
use super::{Role, Shared};

/// Idle connections are not asked to make room more often.
const SHED_EVERY: Duration = Duration::from_millis(100);
/// How long accepting rests when the kernel has no files left.
const REST: Duration = Duration::from_millis(50);
/// What who comes when there is no room gets.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nServer: cfs\r\nContent-Length: 0\r\nRetry-After: 5\r\n\
                      Connection: close\r\n\r\n";

/// Accepts until told to end.
pub(super) struct Acceptor {
    pub(super) shared: Arc<Shared>,
    pub(super) listeners: Vec<(TcpListener, Role)>,
    pub(super) workers: Vec<Arc<Mailbox>>,
    pub(super) next: usize,
    pub(super) shed_at: Option<Instant>,
}

impl Acceptor {
    /// Accepts until `stop` can be read.
    pub(super) fn run(mut self, stop: &OwnedFd) {
        loop {
            let mut ready: Vec<PollFd<'_>> =
                self.listeners.iter().map(|(listener, _)| PollFd::new(listener, PollFlags::IN)).collect();
            ready.push(PollFd::new(stop, PollFlags::IN));
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    self.shared.report(&format!("no more connections are accepted: {errno}"));
                    break;
                }
            }
            let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            for at in (0..self.listeners.len()).filter(|at| ready[*at]) {
                self.accept_all(at);
            }
            if ready.last() == Some(&true) {
                break;
            }
        }
        self.shared.set_draining();
        for at in 0..self.listeners.len() {
            self.accept_all(at);
        }
        self.listeners.clear();
        for worker in &self.workers {
            worker.tell(Message::Drain);
        }
    }

    /// Accepts everyone who waits at a listener.
    fn accept_all(&mut self, at: usize) {
        loop {
            let (listener, role) = &self.listeners[at];
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(listener, flags) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let peer = address.map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
                    let role = *role;
                    self.hand_over(socket, peer, role);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.make_room();
                    thread::sleep(REST);
                    return;
                }
                // The client has gone before it was its turn, or its network has.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM | Errno::TIMEDOUT) => {}
                Err(errno) => {
                    self.shared.report(&format!("a connection cannot be accepted: {errno}"));
                    thread::sleep(REST);
                    return;
                }
            }
        }
    }

    fn hand_over(&mut self, socket: OwnedFd, peer: IpAddr, role: Role) {
        add(&self.shared.metrics.accepted, 1);
        if let Err(cut) = self.shared.come(peer, role) {
            self.shared.metrics.cut(cut);
            if cut == Cut::Full {
                self.make_room();
            }
            // Who is not there to read it has not lost anything.
            let _ = send(&socket, FULL, SendFlags::NOSIGNAL);
            let _ = shutdown(&socket, Shutdown::Write);
            return;
        }
        let worker = &self.workers[self.next % self.workers.len()];
        worker.tell(Message::Connection { socket, peer, role });
        self.next = self.next.wrapping_add(1);
    }

    fn make_room(&mut self) {
        let now = Instant::now();
        if self.shed_at.is_none_or(|last| now.saturating_duration_since(last) >= SHED_EVERY) {
            self.shed_at = Some(now);
            self.workers.iter().for_each(|worker| worker.tell(Message::Shed));
        }
    }
}
