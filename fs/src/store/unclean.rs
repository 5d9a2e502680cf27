//! The mark of a store whose disk failed to make something durable.
//!
//! The kernel tells of such a failure once; asked again it says that all is well, although what it could not write
//! may be lost. So nothing is tried again: whoever is told leaves the mark, and no ref moves until what came lately
//! was read back from the disk.
//!
//! Always true: the mark goes only when everything that could be affected was found to be whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Context, Store, StoreError};

/// Blobs that got their names so long before the mark are read again. The kernel writes back within a minute.
const WINDOW_SECONDS: i64 = 24 * 3600;
/// The file in the store.
const NAME: &str = "unclean";

/// A mark, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What failed, a line each.
    pub text: String,
    path: PathBuf,
    since: i64,
}

/// Leaves the mark in the store at `root`. That this fails, too, when the disk does cannot be helped.
pub fn mark(root: &Path, what: &str) {
    let opened = OpenOptions::new().create(true).append(true).open(root.join(NAME));
    if let Ok(mut file) = opened {
        let _ = writeln!(file, "{}", what.replace('\n', " "));
        let _ = file.sync_all();
    }
}

/// The mark of a store, if it has one.
pub fn read(store: &Store) -> Result<Option<Mark>, StoreError> {
    let path = store.root().join(NAME);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => String::from_utf8_lossy(&read.context("read", &path)?).trim_end().to_owned(),
    };
    let since = fs::metadata(&path).context("look at", &path)?.ctime() - WINDOW_SECONDS;
    Ok(Some(Mark { text, path, since }))
}

impl Mark {
    /// Whether what was made at `seconds` since 1970 came so late that it could be affected.
    pub fn affects(&self, seconds: i64) -> bool {
        seconds >= self.since
    }

    /// Takes the mark away, unless something failed since it was read.
    pub fn clear(self) -> Result<(), StoreError> {
        let now = fs::read(&self.path).context("read", &self.path)?;
        if String::from_utf8_lossy(&now).trim_end() == self.text {
            fs::remove_file(&self.path).context("remove", &self.path)?;
        }
        Ok(())
    }
}
