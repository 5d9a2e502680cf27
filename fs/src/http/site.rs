//! What is served: which snapshot an address belongs to, and what stands there in it.
//!
//! ```text
//! of one ref:    /…                      the ref, as it is now
//!                /snapshots/<id>/…       a snapshot that the ref names or has named
//!                /at/<ref>/<time>/…      the ref as it was
//! of everything: /compose/… /views/<ref>/… /snapshots/<id>/… /at/<ref>/<time>/…
//! ```
//!
//! Always true: an address is resolved against one snapshot, found once, so whatever refs do meanwhile an
//! answer is of one generation; symlinks are followed inside the snapshot and nowhere else.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::answer::{Found, Thing};
use super::index::{self, Line};
use crate::digest::{NodeId, SnapshotId};
use crate::name::TreePath;
use crate::tree::{self, Item, Kind, NodeError, Nodes};
use crate::view::ViewError;
use crate::view::access::Access;
use crate::view::ghosts::{self, At, Grace, Resolved};
use crate::view::roots::{Root, Roots, RootsError, Target};
use crate::view::stamp;

/// Symlinks and symbolic refs are followed this far; more is a circle.
const FOLLOW_MAX: usize = 40;
/// What others need to read a file, to go through a directory, and to list one.
const READ: u16 = 0o004;
const ENTER: u16 = 0o001;
const LIST: u16 = 0o005;
/// Earlier generations of a ref whose snapshots can be asked for by their ids.
const PAST_MAX: usize = 1_000_000;
/// Pages of directories that are remembered, in bytes.
const PAGES_MAX_BYTES: usize = 32 << 20;

/// Why an address cannot be resolved. That nothing is there is no error.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The keeper of refs and snapshots failed.
    #[error("{what}: the catalogue cannot be read")]
    Roots {
        /// What was asked for.
        what: String,
        /// The failure there.
        source: RootsError,
    },
    /// A snapshot that a ref names is not in the catalogue.
    #[error("snapshot {id} is missing")]
    NoSuchSnapshot {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A node of a directory cannot be had.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What was removed a while ago cannot be looked for.
    #[error(transparent)]
    Ghost(#[from] ViewError),
}

/// Refs, snapshots and their trees, by address.
pub struct Site {
    roots: Box<dyn Roots>,
    nodes: Box<dyn Nodes + Send + Sync>,
    only: Option<TreePath>,
    grace: Grace,
    pages: Mutex<Pages>,
    /// Everything that a generation of the only ref and those before it named.
    named: Mutex<Option<(u64, Arc<HashSet<SnapshotId>>)>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("only", &self.only).finish_non_exhaustive()
    }
}

/// Rendered pages, those used last, by snapshot and path.
#[derive(Debug)]
struct Pages {
    kept: LruCache<(SnapshotId, TreePath), Arc<[u8]>>,
    bytes: usize,
}

/// A generation of a ref.
struct Current {
    /// The ref that names the snapshot itself.
    name: TreePath,
    generation: u64,
    id: SnapshotId,
}

/// Where an address begins.
enum Start {
    /// In what a ref names now, `depth` names from the beginning of the address.
    Current { current: Current, depth: usize },
    /// In a snapshot, likewise.
    Snapshot { id: SnapshotId, depth: usize, is_permanent: bool },
    /// In a list of directories that is of no snapshot.
    List(BTreeSet<String>),
    /// Nowhere.
    Absent,
}

/// A path without symlinks at which nothing is, as far as it can be told.
type Gap = Option<Vec<Box<str>>>;

/// Where a walk in a snapshot ends.
enum End {
    /// Where nothing is.
    Absent(Gap),
    Forbidden,
    /// At an item; the path to it is that without symlinks.
    Item {
        item: Item,
        path: Vec<Box<str>>,
    },
}

impl Site {
    /// The ref `only`, or everything. What a ref's promotions removed is found during `grace`.
    pub fn new(
        roots: impl Roots + 'static,
        nodes: impl Nodes + Send + Sync + 'static,
        only: Option<TreePath>,
        grace: Grace,
    ) -> Self {
        let pages = Pages { kept: LruCache::unbounded(), bytes: 0 };
        Self {
            roots: Box::new(roots),
            nodes: Box::new(nodes),
            only,
            grace,
            pages: Mutex::new(pages),
            named: Mutex::default(),
        }
    }

    /// The snapshot that is served now, where it is one ref's.
    pub(super) fn current(&self) -> Result<Option<SnapshotId>, SiteError> {
        match &self.only {
            Some(name) => Ok(self.follow(name)?.map(|current| current.id)),
            None => Ok(None),
        }
    }

    /// Whether there is something to serve.
    pub(super) fn is_ready(&self) -> bool {
        match &self.only {
            Some(name) => self.follow(name).is_ok_and(|current| current.is_some()),
            None => self.roots.refs().is_ok(),
        }
    }

    /// What stands at `path`; of a directory asked for as one, with its page. `now` is in seconds since 1970.
    pub(super) fn find(&self, path: &TreePath, as_dir: bool, now: i64) -> Result<Found, SiteError> {
        let names: Vec<&str> = path.components().collect();
        match self.start(&names)? {
            Start::Current { current, depth } => {
                let found = self.find_in(current.id, path, &names[depth..], as_dir)?;
                match found {
                    Ok(found) => Ok(found),
                    Err(real) => self.find_ghost(&current, real, now),
                }
            }
            Start::Snapshot { id, depth, is_permanent } => {
                let found = self.find_in(id, path, &names[depth..], as_dir)?;
                Ok(Found { is_permanent, ..found.unwrap_or_else(|_| nothing(Some(id), Thing::Absent)) })
            }
            Start::Absent => Ok(nothing(self.current()?, Thing::Absent)),
            Start::List(names) => {
                let line = |name| Line { name, mtime: 0, size_bytes: None };
                let lines: Vec<Line> = names.into_iter().map(line).collect();
                let page = as_dir.then(|| index::page(&title(path), &lines).into_bytes().into());
                Ok(nothing(None, Thing::Dir { page, mtime: 0 }))
            }
        }
    }

    /// What stands at `names` of a snapshot, or else where nothing is.
    fn find_in(
        &self,
        id: SnapshotId,
        path: &TreePath,
        names: &[&str],
        as_dir: bool,
    ) -> Result<Result<Found, Gap>, SiteError> {
        let mut is_link = false;
        let thing = match self.walk(id, names, &mut is_link)? {
            End::Absent(real) => return Ok(Err(real)),
            End::Forbidden => Thing::Forbidden,
            End::Item { item: Item { mtime, kind }, path: real } => match kind {
                Kind::File { blob, size_bytes, .. } => Thing::File { blob, size_bytes, mtime },
                Kind::Dir(dir) => {
                    let page = if as_dir { Some(self.page(id, path, &real, dir.id)?) } else { None };
                    Thing::Dir { page, mtime }
                }
                // A walk follows them to their end.
                Kind::Symlink { .. } => Thing::Absent,
            },
        };
        Ok(Ok(Found { is_link, ..nothing(Some(id), thing) }))
    }

    /// What the ref's earlier generations had at the path `real`, which the current one has not. Only files:
    /// a page never lists what has been removed.
    fn find_ghost(&self, current: &Current, real: Gap, now: i64) -> Result<Found, SiteError> {
        let absent = nothing(Some(current.id), Thing::Absent);
        let path = real.and_then(|names| TreePath::new(names.join("/")).ok());
        let Some(path) = path else { return Ok(absent) };
        let at = At { name: &current.name, generation: current.generation, id: current.id };
        let ghost = ghosts::find(&*self.roots, &&*self.nodes, &at, &path, now, self.grace)?;
        let Some(Resolved { item, snapshot, until, .. }) = ghost else { return Ok(absent) };
        let Kind::File { blob, size_bytes, .. } = item.kind else { return Ok(absent) };
        // Neither what hid it then nor what hides its directory now may be gone round by its removal.
        let names: Vec<&str> = path.components().collect();
        for id in [snapshot, current.id] {
            let access = self.root(id)?.and_then(|root| root.access);
            let needed = |depth| if depth < names.len() { ENTER } else { READ };
            if (0..=names.len()).any(|depth| hides(access.as_deref(), &names[..depth], needed(depth))) {
                return Ok(nothing(Some(current.id), Thing::Forbidden));
            }
        }
        let thing = Thing::File { blob, size_bytes, mtime: item.mtime };
        Ok(Found { ghost_until: until, ..nothing(Some(snapshot), thing) })
    }

    fn start(&self, names: &[&str]) -> Result<Start, SiteError> {
        match (names, &self.only) {
            (["snapshots", id, ..], only) if id.parse::<SnapshotId>().is_ok() => {
                let Ok(id) = id.parse() else { return Ok(Start::Absent) };
                let shown = match only {
                    Some(name) => self.has_named(name, id)?,
                    None => true,
                };
                let start = Start::Snapshot { id, depth: 2, is_permanent: true };
                Ok(if shown && self.root(id)?.is_some() { start } else { Start::Absent })
            }
            (["at", rest @ ..], Some(only)) => match self.at(rest, |name| name == only)? {
                Some((id, depth)) => Ok(Start::Snapshot { id, depth: depth + 1, is_permanent: false }),
                None => self.start_in_ref(only),
            },
            (_, Some(only)) => self.start_in_ref(only),
            (["at", rest @ ..], None) => match self.at(rest, |_| true)? {
                Some((id, depth)) => Ok(Start::Snapshot { id, depth: depth + 1, is_permanent: false }),
                None => self.list_refs(rest, |_| true),
            },
            ([], None) => {
                let names = ["at", "compose", "snapshots", "views"];
                Ok(Start::List(names.into_iter().map(str::to_owned).collect()))
            }
            (["snapshots"], None) => {
                let ids = self.roots.snapshots().map_err(|source| roots_error("snapshots", source))?;
                Ok(Start::List(ids.iter().map(SnapshotId::to_string).collect()))
            }
            (["compose", ..], None) => self.start_in_area(names, 0),
            (["views", ..], None) => self.start_in_area(names, 1),
            _ => Ok(Start::Absent),
        }
    }

    fn start_in_ref(&self, name: &TreePath) -> Result<Start, SiteError> {
        let current = self.follow(name)?;
        Ok(current.map_or(Start::Absent, |current| Start::Current { current, depth: 0 }))
    }

    /// Where an address of all refs begins: the names from the `skip`th on begin with a ref's.
    fn start_in_area(&self, names: &[&str], skip: usize) -> Result<Start, SiteError> {
        let shown = |name: &TreePath| name.as_str().starts_with("compose/") == (skip == 0);
        for depth in skip + 1..=names.len() {
            let Ok(name) = TreePath::new(names[skip..depth].join("/")) else { break };
            if shown(&name)
                && let Some(current) = self.follow(&name)?
            {
                return Ok(Start::Current { current, depth });
            }
        }
        self.list_refs(&names[skip..], shown)
    }

    /// The names that follow `above` in those of refs.
    fn list_refs(&self, above: &[&str], shown: impl Fn(&TreePath) -> bool) -> Result<Start, SiteError> {
        let refs = self.roots.refs().map_err(|source| roots_error("refs", source))?;
        let mut found = BTreeSet::new();
        for (name, _) in refs.iter().filter(|(name, _)| shown(name)) {
            let names: Vec<&str> = name.components().collect();
            if let Some([next, ..]) = names.strip_prefix(above) {
                found.insert((*next).to_owned());
            }
        }
        Ok(if found.is_empty() { Start::Absent } else { Start::List(found) })
    }

    /// Reads names as a ref and a time, and returns the snapshot with how many names that are.
    fn at(
        &self,
        names: &[&str],
        shown: impl Fn(&TreePath) -> bool,
    ) -> Result<Option<(SnapshotId, usize)>, SiteError> {
        let mut at = names.iter().enumerate().skip(1);
        let Some((depth, time)) = at.find_map(|(depth, name)| Some((depth, stamp::seconds(name)?))) else {
            return Ok(None);
        };
        let Ok(name) = TreePath::new(names[..depth].join("/")) else { return Ok(None) };
        if !shown(&name) {
            return Ok(None);
        }
        let Some(Current { name, .. }) = self.follow(&name)? else { return Ok(None) };
        let id = self.roots.at(&name, time).map_err(|source| roots_error(&name, source))?;
        Ok(id.map(|id| (id, depth + 1)))
    }

    /// What a ref names now, through symbolic refs.
    fn follow(&self, name: &TreePath) -> Result<Option<Current>, SiteError> {
        let mut name = name.clone();
        for _ in 0..FOLLOW_MAX {
            match self.roots.find(&name).map_err(|source| roots_error(&name, source))? {
                None => return Ok(None),
                Some(Target::Snapshot { id, generation }) => {
                    return Ok(Some(Current { name, generation, id }));
                }
                Some(Target::Symbolic(to)) => name = to,
            }
        }
        Ok(None)
    }

    /// Whether a ref names a snapshot or has done so.
    fn has_named(&self, name: &TreePath, id: SnapshotId) -> Result<bool, SiteError> {
        let Some(current) = self.follow(name)? else { return Ok(false) };
        let named = || self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = named().clone().filter(|(generation, _)| *generation == current.generation);
        if let Some((_, ids)) = kept {
            return Ok(ids.contains(&id));
        }
        let past = self.roots.past(&current.name, current.generation, i64::MIN, PAST_MAX);
        let past = past.map_err(|source| roots_error(&current.name, source))?;
        let ids: HashSet<SnapshotId> = past.into_iter().map(|past| past.id).chain([current.id]).collect();
        let known = ids.contains(&id);
        *named() = Some((current.generation, Arc::new(ids)));
        Ok(known)
    }

    fn root(&self, id: SnapshotId) -> Result<Option<Root>, SiteError> {
        self.roots.snapshot(id).map_err(|source| roots_error(id, source))
    }

    /// Walks from the top of a snapshot along `names`, through symlinks that stay inside.
    fn walk(&self, id: SnapshotId, names: &[&str], is_link: &mut bool) -> Result<End, SiteError> {
        let Root { item: top, access } = self.root(id)?.ok_or(SiteError::NoSuchSnapshot { id })?;
        let mut trail: Vec<(Box<str>, Item)> = Vec::new();
        // What is still to be walked, the next name last.
        let mut ahead: Vec<Box<str>> = names.iter().rev().map(|name| (*name).into()).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if &*name == ".." {
                if trail.pop().is_none() {
                    return Ok(End::Absent(None));
                }
                continue;
            }
            let above = || trail.iter().map(|(name, _)| &**name).collect::<Vec<&str>>();
            if access.is_some() && hides(access.as_deref(), &above(), ENTER) {
                return Ok(End::Forbidden);
            }
            let dir = &trail.last().map_or(&top, |(_, item)| item).kind;
            let found = match dir {
                Kind::Dir(dir) => tree::lookup(&*self.nodes, dir.id, &name)?,
                Kind::File { .. } | Kind::Symlink { .. } => None,
            };
            let Some(item) = found else {
                let steps = trail.into_iter().map(|(name, _)| name).chain([name]);
                return Ok(End::Absent(Some(steps.chain(ahead.into_iter().rev()).collect())));
            };
            if let Kind::Symlink { target } = &item.kind {
                *is_link |= ahead.is_empty();
                links += 1;
                if links > FOLLOW_MAX || target.starts_with('/') {
                    return Ok(End::Absent(None));
                }
                let steps = target.rsplit('/').filter(|step| !step.is_empty() && *step != ".");
                ahead.extend(steps.map(Box::from));
            } else {
                trail.push((name, item));
            }
        }
        let item = trail.last().map_or(top, |(_, item)| item.clone());
        let path: Vec<Box<str>> = trail.into_iter().map(|(name, _)| name).collect();
        let real: Vec<&str> = path.iter().map(|name| &**name).collect();
        if hides(access.as_deref(), &real, needed(&item)) {
            return Ok(End::Forbidden);
        }
        Ok(End::Item { item, path })
    }

    /// The page of the directory `dir`, whose path in the snapshot is `real` and in the address `path`.
    fn page(
        &self,
        id: SnapshotId,
        path: &TreePath,
        real: &[Box<str>],
        dir: NodeId,
    ) -> Result<Arc<[u8]>, SiteError> {
        let key = (id, path.clone());
        let pages = || self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages().kept.get(&key) {
            return Ok(Arc::clone(page));
        }
        let mut lines = Vec::new();
        let access = self.root(id)?.and_then(|root| root.access);
        for entry in tree::read_dir(&*self.nodes, dir)? {
            let name = entry.name.as_str();
            let names = || real.iter().map(|name| &**name).chain([name]).collect::<Vec<&str>>();
            let mut item = entry.item;
            if let Kind::Symlink { .. } = item.kind {
                let End::Item { item: to, .. } = self.walk(id, &names(), &mut false)? else { continue };
                item = to;
            } else if access.is_some() && hides(access.as_deref(), &names(), needed(&item)) {
                continue;
            }
            let size_bytes = match item.kind {
                Kind::File { size_bytes, .. } => Some(size_bytes),
                Kind::Dir(_) => None,
                Kind::Symlink { .. } => continue,
            };
            lines.push(Line { name: name.to_owned(), mtime: item.mtime, size_bytes });
        }
        let page: Arc<[u8]> = index::page(&title(path), &lines).into_bytes().into();
        pages().keep(key, Arc::clone(&page));
        Ok(page)
    }
}

impl Pages {
    fn keep(&mut self, key: (SnapshotId, TreePath), page: Arc<[u8]>) {
        // What the entry itself takes, about.
        let cost = |page: &[u8]| page.len() + 256;
        self.bytes += cost(&page);
        if let Some(before) = self.kept.put(key, page) {
            self.bytes -= cost(&before);
        }
        while self.bytes > PAGES_MAX_BYTES {
            let Some((_, page)) = self.kept.pop_lru() else { break };
            self.bytes -= cost(&page);
        }
    }
}

/// Whether a rule keeps others than owner and group from what they need of the item at `names`.
fn hides(access: Option<&Access>, names: &[&str], needed: u16) -> bool {
    let Some(access) = access else { return false };
    access.rule(|| names.join("/")).mode.is_some_and(|mode| mode & needed != needed)
}

fn needed(item: &Item) -> u16 {
    if matches!(item.kind, Kind::Dir(_)) { LIST } else { READ }
}

fn nothing(snapshot: Option<SnapshotId>, thing: Thing) -> Found {
    Found { snapshot, is_permanent: false, is_link: false, ghost_until: None, thing }
}

/// A path as it is shown to people, as a directory.
fn title(path: &TreePath) -> String {
    if path.is_root() { "/".to_owned() } else { format!("/{path}/") }
}

fn roots_error(what: impl fmt::Display, source: RootsError) -> SiteError {
    SiteError::Roots { what: what.to_string(), source }
}

#[cfg(test)]
mod tests;
