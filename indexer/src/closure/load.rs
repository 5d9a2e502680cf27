//! From repositories in a tree to a universe.

use std::collections::HashMap;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::Nodes;

use super::texts::TextId;
use super::universe::{PackageId, Universe, id_of};
use crate::depot::Depot;
use crate::repodata::primary::Packages;
use crate::repodata::{RepodataError, filelists};
use crate::repository::documents::{Repository, RepositoryError};

/// Reads repositories into a universe, each distinct one once.
#[derive(Debug, Default)]
pub struct Loader {
    universe: Universe,
    /// By name and by the blobs of the metadata.
    known: HashMap<(String, BlobId, Option<BlobId>), usize>,
    loaded: Vec<(Repository, usize)>,
}

impl Loader {
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
        let number = self.universe.add_repository(name);
        primary.read(depot, |input| read_primary(&mut self.universe, number, input))?;
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
        let mut is_wanted = vec![false; self.universe.texts.count()];
        open.iter().for_each(|path| is_wanted[path.index()] = true);
        for (repository, number) in &self.loaded {
            if let Some(document) = repository.document(nodes, "filelists")? {
                document.read(depot, |input| read_files(&mut self.universe, *number, &is_wanted, input))?;
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

/// Reads the wanted paths of an uncompressed `filelists.xml`.
fn read_files(
    universe: &mut Universe,
    repository: usize,
    is_wanted: &[bool],
    input: &mut dyn std::io::BufRead,
) -> Result<(), RepodataError> {
    let mut by_id: HashMap<u128, PackageId> = HashMap::new();
    for id in universe.packages() {
        let package = universe.package(id);
        if package.repository as usize == repository {
            by_id.insert(package.id, id);
        }
    }
    filelists::read(input, &mut |package, path| {
        let Some(text) = universe.texts.find(path).filter(|text| is_wanted[text.index()]) else { return };
        if let Some(package) = by_id.get(&id_of(package)) {
            universe.add_file(*package, text);
        }
    })
}

/// Whether primary metadata names the path, when any package has it.
fn is_in_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}
