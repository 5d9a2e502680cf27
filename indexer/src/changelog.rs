//! What has changed between two composes, by source packages: added, dropped, upgraded, downgraded, moved.
//!
//! Always true: of each source package only the newest build of each compose counts; what is told stands in the
//! metadata that the repositories publish; a package that is in several repositories is counted once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cfs_fs::diff::{Change as Difference, diff};
use cfs_fs::tree::{Dir, Kind as ItemKind, NodeError, resolve};

use crate::arch::is_source;
use crate::catalogue::CatalogueError;
use crate::depot::Depot;
use crate::packages::{PackagesError, path, repositories};
use crate::repodata::other::{self, Entry};
use crate::repodata::primary::{More, Package as Record, Packages};
use crate::repodata::relation::Evr;
use crate::repository::documents::{Repository, RepositoryError};
use crate::revision::RevPath;

mod html;
mod text;

pub use html::html;
pub use text::{size, text, verbose};

/// Files that are images, but for a compression behind.
const IMAGES: &[&str] = &[".iso", ".qcow2", ".raw", ".vhd", ".vhdfixed", ".vmdk", ".ova", ".box"];

/// The newest build of a source package in a compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Name of the source package.
    pub name: String,
    /// Its epoch, as its packages have it.
    pub epoch: u32,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: String,
    /// What it is, in a line.
    pub summary: String,
    /// Its packages with their sizes, by name, epoch, version, release and architecture.
    pub packages: BTreeMap<String, u64>,
    /// The names of its packages.
    pub names: BTreeSet<String>,
    /// The repositories with any of its packages.
    pub repositories: BTreeSet<String>,
    /// When its first package was built.
    built: i64,
    /// A package of it with a changelog: its repository's number, and its checksum.
    sample: (usize, String),
}

impl Build {
    /// Name, version and release.
    pub fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    /// Bytes of all its packages.
    pub fn size_bytes(&self) -> u64 {
        self.packages.values().sum()
    }

    fn evr(&self) -> Evr<'_> {
        Evr { epoch: self.epoch, version: &self.version, release: &self.release }
    }
}

/// A source package of which there is another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The build before.
    pub old: Build,
    /// The build now.
    pub new: Build,
    /// What is new in its changelog, newest first.
    pub entries: Vec<Entry>,
}

impl Change {
    /// What the builds before and now are called: with their epochs where these tell them apart.
    pub fn titles(&self) -> (String, String) {
        if self.old.epoch == self.new.epoch {
            return (self.old.nvr(), self.new.nvr());
        }
        let title = |Build { name, epoch, version, release, .. }: &Build| {
            format!("{name}-{epoch}:{version}-{release}")
        };
        (title(&self.old), title(&self.new))
    }

    /// How many bytes more there are.
    pub fn growth_bytes(&self) -> i64 {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(self.new.size_bytes()) - signed(self.old.size_bytes())
    }
}

/// A source package whose packages are in other repositories than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The build now.
    pub build: Build,
    /// The repositories before.
    pub from: BTreeSet<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is in its compose.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
}

/// All that has changed; each list by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changelog {
    /// What was compared, as the user calls it.
    pub old: String,
    /// With what.
    pub new: String,
    /// Images that there were not.
    pub added_images: Vec<Image>,
    /// Images that are gone.
    pub dropped_images: Vec<Image>,
    /// Source packages that there were not.
    pub added: Vec<Build>,
    /// Source packages that are gone.
    pub dropped: Vec<Build>,
    /// Newer ones.
    pub upgraded: Vec<Change>,
    /// Older ones.
    pub downgraded: Vec<Change>,
    /// Those that moved between repositories, whatever their version.
    pub moved: Vec<Move>,
}

impl Changelog {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        let Self { added_images, dropped_images, added, dropped, upgraded, downgraded, moved, .. } = self;
        added_images.is_empty()
            && dropped_images.is_empty()
            && added.is_empty()
            && dropped.is_empty()
            && upgraded.is_empty()
            && downgraded.is_empty()
            && moved.is_empty()
    }
}

/// Compares two composes: all repositories at and below two places.
pub fn between(depot: &Depot, old: &RevPath, new: &RevPath) -> Result<Changelog, PackagesError> {
    let (before, mut after) = (Compose::read(depot, old)?, Compose::read(depot, new)?);
    let mut log = Changelog { old: old.to_string(), new: new.to_string(), ..Changelog::default() };
    let mut changed = Vec::new();
    for (name, was) in before.builds {
        let Some(is) = after.builds.remove(&name) else {
            log.dropped.push(was);
            continue;
        };
        if is.repositories != was.repositories {
            log.moved.push(Move { build: is.clone(), from: was.repositories.clone() });
        }
        if is.evr().compare(&was.evr()).is_ne() {
            changed.push((was, is));
        }
    }
    log.added = after.builds.into_values().collect();
    let entries = |place: &RevPath, compose: &[Repository], builds: Vec<&Build>| {
        entries(depot, compose, &builds)
            .map_err(|source| PackagesError::Repository { place: place.clone(), source })
    };
    let mut had = entries(old, &before.repositories, changed.iter().map(|(was, _)| was).collect())?;
    let mut has = entries(new, &after.repositories, changed.iter().map(|(_, is)| is).collect())?;
    for (old, new) in changed {
        let (had, has) = (had.remove(&old.name), has.remove(&new.name));
        let newer = new.evr().compare(&old.evr()).is_gt();
        let entries = if newer { new_entries(had, has, old.built) } else { Vec::new() };
        let change = Change { old, new, entries };
        if newer { log.upgraded.push(change) } else { log.downgraded.push(change) }
    }
    images(depot, (old, new), &mut log)?;
    Ok(log)
}

/// The newest builds of a compose, by name.
struct Compose {
    repositories: Vec<Repository>,
    builds: BTreeMap<String, Build>,
}

impl Compose {
    fn read(depot: &Depot, place: &RevPath) -> Result<Self, PackagesError> {
        let repositories = repositories(depot, place)?;
        let mut builds = BTreeMap::new();
        for (number, repository) in repositories.iter().enumerate() {
            let path = below(place, &path(place, repository));
            read_builds(depot, repository, (number, &path), &mut builds)
                .map_err(|source| PackagesError::Repository { place: place.clone(), source })?;
        }
        Ok(Self { repositories, builds })
    }
}

/// A path as it is below the place, so that composes of different names can be compared.
fn below(place: &RevPath, path: &str) -> String {
    let rest = path.strip_prefix(place.path.as_str()).unwrap_or(path).trim_start_matches('/');
    if rest.is_empty() { ".".to_owned() } else { rest.to_owned() }
}

#[derive(Default)]
struct Texts {
    summary: String,
    source: String,
}

impl More for Texts {
    fn summary(&mut self, text: &str) {
        text.clone_into(&mut self.summary);
    }

    fn source(&mut self, text: &str) {
        text.clone_into(&mut self.source);
    }
}

fn read_builds(
    depot: &Depot,
    repository: &Repository,
    (number, path): (usize, &str),
    builds: &mut BTreeMap<String, Build>,
) -> Result<(), RepositoryError> {
    repository.primary(&depot.catalogue)?.read(depot, |input| {
        let mut packages = Packages::new(input);
        let mut texts = Texts::default();
        while let Some(record) = packages.next_with(&mut texts) {
            add(builds, record?, std::mem::take(&mut texts), (number, path));
        }
        Ok(())
    })
}

fn add(builds: &mut BTreeMap<String, Build>, record: Record, texts: Texts, (number, path): (usize, &str)) {
    let Record { name, arch, epoch, version, release, checksum, size_bytes, build_time, .. } = record;
    let nevra = format!("{name}-{}.{arch}", Evr { epoch, version: &version, release: &release });
    let (source, version, release) =
        source_of(&texts.source).unwrap_or_else(|| (name.clone(), version, release));
    let fresh = Build {
        name: source,
        epoch,
        version,
        release,
        summary: texts.summary,
        packages: BTreeMap::new(),
        names: BTreeSet::new(),
        repositories: BTreeSet::new(),
        built: build_time.unwrap_or(0),
        sample: (number, checksum.to_hex()),
    };
    let build = builds.entry(fresh.name.clone()).or_insert_with(|| fresh.clone());
    match fresh.evr().compare(&build.evr()) {
        std::cmp::Ordering::Less => return,
        std::cmp::Ordering::Greater => *build = fresh,
        std::cmp::Ordering::Equal => {
            // The package that is called as its source says best what it is.
            if name == build.name {
                build.summary = fresh.summary;
            }
            build.built = build.built.min(fresh.built);
        }
    }
    build.repositories.insert(path.to_owned());
    if !is_source(&arch) {
        build.packages.insert(nevra, size_bytes);
        build.names.insert(name);
    }
}

/// Name, version and release of a source package's file.
fn source_of(file: &str) -> Option<(String, String, String)> {
    let nvr = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let mut parts = nvr.rsplitn(3, '-');
    let (release, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_owned(), version.to_owned(), release.to_owned()))
}

/// The changelogs of builds, by name.
fn entries(
    depot: &Depot,
    repositories: &[Repository],
    builds: &[&Build],
) -> Result<HashMap<String, Vec<Entry>>, RepositoryError> {
    let mut found = HashMap::new();
    for (number, repository) in repositories.iter().enumerate() {
        let samples = builds.iter().filter(|build| build.sample.0 == number);
        let wanted: HashMap<&str, &str> =
            samples.map(|build| (build.sample.1.as_str(), build.name.as_str())).collect();
        if wanted.is_empty() {
            continue;
        }
        let Some(document) = repository.document(&depot.catalogue, "other")? else { continue };
        document.read(depot, |input| {
            other::read(input, &|package| wanted.contains_key(package), &mut |package, entries| {
                if let Some(name) = wanted.get(package) {
                    found.insert((*name).to_owned(), entries);
                }
            })
        })?;
    }
    Ok(found)
}

/// The entries that were not there before, newest first. Metadata keeps only the last few, so without those from
/// before it is the time of building that counts.
fn new_entries(had: Option<Vec<Entry>>, has: Option<Vec<Entry>>, built: i64) -> Vec<Entry> {
    let mut new = has.unwrap_or_default();
    match had.filter(|had| !had.is_empty()) {
        Some(had) => {
            let last = had.iter().map(|entry| entry.time).max().unwrap_or(i64::MIN);
            new.retain(|entry| entry.time >= last && !had.contains(entry));
        }
        None => new.retain(|entry| entry.time > built),
    }
    new.sort_by_key(|entry| std::cmp::Reverse(entry.time));
    new
}

fn images(depot: &Depot, (old, new): (&RevPath, &RevPath), log: &mut Changelog) -> Result<(), PackagesError> {
    let (Some(old), Some(new)) = (dir(depot, old)?, dir(depot, new)?) else { return Ok(()) };
    diff(&depot.catalogue, old, new, &mut |path, change| {
        let plain = [".xz", ".zst", ".gz"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
        if !IMAGES.iter().any(|end| plain.ends_with(end)) {
            return Ok(());
        }
        let (list, item) = match &change {
            Difference::Added(item) => (&mut log.added_images, item),
            Difference::Removed(item) => (&mut log.dropped_images, item),
            Difference::Changed(..) => return Ok(()),
        };
        if let ItemKind::File { size_bytes, .. } = item.kind {
            list.push(Image { path: path.to_owned(), size_bytes });
        }
        Ok::<(), NodeError>(())
    })
    .map_err(CatalogueError::from)?;
    Ok(())
}

fn dir(depot: &Depot, place: &RevPath) -> Result<Option<Dir>, CatalogueError> {
    let (_, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let item = resolve(&depot.catalogue, &snapshot.root_item(), &place.path)?;
    Ok(match item.map(|item| item.kind) {
        Some(ItemKind::Dir(dir)) => Some(dir),
        _ => None,
    })
}
