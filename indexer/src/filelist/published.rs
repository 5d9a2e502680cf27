//! Lists as files of the snapshot that they describe.
//!
//! Always true: when nothing that a list shows changed, its file stays as it is, time included; when something did,
//! its time moves by a second at least, and every line of something new has that time. A list is trusted as the
//! state to go on from only where the snapshot's record says that cfs made it; otherwise it is made anew.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{self, JoinHandle, ScopedJoinHandle};

use cfs_fs::digest::{BlobId, Digest};
use cfs_fs::edit::{EditError, direct_change, graft};
use cfs_fs::name::{Name, TreePath};
use cfs_fs::store::StoreError;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Entry, Item, Kind, Nodes, Stage, read_dir, resolve};

use super::change::{Changes, changes, rewrite};
use super::line::{self, plain_key};
use super::scan::Scope;
use super::splice::{ListFile, Sorted, Source, Splice, apply, splices, write_error};
use super::write::{Outs, write};
use super::{FilelistError, Modes, State};
use crate::catalogue::{CatalogueError, Current, Draft};
use crate::checksum::{Algorithm, Digester};
use crate::config::Lists;
use crate::depot::Depot;

/// The key of a snapshot's `meta` that says which of its files are lists that cfs made.
pub const META: &str = "filelists";

/// The snapshot that a view shows.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// Its tree.
    pub state: State<'a>,
    /// What its `meta` says under [`META`]; empty when nothing.
    pub made: &'a str,
}

/// A tree with its lists.
#[derive(Debug)]
pub struct Derived {
    /// The top directory.
    pub root: Item,
    /// What `meta` is to say under [`META`].
    pub made: String,
}

/// Puts the lists of the tree `old` into the tree `new`, which is to follow it, instead of any of their names there.
pub fn carry(stage: &mut Stage<'_>, specs: &[Lists], old: &Item, new: &Item) -> Result<Item, FilelistError> {
    let mut root = new.clone();
    for spec in specs {
        let dir = |nodes: &Stage<'_>, root: &Item| {
            Ok::<_, FilelistError>(match resolve(nodes, root, &spec.directory)? {
                Some(Item { mtime, kind: Kind::Dir(dir) }) => Some((read_dir(nodes, dir.id)?, mtime)),
                _ => None,
            })
        };
        let (Some((old, old_mtime)), Some((mut entries, mtime))) = (dir(stage, old)?, dir(stage, &root)?)
        else {
            continue;
        };
        let own = spec.own_names();
        let is_list =
            |entry: &Entry| own.contains(&entry.name) && matches!(entry.item.kind, Kind::File { .. });
        entries.retain(|entry| !own.contains(&entry.name));
        entries.extend(old.iter().filter(|entry| is_list(entry)).cloned());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mtime = if direct_change(&old, &entries) { mtime } else { old_mtime };
        let dir = Item { mtime, kind: Kind::Dir(stage.write_dir(&entries)) };
        root = put(stage, &root, spec, dir, mtime)?;
    }
    Ok(root)
}

/// Puts a directory with lists into its place; the times of those above stay.
fn put(stage: &mut Stage<'_>, root: &Item, spec: &Lists, dir: Item, now: i64) -> Result<Item, FilelistError> {
    graft(stage, root, &spec.directory, dir, now).map_err(|error| match error {
        EditError::Node(error) => FilelistError::Node(error),
        error => damaged(&spec.directory, &error),
    })
}

/// Puts lists into the tree `new`, which is to follow `old` in a view; `now` is in seconds. New nodes are in `stage`;
/// the lists themselves are in `written`, to be published before a snapshot names them.
pub fn derive(
    depot: &Depot,
    stage: &mut Stage<'_>,
    written: &mut Written,
    specs: &[Lists],
    (old, new): (Option<Before<'_>>, State<'_>),
    now: i64,
) -> Result<Derived, FilelistError> {
    let mut root = new.root.clone();
    let mut made = Vec::new();
    let mut specs: Vec<&Lists> = specs.iter().collect();
    // The list of a directory shows the lists of those below it.
    specs.sort_by_key(|spec| std::cmp::Reverse(spec.directory.components().count()));
    for spec in specs {
        let found = resolve(&*stage, &root, &spec.directory)?;
        let Some(Item { mtime, kind: Kind::Dir(_) }) = found else { continue };
        let tree = State { root: &root, modes: new.modes };
        let mut work = Work { depot, nodes: &*stage, spec, scope: scope(spec), written };
        let lists = work.lists(old, tree, now)?;
        let entries = work.entries(tree, &lists)?;
        let old_dir = match old {
            Some(old) => resolve(&*stage, old.state.root, &spec.directory)?,
            None => None,
        };
        let mtime = directory_mtime(&*stage, old_dir.as_ref(), &entries, mtime, lists.time)?;
        let dir = Item { mtime, kind: Kind::Dir(stage.write_dir(&entries)) };
        root = put(stage, &root, spec, dir, now)?;
        made.push(made_line(spec));
    }
    made.sort();
    Ok(Derived { root, made: made.join("\n") })
}

/// Adds the lists to a draft of a view's next state that is no promotion. `None` when the view shows that already.
pub fn complete(
    depot: &Depot,
    specs: &[Lists],
    current: Option<&Current>,
    mut draft: Draft,
    now: i64,
) -> Result<Option<Draft>, FilelistError> {
    if specs.is_empty() {
        return Ok(Some(draft));
    }
    let mut stage = Stage::new(&depot.catalogue);
    stage.adopt(draft.nodes);
    let old = current.map(|current| (current.snapshot.root_item(), &current.snapshot));
    if let Some((root, _)) = &old {
        draft.root = carry(&mut stage, specs, root, &draft.root)?;
        if draft.root == *root {
            return Ok(None);
        }
    }
    let old_modes = old.as_ref().map(|(_, snapshot)| Modes::from(&snapshot.access)).unwrap_or_default();
    let modes = draft.access.as_ref().map_or_else(|| old_modes.clone(), Modes::from);
    let before = old.as_ref().map(|(root, snapshot)| Before {
        state: State { root, modes: &old_modes },
        made: snapshot.meta.get(META).map_or("", String::as_str),
    });
    let after = State { root: &draft.root, modes: &modes };
    let mut written = Written::default();
    let Derived { root, made } = derive(depot, &mut stage, &mut written, specs, (before, after), now)?;
    written.publish(depot)?;
    if !made.is_empty() {
        draft.meta.insert(META.to_owned(), made);
    }
    Ok(Some(Draft { root, nodes: stage.into_new_nodes(), ..draft }))
}

fn damaged(directory: &TreePath, error: &impl ToString) -> FilelistError {
    FilelistError::Damaged { name: directory.to_string(), reason: error.to_string() }
}

fn scope(spec: &Lists) -> Scope {
    Scope { directory: spec.directory.clone(), own: spec.own_names() }
}

/// The names of a directory's lists, those of the three kinds first, and the directory.
fn made_line(spec: &Lists) -> String {
    let kinds = [&spec.timelist, &spec.filelist, &spec.imagelist].into_iter();
    let names: Vec<&str> = kinds.chain(&spec.aliases).chain(&spec.previous).map(Name::as_str).collect();
    format!("{}\t{}", names.join(" "), spec.directory)
}

/// The names of the lists that cfs made in a directory, as [`Derived::made`] tells them.
pub(super) fn made_in<'m>(made: &'m str, directory: &TreePath) -> Option<Vec<&'m str>> {
    let mut lines = made.lines().filter_map(|line| line.split_once('\t'));
    let (names, _) = lines.find(|(_, found)| *found == directory.as_str())?;
    Some(names.split(' ').collect())
}

/// A directory's time moves when one of its direct children changed, and only then.
fn directory_mtime(
    nodes: &dyn Nodes,
    old: Option<&Item>,
    entries: &[Entry],
    mtime: i64,
    time: Option<i64>,
) -> Result<i64, FilelistError> {
    let mtime = mtime.max(time.unwrap_or(mtime));
    let Some(Item { mtime: old_mtime, kind: Kind::Dir(old) }) = old else { return Ok(mtime) };
    let changed = direct_change(&read_dir(nodes, old.id)?, entries);
    Ok(if changed { mtime.max(old_mtime.saturating_add(1)) } else { *old_mtime })
}

/// The files that the lists of one directory are.
struct Made {
    timelist: Item,
    filelist: Item,
    imagelist: Item,
    previous: Option<Item>,
    /// When what is new in them entered the view, if there is something.
    time: Option<i64>,
}

/// The lists of one directory in the snapshot before.
struct Old {
    timelist: Item,
    filelist: Item,
    imagelist: Item,
    previous: Option<Item>,
}

struct Work<'a> {
    depot: &'a Depot,
    nodes: &'a dyn Nodes,
    spec: &'a Lists,
    scope: Scope,
    written: &'a mut Written,
}

impl Work<'_> {
    fn lists(&mut self, old: Option<Before<'_>>, new: State<'_>, now: i64) -> Result<Made, FilelistError> {
        let found = match old {
            Some(before) => self.old(before)?.map(|lists| (before, lists)),
            None => None,
        };
        let Some((before, old)) = found else { return self.anew(new, now) };
        let time = now.max(old.timelist.mtime.saturating_add(1));
        let differing = before.state.modes.differing(new.modes);
        let modes_changed = differing.into_iter().any(|path| self.scope.in_list(path).is_some());
        if modes_changed {
            return self.rewritten(before, old, new, time);
        }
        let file = self.open(&old.timelist)?;
        let source = Source { name: self.spec.timelist.as_str(), bytes: &file };
        let mut sha1 = |blob| sha1(self.depot, blob);
        let states = (before.state, new);
        let changes = changes(self.nodes, states, &self.scope, source, time, &mut sha1)?;
        if changes.is_empty() {
            let Old { timelist, filelist, imagelist, previous } = old;
            return Ok(Made { timelist, filelist, imagelist, previous, time: None });
        }
        let filelist = self.plain(&old.filelist, &changes, &mut |_| true)?;
        let imagelist = self.plain(&old.imagelist, &changes, &mut line::is_image)?;
        let parts =
            [(&old.timelist, changes.timelist), (&old.filelist, filelist), (&old.imagelist, imagelist)];
        let [timelist, filelist, imagelist] = self.written.spliced(self.depot, &parts, time)?;
        Ok(Made { timelist, filelist, imagelist, previous: Some(old.timelist), time: Some(time) })
    }

    /// The lists of the snapshot before, if cfs made them.
    fn old(&self, before: Before<'_>) -> Result<Option<Old>, FilelistError> {
        let made = made_in(before.made, &self.spec.directory).unwrap_or_default();
        let kinds = [&self.spec.timelist, &self.spec.filelist, &self.spec.imagelist];
        if !kinds.iter().zip(&made).all(|(name, made)| name.as_str() == *made) || made.len() < kinds.len() {
            return Ok(None);
        }
        let file = |name: &Name| {
            let path = self.spec.directory.join(name).unwrap_or_default();
            let found = resolve(self.nodes, before.state.root, &path)?;
            Ok::<_, FilelistError>(found.filter(|item| matches!(item.kind, Kind::File { .. })))
        };
        let (timelist, filelist, imagelist) = (file(kinds[0])?, file(kinds[1])?, file(kinds[2])?);
        let previous = match &self.spec.previous {
            Some(name) => file(name)?,
            None => None,
        };
        Ok(match (timelist, filelist, imagelist) {
            (Some(timelist), Some(filelist), Some(imagelist)) => {
                Some(Old { timelist, filelist, imagelist, previous })
            }
            _ => None,
        })
    }

    /// Lists where there were none.
    fn anew(&mut self, new: State<'_>, now: i64) -> Result<Made, FilelistError> {
        let (nodes, depot, scope) = (self.nodes, self.depot, &self.scope);
        let (timelist, filelist, imagelist) = self.written.write_three(self.depot, now, |outs| {
            write(nodes, new, scope, &mut |_, _| Ok(now), &mut |blob| sha1(depot, blob), outs)
        })?;
        Ok(Made { timelist, filelist, imagelist, previous: None, time: Some(now) })
    }

    /// Lists after a change of modes.
    fn rewritten(
        &mut self,
        before: Before<'_>,
        old: Old,
        new: State<'_>,
        time: i64,
    ) -> Result<Made, FilelistError> {
        let file = self.open(&old.timelist)?;
        let source = Source { name: self.spec.timelist.as_str(), bytes: &file };
        let (nodes, depot, scope) = (self.nodes, self.depot, &self.scope);
        let (timelist, filelist, imagelist) = self.written.write_three(self.depot, time, |outs| {
            let mut sha1 = |blob| sha1(depot, blob);
            rewrite(nodes, (before.state, new), scope, source, time, &mut sha1, outs)
        })?;
        // What came out as it was keeps its time.
        let keep = |old: Item, new: Item| if old.kind == new.kind { old } else { new };
        let changed = timelist.kind != old.timelist.kind;
        let previous = if changed { Some(old.timelist.clone()) } else { old.previous };
        Ok(Made {
            timelist: keep(old.timelist, timelist),
            filelist: keep(old.filelist, filelist),
            imagelist: keep(old.imagelist, imagelist),
            previous,
            time: changed.then_some(time),
        })
    }

    /// How a list of paths changes when names come and go.
    fn plain(
        &self,
        old: &Item,
        changes: &Changes,
        wanted: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<Splice>, FilelistError> {
        let names = changes.names.iter().filter(|(path, _)| wanted(path));
        let names: Vec<_> =
            names.map(|(path, comes)| (path.as_str(), comes.then(|| line::plain(path)))).collect();
        let file = self.open(old)?;
        let source = Source { name: self.spec.filelist.as_str(), bytes: &file };
        let list = Sorted { source, range: 0..file.size_bytes, key: plain_key };
        splices(&list, names, &mut |_, _| {})
    }

    fn open(&self, list: &Item) -> Result<ListFile, FilelistError> {
        open(self.depot, list)
    }

    /// The directory's entries with the lists among them.
    fn entries(&self, state: State<'_>, lists: &Made) -> Result<Vec<Entry>, FilelistError> {
        let dir = self.scope.find(self.nodes, state)?;
        let mut entries = match dir {
            Some(dir) => read_dir(self.nodes, dir.id)?,
            None => Vec::new(),
        };
        entries.retain(|entry| !self.scope.own.contains(&entry.name));
        let spec = self.spec;
        let mut add = |name: &Name, item: &Item| {
            entries.push(Entry { name: name.clone(), item: item.clone() });
        };
        add(&spec.timelist, &lists.timelist);
        add(&spec.filelist, &lists.filelist);
        add(&spec.imagelist, &lists.imagelist);
        spec.aliases.iter().for_each(|alias| add(alias, &lists.timelist));
        if let (Some(name), Some(previous)) = (&spec.previous, &lists.previous) {
            add(name, previous);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// The SHA-1 of a small blob.
pub(super) fn sha1(depot: &Depot, blob: BlobId) -> Result<String, FilelistError> {
    let mut digester = Digester::new(Algorithm::Sha1);
    digester.update(&depot.store.read_blob(blob)?);
    Ok(digester.finish().to_hex())
}

/// Lists that are on stable storage and not in the store yet. Dropped, they are gone.
#[derive(Debug, Default)]
pub struct Written {
    /// Taken when there is a list to be written.
    lease: Option<Lease>,
    ready: Vec<Ready<()>>,
}

impl Written {
    /// Writes lists that follow from others, side by side, and returns them as files with this time; a list without a
    /// splice stays the file that it is. An old list whose bytes are not what the tree says is an error.
    fn spliced<const N: usize>(
        &mut self,
        depot: &Depot,
        parts: &[(&Item, Vec<Splice>); N],
        mtime: i64,
    ) -> Result<[Item; N], FilelistError> {
        let mut writers = Vec::with_capacity(N);
        for (_, splices) in parts {
            writers.push(if splices.is_empty() { None } else { Some(self.writer(depot)?) });
        }
        let written: Result<Vec<Option<Hashed>>, FilelistError> = thread::scope(|scope| {
            let mut threads = Vec::with_capacity(N);
            for ((old, splices), writer) in parts.iter().zip(writers) {
                threads.push(
                    scope.spawn(move || writer.map(|writer| splice(depot, old, splices, writer)).transpose()),
                );
            }
            let ended = threads.into_iter().map(ScopedJoinHandle::join);
            ended.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut items = parts.each_ref().map(|(old, _)| (*old).clone());
        for (item, hashed) in items.iter_mut().zip(written?) {
            if let Some(hashed) = hashed {
                *item = self.take(hashed, mtime);
            }
        }
        Ok(items)
    }

    /// Writes a timelist, a filelist and an imagelist at once.
    fn write_three(
        &mut self,
        depot: &Depot,
        mtime: i64,
        work: impl FnOnce(&mut Outs<'_>) -> Result<(), FilelistError>,
    ) -> Result<(Item, Item, Item), FilelistError> {
        let (mut timelist, mut filelist) = (self.writer(depot)?, self.writer(depot)?);
        let mut imagelist = self.writer(depot)?;
        work(&mut Outs {
            timelist: Some(&mut timelist),
            filelist: Some(&mut filelist),
            imagelist: Some(&mut imagelist),
        })?;
        let (timelist, filelist, imagelist) = (finish(timelist)?, finish(filelist)?, finish(imagelist)?);
        Ok((self.take(timelist, mtime), self.take(filelist, mtime), self.take(imagelist, mtime)))
    }

    fn writer(&mut self, depot: &Depot) -> Result<BufWriter<Hashed>, FilelistError> {
        let lease = match &mut self.lease {
            Some(lease) => lease,
            none => none.insert(Lease::take(&depot.store)?),
        };
        let (file, path) = lease.temporary()?;
        Ok(BufWriter::with_capacity(128 << 10, Hashed::new(file, path)))
    }

    fn take(&mut self, hashed: Hashed, mtime: i64) -> Item {
        let blob = BlobId::from(Digest::from(hashed.hasher.finalize()));
        let size_bytes = hashed.size_bytes;
        self.ready.push(Ready { id: blob, size_bytes, tag: (), file: Some(hashed.path) });
        Item { mtime, kind: Kind::File { blob, size_bytes, executable: false } }
    }

    /// Gives the lists their names in the store; they are durable and live afterwards.
    pub fn publish(self, depot: &Depot) -> Result<(), FilelistError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let record = |ready: Vec<Ready<()>>| {
            let blobs = ready.iter().map(|ready| (ready.id, ready.size_bytes, &[][..]));
            depot.catalogue.record_stored(&depot.store, blobs).map_err(Into::into)
        };
        let mut publisher = Publisher::new(&depot.store, Box::new(record))?;
        for ready in self.ready {
            publisher.add(ready)?;
        }
        publisher.finish().map_err(|error| CatalogueError::from(error).into())
    }
}

/// Writes the list that follows from `old`.
fn splice(
    depot: &Depot,
    old: &Item,
    splices: &[Splice],
    mut out: BufWriter<Hashed>,
) -> Result<Hashed, FilelistError> {
    let file = open(depot, old)?;
    let mut hasher = blake3::Hasher::new();
    let read = &mut |bytes: &[u8]| {
        hasher.update(bytes);
    };
    apply(Source { name: IN_STORE, bytes: &file }, splices, read, &mut out)?;
    let found = BlobId::from(Digest::from(hasher.finalize()));
    match old.kind {
        Kind::File { blob, .. } if blob != found => Err(StoreError::Damaged { id: blob, found }.into()),
        _ => finish(out),
    }
}

fn open(depot: &Depot, list: &Item) -> Result<ListFile, FilelistError> {
    let Kind::File { blob, size_bytes, .. } = list.kind else {
        return Err(write_error(IN_STORE, io::ErrorKind::InvalidInput.into()));
    };
    Ok(ListFile { file: depot.store.open_blob(blob)?, size_bytes })
}

/// What is written to temporary files has no name yet.
const IN_STORE: &str = "in the store";

/// Ends the writing: everything is on stable storage then.
fn finish(writer: BufWriter<Hashed>) -> Result<Hashed, FilelistError> {
    let mut hashed = writer.into_inner().map_err(|error| write_error(IN_STORE, error.into_error()))?;
    hashed.sync().map_err(|error| write_error(IN_STORE, error))?;
    Ok(hashed)
}

/// After so many bytes the disk gets to work, while more are written.
const SYNC_BYTES: u64 = 8 << 20;

/// A file that is hashed while it is written.
struct Hashed {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    size_bytes: u64,
    /// How many of them the disk has been given.
    given_bytes: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Hashed {
    fn new(file: File, path: PathBuf) -> Self {
        let hasher = blake3::Hasher::new();
        Self { file, path, hasher, size_bytes: 0, given_bytes: 0, syncing: None }
    }

    /// Has the disk take what was written until now, in the background.
    fn sync_behind(&mut self) -> io::Result<()> {
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        self.synced()?;
        let file = self.file.try_clone()?;
        self.given_bytes = self.size_bytes;
        self.syncing = Some(thread::spawn(move || file.sync_data()));
        Ok(())
    }

    /// Waits for the disk to have everything.
    fn sync(&mut self) -> io::Result<()> {
        self.synced()?;
        self.file.sync_data()
    }

    /// Waits for what runs in the background. An error of the disk is told once, so it must not be missed here.
    fn synced(&mut self) -> io::Result<()> {
        match self.syncing.take() {
            Some(syncing) => syncing.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => Ok(()),
        }
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        if self.size_bytes - self.given_bytes >= SYNC_BYTES {
            self.sync_behind()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
