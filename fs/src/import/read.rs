//! Reads host files into the store with several threads.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::OFlags;

use super::scan::{HostFile, io_error, is_executable, stamp_of};
use super::{ImportError, Options, Progress, Recall, Stamp};
use crate::digest::{BlobId, Digest};
use crate::store::lease::Lease;
use crate::store::publish::{Publisher, Ready, Record};
use crate::store::{Context, Store, StoreError};

/// Files up to this size are hashed before anything is written, so that known content costs no write.
const SMALL_BYTES: u64 = 1 << 20;
/// How much of a larger file is read at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// How often a file that changes while it is read is read anew.
const TRIES: usize = 3;
/// Finished files that may wait for the publisher, which stands still while it syncs.
const QUEUE: usize = 4096;
/// A file whose times are this close to the import's start is not remembered.
const UNSETTLED_NS: i64 = 20_000_000;

/// A file that has been read.
struct Done {
    index: usize,
    stamp: Stamp,
    executable: bool,
    blob: BlobId,
    file: Option<std::path::PathBuf>,
}

/// Finds the content of every file in `files`, writing what the store lacks.
pub(crate) fn read_files(
    store: &Store,
    files: &mut [HostFile],
    options: Options,
    recall: &dyn Recall,
    record: Box<Record<'_, Option<Stamp>>>,
    report: &mut dyn FnMut(&Progress),
) -> Result<Progress, ImportError> {
    let mut progress = Progress::default();
    let mut unknown = Vec::new();
    let stamps: Vec<Stamp> = files.iter().map(|file| file.stamp).collect();
    let recalled = recall.recall(&stamps);
    for (index, (file, blob)) in files.iter_mut().zip(recalled).enumerate() {
        progress.files += 1;
        progress.bytes += file.stamp.size_bytes;
        if file.same_as.is_some() {
            continue;
        }
        file.blob = blob;
        match file.blob {
            Some(_) => count_done(&mut progress, file.stamp.size_bytes),
            None => unknown.push(index),
        }
    }
    report(&progress);
    if !unknown.is_empty() {
        read_unknown(store, files, &unknown, options, record, &mut progress, report)?;
    }
    for index in 0..files.len() {
        if let Some(first) = files[index].same_as {
            files[index].blob = files[first].blob;
            files[index].stamp = files[first].stamp;
            count_done(&mut progress, files[first].stamp.size_bytes);
        }
    }
    report(&progress);
    Ok(progress)
}

fn count_done(progress: &mut Progress, size_bytes: u64) {
    progress.files_done += 1;
    progress.bytes_done += size_bytes;
}

fn read_unknown(
    store: &Store,
    files: &mut [HostFile],
    unknown: &[usize],
    options: Options,
    record: Box<Record<'_, Option<Stamp>>>,
    progress: &mut Progress,
    report: &mut dyn FnMut(&Progress),
) -> Result<(), ImportError> {
    let lease = Lease::take(store)?;
    let publisher = Publisher::with_floor(store, record)?;
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let paths: &[HostFile] = files;
    let done = std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(QUEUE);
        for _ in 0..options.threads.clamp(1, unknown.len()) {
            let sender = sender.clone();
            let reader = Reader { store, lease: &lease, files: paths, unknown, next: &next, stop: &stop };
            scope.spawn(move || reader.run(&sender));
        }
        drop(sender);
        let result = publish(publisher, &receiver, options, progress, report);
        if result.is_err() {
            // Readers stop at the next file; those waiting for the queue are woken by its end.
            stop.store(true, Ordering::Relaxed);
        }
        drop(receiver);
        result
    })?;
    for Done { index, stamp, executable, blob, .. } in done {
        let file = &mut files[index];
        (file.stamp, file.executable, file.blob) = (stamp, executable, Some(blob));
    }
    Ok(())
}

/// Publishes what the readers finish, in the calling thread.
fn publish(
    mut publisher: Publisher<'_, Option<Stamp>>,
    receiver: &Receiver<Result<Done, ImportError>>,
    options: Options,
    progress: &mut Progress,
    report: &mut dyn FnMut(&Progress),
) -> Result<Vec<Done>, ImportError> {
    let mut all = Vec::new();
    for done in receiver {
        let mut done = done?;
        progress.files_read += 1;
        progress.bytes_new += if done.file.is_some() { done.stamp.size_bytes } else { 0 };
        count_done(progress, done.stamp.size_bytes);
        let latest = done.stamp.mtime_ns.max(done.stamp.ctime_ns);
        let settled = latest < options.started_ns.saturating_sub(UNSETTLED_NS);
        publisher.add(Ready {
            id: done.blob,
            size_bytes: done.stamp.size_bytes,
            tag: settled.then_some(done.stamp),
            file: done.file.take(),
        })?;
        report(progress);
        all.push(done);
    }
    publisher.finish()?;
    Ok(all)
}

/// One reading thread.
struct Reader<'a> {
    store: &'a Store,
    lease: &'a Lease,
    files: &'a [HostFile],
    unknown: &'a [usize],
    next: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Reader<'_> {
    fn run(&self, sender: &SyncSender<Result<Done, ImportError>>) {
        let mut buffer = vec![0; BUFFER_BYTES + 1];
        while !self.stop.load(Ordering::Relaxed) {
            let Some(&index) = self.unknown.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let done = self.file(index, &mut buffer);
            if sender.send(done).is_err() {
                return;
            }
        }
    }

    fn file(&self, index: usize, buffer: &mut [u8]) -> Result<Done, ImportError> {
        let path = &self.files[index].path;
        let failed = |verb| move |error| io_error(verb, path, error);
        for _ in 0..TRIES {
            // A path that has become a symlink or a pipe since the scan must neither lead away nor hang.
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
            let mut file = opened.map_err(failed("open"))?;
            let before = file.metadata().map_err(failed("look at"))?;
            let stamp = stamp_of(&before);
            let (blob, size_bytes, temporary) = if stamp.size_bytes <= SMALL_BYTES {
                self.small(&mut file, buffer).map_err(|e| e.into_import(path))?
            } else {
                self.large(&mut file, buffer).map_err(|e| e.into_import(path))?
            };
            let after = stamp_of(&file.metadata().map_err(failed("look at"))?);
            if after == stamp && size_bytes == stamp.size_bytes {
                let executable = is_executable(&before);
                return Ok(Done { index, stamp, executable, blob, file: temporary });
            }
        }
        Err(ImportError::Changing { path: path.clone() })
    }

    /// Hashes a small file in memory and writes it only when the store lacks it.
    fn small(&self, file: &mut File, buffer: &mut [u8]) -> Result<Content, Failure> {
        let mut len = 0;
        loop {
            let read = file.read(&mut buffer[len..]).map_err(Failure::Read)?;
            len += read;
            if read == 0 || len == buffer.len() {
                break;
            }
        }
        let blob = BlobId::of(&buffer[..len]);
        if self.store.has_blob(blob, len as u64) {
            return Ok((blob, len as u64, None));
        }
        let (mut out, path) = self.lease.temporary()?;
        out.write_all(&buffer[..len]).context("write", &path)?;
        Ok((blob, len as u64, Some(path)))
    }

    /// Copies a large file and hashes it on the way; shares its extents where the file system can.
    fn large(&self, file: &mut File, buffer: &mut [u8]) -> Result<Content, Failure> {
        let (mut out, path) = self.lease.temporary()?;
        let cloned = rustix::fs::ioctl_ficlone(&out, &*file).is_ok();
        let mut hasher = blake3::Hasher::new();
        let mut len = 0;
        loop {
            let read = if cloned {
                // The clone holds still even when the original does not.
                out.read(buffer).map_err(Failure::Read)?
            } else {
                file.read(buffer).map_err(Failure::Read)?
            };
            if read == 0 {
                break;
            }
            len += read as u64;
            hasher.update(&buffer[..read]);
            if !cloned {
                out.write_all(&buffer[..read]).context("write", &path)?;
            }
        }
        Ok((Digest::from(hasher.finalize()).into(), len, Some(path)))
    }
}

/// A file's content: its name, its length, and the temporary file when the store lacked it.
type Content = (BlobId, u64, Option<std::path::PathBuf>);

/// Which side failed while a file was copied.
enum Failure {
    Read(std::io::Error),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    fn into_import(self, path: &std::path::Path) -> ImportError {
        match self {
            Self::Read(source) => io_error("read", path, source),
            Self::Store(error) => ImportError::Store(error),
        }
    }
}
