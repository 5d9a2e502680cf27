//! The files `CHECKSUM` beside images, and digests of blobs.
//!
//! Always true: what stands in `CHECKSUM` was compared with the files, and every image has a line in it; no blob is
//! read whose digest is known.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cfs_fs::digest::BlobId;
use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Entry, Item, Kind, Stage, read_dir, resolve};

use super::recipe::Recipe;
use super::{ComposeError, Depot, images};
use crate::checksum::{Algorithm, Checksum};
use crate::productmd::checksum_file::{self, Said};

/// The file that says the checksums of all files beside it.
pub(super) const ALL: &str = "CHECKSUM";
/// How files end that say the checksum of one.
pub(super) const COMPANION: &str = ".CHECKSUM";
/// A larger file of checksums is none.
const COMPANION_BYTES_MAX: u64 = 1 << 20;
/// Links to links beyond this many lead nowhere.
const LINKS_MAX: usize = 8;

/// What became of the files `CHECKSUM`.
pub(super) struct Written {
    /// The new top directory.
    pub(super) root: Item,
    /// How many images there are.
    pub(super) images: u64,
    /// What is to be said of it.
    pub(super) warnings: Vec<String>,
}

/// Writes one file `CHECKSUM` for every directory of images: what the files beside the images say, and a line for
/// those of which none does. `moved` came from `work/`, where errors say that they are.
pub(super) fn write(
    depot: &Depot,
    recipe: &Recipe,
    stage: &mut Stage<'_>,
    root: Item,
    moved: &[TreePath],
    now: i64,
) -> Result<Written, ComposeError> {
    let mut written = Written { root, images: 0, warnings: Vec::new() };
    let mut texts: Vec<(TreePath, String)> = Vec::new();
    for name in images::DIRECTORIES {
        let top = images::place(recipe, name);
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(stage, &written.root, &top)? else { continue };
        let said_place = if moved.contains(&top) { format!("work/{name}") } else { top.to_string() };
        for arch in read_dir(stage, dir.id)? {
            let Kind::Dir(dir) = arch.item.kind else {
                let stray = format!("{said_place}/{}", arch.name);
                written.warnings.push(format!("{stray}: stands in no directory of an architecture"));
                continue;
            };
            let mut place =
                Place::of(depot, &read_dir(stage, dir.id)?, format!("{said_place}/{}", arch.name));
            let text = place.text()?;
            if !text.is_empty() {
                texts.push((TreePath::new(format!("{top}/{}/{ALL}", arch.name)).unwrap_or_default(), text));
            }
            written.images += place.regular;
            written.warnings.append(&mut place.warnings);
        }
    }
    let contents: Vec<&[u8]> = texts.iter().map(|(_, text)| text.as_bytes()).collect();
    for ((path, _), (blob, size_bytes)) in texts.iter().zip(depot.add_blobs(&contents)?) {
        let kind = Kind::File { blob, size_bytes, executable: false };
        if resolve(stage, &written.root, path)?.is_none_or(|old| old.kind != kind) {
            written.root = graft(stage, &written.root, path, Item { mtime: now, kind }, now)?;
        }
    }
    Ok(written)
}

/// A directory of images.
struct Place<'a> {
    depot: &'a Depot,
    /// Where it is, in the words of errors.
    path: String,
    /// What stands at names, links to others followed.
    files: BTreeMap<String, (BlobId, u64)>,
    /// Files of checksums.
    companions: Vec<(String, BlobId, u64)>,
    /// Names of images and of links to some.
    images: BTreeSet<String>,
    /// How many of them are no links.
    regular: u64,
    warnings: Vec<String>,
}

impl<'a> Place<'a> {
    fn of(depot: &'a Depot, entries: &[Entry], path: String) -> Self {
        let kinds: BTreeMap<&str, &Kind> =
            entries.iter().map(|entry| (entry.name.as_str(), &entry.item.kind)).collect();
        let (files, images, warnings) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let mut place = Self { depot, path, files, companions: Vec::new(), images, regular: 0, warnings };
        for (&name, kind) in &kinds {
            let mut at = Some(*kind);
            for _ in 0..LINKS_MAX {
                let Some(Kind::Symlink { target }) = at else { break };
                at = kinds.get(target.strip_prefix("./").unwrap_or(target)).copied();
            }
            let Some(&Kind::File { blob, size_bytes, .. }) = at else { continue };
            place.files.insert(name.to_owned(), (blob, size_bytes));
            let is_regular = matches!(kind, Kind::File { .. });
            if images::is_image(name) {
                place.images.insert(name.to_owned());
                place.regular += u64::from(is_regular);
            } else if is_regular && name.ends_with(COMPANION) {
                place.companions.push((name.to_owned(), blob, size_bytes));
            }
        }
        place
    }

    /// What `CHECKSUM` is to say: as the companions in the order of their names, with lines where they would be.
    fn text(&mut self) -> Result<String, ComposeError> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        let mut told: BTreeSet<String> = BTreeSet::new();
        for (companion, blob, size_bytes) in std::mem::take(&mut self.companions) {
            let text = self.compared(&companion, blob, size_bytes, &mut told)?;
            texts.insert(companion, text);
        }
        for name in self.images.difference(&told) {
            let (blob, size_bytes) = self.files[name];
            let digest = sha256(self.depot, blob, size_bytes)?.to_hex();
            let text = texts.entry(format!("{name}{COMPANION}")).or_default();
            text.push_str(&checksum_file::entry(name, size_bytes, Algorithm::Sha256.name(), &digest));
        }
        Ok(texts.into_values().collect())
    }

    /// What a file of checksums says, which must be so; lines about files that are not there are left out. Names of
    /// which it says the SHA-256 go into `told`.
    fn compared(
        &mut self,
        companion: &str,
        blob: BlobId,
        size_bytes: u64,
        told: &mut BTreeSet<String>,
    ) -> Result<String, ComposeError> {
        let path = format!("{}/{companion}", self.path);
        let refuse =
            |line: usize, reason: String| ComposeError::Checksum { path: path.clone(), line, reason };
        if size_bytes > COMPANION_BYTES_MAX {
            return Err(refuse(1, format!("is not one of checksums: the file has {size_bytes} bytes")));
        }
        let bytes = self.depot.store.read_blob(blob)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut kept = String::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim_end)).filter(|(_, line)| !line.is_empty())
        {
            let Some((name, said)) = checksum_file::parse(line) else {
                let forms = "is neither `# NAME: SIZE bytes` nor `SHA256 (NAME) = DIGEST`";
                return Err(refuse(number, forms.to_owned()));
            };
            let Some((blob, size_bytes)) = self.files.get(name).copied() else {
                self.warnings.push(format!("{path}: line {number}: there is no {name}"));
                continue;
            };
            match said {
                Said::Size(said) if said != size_bytes => {
                    return Err(refuse(number, format!("{name} has {size_bytes} bytes, not {said}")));
                }
                Said::Digest(said) => {
                    let is = digest(self.depot, blob, size_bytes, said.algorithm())?;
                    if is != said {
                        return Err(refuse(number, format!("{name} has {is}, not {said}")));
                    }
                    if said.algorithm() == Algorithm::Sha256 {
                        told.insert(name.to_owned());
                    }
                }
                Said::Size(_) => {}
            }
            kept.push_str(line);
            kept.push('\n');
        }
        Ok(kept)
    }
}

/// The SHA-256 of blobs.
pub(super) fn digests(
    depot: &Depot,
    found: impl Iterator<Item = (BlobId, u64)>,
) -> Result<BTreeMap<BlobId, Checksum>, ComposeError> {
    let found: BTreeMap<BlobId, u64> = found.collect();
    found.into_iter().map(|(blob, size_bytes)| Ok((blob, sha256(depot, blob, size_bytes)?))).collect()
}

/// The SHA-256 of a blob.
pub(super) fn sha256(depot: &Depot, blob: BlobId, size_bytes: u64) -> Result<Checksum, ComposeError> {
    digest(depot, blob, size_bytes, Algorithm::Sha256)
}

/// A digest of a blob, computed and remembered where the catalogue does not know it.
fn digest(
    depot: &Depot,
    blob: BlobId,
    size_bytes: u64,
    algorithm: Algorithm,
) -> Result<Checksum, ComposeError> {
    let known = match algorithm {
        Algorithm::Sha256 => {
            let hex = depot.catalogue.sha256_of(blob)?;
            hex.and_then(|hex| Checksum::from_hex(algorithm, &hex).ok())
        }
        _ => depot.catalogue.checksums_of(&HashSet::from([blob]), algorithm)?.remove(&blob),
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let digest = depot.compute_checksum(blob, algorithm)?;
    depot.catalogue.record_stored(&depot.store, [(blob, size_bytes, std::slice::from_ref(&digest))])?;
    Ok(digest)
}
