//! Getting an upstream's files: the only room that knows the network and waits asynchronously.
//!
//! Outwards everything is synchronous. Always true: a file is handed over only when its size and checksum are
//! the declared ones; nothing larger than declared or allowed is written; a server that stops answering,
//! trickles or closes early is given up after a bounded number of attempts; what arrived of a broken download
//! stays for the next run; bytes are never transformed on the way.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use tokio::sync::mpsc;

use guard::Guard;

use super::partial::{Partial, PartialDir};
use crate::address::Address;
use crate::checksum::{Checksum, Hashed};

mod directory;
mod guard;
mod http;

/// How often who waits for files is told how far they are.
const TICK: Duration = Duration::from_millis(100);
/// The longest pause between attempts, and the longest that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How to go about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Downloads at once.
    pub jobs: usize,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may be silent. In as long it must also send 1,000 bytes a second on average.
    pub idle_timeout: Duration,
    /// How often a file is tried in all.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each one after.
    pub pause: Duration,
    /// What cfs calls itself.
    pub user_agent: String,
    /// Nothing without TLS.
    pub https_only: bool,
    /// Hosts that redirects may lead to although their addresses are not public. Hosts of addresses that are asked
    /// for may be anywhere.
    pub private_hosts: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 8,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(500),
            user_agent: concat!("cfs/", env!("CARGO_PKG_VERSION")).to_owned(),
            https_only: false,
            private_hosts: Vec::new(),
        }
    }
}

/// A repository that files are downloaded from.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it is.
    pub(super) address: Address,
    /// Where its unfinished downloads are.
    pub(super) partials: PartialDir,
}

/// A file to be downloaded.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The number of its source.
    pub(super) source: usize,
    /// Where it is below the repository's base.
    pub(super) path: TreePath,
    /// What its bytes must hash to.
    pub(super) checksum: Checksum,
    /// Its size, where that is declared.
    pub(super) size_bytes: Option<u64>,
    /// The most it may have in any case.
    pub(super) cap_bytes: u64,
}

/// A downloaded file with the declared checksum.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The file, in the store's file system, read-only.
    pub(super) file: PathBuf,
    /// What it holds.
    pub(super) hashed: Hashed,
}

/// A small file without a declared checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// All of it.
    pub(super) bytes: Vec<u8>,
    /// When it was changed last, seconds since 1970, where that is said.
    pub(super) modified: Option<i64>,
}

/// What happens while files are downloaded.
#[derive(Debug)]
pub(super) enum Event {
    /// So many bytes have arrived by now.
    Bytes(u64),
    /// The order of this number is done, well or not.
    Done(usize, Result<Arrived, FetchError>),
}

/// Why a file was not downloaded. Which file it was, whoever ordered it knows.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not there.
    #[error("is not there ({0})")]
    NotFound(String),
    /// The server does not give it, and does not say whether it is there.
    #[error("the server answers {0}")]
    Forbidden(String),
    /// The server answered with an error.
    #[error("the server answers {status}")]
    Status {
        /// The status, in numbers and words.
        status: String,
        /// Whether it may pass.
        transient: bool,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The connection failed.
    #[error("the connection failed")]
    Network(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came, or hardly anything.
    #[error("the server sent {received_bytes} bytes in {} s", waited.as_secs_f32())]
    Stalled {
        /// What it sent.
        received_bytes: u64,
        /// In which time.
        waited: Duration,
    },
    /// The server sends elsewhere in a way that is not followed.
    #[error("the server redirects in a way that is not followed")]
    Redirect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server is not to be spoken with without TLS.
    #[error("is not asked for without TLS")]
    Insecure,
    /// The transfer ended early.
    #[error("ends after {got_bytes} of {declared_bytes} bytes")]
    Short {
        /// How many bytes there were.
        got_bytes: u64,
        /// How many there should be.
        declared_bytes: u64,
    },
    /// It has another size than the metadata declares.
    #[error("has {found_bytes} bytes or more; the metadata declares {declared_bytes}")]
    Size {
        /// What the server says or sent.
        found_bytes: u64,
        /// What the metadata says.
        declared_bytes: u64,
    },
    /// It is larger than files of its kind may be.
    #[error("is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The most it may have.
        limit_bytes: u64,
    },
    /// Its bytes are not the declared ones.
    #[error("has the checksum {found}; the metadata declares {declared}")]
    Checksum {
        /// What the bytes hash to.
        found: Box<Checksum>,
        /// What they should.
        declared: Box<Checksum>,
    },
    /// The server resumes elsewhere than it was asked to.
    #[error("the server resumes at another byte than asked for")]
    Range,
    /// A host file cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was tried in vain.
    #[error("attempt {attempts} of {attempts} failed")]
    Exhausted {
        /// How often.
        attempts: u32,
        /// What came of it the last time.
        source: Box<FetchError>,
    },
    /// So many others failed that it was not tried.
    #[error("was not tried, since the server failed for others")]
    NotTried,
}

impl FetchError {
    /// Whether another attempt may do better.
    fn is_transient(&self) -> bool {
        match self {
            FetchError::Status { transient, .. } => *transient,
            FetchError::Network(_)
            | FetchError::Stalled { .. }
            | FetchError::Short { .. }
            | FetchError::Range => true,
            _ => false,
        }
    }
}

/// Downloads. One is enough for a process.
#[derive(Debug)]
pub(super) struct Fetcher {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    guard: Guard,
    options: Options,
}

/// What the downloads of one call share.
struct Shared {
    client: reqwest::Client,
    options: Options,
    /// With how many orders of each were given up one after the other because the server failed.
    sources: Vec<(Source, AtomicUsize)>,
    orders: Vec<Order>,
    /// The next order to be taken.
    next: AtomicUsize,
    received_bytes: AtomicU64,
}

impl Fetcher {
    /// Starts what downloading needs.
    pub(super) fn new(options: Options) -> Result<Self, FetchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
            .thread_name("cfs-fetch")
            .enable_all()
            .build()
            .map_err(FetchError::Read)?;
        let guard = Guard::new(&options.private_hosts);
        let client = http::client(&options, &guard)?;
        Ok(Self { runtime, client, guard, options })
    }

    /// Lets requests go where an address says, since somebody here has named it.
    fn admit(&self, address: &Address) -> Result<(), FetchError> {
        let Address::Http(url) = address else { return Ok(()) };
        self.guard.name(url.host_str().unwrap_or_default());
        if self.options.https_only && url.scheme() != "https" { Err(FetchError::Insecure) } else { Ok(()) }
    }

    /// Gets a small file of at most `cap_bytes`; `None` when it is not there.
    pub(super) fn document(
        &self,
        address: &Address,
        path: &TreePath,
        cap_bytes: u64,
    ) -> Result<Option<Document>, FetchError> {
        self.admit(address)?;
        let found = match address {
            Address::Dir(dir) => directory::document(&dir.join(path.as_str()), cap_bytes),
            Address::Http(_) => self.runtime.block_on(async {
                let url = address.url_of(path).ok_or(FetchError::NotTried)?;
                retried(&self.options, async || {
                    http::document(&self.client, &self.options, url.clone(), cap_bytes).await
                })
                .await
            }),
        };
        match found {
            Ok(document) => Ok(Some(document)),
            Err(FetchError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Downloads all `orders`, several at once, and tells `on` what happens, on this thread. Returns the
    /// sources when every order is done, or as soon as `on` breaks.
    pub(super) fn files(
        &self,
        sources: Vec<Source>,
        orders: Vec<Order>,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Vec<Source> {
        for source in &sources {
            // The documents of a source came before; what is not to be asked for failed with them.
            let _ = self.admit(&source.address);
        }
        let shared = Arc::new(Shared {
            client: self.client.clone(),
            options: self.options.clone(),
            sources: sources.into_iter().map(|source| (source, AtomicUsize::new(0))).collect(),
            orders,
            next: AtomicUsize::new(0),
            received_bytes: AtomicU64::new(0),
        });
        self.runtime.block_on(async {
            let jobs = self.options.jobs.max(1).min(shared.orders.len());
            let (done, mut finished) = mpsc::channel(4 * jobs.max(1));
            let mut workers = tokio::task::JoinSet::new();
            for _ in 0..jobs {
                workers.spawn(work(Arc::clone(&shared), done.clone()));
            }
            drop(done);
            loop {
                let event = match tokio::time::timeout(TICK, finished.recv()).await {
                    Err(_) => None,
                    Ok(Some((number, result))) => Some(Event::Done(number, result)),
                    Ok(None) => break,
                };
                let bytes = Event::Bytes(shared.received_bytes.load(Ordering::Relaxed));
                if on(bytes).is_break() || event.is_some_and(|event| on(event).is_break()) {
                    break;
                }
            }
            workers.shutdown().await;
        });
        let sources = Arc::into_inner(shared).map(|shared| shared.sources).unwrap_or_default();
        sources.into_iter().map(|(source, _)| source).collect()
    }
}

/// Takes one order after the other.
async fn work(shared: Arc<Shared>, done: mpsc::Sender<(usize, Result<Arrived, FetchError>)>) {
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(order) = shared.orders.get(number) else { return };
        let (source, failures) = &shared.sources[order.source];
        // As many failures in a row as there are downloads at once: the server is not there.
        let hopeless = failures.load(Ordering::Relaxed) >= shared.options.jobs.max(4);
        let result = if hopeless { Err(FetchError::NotTried) } else { shared.download(source, order).await };
        match &result {
            Ok(_) => failures.store(0, Ordering::Relaxed),
            Err(FetchError::Exhausted { .. } | FetchError::Store(_)) => {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        if done.send((number, result)).await.is_err() {
            return;
        }
    }
}

impl Shared {
    async fn download(&self, source: &Source, order: &Order) -> Result<Arrived, FetchError> {
        let mut partial = source.partials.open(&order.checksum)?;
        let mut from_before = partial.size_bytes() > 0;
        loop {
            if !complete(&partial, order) {
                if partial.is_sealed() {
                    partial.restart()?;
                }
                self.fill(source, order, &mut partial).await?;
            }
            let hashed = partial.hashed();
            let right = hashed.checksum == order.checksum;
            if right && order.size_bytes.is_none_or(|size| size == hashed.size_bytes) {
                return Ok(Arrived { file: partial.finish()?, hashed });
            }
            if from_before {
                // What was left of an earlier run may be at fault.
                from_before = false;
                partial.restart()?;
                continue;
            }
            partial.discard();
            let declared_bytes = order.size_bytes.unwrap_or(hashed.size_bytes);
            return Err(if right {
                FetchError::Size { found_bytes: hashed.size_bytes, declared_bytes }
            } else {
                FetchError::Checksum { found: Box::new(hashed.checksum), declared: Box::new(order.checksum) }
            });
        }
    }

    /// Gets what is missing.
    async fn fill(&self, source: &Source, order: &Order, partial: &mut Partial) -> Result<(), FetchError> {
        let Some(url) = source.address.url_of(&order.path) else {
            let Address::Dir(dir) = &source.address else { return Err(FetchError::NotTried) };
            return directory::copy(&dir.join(order.path.as_str()), order, partial, &self.received_bytes);
        };
        let mut attempt = 1;
        loop {
            let tried =
                http::fill(&self.client, &self.options, url.clone(), order, partial, &self.received_bytes)
                    .await;
            match tried {
                Err(error) if error.is_transient() => {
                    wait_or_give_up(&self.options, &mut attempt, error).await?;
                }
                done => return done,
            }
        }
    }
}

/// Whether nothing needs to be asked of the server.
fn complete(partial: &Partial, order: &Order) -> bool {
    match order.size_bytes {
        Some(size_bytes) => partial.size_bytes() >= size_bytes,
        None => partial.size_bytes() > 0 && partial.hashed().checksum == order.checksum,
    }
}

/// Tries until it is done or hopeless.
async fn retried<T>(
    options: &Options,
    mut attempt: impl AsyncFnMut() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut number = 1;
    loop {
        match attempt().await {
            Err(error) if error.is_transient() => wait_or_give_up(options, &mut number, error).await?,
            done => return done,
        }
    }
}

/// Pauses before the next attempt, or fails when there is none.
async fn wait_or_give_up(options: &Options, attempt: &mut u32, error: FetchError) -> Result<(), FetchError> {
    if *attempt >= options.attempts {
        return Err(FetchError::Exhausted { attempts: *attempt, source: Box::new(error) });
    }
    let doubled = options.pause.saturating_mul(1 << (*attempt - 1).min(16));
    let asked = match error {
        FetchError::Status { retry_after: Some(asked), .. } => asked,
        _ => Duration::ZERO,
    };
    tokio::time::sleep(doubled.max(asked).min(PAUSE_MAX)).await;
    *attempt += 1;
    Ok(())
}
