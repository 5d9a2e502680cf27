//! A [`View`] through the kernel.
//!
//! - `protocol`: the bytes of questions and answers. `adapter`: from a question to the view and back.
//! - `attach`: making the mount. `device`: questions through /dev/fuse. `uring`: questions through rings.
//!   `backing`: files that the kernel reads by itself. `kernel`: the calls that need `unsafe`.
//!
//! Always true: every question is passed to the view and every answer back; whichever way questions come, the
//! same code answers them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::mounts;
use crate::tree::Nodes;
use crate::view::View;
use crate::view::roots::Roots;

mod adapter;
mod attach;
mod backing;
mod device;
mod kernel;
mod protocol;
mod tally;
mod uring;

pub use device::Notifier;
pub(crate) use kernel::release_memory;
pub use tally::Gauge;

use adapter::{Adapter, Answers};
use backing::{Backings, Kernel};
use protocol::ANSWER_BYTES;
use protocol::hello::Wish;

/// Why a mount cannot be made or has ended.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The kernel or the mount helper refuses.
    #[error("{dir}: cannot mount")]
    Mount {
        /// The mount point.
        dir: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The connection to the kernel broke.
    #[error("{dir}: the mount has failed")]
    Session {
        /// The mount point.
        dir: PathBuf,
        /// The failure.
        source: io::Error,
    },
}

/// How to mount.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Let other users see the mount.
    pub allow_other: bool,
    /// Threads that answer the kernel: at least so many, and as many for every processor where each has its own.
    pub threads: usize,
    /// How questions come.
    pub transport: Transport,
    /// Let the kernel read files of the store by itself, where it can.
    pub passthrough: bool,
    /// Only an overlay reads the mount. It asks every file for extended attributes of its own, and opens what it
    /// links or renames without reading it: the mount says once that it has no extended attributes at all, and opens
    /// such a file's content when that is read.
    pub below_overlay: bool,
}

/// The way on which questions of the kernel come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Rings where the kernel offers them, else the device.
    Auto,
    /// Rings (FUSE over `io_uring`), or no mount.
    Uring,
    /// The device `/dev/fuse`.
    Device,
}

/// How a mount works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// Threads that answer the kernel.
    pub threads: usize,
    /// Whether questions come through rings, or why they come through the device.
    pub uring: Result<(), String>,
    /// Whether the kernel reads files of the store by itself, or why not.
    pub passthrough: Result<(), String>,
}

/// Takes a line for the log: an answer that could not be given, and why.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// The process that a mount is in.
pub struct Host {
    /// Where failures are told.
    pub report: Report,
    /// What else is to be told with the counts of questions.
    pub gauges: Vec<Gauge>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("gauges", &self.gauges).finish_non_exhaustive()
    }
}

/// Tells what the kernel asked how often.
#[derive(Clone)]
pub struct Stats(Arc<dyn Answers>);

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats").finish_non_exhaustive()
    }
}

impl Stats {
    /// All numbers of now, in the text format of Prometheus.
    pub fn text(&self) -> String {
        self.0.stats()
    }
}

/// A mounted view, served by threads of its own until it is unmounted. Dropping it unmounts.
pub struct Mounted {
    dir: PathBuf,
    mount: Option<String>,
    mode: Mode,
    session: Arc<OwnedFd>,
    stats: Option<Stats>,
    crew: Crew,
}

/// What becomes of a thread.
type Work = io::Result<()>;

/// Threads, and what they say when they end.
#[derive(Debug)]
struct Crew {
    tell: Sender<Work>,
    told: Receiver<Work>,
    size: usize,
}

impl Crew {
    fn new() -> Self {
        let (tell, told) = mpsc::channel();
        Self { tell, told, size: 0 }
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() -> Work + Send + 'static) -> io::Result<()> {
        let tell = self.tell.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(work));
            // Nobody may be listening any more.
            let _ = tell
                .send(ended.unwrap_or_else(|_| Err(io::Error::other("a thread that served it panicked"))));
        })?;
        self.size += 1;
        Ok(())
    }

    /// Waits until all have ended, or one has failed: the others cannot do its work.
    fn wait(&mut self) -> Work {
        while self.size > 0 {
            let ended = self.told.recv().map_err(io::Error::other)?;
            self.size -= 1;
            ended?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("dir", &self.dir).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Mounted {
    /// Waits until the mount is gone, whoever unmounts it ([`mounts::unmount`]).
    pub fn wait(mut self) -> Result<(), FuseError> {
        let ended = self.crew.wait();
        // What failed stays, and fails whoever looks at it; what has ended has nothing to be unmounted.
        self.crew.size = 0;
        ended.map_err(|source| FuseError::Session { dir: self.dir.clone(), source })
    }

    /// The device of this mount in the kernel's table ([`mounts::Mount::device`]).
    pub fn device(&self) -> Option<&str> {
        self.mount.as_deref()
    }

    /// How it works.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What the kernel asked how often. `None` of a mount that has not begun.
    pub fn stats(&self) -> Option<Stats> {
        self.stats.clone()
    }

    /// Tells the kernel what to forget.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(&self.session))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Without threads it has ended, and what is at the directory now is perhaps another mount.
        let found = if self.crew.size == 0 { None } else { mounts::find(&self.dir).ok().flatten() };
        if found.is_some_and(|mount| Some(mount.device) == self.mount) {
            let _ = mounts::unmount(&self.dir, true);
        }
    }
}

/// Mounts `view` at `dir`, an absolute path without symlinks. When this returns, the mount answers.
pub fn mount<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: impl Into<Arc<View<R, N>>>,
    dir: &Path,
    settings: Settings,
    host: Host,
) -> Result<Mounted, FuseError> {
    let failed = |source| FuseError::Mount { dir: dir.to_owned(), source };
    let session = Arc::new(attach::attach(dir, settings.allow_other).map_err(failed)?);
    let mount = mounts::find(dir).ok().flatten().map(|mount| mount.device);
    let unwished = || Err("it was not wished for".to_owned());
    let mode = Mode { threads: settings.threads.max(1), uring: unwished(), passthrough: unwished() };
    let mut mounted = Mounted { dir: dir.to_owned(), mount, mode, session, stats: None, crew: Crew::new() };
    let served = mounted.serve(view.into(), settings, host);
    if let Err(source) = served {
        let _ = mounts::unmount(dir, true);
        mounted.crew.size = 0;
        return Err(failed(source));
    }
    mounted.device().iter().for_each(|device| raise_read_ahead(device));
    Ok(mounted)
}

impl Mounted {
    /// Greets the kernel and starts the threads that answer it.
    fn serve<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
        &mut self,
        view: Arc<View<R, N>>,
        settings: Settings,
        host: Host,
    ) -> io::Result<()> {
        let mut rings = None;
        let taken = device::greet(&self.session, |offer| {
            if settings.transport != Transport::Device {
                let per_core = self.mode.threads.div_ceil(available_cores());
                let prepared = if offer.has_uring() {
                    uring::prepare(&self.session, per_core, &mut self.crew).map_err(|error| error.to_string())
                } else {
                    Err(uring::why_not())
                };
                self.mode.uring = prepared.map(|prepared| rings = Some(prepared));
            }
            let passthrough = settings.passthrough && offer.has_passthrough();
            Wish { passthrough, uring: rings.is_some() }
        })?;
        if settings.transport == Transport::Uring {
            self.mode.uring.clone().map_err(|why| io::Error::other(format!("no io_uring: {why}")))?;
        }
        if settings.passthrough {
            self.mode.passthrough = if taken.passthrough {
                try_passthrough(&self.session, view.store().root())
            } else {
                Err("this kernel does not offer it".to_owned())
            };
        }
        let backings =
            self.mode.passthrough.is_ok().then(|| Backings::new(Kernel(Arc::clone(&self.session))));
        let answers: Arc<dyn Answers> = Arc::new(Adapter::new(view, backings, host, settings.below_overlay));
        self.stats = Some(Stats(Arc::clone(&answers)));
        let Some(rings) = rings else { return self.serve_device(self.mode.threads, &answers) };
        self.mode.threads = rings.threads();
        // For what does not come through rings.
        self.serve_device(1, &answers)?;
        rings.start(&answers)
    }

    /// Starts `threads` threads with a channel each.
    fn serve_device(&mut self, threads: usize, answers: &Arc<dyn Answers>) -> io::Result<()> {
        let mut channels = vec![self.session.try_clone()?];
        while channels.len() < threads {
            channels.push(device::channel(&self.session)?);
        }
        for (number, channel) in channels.into_iter().enumerate() {
            let answers = Arc::clone(answers);
            self.crew.spawn(&format!("fuse-{number}"), move || device::serve(&channel, &*answers))?;
        }
        Ok(())
    }
}

/// Processors that threads may run on.
fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Whether the kernel takes a file of the store as a backing, or why not.
fn try_passthrough(session: &OwnedFd, store: &Path) -> Result<(), String> {
    // Every store has it.
    let path = store.join("FORMAT");
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let backing = kernel::open_backing(session, file.as_fd()).map_err(|errno| match errno {
        rustix::io::Errno::PERM => "it takes the right to administrate the system (CAP_SYS_ADMIN)".to_owned(),
        rustix::io::Errno::LOOP => "the store's file system stands on another one".to_owned(),
        errno => format!("the kernel refuses files of the store: {errno}"),
    })?;
    // The number is worth nothing once the mount is gone, which is the only reason to fail.
    let _ = kernel::close_backing(session, backing);
    Ok(())
}

/// Lets the kernel read ahead as much as one request carries. Only root may, and only speed depends on it.
fn raise_read_ahead(device: &str) {
    let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let _ = fs::write(knob, (ANSWER_BYTES >> 10).to_string());
}
