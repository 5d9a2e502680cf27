//! What has changed in a workspace, and making it a snapshot.

use std::collections::BTreeMap;

use cfs_fs::diff::{Change, Summary, diff};
use cfs_fs::import::{Options, Progress, Recall};
use cfs_fs::overlay::{Changes, OverlayError, scan};
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::cache::{CACHE_BYTES, CachedNodes};
use cfs_fs::tree::{Dir, Item, Kind, NodeError, NodeMap, Nodes, Stage, Sums, resolve};

use super::{Kept, Record, Workspace, WorkspaceError};
use crate::catalogue::{CatalogueError, Current, Draft, RefUpdate, Signer, Taken};
use crate::depot::{Depot, place};
use crate::revision::RefPath;
use crate::snapshot::Rules;

/// What is to be committed where.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The ref, and the path in it that becomes what the workspace shows.
    pub target: &'a RefPath,
    /// Why, in the user's words.
    pub message: &'a str,
    /// The target may be anything; else it must be new, what the workspace was opened on, or what it committed.
    pub replace: bool,
}

/// What differs from what was committed last, or from what the workspace was opened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Counts of differences.
    pub summary: Summary,
    /// Whether the time of the top directory differs, which no count tells.
    pub top: bool,
    /// Files of the upper directory that had to be read to know.
    pub files_read: u64,
}

impl Status {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.summary.is_empty() && !self.top
    }
}

/// What a commit did, or would do.
#[derive(Debug)]
pub struct Committed {
    /// What it brought since the last one.
    pub status: Status,
    /// What was read of the changed files.
    pub progress: Progress,
    /// The ref's move, unless nothing changed there.
    pub update: Option<RefUpdate>,
}

/// A tree with its nodes that may be new.
struct Tree {
    top: Dir,
    mtime: i64,
    nodes: NodeMap,
}

/// Calls `visit` with every path of the workspace that differs from what was committed last or, before that, from what it
/// was opened on. Stores nothing.
pub fn status(
    depot: &Depot,
    workspace: &Workspace,
    visit: &mut impl FnMut(&str, Change<'_>),
) -> Result<Status, WorkspaceError> {
    let nodes = CachedNodes::new(&depot.catalogue, CACHE_BYTES);
    let (base, mtime) = workspace.base(depot)?;
    let Some(mut changes) = read(workspace, &nodes, base)? else {
        return Ok(Status { summary: Summary::default(), top: false, files_read: 0 });
    };
    // What was committed may have the same content where the tree below has another or none.
    let only_below = workspace.record.committed.is_empty();
    let files_read = changes.compare(&depot.host_files()?, only_below).map_err(OverlayError::from)?;
    let tree = apply(&changes, &nodes)?;
    let status = compare(&nodes, workspace, (base, mtime), &tree, visit)?;
    Ok(Status { files_read, ..status })
}

/// What [`commit`] would bring to the target, now; stores nothing.
pub fn plan(
    depot: &Depot,
    workspace: &Workspace,
    request: Request<'_>,
    visit: &mut impl FnMut(&str, Change<'_>),
) -> Result<Status, WorkspaceError> {
    let current = depot.catalogue.current(&request.target.name)?;
    check_target(depot, workspace, request, current.as_ref(), &[workspace.base(depot)?.0])?;
    status(depot, workspace, visit)
}

/// Makes what `workspace` shows the target's path, unless the target has what the workspace never saw. Reads
/// only what was changed; whatever fails, the workspace stays as it is and the commit can be made again.
pub fn commit(
    depot: &Depot,
    workspace: &mut Workspace,
    request: Request<'_>,
    signer: &Signer,
    options: Options,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Committed, WorkspaceError> {
    // What is found in the store stays there until it is committed.
    let _lease = Lease::take(&depot.store).map_err(CatalogueError::from)?;
    let files = depot.host_files()?;
    let mut run =
        |recall: &dyn Recall| commit_once(depot, workspace, request, signer, options, recall, progress);
    match run(&depot.reader(&files)) {
        // The cache remembers what the store has lost: read everything.
        Err(WorkspaceError::Catalogue(CatalogueError::MissingBlob { .. })) => run(&()),
        done => done,
    }
}

fn commit_once(
    depot: &Depot,
    workspace: &mut Workspace,
    request: Request<'_>,
    signer: &Signer,
    options: Options,
    recall: &dyn Recall,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Committed, WorkspaceError> {
    // A ref that cannot be committed to says so before anything is read.
    let current = depot.catalogue.current(&request.target.name)?;
    let nodes = CachedNodes::new(&depot.catalogue, CACHE_BYTES);
    let (base, mtime) = workspace.base(depot)?;
    check_target(depot, workspace, request, current.as_ref(), &[base])?;
    let (tree, progress) = match read(workspace, &nodes, base)? {
        None => (Tree { top: base, mtime, nodes: NodeMap::new() }, Progress::default()),
        Some(mut changes) => {
            let files = depot.host_files()?;
            let done = changes.take(&depot.store, options, recall, depot.reader(&files).recorder(), progress);
            let done = done.map_err(OverlayError::from)?;
            (apply(&changes, &nodes)?, done)
        }
    };
    let status = compare(&nodes, workspace, (base, mtime), &tree, &mut |_, _| {})?;
    let status = Status { files_read: progress.files_read, ..status };
    let update = publish(depot, workspace, request, signer, base, &tree)?;
    Ok(Committed { status, progress, update })
}

/// Moves the target to a snapshot with `tree` at its path, and remembers that in the record.
fn publish(
    depot: &Depot,
    workspace: &mut Workspace,
    request: Request<'_>,
    signer: &Signer,
    base: Dir,
    tree: &Tree,
) -> Result<Option<RefUpdate>, WorkspaceError> {
    let item = Item { mtime: tree.mtime, kind: Kind::Dir(tree.top) };
    let kept = Kept { id: tree.top.id, mtime: tree.mtime };
    // A commit that is interrupted after the ref has moved must not look like somebody else's.
    workspace.record.committing = Some(kept);
    workspace.save()?;
    let update = depot.catalogue.update_ref(&depot.store, &request.target.name, signer, |current| {
        check_target(depot, workspace, request, current, &[base, tree.top])?;
        let path = &request.target.path;
        let placed = place(&depot.catalogue, current, path, &item, tree.nodes.clone(), signer.now)?;
        let snapshot = workspace.record.snapshot;
        let Some((root, nodes)) = placed else { return Ok::<_, WorkspaceError>(None) };
        Ok(Some(Draft {
            root,
            nodes,
            taken: Taken::default(),
            parents: vec![snapshot],
            access: inherited(depot, workspace, request, current)?,
            meta: BTreeMap::from([
                ("work.base".into(), snapshot.to_string()),
                ("work.source".into(), workspace.record.source.to_string()),
            ]),
            message: request.message.to_owned(),
            reason: format!("commit work on {} ({})", workspace.record.source, snapshot.short()),
        }))
    })?;
    // Earlier ones stay known: another ref may still be at one of them.
    workspace.record.committed.retain(|earlier| *earlier != kept);
    workspace.record.committed.push(kept);
    workspace.record.committing = None;
    workspace.save()?;
    Ok(update)
}

/// The rules of access for a ref that is made: a copy of a whole snapshot is not more open than the snapshot.
fn inherited(
    depot: &Depot,
    workspace: &Workspace,
    request: Request<'_>,
    current: Option<&Current>,
) -> Result<Option<Rules>, CatalogueError> {
    let whole = request.target.path.is_root() && workspace.record.source.path.is_root();
    if current.is_some() || !whole {
        return Ok(None);
    }
    Ok(depot.catalogue.snapshot(workspace.record.snapshot)?.map(|base| base.access))
}

/// What has changed; `None` for a workspace that was never mounted.
fn read(workspace: &Workspace, nodes: &dyn Nodes, base: Dir) -> Result<Option<Changes>, WorkspaceError> {
    let Some(driver) = workspace.record.driver else { return Ok(None) };
    Ok(Some(scan(&workspace.layers().upper, driver, nodes, base, &workspace.record.dir)?))
}

fn apply(changes: &Changes, nodes: &dyn Nodes) -> Result<Tree, NodeError> {
    let mut stage = Stage::new(nodes);
    let (top, mtime) = changes.apply(&mut stage)?;
    Ok(Tree { top, mtime, nodes: stage.into_new_nodes() })
}

/// Compares a tree with what the workspace committed last, or was opened on.
fn compare(
    nodes: &dyn Nodes,
    workspace: &Workspace,
    (base, mtime): (Dir, i64),
    tree: &Tree,
    visit: &mut impl FnMut(&str, Change<'_>),
) -> Result<Status, NodeError> {
    let (old, old_mtime) = match workspace.record.committed.last().copied() {
        // What is below it is not counted in a comparison.
        Some(Kept { id, mtime }) => (Dir { id, sums: Sums::default() }, mtime),
        None => (base, mtime),
    };
    let mut stage = Stage::new(nodes);
    stage.adopt(tree.nodes.clone());
    let mut summary = Summary::default();
    diff(&stage, old, tree.top, &mut |path, change| {
        summary.add(&change);
        visit(path, change);
        Ok::<(), NodeError>(())
    })?;
    Ok(Status { summary, top: tree.mtime != old_mtime, files_read: 0 })
}

/// Nothing that others brought to the target may be lost unseen.
fn check_target(
    depot: &Depot,
    workspace: &Workspace,
    request: Request<'_>,
    current: Option<&Current>,
    known: &[Dir],
) -> Result<(), WorkspaceError> {
    let Some(current) = current.filter(|_| !request.replace) else { return Ok(()) };
    let there = resolve(&depot.catalogue, &current.snapshot.root_item(), &request.target.path)?;
    let Record { committed, committing, .. } = &workspace.record;
    match there {
        None => Ok(()),
        Some(Item { kind: Kind::Dir(dir), .. })
            if known.iter().any(|known| known.id == dir.id)
                || committed.iter().chain(committing).any(|kept| kept.id == dir.id) =>
        {
            Ok(())
        }
        Some(_) => Err(WorkspaceError::Moved { target: request.target.clone() }),
    }
}
