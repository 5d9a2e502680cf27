//! A mounted view goes on with the refs that it shows.
//!
//! One thread looks when somebody rings (see [`crate::bell`]) and twice a second besides, lets the view catch up,
//! and takes the old names from the kernel: it looks the old directory up by the path where it is kept, which
//! moves what the kernel remembers there, and asks by the old path whether that is done. It also looks after memory
//! when the kernel has come to hold more or less. Another thread counts links.
//!
//! Always true: this thread answers no question of the kernel and holds no lock while it asks one; where it
//! cannot reach the mount by its path, it invalidates the name instead, which is slower and as right.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::bell::{Bell, Ringers};
use crate::fuse::{self, FuseError, Gauge, Host, Mounted, Notifier, Settings};
use crate::mounts;
use crate::tree::Nodes;
use crate::view::roots::Roots;
use crate::view::{SNAPSHOT_LABEL, Stale, View};

/// How often it looks when nobody rings.
const PACE: Duration = Duration::from_millis(500);
/// What fewer inodes than this take is not worth a thought.
const INODES_MIN: usize = 4096;
/// So often an old name is taken away when lookups that were under way bring it back.
const TRIES_MAX: usize = 64;

/// Takes a line for the log, in whichever thread.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// Mounts `view` at `dir`, an absolute path without symlinks, and lets it go on with its refs. `name`, unique among
/// the mounts of the store, is that of its bell; where none can be hung (a store that cannot be written), it only
/// looks by itself.
pub fn mount<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: Arc<View<R, N>>,
    dir: &Path,
    settings: Settings,
    name: &str,
    gauges: Vec<Gauge>,
    report: Report,
) -> Result<(Mounted, Follower), FuseError> {
    let bell = Bell::hang(&view.store().run_dir(), name);
    let to_log = Arc::clone(&report);
    let host = Host { report: Box::new(move |text| to_log(text)), gauges };
    let mounted = fuse::mount(Arc::clone(&view), dir, settings, host)?;
    if let Err(error) = &bell {
        report(&format!("{}: promotions do not wait for this mount: {error}", dir.display()));
    }
    let device = mounted.device().map(str::to_owned);
    let site = Site { dir: dir.to_owned(), device, notifier: mounted.notifier() };
    let follower = follow(view, site, bell.ok(), report)
        .map_err(|source| FuseError::Mount { dir: dir.to_owned(), source })?;
    Ok((mounted, follower))
}

/// The mount whose names are taken away.
#[derive(Debug)]
struct Site {
    dir: PathBuf,
    /// Its device in the kernel's table ([`mounts::Mount::device`]).
    device: Option<String>,
    notifier: Notifier,
}

/// A thread that follows refs. Dropping it ends the thread at its next look.
#[derive(Debug)]
pub struct Follower {
    ended: Arc<AtomicBool>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Lets `view`, which is mounted at `site`, go on with its refs.
fn follow<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: Arc<View<R, N>>,
    site: Site,
    bell: Option<Bell>,
    report: Report,
) -> io::Result<Follower> {
    let ended = Arc::new(AtomicBool::new(false));
    let is_ended = Arc::clone(&ended);
    count(Arc::clone(&view), site.notifier.clone(), Arc::clone(&ended), Arc::clone(&report))?;
    let mut walker = Walker { view, site, moves: None, is_failing: false, report };
    std::thread::Builder::new().name("follow".to_owned()).spawn(move || {
        let mut tide = Tide::default();
        while !is_ended.load(Ordering::Relaxed) {
            let ringers = wait(bell.as_ref());
            let look = walker.look(!ringers.is_empty());
            ringers.answer(look);
            if tide.has_turned(walker.view.held_inodes()) {
                walker.view.make_room();
                fuse::release_memory();
            }
        }
    })?;
    Ok(Follower { ended })
}

/// Starts the thread that counts links.
fn count<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: Arc<View<R, N>>,
    notifier: Notifier,
    ended: Arc<AtomicBool>,
    report: Report,
) -> io::Result<()> {
    let work = move || {
        while !ended.load(Ordering::Relaxed) {
            match view.count_links(PACE) {
                // Who is not told goes on with one link for each.
                Ok(changed) => changed.into_iter().flatten().for_each(|inode| {
                    let _ = notifier.forget_attributes(inode);
                }),
                Err(error) => report(&format!("links are not counted: {error}")),
            }
        }
    };
    std::thread::Builder::new().name("links".to_owned()).spawn(work).map(drop)
}

fn wait(bell: Option<&Bell>) -> Ringers {
    if let Some(bell) = bell {
        return bell.wait(PACE);
    }
    std::thread::sleep(PACE);
    Ringers::default()
}

struct Walker<R, N> {
    view: Arc<View<R, N>>,
    site: Site,
    /// How many moves of refs are shown.
    moves: Option<u64>,
    /// The last look failed, and that was reported.
    is_failing: bool,
    report: Report,
}

impl<R: Roots, N: Nodes> Walker<R, N> {
    /// Shows what refs name now; returns when everybody sees it.
    fn look(&mut self, is_told: bool) -> Result<(), String> {
        let looked = self.view.moves().and_then(|moves| {
            if self.moves == Some(moves) && !is_told {
                return Ok(Vec::new());
            }
            let stale = self.view.catch_up()?;
            self.moves = Some(moves);
            Ok(stale)
        });
        match looked {
            Ok(stale) => {
                self.is_failing = false;
                stale.iter().try_for_each(|stale| self.site.take(stale)).map_err(|error| {
                    let text = format!("{}: the old snapshot may be seen: {error}", self.site.dir.display());
                    (self.report)(&text);
                    text
                })
            }
            Err(error) => {
                let text = format!("{}: cannot follow refs: {error}", self.site.dir.display());
                if !self.is_failing {
                    (self.report)(&text);
                }
                self.is_failing = true;
                Err(text)
            }
        }
    }
}

/// How much was held when memory was looked after last.
#[derive(Debug, Default)]
struct Tide {
    last: usize,
}

impl Tide {
    /// Whether what is held is another number, worth the trouble.
    fn has_turned(&mut self, held: usize) -> bool {
        let has_turned = held.abs_diff(self.last) >= INODES_MIN.max(self.last / 8);
        if has_turned {
            self.last = held;
        }
        has_turned
    }
}

/// What stands at the path of an old directory.
enum Seen {
    Old,
    Other,
    Unknown,
}

impl Site {
    /// Takes an old name from the kernel.
    fn take(&self, stale: &Stale) -> io::Result<()> {
        if self.is_reachable() {
            let (path, kept) = (self.dir.join(&stale.path), self.dir.join(&stale.kept));
            let old = stale.snapshot.to_string();
            for _ in 0..TRIES_MAX {
                // Whether it worked is asked next.
                let _ = fs::symlink_metadata(&kept);
                match see(&path, old.as_bytes()) {
                    Seen::Other => return Ok(()),
                    Seen::Old => {}
                    Seen::Unknown => break,
                }
            }
        }
        self.notifier.forget_name(stale.parent, stale.name.as_str())
    }

    /// Whether the path of the mount point leads to this mount, and not to one that hides it or is there since
    /// it was unmounted.
    fn is_reachable(&self) -> bool {
        mounts::find(&self.dir).is_ok_and(|found| found.map(|mount| mount.device) == self.device)
    }
}

fn see(path: &Path, old: &[u8]) -> Seen {
    let mut snapshot = [0; 128];
    match rustix::fs::lgetxattr(path, SNAPSHOT_LABEL, &mut snapshot) {
        Ok(len) if snapshot.get(..len) == Some(old) => Seen::Old,
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NODATA | Errno::OPNOTSUPP) => Seen::Other,
        Err(_) => Seen::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_looked_after_when_much_has_changed() {
        let mut tide = Tide::default();
        let held = [10, 5000, 6000, 100_000, 110_000, 115_000, 90_000, 88_000, 10, 0];
        let turns = held.map(|held| tide.has_turned(held));
        assert_eq!(turns, [false, true, false, true, false, true, true, false, true, false]);
    }
}
