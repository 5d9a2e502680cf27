//! Finishing a compose: images go to their published places, everything that release tools read is written, and
//! nothing changes any more.
//!
//! Always true: a compose that is not whole is not finished; finishing is one move of its ref.

use cfs_fs::edit::{graft, prune};
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind, Stage, read_dir, resolve};

use super::hold::Hold;
use super::recipe::Recipe;
use super::rpms::Packages;
use super::{ComposeError, Depot, checksums, contents, documents, images, locations, rpms, series};
use crate::catalogue::{Current, Draft, RefUpdate, SEALED, Signer};
use crate::productmd::status::Status;
use crate::refname::RefName;

/// What finishing did, or would do.
#[derive(Debug)]
pub struct Finished {
    /// The compose.
    pub compose: RefName,
    /// Images that it has.
    pub images: u64,
    /// Packages that it has, each path counted.
    pub packages: u64,
    /// Directories that came from `work/`.
    pub moved: Vec<TreePath>,
    /// What is to be said of its images.
    pub warnings: Vec<String>,
    /// The ref's move; `None` when it was only planned.
    pub update: Option<RefUpdate>,
}

/// Finishes the compose `name`, or, when `is_dry`, looks what that would come to.
pub fn finalize(
    depot: &Depot,
    recipe: &Recipe,
    name: &RefName,
    signer: &Signer,
    is_dry: bool,
) -> Result<Finished, ComposeError> {
    let _hold = if is_dry { None } else { Some(Hold::take(&depot.store, name)?) };
    if let Some(unfinished) = depot.catalogue.unfinished_syncs(name)?.into_iter().next() {
        return Err(ComposeError::NotWhole { place: unfinished.place, reason: unfinished.reason });
    }
    let missing =
        || ComposeError::Catalogue(crate::catalogue::CatalogueError::NoSuchRef { name: name.clone() });
    let current = depot.catalogue.current(name)?.ok_or_else(missing)?;
    if let Some(status) = series::status_of(depot, &current.snapshot.root_item())?
        && status.is_sealed()
    {
        return Err(ComposeError::Sealed { name: name.clone(), status });
    }
    let mut finished = Finished {
        compose: name.clone(),
        images: 0,
        packages: 0,
        moved: Vec::new(),
        warnings: Vec::new(),
        update: None,
    };
    let mut draft = |current: &Current| -> Result<Draft, ComposeError> {
        let root = current.snapshot.root_item();
        let packages = rpms::packages(depot, recipe, current.id, &root)?;
        finished.packages = packages.iter().map(|members| members.len() as u64).sum();
        let mut stage = Stage::new(&depot.catalogue);
        let root = move_images(recipe, &mut stage, root, &mut finished.moved, signer.now)?;
        let written = checksums::write(depot, recipe, &mut stage, root, &finished.moved, signer.now)?;
        (finished.images, finished.warnings) = (written.images, written.warnings);
        let root = images::write_manifests(depot, recipe, &mut stage, written.root, signer.now)?;
        let (root, warnings) = write_metadata(depot, recipe, name, &mut stage, root, &packages, signer.now)?;
        finished.warnings.extend(warnings);
        let mut draft = recipe.draft(name, root, stage.into_new_nodes(), "compose finalize".to_owned());
        draft.meta.insert(SEALED.into(), "finished".into());
        Ok(draft)
    };
    if is_dry {
        draft(&current)?;
        return Ok(finished);
    }
    let update = depot
        .catalogue
        .update_ref(&depot.store, name, signer, |current| draft(current.ok_or_else(missing)?).map(Some))?;
    finished.update = update;
    Ok(finished)
}

/// Images that were made go to where they are published, instead of what was there.
fn move_images(
    recipe: &Recipe,
    stage: &mut Stage<'_>,
    mut root: Item,
    moved: &mut Vec<TreePath>,
    now: i64,
) -> Result<Item, ComposeError> {
    moved.clear();
    for name in images::DIRECTORIES {
        let from = TreePath::new(format!("work/{name}")).unwrap_or_default();
        let to = images::place(recipe, name);
        let Some(item @ Item { kind: Kind::Dir(dir), .. }) = resolve(stage, &root, &from)? else { continue };
        if dir.sums.files > 0 {
            root = graft(stage, &root, &to, item, now)?;
            moved.push(to);
        }
        root = prune(stage, &root, &from, now)?;
    }
    let work = TreePath::new("work").unwrap_or_default();
    if let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(stage, &root, &work)?
        && read_dir(stage, dir.id)?.is_empty()
    {
        root = prune(stage, &root, &work, now)?;
    }
    Ok(root)
}

/// Writes what release tools read; returns the new top directory, and what is to be said of images.
fn write_metadata(
    depot: &Depot,
    recipe: &Recipe,
    name: &RefName,
    stage: &mut Stage<'_>,
    mut root: Item,
    packages: &Packages,
    now: i64,
) -> Result<(Item, Vec<String>), ComposeError> {
    let id = recipe.id_of(name);
    let mut documents = Vec::new();
    let mut locations = locations::of_repositories(depot, recipe, &id, stage, &root)?;
    let modules = contents::modules(depot, recipe, &id, stage, &root, packages)?;
    if let Some(locations) = &mut locations {
        locations::add_packages(recipe, packages, locations);
        locations::add_modules(depot, stage, &root, &modules, locations)?;
    }
    let locations = locations.as_ref();
    let rpms = rpms::document(recipe, &id, packages)?;
    let (images, warnings) = images::document(depot, recipe, &id, stage, &root)?;
    let extra_files = contents::extra_files(depot, recipe, &id, stage, &root)?;
    for (name, bytes) in [
        ("rpms.json", rpms.write_as(locations)),
        ("images.json", images.write_as(locations)),
        ("modules.json", modules.write_as(locations)),
        ("extra_files.json", extra_files.write_as(locations)),
    ] {
        documents.push(documents::written(name, bytes)?);
    }
    documents.extend(documents::of_compose(stage, recipe, &id, &root, locations, now)?);
    let of_metadata = |(name, bytes): (String, _)| (recipe.metadata_path(&name), bytes);
    let mut files: Vec<(TreePath, Vec<u8>)> = documents.into_iter().map(of_metadata).collect();
    files.push((TreePath::new("STATUS").unwrap_or_default(), Status::Finished.file()));
    let contents: Vec<&[u8]> = files.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let blobs = depot.add_blobs(&contents)?;
    for ((path, _), (blob, size_bytes)) in files.iter().zip(blobs) {
        let kind = Kind::File { blob, size_bytes, executable: false };
        // What did not change keeps its time.
        if resolve(stage, &root, path)?.is_none_or(|old| old.kind != kind) {
            root = graft(stage, &root, path, Item { mtime: now, kind }, now)?;
        }
    }
    Ok((root, warnings))
}
