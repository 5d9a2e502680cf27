//! Readers that read complete repositories over and over while the tree behind a view is replaced.
//!
//! Always true: each pass stays inside the directory that it has opened, so it must see one generation,
//! whatever happens meanwhile; nothing is judged here, every pass and the first failure are written down.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, resolve};
use cfs_indexer::depot::Depot;
use cfs_indexer::revision::RevPath;

use super::pass::{Fingerprint, Frozen, Manifest, Pass, PassError, PlainDir, StoredDir, fingerprint};

/// How often somebody who waits looks whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// How a reader gets hold of a directory that must not change.
#[derive(Debug, Clone)]
pub enum Hold {
    /// It opens the directory and goes on from there, as a program does that changes into it.
    Open(PathBuf),
    /// It follows the symlinks of a path and uses the path behind them.
    Follow(PathBuf),
    /// Without a mount: it looks up in the store at this directory what a ref names.
    Store(PathBuf, RevPath),
}

impl Hold {
    /// Takes hold, reads everything, lets go.
    pub fn pass(&self, repositories: &[TreePath], stopped: &dyn Fn() -> bool) -> Result<Pass, PassError> {
        match self {
            Self::Open(path) => Pass::over(&PlainDir::open(path)?, repositories, stopped),
            Self::Follow(path) => Pass::over(&PlainDir::behind_links(path)?, repositories, stopped),
            Self::Store(store, place) => {
                let failed = |e: Box<dyn std::error::Error + Send + Sync>| PassError::Read {
                    path: place.to_string(),
                    source: e,
                };
                let depot = Depot::open(store).map_err(|e| failed(e.into()))?;
                let root = stored(&depot, place).map_err(failed)?;
                Pass::over(&StoredDir { depot: &depot, root } as &dyn Frozen, repositories, stopped)
            }
        }
    }
}

/// What `place` is now.
pub fn stored(depot: &Depot, place: &RevPath) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
    let (_, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let found = resolve(&depot.catalogue, &snapshot.root_item(), &place.path)?;
    found.ok_or_else(|| format!("{place}: there is no such path").into())
}

/// A pass that has ended well.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Which reader.
    pub reader: usize,
    /// When it took hold.
    pub began: Instant,
    /// When it had read the last byte.
    pub ended: Instant,
    /// What it saw.
    pub saw: Fingerprint,
    /// How many packages it compared with the metadata.
    pub packages: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What the readers have seen.
#[derive(Debug, Default)]
pub struct Log {
    /// All passes, in the order of their ends.
    pub passes: Vec<Done>,
    /// What stands behind the fingerprints.
    pub manifests: HashMap<Fingerprint, Manifest>,
    /// Why the first reader gave up.
    pub failure: Option<PassError>,
}

/// Readers at work. Dropping them ends them.
pub struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    log: Mutex<Log>,
    grown: Condvar,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    /// Starts a reader for each of `holds`. They also end when `stop` is set.
    pub fn start(holds: Vec<Hold>, repositories: &[TreePath], stop: &Arc<AtomicBool>) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |(reader, hold): (usize, Hold)| {
            let (shared, stop, repositories) =
                (Arc::clone(&shared), Arc::clone(stop), repositories.to_owned());
            std::thread::spawn(move || read_on(reader, &hold, &repositories, &shared, &stop))
        };
        let threads = holds.into_iter().enumerate().map(start).collect();
        Self { shared, threads }
    }

    /// Waits until each reader has ended `least` passes that began after `since`. False when a reader has ended or
    /// `stop` is set.
    pub fn wait_for_passes(&self, least: usize, since: Instant, stop: &AtomicBool) -> bool {
        let mut log = self.shared.log();
        loop {
            let ended = self.threads.iter().any(JoinHandle::is_finished);
            if ended || log.failure.is_some() || stop.load(Ordering::SeqCst) {
                return false;
            }
            let since_then = log.passes.iter().filter(|pass| pass.began >= since);
            let passed = |reader| since_then.clone().filter(|pass| pass.reader == reader).count() >= least;
            if (0..self.threads.len()).all(passed) {
                return true;
            }
            let woken = self.shared.grown.wait_timeout(log, TICK);
            log = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Why the first reader gave up, if one has; told once.
    pub fn failure(&self) -> Option<PassError> {
        self.shared.log().failure.take()
    }

    /// Ends the readers and returns what they have seen.
    pub fn finish(mut self) -> Log {
        self.end();
        std::mem::take(&mut *self.shared.log())
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_on(reader: usize, hold: &Hold, repositories: &[TreePath], shared: &Shared, stop: &AtomicBool) {
    let stopped = || shared.stop.load(Ordering::SeqCst) || stop.load(Ordering::SeqCst);
    while !stopped() {
        let began = Instant::now();
        let pass = hold.pass(repositories, &stopped);
        let ended = Instant::now();
        let mut log = shared.log();
        match pass {
            Ok(Pass { manifest, packages, bytes }) => {
                let saw = fingerprint(&manifest);
                log.manifests.entry(saw).or_insert(manifest);
                log.passes.push(Done { reader, began, ended, saw, packages, bytes });
            }
            Err(PassError::Stopped) => {}
            Err(failure) => {
                log.failure.get_or_insert(failure);
                shared.grown.notify_all();
                return;
            }
        }
        shared.grown.notify_all();
    }
}
