//! The copy of the reflog: the file `reflog` beside the catalogue (`docs/format.md`, "Reflog").
//!
//! Always true: an entry is appended, and durable, before its move is told to anybody, and after the catalogue has
//! it; so what the file has and the catalogue does not, the catalogue has lost. An entry with the number of an
//! earlier one takes the place of that and all after it: that is how a catalogue goes on that was set back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cfs_fs::digest::Digest;
use cfs_fs::store::StoreError;
use rusqlite::{Connection, OptionalExtension};
use rustix::fs::{FlockOperation, flock};

use super::reflog::{self, LogEntry};
use super::refs::Target;
use super::{Catalogue, CatalogueError};

const NAME: &str = "reflog";
const HEADER: &str = "cfs-reflog 1\n";
/// More than the last line of any entry has.
const TAIL_BYTES: u64 = 128;

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What moved.
    pub entry: LogEntry,
    /// The hash of the entry before it.
    pub previous: [u8; 32],
    /// Its own.
    pub hash: [u8; 32],
}

/// What a file of entries holds.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The entries that count.
    pub(super) links: Vec<Link>,
    /// How many bytes are as they should be.
    sound_bytes: usize,
    /// Whether what follows them was more than the beginning of one entry.
    damaged: bool,
}

/// What is wrong with the copy of the reflog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFault {
    /// It lacks the last moves: somebody died between the move and the copy.
    Behind(String),
    /// It has moves that the catalogue has not.
    Ahead(String),
    /// It is not as it was written.
    Damaged(String),
}

impl Catalogue {
    /// Compares the copy of the reflog with the reflog.
    pub fn copy_faults(&self) -> Result<Vec<CopyFault>, CatalogueError> {
        let path = path_beside(&self.path);
        // The file first: what moves between the two looks is in the catalogue by then.
        let journal = read(&path)?;
        let own = self.history()?;
        let copied = journal.as_ref().map_or(&[][..], |journal| &journal.links);
        let shared = own.iter().zip(copied).take_while(|(a, b)| a == b).count();
        let mut faults = Vec::new();
        if copied.len() > shared {
            let lost = &copied[shared].entry;
            faults.push(CopyFault::Ahead(format!(
                "has the move {} of {} to generation {}, which the catalogue has not",
                lost.number, lost.name, lost.generation
            )));
        }
        if journal.as_ref().is_some_and(|journal| journal.damaged) {
            let sound = journal.map_or(0, |journal| journal.sound_bytes);
            faults.push(CopyFault::Damaged(format!("is not as it was written from byte {sound} on")));
        } else if own.len() > shared && copied.len() == shared {
            faults.push(CopyFault::Behind(format!("lacks {} moves", own.len() - shared)));
        }
        Ok(faults)
    }

    /// Brings the copy of the reflog up to date: what it lacks at its end is appended.
    pub fn renew_copy(&self) -> Result<(), CatalogueError> {
        let path = path_beside(&self.path);
        self.write("copy the reflog", |tx| catch_up(&path, &tx.inner))
    }

    /// The copy of the reflog: its entries, as far as they are as written.
    pub fn copied_history(&self) -> Result<Vec<Link>, CatalogueError> {
        Ok(read(&path_beside(&self.path))?.unwrap_or_default().links)
    }

    /// The reflog from its beginning, as far as its chain holds.
    pub fn history(&self) -> Result<Vec<Link>, CatalogueError> {
        self.read("read the reflog", |connection| {
            let mut statement = connection.prepare_cached(reflog::LINKS)?;
            let mut rows = statement.query([0])?;
            let mut links: Vec<Link> = Vec::new();
            while let Some(row) = rows.next()? {
                let Ok(link) = reflog::link_from_row(row) else { break };
                let last = links.last().map_or([0; 32], |last| last.hash);
                if link.previous != last || reflog::chain(&last, &link.entry) != link.hash {
                    break;
                }
                links.push(link);
            }
            Ok(links)
        })
    }
}

/// The copy beside a catalogue.
pub(super) fn path_beside(catalogue: &Path) -> PathBuf {
    catalogue.with_file_name(NAME)
}

/// Reads the file; `None` when there is none.
fn read(path: &Path) -> Result<Option<Journal>, CatalogueError> {
    let failed = |source| StoreError::Io { verb: "read", path: path.to_owned(), source };
    let bytes = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => {
            let file = opened.map_err(failed)?;
            // Nobody appends meanwhile.
            flock(&file, FlockOperation::LockShared).map_err(|error| failed(error.into()))?;
            fs::read(path).map_err(failed)?
        }
    };
    Ok(Some(parse(&bytes)))
}

/// Appends what the file lacks; durable when it returns.
pub(super) fn catch_up(path: &Path, connection: &Connection) -> Result<(), CatalogueError> {
    let failed = |verb| {
        let path = path.to_owned();
        move |source: io::Error| StoreError::Io { verb, path, source }
    };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path).map_err(failed("open"))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock")(error.into()))?;
    let sql = |source| super::sqlite_error("copy the reflog", path, source);
    let after = match tail(&mut file).map_err(failed("read"))? {
        Some((number, hash)) if hash_of(connection, number).map_err(sql)? == Some(hash) => number,
        _ => {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.read_to_end(&mut bytes))
                .map_err(failed("read"))?;
            let journal = parse(&bytes);
            if journal.sound_bytes < bytes.len() {
                file.set_len(journal.sound_bytes as u64).map_err(failed("shorten"))?;
            }
            if journal.sound_bytes == 0 {
                file.write_all(HEADER.as_bytes()).map_err(failed("write"))?;
            }
            shared(connection, &journal.links).map_err(sql)?
        }
    };
    let mut text = Vec::new();
    let mut statement = connection.prepare_cached(reflog::LINKS).map_err(sql)?;
    let links = statement.query_map([after], reflog::link_from_row).map_err(sql)?;
    for link in links {
        encode(&mut text, &link.map_err(sql)?);
    }
    file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed("write"))?;
    Ok(())
}

/// Up to which number the catalogue has the same entries.
fn shared(connection: &Connection, links: &[Link]) -> rusqlite::Result<u64> {
    for link in links.iter().rev() {
        if hash_of(connection, link.entry.number)? == Some(link.hash) {
            return Ok(link.entry.number);
        }
    }
    Ok(0)
}

fn hash_of(connection: &Connection, number: u64) -> rusqlite::Result<Option<[u8; 32]>> {
    let sql = "SELECT entry FROM reflog WHERE number = ?";
    connection.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()
}

/// The number and the hash of the last entry, when the file ends with a whole one.
fn tail(file: &mut File) -> io::Result<Option<(u64, [u8; 32])>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(text) = bytes.strip_suffix(b"\n") else { return Ok(None) };
    let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(last_line(&text[start..]))
}

/// `entry <number> <hash>`
fn last_line(line: &[u8]) -> Option<(u64, [u8; 32])> {
    let (number, hash) = std::str::from_utf8(line).ok()?.strip_prefix("entry ")?.split_once(' ')?;
    Some((number.parse().ok()?, *hash.parse::<Digest>().ok()?.as_bytes()))
}

fn encode(text: &mut Vec<u8>, link: &Link) {
    text.extend_from_slice(&reflog::text(&link.entry));
    text.extend(format!("entry {} {}\n", link.entry.number, Digest::from(link.hash)).into_bytes());
}

/// Reads entries up to the first that is none.
fn parse(bytes: &[u8]) -> Journal {
    let mut journal = Journal::default();
    let Some(mut rest) = bytes.strip_prefix(HEADER.as_bytes()) else {
        journal.damaged = !HEADER.as_bytes().starts_with(bytes);
        return journal;
    };
    journal.sound_bytes = HEADER.len();
    while !rest.is_empty() {
        let Some((link, after)) = link(rest, &mut journal.links) else { break };
        journal.links.push(link);
        rest = after;
        journal.sound_bytes = bytes.len() - rest.len();
    }
    // Whoever dies while appending leaves the beginning of something, and no end.
    let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
    journal.damaged =
        lines.any(|line| line.strip_suffix(b"\n").is_some_and(|line| last_line(line).is_some()));
    journal
}

/// Reads the entry at the beginning of `bytes`, which follows `links`; those whose place it takes go.
fn link<'a>(bytes: &'a [u8], links: &mut Vec<Link>) -> Option<(Link, &'a [u8])> {
    let mut rest = bytes;
    let mut fields = [""; 8];
    for field in &mut fields {
        let colon = rest.iter().take(20).position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let (text, after) = rest[colon + 1..].split_at_checked(length)?;
        *field = std::str::from_utf8(text).ok()?;
        rest = after.strip_prefix(b"\n")?;
    }
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (number, hash) = last_line(&rest[..end])?;
    let [own, name, generation, old, new, at, actor, reason] = fields;
    let entry = LogEntry {
        number: own.parse().ok().filter(|own| *own == number)?,
        name: name.parse().ok()?,
        generation: generation.parse().ok()?,
        old: if old.is_empty() { None } else { Some(old.parse().ok()?) },
        new: match new.split_once(' ') {
            Some(("snapshot", id)) => Some(Target::Snapshot(id.parse().ok()?)),
            Some(("ref", name)) => Some(Target::Symbolic(name.parse().ok()?)),
            _ if new == "deleted" => None,
            _ => return None,
        },
        at: at.parse().ok()?,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
    };
    let before = usize::try_from(number.checked_sub(1)?).ok().filter(|before| *before <= links.len())?;
    let previous = before.checked_sub(1).map_or([0; 32], |last| links[last].hash);
    if reflog::chain(&previous, &entry) != hash {
        return None;
    }
    links.truncate(before);
    Some((Link { entry, previous, hash }, &rest[end + 1..]))
}
