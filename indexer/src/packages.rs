//! Queries: packages of all repositories at and below a place, by what they provide and require.
//!
//! Always true: what is told of a package stands in the metadata that its repository publishes.

use std::collections::HashSet;
use std::str::FromStr;

use cfs_fs::tree::{Kind as ItemKind, resolve};

use crate::catalogue::CatalogueError;
use crate::depot::Depot;
use crate::repodata::filelists;
use crate::repodata::primary::{More, Package as Record, Packages};
use crate::repodata::relation::{Comparison, Evr, Kind, Relation};
use crate::repository::documents::{self, Repository, RepositoryError};
use crate::revision::RevPath;

/// A package of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its repository: a path below the place; empty for the place itself.
    pub repository: String,
    /// The name.
    pub name: String,
    /// The epoch.
    pub epoch: u32,
    /// The version.
    pub version: String,
    /// The release.
    pub release: String,
    /// The architecture.
    pub arch: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Where the file is, below the repository.
    pub location: String,
    /// The file's checksum, with its algorithm.
    pub checksum: String,
}

impl Package {
    /// Name, epoch, version, release and architecture, with the epoch always written.
    pub fn nevra(&self) -> String {
        let Self { name, epoch, version, release, arch, .. } = self;
        format!("{name}-{epoch}:{version}-{release}.{arch}")
    }

    /// Where the file is, below the place.
    pub fn path(&self) -> String {
        let slash = if self.repository.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.repository, self.location)
    }
}

/// Something that packages give or ask for: `name`, `name >= 1.2-3`, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    name: String,
    comparison: Comparison,
    evr: String,
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, sign, evr) = match words[..] {
            [name] => (name, None, ""),
            [name, sign, evr] => (name, Some(sign), evr),
            _ => return Err(format!("{text:?} is no name, and no name with a sign and a version")),
        };
        let comparison = match sign {
            None => Comparison::ANY,
            Some(sign) => Comparison::of_sign(sign)
                .ok_or_else(|| format!("{sign:?} is no sign; there are < <= = >= >"))?,
        };
        Ok(Self { name: name.to_owned(), comparison, evr: evr.to_owned() })
    }
}

impl Capability {
    /// Whether it and a relation of a package mean a common version of one thing.
    fn meets(&self, relation: &Relation<'_>) -> bool {
        let own = (self.comparison, &Evr::parse(&self.evr));
        relation.name == self.name && Relation::is_met_by(own, (relation.comparison, &relation.evr))
    }

    /// Whether it is among what a rich dependency is about.
    fn is_in(&self, text: &str) -> bool {
        let mut found = false;
        if let Some(formula) = crate::closure::rich::parse(text) {
            formula.atoms(&mut |atom| {
                let (comparison, evr) = (atom.comparison, Evr::parse(&atom.evr));
                found |= self.meets(&Relation { name: &atom.name, comparison, evr });
            });
        }
        found
    }
}

/// Which packages are meant; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// They give this.
    pub provides: Option<Capability>,
    /// They ask for this.
    pub requires: Option<Capability>,
}

/// Why packages cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// Nothing at the place is a repository.
    #[error("{place}: there is no repository at it or below it")]
    NoRepository {
        /// The place.
        place: RevPath,
    },
    /// A repository cannot be read.
    #[error("{place}")]
    Repository {
        /// Where it was looked for.
        place: RevPath,
        /// What is wrong with it.
        source: RepositoryError,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The repositories at and below a place.
pub fn repositories(depot: &Depot, place: &RevPath) -> Result<Vec<Repository>, PackagesError> {
    let (_, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let item = resolve(&depot.catalogue, &snapshot.root_item(), &place.path).map_err(CatalogueError::from)?;
    let found = match item.map(|item| item.kind) {
        Some(ItemKind::Dir(dir)) => documents::find(depot, &depot.catalogue, dir)
            .map_err(|source| PackagesError::Repository { place: place.clone(), source })?,
        _ => Vec::new(),
    };
    if found.is_empty() { Err(PackagesError::NoRepository { place: place.clone() }) } else { Ok(found) }
}

/// The path of a repository in its snapshot.
pub fn path(place: &RevPath, repository: &Repository) -> String {
    let parts = [place.path.as_str(), &repository.path];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// Calls `visit` with the packages for which the conditions hold, until it says that it is enough.
pub fn list<E: From<PackagesError>>(
    depot: &Depot,
    place: &RevPath,
    conditions: &Conditions,
    visit: &mut dyn FnMut(Package) -> Result<(), E>,
) -> Result<(), E> {
    for repository in repositories(depot, place)? {
        let found = matching(depot, &repository, conditions);
        let found = found.map_err(|source| PackagesError::Repository { place: place.clone(), source })?;
        found.into_iter().try_for_each(&mut *visit)?;
    }
    Ok(())
}

/// The packages of a repository for which the conditions hold, in the document's order.
fn matching(
    depot: &Depot,
    repository: &Repository,
    conditions: &Conditions,
) -> Result<Vec<Package>, RepositoryError> {
    let mut owners = HashSet::new();
    if let Some(wanted) = conditions.provides.as_ref().filter(|wanted| wanted.name.starts_with('/'))
        && let Some(document) = repository.document(&depot.catalogue, "filelists")?
    {
        document.read(depot, |input| {
            filelists::read(input, &mut |package, path| {
                if path == wanted.name {
                    owners.insert(package.to_owned());
                }
            })
        })?;
    }
    let mut found = Vec::new();
    let primary = repository.primary(&depot.catalogue)?;
    primary.read(depot, |input| {
        let mut packages = Packages::new(input);
        let mut look = Look { conditions, provides: false, requires: false };
        while let Some(record) = packages.next_with(&mut look) {
            let record = record?;
            look.itself(&record);
            look.provides |= owners.contains(&record.checksum.to_hex());
            if look.holds() {
                found.push(package_of(record, &repository.path));
            }
            look = Look { conditions, provides: false, requires: false };
        }
        Ok(())
    })?;
    Ok(found)
}

fn package_of(record: Record, path: &str) -> Package {
    let Record { name, epoch, version, release, arch, size_bytes, location, checksum, .. } = record;
    Package {
        repository: path.to_owned(),
        name,
        epoch,
        version,
        release,
        arch,
        size_bytes,
        location: location.to_string(),
        checksum: checksum.to_string(),
    }
}

/// Looks whether the conditions hold for one package.
struct Look<'c> {
    conditions: &'c Conditions,
    provides: bool,
    requires: bool,
}

impl Look<'_> {
    /// Every package but a source gives its own name.
    fn itself(&mut self, record: &Record) {
        let Record { name, epoch, version, release, arch, .. } = record;
        if !crate::arch::is_source(arch) {
            let evr = Evr { epoch: *epoch, version, release };
            self.relation(Kind::Provides, &Relation { name, comparison: Comparison::EQUAL, evr });
        }
    }

    fn holds(&self) -> bool {
        (self.conditions.provides.is_none() || self.provides)
            && (self.conditions.requires.is_none() || self.requires)
    }
}

impl More for Look<'_> {
    fn relation(&mut self, kind: Kind, relation: &Relation<'_>) {
        match (kind, &self.conditions.provides, &self.conditions.requires) {
            (Kind::Provides, Some(wanted), _) => self.provides |= wanted.meets(relation),
            (Kind::Requires, _, Some(wanted)) => {
                let is_rich = relation.name.starts_with('(') && relation.name.contains(wanted.name.as_str());
                self.requires |= wanted.meets(relation) || is_rich && wanted.is_in(relation.name);
            }
            _ => {}
        }
    }

    fn file(&mut self, path: &str) {
        if let Some(wanted) = &self.conditions.provides {
            self.provides |= wanted.name == path;
        }
    }
}
