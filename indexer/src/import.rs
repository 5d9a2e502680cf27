//! `import`: a host directory becomes a path of a new snapshot of a ref.

use std::collections::BTreeMap;
use std::path::Path;

use cfs_fs::edit::EditError;
use cfs_fs::import::{ImportError, Imported, Options, Progress, Stamp, import};
use cfs_fs::store::publish::Ready;

use crate::catalogue::{CatalogueError, Draft, RefUpdate, Signer};
use crate::depot::{Depot, LiveFiles, place};
use crate::revision::RefPath;

/// Why a directory was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportDirError {
    /// The directory cannot be taken.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Imports `dir` as `target` and returns what was done, with the ref's move unless nothing changed. A run
/// that was interrupted is resumed by the next: what it had stored is not read again.
pub fn import_dir(
    depot: &Depot,
    dir: &Path,
    target: &RefPath,
    signer: &Signer,
    options: Options,
    message: &str,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Progress, Option<RefUpdate>), ImportDirError> {
    // A symbolic ref cannot be imported into: say so before hours of reading.
    depot.catalogue.current(&target.name)?;
    let files = depot.host_files()?;
    let recall = LiveFiles { files: &files, catalogue: &depot.catalogue };
    let record = Box::new(|batch: Vec<Ready<Option<Stamp>>>| {
        depot.catalogue.record_blobs(batch.iter().map(|ready| (ready.id, ready.size_bytes, &[][..])))?;
        let stamps: Vec<_> = batch.iter().filter_map(|ready| Some((ready.tag?, ready.id))).collect();
        files.remember(&stamps)?;
        Ok(())
    });
    let Imported { root, nodes, progress } = import(&depot.store, dir, options, &recall, record, progress)?;
    let update = depot.catalogue.update_ref(&depot.store, &target.name, signer, |current| {
        let placed = place(&depot.catalogue, current, &target.path, &root, nodes.clone(), signer.now)?;
        Ok::<_, ImportDirError>(placed.map(|(root, nodes)| Draft {
            root,
            nodes,
            parents: Vec::new(),
            meta: BTreeMap::from([("import.dir".into(), dir.display().to_string())]),
            message: message.to_owned(),
            reason: format!("import {}", dir.display()),
        }))
    })?;
    Ok((progress, update))
}
