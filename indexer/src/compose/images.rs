//! The images of a compose: where they are, their manifests, and `images.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cfs_fs::digest::BlobId;
use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, Nodes, Stage, read_dir, resolve};

use self::name::Called;
use super::recipe::Recipe;
use super::volume::{self, Volume};
use super::{ComposeError, Depot, checksums, documents};
use crate::productmd::composeinfo::Variant;
use crate::productmd::images::{Image, Images};

mod name;

/// Directories of images: made below `work/`, published beside the metadata.
pub(super) const DIRECTORIES: [&str; 3] = ["isos", "images", "live"];
/// Files beside images that are none.
const COMPANIONS: [&str; 10] = [
    checksums::COMPANION,
    ".SHA256SUM",
    ".SHA1SUM",
    ".MD5SUM",
    ".asc",
    ".sig",
    ".torrent",
    ".manifest",
    ".log",
    ".txt",
];

/// An image in its directory.
struct Found {
    /// `isos`, `images` or `live`.
    directory: &'static str,
    /// Where it is, from the top of the compose.
    path: String,
    arch: String,
    name: String,
    blob: BlobId,
    size_bytes: u64,
    mtime: i64,
}

/// Where images of the compose are: in one of [`DIRECTORIES`].
pub(super) fn place(recipe: &Recipe, directory: &str) -> TreePath {
    let beside = recipe.metadata.split_last().map(|(dir, _)| dir).unwrap_or_default();
    TreePath::new(format!("{beside}/{directory}")).unwrap_or_default()
}

/// Whether a file of this name in a directory of images is one.
pub(super) fn is_image(name: &str) -> bool {
    name != checksums::ALL && !COMPANIONS.iter().any(|end| name.ends_with(end))
}

fn find(nodes: &dyn Nodes, recipe: &Recipe, root: &Item) -> Result<Vec<Found>, ComposeError> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let top = place(recipe, directory);
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(nodes, root, &top)? else { continue };
        for arch in read_dir(nodes, dir.id)? {
            let Kind::Dir(dir) = arch.item.kind else { continue };
            for entry in read_dir(nodes, dir.id)? {
                let Kind::File { blob, size_bytes, .. } = entry.item.kind else { continue };
                let name = entry.name.as_str().to_owned();
                if is_image(&name) {
                    let (arch, mtime) = (arch.name.as_str().to_owned(), entry.item.mtime);
                    let path = format!("{top}/{arch}/{name}");
                    found.push(Found { directory, path, arch, name, blob, size_bytes, mtime });
                }
            }
        }
    }
    Ok(found)
}

/// Writes a manifest beside every ISO image that has none: the paths in it. Returns the new top directory.
pub(super) fn write_manifests(
    depot: &Depot,
    recipe: &Recipe,
    stage: &mut Stage<'_>,
    mut root: Item,
    now: i64,
) -> Result<Item, ComposeError> {
    let mut texts: Vec<(TreePath, Vec<u8>)> = Vec::new();
    for image in find(stage, recipe, &root)?.iter().filter(|image| is_iso(image)) {
        let path = TreePath::new(format!("{}.manifest", image.path)).unwrap_or_default();
        if resolve(stage, &root, &path)?.is_none()
            && let Some(text) = volume::manifest(&depot.store.open_blob(image.blob)?)
        {
            texts.push((path, text));
        }
    }
    let contents: Vec<&[u8]> = texts.iter().map(|(_, text)| text.as_slice()).collect();
    for ((path, _), (blob, size_bytes)) in texts.iter().zip(depot.add_blobs(&contents)?) {
        let kind = Kind::File { blob, size_bytes, executable: false };
        root = graft(stage, &root, path, Item { mtime: now, kind }, now)?;
    }
    Ok(root)
}

fn is_iso(found: &Found) -> bool {
    Path::new(&found.name).extension().is_some_and(|extension| extension == "iso")
}

/// An image with what its name says, of a type that productmd knows.
struct Listed<'a> {
    found: &'a Found,
    called: Called,
    kind: &'static str,
    format: &'static str,
}

impl Listed<'_> {
    /// Whether productmd takes both for the same image, builds apart.
    fn is_like(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.called.subvariant.clone(), one.kind, one.format, one.found.arch.clone());
        of(self) == of(other)
    }
}

/// `images.json`, and what is to be said of images that are not in it.
pub(super) fn document(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    nodes: &dyn Nodes,
    root: &Item,
) -> Result<(Images, Vec<String>), ComposeError> {
    let found = find(nodes, recipe, root)?;
    let (listed, warnings) = listed(recipe, &found);
    let variants = documents::variants(nodes, recipe, root)?;
    let mut images = Images::new(documents::compose(recipe, id));
    for Listed { found, called, kind, format } in listed {
        let path = below(&found.path);
        let digest = checksums::sha256(depot, found.blob, found.size_bytes)?;
        let file = depot.store.open_blob(found.blob)?;
        let volume = if format == "iso" { Volume::read(&file) } else { Volume::default() };
        let variant = variant(recipe, &variants, found, &called.subvariant);
        let image = Image {
            path: path.clone(),
            mtime: found.mtime,
            size_bytes: found.size_bytes,
            volume_id: volume.id,
            kind: kind.to_owned(),
            format: format.to_owned(),
            arch: found.arch.clone(),
            disc_number: 1,
            disc_count: 1,
            checksums: BTreeMap::from([("sha256".to_owned(), digest.to_hex())]),
            implant_md5: volume.implant_md5,
            bootable: volume.bootable,
            subvariant: called.subvariant,
            unified: false,
            additional_variants: Vec::new(),
        };
        let added = images.add(&variant, &found.arch, image);
        added.map_err(|error| ComposeError::Package { path, reason: error.to_string() })?;
    }
    Ok((images, warnings))
}

/// What of the images goes into the document. Aliases are not listed beside what they are aliases of; several builds
/// of one image are told apart by their dates.
fn listed<'a>(recipe: &Recipe, found: &'a [Found]) -> (Vec<Listed<'a>>, Vec<String>) {
    let (mut listed, mut aliases, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for found in found {
        let called = name::read(&recipe.release, found.directory, &found.arch, &found.name);
        match called.kind {
            None => warnings.push(format!("{}: is of no type that images.json knows", found.path)),
            Some(_) if found.size_bytes == 0 => warnings.push(format!("{}: is empty", found.path)),
            Some((kind, format)) => {
                let all = if called.is_alias { &mut aliases } else { &mut listed };
                all.push(Listed { found, called, kind, format });
            }
        }
    }
    for alias in aliases {
        let mut like = listed.iter().filter(|one| one.is_like(&alias)).peekable();
        match like.peek() {
            None => listed.push(alias),
            Some(first) => {
                let first = &first.found.path;
                if !like.any(|one| one.found.blob == alias.found.blob) {
                    warnings.push(format!("{}: is another image than {first}", alias.found.path));
                }
            }
        }
    }
    let is_one_of_several = |one: &Listed<'_>| {
        listed.iter().any(|other| one.is_like(other) && one.found.blob != other.found.blob)
    };
    let several: Vec<bool> = listed.iter().map(is_one_of_several).collect();
    for (one, _) in listed.iter_mut().zip(several).filter(|(_, several)| *several) {
        if let Some(build) = &one.called.build {
            one.called.subvariant = format!("{}-{build}", one.called.subvariant);
        }
    }
    (listed, warnings)
}

/// Adds where their images are to the variants that have some.
pub(super) fn add_places(
    nodes: &dyn Nodes,
    recipe: &Recipe,
    root: &Item,
    variants: &mut BTreeMap<String, Variant>,
) -> Result<(), ComposeError> {
    for found in find(nodes, recipe, root)? {
        let called = name::read(&recipe.release, found.directory, &found.arch, &found.name);
        let Some(variant) = variants.get_mut(&variant(recipe, variants, &found, &called.subvariant)) else {
            continue;
        };
        if variant.arches.contains(&found.arch) {
            let category = if found.directory == "isos" { "isos" } else { "images" };
            let paths = variant.paths.entry(category.to_owned()).or_default();
            let place = below(&format!("{}/{}", place(recipe, found.directory), found.arch));
            paths.entry(found.arch).or_insert(place);
        }
    }
    Ok(())
}

/// The variant of `variants` that an image is of: for a disc the one that the configuration says, or of those in it
/// the first; otherwise `BaseOS` or the first.
fn variant(recipe: &Recipe, variants: &BTreeMap<String, Variant>, found: &Found, subvariant: &str) -> String {
    let words: BTreeSet<&str> =
        subvariant.split('-').map(|word| word.trim_end_matches(|last: char| last.is_ascii_digit())).collect();
    let is_called = |disc: &str| found.directory == "isos" && words.contains(disc);
    let discs = recipe.release.iso.iter().filter(|(disc, _)| is_called(disc));
    let of_discs = discs.flat_map(|(_, disc)| std::iter::once(&disc.variant).chain(&disc.repositories));
    let composed = |name: &String| recipe.release.renames.get(name).unwrap_or(name).clone();
    let others = recipe.all_trees.iter().map(|tree| tree.repository.clone());
    let wanted = of_discs.map(composed).chain(["BaseOS".to_owned()]).chain(others);
    let wanted: Vec<String> = wanted.map(|name| documents::variant_id(&name)).collect();
    let has_arch =
        |id: &&String| variants.get(*id).is_some_and(|variant| variant.arches.contains(&found.arch));
    let best = wanted.iter().find(has_arch).or_else(|| wanted.iter().find(|id| variants.contains_key(*id)));
    best.or(wanted.last()).cloned().unwrap_or_default()
}

/// A path of the compose as one below `compose/`.
fn below(path: &str) -> String {
    path.strip_prefix("compose/").unwrap_or(path).to_owned()
}
