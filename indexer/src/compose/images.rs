//! The images of a compose: their checksums and manifests, and `images.json`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use cfs_fs::digest::BlobId;
use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Item, Kind, Nodes, Stage, read_dir, resolve};

use super::recipe::Recipe;
use super::volume::{self, Volume};
use super::{ComposeError, Depot, documents};
use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::productmd::checksum_file;
use crate::productmd::images::{Image, Images};

/// Where images are, below `compose/`.
const DIRECTORIES: [&str; 3] = ["isos", "images", "live"];
/// Files beside images that are none.
const COMPANIONS: [&str; 4] = [".CHECKSUM", ".manifest", ".log", ".txt"];
/// By the end of a file's name: productmd's type and format.
const KINDS: [(&str, &str, &str); 12] = [
    (".qcow2", "qcow2", "qcow2"),
    (".raw.xz", "raw-xz", "raw.xz"),
    (".raw", "raw", "raw"),
    (".tar.xz", "container", "tar.xz"),
    (".oci", "container", "oci"),
    (".vhd", "vpc", "vhd"),
    (".wsl", "wsl2", "wsl"),
    (".vmdk", "vmdk", "vmdk"),
    (".vagrant-libvirt.box", "vagrant-libvirt", "vagrant-libvirt.box"),
    (".vagrant.libvirt.box", "vagrant-libvirt", "vagrant-libvirt.box"),
    (".vagrant-virtualbox.box", "vagrant-virtualbox", "vagrant-virtualbox.box"),
    (".tar.gz", "docker", "tar.gz"),
];

/// An image in its directory.
struct Found {
    /// `isos`, `images` or `live`.
    directory: &'static str,
    arch: String,
    name: String,
    blob: BlobId,
    size_bytes: u64,
    mtime: i64,
}

fn find(nodes: &dyn Nodes, root: &Item) -> Result<Vec<Found>, ComposeError> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let path = TreePath::new(format!("compose/{directory}")).unwrap_or_default();
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(nodes, root, &path)? else { continue };
        for arch in read_dir(nodes, dir.id)? {
            let Kind::Dir(dir) = arch.item.kind else { continue };
            for entry in read_dir(nodes, dir.id)? {
                let Kind::File { blob, size_bytes, .. } = entry.item.kind else { continue };
                let name = entry.name.as_str().to_owned();
                if name != "CHECKSUM" && !COMPANIONS.iter().any(|end| name.ends_with(end)) {
                    let (arch, mtime) = (arch.name.as_str().to_owned(), entry.item.mtime);
                    found.push(Found { directory, arch, name, blob, size_bytes, mtime });
                }
            }
        }
    }
    Ok(found)
}

/// Writes one file `CHECKSUM` for every directory of images: what the files beside the images say, and what is
/// computed for those that have none. Returns the new top directory, and how many images there are.
pub(super) fn write_checksums(
    depot: &Depot,
    stage: &mut Stage<'_>,
    mut root: Item,
    now: i64,
) -> Result<(Item, u64), ComposeError> {
    let found = find(stage, &root)?;
    let digests = digests(depot, found.iter().map(|image| (image.blob, image.size_bytes)))?;
    let mut texts: BTreeMap<TreePath, String> = BTreeMap::new();
    for image in &found {
        let path = format!("compose/{}/{}", image.directory, image.arch);
        let path = TreePath::new(path).unwrap_or_default();
        let companion = TreePath::new(format!("{path}/{}.CHECKSUM", image.name)).unwrap_or_default();
        let text = match resolve(stage, &root, &companion)? {
            Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) if size_bytes <= 1 << 16 => {
                String::from_utf8_lossy(&depot.store.read_blob(blob)?).into_owned()
            }
            _ => {
                let digest = digests[&image.blob].to_hex();
                checksum_file::entry(&image.name, image.size_bytes, "sha256", &digest)
            }
        };
        let all = texts.entry(path).or_default();
        all.push_str(text.trim_end());
        all.push('\n');
    }
    let contents: Vec<&[u8]> = texts.values().map(String::as_bytes).collect();
    let blobs = depot.add_blobs(&contents)?;
    for (path, (blob, size_bytes)) in texts.keys().zip(blobs) {
        let path = TreePath::new(format!("{path}/CHECKSUM")).unwrap_or_default();
        let kind = Kind::File { blob, size_bytes, executable: false };
        if resolve(stage, &root, &path)?.is_none_or(|old| old.kind != kind) {
            root = graft(stage, &root, &path, Item { mtime: now, kind }, now)?;
        }
    }
    Ok((root, found.len() as u64))
}

/// Writes a manifest beside every ISO image that has none: the paths in it. Returns the new top directory.
pub(super) fn write_manifests(
    depot: &Depot,
    stage: &mut Stage<'_>,
    mut root: Item,
    now: i64,
) -> Result<Item, ComposeError> {
    let mut texts: Vec<(TreePath, Vec<u8>)> = Vec::new();
    for image in find(stage, &root)?.iter().filter(|image| is_iso(image)) {
        let path = format!("compose/{}/{}/{}.manifest", image.directory, image.arch, image.name);
        let path = TreePath::new(path).unwrap_or_default();
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

/// `images.json`.
pub(super) fn document(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    stage: &Stage<'_>,
    root: &Item,
) -> Result<Images, ComposeError> {
    let found = find(stage, root)?;
    let digests = digests(depot, found.iter().map(|image| (image.blob, image.size_bytes)))?;
    let mut images = Images::new(documents::compose(recipe, id));
    for one in &found {
        let path = format!("{}/{}/{}", one.directory, one.arch, one.name);
        let Some((kind, format)) = kind_of(one) else { continue };
        let file = depot.store.open_blob(one.blob)?;
        let volume = if format == "iso" { Volume::read(&file) } else { Volume::default() };
        let subvariant = subvariant(recipe, &one.name);
        let checksums = BTreeMap::from([("sha256".to_owned(), digests[&one.blob].to_hex())]);
        let image = Image {
            path: path.clone(),
            mtime: one.mtime,
            size_bytes: one.size_bytes,
            volume_id: volume.id,
            kind: kind.to_owned(),
            format: format.to_owned(),
            arch: one.arch.clone(),
            disc_number: 1,
            disc_count: 1,
            checksums,
            implant_md5: volume.implant_md5,
            bootable: volume.bootable,
            subvariant,
            unified: false,
            additional_variants: Vec::new(),
        };
        let added = images.add(&variant(recipe, &one.name), &one.arch, image);
        added.map_err(|error| ComposeError::Package { path, reason: error.to_string() })?;
    }
    Ok(images)
}

/// The type and the format of an image; `None` for what productmd has no word for.
fn kind_of(found: &Found) -> Option<(&'static str, &'static str)> {
    let name = found.name.as_str();
    if is_iso(found) {
        let kind = if found.directory == "live" {
            "live"
        } else if name.contains("-boot") {
            "boot"
        } else {
            "dvd"
        };
        return Some((kind, "iso"));
    }
    KINDS.iter().find(|(end, ..)| name.ends_with(end)).map(|(_, kind, format)| (*kind, *format))
}

/// The variant that an image is of: that of the disc that it is called by, or the first.
fn variant(recipe: &Recipe, name: &str) -> String {
    let iso = recipe.release.iso.iter().find(|(iso, _)| name.contains(&format!("-{iso}")));
    let named = iso.map(|(_, iso)| iso.variant.clone());
    let first = || recipe.all_trees.first().map(|tree| tree.repository.clone()).unwrap_or_default();
    let base = recipe.all_trees.iter().any(|tree| tree.repository == "BaseOS").then(|| "BaseOS".to_owned());
    documents::variant_id(&named.or(base).unwrap_or_else(first))
}

/// What tells images of one type apart: the word behind the short name, or that before the architecture's end.
fn subvariant(recipe: &Recipe, name: &str) -> String {
    let stem = name.split(".iso").next().unwrap_or(name);
    let words: Vec<&str> = stem.split('-').collect();
    match words.as_slice() {
        [short, _, _, last] if *short == recipe.release.short => (*last).to_owned(),
        [short, _, word, ..] if *short == recipe.release.short => (*word).to_owned(),
        _ => stem.to_owned(),
    }
}

/// The SHA-256 of blobs, computed where the catalogue does not know it.
pub(super) fn digests(
    depot: &Depot,
    found: impl Iterator<Item = (BlobId, u64)>,
) -> Result<BTreeMap<BlobId, Checksum>, ComposeError> {
    let mut digests = BTreeMap::new();
    for (blob, size_bytes) in found {
        if digests.contains_key(&blob) {
            continue;
        }
        let known = depot.catalogue.sha256_of(blob)?;
        if let Some(Ok(digest)) = known.map(|hex| Checksum::from_hex(Algorithm::Sha256, &hex)) {
            digests.insert(blob, digest);
            continue;
        }
        let mut file = depot.store.open_blob(blob)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let failed = |source| StoreError::Io { verb: "read", path: depot.store.blob_path(blob), source };
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let digest = hasher.finish().checksum;
        let row = (blob, size_bytes, std::slice::from_ref(&digest));
        depot.catalogue.record_stored(&depot.store, [row])?;
        digests.insert(blob, digest);
    }
    Ok(digests)
}
