//! Gathering a compose, whole or in part.
//!
//! A full run makes a new compose; otherwise the latest one is brought up to date. In a full run what could be
//! had is committed even when something failed, for whoever goes on with it; an update is committed as a whole
//! or not at all, since the latest compose is read by others.

use std::collections::BTreeMap;

use cfs_fs::digest::BlobId;
use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, Nodes, Stage, Sums, resolve};

use super::documents::{Blobs, TREEINFO};
use super::groups::{Grouped, Groups, Place};
use super::recipe::{Recipe, Tree, TreeKind};
use super::{ComposeError, Depot, checksums, documents, hashed, locations, series};
use crate::catalogue::{CatalogueError, Current, Draft, RefUpdate, Signer};
use crate::openpgp::Keyring;
use crate::productmd::status::Status;
use crate::productmd::treeinfo;
use crate::refname::RefName;
use crate::repository::{read_ahead, with_causes};
use crate::revision::RefPath;
use crate::sync::{self, Gathered, Keep, Request, Survey, SyncError};

/// A larger `.treeinfo` is none.
const TREEINFO_BYTES_MAX: u64 = 1 << 20;

/// How a compose is gathered.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which compose.
    pub run: Run,
    /// Packages that an upstream no longer lists go.
    pub clean_old_packages: bool,
    /// Write the files that say what trees are anew.
    pub refresh_treeinfo: bool,
    /// Files from outside that the compose has besides: name and content. `None` for what there is.
    pub extra_files: Option<Vec<(String, Vec<u8>)>>,
    /// Files that each tree of a group's compose has besides, such as keys: name and content.
    pub tree_files: Vec<(String, Vec<u8>)>,
    /// The groups of packages that trees are to have.
    pub groups: Groups,
    /// The keys that must have signed metadata and packages.
    pub keys: Option<Keyring>,
    /// How repositories are gathered.
    pub sync: sync::Options,
    /// Why, in the user's words.
    pub message: String,
}

/// Which compose is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Run {
    /// The latest one is brought up to date.
    #[default]
    Update,
    /// A new one.
    Full,
    /// The newest full run that did not end goes on.
    Resume,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The compose.
    pub compose: RefName,
    /// Each tree that was asked for.
    pub trees: Vec<TreeReport>,
    /// Trees that were not asked for now and that a full run has not gathered yet.
    pub missing: Vec<TreePath>,
    /// Trees of packages that the release has and a whole compose lacks, since nobody asked for them.
    pub absent: Vec<TreePath>,
    /// Files that were downloaded.
    pub fetched_files: u64,
    /// Bytes that were received for them.
    pub fetched_bytes: u64,
    /// The ref's move; `None` when nothing changed.
    pub update: Option<RefUpdate>,
    /// The symbolic ref that names the compose now, when a full run has come to be the newest that is whole.
    pub latest: Option<RefName>,
}

impl Report {
    /// Whether every tree is there.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.trees.iter().all(|tree| tree.outcome.is_ok())
    }
}

/// What came of one tree.
#[derive(Debug)]
pub struct TreeReport {
    /// Which.
    pub tree: Tree,
    /// What came of it.
    pub outcome: Result<Outcome, SyncError>,
    /// What identifies packages of which it has several that differ.
    pub duplicates: Vec<String>,
}

/// A tree that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Packages that its upstream has; not counted when nothing had changed.
    pub packages: Option<u64>,
    /// All its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What became of its groups of packages, where it is to have some.
    pub groups: Option<Grouped>,
}

/// What a run would do.
#[derive(Debug)]
pub struct Planned {
    /// The compose that would be brought up to date; `None` for a new one.
    pub compose: Option<RefName>,
    /// Each tree.
    pub trees: Vec<PlannedTree>,
}

/// What a run would do about one tree.
#[derive(Debug)]
pub struct PlannedTree {
    /// Which.
    pub tree: Tree,
    /// What would be downloaded for it.
    pub survey: Result<Survey, SyncError>,
    /// Whether groups of packages would be put into its metadata.
    pub groups: bool,
}

/// Looks what [`sync`] would do. Nothing that anybody reads changes.
pub fn plan(
    depot: &Depot,
    recipe: &Recipe,
    options: &Options,
    signer: &Signer,
    progress: &mut sync::OnProgress<'_>,
) -> Result<Planned, ComposeError> {
    let like = series::latest(depot, recipe)?;
    let compose = match options.run {
        Run::Update => Some(find_latest(depot, recipe)?),
        Run::Resume => Some(series::unfinished(depot, recipe)?.0),
        Run::Full => None,
    };
    // A new one is asked about as if it stood where nothing is.
    let place = compose.clone().unwrap_or_else(|| recipe.beside("planned"));
    hashed::check(depot, recipe, &place)?;
    let requests = requests(recipe, options, &place, like.as_ref().filter(|like| **like != place));
    let surveys = sync::survey(depot, &requests, signer.now, progress)?;
    let mut trees = Vec::with_capacity(surveys.len());
    for ((tree, request), survey) in recipe.trees.iter().zip(&requests).zip(surveys) {
        let groups = match &survey {
            Ok(Survey { packages: Some(_), .. }) => options.groups.of_trees.contains_key(&tree.path),
            Ok(_) => options.groups.would_change(&Place { depot, recipe, request, now: signer.now })?,
            Err(_) => false,
        };
        trees.push(PlannedTree { tree: tree.clone(), survey, groups });
    }
    Ok(Planned { compose, trees })
}

/// Gathers the selected trees of `recipe`. Fails as a whole when the store fails or `progress` stops it; a full run's
/// compose stays marked as unfinished then, and what was downloaded is kept.
pub fn sync(
    depot: &Depot,
    recipe: &Recipe,
    options: &Options,
    signer: &Signer,
    progress: &mut sync::OnProgress<'_>,
) -> Result<Report, ComposeError> {
    let like = series::latest(depot, recipe)?;
    let (name, _hold) = match options.run {
        Run::Update => (find_latest(depot, recipe)?, None),
        Run::Resume => series::unfinished(depot, recipe).map(|(name, hold)| (name, Some(hold)))?,
        Run::Full => series::begin(depot, recipe, signer).map(|(name, hold)| (name, Some(hold)))?,
    };
    hashed::check(depot, recipe, &name)?;
    if options.run == Run::Resume {
        series::set_status(depot, recipe, &name, Status::Started, signer)?;
    }
    let like = like.as_ref().filter(|like| **like != name);
    let gathered = gather(depot, recipe, options, &name, like, signer, progress);
    if options.run == Run::Update {
        return gathered;
    }
    let status = match &gathered {
        Ok(report) if report.is_whole() => None,
        Err(ComposeError::Sync(SyncError::Stopped { .. })) => Some(Status::Terminated),
        _ => Some(Status::Doomed),
    };
    match status.map(|status| series::set_status(depot, recipe, &name, status, signer)) {
        // What failed first says more.
        Some(Err(error)) if gathered.is_ok() => Err(error),
        _ => gathered,
    }
}

fn gather(
    depot: &Depot,
    recipe: &Recipe,
    options: &Options,
    name: &RefName,
    like: Option<&RefName>,
    signer: &Signer,
    progress: &mut sync::OnProgress<'_>,
) -> Result<Report, ComposeError> {
    let requests = requests(recipe, options, name, like);
    let harvest = sync::harvest(depot, &requests, signer.now, progress)?;
    let whole = harvest.repositories.iter().all(Result::is_ok);
    let mut trees: Vec<TreeReport> = Vec::with_capacity(recipe.trees.len());
    let mut update = None;
    let mut done = Vec::new();
    if whole || options.run != Run::Update {
        let gathered: Vec<Option<&Gathered>> =
            harvest.repositories.iter().map(|result| result.as_ref().ok()).collect();
        (done, update) = commit(depot, recipe, options, name, &requests, &gathered, signer)?;
    }
    record(depot, options, &requests, &harvest.repositories, signer)?;
    let mut done = done.into_iter();
    for (tree, result) in recipe.trees.iter().zip(harvest.repositories) {
        let (sums, groups) = done.next().flatten().unwrap_or_default();
        let duplicates = result.as_ref().map(|gathered| gathered.duplicates.clone()).unwrap_or_default();
        let outcome = result.map(|gathered| Outcome {
            packages: gathered.packages,
            files: sums.files,
            bytes: sums.bytes,
            groups,
        });
        trees.push(TreeReport { tree: tree.clone(), outcome, duplicates });
    }
    let mut report = Report {
        compose: name.clone(),
        trees,
        missing: Vec::new(),
        absent: Vec::new(),
        fetched_files: harvest.fetched_files,
        fetched_bytes: harvest.fetched_bytes,
        update,
        latest: None,
    };
    if whole && options.run != Run::Update {
        arrive(depot, recipe, signer, &mut report)?;
    }
    Ok(report)
}

/// The compose that is to be brought up to date.
fn find_latest(depot: &Depot, recipe: &Recipe) -> Result<RefName, ComposeError> {
    let name = series::latest(depot, recipe)?;
    let name = name.ok_or_else(|| ComposeError::NoLatest { latest: recipe.latest.clone() })?;
    if let Some(current) = depot.catalogue.current(&name)?
        && let Some(status) = series::status_of(depot, &current.snapshot.root_item())?
        && status.is_sealed()
    {
        return Err(ComposeError::Sealed { name, status });
    }
    Ok(name)
}

fn requests(recipe: &Recipe, options: &Options, name: &RefName, like: Option<&RefName>) -> Vec<Request> {
    let place = |name: &RefName, tree: &Tree| RefPath { name: name.clone(), path: tree.path.clone() };
    let keep = match (options.run, options.clean_old_packages) {
        (Run::Update, false) => Keep::Packages,
        (Run::Update, true) => Keep::Others,
        _ => Keep::Nothing,
    };
    let mut sync = options.sync.clone();
    if recipe.group.is_none() {
        sync.taken.extend(documents::OF_TREE.iter().filter_map(|name| TreePath::new(*name).ok()));
    }
    let request = |tree: &Tree| Request {
        address: tree.address.clone(),
        target: place(name, tree),
        like: like.map(|like| place(like, tree)),
        keep,
        keys: options.keys.clone(),
        message: options.message.clone(),
        options: sync.clone(),
    };
    recipe.trees.iter().map(request).collect()
}

/// Files that are to stand at paths of the compose.
type Files = Vec<(TreePath, Item)>;

/// What one tree came to, and what became of its groups.
type Done = Option<(Sums, Option<Grouped>)>;

/// Commits what was gathered.
fn commit(
    depot: &Depot,
    recipe: &Recipe,
    options: &Options,
    name: &RefName,
    requests: &[Request],
    gathered: &[Option<&Gathered>],
    signer: &Signer,
) -> Result<(Vec<Done>, Option<RefUpdate>), ComposeError> {
    let mut trees: Vec<Option<Built>> = Vec::new();
    let documents =
        if recipe.group.is_none() { documents::store(depot, recipe, signer.now)? } else { Vec::new() };
    let mut old = None;
    let update = depot.catalogue.update_ref(&depot.store, name, signer, |current| {
        // One that was deleted meanwhile is not made anew without what it began with.
        let current = current.ok_or_else(|| CatalogueError::NoSuchRef { name: name.clone() })?;
        old = Some(current.snapshot.root_item());
        let (id, documents) = (recipe.id_of(name), documents.as_slice());
        let compose = Compose { depot, recipe, options, id, documents, current, now: signer.now };
        let (root, nodes) = compose.build(requests, gathered, &mut trees)?;
        let changed = current.snapshot.root_item() != root;
        let draft = || recipe.draft(name, root, nodes, "compose sync".to_owned());
        Ok::<_, ComposeError>(changed.then(|| Draft { message: options.message.clone(), ..draft() }))
    })?;
    for ((request, gathered), tree) in requests.iter().zip(gathered).zip(&trees) {
        if let (Some(gathered), Some(tree)) = (gathered, tree) {
            gathered.record(depot, request, &tree.item, signer.now)?;
        }
    }
    if let Some(update) = &update {
        read_ahead(depot, &depot.catalogue, old.as_ref(), &update.snapshot.root_item());
    }
    let done = |tree: &Option<Built>| match tree {
        Some(Built { item: Item { kind: Kind::Dir(dir), .. }, groups }) => Some((dir.sums, *groups)),
        _ => None,
    };
    Ok((trees.iter().map(done).collect(), update))
}

/// What a request came to.
struct Built {
    item: Item,
    groups: Option<Grouped>,
}

/// A compose's tree being made.
struct Compose<'a> {
    depot: &'a Depot,
    recipe: &'a Recipe,
    options: &'a Options,
    id: String,
    /// For each tree: the files that say what it is, and those for its kickstart. A group's have none.
    documents: &'a [[Blobs; 2]],
    current: &'a Current,
    now: i64,
}

impl Compose<'_> {
    /// The new top directory with the nodes that may be new; `trees` becomes what each request came to.
    fn build(
        &self,
        requests: &[Request],
        gathered: &[Option<&Gathered>],
        trees: &mut Vec<Option<Built>>,
    ) -> Result<crate::depot::Placed, ComposeError> {
        let mut stage = Stage::new(&self.depot.catalogue);
        let mut root = self.current.snapshot.root_item();
        trees.clear();
        for (number, tree) in self.recipe.trees.iter().enumerate() {
            let (request, gathered) = (&requests[number], gathered[number]);
            let documents = self.documents.get(number);
            let Some(gathered) = gathered else {
                trees.push(None);
                continue;
            };
            let old = resolve(&stage, &root, &tree.path)?;
            let (mut item, nodes) = gathered.tree(self.depot, request.keep, old.as_ref())?;
            stage.adopt(nodes);
            let Self { depot, recipe, now, .. } = *self;
            let place = Place { depot, recipe, request, now };
            let grouped = self.options.groups.put(&place, &mut stage, &item, old.as_ref())?;
            let groups = grouped.map(|(with_groups, groups)| {
                item = with_groups;
                groups
            });
            let bare = item.clone();
            if let Some([documents, _]) = documents {
                item = self.with_documents(&mut stage, documents, &item)?;
            }
            if recipe.group.is_some() {
                item = self.with_files(&mut stage, item, old.as_ref())?;
            }
            root = graft(&mut stage, &root, &tree.path, item.clone(), self.now)?;
            if let (Some(kickstart), Some([_, documents])) = (&tree.kickstart, documents) {
                let kept = resolve(&stage, &root, kickstart)?;
                let is_written = if kept.is_some() {
                    self.options.refresh_treeinfo
                } else {
                    self.options.run != Run::Update
                };
                if is_written {
                    let first = kept.unwrap_or(bare);
                    let first = self.with_documents(&mut stage, documents, &first)?;
                    root = graft(&mut stage, &root, kickstart, first, self.now)?;
                }
            }
            trees.push(Some(Built { item, groups }));
        }
        for (path, item) in self.files(&stage, &root)? {
            root = graft(&mut stage, &root, &path, item, self.now)?;
        }
        for directory in &self.recipe.directories {
            if resolve(&stage, &root, directory)?.is_none() {
                let empty = cfs_fs::edit::empty_dir(&mut stage, self.now);
                root = graft(&mut stage, &root, directory, empty, self.now)?;
            }
        }
        Ok((root, stage.into_new_nodes()))
    }

    /// A tree with the files that say what it is, unless it has them.
    fn with_documents(
        &self,
        stage: &mut Stage<'_>,
        documents: &Blobs,
        item: &Item,
    ) -> Result<Item, ComposeError> {
        let refresh = self.options.refresh_treeinfo || self.options.run != Run::Update;
        let mut item = item.clone();
        for (name, (blob, size_bytes)) in documents::OF_TREE.iter().zip(*documents) {
            let path = TreePath::new(*name).unwrap_or_default();
            let old = resolve(stage, &item, &path)?;
            if refresh || old.is_none() {
                let (blob, size_bytes) = if *name == TREEINFO {
                    self.with_images(stage, &item, old.as_ref(), blob)?
                } else {
                    (blob, size_bytes)
                };
                let kind = Kind::File { blob, size_bytes, executable: false };
                item = graft(stage, &item, &path, Item { mtime: self.now, kind }, self.now)?;
            }
        }
        Ok(item)
    }

    /// A tree with the files that all trees of a group have. What did not change keeps its time.
    fn with_files(
        &self,
        stage: &mut Stage<'_>,
        mut item: Item,
        old: Option<&Item>,
    ) -> Result<Item, ComposeError> {
        let contents: Vec<&[u8]> =
            self.options.tree_files.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let blobs = self.depot.add_blobs(&contents)?;
        for ((name, _), (blob, size_bytes)) in self.options.tree_files.iter().zip(blobs) {
            let path = TreePath::new(name)
                .map_err(|error| ComposeError::ExtraFile { url: name.clone(), reason: error.to_string() })?;
            let kind = Kind::File { blob, size_bytes, executable: false };
            if resolve(stage, &item, &path)?.is_none_or(|there| there.kind != kind) {
                let old = old.map(|old| resolve(stage, old, &path)).transpose()?.flatten();
                let file = old.filter(|old| old.kind == kind).unwrap_or(Item { mtime: self.now, kind });
                item = graft(stage, &item, &path, file, self.now)?;
            }
        }
        Ok(item)
    }

    /// The new `.treeinfo` with what the old one says of images that are still there, and with the images that have
    /// their usual places; all with the checksums that they have.
    fn with_images(
        &self,
        nodes: &dyn Nodes,
        tree: &Item,
        old: Option<&Item>,
        new: BlobId,
    ) -> Result<(BlobId, u64), ComposeError> {
        let mut bytes = self.depot.store.read_blob(new)?;
        let there =
            |path: &str| TreePath::new(path).ok().and_then(|path| resolve(nodes, tree, &path).ok()?);
        if let Some(&Item { kind: Kind::File { blob, size_bytes, .. }, .. }) = old
            && size_bytes <= TREEINFO_BYTES_MAX
        {
            let old = self.depot.store.read_blob(blob)?;
            bytes = treeinfo::keep(&bytes, &old, &mut |path| there(path).is_some());
        }
        let mut checksums = BTreeMap::new();
        for path in treeinfo::images(&bytes) {
            if let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) = there(&path) {
                checksums.insert(path, checksums::sha256(self.depot, blob, size_bytes)?.to_string());
            }
        }
        bytes = treeinfo::with_images(&bytes, &checksums);
        let stored = self.depot.add_blobs(&[&bytes])?;
        let lost = || CatalogueError::Damaged { what: "a blob that was stored has no name".to_owned() };
        Ok(stored.first().copied().ok_or_else(lost)?)
    }

    /// The compose's own files that it lacks or that are to be written anew.
    fn files(&self, nodes: &dyn Nodes, root: &Item) -> Result<Files, ComposeError> {
        let locations = locations::of_repositories(self.depot, self.recipe, &self.id, nodes, root)?;
        let mut wanted =
            documents::of_compose(nodes, self.recipe, &self.id, root, locations.as_ref(), self.now)?;
        if self.options.run == Run::Update {
            wanted.retain(|(name, _)| name.starts_with("composeinfo."));
        }
        wanted.extend(self.options.extra_files.iter().flatten().cloned());
        let contents: Vec<&[u8]> = wanted.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let blobs = self.depot.add_blobs(&contents)?;
        let mut files = Files::new();
        for ((name, _), (blob, size_bytes)) in wanted.iter().zip(blobs) {
            let path = self.recipe.metadata.as_str();
            let path = TreePath::new(format!("{path}/{name}"))
                .map_err(|error| ComposeError::ExtraFile { url: name.clone(), reason: error.to_string() })?;
            let kind = Kind::File { blob, size_bytes, executable: false };
            // What did not change keeps its time.
            if resolve(nodes, root, &path)?.is_none_or(|old| old.kind != kind) {
                files.push((path, Item { mtime: self.now, kind }));
            }
        }
        Ok(files)
    }
}

/// Records which trees are there and which failed. An update that fails leaves the compose as it was, which is whole.
fn record(
    depot: &Depot,
    options: &Options,
    requests: &[Request],
    results: &[Result<Gathered, SyncError>],
    signer: &Signer,
) -> Result<(), ComposeError> {
    for (request, result) in requests.iter().zip(results) {
        match result {
            Ok(_) => depot.catalogue.forget_unfinished(&request.target)?,
            Err(_) if options.run == Run::Update => {}
            Err(error) => {
                depot.catalogue.record_unfinished(&request.target, signer.now, &with_causes(error))?;
            }
        }
    }
    Ok(())
}

/// Everything that a full run asked for has come: when no tree is missing, its compose is whole and becomes the
/// latest, unless a newer one is.
fn arrive(depot: &Depot, recipe: &Recipe, signer: &Signer, report: &mut Report) -> Result<(), ComposeError> {
    let name = &report.compose;
    let top = RefPath { name: name.clone(), path: TreePath::root() };
    for unfinished in depot.catalogue.unfinished_syncs(name)?.into_iter().filter(|one| one.place != top) {
        if recipe.all_trees.iter().any(|tree| tree.path == unfinished.place.path) {
            report.missing.push(unfinished.place.path);
        } else {
            // The release has it no longer.
            depot.catalogue.forget_unfinished(&unfinished.place)?;
        }
    }
    if !report.missing.is_empty() {
        return Ok(());
    }
    let mut linked = false;
    loop {
        let made = series::made(depot, recipe)?;
        let own = made.iter().find(|made| made.name == *name).map(|made| made.moment);
        let newer = made.iter().rev().find(|made| made.unfinished.is_none() && Some(made.moment) > own);
        match newer {
            // Of several runs that end at once, the last to look here sees all of them.
            Some(newer) if linked => {
                depot.catalogue.link_whole(&recipe.latest, &newer.name, signer, "compose sync")?;
                break;
            }
            Some(_) => {
                depot.catalogue.forget_unfinished(&top)?;
                break;
            }
            None if linked => break,
            None => depot.catalogue.link_whole(&recipe.latest, name, signer, "compose sync")?,
        };
        linked = true;
    }
    if series::latest(depot, recipe)?.as_ref() == Some(name) {
        report.latest = Some(recipe.latest.clone());
    }
    let Some(current) = depot.catalogue.current(name)? else { return Ok(()) };
    let root = current.snapshot.root_item();
    for tree in recipe.all_trees.iter().filter(|tree| tree.kind == TreeKind::Os) {
        if resolve(&depot.catalogue, &root, &tree.path)?.is_none() {
            report.absent.push(tree.path.clone());
        }
    }
    Ok(())
}
