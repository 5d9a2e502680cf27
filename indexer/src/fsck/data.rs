//! The level `data`: every byte of every blob is read and hashed, and so are the digests that the catalogue has of it.
//!
//! Blobs are read in the order of their names, on all cores, not faster than told. Where it ends, the next run goes
//! on; what was found before is looked at again.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use cfs_fs::digest::{BlobId, Digest};
use cfs_fs::store::{Store, StoreError};
use rustix::fs::Advice;

use super::cursor::Cursor;
use super::finding::{Finding, Kind, Object};
use super::{Check, FsckError, Phase, Resumed};
use crate::catalogue::CatalogueError;
use crate::checksum::{Checksum, Hasher};
use crate::depot::Depot;

/// Blobs after which the place is remembered, if it is time.
const LOT: usize = 256;
/// How often the place is remembered.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Bytes that are read in one go.
const BUFFER: usize = 1 << 20;
/// The longest sleep without looking whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// A blob with what it should be.
struct Wanted {
    id: BlobId,
    size_bytes: u64,
    digests: Vec<Checksum>,
}

/// Checks it.
pub(super) fn check(check: &mut Check<'_, '_>) -> Result<(), FsckError> {
    let depot = check.depot;
    let opened = Cursor::open(&depot.store, check.options.now, check.options.restart)?;
    let Some(mut cursor) = opened else { return Err(FsckError::Reading) };
    let result = go_on(check, &mut cursor);
    match result {
        Ok(()) => Ok(cursor.finish()?),
        Err(error) => {
            cursor.save()?;
            Err(error)
        }
    }
}

fn go_on(check: &mut Check<'_, '_>, cursor: &mut Cursor) -> Result<(), FsckError> {
    let depot = check.depot;
    let mut way = Way { done: 0, total: None, pace: Pace::new(check.options.rate_bytes) };
    way.total = check.try_read(|| depot.catalogue.totals())?.map(|totals| totals.blob_bytes);
    if let Some(after) = cursor.after {
        check.resumed = Some(Resumed { after, began: cursor.began });
    }
    let mut again = Vec::new();
    for id in &cursor.bad {
        again.extend(wanted(depot, id.as_bytes()[0])?.into_iter().filter(|blob| blob.id == *id));
    }
    cursor.bad = read(check, &again, &mut way)?;
    way.done = 0;
    let mut saved = Instant::now();
    for byte in cursor.after.map_or(0, |id| id.as_bytes()[0])..=u8::MAX {
        let Some(all) = check.try_read(|| wanted(depot, byte))? else { continue };
        let first = all.partition_point(|blob| Some(blob.id) <= cursor.after);
        way.done += all[..first].iter().map(|blob| blob.size_bytes).sum::<u64>();
        for lot in all[first..].chunks(LOT) {
            let bad = read(check, lot, &mut way)?;
            cursor.bad.extend(bad);
            cursor.after = lot.last().map(|blob| blob.id);
            if saved.elapsed() >= SAVE_EVERY {
                cursor.save()?;
                saved = Instant::now();
            }
        }
    }
    Ok(())
}

/// The blobs whose names begin with `byte`, in order.
fn wanted(depot: &Depot, byte: u8) -> Result<Vec<Wanted>, CatalogueError> {
    let digests = depot.catalogue.digests_beginning(byte)?;
    let rows = depot.catalogue.blobs_beginning(byte)?;
    let mut digests = digests.into_iter().peekable();
    let mut found = Vec::with_capacity(rows.len());
    for (id, size_bytes) in rows {
        while digests.next_if(|(blob, _)| *blob < id).is_some() {}
        let mut own = Vec::new();
        while let Some((_, digest)) = digests.next_if(|(blob, _)| *blob == id) {
            own.push(digest);
        }
        found.push(Wanted { id, size_bytes, digests: own });
    }
    Ok(found)
}

/// How far a reading is.
struct Way {
    done: u64,
    total: Option<u64>,
    pace: Pace,
}

/// What the threads that read tell.
enum Event {
    Bytes(u64),
    Done(Vec<Finding>),
}

/// Reads some blobs; returns the bad ones.
fn read(check: &mut Check<'_, '_>, lot: &[Wanted], way: &mut Way) -> Result<Vec<BlobId>, FsckError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 16)).min(lot.len());
    let (depot, pace) = (check.depot, &way.pace);
    let (mut outcome, mut bad) = (Ok(()), Vec::new());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(4 * threads.max(1));
        for _ in 0..threads {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                let mut buffer = vec![0; BUFFER];
                while let Some(wanted) = lot.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut told = |bytes| {
                        pace.take(bytes, stop);
                        !stop.load(Ordering::Relaxed) && sender.send(Event::Bytes(bytes)).is_ok()
                    };
                    let found = look(&depot.store, wanted, &mut buffer, &mut told);
                    if stop.load(Ordering::Relaxed) || sender.send(Event::Done(found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for event in receiver {
            match event {
                Event::Bytes(bytes) => {
                    way.done += bytes;
                    check.checked.read_bytes += bytes;
                }
                Event::Done(found) => {
                    check.checked.read_blobs += 1;
                    bad.extend(check.add_bad(found));
                }
            }
            if outcome.is_ok() {
                outcome = check.step(Phase::Data, way.done, way.total);
                stop.store(outcome.is_err(), Ordering::Relaxed);
            }
        }
    });
    outcome.map(|()| bad)
}

/// Reads one blob; what is wrong with it. `told` is told of every piece and says whether to go on.
fn look(
    store: &Store,
    wanted: &Wanted,
    buffer: &mut [u8],
    told: &mut dyn FnMut(u64) -> bool,
) -> Vec<Finding> {
    let finding = |kind, what: String| Finding::new(kind, Object::Blob(wanted.id), what);
    let mut file = match store.open_blob(wanted.id) {
        Ok(file) => file,
        // Told of by the level below, if it is so.
        Err(StoreError::Missing { .. }) => return vec![finding(Kind::BlobMissing, "is not there".into())],
        Err(error) => return vec![finding(Kind::BlobUnreadable, error_text(&error))],
    };
    let mut hasher = blake3::Hasher::new();
    let mut hashers: Vec<Hasher> =
        wanted.digests.iter().map(|digest| Hasher::new(digest.algorithm())).collect();
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                hashers.iter_mut().for_each(|hasher| hasher.update(&buffer[..read]));
                if !told(read as u64) {
                    return Vec::new();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return vec![finding(Kind::BlobUnreadable, format!("cannot be read: {error}"))],
        }
    }
    forget(&file);
    let found = BlobId::from(Digest::from(hasher.finalize()));
    if found != wanted.id {
        return vec![finding(Kind::BlobDamaged, format!("its bytes hash to {found}"))];
    }
    let wrong = wanted.digests.iter().zip(hashers).filter_map(|(digest, hasher)| {
        let found = hasher.finish().checksum;
        (found != *digest).then(|| finding(Kind::DigestWrong, format!("is called {digest} and is {found}")))
    });
    wrong.collect()
}

fn error_text(error: &StoreError) -> String {
    crate::repository::with_causes(error)
}

/// What was read for the sake of reading need not stay in memory instead of what others read.
fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// Keeps several threads from reading more than so many bytes a second together.
#[derive(Debug)]
struct Pace {
    rate_bytes: Option<u64>,
    /// When what was taken so far is paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    fn new(rate_bytes: Option<u64>) -> Self {
        Self { rate_bytes, paid: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more are due, or until told to stop.
    fn take(&self, bytes: u64, stop: &AtomicBool) {
        let Some(rate) = self.rate_bytes else { return };
        let due = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let cost = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1));
            // What was not used is not kept for later.
            *paid = (*paid).max(Instant::now()) + cost;
            *paid
        };
        while !stop.load(Ordering::Relaxed) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}
