//! The gate `repodata`: repositories hold what their metadata says.
//!
//! Every file that a repomd.xml lists is there with its size and checksum; so is every package that the primary
//! metadata lists; the checksums in `.treeinfo` hold. Checksums are looked up in the catalogue; content whose
//! checksum nobody has computed yet is read once, and remembered. Of `.treeinfo`, the line for
//! `repodata/repomd.xml` does not count: every update replaces that file, and no installer checks it.

use std::collections::HashSet;
use std::fs::File;
use std::ops::ControlFlow;

use cfs_fs::diff::{Change, diff};
use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, lookup, resolve};

use super::{Check, Gate, Place, PromoteError, Scene, join, walk};
use crate::checksum::{Algorithm, Checksum, Hashed, Hasher};
use crate::repository::{self, Line, List, Primary, REPOMD};
use crate::spread::spread;

/// More than any .treeinfo has.
const TREEINFO_BYTES_MAX: u64 = 1 << 20;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    read_ahead(scene)?;
    let mut check = Check::new(Gate::Repodata);
    walk(scene, Gate::Repodata, "1", &mut check, &mut |place, _| {
        let mut wanted = Wanted { scene, dir: place.dir, findings: Vec::new(), unread: Vec::new() };
        wanted.repository(place)?;
        for name in [".treeinfo", "treeinfo"] {
            wanted.treeinfo(name)?;
        }
        wanted.read_the_unread()?;
        Ok(wanted.findings.into_iter().map(|finding| join(place.path, &finding)).collect())
    })?;
    Ok(check)
}

/// Has the lists extracted that the gate will need, many at once.
fn read_ahead(scene: &Scene<'_>) -> Result<(), PromoteError> {
    let mut primaries = Vec::new();
    walk(scene, Gate::Repodata, "1", &mut Check::new(Gate::Repodata), &mut |place, _| {
        for dir in [Some(place.dir), place.old].into_iter().flatten() {
            primaries.extend(Primary::at(scene.depot, scene, dir)?);
        }
        Ok(Vec::new())
    })?;
    // Nothing has passed yet.
    scene.passed.take();
    repository::extract_all(scene.depot, scene.memory, primaries.into_iter());
    Ok(())
}

/// Files that should be there, compared with what is.
struct Wanted<'a> {
    scene: &'a Scene<'a>,
    /// The directory that they are in.
    dir: Dir,
    findings: Vec<String>,
    /// Files whose checksum nobody has computed yet.
    unread: Vec<(String, BlobId, u64, Checksum)>,
}

impl Wanted<'_> {
    fn repository(&mut self, place: &Place<'_>) -> Result<(), PromoteError> {
        let (depot, scene) = (self.scene.depot, self.scene);
        let repomd = match repository::repomd(depot, scene, place.dir)? {
            None => return Ok(()),
            Some(Err(fault)) => {
                self.findings.push(fault);
                return Ok(());
            }
            Some(Ok(repomd)) => repomd,
        };
        for record in &repomd.records {
            self.file(record.location.as_str(), record.size_bytes, &record.checksum)?;
        }
        let list = match List::of(depot, scene.memory, scene, place.dir, &repomd)? {
            Ok(list) => list,
            Err(fault) => {
                self.findings.push(fault);
                return Ok(());
            }
        };
        let Some((old, old_list)) = self.passed_before(place)? else {
            return list.lines().try_for_each(|line| self.package(&line));
        };
        // What is listed as before and is as before was looked at before.
        let mut changed: HashSet<String> = HashSet::new();
        diff(scene, old, place.dir, &mut |path, change| {
            if !matches!(change, Change::Added(_)) {
                changed.insert(path.to_owned());
            }
            Ok::<(), NodeError>(())
        })?;
        let mut lines: Vec<Line<'_>> = Vec::new();
        List::differences(&old_list, &list, &mut |_, new| lines.extend(new));
        if !changed.is_empty() {
            let listed: HashSet<&str> = lines.iter().map(|line| line.location).collect();
            let touched = list
                .lines()
                .filter(|line| changed.contains(line.location) && !listed.contains(line.location));
            lines.extend(touched.collect::<Vec<_>>());
        }
        lines.iter().try_for_each(|line| self.package(line))
    }

    /// The repository that stood here before, and passed, with its list.
    fn passed_before(&self, place: &Place<'_>) -> Result<Option<(Dir, List)>, PromoteError> {
        let Some(old) = place.old else { return Ok(None) };
        let (depot, scene) = (self.scene.depot, self.scene);
        let Some(Ok(repomd)) = repository::repomd(depot, scene, old)? else { return Ok(None) };
        Ok(List::of(depot, scene.memory, scene, old, &repomd)?.ok().map(|list| (old, list)))
    }

    fn package(&mut self, line: &Line<'_>) -> Result<(), PromoteError> {
        match line.checksum.parse() {
            Ok(checksum) => self.file(line.location, Some(line.size_bytes), &checksum),
            Err(_) => Ok(()),
        }
    }

    /// Compares one file with what is said of it.
    fn file(&mut self, path: &str, size_bytes: Option<u64>, checksum: &Checksum) -> Result<(), PromoteError> {
        let top = Item { mtime: 0, kind: Kind::Dir(self.dir) };
        let found = match repository::path_of(path) {
            Some(path) => resolve(self.scene, &top, &path)?,
            None => None,
        };
        let Some(Item { kind: Kind::File { blob, size_bytes: has_bytes, .. }, .. }) = found else {
            self.findings.push(format!("{path}: is missing"));
            return Ok(());
        };
        if let Some(size_bytes) = size_bytes.filter(|size_bytes| *size_bytes != has_bytes) {
            self.findings.push(format!("{path}: has {has_bytes} bytes, not {size_bytes}"));
            return Ok(());
        }
        match self.scene.depot.catalogue.blob_by_checksum(checksum)? {
            Some((known, _)) if known == blob => {}
            Some(_) => self.findings.push(format!("{path}: has another content than {checksum}")),
            None => self.unread.push((path.to_owned(), blob, has_bytes, *checksum)),
        }
        Ok(())
    }

    fn treeinfo(&mut self, name: &str) -> Result<(), PromoteError> {
        let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) =
            lookup(self.scene, self.dir.id, name)?
        else {
            return Ok(());
        };
        if size_bytes > TREEINFO_BYTES_MAX {
            self.findings.push(format!("{name}: has {size_bytes} bytes, more than any"));
            return Ok(());
        }
        let bytes = self.scene.depot.store.read_blob(blob)?;
        let text = String::from_utf8_lossy(&bytes);
        for (path, value) in treeinfo_checksums(&text) {
            if path == REPOMD {
                continue;
            }
            match value.parse::<Checksum>() {
                Ok(checksum) => self.file(path, None, &checksum)?,
                Err(_) => self.findings.push(format!("{name}: {path} has no checksum that is understood")),
            }
        }
        Ok(())
    }

    /// Computes the checksums that nobody has computed yet.
    fn read_the_unread(&mut self) -> Result<(), PromoteError> {
        let store = &self.scene.depot.store;
        let work = |(_, blob, _, wanted): &(String, BlobId, u64, Checksum)| {
            let fail = |source| StoreError::Io { verb: "read", path: store.blob_path(*blob), source };
            let hashed = hash(&mut store.open_blob(*blob)?, wanted.algorithm()).map_err(fail)?;
            let found = hashed.blob;
            if found == *blob { Ok(hashed.checksum) } else { Err(StoreError::Damaged { id: *blob, found }) }
        };
        let mut found = Vec::new();
        let mut failed = None;
        spread(&self.unread, work, &mut |number, outcome| match outcome {
            Ok(checksum) => {
                found.push((number, checksum));
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        for (number, checksum) in &found {
            let (path, _, _, wanted) = &self.unread[*number];
            if checksum != wanted {
                self.findings.push(format!("{path}: has another content than {wanted}"));
            }
        }
        let strong = found.iter().filter(|(_, checksum)| checksum.algorithm().is_strong());
        let rows = strong.map(|(number, checksum)| {
            let (_, blob, size_bytes, _) = &self.unread[*number];
            (*blob, *size_bytes, std::slice::from_ref(checksum))
        });
        let depot = self.scene.depot;
        depot.catalogue.record_stored(&depot.store, rows)?;
        self.unread.clear();
        Ok(())
    }
}

fn hash(file: &mut File, algorithm: Algorithm) -> std::io::Result<Hashed> {
    let mut hasher = Hasher::new(algorithm);
    std::io::copy(file, &mut hasher)?;
    Ok(hasher.finish())
}

/// The lines of the section `[checksums]`: paths and `algorithm:digits`.
fn treeinfo_checksums(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[checksums]";
            return None;
        }
        let (path, value) = line.split_once('=')?;
        (inside && !line.starts_with(['#', ';'])).then(|| (path.trim(), value.trim()))
    })
}
