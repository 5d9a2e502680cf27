//! What a list has to say anew when one tree follows another.
//!
//! Always true: with equal modes the cost follows the difference of the trees (and the number of symlinks, since what
//! they lead to may have come or gone); a line that says what it said keeps its time.

use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, Nodes, for_each_entry};

use super::line::{self, Line, Sha1};
use super::scan::Scope;
use super::splice::{Found, Sorted, Source, Splice, splices};
use super::write::{Outs, parts, write};
use super::{FilelistError, State, is_repomd};

/// A path whose line changes.
#[derive(Debug, Clone, Copy)]
struct New {
    /// `None` where there is to be no line.
    line: Option<Line>,
    /// The content whose checksum is listed.
    repomd: Option<BlobId>,
}

/// How a timelist follows from the one before it, and what the other lists need to know.
#[derive(Debug)]
pub(super) struct Changes {
    /// In order of the timelist.
    pub(super) timelist: Vec<Splice>,
    /// Paths that come (`true`) or go, in byte order.
    pub(super) names: Vec<(String, bool)>,
}

impl Changes {
    /// Whether the list stays as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.timelist.is_empty()
    }
}

/// Finds how the list `previous` of `old` becomes that of `new`, whose changes entered the view at `entered`
/// (seconds). The modes must be equal.
pub(super) fn changes(
    nodes: &dyn Nodes,
    (old, new): (State<'_>, State<'_>),
    scope: &Scope,
    previous: Source<'_>,
    entered: i64,
    sha1: &mut Sha1<'_>,
) -> Result<Changes, FilelistError> {
    let parts = parts(previous)?;
    let mut found = BTreeMap::new();
    differing(nodes, (old, new), scope, &mut |path, item| {
        found.insert(path.to_owned(), said(nodes, new, scope, path, item, entered)?);
        Ok(())
    })?;
    symlinks(nodes, new, scope, &parts.files, entered, &mut found)?;
    let mut names = Vec::new();
    let lines = found.iter().map(|(path, new)| (&**path, new.line.map(|line| line.to_bytes(path))));
    let mut timelist = splices(&parts.files, lines, &mut |path, comes| names.push((path.to_owned(), comes)))?;
    let mut sums = Vec::new();
    for (path, new) in found.iter().filter(|(path, _)| *path == "repomd.xml" || path.ends_with("/repomd.xml"))
    {
        let sum = match new.repomd {
            Some(blob) => Some(line::checksum(&sha1(blob)?, path)),
            None => None,
        };
        sums.push((path.as_str(), sum));
    }
    timelist.extend(splices(&parts.checksums, sums, &mut |_, _| {})?);
    Ok(Changes { timelist, names })
}

/// Takes a path and what stands there now.
type Visit<'a> = dyn FnMut(&str, Option<&Item>) -> Result<(), FilelistError> + 'a;

/// Calls `visit` with every path that a list may have to say something new of, and what stands there now.
fn differing(
    nodes: &dyn Nodes,
    (old, new): (State<'_>, State<'_>),
    scope: &Scope,
    visit: &mut Visit<'_>,
) -> Result<(), FilelistError> {
    let (Some(old), Some(new)) = (scope.find(nodes, old)?, scope.find(nodes, new)?) else { return Ok(()) };
    diff(nodes, old, new, &mut |path, change| {
        if scope.leaves_out(path) {
            return Ok(());
        }
        visit(
            path,
            match change {
                Change::Added(item) | Change::Changed(_, item) => Some(item),
                Change::Removed(_) => None,
            },
        )
    })
}

/// What the list is to say of a path.
fn said(
    nodes: &dyn Nodes,
    state: State<'_>,
    scope: &Scope,
    path: &str,
    item: Option<&Item>,
    entered: i64,
) -> Result<New, FilelistError> {
    let nothing = New { line: None, repomd: None };
    let Some(item) = item else { return Ok(nothing) };
    let Some(shade) = scope.shade(nodes, state, path, item)? else { return Ok(nothing) };
    let repomd = match item.kind {
        Kind::File { blob, .. } if is_repomd(path, item) => Some(blob),
        _ => None,
    };
    Ok(New { line: Some(Line::of(item, shade, entered)), repomd })
}

/// Adds to `found` the symlinks that lead somewhere now and did not before, or the other way round.
fn symlinks(
    nodes: &dyn Nodes,
    state: State<'_>,
    scope: &Scope,
    files: &Sorted<'_>,
    entered: i64,
    found: &mut BTreeMap<String, New>,
) -> Result<(), FilelistError> {
    let Some(dir) = scope.find(nodes, state)? else { return Ok(()) };
    let mut links = BTreeMap::new();
    links_below(nodes, dir, &mut String::new(), &mut links)?;
    let mut from = files.range.start;
    for (path, item) in links {
        if found.contains_key(&path) || scope.leaves_out(&path) {
            continue;
        }
        let new = said(nodes, state, scope, &path, Some(&item), entered)?;
        let Found { at, line } = files.find(path.as_bytes(), from)?;
        from = at;
        if line.is_some() != new.line.is_some() {
            found.insert(path, new);
        }
    }
    Ok(())
}

/// Collects the symlinks below a directory; where there are none nothing is opened.
fn links_below(
    nodes: &dyn Nodes,
    dir: Dir,
    path: &mut String,
    links: &mut BTreeMap<String, Item>,
) -> Result<(), NodeError> {
    if dir.sums.symlinks == 0 {
        return Ok(());
    }
    let parent_len = path.len();
    for_each_entry(nodes, dir.id, &mut |entry| {
        if parent_len > 0 {
            path.push('/');
        }
        path.push_str(entry.name.as_str());
        match entry.item.kind {
            Kind::Dir(below) => links_below(nodes, below, path, links)?,
            Kind::Symlink { .. } => drop(links.insert(path.clone(), entry.item.clone())),
            Kind::File { .. } => {}
        }
        path.truncate(parent_len);
        Ok(())
    })
}

/// Writes the lists of `new` by a walk of all of it, with the times of the lines of `previous`, the timelist of
/// `old`, where they say the same: what remains when modes changed.
pub(super) fn rewrite(
    nodes: &dyn Nodes,
    (old, new): (State<'_>, State<'_>),
    scope: &Scope,
    previous: Source<'_>,
    entered: i64,
    sha1: &mut Sha1<'_>,
    outs: &mut Outs<'_>,
) -> Result<(), FilelistError> {
    let mut changed = BTreeSet::new();
    differing(nodes, (old, new), scope, &mut |path, item| {
        if item.is_some() {
            changed.insert(path.to_owned());
        }
        Ok(())
    })?;
    let mut lines = Lines::new(parts(previous)?.files);
    let mut time = |path: &str, line: &Line| {
        let before = lines.of(path)?;
        let kept = before.filter(|before| !changed.contains(path) && before.says_as(line));
        Ok(kept.map_or(entered, |before| before.time))
    };
    write(nodes, new, scope, &mut time, sha1, outs)
}

/// The lines of a list, asked for in their order.
struct Lines<'a> {
    list: Sorted<'a>,
    at: u64,
    block: Vec<u8>,
    /// What of the block was given out.
    used: usize,
}

/// A line of the list before.
struct Before {
    time: i64,
    kind: Vec<u8>,
    size: Vec<u8>,
}

impl Before {
    fn says_as(&self, line: &Line) -> bool {
        let bytes = line.to_bytes("");
        let mut fields = bytes.split(|byte| *byte == b'\t').skip(1);
        fields.next() == Some(&self.kind) && fields.next() == Some(&self.size)
    }
}

const BLOCK_BYTES: usize = 1 << 20;

impl<'a> Lines<'a> {
    fn new(list: Sorted<'a>) -> Self {
        Self { at: list.range.start, list, block: Vec::new(), used: 0 }
    }

    /// The line of `path`; every path asked for must stand after the one before.
    fn of(&mut self, path: &str) -> Result<Option<Before>, FilelistError> {
        loop {
            let rest = &self.block[self.used..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                if !self.fill()? {
                    return Ok(None);
                }
                continue;
            };
            let line = &rest[..end];
            let damaged = || self.list.source.damaged("a line is no line of a list");
            let key = (self.list.key)(line).ok_or_else(damaged)?;
            match key.cmp(path.as_bytes()) {
                std::cmp::Ordering::Greater => return Ok(None),
                std::cmp::Ordering::Less => self.used += end + 1,
                std::cmp::Ordering::Equal => {
                    let mut fields = line.split(|byte| *byte == b'\t').map(<[u8]>::to_vec);
                    let time = fields.next().and_then(|digits| String::from_utf8(digits).ok()?.parse().ok());
                    let (Some(time), Some(kind), Some(size)) = (time, fields.next(), fields.next()) else {
                        return Err(damaged());
                    };
                    self.used += end + 1;
                    return Ok(Some(Before { time, kind, size }));
                }
            }
        }
    }

    /// Reads the next block behind what is left; `false` at the end.
    fn fill(&mut self) -> Result<bool, FilelistError> {
        self.block.drain(..self.used);
        self.used = 0;
        let wanted = usize::try_from(self.list.range.end - self.at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let had = self.block.len();
        self.block.resize(had + wanted, 0);
        self.list.source.read(self.at, &mut self.block[had..])?;
        self.at += wanted as u64;
        Ok(wanted > 0)
    }
}
