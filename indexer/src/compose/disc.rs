//! Discs: what stands on one, and the script that makes xorriso write it from a mounted compose.
//!
//! Always true: files of the compose are named through its snapshot, which never changes, so a disc is of one
//! state however long it takes to make; the same snapshot, boot image and files of this host give the same
//! script; nothing of the compose is read but its catalogue.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cfs_fs::digest::SnapshotId;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, NodeError, resolve};
use cfs_fs::walk::walk;

use super::documents::{OF_TREE, TREEINFO};
use super::recipe::{Recipe, RecipeError, Tree, TreeKind};
use super::{Depot, volume};
use crate::catalogue::CatalogueError;
use crate::config::Iso;
use crate::productmd::{discinfo, treeinfo};
use crate::repository::{List, repomd};
use crate::revision::{Revision, When};

mod script;

/// A larger `.treeinfo` is none.
const TREEINFO_BYTES_MAX: u64 = 1 << 20;
/// What an install tree has besides what a disc needs: the boot image itself.
const NOT_FROM_TREES: [&str; 2] = ["images/boot.iso", "images/boot.iso.manifest"];
/// Files of the boot image that may stand changed in the install tree: how it boots.
const BOOT_CONFIGURATION: [&str; 4] = ["isolinux.cfg", "grub.cfg", "grub.conf", "efiboot.img"];

/// Which disc is wanted, and of what. Paths of this host are absolute.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Its name in the configuration.
    pub disc: &'a str,
    /// Its architecture.
    pub arch: &'a str,
    /// The compose; by default the latest.
    pub compose: Option<&'a Revision>,
    /// Where the store is mounted when the script is run.
    pub mount: &'a Path,
    /// A directory with the install tree, where that of the compose is not meant.
    pub tree: Option<&'a Path>,
    /// A directory of files that the disc has besides.
    pub extra: Option<&'a Path>,
    /// The image that it boots like.
    pub boot: &'a Path,
    /// Where the disc's image goes.
    pub output: &'a Path,
    /// Where the script goes; the disc's own documents stand beside it.
    pub script: &'a Path,
    /// When it is made, seconds since 1970; by default when the compose's snapshot was.
    pub time: Option<i64>,
}

/// A disc to be.
#[derive(Debug)]
pub struct Disc {
    /// The snapshot of the compose that it is made of.
    pub snapshot: SnapshotId,
    /// Its label.
    pub volume_id: String,
    /// The script that xorriso runs.
    pub script: String,
    /// Its own documents, and where the script looks for them.
    pub documents: Vec<(PathBuf, Vec<u8>)>,
    /// When it is made, seconds since 1970.
    pub time: i64,
    /// Files that come to those of the boot image.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why there is no disc.
#[derive(Debug, thiserror::Error)]
pub enum DiscError {
    /// The configuration knows no such disc, repository or architecture.
    #[error(transparent)]
    Unknown(#[from] RecipeError),
    /// It is configured to be something else.
    #[error("{name}: is the install tree of a variant and no disc")]
    NotADisc {
        /// The image.
        name: String,
    },
    /// The compose lacks a repository of the disc.
    #[error("{compose}: has no {path}")]
    NoTree {
        /// The compose.
        compose: Revision,
        /// Where the repository should be.
        path: TreePath,
    },
    /// The metadata of a repository of the disc cannot be read.
    #[error("{compose}: {path}: {reason}")]
    Metadata {
        /// The compose.
        compose: Revision,
        /// The repository.
        path: TreePath,
        /// Why not.
        reason: String,
    },
    /// A file of this host cannot be used.
    #[error("{}: {what}", path.display())]
    Host {
        /// The file or directory.
        path: PathBuf,
        /// What cannot be done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The boot image is none.
    #[error("{}: {reason}", path.display())]
    Boot {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name that a script cannot say.
    #[error("{name:?}: no script of xorriso can say this name")]
    Name {
        /// The name.
        name: String,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for DiscError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Where a file of the disc comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The compose: a path below its top.
    Compose(String),
    /// This host.
    Host(PathBuf),
}

/// A file of the disc.
#[derive(Debug, Clone)]
struct Member {
    source: Source,
    size_bytes: u64,
    /// Whether it takes the place of the boot image's, should they differ.
    updates: bool,
}

/// What stands on the disc beside what the boot image brings, by path.
type Members = BTreeMap<String, Member>;

/// Plans a disc.
pub fn disc(depot: &Depot, recipe: &Recipe, wish: &Wish<'_>) -> Result<Disc, DiscError> {
    let iso = find(recipe, wish.disc)?;
    let latest = Revision { base: recipe.latest.clone(), when: When::Now };
    let compose = wish.compose.unwrap_or(&latest);
    let (snapshot, state) = depot.catalogue.resolve(compose)?;
    let root = state.root_item();
    let maker = Maker { depot, recipe, compose, root: &root, arch: wish.arch };
    let boot = Boot::read(wish.boot)?;
    let mut members = Members::new();
    let repositories = maker.repositories(iso, &mut members)?;
    let before = maker.install_tree(wish, &boot, &mut members)?;
    maker.extra_files(wish, &mut members)?;
    let time = wish.time.unwrap_or(state.created);
    let has = |path: &str| members.contains_key(path) || boot.has(path);
    let texts = documents(recipe, iso, wish.arch, &repositories, time, &before, &has);
    let mut documents = Vec::new();
    for (name, bytes) in OF_TREE.iter().zip(texts) {
        let mut path = wish.script.as_os_str().to_owned();
        path.push(format!(".{}", name.trim_start_matches('.')));
        let (source, size_bytes) = (Source::Host(path.clone().into()), bytes.len() as u64);
        members.insert((*name).to_owned(), Member { source, size_bytes, updates: false });
        documents.push((path.into(), bytes));
    }
    let script = script::write(wish, &snapshot, &boot.volume_id, &members)?;
    Ok(Disc {
        snapshot,
        volume_id: boot.volume_id,
        script,
        documents,
        time,
        files: members.len() as u64,
        bytes: members.values().map(|member| member.size_bytes).sum(),
    })
}

fn find<'r>(recipe: &'r Recipe, name: &str) -> Result<&'r Iso, DiscError> {
    let discs = recipe.release.iso.iter().filter(|(_, iso)| iso.disc).map(|(name, _)| name.clone());
    match recipe.release.iso.get(name) {
        Some(iso) if iso.disc => Ok(iso),
        Some(_) => Err(DiscError::NotADisc { name: name.to_owned() }),
        None => Err(unknown("disc", name, discs.collect())),
    }
}

fn unknown(kind: &'static str, name: &str, known: BTreeSet<String>) -> DiscError {
    RecipeError::Unknown { kind, name: name.to_owned(), known: known.into_iter().collect() }.into()
}

/// The image that a disc boots like.
struct Boot {
    volume_id: String,
    paths: BTreeSet<String>,
}

impl Boot {
    fn read(path: &Path) -> Result<Self, DiscError> {
        let host = |source| DiscError::Host { path: path.to_owned(), what: "cannot be read", source };
        let fault = |reason| DiscError::Boot { path: path.to_owned(), reason };
        let file = File::open(path).map_err(host)?;
        let volume_id =
            volume::Volume::read(&file).id.ok_or_else(|| fault("is no ISO image with a label"))?;
        let text = volume::manifest(&file).ok_or_else(|| fault("is damaged"))?;
        let text = String::from_utf8_lossy(&text);
        let paths = text.lines().map(|path| path.trim_start_matches('/').to_owned()).collect();
        Ok(Self { volume_id, paths })
    }

    fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }
}

/// Looks in a compose for what a disc needs.
struct Maker<'a> {
    depot: &'a Depot,
    recipe: &'a Recipe,
    compose: &'a Revision,
    root: &'a Item,
    arch: &'a str,
}

impl Maker<'_> {
    /// The tree of a repository, as the configuration calls it.
    fn tree(&self, name: &str) -> Result<&Tree, DiscError> {
        let name = self.recipe.release.renames.get(name).map_or(name, String::as_str);
        let trees = || self.recipe.all_trees.iter().filter(|tree| tree.kind == TreeKind::Os);
        let mut own = trees().filter(|tree| tree.repository == name);
        if let Some(found) = own.clone().find(|tree| tree.arch == self.arch) {
            return Ok(found);
        }
        if own.next().is_some() {
            let known = trees().filter(|tree| tree.repository == name).map(|tree| tree.arch.clone());
            return Err(unknown("architecture", self.arch, known.collect()));
        }
        Err(unknown("repository", name, trees().map(|tree| tree.repository.clone()).collect()))
    }

    /// The files below a directory of the compose, with their sizes and their paths below it.
    fn below(&self, path: &TreePath) -> Result<Vec<(String, u64)>, DiscError> {
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(&self.depot.catalogue, self.root, path)? else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        walk(&self.depot.catalogue, dir, "", &mut |path, item| {
            let size_bytes = match item.kind {
                Kind::File { size_bytes, .. } => Some(size_bytes),
                Kind::Dir(_) => None,
                Kind::Symlink { .. } => Some(0),
            };
            files.extend(size_bytes.map(|size_bytes| (path.to_owned(), size_bytes)));
            Ok::<_, NodeError>(())
        })?;
        Ok(files)
    }

    /// Adds packages and metadata of the disc's repositories; returns what these are called.
    fn repositories(&self, iso: &Iso, members: &mut Members) -> Result<Vec<String>, DiscError> {
        let mut names = Vec::new();
        for name in &iso.repositories {
            let tree = self.tree(name)?;
            let mut listed = self.listed(&tree.path)?;
            for (path, size_bytes) in self.below(&tree.path)? {
                // Packages that an update has left behind are no part of the repository.
                if listed.remove(&path) || path.starts_with("repodata/") {
                    let source = Source::Compose(format!("{}/{path}", tree.path));
                    let to = format!("{}/{path}", tree.repository);
                    members.insert(to, Member { source, size_bytes, updates: false });
                }
            }
            if let Some(lost) = listed.into_iter().min() {
                let (compose, path) = (self.compose.clone(), tree.path.clone());
                return Err(DiscError::Metadata {
                    compose,
                    path,
                    reason: format!("{lost}: is listed and not there"),
                });
            }
            names.push(tree.repository.clone());
        }
        Ok(names)
    }

    /// The packages that the metadata of a repository lists, by their paths below it.
    fn listed(&self, path: &TreePath) -> Result<HashSet<String>, DiscError> {
        let (depot, nodes) = (self.depot, &self.depot.catalogue);
        let fault =
            |reason| DiscError::Metadata { compose: self.compose.clone(), path: path.clone(), reason };
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(nodes, self.root, path)? else {
            return Err(DiscError::NoTree { compose: self.compose.clone(), path: path.clone() });
        };
        let repomd = repomd(depot, nodes, dir)?.unwrap_or_else(|| Err("is no repository".to_owned()));
        let list = List::of(depot, &depot.checked(), nodes, dir, &repomd.map_err(fault)?)?.map_err(fault)?;
        Ok(list.lines().map(|line| line.location.to_owned()).collect())
    }

    /// Adds the files of the install tree that the boot image lacks; returns what its `.treeinfo` says.
    fn install_tree(
        &self,
        wish: &Wish<'_>,
        boot: &Boot,
        members: &mut Members,
    ) -> Result<Vec<u8>, DiscError> {
        let (files, treeinfo) = match wish.tree {
            Some(dir) => {
                let before = dir.join(TREEINFO);
                (host_files(dir)?, if before.exists() { read(&before)? } else { Vec::new() })
            }
            None => self.own_install_tree()?,
        };
        for (path, member) in files {
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_configuration = BOOT_CONFIGURATION.contains(&name);
            let is_left_out =
                is_of_repository(&path) || OF_TREE.contains(&&*path) || NOT_FROM_TREES.contains(&&*path);
            if !is_left_out && (is_configuration || !boot.has(&path)) {
                let updates = boot.has(&path);
                members.entry(path).or_insert(Member { updates, ..member });
            }
        }
        Ok(treeinfo)
    }

    /// The files of the compose's own install tree, which may be none, and its `.treeinfo`.
    fn own_install_tree(&self) -> Result<(Members, Vec<u8>), DiscError> {
        let mut install_trees = self.recipe.release.iso.values().filter(|iso| !iso.disc);
        let Some(tree) = install_trees.find_map(|iso| self.tree(&iso.variant).ok()) else {
            return Ok((Members::new(), Vec::new()));
        };
        let top = &tree.path;
        let mut files = Members::new();
        for (path, size_bytes) in self.below(top)? {
            let source = Source::Compose(format!("{top}/{path}"));
            files.insert(path, Member { source, size_bytes, updates: false });
        }
        let treeinfo = TreePath::new(format!("{top}/{TREEINFO}")).unwrap_or_default();
        let bytes = match resolve(&self.depot.catalogue, self.root, &treeinfo)? {
            Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. })
                if size_bytes <= TREEINFO_BYTES_MAX =>
            {
                self.depot.store.read_blob(blob).map_err(CatalogueError::from)?
            }
            _ => Vec::new(),
        };
        Ok((files, bytes))
    }

    /// Adds the release's extra files that stand in the compose, and those of this host.
    fn extra_files(&self, wish: &Wish<'_>, members: &mut Members) -> Result<(), DiscError> {
        for path in self.recipe.upstream.extra_files.iter().flat_map(|files| &files.files) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let place = self.recipe.metadata_path(name);
            if let Some(Item { kind: Kind::File { size_bytes, .. }, .. }) =
                resolve(&self.depot.catalogue, self.root, &place)?
            {
                let source = Source::Compose(place.to_string());
                members.insert(name.to_owned(), Member { source, size_bytes, updates: false });
            }
        }
        if let Some(dir) = wish.extra {
            members.extend(host_files(dir)?);
        }
        Ok(())
    }
}

/// Whether a path of a repository's tree is a package or metadata.
fn is_of_repository(path: &str) -> bool {
    let is_package = Path::new(path).extension().is_some_and(|extension| extension == "rpm");
    is_package || path.starts_with("Packages/") || path.starts_with("repodata/")
}

fn read(path: &Path) -> Result<Vec<u8>, DiscError> {
    fs::read(path).map_err(|source| DiscError::Host { path: path.to_owned(), what: "cannot be read", source })
}

/// The files below a directory of this host, by their paths there.
fn host_files(dir: &Path) -> Result<Members, DiscError> {
    let mut members = Members::new();
    let mut open = vec![(dir.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        let fail = |source| DiscError::Host { path: dir.clone(), what: "cannot be listed", source };
        for entry in fs::read_dir(&dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let stat = fs::symlink_metadata(&path).map_err(fail)?;
            let name = path.file_name().unwrap_or_default();
            let name = name.to_str().ok_or_else(|| DiscError::Name { name: path.display().to_string() })?;
            let below = format!("{prefix}{name}");
            if stat.is_dir() {
                open.push((path, format!("{below}/")));
            } else {
                let source = Source::Host(path);
                members.insert(below, Member { source, size_bytes: stat.len(), updates: false });
            }
        }
    }
    Ok(members)
}

/// The disc's own `.treeinfo`, `.discinfo` and `media.repo`; `before` is the `.treeinfo` of its install tree.
fn documents(
    recipe: &Recipe,
    iso: &Iso,
    arch: &str,
    repositories: &[String],
    time: i64,
    before: &[u8],
    has: &dyn Fn(&str) -> bool,
) -> [Vec<u8>; 3] {
    let release = &recipe.release;
    let variant = |name: &String| treeinfo::Variant {
        id: name.clone(),
        paths: BTreeMap::from([
            ("repository".to_owned(), name.clone()),
            ("packages".to_owned(), format!("{name}/Packages")),
        ]),
    };
    let main = release.renames.get(&iso.variant).unwrap_or(&iso.variant);
    let main = repositories.iter().find(|name| *name == main).or(repositories.first());
    let info = treeinfo::TreeInfo {
        name: release.name.clone(),
        short: release.short.clone(),
        version: release.version.clone(),
        arch: arch.to_owned(),
        build_timestamp: time,
        variants: repositories.iter().map(variant).collect(),
        main_variant: main.cloned(),
        media: Some((1, 1)),
        ..treeinfo::TreeInfo::default()
    };
    let name = format!("{} {}", release.name, release.version);
    let info = treeinfo::keep(&info.write(), before, &mut |path| has(path));
    [info, discinfo::discinfo(time, &name, arch), discinfo::media_repo(time, &name)]
}
