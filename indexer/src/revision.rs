//! Revisions: how people name a snapshot, and something inside one.
//!
//! ```text
//! REF             the newest snapshot of a ref
//! REF@{N}         the one N moves ago
//! REF@TIME        the newest one not later than TIME (2026-01-30, 2026-01-30T20:30Z, 20260130T203000Z)
//! 3f2a9c41        a snapshot's id, or a unique beginning of it (at least four digits)
//! REV:PATH        something inside
//! ```
//! A symbolic ref is followed first: `latest@{1}` is the previous snapshot of the ref that `latest` names.

use std::fmt;
use std::str::FromStr;

use cfs_fs::name::TreePath;
use jiff::Timestamp;

use crate::refname::RefName;

/// Why a text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no revision: {reason}")]
pub struct RevisionError {
    /// The text as given.
    pub text: String,
    /// What is wrong.
    pub reason: String,
}

/// A snapshot, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// A ref, or the first digits of a snapshot's id.
    pub base: RefName,
    /// Which of the ref's snapshots.
    pub when: When,
}

/// Which of a ref's snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The newest.
    Now,
    /// This many moves ago.
    Back(u64),
    /// The newest one not later than this time, in seconds since 1970.
    At(i64),
}

/// Something inside a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevPath {
    /// The snapshot.
    pub revision: Revision,
    /// The path in it; its top when none was given.
    pub path: TreePath,
}

/// A path in a ref, for verbs that write: `REF` or `REF:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefPath {
    /// The ref.
    pub name: RefName,
    /// The path in it; its top when none was given.
    pub path: TreePath,
}

impl From<&RefPath> for RevPath {
    /// What stands there now.
    fn from(place: &RefPath) -> Self {
        let revision = Revision { base: place.name.clone(), when: When::Now };
        Self { revision, path: place.path.clone() }
    }
}

impl RevPath {
    /// The path in a ref that this is now; `None` for the past.
    pub fn as_ref_path(&self) -> Option<RefPath> {
        let Self { revision: Revision { base, when }, path } = self;
        (*when == When::Now).then(|| RefPath { name: base.clone(), path: path.clone() })
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        match parse(text)? {
            (revision, "") => Ok(revision),
            (_, rest) => Err(error(text, format!("{rest:?} after the snapshot"))),
        }
    }
}

impl FromStr for RevPath {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let (revision, rest) = parse(text)?;
        Ok(Self { revision, path: parse_path(text, rest)? })
    }
}

impl FromStr for RefPath {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let (revision, rest) = parse(text)?;
        match revision.when {
            When::Now => Ok(Self { name: revision.base, path: parse_path(text, rest)? }),
            _ => Err(error(text, "the past cannot be written to".into())),
        }
    }
}

fn error(text: &str, reason: String) -> RevisionError {
    RevisionError { text: text.to_owned(), reason }
}

/// Takes a revision off the front of `text` and returns it with what follows: nothing, or `:PATH`.
fn parse(text: &str) -> Result<(Revision, &str), RevisionError> {
    let end = text.find(['@', ':']).unwrap_or(text.len());
    let (base, rest) = text.split_at(end);
    let base = base.parse::<RefName>().map_err(|e| error(text, e.reason))?;
    let Some(when) = rest.strip_prefix('@') else {
        return Ok((Revision { base, when: When::Now }, rest));
    };
    let (when, rest) = if let Some(number) = when.strip_prefix('{') {
        let (number, rest) = number.split_once('}').ok_or_else(|| error(text, "missing }".into()))?;
        let back = number.parse().map_err(|_| error(text, format!("{number:?} is no number of moves")))?;
        (When::Back(back), rest)
    } else {
        // A clock time ends in Z, a date at the colon before a path; a Z in the path is not a clock's.
        let date_end = when.find(':').unwrap_or(when.len());
        let clock = when[..date_end].contains(['T', 't']);
        let end = if clock { when.find('Z').map(|z| z + 1) } else { Some(date_end) };
        let (time, rest) =
            when.split_at(end.ok_or_else(|| error(text, "a time of day ends in Z (UTC)".into()))?);
        (When::At(parse_time(time).map_err(|reason| error(text, reason))?), rest)
    };
    if rest.is_empty() || rest.starts_with(':') {
        Ok((Revision { base, when }, rest))
    } else {
        Err(error(text, format!("{rest:?} after the time")))
    }
}

fn parse_path(text: &str, rest: &str) -> Result<TreePath, RevisionError> {
    rest.strip_prefix(':')
        .unwrap_or(rest)
        .parse()
        .map_err(|e: cfs_fs::name::NameError| error(text, e.to_string()))
}

/// Seconds since 1970 of `2026-01-30` (its last second), `2026-01-30T20:30Z`, `2026-01-30T20:30:15Z` or
/// `20260130T203015Z`.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && !text.contains('T')
    {
        let last_second = date.at(23, 59, 59, 0);
        return jiff::tz::TimeZone::UTC
            .to_timestamp(last_second)
            .map(Timestamp::as_second)
            .map_err(|e| e.to_string());
    }
    text.parse::<Timestamp>().map(Timestamp::as_second).map_err(|e| format!("{text:?} is no time: {e}"))
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        match self.when {
            When::Now => Ok(()),
            When::Back(moves) => write!(f, "@{{{moves}}}"),
            When::At(second) => match Timestamp::from_second(second) {
                Ok(time) => write!(f, "@{time}"),
                Err(_) => write!(f, "@{second}"),
            },
        }
    }
}

impl fmt::Display for RevPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.revision)?;
        if self.path.is_root() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

impl fmt::Display for RefPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.path.is_root() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

#[cfg(test)]
mod tests;
