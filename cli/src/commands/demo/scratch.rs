//! The directory in which the demo takes place, and its end, however that comes.
//!
//! Always true: when a [`Scratch`] is dropped nothing is left mounted and, unless the directory is to be kept,
//! nothing is left of it. When the process ends otherwise, its attendant sees to that.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cfs_fs::mounts;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::output;
use crate::report::{CommandError, Kind};

use super::attendant::{self, MOUNT, READY};

/// The store, in the directory.
pub const STORE: &str = "store";
/// The mount point, in the directory.
pub const MOUNT_POINT: &str = "mnt";
/// How long the story may take to end by itself when a signal has come.
const GRACE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(20);

/// The directory, the process that attends to it, and the watch for signals.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    keep: bool,
    /// Set by a signal.
    stop: Arc<AtomicBool>,
    watch: Watch,
    attendant: RefCell<Attendant>,
}

/// The second process.
#[derive(Debug)]
struct Attendant {
    process: Child,
    words: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
}

impl Scratch {
    /// A new temporary directory, or `keep`, which must be absent or empty and will stay.
    pub fn new(keep: Option<&Path>) -> Result<Self, CommandError> {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch::start(&stop).map_err(|e| CommandError::new(Kind::Failed, e))?;
        let root = if let Some(dir) = keep {
            make_empty(dir)?
        } else {
            let made = tempfile::Builder::new().prefix("cfs-demo-").tempdir();
            made.map_err(|e| CommandError::new(Kind::Failed, e))?.keep()
        };
        let root = root.canonicalize().map_err(|e| CommandError::io("find", &root, e))?;
        let keep = keep.is_some();
        let attendant = Attendant::start(&root, keep).inspect_err(|_| drop(attendant::tidy(&root, keep)))?;
        Ok(Self { root, keep, stop, watch, attendant: RefCell::new(attendant) })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether the directory stays.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Set when the demo is to end.
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// An error when the demo is to end.
    pub fn go_on(&self) -> Result<(), CommandError> {
        if !self.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let text = if self.keep { "interrupted" } else { "interrupted; nothing is left behind" };
        Err(CommandError::new(Kind::Failed, text))
    }

    /// Mounts the store at the mount point; the inner error is the reason why that cannot be.
    pub fn mount(&self) -> Result<Result<(), String>, CommandError> {
        let dir = self.path(MOUNT_POINT);
        fs::create_dir(&dir).map_err(|e| CommandError::io("make", &dir, e))?;
        let answer =
            self.attendant.borrow_mut().ask(MOUNT).map_err(|e| CommandError::io("mount", &dir, e))?;
        Ok(if answer == READY { Ok(()) } else { Err(answer) })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.attendant.get_mut().end();
        // Normally it has left nothing to do. There is nobody to tell.
        let mount_point = self.path(MOUNT_POINT);
        if mounts::find(&mount_point).is_ok_and(|mount| mount.is_some()) {
            let _ = mounts::unmount(&mount_point, true);
        }
        let _ = attendant::tidy(&self.root, self.keep);
        self.watch.end();
    }
}

impl Attendant {
    fn start(root: &Path, keep: bool) -> Result<Self, CommandError> {
        let program = std::env::current_exe().map_err(|e| CommandError::io("find", "cfs".as_ref(), e))?;
        let mut command = Command::new(&program);
        command.arg("demo").arg("--attend").arg(root);
        if keep {
            command.arg("--keep").arg(root);
        }
        // A process group of its own: Ctrl-C ends the demo, and that ends this.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).current_dir("/");
        let mut process = command.spawn().map_err(|e| CommandError::io("run", &program, e))?;
        let (words, answers) = (process.stdin.take(), process.stdout.take().map(BufReader::new));
        Ok(Self { process, words, answers })
    }

    /// Asks for something and returns the answer.
    fn ask(&mut self, word: &str) -> io::Result<String> {
        let (Some(words), Some(answers)) = (&mut self.words, &mut self.answers) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        writeln!(words, "{word}")?;
        let mut answer = String::new();
        if answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other("the process that would serve the mount has ended"));
        }
        Ok(answer.trim_end().to_owned())
    }

    fn end(&mut self) {
        self.words = None;
        // It cannot fail for a child that nobody else waits for.
        let _ = self.process.wait();
    }
}

/// A thread that waits for signals.
#[derive(Debug)]
struct Watch {
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let (handle, stop) = (signals.handle(), Arc::clone(stop));
        let over = handle.clone();
        let thread = std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                stop.store(true, Ordering::SeqCst);
                end_by_force(&over);
            }
        });
        Ok(Self { signals: handle, thread: Some(thread) })
    }

    fn end(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// Gives the story time to end by itself. If it does not, because it waits for somebody else, the process ends
/// here, and the attendant tidies up.
#[expect(clippy::exit, reason = "the thread that would return the status is in a call that cannot be ended")]
fn end_by_force(over: &Handle) {
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if over.is_closed() {
            return;
        }
        std::thread::sleep(TICK);
    }
    output::error("error: interrupted");
    std::process::exit(3);
}

/// Makes sure that `dir` is an empty directory.
fn make_empty(dir: &Path) -> Result<PathBuf, CommandError> {
    fs::create_dir_all(dir).map_err(|e| CommandError::io("make", dir, e))?;
    let mut entries = fs::read_dir(dir).map_err(|e| CommandError::io("list", dir, e))?;
    if entries.next().is_some() {
        let error = CommandError::new(Kind::Failed, format!("{}: is not empty", dir.display()));
        return Err(error.hint("name a directory that does not exist yet"));
    }
    Ok(dir.to_owned())
}
