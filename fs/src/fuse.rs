//! A [`View`] through the kernel.
//!
//! - `protocol`: the bytes of questions and answers. `adapter`: from a question to the view and back.
//! - `attach`: making the mount. `device`: questions through /dev/fuse. `backing`: files that the kernel reads
//!   by itself. `kernel`: the calls that need `unsafe`.
//!
//! Always true: every question is passed to the view and every answer back; whichever way questions come, the
//! same code answers them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

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

pub use device::Notifier;

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
    /// Threads that answer the kernel.
    pub threads: usize,
    /// Let the kernel read files of the store by itself, where it can.
    pub passthrough: bool,
}

/// How a mount works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// Threads that answer the kernel.
    pub threads: usize,
    /// Whether the kernel reads files of the store by itself, or why not.
    pub passthrough: Result<(), String>,
}

/// Takes a line for the log: an answer that could not be given, and why.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// A mounted view, served by threads of its own until it is unmounted. Dropping it unmounts.
pub struct Mounted {
    dir: PathBuf,
    mount: Option<String>,
    mode: Mode,
    session: Arc<OwnedFd>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("dir", &self.dir).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Mounted {
    /// Waits until the mount is gone, whoever unmounts it ([`mounts::unmount`]).
    pub fn wait(mut self) -> Result<(), FuseError> {
        let mut ended = Ok(());
        for thread in std::mem::take(&mut self.threads) {
            let one =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that served it panicked")));
            ended = ended.and(one);
        }
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

    /// Tells the kernel what to forget.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(&self.session))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Without threads it has ended, and what is at the directory now is perhaps another mount.
        let found = if self.threads.is_empty() { None } else { mounts::find(&self.dir).ok().flatten() };
        if found.is_some_and(|mount| Some(mount.device) == self.mount) {
            let _ = mounts::unmount(&self.dir, true);
        }
    }
}

/// Mounts `view` at `dir`, an absolute path without symlinks. When this returns, the mount answers.
pub fn mount<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: View<R, N>,
    dir: &Path,
    settings: Settings,
    report: Report,
) -> Result<Mounted, FuseError> {
    let failed = |source| FuseError::Mount { dir: dir.to_owned(), source };
    let session = Arc::new(attach::attach(dir, settings.allow_other).map_err(failed)?);
    let mount = mounts::find(dir).ok().flatten().map(|mount| mount.device);
    let threads = settings.threads.max(1);
    let mode = Mode { threads, passthrough: Err("it was not wished for".to_owned()) };
    // From here on, an error unmounts.
    let mut mounted = Mounted { dir: dir.to_owned(), mount, mode, session, threads: Vec::new() };
    let served = mounted.serve(view, settings, report);
    if let Err(source) = served {
        let _ = mounts::unmount(dir, true);
        return Err(failed(source));
    }
    mounted.device().iter().for_each(|device| raise_read_ahead(device));
    Ok(mounted)
}

impl Mounted {
    /// Greets the kernel and starts the threads that answer it.
    fn serve<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
        &mut self,
        view: View<R, N>,
        settings: Settings,
        report: Report,
    ) -> io::Result<()> {
        let taken = device::greet(&self.session, |offer| Wish {
            passthrough: settings.passthrough && offer.has_passthrough(),
            uring: false,
        })?;
        if settings.passthrough {
            self.mode.passthrough = if taken.passthrough {
                try_passthrough(&self.session, view.store().root())
            } else {
                Err("this kernel does not offer it".to_owned())
            };
        }
        let backings =
            self.mode.passthrough.is_ok().then(|| Backings::new(Kernel(Arc::clone(&self.session))));
        let answers: Arc<dyn Answers> = Arc::new(Adapter::new(view, backings, report));
        let mut channels = vec![self.session.try_clone()?];
        while channels.len() < self.mode.threads {
            channels.push(device::channel(&self.session)?);
        }
        for (number, channel) in channels.into_iter().enumerate() {
            let answers = Arc::clone(&answers);
            let thread = std::thread::Builder::new().name(format!("fuse-{number}"));
            self.threads.push(thread.spawn(move || device::serve(&channel, &*answers))?);
        }
        Ok(())
    }
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
