//! Overlay mounts: by the kernel, or by fuse-overlayfs where the kernel does not permit it.

use std::ffi::CString;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::Driver;
use crate::mounts::{self, MountsError};

/// The program for whom the kernel does not mount overlays.
const PROGRAM: &str = "fuse-overlayfs";
/// The type of its mounts in the kernel's table.
const PROGRAM_KIND: &str = "fuse.fuse-overlayfs";
/// What stands there as the source of the kernel's.
const SOURCE: &str = "cfs-work";
/// The kernel takes one page of options, with a byte at its end.
const OPTIONS_MAX_BYTES: usize = 4095;
/// Set on an upper directory of the kernel's: who cannot read this cannot read the marks in there either.
pub(super) const READABLE: &str = "trusted.cfs.overlay";

/// Why an overlay cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayMountError {
    /// A directory of the overlay cannot be made.
    #[error("{path}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("{dir}: the kernel does not mount an overlay with its changes in {upper}")]
    Kernel {
        /// The mount point.
        dir: PathBuf,
        /// The upper directory.
        upper: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// fuse-overlayfs refuses, or is not there.
    #[error("{dir}: {PROGRAM} does not mount an overlay: {answer}")]
    Program {
        /// The mount point.
        dir: PathBuf,
        /// What it said.
        answer: String,
    },
    /// A path cannot be written as a mount option.
    #[error("{path}: cannot be part of an overlay: {reason}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The directories of one overlay, absolute; `upper` and `work` are on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// What is shown and never written.
    pub lower: PathBuf,
    /// What has changed.
    pub upper: PathBuf,
    /// What the overlay needs for itself.
    pub work: PathBuf,
}

/// Makes the upper directory, unless it is there, and the work directory. The upper directory's time is the one that the top
/// of the overlay shows: `mtime`, in seconds.
pub fn prepare(layers: &Layers, mtime: i64) -> Result<(), OverlayMountError> {
    let Layers { upper, work, .. } = layers;
    make_dir(work)?;
    if !make_dir(upper)? {
        return Ok(());
    }
    let seconds = Duration::from_secs(mtime.unsigned_abs());
    let time = if mtime < 0 { UNIX_EPOCH - seconds } else { UNIX_EPOCH + seconds };
    let set = File::open(upper).and_then(|dir| dir.set_times(FileTimes::new().set_modified(time)));
    set.map_err(|source| OverlayMountError::Io { verb: "set the time of", path: upper.clone(), source })
}

/// Makes a directory of mode 0755, whatever the umask, and says whether it was not there before.
fn make_dir(path: &Path) -> Result<bool, OverlayMountError> {
    let failed = |source| OverlayMountError::Io { verb: "create", path: path.to_owned(), source };
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).map_err(failed)?;
    Ok(true)
}

/// Mounts an overlay of `layers`, which [`prepare`] has seen, at `dir`.
pub fn attach(layers: &Layers, dir: &Path, driver: Driver) -> Result<(), OverlayMountError> {
    match driver {
        Driver::Kernel => by_kernel(layers, dir),
        Driver::Fuse => by_program(layers, dir),
    }
}

/// Whether an overlay that [`attach`] mounted is on top at `dir`, an absolute path without symlinks.
pub fn is_attached(dir: &Path) -> Result<bool, MountsError> {
    Ok(mounts::find(dir)?.is_some_and(|mount| {
        mount.kind == PROGRAM_KIND || (mount.kind == "overlay" && mount.source == SOURCE)
    }))
}

fn by_kernel(layers: &Layers, dir: &Path) -> Result<(), OverlayMountError> {
    let failed = |source: Errno| OverlayMountError::Kernel {
        dir: dir.to_owned(),
        upper: layers.upper.clone(),
        source: source.into(),
    };
    rustix::fs::setxattr(&layers.upper, READABLE, b"y", XattrFlags::empty()).map_err(failed)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    // A rename of a directory below needs `redirect_dir`; with `metacopy`, chmod, links and renames of a file
    // copy no content. Kernels before 4.19 do not know the latter.
    for more in ["redirect_dir=on,metacopy=on,index=off", "redirect_dir=on,index=off"] {
        let options = kernel_options(layers, more)?;
        match rustix::mount::mount(SOURCE, dir, "overlay", flags, options.as_c_str()) {
            Err(Errno::INVAL) if more.contains("metacopy") => {}
            mounted => return mounted.map_err(failed),
        }
    }
    Ok(())
}

/// Paths with a backslash before every character that separates options or directories.
fn kernel_options(layers: &Layers, more: &str) -> Result<CString, OverlayMountError> {
    let mut options = more.as_bytes().to_vec();
    for (key, path) in [("lowerdir", &layers.lower), ("upperdir", &layers.upper), ("workdir", &layers.work)] {
        options.extend_from_slice(b",");
        options.extend_from_slice(key.as_bytes());
        options.push(b'=');
        for &byte in path.as_os_str().as_bytes() {
            if matches!(byte, b'\\' | b',' | b':') {
                options.push(b'\\');
            }
            options.push(byte);
        }
    }
    let too_long =
        || OverlayMountError::Path { path: layers.upper.clone(), reason: "the paths are too long" };
    if options.len() > OPTIONS_MAX_BYTES {
        return Err(too_long());
    }
    CString::new(options).map_err(|_| too_long())
}

fn by_program(layers: &Layers, dir: &Path) -> Result<(), OverlayMountError> {
    let mut options = String::new();
    for (key, path) in [("lowerdir", &layers.lower), ("upperdir", &layers.upper), ("workdir", &layers.work)] {
        let refuse = |reason| OverlayMountError::Path { path: path.clone(), reason };
        let text = path.to_str().ok_or_else(|| refuse("it is not UTF-8"))?;
        if text.contains(['\\', ',', ':']) {
            return Err(refuse("fuse-overlayfs takes no backslash, comma or colon"));
        }
        options.extend([if options.is_empty() { "" } else { "," }, key, "=", text]);
    }
    let failed = |answer: String| OverlayMountError::Program { dir: dir.to_owned(), answer };
    let mut command = Command::new(PROGRAM);
    let output =
        command.arg("-o").arg(options).arg(dir).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
