//! The documents that list packages, written from fragments.
//!
//! Always true: what is written follows from the packages, their places, the format and the kind of checksum, so
//! it is remembered by a hash of these and not written again while the store has it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use cfs_fs::digest::{BlobId, Digest};

use super::CreaterepoError;
use super::packages::{Entry, Packages};
use crate::catalogue::{CatalogueError, Checked};
use crate::checksum::{Algorithm, Checksum};
use crate::depot::Depot;
use crate::repodata::compression::Format;
use crate::repodata::document::{Document, Finished, Kind};
use crate::repodata::fragment::{Decoder, Fragment, Place};
use crate::repository::keep_list;
use crate::rpm::Nevra;

/// Changes when the same fragments become other documents.
const VERSION: &str = "cfs documents 1";
/// Fragments that are handed over at once: so many, or so many bytes of them.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 4 << 20;

/// A metadata file that is to be listed.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) blob: BlobId,
    pub(super) size_bytes: u64,
    pub(super) checksum: Checksum,
    pub(super) open_checksum: Checksum,
    pub(super) open_size_bytes: u64,
    /// Where the store may lack it.
    pub(super) bytes: Option<Vec<u8>>,
}

impl From<Finished> for Made {
    fn from(finished: Finished) -> Self {
        let Finished { bytes, checksum, open_checksum, open_size_bytes } = finished;
        let (blob, size_bytes) = (BlobId::of(&bytes), bytes.len() as u64);
        Self { blob, size_bytes, checksum, open_checksum, open_size_bytes, bytes: Some(bytes) }
    }
}

/// How the documents are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// How they are compressed.
    pub(super) format: Format,
    /// The checksums of packages and documents.
    pub(super) algorithm: Algorithm,
    /// Packages have the times of their builds.
    pub(super) build_times: bool,
}

/// The documents about `packages`, in the order of [`Kind::ALL`], and the name under which they are remembered, with
/// what is remembered besides.
pub(super) fn make(
    depot: &Depot,
    packages: &Packages,
    style: Style,
) -> Result<(Vec<Made>, Memory), CreaterepoError> {
    let mut memory = Memory::of(depot, &packages.entries, style);
    if let Some(made) = memory.recall(depot) {
        return Ok((made, memory));
    }
    let (made, nevras) = write(packages, style)?;
    memory.nevras = nevras;
    Ok((made, memory))
}

/// What was made of the same packages before.
#[derive(Debug)]
pub(super) struct Memory {
    key: BlobId,
    checked: Checked,
    /// What identifies each package, where documents were written anew.
    nevras: Vec<Nevra>,
}

impl Memory {
    fn of(depot: &Depot, entries: &[Entry], style: Style) -> Self {
        let mut text = Vec::with_capacity(entries.len() * 160);
        let Style { format, algorithm, build_times } = style;
        let times = if build_times { " build" } else { "" };
        let head = format!("{VERSION} {} {format:?} {algorithm}{times}\n", Fragment::FORMAT);
        text.extend_from_slice(head.as_bytes());
        for Entry { found, checksum, .. } in entries {
            text.extend_from_slice(found.blob.as_bytes());
            text.extend_from_slice(checksum.as_bytes());
            text.extend_from_slice(&found.size_bytes.to_le_bytes());
            let time = if build_times { 0 } else { found.mtime };
            text.extend_from_slice(&time.to_le_bytes());
            text.extend_from_slice(found.path.as_bytes());
            text.push(b'\n'); // no path holds one
        }
        Self { key: Digest::of(&text).into(), checked: depot.checked(), nevras: Vec::new() }
    }

    /// What was made, if the store has all of it.
    fn recall(&self, depot: &Depot) -> Option<Vec<Made>> {
        let text = String::from_utf8(self.checked.extract(self.key)?).ok()?;
        let made: Vec<Made> = text.lines().map(parse).collect::<Option<_>>()?;
        let all = made.len() == Kind::ALL.len();
        (all && made.iter().all(|made| depot.store.has_blob(made.blob, made.size_bytes))).then_some(made)
    }

    /// Remembers what was made of `entries`, once the store has it.
    pub(super) fn keep(&self, made: &[Made], entries: &[Entry]) {
        if self.nevras.is_empty() {
            return;
        }
        if let Some(primary) = made.first() {
            let listed = entries.iter().zip(&self.nevras).map(|(entry, nevra)| {
                (entry.found.path.as_str(), &entry.checksum, entry.found.size_bytes, nevra)
            });
            keep_list(&self.checked, primary.blob, listed.collect());
        }
        let mut text = String::new();
        for Made { blob, size_bytes, checksum, open_checksum, open_size_bytes, .. } in made {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{blob} {size_bytes} {checksum} {open_checksum} {open_size_bytes}");
        }
        self.checked.keep_extracts(&[(self.key, text.as_bytes())]);
    }
}

fn parse(line: &str) -> Option<Made> {
    let mut words = line.split(' ');
    Some(Made {
        blob: words.next()?.parse().ok()?,
        size_bytes: words.next()?.parse().ok()?,
        checksum: words.next()?.parse().ok()?,
        open_checksum: words.next()?.parse().ok()?,
        open_size_bytes: words.next()?.parse().ok()?,
        bytes: None,
    })
}

/// Fragments with the number of the first one's package.
type Batch = (usize, Vec<Fragment>);

/// Writes the three documents at once, each by a thread of its own.
fn write(packages: &Packages, style: Style) -> Result<(Vec<Made>, Vec<Nevra>), CreaterepoError> {
    let entries = &packages.entries;
    thread::scope(|scope| {
        let (mut senders, mut writers) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let (sender, receiver) = sync_channel::<Arc<Batch>>(4);
            senders.push(sender);
            writers.push(scope.spawn(move || write_one(kind, &receiver, entries, style)));
        }
        let read = read(packages, &senders);
        drop(senders);
        let mut made = Vec::new();
        for (kind, writer) in Kind::ALL.into_iter().zip(writers) {
            let finished =
                writer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")));
            let document = kind.word();
            made.push(finished.map_err(|source| CreaterepoError::Compress { document, source })?.into());
        }
        read.map(|nevras| (made, nevras))
    })
}

/// Hands the fragments of all packages to those who write; returns what identifies each package.
fn read(packages: &Packages, writers: &[SyncSender<Arc<Batch>>]) -> Result<Vec<Nevra>, CreaterepoError> {
    let numbers: Vec<i64> = packages.entries.iter().map(|entry| entry.number).collect();
    let mut decoder = Decoder::default();
    let mut nevras = Vec::with_capacity(numbers.len());
    let (mut batch, mut batch_bytes): (Batch, usize) = ((0, Vec::with_capacity(BATCH)), 0);
    packages.fragments.visit::<CreaterepoError>(&numbers, &mut |at, bytes| {
        let path = || packages.entries[at].found.path.clone();
        let damaged = || CatalogueError::Damaged { what: format!("cache.db: the fragment of {}", path()) };
        let fragment = decoder.decode(bytes).ok_or_else(damaged)?;
        nevras.push(fragment.nevra.clone());
        batch.1.push(fragment);
        batch_bytes += bytes.len();
        if batch.1.len() >= BATCH || batch_bytes >= BATCH_BYTES {
            let full = Arc::new(std::mem::replace(&mut batch, (at + 1, Vec::with_capacity(BATCH))));
            batch_bytes = 0;
            // A writer that has gone has failed, and says so when it is joined.
            writers.iter().for_each(|writer| drop(writer.send(Arc::clone(&full))));
        }
        Ok(())
    })?;
    let last = Arc::new(batch);
    writers.iter().for_each(|writer| drop(writer.send(Arc::clone(&last))));
    Ok(nevras)
}

fn write_one(
    kind: Kind,
    batches: &Receiver<Arc<Batch>>,
    entries: &[Entry],
    style: Style,
) -> io::Result<Finished> {
    let mut document = Document::new(style.format, style.algorithm)?;
    let mut text = kind.opening(entries.len());
    for batch in batches {
        for (fragment, entry) in batch.1.iter().zip(&entries[batch.0..]) {
            let Entry { found, checksum, .. } = entry;
            match kind {
                Kind::Primary => {
                    let file_time = if style.build_times { None } else { Some(found.mtime) };
                    let (size_bytes, href) = (found.size_bytes, found.path.as_str());
                    fragment.write_primary(&mut text, &Place { checksum, file_time, size_bytes, href });
                }
                Kind::Filelists => fragment.write_filelists(&mut text, checksum),
                Kind::Other => fragment.write_other(&mut text, checksum),
            }
        }
        document.write_all(text.as_bytes())?;
        text.clear();
    }
    text.push_str(kind.closing());
    document.write_all(text.as_bytes())?;
    document.finish()
}
