//! A workspace's record: what must be known to mount it again and to commit it (`docs/format.md`, "Workspaces").

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cfs_fs::digest::{NodeId, SnapshotId};
use cfs_fs::overlay::Driver;

use super::{WorkspaceError, io_error};
use crate::revision::RevPath;

/// First line of every record.
const HEADER: &str = "cfs-workspace 1";

/// A tree that a workspace committed, or was about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The top node.
    pub id: NodeId,
    /// The top directory's time, seconds since 1970.
    pub mtime: i64,
}

/// What is known of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is seen.
    pub dir: PathBuf,
    /// What it was opened on, as written then.
    pub source: RevPath,
    /// The snapshot that this was.
    pub snapshot: SnapshotId,
    /// What holds its directories `upper` and `work`.
    pub scratch: PathBuf,
    /// Whose overlay it is, once it has been mounted.
    pub driver: Option<Driver>,
    /// What it committed, the last one last.
    pub committed: Vec<Kept>,
    /// What a commit that was interrupted may have committed.
    pub committing: Option<Kept>,
}

impl Record {
    /// Reads the record at `path`; `None` when there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, WorkspaceError> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let bad = |reason| WorkspaceError::BadRecord { path: path.to_owned(), reason };
                decode(&text).map(Some).map_err(bad)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path)(error)),
        }
    }

    /// Replaces the record at `path`, durably and at once.
    pub(super) fn save(&self, path: &Path) -> Result<(), WorkspaceError> {
        let text = self.encode()?;
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(io_error("create", &new))?;
        file.write_all(text.as_bytes()).map_err(io_error("write", &new))?;
        file.sync_all().map_err(io_error("sync", &new))?;
        fs::rename(&new, path).map_err(io_error("rename to", path))?;
        let dir = path.parent().unwrap_or(path);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
    }

    fn encode(&self) -> Result<String, WorkspaceError> {
        let plain = |path: &Path| match path.to_str() {
            Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(WorkspaceError::BadPath { path: path.to_owned() }),
        };
        let mut text = format!(
            "{HEADER}\ndir {}\nsource {}\nsnapshot {}\nscratch {}\n",
            plain(&self.dir)?,
            self.source,
            self.snapshot,
            plain(&self.scratch)?
        );
        // Writing to a String cannot fail.
        if let Some(driver) = self.driver {
            let _ = writeln!(text, "driver {}", driver_word(driver));
        }
        let committed = self.committed.iter().map(|kept| ("committed", kept));
        for (key, Kept { id, mtime }) in
            committed.chain(self.committing.iter().map(|kept| ("committing", kept)))
        {
            let _ = writeln!(text, "{key} {id} {mtime}");
        }
        Ok(text)
    }
}

fn driver_word(driver: Driver) -> &'static str {
    match driver {
        Driver::Kernel => "kernel",
        Driver::Fuse => "fuse",
    }
}

fn decode(text: &str) -> Result<Record, String> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err("its first line is not known".into());
    }
    let mut lines = lines.peekable();
    let mut optional = |key: &str| lines.next_if(|line| word(line) == key).map(value);
    let mut needed = |key: &str| optional(key).ok_or_else(|| format!("the line {key} is missing"));
    let dir = needed("dir")?.into();
    let source = needed("source")?.parse().map_err(|error| format!("{error}"))?;
    let snapshot = needed("snapshot")?.parse().map_err(|error| format!("{error}"))?;
    let scratch = needed("scratch")?.into();
    let driver = match optional("driver") {
        None => None,
        Some("kernel") => Some(Driver::Kernel),
        Some("fuse") => Some(Driver::Fuse),
        Some(other) => return Err(format!("the driver {other:?} is not known")),
    };
    let mut committed = Vec::new();
    while let Some(text) = optional("committed") {
        committed.push(kept(text)?);
    }
    let committing = optional("committing").map(kept).transpose()?;
    match lines.next() {
        None => Ok(Record { dir, source, snapshot, scratch, driver, committed, committing }),
        Some(line) => Err(format!("the line {line:?} is not known")),
    }
}

fn word(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(word, _)| word)
}

fn value(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, value)| value)
}

fn kept(text: &str) -> Result<Kept, String> {
    let parts = text.split_once(' ').and_then(|(id, mtime)| Some((id.parse().ok()?, mtime.parse().ok()?)));
    parts.map(|(id, mtime)| Kept { id, mtime }).ok_or_else(|| format!("{text:?} is no tree"))
}
