//! `import`: a host directory becomes a path of a new snapshot of a ref.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cfs_fs::edit::EditError;
use cfs_fs::import::{ImportError, Imported, Options, Progress, Recall, import};
use cfs_fs::store::Store;
use cfs_fs::store::lease::Lease;

use crate::catalogue::{CatalogueError, Draft, RefUpdate, Signer, Taken};
use crate::config::Lists;
use crate::depot::{Depot, place};
use crate::filelist::FilelistError;
use crate::filelist::published::complete;
use crate::repository::read_ahead;
use crate::revision::RefPath;

/// Why a directory was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportDirError {
    /// The store lies in the directory, or the directory in the store.
    #[error("{}: holds the store itself", dir.display())]
    HoldsStore {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be taken.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A file list cannot be made.
    #[error(transparent)]
    Filelist(#[from] FilelistError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Imports `dir` as `target`, a place in a ref with these `lists`, and returns what was done, with the ref's move
/// unless nothing changed. A run that was interrupted is resumed by the next: what it had stored is not read again.
pub fn import_dir(
    depot: &Depot,
    dir: &Path,
    target: &RefPath,
    signer: &Signer,
    options: Options,
    (message, lists): (&str, &[Lists]),
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Progress, Option<RefUpdate>), ImportDirError> {
    // A symbolic ref cannot be imported into: say so before hours of reading.
    depot.catalogue.current(&target.name)?;
    check_apart(dir, &depot.store)?;
    // What is found in the store stays there until it is committed.
    let _lease = Lease::take(&depot.store).map_err(CatalogueError::from)?;
    let files = depot.host_files()?;
    let reader = depot.reader(&files);
    let mut run = |recall: &dyn Recall| {
        // The blobs become live with the commit that names them.
        let imported = import(&depot.store, dir, options, recall, reader.recorder(), progress)?;
        let done = imported.progress;
        Ok((done, commit(depot, dir, target, signer, (message, lists), imported)?))
    };
    match run(&reader) {
        // The cache remembers what the store has lost: read everything.
        Err(ImportDirError::Catalogue(CatalogueError::MissingBlob { .. })) => run(&()),
        done => done,
    }
}

fn commit(
    depot: &Depot,
    dir: &Path,
    target: &RefPath,
    signer: &Signer,
    (message, lists): (&str, &[Lists]),
    imported: Imported,
) -> Result<Option<RefUpdate>, ImportDirError> {
    let Imported { root, nodes, .. } = imported;
    let mut old = None;
    let update = depot.catalogue.update_ref(&depot.store, &target.name, signer, |current| {
        old = current.map(|current| current.snapshot.root_item());
        let placed = place(&depot.catalogue, current, &target.path, &root, nodes.clone(), signer.now)?;
        let Some((root, nodes)) = placed else { return Ok::<_, ImportDirError>(None) };
        let draft = Draft {
            root,
            nodes,
            taken: Taken::default(),
            parents: Vec::new(),
            access: None,
            meta: BTreeMap::from([("import.dir".into(), dir.display().to_string())]),
            message: message.to_owned(),
            reason: format!("import {}", dir.display()),
        };
        Ok(complete(depot, lists, current, draft, signer.now)?)
    })?;
    if let Some(update) = &update {
        read_ahead(depot, &depot.catalogue, old.as_ref(), &update.snapshot.root_item());
    }
    Ok(update)
}

/// A store cannot be imported into itself: its files change while they are read.
fn check_apart(dir: &Path, store: &Store) -> Result<(), ImportDirError> {
    // Where a path cannot be resolved, the import itself says why.
    let (Ok(dir), Ok(root)) = (dir.canonicalize(), store.root().canonicalize()) else { return Ok(()) };
    if root.starts_with(&dir) || dir.starts_with(&root) {
        return Err(ImportDirError::HoldsStore { dir });
    }
    Ok(())
}
