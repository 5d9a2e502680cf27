//! Snapshots: the record of one state of a ref (`docs/format.md`, "Snapshots").
//!
//! Always true: a record is text with one encoding, its BLAKE3 is the snapshot's id, and it says everything
//! that is needed to show the snapshot but its nodes.

use std::collections::BTreeMap;
use std::fmt::Write;

use cfs_fs::digest::SnapshotId;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Dir, Item, Kind, Sums};

/// First line of every record.
const HEADER: &str = "cfs-snapshot 1";

/// One state of a tree, with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The top directory.
    pub root: Dir,
    /// Its modification time, seconds since 1970.
    pub mtime: i64,
    /// What it was made from: first the ref's snapshot before, then others, such as the promoted one.
    pub parents: Vec<SnapshotId>,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Who made it (`user@host`).
    pub creator: String,
    /// What made it (`cfs 0.1.0`).
    pub tool: String,
    /// What else is known: `compose.id`, `sync.url` …; keys are words of `[a-z0-9._-]`.
    pub meta: BTreeMap<String, String>,
    /// Where owner, group and mode are not as usual.
    pub access: Rules,
    /// Why it was made, in the user's words; may be empty.
    pub message: String,
}

/// Owner, group and mode by path. Those of the top hold for everything, but for its mode; those of another
/// path for that path alone.
pub type Rules = BTreeMap<TreePath, Rule>;

/// What is not as usual at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Permission bits, at most 0777.
    pub mode: Option<u16>,
    /// Number of the user it belongs to.
    pub owner: Option<u32>,
    /// Number of the group.
    pub group: Option<u32>,
}

/// A record that says something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot record: line {line} is not as it must be")]
pub struct RecordError {
    /// The offending line, from 1.
    pub line: usize,
}

impl Snapshot {
    /// The top directory as an item.
    pub fn root_item(&self) -> Item {
        Item { mtime: self.mtime, kind: Kind::Dir(self.root) }
    }

    /// The record: what is stored, and what the id is the hash of.
    pub fn encode(&self) -> String {
        let Sums { files, dirs, symlinks, bytes } = self.root.sums;
        let mut text = format!(
            "{HEADER}\nroot {}\nmtime {}\nfiles {files}\ndirs {dirs}\nsymlinks {symlinks}\nbytes {bytes}\n",
            self.root.id, self.mtime
        );
        for parent in &self.parents {
            line(&mut text, "parent", &parent.to_string());
        }
        line(&mut text, "created", &self.created.to_string());
        line(&mut text, "creator", &escape(&self.creator));
        line(&mut text, "tool", &escape(&self.tool));
        for (key, value) in &self.meta {
            line(&mut text, "meta", &format!("{key} {}", escape(value)));
        }
        for (path, rule) in &self.access {
            line(&mut text, "access", &rule.text(path));
        }
        line(&mut text, "message", &escape(&self.message));
        text
    }

    /// Reads a record; accepts only what [`Snapshot::encode`] writes.
    pub fn decode(text: &str) -> Result<Self, RecordError> {
        let mut lines = Lines { rest: text, number: 0 };
        let snapshot = lines.snapshot().ok_or(RecordError { line: lines.number })?;
        if snapshot.encode() == text { Ok(snapshot) } else { Err(RecordError { line: 0 }) }
    }

    /// The snapshot's name.
    pub fn id(&self) -> SnapshotId {
        SnapshotId::of(self.encode().as_bytes())
    }
}

impl Rule {
    fn text(&self, path: &TreePath) -> String {
        let number = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
        let mode = self.mode.map_or("-".to_owned(), |mode| format!("{mode:04o}"));
        format!("{mode} {} {} /{path}", number(self.owner), number(self.group))
    }

    fn parse(text: &str) -> Option<(TreePath, Self)> {
        let mut words = text.splitn(4, ' ');
        let mode = match words.next()? {
            "-" => None,
            digits => Some(u16::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777)?),
        };
        let mut number = || match words.next()? {
            "-" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        let (owner, group) = (number()?, number()?);
        let path = TreePath::new(words.next()?.strip_prefix('/')?).ok()?;
        Some((path, Self { mode, owner, group }))
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{key} {value}");
}

/// One line whatever the value: backslash and control characters are written `\\` and `\u{a}`.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            c if c.is_control() => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('\\') {
            value.push('\\');
            rest = tail;
        } else {
            let (digits, tail) = rest.strip_prefix("u{")?.split_once('}')?;
            value.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = tail;
        }
    }
    value.push_str(rest);
    Some(value)
}

/// The lines of a record, taken one by one.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn snapshot(&mut self) -> Option<Snapshot> {
        self.number = 1;
        self.rest = self.rest.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let id = self.value("root")?.parse().ok()?;
        let mtime = self.value("mtime")?.parse().ok()?;
        let sums = Sums {
            files: self.value("files")?.parse().ok()?,
            dirs: self.value("dirs")?.parse().ok()?,
            symlinks: self.value("symlinks")?.parse().ok()?,
            bytes: self.value("bytes")?.parse().ok()?,
        };
        let mut parents = Vec::new();
        while self.rest.starts_with("parent ") {
            parents.push(self.value("parent")?.parse().ok()?);
        }
        let created = self.value("created")?.parse().ok()?;
        let creator = unescape(self.value("creator")?)?;
        let tool = unescape(self.value("tool")?)?;
        let mut meta = BTreeMap::new();
        while self.rest.starts_with("meta ") {
            let (key, value) = self.value("meta")?.split_once(' ')?;
            meta.insert(key.to_owned(), unescape(value)?);
        }
        let mut access = Rules::new();
        while self.rest.starts_with("access ") {
            let (path, rule) = Rule::parse(self.value("access")?)?;
            access.insert(path, rule);
        }
        let message = unescape(self.value("message")?)?;
        let root = Dir { id, sums };
        Some(Snapshot { root, mtime, parents, created, creator, tool, meta, access, message })
    }

    fn value(&mut self, key: &str) -> Option<&'a str> {
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        line.strip_prefix(key)?.strip_prefix(' ')
    }
}

#[cfg(test)]
mod tests;
