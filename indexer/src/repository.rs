//! A repository inside a tree: its documents, and its list of packages in a form that is read fast.
//!
//! Always true: a list is a pure function of the primary metadata it was extracted from, so it is kept by that
//! file's name; its lines are sorted by location and hold no character that a line may not hold. Whoever brings
//! a repository in extracts its list ([`read_ahead`]); whoever needs one that is not kept extracts it then.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write;
use std::io::BufReader;
use std::ops::ControlFlow;

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, Nodes, lookup, resolve};
use cfs_fs::walk::walk;

use crate::catalogue::{CatalogueError, Checked};
use crate::checksum::Checksum;
use crate::depot::Depot;
use crate::repodata::primary::{Package, Packages};
use crate::repodata::repomd::{self, Repomd};
use crate::repodata::{RepodataError, compression};
use crate::rpm::Nevra;
use crate::spread::spread;

pub(crate) mod content;
pub mod documents;

/// Where a repository's list of metadata files is.
pub(crate) const REPOMD: &str = "repodata/repomd.xml";
/// More than any repository's repomd.xml has.
const REPOMD_BYTES_MAX: u64 = 16 << 20;
/// Bytes of primary.xml uncompressed; Fedora's largest has some 200 MB.
const PRIMARY_BYTES_MAX: u64 = 4 << 30;

/// Why metadata cannot be read: for people, naming the file below the repository.
pub(crate) type Fault = String;

/// The list of metadata files of the repository at `dir`; `None` when it is none.
pub(crate) fn repomd(
    depot: &Depot,
    nodes: &(impl Nodes + ?Sized),
    dir: Dir,
) -> Result<Option<Result<Repomd, Fault>>, CatalogueError> {
    let Some(Item { kind: Kind::Dir(repodata), .. }) = lookup(nodes, dir.id, "repodata")? else {
        return Ok(None);
    };
    let Some(item) = lookup(nodes, repodata.id, "repomd.xml")? else { return Ok(None) };
    let Kind::File { blob, size_bytes, .. } = item.kind else {
        return Ok(Some(Err(format!("{REPOMD}: is not a file"))));
    };
    if size_bytes > REPOMD_BYTES_MAX {
        return Ok(Some(Err(format!("{REPOMD}: has {size_bytes} bytes, more than any"))));
    }
    let bytes = depot.store.read_blob(blob)?;
    Ok(Some(repomd::parse(&bytes[..]).map_err(|error| format!("{REPOMD}: {}", with_causes(&error)))))
}

/// The primary metadata of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Primary {
    blob: BlobId,
    /// Below the repository.
    location: TreePath,
    /// More than it has when it is uncompressed.
    limit_bytes: u64,
}

impl Primary {
    fn of(
        nodes: &(impl Nodes + ?Sized),
        dir: Dir,
        repomd: &Repomd,
    ) -> Result<Result<Self, Fault>, CatalogueError> {
        let Some(record) = repomd.record("primary") else {
            return Ok(Err(format!("{REPOMD}: lists no primary metadata")));
        };
        let top = Item { mtime: 0, kind: Kind::Dir(dir) };
        let Some(Item { kind: Kind::File { blob, .. }, .. }) = resolve(nodes, &top, &record.location)? else {
            return Ok(Err(format!("{}: is missing", record.location)));
        };
        let limit_bytes = record.open_size_bytes.unwrap_or(PRIMARY_BYTES_MAX).min(PRIMARY_BYTES_MAX);
        Ok(Ok(Self { blob, location: record.location.clone(), limit_bytes }))
    }

    /// That of the repository at `dir`; `None` where there is none, or none that can be found.
    pub(crate) fn at(
        depot: &Depot,
        nodes: &(impl Nodes + ?Sized),
        dir: Dir,
    ) -> Result<Option<Self>, CatalogueError> {
        match repomd(depot, nodes, dir)? {
            Some(Ok(repomd)) => Ok(Self::of(nodes, dir, &repomd)?.ok()),
            _ => Ok(None),
        }
    }
}

/// Extracts the lists of all repositories of the tree `new` that were not so in `old`, on all cores, for those who
/// will ask for them. What cannot be read is left for them to complain of.
pub fn read_ahead(depot: &Depot, nodes: &(impl Nodes + ?Sized), old: Option<&Item>, new: &Item) {
    let memory = depot.checked();
    let Ok(paths) = changed(nodes, old, new) else { return };
    let primary = |path: &String| {
        let path = path_of(path)?;
        match resolve(nodes, new, &path).ok()?? {
            Item { kind: Kind::Dir(dir), .. } => Primary::at(depot, nodes, dir).ok()?,
            _ => None,
        }
    };
    extract_all(depot, &memory, paths.iter().filter_map(primary));
}

/// Where the repositories are whose repomd.xml differs.
fn changed(nodes: &(impl Nodes + ?Sized), old: Option<&Item>, new: &Item) -> Result<Vec<String>, NodeError> {
    let mut paths = Vec::new();
    let mut visit = |path: &str| {
        if let Some(dir) = path.strip_suffix(REPOMD).filter(|dir| dir.is_empty() || dir.ends_with('/')) {
            paths.push(dir.trim_end_matches('/').to_owned());
        }
        Ok::<(), NodeError>(())
    };
    let seen = match (old.map(|old| &old.kind), &new.kind) {
        (Some(Kind::Dir(old)), Kind::Dir(new)) => diff(nodes, *old, *new, &mut |path, change| match change {
            Change::Removed(_) => Ok(()),
            Change::Added(_) | Change::Changed(..) => visit(path),
        }),
        (_, Kind::Dir(new)) => walk(nodes, *new, "", &mut |path, _| visit(path)),
        _ => Ok(()),
    };
    seen.map(|()| paths)
}

/// Lists that are extracted before they are kept: what they take in memory is bounded by that.
const EXTRACTED_AT_ONCE: usize = 16;

/// Extracts the lists that are not kept yet, and keeps them.
pub(crate) fn extract_all(depot: &Depot, memory: &Checked, primaries: impl Iterator<Item = Primary>) {
    let unknown = primaries.filter(|primary| !memory.has_extract(primary.blob));
    let by_blob: HashMap<BlobId, Primary> = unknown.map(|primary| (primary.blob, primary)).collect();
    let primaries: Vec<Primary> = by_blob.into_values().collect();
    for some in primaries.chunks(EXTRACTED_AT_ONCE) {
        let mut lists = Vec::new();
        spread(some, |primary| extract(depot, primary), &mut |number, outcome| {
            // Whoever needs what cannot be extracted says why.
            if let Ok(Ok(list)) = outcome {
                lists.push((some[number].blob, list));
            }
            ControlFlow::Continue(())
        });
        let rows: Vec<(BlobId, &[u8])> =
            lists.iter().map(|(blob, list)| (*blob, list.0.as_bytes())).collect();
        memory.keep_extracts(&rows);
    }
}

/// The packages of a repository, sorted by location.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct List(String);

/// One package of a [`List`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The whole line.
    pub(crate) text: &'a str,
    pub(crate) location: &'a str,
    pub(crate) checksum: &'a str,
    pub(crate) size_bytes: u64,
    pub(crate) name: &'a str,
    pub(crate) epoch: &'a str,
    pub(crate) version: &'a str,
    pub(crate) release: &'a str,
    pub(crate) arch: &'a str,
}

impl List {
    /// The list of the repository at `dir`, whose metadata files `repomd` lists.
    pub(crate) fn of(
        depot: &Depot,
        memory: &Checked,
        nodes: &(impl Nodes + ?Sized),
        dir: Dir,
        repomd: &Repomd,
    ) -> Result<Result<Self, Fault>, CatalogueError> {
        let primary = match Primary::of(nodes, dir, repomd)? {
            Ok(primary) => primary,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(text) = memory.extract(primary.blob).and_then(|bytes| String::from_utf8(bytes).ok()) {
            return Ok(Ok(Self(text)));
        }
        match extract(depot, &primary)? {
            Err(error) => Ok(Err(format!("{}: {}", primary.location, with_causes(&error)))),
            Ok(list) => {
                memory.keep_extracts(&[(primary.blob, list.0.as_bytes())]);
                Ok(Ok(list))
            }
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.lines().filter_map(Line::parse)
    }

    /// Calls `visit` with the lines at each location where two lists differ.
    pub(crate) fn differences<'a>(
        old: &'a Self,
        new: &'a Self,
        visit: &mut dyn FnMut(Option<Line<'a>>, Option<Line<'a>>),
    ) {
        let location = |text: &'a str| text.split('\t').next().unwrap_or(text);
        let (mut old, mut new) = (old.0.lines().peekable(), new.0.lines().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if a == b => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(a), Some(b)) => location(a).cmp(location(b)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let a = if order.is_le() { old.next() } else { None };
            let b = if order.is_ge() { new.next() } else { None };
            visit(a.and_then(Line::parse), b.and_then(Line::parse));
        }
    }
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split('\t');
        let mut next = || fields.next();
        Some(Self {
            text,
            location: next()?,
            checksum: next()?,
            size_bytes: next()?.parse().ok()?,
            name: next()?,
            epoch: next()?,
            version: next()?,
            release: next()?,
            arch: next()?,
        })
    }

    /// Name, epoch, version, release, architecture.
    pub(crate) fn nevra(&self) -> String {
        let Self { name, epoch, version, release, arch, .. } = self;
        let epoch = if *epoch == "0" { String::new() } else { format!("{epoch}:") };
        format!("{name}-{epoch}{version}-{release}.{arch}")
    }
}

fn extract(depot: &Depot, primary: &Primary) -> Result<Result<List, RepodataError>, StoreError> {
    let file = BufReader::with_capacity(1 << 16, depot.store.open_blob(primary.blob)?);
    let read = || -> Result<List, RepodataError> {
        let plain = compression::reader(file, primary.limit_bytes).map_err(RepodataError::Read)?;
        let mut packages = Packages::new(plain).collect::<Result<Vec<Package>, _>>()?;
        packages.sort_unstable_by(|a, b| a.location.as_str().cmp(b.location.as_str()));
        let mut text = String::with_capacity(packages.len() * 160);
        for package in packages {
            let Package { name, arch, epoch, version, release, checksum, size_bytes, location, .. } = package;
            let nevra = Nevra { name, epoch, version, release, arch };
            write_line(&mut text, location.as_str(), &checksum, size_bytes, &nevra);
        }
        Ok(List(text))
    };
    Ok(read())
}

fn write_line(text: &mut String, location: &str, checksum: &Checksum, size_bytes: u64, nevra: &Nevra) {
    let Nevra { name, epoch, version, release, arch } = nevra;
    // As primary metadata gives them: elements without white space around them.
    let [name, arch] = [name, arch].map(|word| plain_word(word.trim()));
    let [version, release] = [version, release].map(|word| plain_word(word));
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "{location}\t{checksum}\t{size_bytes}\t{name}\t{epoch}\t{version}\t{release}\t{arch}");
}

/// A package of metadata that was just made: location, checksum, size, and what identifies it.
pub(crate) type Listed<'a> = (&'a str, &'a Checksum, u64, &'a Nevra);

/// Keeps the list of the packages that the primary metadata `primary` was made of, which is what extracting it would
/// give.
pub(crate) fn keep_list(memory: &Checked, primary: BlobId, mut packages: Vec<Listed<'_>>) {
    packages.sort_unstable_by_key(|(location, ..)| *location);
    let mut text = String::with_capacity(packages.len() * 160);
    for (location, checksum, size_bytes, nevra) in packages {
        write_line(&mut text, location, checksum, size_bytes, nevra);
    }
    memory.keep_extracts(&[(primary, text.as_bytes())]);
}

/// A field without what separates fields and lines.
fn plain_word(word: &str) -> String {
    word.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An error with all its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat what is below them.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A path below a repository.
pub(crate) fn path_of(text: &str) -> Option<TreePath> {
    TreePath::new(text).ok()
}
