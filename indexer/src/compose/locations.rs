//! What documents of version 2.0 say of a compose's files: sizes from its tree, digests that are known already.
//!
//! Always true: a file is read only where nobody has computed its SHA-256 before, and that is remembered.

use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, Nodes, resolve};

use super::recipe::Recipe;
use super::rpms::{Packages, below, place};
use super::{ComposeError, Depot, checksums};
use crate::productmd::location::{Locations, repomd_of};
use crate::productmd::modules::{Module, Modules};
use crate::productmd::version::Version;
use crate::repodata::href::to_url_path;

/// The locations of the repositories of the compose called `id`, where `recipe` asks for any.
pub(super) fn of_repositories(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    nodes: &dyn Nodes,
    root: &Item,
) -> Result<Option<Locations>, ComposeError> {
    if recipe.group.is_some() || recipe.release.productmd == Version::Paths {
        return Ok(None);
    }
    let mut locations = match base(recipe, id) {
        None => Locations::new(str::to_owned),
        Some(base) => Locations::new(move |path| {
            let encoded = TreePath::new(path).map(|path| to_url_path(&path));
            format!("{base}/{}", encoded.unwrap_or_else(|_| path.to_owned()))
        }),
    };
    let trees = recipe.all_trees.iter().map(|tree| repomd_of(place(tree)));
    add_files(depot, nodes, root, trees, &mut locations)?;
    Ok(Some(locations))
}

/// Adds packages, of which everything is known.
pub(super) fn add_packages(recipe: &Recipe, packages: &Packages, locations: &mut Locations) {
    for (tree, members) in recipe.all_trees.iter().zip(packages) {
        for member in members {
            locations.add(below(tree, &member.path), member.size_bytes, member.checksum.to_string());
        }
    }
}

/// Adds the files that describe modules.
pub(super) fn add_modules(
    depot: &Depot,
    nodes: &dyn Nodes,
    root: &Item,
    modules: &Modules,
    locations: &mut Locations,
) -> Result<(), ComposeError> {
    let all = modules.modules.values().flat_map(|arches| arches.values()).flat_map(|all| all.values());
    let mut paths: Vec<String> = all.filter_map(Module::described_at).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    add_files(depot, nodes, root, paths, locations)
}

/// Adds those of `paths`, below `compose/`, that are files.
fn add_files(
    depot: &Depot,
    nodes: &dyn Nodes,
    root: &Item,
    paths: impl IntoIterator<Item = String>,
    locations: &mut Locations,
) -> Result<(), ComposeError> {
    let mut found = Vec::new();
    for path in paths {
        let Ok(place) = TreePath::new(format!("compose/{path}")) else { continue };
        if let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) = resolve(nodes, root, &place)? {
            found.push((path, blob, size_bytes));
        }
    }
    let digests = checksums::digests(depot, found.iter().map(|(_, blob, size_bytes)| (*blob, *size_bytes)))?;
    for (path, blob, size_bytes) in found {
        locations.add(path, size_bytes, digests[&blob].to_string());
    }
    Ok(())
}

/// Where the compose will stand, if the configuration says so.
fn base(recipe: &Recipe, id: &str) -> Option<String> {
    let base = recipe.release.base_url.as_ref()?;
    let base = base
        .replace("$compose", id)
        .replace("$version", &recipe.release.version)
        .replace("$major", recipe.release.major());
    Some(base.trim_end_matches('/').to_owned())
}
