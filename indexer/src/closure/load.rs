//! From repositories in a tree to a universe.

use std::collections::HashMap;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::Nodes;

use super::extract::{self, Owners};
use super::texts::TextId;
use super::universe::{PackageId, Universe, id_of};
use crate::catalogue::Checked;
use crate::depot::Depot;
use crate::repodata::primary::Packages;
use crate::repodata::{RepodataError, filelists};
use crate::repository::documents::{Document, Repository, RepositoryError};

/// Reads repositories into a universe, each distinct one once.
#[derive(Debug)]
pub struct Loader<'m> {
    memory: &'m Checked,
    universe: Universe,
    /// By name and by the blobs of the metadata.
    known: HashMap<(String, BlobId, Option<BlobId>), usize>,
    loaded: Vec<(Repository, usize)>,
}

impl<'m> Loader<'m> {
    /// No repositories; what was read before comes from `memory`, and goes there.
    pub fn new(memory: &'m Checked) -> Self {
        Self { memory, universe: Universe::new(), known: HashMap::new(), loaded: Vec::new() }
    }

    /// Reads the packages of a repository, which is called `name` from now on; its number in the universe.
    pub fn load(
        &mut self,
        depot: &Depot,
        nodes: &impl Nodes,
        repository: &Repository,
        name: &str,
    ) -> Result<usize, RepositoryError> {
        let primary = repository.primary(nodes)?;
        let filelists = repository.document(nodes, "filelists")?.map(|document| document.blob);
        let key = (name.to_owned(), primary.blob, filelists);
        if let Some(number) = self.known.get(&key) {
            return Ok(*number);
        }
        let Self { memory, universe, .. } = self;
        let number = universe.add_repository(name);
        if !extract::recall(memory, primary.blob, universe, number) {
            let first = universe.len();
            primary.read(depot, |input| read_primary(universe, number, input))?;
            extract::keep(memory, primary.blob, universe, first);
        }
        self.known.insert(key, number);
        self.loaded.push((repository.clone(), number));
        Ok(number)
    }

    /// The universe, with those files that somebody asks for and that primary metadata does not name.
    pub fn finish(mut self, depot: &Depot, nodes: &impl Nodes) -> Result<Universe, RepositoryError> {
        let wanted = self.universe.wanted_paths();
        self.universe.index();
        let is_open = |path: &TextId| {
            !is_in_primary(self.universe.texts.get(*path)) || self.universe.givers(*path).is_empty()
        };
        let open: Vec<TextId> = wanted.into_iter().filter(is_open).collect();
        if open.is_empty() {
            return Ok(self.universe);
        }
        for (repository, number) in &self.loaded {
            if let Some(document) = repository.document(nodes, "filelists")? {
                let owners = owners(depot, self.memory, &self.universe, &document, &open)?;
                add_files(&mut self.universe, *number, &owners, &open);
            }
        }
        self.universe.index();
        Ok(self.universe)
    }
}

/// Reads an uncompressed `primary.xml`.
pub fn read_primary(
    universe: &mut Universe,
    repository: usize,
    input: &mut dyn std::io::BufRead,
) -> Result<(), RepodataError> {
    let mut packages = Packages::new(input);
    while let Some(record) = packages.next_with(&mut universe.collector()) {
        universe.add_package(repository, &record?);
    }
    Ok(())
}

/// Who has the files at `paths`, as a `filelists.xml` says.
fn owners(
    depot: &Depot,
    memory: &Checked,
    universe: &Universe,
    filelists: &Document<'_>,
    paths: &[TextId],
) -> Result<Owners, RepositoryError> {
    let mut owners = Owners::recall(memory, filelists.blob);
    let paths = paths.iter().map(|path| universe.texts.get(*path));
    let mut asked: HashMap<&str, Vec<u128>> =
        paths.filter(|path| owners.of(path).is_none()).map(|path| (path, Vec::new())).collect();
    if asked.is_empty() {
        return Ok(owners);
    }
    filelists.read(depot, |input| {
        filelists::read(input, &mut |package, path| {
            if let Some(packages) = asked.get_mut(path) {
                packages.push(id_of(package));
            }
        })
    })?;
    owners.learn(asked);
    owners.keep(memory, filelists.blob);
    Ok(owners)
}

/// Adds the files at `paths` to the packages of a repository.
fn add_files(universe: &mut Universe, repository: usize, owners: &Owners, paths: &[TextId]) {
    let of_repository =
        universe.packages().filter(|id| universe.package(*id).repository as usize == repository);
    let by_id: HashMap<u128, PackageId> = of_repository.map(|id| (universe.package(id).id, id)).collect();
    for path in paths {
        for id in owners.of(universe.texts.get(*path)).unwrap_or_default() {
            if let Some(package) = by_id.get(id) {
                universe.add_file(*package, *path);
            }
        }
    }
}

/// Whether primary metadata names the path, when any package has it.
fn is_in_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}
