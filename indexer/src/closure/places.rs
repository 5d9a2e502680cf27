//! The repositories of places in snapshots, as one universe.

use cfs_fs::tree::{Dir, Item, Kind, resolve};

use super::load::Loader;
use super::universe::Universe;
use super::{NoSuchPackage, Repositories};
use crate::catalogue::CatalogueError;
use crate::depot::Depot;
use crate::repository::documents::{self, RepositoryError};
use crate::revision::{RevPath, Revision};

/// Which repositories are meant: all at and below some places.
#[derive(Debug, Clone)]
pub struct Places {
    /// Those whose packages are looked at.
    pub checked: RevPath,
    /// Those that may be needed beside them.
    pub lookaside: Vec<RevPath>,
    /// Only problems that are not there in this revision count. A lookaside of the same revision as what is checked
    /// is taken at this one too.
    pub since: Option<Revision>,
}

/// What stands at some places.
#[derive(Debug)]
pub struct Found {
    /// All packages.
    pub universe: Universe,
    /// What is asked about.
    pub now: Repositories,
    /// What was there before.
    pub before: Option<Repositories>,
}

/// Why a closure cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// Nothing at the place is a repository.
    #[error("{place}: there is no repository at it or below it")]
    NoRepository {
        /// The place.
        place: RevPath,
    },
    /// A repository cannot be read.
    #[error("{place}")]
    Repository {
        /// Where it was found.
        place: RevPath,
        /// What is wrong with it.
        source: RepositoryError,
    },
    /// There is no such package.
    #[error(transparent)]
    Package(#[from] NoSuchPackage),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Reads the repositories of places.
pub fn read(depot: &Depot, places: &Places) -> Result<Found, ClosureError> {
    let memory = depot.checked();
    let mut reader = Reader { depot, loader: Loader::new(&memory) };
    let now = Repositories {
        checked: reader.all(&places.checked, false)?,
        lookaside: reader.lookasides(&places.lookaside, Clone::clone)?,
    };
    let before = match &places.since {
        None => None,
        Some(since) => {
            let then = |place: &RevPath| RevPath { revision: since.clone(), path: place.path.clone() };
            let same = |place: &RevPath| place.revision == places.checked.revision;
            Some(Repositories {
                checked: reader.all(&then(&places.checked), true)?,
                lookaside: reader.lookasides(&places.lookaside, |place| {
                    if same(place) { then(place) } else { place.clone() }
                })?,
            })
        }
    };
    let finished = reader.loader.finish(depot, &depot.catalogue);
    let universe =
        finished.map_err(|source| ClosureError::Repository { place: places.checked.clone(), source })?;
    Ok(Found { universe, now, before })
}

struct Reader<'d> {
    depot: &'d Depot,
    loader: Loader<'d>,
}

impl Reader<'_> {
    fn lookasides(
        &mut self,
        places: &[RevPath],
        at: impl Fn(&RevPath) -> RevPath,
    ) -> Result<Vec<usize>, ClosureError> {
        let mut numbers = Vec::new();
        for place in places {
            numbers.extend(self.all(&at(place), at(place) != *place)?);
        }
        Ok(numbers)
    }

    /// The repositories at and below a place; there may be none only if the place `may_be_empty`.
    fn all(&mut self, place: &RevPath, may_be_empty: bool) -> Result<Vec<usize>, ClosureError> {
        let at = |source| ClosureError::Repository { place: place.clone(), source };
        let found = match dir(self.depot, place)? {
            Some(dir) => documents::find(self.depot, &self.depot.catalogue, dir).map_err(at)?,
            None => Vec::new(),
        };
        if found.is_empty() && !may_be_empty {
            return Err(ClosureError::NoRepository { place: place.clone() });
        }
        let mut numbers = Vec::new();
        for repository in &found {
            let name = name(place, &repository.path);
            let at = |source| ClosureError::Repository { place: place.clone(), source };
            let loaded = self.loader.load(self.depot, &self.depot.catalogue, repository, &name);
            numbers.push(loaded.map_err(at)?);
        }
        Ok(numbers)
    }
}

fn dir(depot: &Depot, place: &RevPath) -> Result<Option<Dir>, CatalogueError> {
    let (_, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let found = resolve(&depot.catalogue, &snapshot.root_item(), &place.path)?;
    Ok(match found {
        Some(Item { kind: Kind::Dir(dir), .. }) => Some(dir),
        _ => None,
    })
}

/// What a repository is called: its path in the snapshot; the top is called as its ref.
fn name(place: &RevPath, below: &str) -> String {
    let parts: Vec<&str> = [place.path.as_str(), below].into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { place.revision.base.to_string() } else { parts.join("/") }
}
