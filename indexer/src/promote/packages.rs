//! What a flip does to the packages of each repository.

use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::diff::diff;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, Nodes, resolve};

use super::PromoteError;
use super::flip::Flip;
use crate::catalogue::Checked;
use crate::depot::Depot;
use crate::repodata::evr;
use crate::repository::{self, Line, List, REPOMD};

/// What changes in one repository; packages by name, epoch, version, release and architecture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryChange {
    /// Where it is in the view.
    pub path: String,
    /// Packages of which there was no older version.
    pub added: Vec<String>,
    /// Packages that are gone, and no newer version came.
    pub removed: Vec<String>,
    /// The newest version before, and a newer one. The older one may have stayed.
    pub upgraded: Vec<(String, String)>,
    /// Packages that are another file under the same name.
    pub replaced: Vec<String>,
}

/// What a flip changes in the repositories of its view `number` whose metadata changes; one whose metadata
/// cannot be read is left out, since a gate speaks of it.
pub fn changes(depot: &Depot, flip: &Flip, number: usize) -> Result<Vec<RepositoryChange>, PromoteError> {
    let mut paths = BTreeSet::new();
    flip.differences(depot, number, &mut |path, _| {
        paths.extend(repository_of(path));
        Ok::<(), NodeError>(())
    })?;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let Some(change) = flip.changes.get(number) else { return Ok(Vec::new()) };
    compare_all(depot, &flip.nodes(depot), (&change.old, &change.new), paths)
}

/// What differs in the repositories of two trees whose metadata differs; one whose metadata cannot be read is left
/// out.
pub fn between(depot: &Depot, old: Dir, new: Dir) -> Result<Vec<RepositoryChange>, PromoteError> {
    let mut paths = BTreeSet::new();
    diff(&depot.catalogue, old, new, &mut |path, _| {
        paths.extend(repository_of(path));
        Ok::<(), NodeError>(())
    })?;
    let item = |dir| Item { mtime: 0, kind: Kind::Dir(dir) };
    compare_all(depot, &depot.catalogue, (&item(old), &item(new)), paths)
}

/// The repository whose repomd.xml stands at `path`.
fn repository_of(path: &str) -> Option<String> {
    let dir = path.strip_suffix(REPOMD).filter(|dir| dir.is_empty() || dir.ends_with('/'))?;
    Some(dir.trim_end_matches('/').to_owned())
}

fn compare_all(
    depot: &Depot,
    nodes: &impl Nodes,
    (old, new): (&Item, &Item),
    paths: BTreeSet<String>,
) -> Result<Vec<RepositoryChange>, PromoteError> {
    let memory = depot.checked();
    let mut found = Vec::new();
    for path in paths {
        let old = list(depot, &memory, nodes, old, &path)?;
        let new = list(depot, &memory, nodes, new, &path)?;
        if let (Some(old), Some(new)) = (old, new) {
            found.push(compare(path, &old, &new));
        }
    }
    Ok(found)
}

/// The packages of the repository at `path`; none where there is no repository, `None` where it cannot be read.
fn list(
    depot: &Depot,
    memory: &Checked,
    nodes: &impl Nodes,
    top: &Item,
    path: &str,
) -> Result<Option<List>, PromoteError> {
    let Some(dir) = dir(nodes, top, path)? else { return Ok(Some(List::default())) };
    match repository::repomd(depot, nodes, dir)? {
        None => Ok(Some(List::default())),
        Some(Err(_)) => Ok(None),
        Some(Ok(repomd)) => Ok(List::of(depot, memory, nodes, dir, &repomd)?.ok()),
    }
}

fn dir(nodes: &impl Nodes, top: &Item, path: &str) -> Result<Option<Dir>, NodeError> {
    let Some(path) = repository::path_of(path) else { return Ok(None) };
    Ok(match resolve(nodes, top, &path)? {
        Some(Item { kind: Kind::Dir(dir), .. }) => Some(dir),
        _ => None,
    })
}

fn compare(path: String, old: &List, new: &List) -> RepositoryChange {
    let (mut gone, mut come): (Vec<Line<'_>>, Vec<Line<'_>>) = (Vec::new(), Vec::new());
    let mut change = RepositoryChange { path, ..RepositoryChange::default() };
    List::differences(old, new, &mut |before, after| match (before, after) {
        (Some(before), Some(after)) if before.nevra() == after.nevra() => {
            if before.checksum != after.checksum {
                change.replaced.push(after.nevra());
            }
        }
        (before, after) => {
            gone.extend(before);
            come.extend(after);
        }
    });
    // The same package at another path is neither gone nor new.
    let moved: BTreeSet<String> = {
        let gone: BTreeSet<String> = gone.iter().map(Line::nevra).collect();
        come.iter().map(Line::nevra).filter(|nevra| gone.contains(nevra)).collect()
    };
    gone.retain(|line| !moved.contains(&line.nevra()));
    come.retain(|line| !moved.contains(&line.nevra()));
    let names: BTreeSet<(&str, &str)> = come.iter().map(|line| (line.name, line.arch)).collect();
    let mut newest: BTreeMap<(&str, &str), Line<'_>> = BTreeMap::new();
    for line in old.lines().filter(|line| names.contains(&(line.name, line.arch))) {
        let known = newest.entry((line.name, line.arch)).or_insert(line);
        if order(&line, known).is_gt() {
            *known = line;
        }
    }
    for line in &come {
        let key = (line.name, line.arch);
        let best = come
            .iter()
            .filter(|other| (other.name, other.arch) == key)
            .all(|other| order(other, line).is_le());
        match newest.get(&key) {
            Some(before) if best && order(line, before).is_gt() => {
                change.upgraded.push((before.nevra(), line.nevra()));
                gone.retain(|line| line.text != before.text);
            }
            _ => change.added.push(line.nevra()),
        }
    }
    change.removed = gone.iter().map(Line::nevra).collect();
    change.added.sort_unstable();
    change.removed.sort_unstable();
    change.upgraded.sort_unstable();
    change
}

fn order(a: &Line<'_>, b: &Line<'_>) -> std::cmp::Ordering {
    let epoch = |line: &Line<'_>| line.epoch.parse::<u32>().unwrap_or(0);
    let by_epoch = epoch(a).cmp(&epoch(b));
    by_epoch.then_with(|| evr::compare(a.version, b.version)).then_with(|| evr::compare(a.release, b.release))
}
