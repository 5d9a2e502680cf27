//! The gate `repodata`: repositories hold what their metadata says.
//!
//! Every file that a repomd.xml lists is there with its size and checksum; so is every package that the primary
//! metadata lists; the checksums in `.treeinfo` hold. Of `.treeinfo`, the line for
//! `repodata/repomd.xml` does not count: every update replaces that file, and no installer checks it.

use std::collections::HashSet;

use cfs_fs::diff::{Change, diff};
use cfs_fs::tree::{Dir, Item, Kind, NodeError, lookup};

use super::{Check, Gate, Place, PromoteError, Scene, join, walk};
use crate::checksum::Checksum;
use crate::repository::content::Contents;
use crate::repository::{self, Line, List, Primary, REPOMD};

/// More than any .treeinfo has.
const TREEINFO_BYTES_MAX: u64 = 1 << 20;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    read_ahead(scene)?;
    let mut check = Check::new(Gate::Repodata);
    walk(scene, Gate::Repodata, "1", &mut check, &mut |place, _| {
        let contents = Contents::new(scene.depot, scene, place.dir);
        let mut wanted = Wanted { scene, dir: place.dir, contents };
        wanted.repository(place)?;
        for name in [".treeinfo", "treeinfo"] {
            wanted.treeinfo(name)?;
        }
        wanted.contents.read_the_unread()?;
        Ok(wanted.contents.findings.into_iter().map(|finding| join(place.path, &finding)).collect())
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

/// What should be in a directory, compared with what is.
struct Wanted<'a> {
    scene: &'a Scene<'a>,
    dir: Dir,
    contents: Contents<'a>,
}

impl Wanted<'_> {
    fn repository(&mut self, place: &Place<'_>) -> Result<(), PromoteError> {
        let (depot, scene) = (self.scene.depot, self.scene);
        let repomd = match repository::repomd(depot, scene, place.dir)? {
            None => return Ok(()),
            Some(Err(fault)) => {
                self.contents.findings.push(fault);
                return Ok(());
            }
            Some(Ok(repomd)) => repomd,
        };
        self.contents.listed(&repomd)?;
        let list = match List::of(depot, scene.memory, scene, place.dir, &repomd)? {
            Ok(list) => list,
            Err(fault) => {
                self.contents.findings.push(fault);
                return Ok(());
            }
        };
        let Some((old, old_list)) = self.passed_before(place)? else {
            return Ok(list.lines().try_for_each(|line| self.contents.package(&line))?);
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
        Ok(lines.iter().try_for_each(|line| self.contents.package(line))?)
    }

    /// The repository that stood here before, and passed, with its list.
    fn passed_before(&self, place: &Place<'_>) -> Result<Option<(Dir, List)>, PromoteError> {
        let Some(old) = place.old else { return Ok(None) };
        let (depot, scene) = (self.scene.depot, self.scene);
        let Some(Ok(repomd)) = repository::repomd(depot, scene, old)? else { return Ok(None) };
        Ok(List::of(depot, scene.memory, scene, old, &repomd)?.ok().map(|list| (old, list)))
    }

    fn treeinfo(&mut self, name: &str) -> Result<(), PromoteError> {
        let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) =
            lookup(self.scene, self.dir.id, name)?
        else {
            return Ok(());
        };
        if size_bytes > TREEINFO_BYTES_MAX {
            self.contents.findings.push(format!("{name}: has {size_bytes} bytes, more than any"));
            return Ok(());
        }
        let bytes = self.scene.depot.store.read_blob(blob)?;
        let text = String::from_utf8_lossy(&bytes);
        for (path, value) in treeinfo_checksums(&text) {
            if path == REPOMD {
                continue;
            }
            match value.parse::<Checksum>() {
                Ok(checksum) => self.contents.file(path, None, &checksum)?,
                Err(_) => {
                    self.contents.findings.push(format!("{name}: {path} has no checksum that is understood"));
                }
            }
        }
        Ok(())
    }
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
