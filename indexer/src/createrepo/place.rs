//! The directory `repodata/`: what stands in it, and putting another one in its place.

use std::collections::BTreeMap;

use cfs_fs::digest::BlobId;
use cfs_fs::name::{Name, TreePath};
use cfs_fs::tree::{Entry, Item, Kind, NodeError, Nodes, Stage, lookup, read_dir};

use super::documents::Made;
use super::{CreaterepoError, Listed};
use crate::catalogue::{CatalogueError, Target};
use crate::config::{Config, When};
use crate::depot::Depot;
use crate::hooks;
use crate::repodata::repomd::{self, Record, Repomd};
use crate::repodata::restamp::newest;
use crate::revision::{RefPath, RevPath};

/// The directory below a repository.
pub(super) const REPODATA: &str = "repodata";
const REPOMD: &str = "repomd.xml";
const SIGNATURE: &str = "repomd.xml.asc";

/// What became of the signature of repomd.xml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// There was none, and there is none.
    None,
    /// It still holds.
    Kept,
    /// The view's hook made a new one.
    Made,
    /// It holds no longer, and there is no hook to make another.
    Dropped,
}

impl Signature {
    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kept => "kept",
            Self::Made => "made",
            Self::Dropped => "dropped",
        }
    }
}

/// The metadata that stands at a repository.
#[derive(Debug, Default)]
pub(super) struct Old {
    /// The files of `repodata/`.
    pub(super) items: BTreeMap<Name, Item>,
    /// The directory's own item.
    pub(super) dir: Option<Item>,
    /// Its repomd.xml and what that says; `None` when there is none, or none that can be read.
    pub(super) repomd: Option<(BlobId, Repomd)>,
}

impl Old {
    /// What stands at the repository `top`.
    pub(super) fn of(
        depot: &Depot,
        nodes: &impl Nodes,
        place: &RevPath,
        top: &Item,
    ) -> Result<Self, CreaterepoError> {
        let Kind::Dir(dir) = top.kind else { return Ok(Self::default()) };
        let Some(item) = lookup(nodes, dir.id, REPODATA)? else { return Ok(Self::default()) };
        let Kind::Dir(repodata) = item.kind else { return Ok(Self::default()) };
        let items: BTreeMap<Name, Item> =
            read_dir(nodes, repodata.id)?.into_iter().map(|entry| (entry.name, entry.item)).collect();
        let mut old = Self { items, dir: Some(item), repomd: None };
        if let Some(Item { kind: Kind::File { blob, .. }, .. }) = old.items.get(REPOMD) {
            let bytes = depot.store.read_blob(*blob)?;
            let parsed = repomd::parse(&bytes[..])
                .map_err(|source| CreaterepoError::Repomd { place: place.clone(), source })?;
            old.repomd = Some((*blob, parsed));
        }
        Ok(old)
    }

    /// Whether its repomd.xml has a signature.
    pub(super) fn is_signed(&self) -> bool {
        self.items.contains_key(SIGNATURE)
    }

    /// The newest time that it gives.
    pub(super) fn newest(&self) -> Option<i64> {
        self.repomd.as_ref().and_then(|(_, repomd)| newest(repomd))
    }

    /// The record that says the same as `new` but for the time.
    fn same(&self, new: &Record) -> Option<&Record> {
        let record = self.repomd.as_ref()?.1.record(&new.kind)?;
        (Record { timestamp: new.timestamp, ..record.clone() } == *new).then_some(record)
    }

    /// A file of `repodata/` by its path below the repository.
    pub(super) fn file(&self, path: &TreePath) -> Option<(&Name, &Item)> {
        let name = path.as_str().strip_prefix("repodata/")?;
        self.items.get_key_value(name).filter(|(_, item)| matches!(item.kind, Kind::File { .. }))
    }
}

/// Metadata about to stand at a repository.
#[derive(Debug, Default)]
pub(super) struct New {
    items: BTreeMap<Name, Item>,
    records: Vec<Record>,
    /// What the store may lack.
    bytes: Vec<Vec<u8>>,
}

/// When files that are new were made, seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) second: i64,
    /// Whether it was told, and so holds for files that are there already too.
    pub(super) told: bool,
}

impl New {
    /// Adds a metadata file. One that is there already keeps its time, unless that was told.
    pub(super) fn add(&mut self, old: &Old, kind: String, name: &str, made: Made, time: Time) {
        let Made { blob, size_bytes, checksum, open_checksum, open_size_bytes, bytes } = made;
        // Plain files say it only once, as `createrepo_c` does.
        let is_plain = checksum == open_checksum;
        let file_name = format!("{}-{name}", checksum.to_hex());
        // A checksum and one of our own names make a name.
        let (Ok(name), Ok(location)) =
            (Name::new(&file_name), TreePath::new(format!("{REPODATA}/{file_name}")))
        else {
            return;
        };
        let mut record = Record {
            kind,
            location,
            checksum,
            size_bytes: Some(size_bytes),
            open_checksum: (!is_plain).then_some(open_checksum),
            open_size_bytes: (!is_plain).then_some(open_size_bytes),
            timestamp: Some(time.second),
            header_checksum: None,
            header_size_bytes: None,
            database_version: None,
        };
        let same = if time.told { None } else { old.same(&record) };
        if let Some(same) = same {
            record.timestamp = same.timestamp;
        }
        let mtime = record.timestamp.unwrap_or(time.second);
        self.items.insert(name, Item { mtime, kind: Kind::File { blob, size_bytes, executable: false } });
        self.records.push(record);
        self.bytes.extend(bytes);
    }

    /// Takes over a record with its file; false when the file is not there.
    pub(super) fn carry(&mut self, old: &Old, record: &Record) -> bool {
        let Some((name, item)) = old.file(&record.location) else { return false };
        self.items.insert(name.clone(), item.clone());
        self.records.push(record.clone());
        true
    }

    /// Keeps a file that no record names.
    pub(super) fn retain(&mut self, name: &Name, item: &Item) {
        self.items.entry(name.clone()).or_insert_with(|| item.clone());
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The metadata files.
    pub(super) fn listed(&self) -> Vec<Listed> {
        let listed = |record: &Record| Listed {
            kind: record.kind.clone(),
            path: record.location.to_string(),
            size_bytes: record.size_bytes.unwrap_or(0),
            open_size_bytes: record.open_size_bytes,
        };
        self.records.iter().map(listed).collect()
    }

    /// Keeps what stands beside repomd.xml, such as a key, but for its signature.
    pub(super) fn retain_beside(&mut self, old: &Old) {
        let is_beside = |name: &str| name.starts_with("repomd.xml.") && name != SIGNATURE;
        for (name, item) in old.items.iter().filter(|(name, _)| is_beside(name.as_str())) {
            self.retain(name, item);
        }
    }

    /// Gives files that `old` has too the times that they have there.
    pub(super) fn date_as(&mut self, old: &Old) {
        for (name, item) in &mut self.items {
            if let Some(same) = old.items.get(name).filter(|same| same.kind == item.kind) {
                item.clone_from(same);
            }
        }
    }

    /// Adds repomd.xml and its signature, which is made by the hook of the view, unless nothing but a plan is
    /// wanted.
    pub(super) fn close(
        &mut self,
        config: &Config,
        target: &RefPath,
        old: &Old,
        repomd: &Repomd,
        is_plan: bool,
    ) -> Result<Signature, CreaterepoError> {
        let document = repomd.to_xml().into_bytes();
        let mtime = newest(repomd).unwrap_or(0);
        let signature = old.items.get(SIGNATURE);
        let is_same = old.repomd.as_ref().is_some_and(|(blob, _)| *blob == BlobId::of(&document));
        if let (true, Some(item)) = (is_same, old.items.get(REPOMD)) {
            self.put(REPOMD, item.clone());
            if let Some(signature) = signature {
                self.put(SIGNATURE, signature.clone());
                return Ok(Signature::Kept);
            }
        } else {
            self.put_bytes(REPOMD, &document, mtime);
        }
        let path = if target.path.is_root() {
            format!("{REPODATA}/{REPOMD}")
        } else {
            format!("{}/{REPODATA}/{REPOMD}", target.path)
        };
        if is_plan && config.hooks.values().any(|hook| hook.when == When::Sign && hook.is_about(&target.name))
        {
            return Ok(Signature::Made);
        }
        let made = if is_plan { None } else { sign(config, target, &path, &document)? };
        Ok(match (made, signature) {
            (Some(made), _) => {
                self.put_bytes(SIGNATURE, &made, mtime);
                Signature::Made
            }
            (None, Some(_)) => Signature::Dropped,
            (None, None) => Signature::None,
        })
    }

    fn put(&mut self, name: &str, item: Item) {
        // These names are our own.
        if let Ok(name) = Name::new(name) {
            self.items.insert(name, item);
        }
    }

    fn put_bytes(&mut self, name: &str, bytes: &[u8], mtime: i64) {
        let (blob, size_bytes) = (BlobId::of(bytes), bytes.len() as u64);
        self.put(name, Item { mtime, kind: Kind::File { blob, size_bytes, executable: false } });
        self.bytes.push(bytes.to_vec());
    }

    /// Puts what the store may lack into it.
    pub(super) fn store(&self, depot: &Depot) -> Result<(), CreaterepoError> {
        let bytes: Vec<&[u8]> = self.bytes.iter().map(Vec::as_slice).collect();
        depot.add_blobs(&bytes)?;
        Ok(())
    }

    /// The directory; the one that stands there when nothing in it differs.
    pub(super) fn dir(self, stage: &mut Stage<'_>, old: &Old) -> Item {
        let times = self.items.get(REPOMD).map(|item| item.mtime);
        let entries: Vec<Entry> = self.items.into_iter().map(|(name, item)| Entry { name, item }).collect();
        let kind = Kind::Dir(stage.write_dir(&entries));
        match &old.dir {
            Some(item) if item.kind == kind => item.clone(),
            Some(item) => Item { mtime: times.unwrap_or(0).max(item.mtime.saturating_add(1)), kind },
            None => Item { mtime: times.unwrap_or(0), kind },
        }
    }
}

fn sign(
    config: &Config,
    target: &RefPath,
    path: &str,
    document: &[u8],
) -> Result<Option<Vec<u8>>, CreaterepoError> {
    let place = RevPath::from(target);
    hooks::sign(config, &target.name, path, document)
        .map_err(|source| CreaterepoError::Sign { place, source })
}

/// The files that the last `count` different repomd.xml of `target` list, the newest first; `new` not counted.
pub(super) fn retained(
    depot: &Depot,
    target: &RefPath,
    new: BlobId,
    count: usize,
) -> Result<Vec<(Name, Item)>, CreaterepoError> {
    let (mut seen, mut kept): (Vec<BlobId>, Vec<(Name, Item)>) = (vec![new], Vec::new());
    if count == 0 || depot.catalogue.find_ref(&target.name)?.is_none() {
        return Ok(kept);
    }
    let place = RevPath::from(target);
    let mut generations = 0;
    for entry in depot.catalogue.log(&target.name)? {
        let Some(Target::Snapshot(id)) = entry.new else { continue };
        let Some(snapshot) = depot.catalogue.snapshot(id)? else { break };
        let top = match cfs_fs::tree::resolve(&depot.catalogue, &snapshot.root_item(), &target.path) {
            Ok(Some(top)) => top,
            Ok(None) => continue,
            // What is not kept any more cannot be retained.
            Err(NodeError::Missing { .. }) => break,
            Err(error) => return Err(CatalogueError::from(error).into()),
        };
        let Ok(old) = Old::of(depot, &depot.catalogue, &place, &top) else { continue };
        let Some((blob, repomd)) = &old.repomd else { continue };
        if seen.contains(blob) {
            continue;
        }
        seen.push(*blob);
        for record in &repomd.records {
            if let Some((name, item)) = old.file(&record.location) {
                kept.push((name.clone(), item.clone()));
            }
        }
        generations += 1;
        if generations == count {
            break;
        }
    }
    Ok(kept)
}
