//! What the trees of a compose hold besides packages: modules, for `modules.json`, and files such as licences and
//! keys, for `extra_files.json`.

use std::collections::{BTreeMap, HashSet};

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Dir, Item, Kind, Nodes, read_dir, resolve};

use super::recipe::{Recipe, Tree, TreeKind};
use super::rpms::{Packages, below};
use super::{ComposeError, Depot, checksums, documents};
use crate::productmd::extra_files::{ExtraFile, ExtraFiles};
use crate::productmd::modulemd::{self, Described};
use crate::productmd::modules::{Identity, Modules};
use crate::productmd::rpms::Category;
use crate::repodata::RepodataError;
use crate::repository::documents::{RepositoryError, open};
use crate::repository::with_causes;

/// What lists the other files of a tree.
const EXTRA_FILES: &str = "extra_files.json";

/// `modules.json`.
pub(super) fn modules(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    nodes: &impl Nodes,
    root: &Item,
    packages: &Packages,
) -> Result<Modules, ComposeError> {
    let mut modules = Modules::new(documents::compose(recipe, id));
    for (tree, members) in recipe.all_trees.iter().zip(packages) {
        let Some(dir) = dir(nodes, root, tree)? else { continue };
        let unreadable = |error: RepositoryError| ComposeError::Package {
            path: below(tree, "repodata"),
            reason: with_causes(&error),
        };
        let Some(repository) = open(depot, nodes, dir, "").map_err(unreadable)? else { continue };
        let Some(document) = repository.document(nodes, "modules").map_err(unreadable)? else { continue };
        let path = below(tree, &document.path);
        let refuse = |reason: String| ComposeError::Package { path: path.clone(), reason };
        let mut text = String::new();
        document
            .read(depot, |input| input.read_to_string(&mut text).map(drop).map_err(RepodataError::Read))
            .map_err(|error| refuse(with_causes(&error)))?;
        let there: HashSet<String> = members.iter().map(|member| member.nevra.to_string()).collect();
        for described in modulemd::parse(&text).map_err(|error| refuse(error.to_string()))? {
            let Described { name, stream, version, context, .. } = &described;
            // As the module build service calls the tags that it builds in.
            let tag = format!("module-{name}-{stream}-{version}-{context}");
            let rpms: Vec<String> =
                described.rpms.iter().filter(|rpm| there.contains(*rpm)).cloned().collect();
            let variant = documents::variant_id(&tree.repository);
            for arch in documents::arches_of(recipe, tree) {
                let identity = Identity::new(&described.uid(), tag.trim_end_matches('-'));
                let identity = identity.map_err(|error| refuse(error.to_string()))?;
                let added = modules.add(&variant, &arch, identity, category(tree.kind), &path, rpms.clone());
                added.map_err(|error| refuse(error.to_string()))?;
            }
        }
    }
    Ok(modules)
}

/// `extra_files.json`: all other files at the tops of trees.
pub(super) fn extra_files(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    nodes: &impl Nodes,
    root: &Item,
) -> Result<ExtraFiles, ComposeError> {
    let mut found: Vec<(&Tree, String, BlobId, u64)> = Vec::new();
    for tree in &recipe.all_trees {
        let Some(dir) = dir(nodes, root, tree)? else { continue };
        for entry in read_dir(nodes, dir.id)? {
            let name = entry.name.as_str();
            if let Kind::File { blob, size_bytes, .. } = entry.item.kind
                && !documents::OF_TREE.contains(&name)
                && name != EXTRA_FILES
                && name.rsplit_once('.').is_none_or(|(_, ending)| ending != "rpm")
            {
                found.push((tree, below(tree, name), blob, size_bytes));
            }
        }
    }
    let digests =
        checksums::digests(depot, found.iter().map(|(_, _, blob, size_bytes)| (*blob, *size_bytes)))?;
    let mut files = ExtraFiles::new(documents::compose(recipe, id));
    for (tree, path, blob, size_bytes) in found {
        let checksums = BTreeMap::from([("sha256".to_owned(), digests[&blob].to_hex())]);
        for arch in documents::arches_of(recipe, tree) {
            let file = ExtraFile { file: path.clone(), size_bytes, checksums: checksums.clone() };
            let added = files.add(&documents::variant_id(&tree.repository), &arch, file);
            added.map_err(|error| ComposeError::Package { path: path.clone(), reason: error.to_string() })?;
        }
    }
    Ok(files)
}

fn dir(nodes: &impl Nodes, root: &Item, tree: &Tree) -> Result<Option<Dir>, ComposeError> {
    Ok(match resolve(nodes, root, &tree.path)? {
        Some(Item { kind: Kind::Dir(dir), .. }) => Some(dir),
        _ => None,
    })
}

fn category(kind: TreeKind) -> Category {
    match kind {
        TreeKind::Os => Category::Binary,
        TreeKind::Debug => Category::Debug,
        TreeKind::Source => Category::Source,
    }
}
