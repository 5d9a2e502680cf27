//! Refs and snapshots over HTTP/1.1: what a mirror's clients ask for, without a kernel's mount in between.
//!
//! A request's head becomes a path ([`head`], [`target`]), the path an item of one snapshot ([`site`]), and
//! both an answer ([`answer`]), all without a socket. [`connection`] and [`worker`] carry the bytes: one
//! thread a core with plain `epoll`, contents by `sendfile` from the blobs' own files.
//!
//! Always true: bytes that are not what the tree says are never sent under its entity tag; an answer is of one
//! generation from its first byte to its last; no client makes another one wait.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lru::LruCache;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{listen, sockopt};

use crate::digest::SnapshotId;
use crate::store::Store;

mod accept;
mod access_log;
mod answer;
mod blobs;
mod conditions;
mod connection;
mod head;
mod index;
mod media;
mod metrics;
mod output;
pub mod probe;
mod ranges;
mod site;
mod target;
mod worker;

pub use access_log::AccessLog;
pub use site::{Site, SiteError};

use accept::Acceptor;
use answer::Answer;
use blobs::Blobs;
use head::{Method, Request};
use metrics::{Cut, Metrics};
use worker::{Mailbox, Worker};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The same failure is reported no more often than this, as far as it is remembered.
const REPORT_EVERY: Duration = Duration::from_secs(10);
const REPORTS_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// Connections at the address for measurements.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// Why a server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened at.
    #[error("{address}: cannot listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A thread has ended in the middle of its work: a mistake in this program.
    #[error("a thread of the server has panicked")]
    Panicked,
    /// The operating system refuses what a server needs.
    #[error("cannot {verb}")]
    System {
        /// What was being done.
        verb: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// What clients may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address (of IPv6: one network of 64 bits), or 0 for any number.
    pub connections_per_address: usize,
    /// Time for the head of a request, from the first byte to the last; also for the first byte of all.
    pub head: Duration,
    /// Time until the next request on a connection.
    pub idle: Duration,
    /// Time in which a client takes no byte of an answer.
    pub stall: Duration,
    /// Bytes a second that a client must take in the mean, after the first `stall`.
    pub rate_bytes: u64,
    /// Time for answers on their way when the server is told to end.
    pub drain: Duration,
    /// Blobs that stay open for the next request.
    pub open_blobs: NonZeroUsize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 256,
            head: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            stall: Duration::from_secs(30),
            rate_bytes: 1 << 10,
            drain: Duration::from_secs(30),
            open_blobs: NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// How to serve.
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for questions about the server itself.
    pub metrics: Vec<SocketAddr>,
    /// Threads that serve.
    pub threads: usize,
    /// What clients may cost.
    pub limits: Limits,
    /// Where a line for every answer goes.
    pub log: Option<AccessLog>,
    /// More lines for who asks for metrics.
    pub more_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Takes a line for the log of failures.
    pub report: Box<dyn Fn(&str) + Send + Sync>,
    /// Tells seconds since 1970.
    pub clock: fn() -> i64,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Public,
    Metrics,
}

/// What all threads of a server have in common.
struct Shared {
    site: Site,
    blobs: Blobs,
    limits: Limits,
    metrics: Metrics,
    more_metrics: Box<dyn Fn() -> String + Send + Sync>,
    log: Option<AccessLog>,
    report: Box<dyn Fn(&str) + Send + Sync>,
    clock: fn() -> i64,
    draining: AtomicBool,
    aborted: AtomicBool,
    /// When something was reported last.
    reports: Mutex<LruCache<String, Instant>>,
    guests: Mutex<Guests>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("site", &self.site).finish_non_exhaustive()
    }
}

/// Who is connected.
#[derive(Debug, Default)]
struct Guests {
    public: usize,
    metrics: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Shared {
    /// Answers a request for something of the site; tells the snapshot that it is about.
    fn answer(&self, request: &Request<'_>) -> (Answer, Option<SnapshotId>) {
        if let Some(answer) = answer::to_misuse(request) {
            return (answer, None);
        }
        let Ok(target) = &request.target else {
            return (answer::to_mistake(head::HeadError::Malformed), None);
        };
        let is_head = request.method == Method::Head;
        let Some(path) = &target.path else {
            // No tree can hold it, so no snapshot has to be asked; which one it was still has to be said.
            let snapshot = self.site.current().unwrap_or(None);
            return (answer::to_nothing(request, snapshot.as_ref()), snapshot);
        };
        if path.as_str() == "healthz" {
            return (self.health(is_head), None);
        }
        match self.site.find(path, target.as_dir, (self.clock)()) {
            Ok(found) => {
                let snapshot = found.snapshot;
                (answer::to_request(request, path, target.as_dir, found), snapshot)
            }
            Err(error) => {
                self.report(&chain(&error));
                (answer::to_failure(is_head, None), None)
            }
        }
    }

    /// Answers a request about the server itself.
    fn tell(&self, request: &Request<'_>) -> Answer {
        if let Some(answer) = answer::to_misuse(request) {
            return answer;
        }
        let is_head = request.method == Method::Head;
        let path = request.target.as_ref().ok().and_then(|target| target.path.as_ref());
        match path.map(crate::name::TreePath::as_str) {
            Some("metrics") => {
                let snapshot = self.site.current().ok().flatten().map(|id| id.to_string());
                let text = self.metrics.text(snapshot) + &(self.more_metrics)();
                answer::to_probe(200, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes(), is_head)
            }
            Some("healthz") => self.health(is_head),
            _ => answer::to_nothing(request, None),
        }
    }

    fn health(&self, is_head: bool) -> Answer {
        let (status, text) = match (self.is_draining(), self.site.is_ready()) {
            (true, _) => (503, "ending\n"),
            (false, false) => (503, "nothing to serve\n"),
            (false, true) => (200, "ok\n"),
        };
        answer::to_probe(status, "text/plain; charset=utf-8", text.into(), is_head)
    }

    /// Puts a line in the log of failures, unless it has just been put there: clients come again and again.
    fn report(&self, text: &str) {
        let now = Instant::now();
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let said = reports.get(text).is_some_and(|last| now.saturating_duration_since(*last) < REPORT_EVERY);
        if !said {
            reports.put(text.to_owned(), now);
            drop(reports);
            (self.report)(text);
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection in, or says why there is no room for it.
    fn come(&self, peer: IpAddr, role: Role) -> Result<(), Cut> {
        let mut guests = self.guests();
        if role == Role::Metrics {
            if guests.metrics >= METRICS_CONNECTIONS_MAX {
                return Err(Cut::Full);
            }
            guests.metrics += 1;
            return Ok(());
        }
        if guests.public >= self.limits.connections {
            return Err(Cut::Full);
        }
        let limit = self.limits.connections_per_address;
        if limit > 0 {
            let count = guests.by_address.entry(network(peer)).or_default();
            if *count >= limit {
                return Err(Cut::FullAddress);
            }
            *count += 1;
        }
        guests.public += 1;
        self.metrics.open.store(guests.public as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a connection out.
    fn gone(&self, peer: IpAddr, role: Role) {
        let mut guests = self.guests();
        if role == Role::Metrics {
            guests.metrics = guests.metrics.saturating_sub(1);
            return;
        }
        guests.public = guests.public.saturating_sub(1);
        self.metrics.open.store(guests.public as u64, Ordering::Relaxed);
        let key = network(peer);
        if let Some(count) = guests.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                guests.by_address.remove(&key);
            }
        }
    }
}

/// What counts as one address: of IPv6 the network, since a host has as many addresses as it likes.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A server at work.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    metrics_addresses: Vec<SocketAddr>,
}

/// Tells a server what to do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
}

impl Control {
    /// Lets the server end: nobody is accepted any more, answers on their way get their time.
    pub fn stop(&self) {
        // It can only fail when it has been told so many times before.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
    }

    /// Lets the server end now, whatever is on its way.
    pub fn abort(&self) {
        self.shared.aborted.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Goes on with a new file of the access log, when the old one has been renamed.
    pub fn reopen_log(&self) -> io::Result<()> {
        self.shared.log.as_ref().map_or(Ok(()), AccessLog::reopen)
    }
}

impl Server {
    /// Begins to serve `site`, whose blobs are in `store`; returns when clients can connect.
    pub fn start(site: Site, store: Store, settings: Settings) -> Result<Self, HttpError> {
        let Settings { listen, metrics, threads, limits, log, more_metrics, report, clock } = settings;
        let mut listeners = Vec::new();
        for (addresses, role) in [(&listen, Role::Public), (&metrics, Role::Metrics)] {
            for address in addresses {
                let listener =
                    bind(*address).map_err(|source| HttpError::Listen { address: *address, source })?;
                listeners.push((listener, role));
            }
        }
        let bound = |wanted: Role| {
            let of_role = listeners.iter().filter(|(_, role)| *role == wanted);
            of_role.filter_map(|(listener, _)| listener.local_addr().ok()).collect::<Vec<_>>()
        };
        let (addresses, metrics_addresses) = (bound(Role::Public), bound(Role::Metrics));
        let system = |verb| move |errno: rustix::io::Errno| HttpError::System { verb, source: errno.into() };
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(system("make an event"))?);
        let shared = Arc::new(Shared {
            site,
            blobs: Blobs::new(store, limits.open_blobs),
            limits,
            metrics: Metrics::default(),
            more_metrics,
            log,
            report,
            clock,
            draining: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            reports: Mutex::new(LruCache::new(REPORTS_KEPT)),
            guests: Mutex::default(),
        });
        let mut mailboxes = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..threads.max(1) {
            let mailbox = Arc::new(Mailbox::new().map_err(system("make an event"))?);
            let worker =
                Worker::new(Arc::clone(&shared), Arc::clone(&mailbox)).map_err(system("use epoll"))?;
            mailboxes.push(mailbox);
            handles.push(worker);
        }
        let control = Control { shared: Arc::clone(&shared), stop: Arc::clone(&stop) };
        let run = |worker: Worker| {
            let watch = Watch(control.clone());
            thread::spawn(move || {
                let _watch = watch;
                worker.run();
            })
        };
        let mut threads: Vec<_> = handles.into_iter().map(run).collect();
        let acceptor =
            Acceptor { shared: Arc::clone(&shared), listeners, workers: mailboxes, next: 0, shed_at: None };
        let stopped = Arc::clone(&stop);
        threads.push(thread::spawn(move || acceptor.run(&stopped)));
        Ok(Self { shared, stop, threads, addresses, metrics_addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for questions about itself.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }

    /// A handle for signals.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared), stop: Arc::clone(&self.stop) }
    }

    /// Waits for the end.
    pub fn wait(self) -> Result<(), HttpError> {
        let joined: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        if joined.iter().any(Result::is_err) { Err(HttpError::Panicked) } else { Ok(()) }
    }
}

/// Ends the whole server when its thread panics: half a server would leave every second client waiting.
struct Watch(Control);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abort();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    // Connections inherit it; an answer's last packet is not to wait.
    sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_one_client_has() {
        let key = |text: &str| network(text.parse().unwrap()).to_string();
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::7", "2001:db8:1:2::"),
            ("2001:db8:1:3::7", "2001:db8:1:3::"),
        ] {
            assert_eq!(key(address), expected, "{address}");
        }
    }
}
