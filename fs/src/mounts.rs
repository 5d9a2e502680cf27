//! What is mounted on this host, and how it goes away.
//!
//! Always true: a mount point is found in the kernel's own table, without touching what is mounted there, so
//! that a dead mount can be found, too.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// What stands in the table as the source of a mount, before the number of the process that serves it.
const SOURCE: &str = "cfs:";
/// A mount's type in the table is `fuse.` and this.
pub const SUBTYPE: &str = "cfs";
/// The extended attribute of a mount's top directory that tells how often the kernel asked what, as text in the
/// format of Prometheus. It is not among those that are listed, so nobody copies it.
pub const STATS_LABEL: &str = "user.cfs.stats";
/// The helper that mounts and unmounts for users who are not root.
pub(crate) const HELPER: &str = "fusermount3";
/// So often a mount in use is tried again, with a pause each time.
const UNMOUNT_TRIES_MAX: usize = 5;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(10);
/// The kernel's table of mounts, as this process sees it.
const TABLE: &str = "/proc/self/mountinfo";

/// Why a mount point cannot be looked at or freed.
#[derive(Debug, thiserror::Error)]
pub enum MountsError {
    /// A file operation failed.
    #[error("{path}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Somebody is inside.
    #[error("{dir}: is in use")]
    Busy {
        /// The mount point.
        dir: PathBuf,
    },
    /// The helper says no.
    #[error("{dir}: {HELPER} cannot unmount: {answer}")]
    Helper {
        /// The mount point.
        dir: PathBuf,
        /// What it printed.
        answer: String,
    },
}

/// A line of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount point.
    pub dir: PathBuf,
    /// `major:minor` of its device.
    pub device: String,
    /// Type of the file system.
    pub kind: String,
    /// What it says it shows.
    pub source: String,
}

impl Mount {
    /// Whether it is a mount of cfs.
    pub fn is_cfs(&self) -> bool {
        self.kind.strip_prefix("fuse.") == Some(SUBTYPE)
    }

    /// The number of the process that serves a mount of cfs.
    pub fn process(&self) -> Option<i32> {
        self.source.strip_prefix(SOURCE).filter(|_| self.is_cfs())?.parse().ok()
    }
}

/// How a directory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As directories do.
    Alive,
    /// Not at all: it is a mount point whose daemon has died.
    Dead,
}

/// The source of mounts that this process serves.
pub(crate) fn source() -> String {
    format!("{SOURCE}{}", std::process::id())
}

/// The mount on top at `dir`, an absolute path without symlinks. `None` when nothing is mounted there.
pub fn find(dir: &Path) -> Result<Option<Mount>, MountsError> {
    let table =
        fs::read(TABLE).map_err(|source| MountsError::Io { verb: "read", path: TABLE.into(), source })?;
    Ok(table.split(|&byte| byte == b'\n').filter_map(parse).rfind(|mount| mount.dir == dir))
}

/// Asks the directory `dir` itself. Its attributes would not tell, since the kernel may remember them.
pub fn health(dir: &Path) -> Result<Health, MountsError> {
    match fs::read_dir(dir) {
        Ok(_) => Ok(Health::Alive),
        Err(e) if is_dead(&e) => Ok(Health::Dead),
        Err(source) => Err(MountsError::Io { verb: "look at", path: dir.to_owned(), source }),
    }
}

/// Whether an error says that a mount's daemon has died.
pub fn is_dead(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    // The last is what a question gets that was on its way through a ring when its process died.
    [Errno::NOTCONN, Errno::CONNABORTED, Errno::CANCELED]
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

/// The absolute path of `dir` without symlinks, for a directory that may be a dead mount point.
pub fn resolve(dir: &Path) -> Result<PathBuf, MountsError> {
    let failed = |source| MountsError::Io { verb: "find", path: dir.to_owned(), source };
    match dir.canonicalize() {
        Err(e) if is_dead(&e) => {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            let (Some(name), parent) = (dir.file_name(), parent.unwrap_or(Path::new("."))) else {
                return Err(failed(e));
            };
            Ok(parent.canonicalize().map_err(failed)?.join(name))
        }
        resolved => resolved.map_err(failed),
    }
}

/// Unmounts what is on top at `dir`, which [`resolve`] gave. With `lazy` it goes at once even when somebody
/// is inside, who then meets errors when the daemon ends.
///
/// Who only looks something up there at this moment is waited for.
pub fn unmount(dir: &Path, lazy: bool) -> Result<(), MountsError> {
    for _ in 0..UNMOUNT_TRIES_MAX {
        match unmount_now(dir, lazy) {
            Err(MountsError::Busy { .. }) => std::thread::sleep(UNMOUNT_PAUSE),
            done => return done,
        }
    }
    unmount_now(dir, lazy)
}

fn unmount_now(dir: &Path, lazy: bool) -> Result<(), MountsError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    match rustix::mount::unmount(dir, flags) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => unmount_by_helper(dir, lazy),
        Err(Errno::BUSY) => Err(MountsError::Busy { dir: dir.to_owned() }),
        Err(errno) => Err(MountsError::Io { verb: "unmount", path: dir.to_owned(), source: errno.into() }),
    }
}

fn unmount_by_helper(dir: &Path, lazy: bool) -> Result<(), MountsError> {
    let failed = |answer: String| MountsError::Helper { dir: dir.to_owned(), answer };
    let mut command = Command::new(HELPER);
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    // Its words are matched below.
    let output = command.arg("--").arg(dir).env("LC_ALL", "C").output().map_err(|e| failed(e.to_string()))?;
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(()),
        false if answer.ends_with("Device or resource busy") => {
            Err(MountsError::Busy { dir: dir.to_owned() })
        }
        false => Err(failed(answer)),
    }
}

/// Reads one line of the table: identity, parent, device, root, mount point, options, optional fields up to
/// a dash, type, source, options of the file system (`proc_pid_mountinfo(5)`).
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_owned()).ok()?;
    let dir = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-");
    let kind = String::from_utf8(rest.nth(1)?.to_owned()).ok()?;
    let source = String::from_utf8(rest.next()?.to_owned()).ok()?;
    Some(Mount { dir, device, kind, source })
}

/// Undoes the table's octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| first == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let line = br"36 35 0:52 / /mnt/a\040b\134c rw,nosuid - fuse.cfs cfs:417 ro,user_id=0";
        let mount = parse(line).unwrap();
        assert_eq!(mount.dir, Path::new(r"/mnt/a b\c"));
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("0:52", "fuse.cfs"));
        assert!(mount.is_cfs() && mount.process() == Some(417));
        let other = parse(b"22 1 8:1 / / rw shared:1 master:2 - ext4 /dev/sda1 rw").unwrap();
        assert!(other.kind == "ext4" && !other.is_cfs() && other.process().is_none());
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_plain_directory_is_no_mount_and_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = resolve(dir.path()).unwrap();
        assert_eq!(find(&path).unwrap(), None);
        assert_eq!(health(&path).unwrap(), Health::Alive);
        assert!(find(Path::new("/proc")).unwrap().is_some());
        assert!(matches!(resolve(&path.join("absent")), Err(MountsError::Io { .. })));
    }
}
