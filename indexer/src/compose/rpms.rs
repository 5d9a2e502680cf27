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
    let guesses = guesses(packages);
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
                let guess = || with_epoch(name, guesses.get(name).map_or(0, |(_, epoch)| *epoch));
                sources.get(name).cloned().unwrap_or_else(guess)
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

/// For every source package: what is known of its epoch by what was built of it. The package of the same name knows
/// best, then that with the lowest epoch.
fn guesses(packages: &Packages) -> HashMap<&str, (bool, u32)> {
    let mut guesses: HashMap<&str, (bool, u32)> = HashMap::new();
    for member in packages.iter().flatten().filter(|member| !member.source_rpm.is_empty()) {
        let source = member.source_rpm.trim_end_matches(".rpm");
        let is_another = source.rsplitn(3, '-').nth(2) != Some(&*member.nevra.name);
        let guess = (is_another, member.nevra.epoch);
        let best = guesses.entry(source).or_insert(guess);
        *best = guess.min(*best);
    }
    guesses
}

/// `bash-0:5.1-1.src` as files are called: `bash-5.1-1.src`.
fn without_epoch(nevra: &str) -> String {
    let Some((before, after)) = nevra.split_once(':') else { return nevra.to_owned() };
    let name = before.rsplit_once('-').map_or(before, |(name, _)| name);
    format!("{name}-{after}")
}

/// The other way round, for a source package that the compose does not have.
fn with_epoch(name: &str, epoch: u32) -> String {
    let mut parts = name.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(release), Some(version), Some(name)) => format!("{name}-{epoch}:{version}-{release}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::default_trait_access, reason = "the type is of a module that composes do not use")]
    fn member((name, epoch): (&str, u32), source: &str) -> Member {
        let mut member = Member {
            path: String::new(),
            blob: cfs_fs::digest::BlobId::of(b""),
            size_bytes: 0,
            checksum: crate::checksum::Checksum::new(Algorithm::Sha256, &[0; 32]).unwrap(),
            nevra: Default::default(),
            source_rpm: format!("{source}.src.rpm"),
            signer: String::new(),
        };
        (member.nevra.name, member.nevra.epoch) = (name.to_owned(), epoch);
        member
    }

    #[test]
    fn the_epoch_of_a_source_package_is_that_of_its_namesake_or_the_lowest() {
        let with_namesake = [("b-a", 2), ("a", 3), ("a-b", 0)];
        let without = [("x", 10), ("y", 9)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let members = order.map(|at| member(with_namesake[at], "a-1-1"));
            let packages = vec![members.to_vec(), without.map(|nevra| member(nevra, "other-1-1")).to_vec()];
            let guesses = guesses(&packages);
            assert_eq!((guesses["a-1-1.src"].1, guesses["other-1-1.src"].1), (3, 9));
        }
    }

    #[test]
    fn epochs_come_and_go() {
        assert_eq!(without_epoch("a-b-12:5.1-1.el9.src"), "a-b-5.1-1.el9.src");
        assert_eq!(with_epoch("a-b-5.1-1.el9.src", 0), "a-b-0:5.1-1.el9.src");
    }
}
