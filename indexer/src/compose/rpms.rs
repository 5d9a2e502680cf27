//! The packages of a compose, for `rpms.json`: what is known of them already.

use std::collections::HashMap;
use std::ops::ControlFlow;

use cfs_fs::digest::SnapshotId;
use cfs_fs::tree::{Item, Kind, resolve};

use super::recipe::{Recipe, Tree, TreeKind};
use super::{ComposeError, Depot, documents};
use crate::catalogue::CatalogueError;
use crate::checksum::Algorithm;
use crate::createrepo::{Broken, Member, inventory};
use crate::productmd::rpms::{Category, Rpm, Rpms};
use crate::revision::{RevPath, Revision, When};

/// Every package of a compose, tree by tree, as [`Recipe::all_trees`] has them.
pub(super) type Packages = Vec<Vec<Member>>;

/// What is known of the packages of a snapshot; headers are read of those that nobody has read before.
pub(super) fn packages(
    depot: &Depot,
    recipe: &Recipe,
    snapshot: SnapshotId,
    root: &Item,
) -> Result<Packages, ComposeError> {
    let base = snapshot
        .to_string()
        .parse()
        .map_err(|error| CatalogueError::Damaged { what: format!("snapshot {snapshot}: {error}") })?;
    let revision = Revision { base, when: When::Now };
    let mut all = Vec::with_capacity(recipe.all_trees.len());
    for tree in &recipe.all_trees {
        if !matches!(resolve(&depot.catalogue, root, &tree.path)?, Some(Item { kind: Kind::Dir(_), .. })) {
            all.push(Vec::new());
            continue;
        }
        let place = RevPath { revision: revision.clone(), path: tree.path.clone() };
        let found = inventory(depot, &place, Algorithm::Sha256, &mut |_| ControlFlow::Continue(()))?;
        if let Some(Broken { path, reason }) = found.broken.into_iter().next() {
            return Err(ComposeError::Package { path: below(tree, &path), reason });
        }
        all.push(found.members);
    }
    Ok(all)
}

/// Where a tree is below `compose/`.
pub(super) fn place(tree: &Tree) -> &str {
    tree.path.as_str().trim_start_matches("compose/")
}

/// A path in a tree as one below `compose/`.
pub(super) fn below(tree: &Tree, path: &str) -> String {
    format!("{}/{path}", place(tree))
}

/// `rpms.json`.
pub(super) fn document(recipe: &Recipe, id: &str, packages: &Packages) -> Result<Rpms, ComposeError> {
    // Source packages say their own epoch; what was built of them does not.
    let sources: HashMap<String, String> = (packages.iter().flatten())
        .filter(|member| member.source_rpm.is_empty())
        .map(|member| (without_epoch(&member.nevra.to_string()), member.nevra.to_string()))
        .collect();
    let mut rpms = Rpms::new(documents::compose(recipe, id));
    for (tree, members) in recipe.all_trees.iter().zip(packages) {
        let variant = documents::variant_id(&tree.repository);
        for member in members {
            let path = below(tree, &member.path);
            let source = (!member.source_rpm.is_empty()).then(|| {
                let name = member.source_rpm.trim_end_matches(".rpm");
                sources.get(name).cloned().unwrap_or_else(|| with_epoch(name))
            });
            let category = match (tree.kind, &source) {
                (_, None) => Category::Source,
                (TreeKind::Debug, _) => Category::Debug,
                _ => Category::Binary,
            };
            // The old short form, which release tools compare.
            let signer = &member.signer;
            let sigkey = (!signer.is_empty()).then(|| signer[signer.len().saturating_sub(8)..].to_owned());
            for arch in documents::arches_of(recipe, tree) {
                let rpm = Rpm { category, path: path.clone(), sigkey: sigkey.clone() };
                let added = rpms.add(&variant, &arch, &member.nevra.to_string(), source.as_deref(), rpm);
                added.map_err(|error| ComposeError::Package {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
            }
        }
    }
    Ok(rpms)
}

/// `bash-0:5.1-1.src` as files are called: `bash-5.1-1.src`.
fn without_epoch(nevra: &str) -> String {
    let Some((before, after)) = nevra.split_once(':') else { return nevra.to_owned() };
    let name = before.rsplit_once('-').map_or(before, |(name, _)| name);
    format!("{name}-{after}")
}

/// The other way round, for a source package that the compose does not have.
fn with_epoch(name: &str) -> String {
    let mut parts = name.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(release), Some(version), Some(name)) => format!("{name}-0:{version}-{release}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_come_and_go() {
        assert_eq!(without_epoch("a-b-12:5.1-1.el9.src"), "a-b-5.1-1.el9.src");
        assert_eq!(with_epoch("a-b-5.1-1.el9.src"), "a-b-0:5.1-1.el9.src");
    }
}
