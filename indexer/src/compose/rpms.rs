//! The packages of a compose, for `rpms.json`: what the headers say, read once for each distinct package.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Item, Kind, Nodes, Stage, resolve};
use cfs_fs::walk::walk;

use super::recipe::{Recipe, TreeKind};
use super::{ComposeError, Depot, documents};
use crate::openpgp::package::signer;
use crate::productmd::rpms::{Category, Rpm, Rpms};
use crate::rpm::{Headers, Package};
use crate::spread::spread;

/// Headers are read in pieces of this size; most fit into one.
const PIECE_BYTES: usize = 32 << 10;

/// What of a package the document says.
#[derive(Debug, Clone)]
struct Facts {
    nevra: String,
    /// The file name of its source package; empty for a source package.
    source_rpm: String,
    sigkey: Option<String>,
}

/// A package of a tree.
struct Found {
    tree: usize,
    /// Below `compose/`.
    path: String,
    blob: BlobId,
}

/// `rpms.json`, and how many packages it lists, each path counted once.
pub(super) fn document(
    depot: &Depot,
    recipe: &Recipe,
    id: &str,
    stage: &Stage<'_>,
    root: &Item,
) -> Result<(Vec<u8>, u64), ComposeError> {
    let found = find(recipe, stage, root)?;
    let facts = read(depot, &found)?;
    // Source packages say their own epoch; what was built of them does not.
    let sources: HashMap<String, &str> = (facts.values())
        .filter(|facts| facts.source_rpm.is_empty())
        .map(|facts| (without_epoch(&facts.nevra), facts.nevra.as_str()))
        .collect();
    let mut rpms = Rpms::new(documents::compose(recipe, id));
    for Found { tree, path, blob } in &found {
        let tree = &recipe.all_trees[*tree];
        let facts = &facts[blob];
        let source = (!facts.source_rpm.is_empty()).then(|| {
            let name = facts.source_rpm.trim_end_matches(".rpm");
            sources.get(name).map_or_else(|| with_epoch(name), |nevra| (*nevra).to_owned())
        });
        let category = match (tree.kind, &source) {
            (_, None) => Category::Source,
            (TreeKind::Debug, _) => Category::Debug,
            _ => Category::Binary,
        };
        let variant = documents::variant_id(&tree.repository);
        for arch in documents::arches_of(recipe, tree) {
            let rpm = Rpm { category, path: path.clone(), sigkey: facts.sigkey.clone() };
            let added = rpms.add(&variant, &arch, &facts.nevra, source.as_deref(), rpm);
            added.map_err(|error| ComposeError::Package { path: path.clone(), reason: error.to_string() })?;
        }
    }
    Ok((rpms.write(), found.len() as u64))
}

/// All packages of all trees.
fn find(recipe: &Recipe, nodes: &dyn Nodes, root: &Item) -> Result<Vec<Found>, ComposeError> {
    let mut found = Vec::new();
    for (number, tree) in recipe.all_trees.iter().enumerate() {
        let Some(Item { kind: Kind::Dir(dir), .. }) = resolve(nodes, root, &tree.path)? else { continue };
        let place = tree.path.as_str().trim_start_matches("compose/");
        walk(nodes, dir, place, &mut |path, item| {
            if let Kind::File { blob, .. } = item.kind
                && Path::new(path).extension().is_some_and(|extension| extension == "rpm")
            {
                found.push(Found { tree: number, path: path.to_owned(), blob });
            }
            Ok::<_, ComposeError>(())
        })?;
    }
    Ok(found)
}

/// Reads the headers of all packages, each distinct one once.
fn read(depot: &Depot, found: &[Found]) -> Result<HashMap<BlobId, Facts>, ComposeError> {
    let mut seen = BTreeSet::new();
    let distinct: Vec<&Found> = found.iter().filter(|found| seen.insert(found.blob)).collect();
    let mut facts = HashMap::with_capacity(distinct.len());
    let mut failed: BTreeMap<usize, ComposeError> = BTreeMap::new();
    spread(&distinct, |found| read_one(depot, found), &mut |number, outcome| match outcome {
        Ok(one) => {
            facts.insert(distinct[number].blob, one);
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed.insert(number, error);
            ControlFlow::Break(())
        }
    });
    match failed.into_values().next() {
        None => Ok(facts),
        Some(error) => Err(error),
    }
}

fn read_one(depot: &Depot, found: &Found) -> Result<Facts, ComposeError> {
    let refuse = |reason: String| ComposeError::Package { path: found.path.clone(), reason };
    let file = depot.store.open_blob(found.blob)?;
    let mut file = BufReader::with_capacity(PIECE_BYTES, file);
    let headers = Headers::read(&mut file).map_err(|error| refuse(error.to_string()))?;
    let package = Package::of(&headers).map_err(|error| refuse(error.to_string()))?;
    let signer = signer(&headers).map_err(|error| refuse(error.to_string()))?;
    // The old short form, which release tools compare.
    let sigkey = signer.map(|id| id[id.len().saturating_sub(8)..].to_owned());
    Ok(Facts { nevra: package.nevra.to_string(), source_rpm: package.source_rpm, sigkey })
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
