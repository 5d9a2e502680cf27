//! One thread and its connections: waits for what the kernel says of them, and lets each go on in turn.
//!
//! Always true: a connection belongs to one thread for life; nothing here waits for one client or for a disk
//! that a client chose (blobs that must be read first are read elsewhere).

use std::fs::File;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::blobs::{BlobError, Waiter};
use super::conditions::http_date;
use super::connection::{Connection, Next, Turn};
use super::metrics::{Cut, add};
use super::{Role, Shared};

/// How often clocks of connections are looked at, and lines of the log written.
const SWEEP: Duration = Duration::from_millis(250);
/// Lines of the log beyond this are written before the next sweep.
const LOG_BYTES: usize = 64 << 10;
/// Events taken at once.
const EVENTS: usize = 256;
/// The event of the mailbox.
const MAIL: u64 = u64::MAX;

/// Names a connection of a thread, and no later one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    slot: u32,
    life: u32,
}

impl Token {
    fn number(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.slot)
    }

    fn from_number(number: u64) -> Self {
        let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
        Self { slot: half(number), life: half(number >> 32) }
    }
}

/// What a thread is told by others.
pub(super) enum Message {
    /// A connection of its own from now on.
    Connection { socket: OwnedFd, peer: IpAddr, role: Role },
    /// A blob that one of its connections waits for.
    Opened { token: Token, result: Result<Arc<File>, BlobError> },
    /// Room is needed: the longest idle connections are to go.
    Shed,
    /// No more connections will come; end with the last one.
    Drain,
}

/// Where a thread is told things.
#[derive(Debug)]
pub(super) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    bell: OwnedFd,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Mailbox {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { messages: Mutex::default(), bell })
    }

    /// Leaves a message.
    pub(super) fn tell(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        // A bell that rings already rings on.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<Message> {
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct Slot {
    life: u32,
    connection: Option<Box<Connection>>,
}

/// A thread's connections.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    /// Those that could go on when their turn ended.
    again: Vec<Token>,
    log: Vec<u8>,
    spare: Vec<Vec<u8>>,
    date: (i64, String),
    /// When the thread ends whatever is open, once it has been told to end.
    end: Option<Instant>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mailbox.bell, EventData::new_u64(MAIL), EventFlags::IN)?;
        Ok(Self {
            shared,
            mailbox,
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            again: Vec::new(),
            log: Vec::new(),
            spare: Vec::new(),
            date: (i64::MIN, String::new()),
            end: None,
        })
    }

    /// Serves until told to end.
    pub(super) fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut next_sweep = Instant::now() + SWEEP;
        loop {
            let patience = next_sweep.saturating_duration_since(Instant::now());
            let patience = if self.again.is_empty() { patience } else { Duration::ZERO };
            let timeout = Timespec {
                tv_sec: i64::try_from(patience.as_secs()).unwrap_or(0),
                tv_nsec: patience.subsec_nanos().into(),
            };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    // Nothing can be served any more; others go on.
                    self.shared.report(&format!("a thread has ended: {errno}"));
                    return;
                }
            }
            let now = Instant::now();
            self.refresh_date();
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                self.take_event(data.u64(), flags, now);
            }
            for token in mem::take(&mut self.again) {
                self.drive(token, now, |_, _| {});
            }
            if now >= next_sweep {
                self.sweep(now);
                next_sweep = now + SWEEP;
            }
            if self.log.len() > LOG_BYTES {
                self.flush_log();
            }
            if self.end.is_some_and(|end| self.open == 0 || now >= end || self.shared.is_aborted()) {
                break;
            }
        }
        let now = Instant::now();
        for token in self.tokens() {
            self.close(token, now);
        }
        self.flush_log();
    }

    fn take_event(&mut self, number: u64, flags: EventFlags, now: Instant) {
        if number == MAIL {
            for message in self.mailbox.take() {
                self.take_message(message, now);
            }
            return;
        }
        let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let readable = flags.contains(EventFlags::IN);
        self.drive(Token::from_number(number), now, |connection, _| connection.notice(readable, hung_up));
    }

    fn take_message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Connection { socket, peer, role } => self.add(socket, peer, role, now),
            Message::Opened { token, result } => {
                self.drive(token, now, |connection, turn| connection.opened(result, turn));
            }
            Message::Shed => self.shed(now),
            Message::Drain => {
                self.end = Some(now + self.shared.limits.drain);
                // A request may have come that nobody has looked at.
                for token in self.tokens() {
                    self.drive(token, now, |connection, _| connection.notice(true, false));
                }
            }
        }
    }

    fn add(&mut self, socket: OwnedFd, peer: IpAddr, role: Role, now: Instant) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let token = Token { slot, life: place.life };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let added = epoll::add(&self.epoll, &socket, EventData::new_u64(token.number()), flags);
        place.connection = Some(Box::new(Connection::new(socket, peer, role, now)));
        self.open += 1;
        if added.is_err() {
            self.close(token, now);
        }
        // What the client has sent by now is told by the kernel's first event.
    }

    /// Lets a connection go on, after `before` has told it what is new.
    fn drive(&mut self, token: Token, now: Instant, before: impl FnOnce(&mut Connection, &mut Turn<'_>)) {
        let Some(mut connection) = self.take_out(token) else { return };
        let mailbox = Arc::clone(&self.mailbox);
        let waiter = move || -> Waiter {
            let mailbox = Arc::clone(&mailbox);
            Box::new(move |result| mailbox.tell(Message::Opened { token, result }))
        };
        let mut turn = Turn {
            shared: &self.shared,
            now,
            date: &self.date.1,
            log: &mut self.log,
            spare: &mut self.spare,
            waiter: &waiter,
        };
        before(&mut connection, &mut turn);
        let next = connection.drive(&mut turn);
        self.slots[token.slot as usize].connection = Some(connection);
        match next {
            Next::Wait => {}
            Next::Again => self.again.push(token),
            Next::Close => self.close(token, now),
        }
    }

    fn take_out(&mut self, token: Token) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(token.slot as usize)?;
        if slot.life == token.life { slot.connection.take() } else { None }
    }

    /// Ends a connection, whatever it is at.
    fn close(&mut self, token: Token, now: Instant) {
        let Some(mut connection) = self.take_out(token) else { return };
        let waiter = || -> Waiter { Box::new(|_| {}) };
        connection.break_off(&mut Turn {
            shared: &self.shared,
            now,
            date: &self.date.1,
            log: &mut self.log,
            spare: &mut self.spare,
            waiter: &waiter,
        });
        self.shared.gone(connection.peer(), connection.role());
        let slot = &mut self.slots[token.slot as usize];
        slot.life = slot.life.wrapping_add(1);
        self.free.push(token.slot);
        self.open -= 1;
        // Dropping the socket ends the kernel's interest in it, too.
        drop(connection);
    }

    fn tokens(&self) -> Vec<Token> {
        let open = |(slot, place): (usize, &Slot)| {
            let slot = u32::try_from(slot).ok()?;
            place.connection.as_ref().map(|_| Token { slot, life: place.life })
        };
        self.slots.iter().enumerate().filter_map(open).collect()
    }

    fn sweep(&mut self, now: Instant) {
        for token in self.tokens() {
            let Some(connection) = &self.slots[token.slot as usize].connection else { continue };
            let waited_too_long = connection.expired(&self.shared.limits, now);
            if let Some(cut) = waited_too_long {
                self.shared.metrics.cut(cut);
                self.close(token, now);
            }
        }
        self.flush_log();
    }

    /// Ends an eighth of the idle connections, those that have been so for longest.
    fn shed(&mut self, now: Instant) {
        let mut idle: Vec<(Instant, Token)> = self
            .tokens()
            .into_iter()
            .filter_map(|token| {
                let connection = self.slots[token.slot as usize].connection.as_ref()?;
                connection.idle_since().map(|since| (since, token))
            })
            .collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        let count = idle.len().div_ceil(8);
        for (_, token) in idle.into_iter().take(count) {
            self.shared.metrics.cut(Cut::Shed);
            self.close(token, now);
        }
    }

    fn refresh_date(&mut self) {
        let second = (self.shared.clock)();
        if second != self.date.0 {
            self.date = (second, http_date(second));
        }
    }

    fn flush_log(&mut self) {
        if self.log.is_empty() {
            return;
        }
        if let Some(log) = &self.shared.log
            && log.write(&self.log).is_err()
        {
            let lines = self.log.split(|byte| *byte == b'\n').count() - 1;
            add(&self.shared.metrics.log_failures, lines as u64);
        }
        self.log.clear();
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
