//! The level `tree`: every node is what its name says and fits to those below it, every snapshot can be rebuilt from
//! commit files, and every blob's file is there with the right size and mode.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::name::Name;
use cfs_fs::sweep;
use cfs_fs::tree::{Dir, Kind as ItemKind, Node, Sums};

use super::finding::{Finding, Kind, Object};
use super::quick::broken;
use super::{Check, FsckError, Phase};
use crate::catalogue::{CatalogueError, Raw};
use crate::commitfile;
use crate::depot::Depot;
use crate::snapshot::Snapshot;
use crate::spread::spread;

/// The mode of every blob's file.
const MODE: u32 = 0o444;

/// What is remembered of a node.
struct Known {
    height: u8,
    /// The first and the last name in it, which for an index are those of its first chunks.
    first: Option<Name>,
    last: Option<Name>,
    /// What its own entries add up to; for an index, nothing yet.
    sums: Sums,
    dirs: Vec<Dir>,
    chunks: Vec<(Name, NodeId)>,
}

/// Checks it.
pub(super) fn check(
    check: &mut Check<'_, '_>,
    whole: &BTreeMap<SnapshotId, Snapshot>,
) -> Result<(), FsckError> {
    check.step(Phase::Structure, 0, None)?;
    let catalogue = &check.depot.catalogue;
    if let Some(faults) = check.try_read(|| catalogue.structure_faults(true))? {
        let known: HashSet<String> = check
            .findings
            .iter()
            .filter(|f| f.kind == Kind::CatalogueStructure)
            .map(|f| f.what.clone())
            .collect();
        let faults = faults.into_iter().filter(|fault| !known.contains(fault)).collect();
        check.add_all(Kind::CatalogueStructure, &Object::Catalogue, faults);
    }
    let (nodes, blobs) = read_nodes(check)?;
    shapes(check, &nodes, whole)?;
    commits(check, &nodes, whole)?;
    drop(nodes);
    files(check, &blobs)?;
    match check.try_read(|| catalogue.useless_digests())? {
        Some(0) | None => {}
        Some(count) => {
            let what = format!("{count} digests are of blobs that are not there, or are none");
            check.add(Finding::new(Kind::DigestStale, Object::Catalogue, what));
        }
    }
    Ok(())
}

/// All nodes, and the blobs that they name, sorted.
type Nodes = (HashMap<NodeId, Known>, Vec<(BlobId, u64)>);

fn read_nodes(check: &mut Check<'_, '_>) -> Result<Nodes, FsckError> {
    let (mut nodes, mut blobs) = (HashMap::new(), Vec::new());
    let mut findings = Vec::new();
    let catalogue = &check.depot.catalogue;
    check.step(Phase::Nodes, 0, None)?;
    check.try_read(|| {
        catalogue.for_each_raw(&mut |raw| match raw {
            Raw::Snapshot(_) => {}
            Raw::Broken(table, number) => findings.push(broken(table, number)),
            Raw::Node(id, data) => match Node::verified(id, data) {
                Err(error) => {
                    findings.push(Finding::new(Kind::NodeDamaged, Object::Node(id), error.to_string()));
                }
                Ok(node) => {
                    blobs.extend(node.blobs());
                    nodes.insert(id, known(&node, data.get(1).copied().unwrap_or(0)));
                }
            },
        })
    })?;
    check.checked.nodes = nodes.len() as u64;
    check.findings.extend(findings);
    blobs.sort_unstable();
    blobs.dedup();
    Ok((nodes, blobs))
}

fn known(node: &Node, height: u8) -> Known {
    let mut known = Known {
        height,
        first: None,
        last: None,
        sums: Sums::default(),
        dirs: Vec::new(),
        chunks: Vec::new(),
    };
    match node {
        Node::Leaf(entries) => {
            known.first = entries.first().map(|entry| entry.name.clone());
            known.last = entries.last().map(|entry| entry.name.clone());
            for entry in entries {
                known.sums.add(&entry.item);
                if let ItemKind::Dir(dir) = entry.item.kind {
                    known.dirs.push(dir);
                }
            }
        }
        Node::Index(chunks) => {
            known.first = chunks.first().map(|chunk| chunk.first.clone());
            known.last = chunks.last().map(|chunk| chunk.first.clone());
            known.chunks = chunks.iter().map(|chunk| (chunk.first.clone(), chunk.id)).collect();
        }
    }
    known
}

/// Nodes fit together: what one says of those below it is so.
fn shapes(
    check: &mut Check<'_, '_>,
    nodes: &HashMap<NodeId, Known>,
    whole: &BTreeMap<SnapshotId, Snapshot>,
) -> Result<(), FsckError> {
    let sums = all_sums(nodes);
    let bad: HashSet<Object> = check.findings.iter().map(|finding| finding.object.clone()).collect();
    let mut missing: HashMap<NodeId, NodeId> = HashMap::new();
    for (number, (id, node)) in nodes.iter().enumerate() {
        if number.is_multiple_of(4096) {
            check.step(Phase::Nodes, number as u64, Some(nodes.len() as u64))?;
        }
        let mut wrong = Vec::new();
        for dir in &node.dirs {
            match sums.get(&dir.id) {
                Some(sums) if *sums == dir.sums => {}
                Some(_) => wrong.push(format!("what it says of the directory {} is not so", dir.id)),
                None if !nodes.contains_key(&dir.id) => drop(missing.insert(dir.id, *id)),
                // Told of what is missing below it.
                None => {}
            }
        }
        let mut end: Option<&Name> = None;
        for (first, below) in &node.chunks {
            let Some(chunk) = nodes.get(below) else {
                missing.insert(*below, *id);
                continue;
            };
            if chunk.height + 1 != node.height || chunk.first.as_ref() != Some(first) || end >= Some(first) {
                wrong.push(format!("its chunk {below} does not fit"));
            }
            end = chunk.last.as_ref();
        }
        check.add_all(Kind::NodeShape, &Object::Node(*id), wrong);
    }
    for (id, above) in missing.into_iter().filter(|(id, _)| !bad.contains(&Object::Node(*id))) {
        let what = format!("is not there; node {above} names it");
        check.add(Finding::new(Kind::NodeMissing, Object::Node(id), what));
    }
    for (id, snapshot) in whole {
        if sums.get(&snapshot.root.id).is_some_and(|sums| *sums != snapshot.root.sums) {
            let what = "its record counts something else than its tree holds";
            check.add(Finding::new(Kind::NodeShape, Object::Snapshot(*id), what));
        }
    }
    Ok(())
}

/// What is below each node that has everything below it.
fn all_sums(nodes: &HashMap<NodeId, Known>) -> HashMap<NodeId, Sums> {
    let mut sums: HashMap<NodeId, Sums> = HashMap::with_capacity(nodes.len());
    for (id, node) in nodes {
        if node.chunks.is_empty() {
            sums.insert(*id, node.sums);
        }
    }
    // An index names only nodes that are lower.
    let mut indexes: Vec<(&NodeId, &Known)> =
        nodes.iter().filter(|(_, node)| !node.chunks.is_empty()).collect();
    indexes.sort_unstable_by_key(|(_, node)| node.height);
    for (id, node) in indexes {
        let mut total = Sums::default();
        let whole = node.chunks.iter().all(|(_, below)| match sums.get(below) {
            Some(Sums { files, dirs, symlinks, bytes }) => {
                total.files = total.files.saturating_add(*files);
                total.dirs = total.dirs.saturating_add(*dirs);
                total.symlinks = total.symlinks.saturating_add(*symlinks);
                total.bytes = total.bytes.saturating_add(*bytes);
                true
            }
            None => false,
        });
        if whole {
            sums.insert(*id, total);
        }
    }
    sums
}

/// Commit files hold what the catalogue is rebuilt from.
fn commits(
    check: &mut Check<'_, '_>,
    nodes: &HashMap<NodeId, Known>,
    whole: &BTreeMap<SnapshotId, Snapshot>,
) -> Result<(), FsckError> {
    let depot = check.depot;
    let known: HashSet<SnapshotId> =
        check.try_read(|| depot.catalogue.all_snapshots())?.unwrap_or_default().into_iter().collect();
    let files = sweep::commits(&depot.store).map_err(CatalogueError::from)?;
    let mut saved: HashSet<NodeId> = HashSet::with_capacity(nodes.len());
    let mut seen = HashSet::new();
    for (number, id) in files.iter().enumerate() {
        check.step(Phase::Commits, number as u64, Some(files.len() as u64))?;
        seen.insert(*id);
        match read_commit(depot, *id) {
            Ok(ids) => saved.extend(ids),
            // Of one that was never committed nothing is needed.
            Err(_) if !known.contains(id) => {}
            Err(what) => check.add(Finding::new(Kind::CommitDamaged, Object::Commit(*id), what)),
        }
    }
    for id in whole.keys().filter(|id| !seen.contains(id)) {
        check.add(Finding::new(Kind::CommitMissing, Object::Commit(*id), "is not there"));
    }
    let damaged = check
        .findings
        .iter()
        .any(|finding| matches!(finding.kind, Kind::CommitDamaged | Kind::CommitMissing));
    for id in nodes.keys().filter(|id| !saved.contains(id)) {
        // What a damaged file held is no finding of its own.
        if !damaged {
            check.add(Finding::new(Kind::CommitIncomplete, Object::Node(*id), "is in no commit file"));
        }
    }
    check.checked.commits = files.len() as u64;
    Ok(())
}

/// The nodes in a commit file, or what is wrong with it.
fn read_commit(depot: &Depot, id: SnapshotId) -> Result<Vec<NodeId>, String> {
    let bytes = fs::read(depot.store.commit_path(id)).map_err(|error| format!("cannot be read: {error}"))?;
    let file = commitfile::decode(id, &bytes).map_err(|error| error.reason)?;
    Ok(file.nodes.into_iter().map(|(id, _)| id).collect())
}

/// Every blob has its row and its file.
fn files(check: &mut Check<'_, '_>, named: &[(BlobId, u64)]) -> Result<(), FsckError> {
    let depot = check.depot;
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let work = |byte: &u8| files_beginning(depot, *byte, named);
    let mut outcome = Ok(());
    let mut done = 0;
    spread(&bytes, work, &mut |_, result| {
        done += 1;
        let step = check.step(Phase::Files, done, Some(256));
        outcome = match (step, result) {
            (Err(error), _) => Err(error),
            (_, Ok((findings, blobs, blob_bytes))) => {
                check.findings.extend(findings);
                check.checked.blobs += blobs;
                check.checked.blob_bytes += blob_bytes;
                Ok(())
            }
            (_, Err(error)) => check.try_read(|| Err::<(), _>(error)).map(drop),
        };
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    outcome
}

/// Checks the blobs whose names begin with `byte`; what was found, and how many there are with how many bytes.
fn files_beginning(
    depot: &Depot,
    byte: u8,
    named: &[(BlobId, u64)],
) -> Result<(Vec<Finding>, u64, u64), CatalogueError> {
    let mut findings = Vec::new();
    let rows = depot.catalogue.blobs_beginning(byte)?;
    let mut known = rows.iter().copied().peekable();
    let start = named.partition_point(|(id, _)| id.as_bytes()[0] < byte);
    let end = named.partition_point(|(id, _)| id.as_bytes()[0] <= byte);
    for (id, size_bytes) in &named[start..end] {
        while known.next_if(|(row, _)| row < id).is_some() {}
        let what = match known.peek() {
            Some((row, bytes)) if row == id && bytes == size_bytes => continue,
            Some((row, bytes)) if row == id => {
                format!("a tree says {size_bytes} bytes, the catalogue {bytes}")
            }
            _ => "a tree names it, and the catalogue does not know it".to_owned(),
        };
        findings.push(Finding::new(Kind::BlobUnrecorded, Object::Blob(*id), what));
    }
    let mut bytes = 0;
    for (id, size_bytes) in &rows {
        bytes += size_bytes;
        if let Some((kind, what)) = file_fault(depot, *id, *size_bytes) {
            findings.push(Finding::new(kind, Object::Blob(*id), what));
        }
    }
    Ok((findings, rows.len() as u64, bytes))
}

/// What is wrong with a blob's file as it can be seen from outside.
fn file_fault(depot: &Depot, id: BlobId, size_bytes: u64) -> Option<(Kind, String)> {
    match fs::symlink_metadata(depot.store.blob_path(id)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some((Kind::BlobMissing, "is not there".to_owned()))
        }
        Err(error) => Some((Kind::BlobUnreadable, format!("cannot be looked at: {error}"))),
        Ok(meta) if !meta.is_file() => Some((Kind::BlobMissing, "what stands there is no file".to_owned())),
        Ok(meta) if meta.len() != size_bytes => {
            Some((Kind::BlobSize, format!("has {} bytes, not {size_bytes}", meta.len())))
        }
        Ok(meta) if meta.permissions().mode() & 0o7777 != MODE => {
            let mode = meta.permissions().mode() & 0o7777;
            Some((Kind::BlobMode, format!("has the mode {mode:04o}, not {MODE:04o}")))
        }
        Ok(_) => None,
    }
}
