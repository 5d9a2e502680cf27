//! One connection: requests come in, answers go out, one after the other.
//!
//! Always true: a request is read when the answer before it is on its way; a connection that waits for its
//! next request holds no buffer; what it may cost in time is bounded by [`Limits`].

use std::fs::File;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use super::access_log::Record;
use super::answer::{self, Answer, Body};
use super::blobs::{BlobError, Opened, Waiter};
use super::head::{self, HEAD_MAX_BYTES, HeadError, Request};
use super::metrics::{Cut, add};
use super::output::{Output, Sent};
use super::{Limits, Role, Shared};
use crate::digest::SnapshotId;

/// What is read at once.
const READ_BYTES: usize = 4 << 10;
/// What one connection may send before others have their turn.
const TURN_BYTES: u64 = 2 << 20;
/// As many answers may one connection have before others have their turn.
const TURN_ANSWERS: usize = 32;
/// How long, and how much, a refused client may still talk before it is cut off.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// What the connection's thread has at hand.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a Shared,
    pub(super) now: Instant,
    /// The value of the header `Date`.
    pub(super) date: &'a str,
    /// Lines for the access log.
    pub(super) log: &'a mut Vec<u8>,
    /// Buffers that nobody uses.
    pub(super) spare: &'a mut Vec<Vec<u8>>,
    /// Makes who is told when this connection's blob has been read.
    pub(super) waiter: &'a dyn Fn() -> Waiter,
}

/// What becomes of a connection after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for its socket or its blob.
    Wait,
    /// It could go on at once.
    Again,
    /// It is over.
    Close,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    peer: IpAddr,
    role: Role,
    input: Vec<u8>,
    /// Whether reading may find something.
    is_readable: bool,
    /// Whether the client has said that it sends no more.
    is_hung_up: bool,
    has_ended: bool,
    state: State,
    /// When the state, or the head that is being read, began.
    since: Instant,
    answers: u64,
}

#[derive(Debug)]
enum State {
    /// Waiting for a request, or in its head.
    Reading,
    /// Waiting for a blob to be read.
    Opening(Box<Pending>),
    /// Sending an answer.
    Sending(Sending),
    /// Refused: what the client still says is thrown away, so that it gets to read the answer.
    Lingering { left_bytes: usize },
}

/// An answer that is being sent.
#[derive(Debug)]
struct Sending {
    output: Output,
    /// When bytes were last taken.
    moved: Instant,
    head_bytes: u64,
    status: u16,
    after: After,
    record: Option<Record>,
}

/// An answer whose blob is not open yet.
#[derive(Debug)]
struct Pending {
    answer: Answer,
    snapshot: Option<SnapshotId>,
    after: After,
    is_http10: bool,
    record: Option<Record>,
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request.
    Next,
    /// The end.
    Close,
    /// The end, after the client had time to read why.
    Linger,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, peer: IpAddr, role: Role, now: Instant) -> Self {
        Self {
            socket,
            peer,
            role,
            input: Vec::new(),
            is_readable: true,
            is_hung_up: false,
            has_ended: false,
            state: State::Reading,
            since: now,
            answers: 0,
        }
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Notes what the kernel says of the socket.
    pub(super) fn notice(&mut self, readable: bool, hung_up: bool) {
        self.is_readable |= readable || hung_up;
        self.is_hung_up |= hung_up;
    }

    /// When the connection began to wait for a request, if it does so with empty hands.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (matches!(self.state, State::Reading) && self.input.is_empty()).then_some(self.since)
    }

    /// Goes on as far as possible.
    pub(super) fn drive(&mut self, turn: &mut Turn<'_>) -> Next {
        let mut budget = TURN_BYTES;
        for _ in 0..TURN_ANSWERS {
            let next = match &mut self.state {
                State::Reading => self.read_request(turn),
                State::Opening(_) => Some(Next::Wait),
                State::Sending(_) => self.send(turn, &mut budget),
                State::Lingering { .. } => Some(self.linger()),
            };
            if let Some(next) = next {
                return next;
            }
        }
        Next::Again
    }

    /// Takes requests from what was read, reading more where needed.
    fn read_request(&mut self, turn: &mut Turn<'_>) -> Option<Next> {
        loop {
            let input = mem::take(&mut self.input);
            let parsed = if input.is_empty() { Ok(None) } else { head::parse(&input) };
            match parsed {
                Ok(Some((request, length))) => {
                    self.answer(&request, turn);
                    self.input = input;
                    self.input.drain(..length);
                    self.give_back(turn);
                    return None;
                }
                Err(error) => {
                    self.refuse(error, turn);
                    return None;
                }
                Ok(None) => self.input = input,
            }
            if self.has_ended {
                return Some(Next::Close);
            }
            if !self.is_readable {
                self.give_back(turn);
                // What is idle need not wait for the process to end.
                return Some(if turn.shared.is_draining() && self.input.is_empty() {
                    Next::Close
                } else {
                    Next::Wait
                });
            }
            let was_empty = self.input.is_empty();
            if self.fill(turn).is_err() {
                return Some(Next::Close);
            }
            if was_empty && self.answers > 0 {
                self.since = turn.now;
            }
        }
    }

    /// Reads once.
    fn fill(&mut self, turn: &mut Turn<'_>) -> rustix::io::Result<()> {
        if self.input.capacity() == 0 {
            self.input = turn.spare.pop().unwrap_or_default();
        }
        self.input.reserve(READ_BYTES);
        let room = self.input.capacity() - self.input.len();
        match recv(&self.socket, spare_capacity(&mut self.input), RecvFlags::empty()) {
            Ok((_, 0)) => self.has_ended = true,
            // Less than there was room for is all there was, unless the end comes right behind it.
            Ok((_, count)) => self.is_readable = count == room || self.is_hung_up,
            Err(Errno::AGAIN) => self.is_readable = false,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// An empty buffer is of use to others.
    fn give_back(&mut self, turn: &mut Turn<'_>) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            let buffer = mem::take(&mut self.input);
            if buffer.capacity() <= HEAD_MAX_BYTES && turn.spare.len() < 64 {
                turn.spare.push(buffer);
            }
        }
    }

    /// Answers what is not a request.
    fn refuse(&mut self, error: HeadError, turn: &mut Turn<'_>) {
        let record = turn.shared.log.is_some().then(Record::of_mistake);
        let answer = answer::to_mistake(error);
        self.begin(Pending { answer, snapshot: None, after: After::Linger, is_http10: false, record }, turn);
    }

    fn answer(&mut self, request: &Request<'_>, turn: &mut Turn<'_>) {
        let (answer, snapshot) = match self.role {
            Role::Public => turn.shared.answer(request),
            Role::Metrics => (turn.shared.tell(request), None),
        };
        let after = if request.has_body {
            After::Linger
        } else if request.keep_alive && !turn.shared.is_draining() {
            After::Next
        } else {
            After::Close
        };
        let record = turn.shared.log.is_some() && self.role == Role::Public;
        let record = record.then(|| Record::new(&request.trace));
        self.begin(Pending { answer, snapshot, after, is_http10: request.is_http10, record }, turn);
    }

    /// Opens what an answer needs and begins to send it.
    fn begin(&mut self, pending: Pending, turn: &mut Turn<'_>) {
        let Body::Blob { blob, size_bytes, .. } = pending.answer.body else {
            return self.begin_sending(pending, None, turn);
        };
        match turn.shared.blobs.open(blob, size_bytes, turn.waiter) {
            Opened::Ready(file) => self.begin_sending(pending, Some(file), turn),
            Opened::Refused(error) => self.begin_failure(pending, &error, turn),
            Opened::Later => {
                add(&turn.shared.metrics.checks, 1);
                self.state = State::Opening(Box::new(pending));
                self.since = turn.now;
            }
        }
    }

    /// Goes on with a blob that was waited for.
    pub(super) fn opened(&mut self, result: Result<Arc<File>, BlobError>, turn: &mut Turn<'_>) {
        let State::Opening(_) = self.state else { return };
        let State::Opening(pending) = mem::replace(&mut self.state, State::Reading) else { return };
        match result {
            Ok(file) => self.begin_sending(*pending, Some(file), turn),
            Err(error) => self.begin_failure(*pending, &error, turn),
        }
    }

    fn begin_failure(&mut self, pending: Pending, error: &BlobError, turn: &mut Turn<'_>) {
        add(&turn.shared.metrics.bad_blobs, 1);
        turn.shared.report(&error.to_string());
        let answer = answer::to_failure(false, pending.snapshot.as_ref());
        self.begin_sending(Pending { answer, ..pending }, None, turn);
    }

    fn begin_sending(&mut self, pending: Pending, file: Option<Arc<File>>, turn: &mut Turn<'_>) {
        let Pending { mut answer, snapshot, after, is_http10, record } = pending;
        let connection = match after {
            After::Next if is_http10 => Some("keep-alive"),
            After::Next => None,
            After::Close | After::Linger => Some("close"),
        };
        let mut output = Output::default();
        let mut head = turn.spare.pop().unwrap_or_default();
        answer.write_head(turn.date, connection, &mut head);
        let mut head_bytes = head.len() as u64;
        output.begin(head);
        let added = match (mem::replace(&mut answer.body, Body::Nothing), file) {
            (Body::Bytes(bytes), _) => {
                output.add_bytes(bytes);
                Ok(())
            }
            (Body::Page(page, parts), _) => {
                output.add_page(&page, parts);
                Ok(())
            }
            (Body::Blob { parts, .. }, Some(file)) => output.add_file(&file, parts),
            (Body::Nothing | Body::Blob { .. }, _) => Ok(()),
        };
        if let Err(error) = added {
            // It was whole a moment ago. Nothing has been sent, so there is still a better answer.
            turn.shared.report(&format!("a blob cannot be read: {error}"));
            add(&turn.shared.metrics.bad_blobs, 1);
            answer = answer::to_failure(false, snapshot.as_ref());
            let mut head = Vec::new();
            answer.write_head(turn.date, connection, &mut head);
            head_bytes = head.len() as u64;
            output.begin(head);
            if let Body::Bytes(bytes) = answer.body {
                output.add_bytes(bytes);
            }
        }
        let (moved, status) = (turn.now, answer.status);
        self.state = State::Sending(Sending { output, moved, head_bytes, status, after, record });
        self.since = turn.now;
    }

    fn send(&mut self, turn: &mut Turn<'_>, budget: &mut u64) -> Option<Next> {
        let State::Sending(sending) = &mut self.state else { return None };
        let before = sending.output.sent_bytes();
        let result = sending.output.send(self.socket.as_fd(), budget);
        let moved = sending.output.sent_bytes() - before;
        add(&turn.shared.metrics.sent_bytes, moved);
        if moved > 0 {
            sending.moved = turn.now;
        }
        match result {
            Ok(Sent::All) => self.finish(turn),
            Ok(Sent::Blocked) => Some(Next::Wait),
            Ok(Sent::Enough) => Some(Next::Again),
            Err(error) => {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    turn.shared
                        .report(&format!("a blob has become shorter while it was sent to {}", self.peer));
                    add(&turn.shared.metrics.bad_blobs, 1);
                }
                self.break_off(turn);
                Some(Next::Close)
            }
        }
    }

    /// Ends an answer that was sent, wholly or not.
    fn finish(&mut self, turn: &mut Turn<'_>) -> Option<Next> {
        self.write_record(turn);
        let State::Sending(sending) = mem::replace(&mut self.state, State::Reading) else { return None };
        turn.shared.metrics.answered(sending.status);
        self.answers += 1;
        self.since = turn.now;
        match sending.after {
            After::Next => None,
            After::Close if self.input.is_empty() => Some(Next::Close),
            After::Close | After::Linger => {
                self.input = Vec::new();
                self.is_readable = true;
                self.state = State::Lingering { left_bytes: LINGER_BYTES };
                // A client that is gone already is no failure.
                let _ = shutdown(&self.socket, Shutdown::Write);
                None
            }
        }
    }

    /// Notes an answer that ends before its last byte.
    pub(super) fn break_off(&mut self, turn: &mut Turn<'_>) {
        if let State::Sending(sending) = &self.state {
            add(&turn.shared.metrics.broken_off, 1);
            turn.shared.metrics.answered(sending.status);
            self.write_record(turn);
        }
    }

    fn write_record(&mut self, turn: &mut Turn<'_>) {
        let State::Sending(sending) = &mut self.state else { return };
        if let Some(record) = sending.record.take() {
            let body_bytes = sending.output.sent_bytes().saturating_sub(sending.head_bytes);
            record.write_line(self.peer, turn.date, sending.status, body_bytes, turn.log);
        }
    }

    /// Throws away what a refused client says.
    fn linger(&mut self) -> Next {
        let mut waste = Vec::with_capacity(READ_BYTES);
        while let State::Lingering { left_bytes } = &mut self.state {
            waste.clear();
            match recv(&self.socket, spare_capacity(&mut waste), RecvFlags::empty()) {
                Err(Errno::AGAIN) => return Next::Wait,
                Err(Errno::INTR) => {}
                Ok((_, count)) if count > 0 && *left_bytes > count => *left_bytes -= count,
                Ok(_) | Err(_) => break,
            }
        }
        Next::Close
    }

    /// Whether the connection has used up its time, and for what.
    pub(super) fn expired(&self, limits: &Limits, now: Instant) -> Option<Cut> {
        let waited = now.saturating_duration_since(self.since);
        match &self.state {
            State::Opening(_) => None,
            State::Lingering { .. } => (waited >= LINGER).then_some(Cut::Refused),
            State::Reading if self.input.is_empty() && self.answers > 0 => {
                (waited >= limits.idle).then_some(Cut::Idle)
            }
            State::Reading => (waited >= limits.head).then_some(Cut::SlowHead),
            State::Sending(sending) => {
                let stalled = now.saturating_duration_since(sending.moved) >= limits.stall;
                let due = waited.saturating_sub(limits.stall).as_secs().saturating_mul(limits.rate_bytes);
                (stalled || sending.output.sent_bytes() < due).then_some(Cut::SlowReader)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_state_has_its_time() {
        let seconds = Duration::from_secs;
        let limits = Limits {
            head: seconds(15),
            idle: seconds(60),
            stall: seconds(30),
            rate_bytes: 100,
            open_blobs: NonZeroUsize::MIN,
            ..Limits::default()
        };
        let begun = Instant::now();
        let connection = |state: State, input: &[u8], answers: u64| Connection {
            input: input.to_vec(),
            state,
            answers,
            ..Connection::new(
                UnixStream::pair().unwrap().0.into(),
                [127, 0, 0, 1].into(),
                Role::Public,
                begun,
            )
        };
        // An answer of which `sent_bytes` have gone out, the last ones after `moved` seconds.
        let sending = |sent_bytes: usize, moved: u64| {
            let (here, _there) = UnixStream::pair().unwrap();
            let mut output = Output::default();
            output.begin(vec![0; sent_bytes]);
            let mut budget = u64::MAX;
            output.send(here.as_fd(), &mut budget).unwrap();
            assert_eq!(output.sent_bytes(), sent_bytes as u64);
            let moved = begun + seconds(moved);
            State::Sending(Sending {
                output,
                moved,
                head_bytes: 0,
                status: 200,
                after: After::Next,
                record: None,
            })
        };
        let new = || connection(State::Reading, b"", 0);
        let in_head = || connection(State::Reading, b"GET", 3);
        let idle = || connection(State::Reading, b"", 3);
        for (connection, waited, expected) in [
            (new(), 14, None),
            (new(), 15, Some(Cut::SlowHead)),
            (in_head(), 14, None),
            (in_head(), 15, Some(Cut::SlowHead)),
            (idle(), 59, None),
            (idle(), 60, Some(Cut::Idle)),
            (connection(State::Lingering { left_bytes: 1 }, b"", 1), 1, None),
            (connection(State::Lingering { left_bytes: 1 }, b"", 1), 2, Some(Cut::Refused)),
            // It moves, and fast enough: 100 bytes a second after the first 30.
            (connection(sending(1000, 39), b"", 0), 40, None),
            (connection(sending(1000, 40), b"", 0), 41, Some(Cut::SlowReader)),
            (connection(sending(9000, 10), b"", 0), 39, None),
            (connection(sending(9000, 10), b"", 0), 40, Some(Cut::SlowReader)),
        ] {
            let cut = connection.expired(&limits, begun + seconds(waited));
            assert_eq!(cut, expected, "{connection:?} after {waited} s");
        }
        assert_eq!(new().idle_since(), Some(begun));
        assert_eq!(in_head().idle_since(), None);
    }
}
