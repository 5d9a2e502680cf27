//! From the kernel's questions to the view, and back.
//!
//! Always true: one question gives one answer, whatever it says and whichever way it came; nothing is
//! remembered here but which files the kernel reads by itself. What belongs to a snapshot is the kernel's to
//! keep forever, what stands for a ref is asked for every time.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Host;
use super::backing::{Backed, Backings, Way};
use super::protocol::ANSWER_BYTES;
use super::protocol::answer::{Holding, Opened, Room, open};
use super::protocol::question::{Header, Question};
use super::tally::{self, Tally};
use crate::mounts::STATS_LABEL;
use crate::name::NAME_MAX_BYTES;
use crate::store::StoreError;
use crate::tree::Nodes;
use crate::view::roots::Roots;
use crate::view::{Answer, Holds, Inode, View, ViewError};

/// As good as forever, in a range that every kernel can add to its clock.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The handle of files that the kernel opened by itself; the view counts its own from 1.
const UNOPENED: u64 = 0;

/// How the names of all extended attributes begin.
const LABELS: &str = "user.cfs.";

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many bytes of the room are the answer.
    Answered(usize),
    /// This error is the answer.
    Refused(Errno),
    /// The kernel waits for none.
    Silent,
}

/// Answers questions, in any number of threads at once.
pub(super) trait Answers: Send + Sync {
    /// Answers one question: its header, the part of fixed length, and what follows. The answer is written
    /// to the front of `room`.
    fn answer(&self, header: Header, head: &[u8], body: &[u8], room: &mut [u8]) -> Outcome;

    /// What was asked how often, and what is held, in the text format of Prometheus.
    fn stats(&self) -> String;
}

/// A view, as the kernel asks it.
pub(super) struct Adapter<R, N> {
    view: Arc<View<R, N>>,
    /// Where the kernel reads files of the store by itself.
    backings: Option<Backings>,
    has_warned: AtomicBool,
    below_overlay: bool,
    tally: Tally,
    host: Host,
}

impl<R, N> fmt::Debug for Adapter<R, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("view", &self.view).finish_non_exhaustive()
    }
}

impl<R: Roots, N: Nodes + Send + Sync> Answers for Adapter<R, N> {
    fn answer(&self, header: Header, head: &[u8], body: &[u8], room: &mut [u8]) -> Outcome {
        let question = match Question::parse(header.opcode, head, body) {
            Ok(question) => question,
            Err(malformed) => {
                (self.host.report)(&malformed.to_string());
                return Outcome::Refused(Errno::IO);
            }
        };
        self.tally.asked(&question);
        let mut room = Room::new(room);
        // Whoever asks must not wait forever for a thread that is gone.
        let answered = catch_unwind(AssertUnwindSafe(|| self.reply(header, question, &mut room)));
        match answered {
            Ok(Ok(true)) => Outcome::Answered(room.len()),
            Ok(Ok(false)) => Outcome::Silent,
            Ok(Err(Refusal(errno))) => Outcome::Refused(errno),
            Err(_) => Outcome::Refused(Errno::IO),
        }
    }

    fn stats(&self) -> String {
        let mut text = String::new();
        self.tally.print(&mut text);
        let inodes = self.view.held_inodes() as u64;
        tally::line(&mut text, "cfs_mount_inodes", "Inodes that the kernel holds.", inodes);
        if let Some(backings) = &self.backings {
            let (opens, files) = (backings.opens(), backings.len() as u64);
            let help = "Files that were opened for the kernel to read by itself.";
            tally::line(&mut text, "cfs_mount_passthrough_opens_total", help, opens);
            let help = "Files of the store that the kernel holds to read by itself.";
            tally::line(&mut text, "cfs_mount_backing_files", help, files);
        }
        let memory = tally::resident_bytes();
        tally::line(
            &mut text,
            "cfs_mount_resident_bytes",
            "Memory of the process that serves the mount.",
            memory,
        );
        for gauge in &self.host.gauges {
            tally::line(&mut text, gauge.name, gauge.help, (gauge.value)());
        }
        text
    }
}

/// Why there is no answer, as the kernel is told it.
struct Refusal(Errno);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl<R: Roots, N: Nodes + Send + Sync> Adapter<R, N> {
    pub(super) fn new(
        view: Arc<View<R, N>>,
        backings: Option<Backings>,
        host: Host,
        below_overlay: bool,
    ) -> Self {
        let has_warned = AtomicBool::new(false);
        Self { view, backings, has_warned, below_overlay, tally: Tally::default(), host }
    }

    /// Writes an answer; `false` when none is waited for.
    fn reply(&self, header: Header, question: Question<'_>, room: &mut Room<'_>) -> Result<bool, Refusal> {
        let inode = Inode(header.node);
        let failed = |error: ViewError| self.refuse(&error);
        match question {
            Question::Lookup { name } => self.lookup(inode, name, room)?,
            Question::Forget { lookups } => {
                self.view.forget(inode, lookups);
                return Ok(false);
            }
            Question::ForgetMany(forgets) => {
                forgets.iter().for_each(|(node, lookups)| self.view.forget(Inode(node), lookups));
                return Ok(false);
            }
            Question::Attributes => {
                let (attributes, holds) = self.view.attributes(inode).map_err(failed)?;
                room.attributes(&attributes, time_to_live(holds))?;
            }
            Question::ReadLink => room.put(self.view.read_link(inode).map_err(failed)?.as_bytes())?,
            Question::Open { flags } => {
                // Without passthrough, the kernel opens files by itself from then on.
                let Some(backings) = &self.backings else { return Err(Errno::NOSYS.into()) };
                // An overlay opens every file that it links or renames to ask for flags, and reads through opens
                // with this.
                let is_read = !self.below_overlay || flags & OFlags::NOATIME.bits() != 0;
                let opened =
                    if is_read { self.open(backings, inode) } else { self.open_unread(backings, inode) };
                room.opened(opened.map_err(failed)?)?;
            }
            Question::Read { handle, offset, size_bytes } => {
                let most = ANSWER_BYTES.min(size_bytes as usize);
                let read = |bytes: &mut [u8]| match handle {
                    UNOPENED => self.view.read_unopened(inode, offset, bytes),
                    _ => self.view.read(handle, offset, bytes),
                };
                room.put_with(most, read).map_err(failed)?;
            }
            Question::Release { handle } => self.release(inode, handle),
            Question::OpenDir => room.opened(self.open_dir(inode).map_err(failed)?)?,
            Question::ReadDir { handle, offset, size_bytes, plus } => {
                self.read_dir(handle, offset, size_bytes as usize, plus, room).map_err(failed)?;
            }
            Question::ReleaseDir { handle } => self.view.close_dir(handle),
            Question::Space => {
                let space = self.view.space().map_err(failed)?;
                room.space(&space, u32::try_from(NAME_MAX_BYTES).unwrap_or(u32::MAX))?;
            }
            // After one such answer the kernel asks no more.
            Question::Label { .. } | Question::Labels { .. } if self.below_overlay => {
                return Err(Errno::NOSYS.into());
            }
            Question::Label { name, room_bytes } if inode == Inode::TOP && name == STATS_LABEL.as_bytes() => {
                put_sized(room, room_bytes, self.stats().as_bytes())?;
            }
            // Every `ls -l` asks for labels that nothing here has.
            Question::Label { name, .. } if !name.starts_with(LABELS.as_bytes()) => {
                return Err(Errno::NODATA.into());
            }
            Question::Label { name, room_bytes } => {
                let labels = self.view.labels(inode).map_err(failed)?;
                let label = labels.iter().find(|(label, _)| label.as_bytes() == name);
                put_sized(room, room_bytes, label.ok_or(Errno::NODATA)?.1.as_bytes())?;
            }
            Question::Labels { room_bytes } => {
                let labels = self.view.labels(inode).map_err(failed)?;
                let names: String = labels.into_iter().map(|(label, _)| label + "\0").collect();
                put_sized(room, room_bytes, names.as_bytes())?;
            }
            Question::Destroy => {}
            Question::Change => return Err(Errno::ROFS.into()),
            // Of an interrupt this means: answers come soon enough.
            Question::Interrupt | Question::Other => return Err(Errno::NOSYS.into()),
        }
        Ok(true)
    }

    fn lookup(&self, parent: Inode, name: &[u8], room: &mut Room<'_>) -> Result<(), Refusal> {
        match self.view.lookup(parent, name).map_err(|error| self.refuse(&error))? {
            Answer::Found(found) => {
                let holding = Holding { name: time_to_live(found.holds), attributes: FOREVER };
                Ok(room.entry(found.inode, &found.attributes, holding)?)
            }
            Answer::Absent(Holds::Now) => Err(Errno::NOENT.into()),
            Answer::Absent(holds) => Ok(room.absent(time_to_live(holds))?),
        }
    }

    fn open(&self, backings: &Backings, inode: Inode) -> Result<Opened, ViewError> {
        let verified = self.view.verified_blob(inode);
        if let Some(again) = verified.and_then(|blob| backings.open_again(inode, blob)) {
            return Ok(backed(again));
        }
        let content = self.view.content(inode)?;
        match backings.open(inode, content.blob(), content.as_fd(), verified.is_none()) {
            Way::Backed(way) => Ok(backed(way)),
            Way::Asked(reason) => {
                if let Some(errno) = reason
                    && !self.has_warned.swap(true, Ordering::Relaxed)
                {
                    let blob = content.blob();
                    (self.host.report)(&format!(
                        "blob {blob} is read without passthrough, as others may be: {errno}"
                    ));
                }
                Ok(asked(self.view.keep_open(content)))
            }
        }
    }

    /// Opens a file for somebody who will hardly read it.
    fn open_unread(&self, backings: &Backings, inode: Inode) -> Result<Opened, ViewError> {
        let blob = self.view.blob(inode)?;
        Ok(match backings.open_unread(inode, blob) {
            Way::Backed(way) => backed(way),
            Way::Asked(_) => asked(self.view.open_unread(inode, blob)),
        })
    }

    fn release(&self, inode: Inode, handle: u64) {
        if Backings::<super::backing::Kernel>::is_backed(handle) {
            self.backings.iter().for_each(|backings| backings.close_backed(handle));
        } else if let Some(blob) = self.view.close_file(handle)
            && let Some(backings) = &self.backings
        {
            backings.close_asked(inode, blob);
        }
    }

    fn open_dir(&self, inode: Inode) -> Result<Opened, ViewError> {
        let (handle, holds) = self.view.open_dir(inode)?;
        let flags = if holds == Holds::Forever { open::CACHE_DIR | open::KEEP_CACHE } else { 0 };
        Ok(Opened { handle, flags, backing: 0 })
    }

    fn read_dir(
        &self,
        handle: u64,
        offset: u64,
        bytes_max: usize,
        plus: bool,
        room: &mut Room<'_>,
    ) -> Result<(), ViewError> {
        room.put_with(bytes_max, |bytes| {
            let mut lines = Room::new(bytes);
            self.view.read_dir(handle, offset, plus, &mut |line| {
                let name = line.found.map_or(Duration::ZERO, |found| time_to_live(found.holds));
                lines.line(line, plus, Holding { name, attributes: FOREVER })
            })?;
            Ok(lines.len())
        })
    }

    /// The number for an error. Failures of the store and the catalogue are reported.
    fn refuse(&self, error: &ViewError) -> Refusal {
        let errno = errno(error);
        if [Errno::IO, Errno::NFILE].contains(&errno) {
            self.tally.failed();
            (self.host.report)(&whole_text(error));
        }
        Refusal(errno)
    }
}

/// A file that the kernel reads by itself.
fn backed(Backed { handle, backing }: Backed) -> Opened {
    Opened { handle, flags: open::PASSTHROUGH | open::NO_FLUSH, backing }
}

/// A file that is read by questions. Its content never changes, so what the kernel has of it stays good.
fn asked(handle: u64) -> Opened {
    Opened { handle, flags: open::KEEP_CACHE | open::NO_FLUSH, backing: 0 }
}

/// The length when that is asked for, the bytes when they fit.
fn put_sized(room: &mut Room<'_>, room_bytes: u32, bytes: &[u8]) -> Result<(), Errno> {
    match room_bytes as usize {
        0 => room.length(bytes.len()),
        most if most < bytes.len() => Err(Errno::RANGE),
        _ => room.put(bytes),
    }
}

fn time_to_live(holds: Holds) -> Duration {
    match holds {
        Holds::Now => Duration::ZERO,
        Holds::For(time) => time,
        Holds::Forever => FOREVER,
    }
}

/// The whole exchange of errors for numbers.
fn errno(error: &ViewError) -> Errno {
    let exhausted = |source: &io::Error| {
        [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&source.raw_os_error())
    };
    match error {
        ViewError::UnknownInode(_) => Errno::STALE,
        ViewError::UnknownHandle(_) => Errno::BADF,
        ViewError::NotADirectory(_) => Errno::NOTDIR,
        ViewError::IsADirectory(_) => Errno::ISDIR,
        ViewError::NotASymlink(_) => Errno::INVAL,
        ViewError::NameTooLong { .. } => Errno::NAMETOOLONG,
        ViewError::NoSuchRef { .. } => Errno::NOENT,
        ViewError::Store(StoreError::Io { source, .. }) if exhausted(source) => Errno::NFILE,
        ViewError::NoSuchSnapshot { .. }
        | ViewError::Node(_)
        | ViewError::Store(_)
        | ViewError::WrongSize { .. }
        | ViewError::Read { .. }
        | ViewError::Roots { .. } => Errno::IO,
    }
}

/// An error with everything that led to it, on one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}
