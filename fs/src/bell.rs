//! How a process that moved a ref makes the mounts of the store look, and waits until they have.
//!
//! Each mount listens at a socket `run/<name>.bell` of the store. To connect is to ring; when the mount shows
//! what refs name now, it answers with a line and closes.
//!
//! Always true: who rings after a commit gets its answer from a mount that has read the catalogue after that
//! commit; a process that is dead or does not answer costs no more than the ringer's patience.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// What names of sockets end in.
const ENDING: &str = ".bell";
/// The answer of a mount that shows what refs name.
const SHOWN: &str = "shown";

/// The socket of a mount. Dropping it removes it.
#[derive(Debug)]
pub struct Bell {
    path: PathBuf,
    listener: UnixListener,
}

/// Those who rang and wait.
#[derive(Debug, Default)]
pub struct Ringers(Vec<UnixStream>);

impl Bell {
    /// Hangs a bell of the mount called `name` in the store's directory for running mounts.
    pub fn hang(run_dir: &Path, name: &str) -> io::Result<Self> {
        let path = run_dir.join(format!("{name}{ENDING}"));
        let listener = short(&path, |short| match UnixListener::bind(short) {
            // Left by a dead process that had our number.
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                fs::remove_file(&path)?;
                UnixListener::bind(short)
            }
            bound => bound,
        })?;
        listener.set_nonblocking(true)?;
        // Ringing tells nobody anything and is worth no more than a look at the catalogue.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(Self { path, listener })
    }

    /// Waits until somebody rings, at most so long, and returns all who did.
    pub fn wait(&self, patience: Duration) -> Ringers {
        let patience = Timespec::try_from(patience).ok();
        // Interrupted or not, what counts is who is there.
        let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], patience.as_ref());
        let mut ringers = Vec::new();
        while let Ok((ringer, _)) = self.listener.accept() {
            ringers.push(ringer);
        }
        Ringers(ringers)
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // Whoever rings next removes it otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

impl Ringers {
    /// Whether nobody rang.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells them that refs are shown as they are, or why not.
    pub fn answer(self, shown: Result<(), String>) {
        let line = shown.err().unwrap_or_else(|| SHOWN.to_owned()).replace('\n', " ") + "\n";
        for mut ringer in self.0 {
            // It may have lost its patience. A line fits into the buffer of a new connection.
            let _ = ringer.set_nonblocking(true).and_then(|()| ringer.write_all(line.as_bytes()));
        }
    }
}

/// Rings the bells of all mounts and waits for their answers, at most so long. Returns a line for every mount
/// that may not show what refs name now.
pub fn ring(run_dir: &Path, patience: Duration) -> io::Result<Vec<String>> {
    let mut waiting = Vec::new();
    for entry in fs::read_dir(run_dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ENDING)) else {
            continue;
        };
        match short(&path, knock) {
            Ok(stream) => waiting.push((name.to_owned(), Ok(stream))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => waiting.push((name.to_owned(), Err(e))),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                // Its process is dead.
                let _ = fs::remove_file(&path);
            }
            // Its process has just ended.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let deadline = Instant::now() + patience;
    let told = |(name, stream): (String, io::Result<UnixStream>)| match stream
        .and_then(|stream| answer(&stream, deadline))
    {
        Ok(text) if text == SHOWN => None,
        Ok(text) => Some(format!("{name}: {text}")),
        Err(error) => Some(format!("{name}: no answer: {error}")),
    };
    Ok(waiting.into_iter().filter_map(told).collect())
}

/// Connects without waiting: a mount that hangs has a queue of callers, which may be full.
fn knock(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The line that comes before the deadline. A mount that ends without a word shows nothing wrong any more.
fn answer(stream: &UnixStream, deadline: Instant) -> io::Result<String> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => Ok(SHOWN.to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(SHOWN.to_owned()),
        Err(e) => Err(e),
    }
}

/// Calls `work` with a path of the socket `path` that is short enough for an address (108 bytes).
fn short<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = File::open(dir)?;
    work(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn who_rings_gets_its_answer_and_the_dead_cost_nothing() {
        let temp = tempfile::tempdir().unwrap();
        // Longer than an address may be.
        let dir = temp.path().join("d".repeat(120));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("mount-1.log"), "").unwrap();
        assert_eq!(ring(&dir, PATIENCE).unwrap(), [""; 0]);
        let bells = ["a", "b", "c"].map(|name| Bell::hang(&dir, name).unwrap());
        // A listener that is closed leaves its socket behind, as a killed process does.
        drop(short(&dir.join("dead.bell"), |path| UnixListener::bind(path)).unwrap());
        let answers = [Ok(()), Err("the catalogue\nis gone".to_owned()), Ok(())];
        let said = std::thread::scope(|scope| {
            for (bell, answer) in bells.iter().zip(answers) {
                scope.spawn(move || {
                    let ringers = bell.wait(PATIENCE);
                    assert!(!ringers.is_empty());
                    ringers.answer(answer);
                });
            }
            ring(&dir, PATIENCE).unwrap()
        });
        assert_eq!(said, ["b: the catalogue is gone"]);
        assert!(!dir.join("dead.bell").exists());
        assert!(bells[0].wait(Duration::ZERO).is_empty());
        let silent = ring(&dir, Duration::from_millis(20)).unwrap();
        assert!(silent.len() == 3 && silent.iter().all(|line| line.contains("no answer")), "{silent:?}");
        // One that never takes a call does not stop who rings.
        let calls: Vec<UnixStream> =
            std::iter::from_fn(|| short(&dir.join("a.bell"), knock).ok()).take(10_000).collect();
        assert!(calls.len() < 10_000, "its queue is never full");
        let silent = ring(&dir, Duration::from_millis(20)).unwrap();
        assert!(silent.len() == 3 && silent.iter().all(|line| line.contains("no answer")), "{silent:?}");
        drop(bells);
        assert_eq!(ring(&dir, PATIENCE).unwrap(), [""; 0]);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
