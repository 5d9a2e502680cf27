//! A repository inside a tree: its documents, and its list of packages in a form that is read fast.
//!
//! Always true: a list is a pure function of the primary metadata it was extracted from, so it is kept by that
//! file's name; its lines are sorted by location and hold no character that a line may not hold.

use std::cmp::Ordering;
use std::fmt::Write;
use std::io::BufReader;

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Dir, Item, Kind, Nodes, lookup, resolve};

use super::PromoteError;
use crate::catalogue::Checked;
use crate::depot::Depot;
use crate::repodata::primary::{Package, Packages};
use crate::repodata::repomd::{self, Repomd};
use crate::repodata::{RepodataError, compression};

/// Where a repository's list of metadata files is.
pub(super) const REPOMD: &str = "repodata/repomd.xml";
/// More than any repository's repomd.xml has.
const REPOMD_BYTES_MAX: u64 = 16 << 20;
/// Bytes of primary.xml uncompressed; Fedora's largest has some 200 MB.
const PRIMARY_BYTES_MAX: u64 = 4 << 30;

/// Why metadata cannot be read: for people, naming the file below the repository.
pub(super) type Fault = String;

/// The list of metadata files of the repository at `dir`; `None` when it is none.
pub(super) fn repomd(
    depot: &Depot,
    nodes: &(impl Nodes + ?Sized),
    dir: Dir,
) -> Result<Option<Result<Repomd, Fault>>, PromoteError> {
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

/// The packages of a repository, sorted by location.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct List(String);

/// One package of a [`List`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The whole line.
    pub(super) text: &'a str,
    pub(super) location: &'a str,
    pub(super) checksum: &'a str,
    pub(super) size_bytes: u64,
    pub(super) name: &'a str,
    pub(super) epoch: &'a str,
    pub(super) version: &'a str,
    pub(super) release: &'a str,
    pub(super) arch: &'a str,
}

impl List {
    /// The list of the repository at `dir`, whose metadata files `repomd` lists.
    pub(super) fn of(
        depot: &Depot,
        memory: &Checked,
        nodes: &(impl Nodes + ?Sized),
        dir: Dir,
        repomd: &Repomd,
    ) -> Result<Result<Self, Fault>, PromoteError> {
        let Some(record) = repomd.record("primary") else {
            return Ok(Err(format!("{REPOMD}: lists no primary metadata")));
        };
        let top = Item { mtime: 0, kind: Kind::Dir(dir) };
        let missing = || Err(format!("{}: is missing", record.location));
        let Some(item) = resolve(nodes, &top, &record.location)? else { return Ok(missing()) };
        let Kind::File { blob, .. } = item.kind else { return Ok(missing()) };
        if let Some(text) = memory.extract(blob).and_then(|bytes| String::from_utf8(bytes).ok()) {
            return Ok(Ok(Self(text)));
        }
        let limit = record.open_size_bytes.unwrap_or(PRIMARY_BYTES_MAX).min(PRIMARY_BYTES_MAX);
        match extract(depot, blob, limit)? {
            Err(error) => Ok(Err(format!("{}: {}", record.location, with_causes(&error)))),
            Ok(list) => {
                memory.keep_extract(blob, list.0.as_bytes());
                Ok(Ok(list))
            }
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.lines().filter_map(Line::parse)
    }

    /// Calls `visit` with the lines at each location where two lists differ.
    pub(super) fn differences<'a>(
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
    pub(super) fn nevra(&self) -> String {
        let Self { name, epoch, version, release, arch, .. } = self;
        let epoch = if *epoch == "0" { String::new() } else { format!("{epoch}:") };
        format!("{name}-{epoch}{version}-{release}.{arch}")
    }
}

fn extract(
    depot: &Depot,
    blob: BlobId,
    limit_bytes: u64,
) -> Result<Result<List, RepodataError>, PromoteError> {
    let file = BufReader::with_capacity(1 << 16, depot.store.open_blob(blob)?);
    let read = || -> Result<List, RepodataError> {
        let plain = compression::reader(file, limit_bytes).map_err(RepodataError::Read)?;
        let mut packages = Packages::new(plain).collect::<Result<Vec<Package>, _>>()?;
        packages.sort_unstable_by(|a, b| a.location.as_str().cmp(b.location.as_str()));
        let mut text = String::with_capacity(packages.len() * 160);
        for package in packages {
            let Package { name, arch, epoch, version, release, checksum, size_bytes, location, .. } = package;
            let [name, arch, version, release] = [name, arch, version, release].map(|word| plain_word(&word));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{location}\t{checksum}\t{size_bytes}\t{name}\t{epoch}\t{version}\t{release}\t{arch}"
            );
        }
        Ok(List(text))
    };
    Ok(read())
}

/// A field without what separates fields and lines.
fn plain_word(word: &str) -> String {
    word.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An error with all its causes, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
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
pub(super) fn path(text: &str) -> Option<TreePath> {
    TreePath::new(text).ok()
}
