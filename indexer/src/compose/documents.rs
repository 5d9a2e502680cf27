//! The small files of a compose: what each tree is, and what the whole is.

use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Nodes, resolve};
use serde_json::json;

use super::recipe::{Recipe, Tree, TreeKind};
use super::{ComposeError, Depot, images, rpms};
use crate::config::Iso;
use crate::productmd::ProductmdError;
use crate::productmd::compose_id::Moment;
use crate::productmd::composeinfo::{Compose, ComposeInfo, Release, Variant};
use crate::productmd::discinfo;
use crate::productmd::location::Locations;
use crate::productmd::treeinfo::{self, TreeInfo};

/// Names of the files that say what a tree is.
pub(super) const OF_TREE: [&str; 3] = [TREEINFO, ".discinfo", "media.repo"];
/// What an install tree is.
pub(super) const TREEINFO: &str = ".treeinfo";

/// Blobs with their sizes.
pub(super) type Blobs = [(BlobId, u64); 3];

/// The files of [`OF_TREE`] for every selected tree, in the store: those of the tree, then those of its kickstart.
pub(super) fn store(depot: &Depot, recipe: &Recipe, now: i64) -> Result<Vec<[Blobs; 2]>, ComposeError> {
    let written: Vec<[Vec<u8>; 3]> = (recipe.trees.iter())
        .flat_map(|tree| ["os", "kickstart"].map(|directory| of_tree(recipe, tree, directory, now)))
        .collect();
    let contents: Vec<&[u8]> = written.iter().flatten().map(Vec::as_slice).collect();
    let blobs = depot.add_blobs(&contents)?;
    let of_trees = blobs.chunks_exact(6).map(|six| [[six[0], six[1], six[2]], [six[3], six[4], six[5]]]);
    Ok(of_trees.collect())
}

/// The files of [`OF_TREE`] for one tree; `directory` is the last part of its path, `os` or `kickstart`. `now` is
/// in seconds since 1970.
fn of_tree(recipe: &Recipe, tree: &Tree, directory: &str, now: i64) -> [Vec<u8>; 3] {
    let name = format!("{} {}", recipe.release.name, recipe.release.version);
    let info = treeinfo(recipe, tree, directory, now);
    [info.write(), discinfo::discinfo(now, &name, &tree.arch), discinfo::media_repo(now, &name)]
}

fn treeinfo(recipe: &Recipe, tree: &Tree, directory: &str, now: i64) -> TreeInfo {
    let iso = recipe.release.iso.values().find(|iso| !iso.disc && iso.variant == tree.repository);
    let composed = |name: &String| recipe.release.renames.get(name).unwrap_or(name).clone();
    let others: BTreeSet<String> = match iso.filter(|_| tree.kind == TreeKind::Os) {
        Some(Iso { repositories, .. }) => {
            repositories.iter().map(composed).filter(|name| *name != tree.repository).collect()
        }
        None => BTreeSet::new(),
    };
    let variant = |name: &String, repository: String, packages: String| treeinfo::Variant {
        id: name.clone(),
        paths: BTreeMap::from([("repository".to_owned(), repository), ("packages".to_owned(), packages)]),
    };
    let mut variants = vec![variant(&tree.repository, ".".to_owned(), "Packages".to_owned())];
    for name in &others {
        let place = format!("../../../{name}/{}/{directory}", tree.arch);
        let packages = format!("{place}/Packages");
        variants.push(variant(name, place, packages));
    }
    TreeInfo {
        name: recipe.release.name.clone(),
        short: recipe.release.short.clone(),
        version: recipe.release.version.clone(),
        arch: tree.arch.clone(),
        build_timestamp: now,
        variants,
        main_variant: Some(tree.repository.clone()),
        ..TreeInfo::default()
    }
}

/// The files of the compose's metadata, each with its name there. What of the recipe stands in `root` is in them;
/// with `locations` they are of version 2.0.
pub(super) fn of_compose(
    nodes: &dyn Nodes,
    recipe: &Recipe,
    id: &str,
    root: &Item,
    locations: Option<&Locations>,
    now: i64,
) -> Result<Vec<(String, Vec<u8>)>, ComposeError> {
    let moment: Moment = id.parse().unwrap_or_default();
    let fullname = format!("{} {}", recipe.release.name, recipe.release.version);
    let metadata = json!({
        "header": { "name": "cfs", "type": "toolkit", "version": env!("CARGO_PKG_VERSION") },
        "payload": { "compose": {
            "date": format!("{:08}", moment.date),
            "fullname": fullname,
            "id": id,
            "release": recipe.release.version,
            "timestamp": now,
        } },
    });
    let mut files = vec![
        ("COMPOSE_ID".to_owned(), id.as_bytes().to_vec()),
        ("metadata.json".to_owned(), format!("{metadata:#}").into_bytes()),
    ];
    let mut variants = variants(nodes, recipe, root)?;
    images::add_places(nodes, recipe, root, &mut variants)?;
    let label = recipe.release.label();
    let is_final = label.as_ref().map(crate::productmd::label::Label::is_final);
    let info = ComposeInfo {
        compose: Compose { label, is_final, ..compose(recipe, id) },
        release: Release {
            name: recipe.release.name.clone(),
            short: recipe.short.clone(),
            version: recipe.release.version.clone(),
            kind: recipe.release.release_type,
            is_layered: false,
            internal: false,
        },
        base_product: None,
        variants,
    };
    files.push(written("composeinfo.json", info.write_as(locations))?);
    let twins: Vec<_> = files.iter().filter_map(|(name, bytes)| yaml(name, bytes)).collect();
    files.extend(twins);
    files.push(("README".to_owned(), readme(&fullname, id, &files)));
    Ok(files)
}

/// The same document as YAML, as empanadas has it beside JSON: keys sorted.
fn yaml(name: &str, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let stem = name.strip_suffix(".json")?;
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = serde_saphyr::to_string(&value).ok()?;
    Some((format!("{stem}.yaml"), text.into_bytes()))
}

/// What the directory of metadata is, for people.
fn readme(fullname: &str, id: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let about = |name: &str| match name {
        "COMPOSE_ID" => "the name of the compose",
        "metadata.json" => "what was composed, and when",
        "composeinfo.json" => "its variants and where their trees are, as productmd has it",
        _ => "the same as YAML",
    };
    let lines: String = files.iter().map(|(name, _)| [name, ": ", about(name), "\n"].concat()).collect();
    let more = "A finished compose has rpms.json, images.json, modules.json and extra_files.json besides.";
    format!("{fullname}\n\nThis directory describes the compose {id}:\n\n{lines}\n{more}\n").into_bytes()
}

/// The document `name` of the compose's metadata, as it was written.
pub(super) fn written(
    name: &str,
    bytes: Result<Vec<u8>, ProductmdError>,
) -> Result<(String, Vec<u8>), ComposeError> {
    let refuse = |error: ProductmdError| ComposeError::Package {
        path: format!("metadata/{name}"),
        reason: error.to_string(),
    };
    Ok((name.to_owned(), bytes.map_err(refuse)?))
}

/// What identifies a compose in all documents of it.
pub(super) fn compose(recipe: &Recipe, id: &str) -> Compose {
    let moment: Moment = id.parse().unwrap_or_default();
    Compose {
        id: id.to_owned(),
        kind: recipe.release.compose_type,
        date: format!("{:08}", moment.date),
        respin: moment.respin,
        label: None,
        is_final: None,
    }
}

/// The variant that a repository is; their ids are letters and digits.
pub(super) fn variant_id(repository: &str) -> String {
    repository.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The architectures that a tree is listed under: sources under every one that their repository has.
pub(super) fn arches_of(recipe: &Recipe, tree: &Tree) -> BTreeSet<String> {
    if tree.kind != TreeKind::Source {
        return BTreeSet::from([tree.arch.clone()]);
    }
    let same = |other: &&Tree| other.repository == tree.repository && other.kind == TreeKind::Os;
    recipe.all_trees.iter().filter(same).map(|tree| tree.arch.clone()).collect()
}

/// Every repository as a variant, with those of its trees that are there. Their paths are below `compose/`.
pub(super) fn variants(
    nodes: &dyn Nodes,
    recipe: &Recipe,
    root: &Item,
) -> Result<BTreeMap<String, Variant>, ComposeError> {
    let mut variants: BTreeMap<String, Variant> = BTreeMap::new();
    for tree in &recipe.all_trees {
        if resolve(nodes, root, &tree.path)?.is_none() {
            continue;
        }
        let id = variant_id(&tree.repository);
        let variant = variants.entry(id.clone()).or_insert_with(|| Variant {
            uid: id.clone(),
            id,
            name: tree.repository.clone(),
            kind: "variant".to_owned(),
            ..Variant::default()
        });
        if tree.kind == TreeKind::Os {
            variant.arches.insert(tree.arch.clone());
        }
    }
    for tree in &recipe.all_trees {
        let Some(variant) = variants.get_mut(&variant_id(&tree.repository)) else { continue };
        if resolve(nodes, root, &tree.path)?.is_none() {
            continue;
        }
        let place = rpms::place(tree).to_owned();
        let (prefix, top) = match tree.kind {
            TreeKind::Os => ("", "os_tree"),
            TreeKind::Debug => ("debug_", "debug_tree"),
            TreeKind::Source => ("source_", "source_tree"),
        };
        // Sources are named for every architecture.
        let arches: BTreeSet<String> = match tree.kind {
            TreeKind::Source => variant.arches.clone(),
            _ => BTreeSet::from([tree.arch.clone()]),
        };
        let packages = TreePath::new(format!("{}/Packages", tree.path)).unwrap_or_default();
        let has_packages = resolve(nodes, root, &packages)?.is_some();
        for arch in arches {
            let mut say = |category: &str, path: String| {
                variant.paths.entry(category.to_owned()).or_default().insert(arch.clone(), path);
            };
            say(top, place.clone());
            say(&format!("{prefix}repository"), place.clone());
            // A repository without packages has no directory of them.
            if has_packages {
                say(&format!("{prefix}packages"), format!("{place}/Packages"));
            }
        }
    }
    variants.retain(|_, variant| !variant.arches.is_empty());
    Ok(variants)
}
