//! What is there and what of it nobody needs.

use std::collections::{BTreeMap, HashMap, HashSet};

use cfs_fs::digest::{BlobId, SnapshotId};
use cfs_fs::sweep;

use super::roots::{self, Watch};
use super::{Amount, GcError, OnProgress, Phase, Report, add, step};
use crate::catalogue::Condemned;
use crate::depot::Depot;

/// Rows that are written in one transaction.
const BATCH: usize = 5000;

/// What nobody needed when it was made.
#[derive(Debug)]
pub(super) struct Survey {
    /// Everything that nobody needs but nodes, with its bytes.
    unneeded: BTreeMap<Condemned, u64>,
    /// What is condemned already, and by which collection.
    condemned: BTreeMap<Condemned, (u64, bool)>,
    /// What is needed.
    pub(super) kept: Amount,
}

impl Survey {
    /// Looks at every blob, every snapshot and every commit file.
    pub(super) fn make(depot: &Depot, watch: &Watch, progress: &mut OnProgress<'_>) -> Result<Self, GcError> {
        let condemned = depot.catalogue.condemned()?;
        let mut survey = Self { unneeded: BTreeMap::new(), condemned, kept: Amount::default() };
        survey.kept.nodes = watch.marks.nodes();
        survey.kept.snapshots = watch.snapshots.len() as u64;
        for byte in 0..=u8::MAX {
            step(progress, Phase::Looking, u64::from(byte), Some(256))?;
            survey.blobs(depot, watch, byte)?;
        }
        // Commit files first: one that is made now belongs to a snapshot that is listed after it.
        let commits = sweep::commits(&depot.store)?;
        let whole = depot.catalogue.whole_snapshots()?;
        let known: HashSet<SnapshotId> = depot.catalogue.all_snapshots()?.into_iter().collect();
        for id in whole.into_iter().filter(|id| !watch.snapshots.contains(id)) {
            survey.unneeded.insert(Condemned::Snapshot(id), 0);
        }
        for id in commits.into_iter().filter(|id| !known.contains(id)) {
            let bytes = sweep::commit_bytes(&depot.store, id).unwrap_or(0);
            survey.unneeded.insert(Condemned::Commit(id), bytes);
        }
        Ok(survey)
    }

    /// Blobs with a row, and files without.
    fn blobs(&mut self, depot: &Depot, watch: &Watch, byte: u8) -> Result<(), GcError> {
        let files = sweep::blobs(&depot.store, byte)?;
        let rows: HashMap<BlobId, u64> = depot.catalogue.blobs_beginning(byte)?.into_iter().collect();
        for (id, bytes) in &rows {
            if watch.marks.has_blob(*id) {
                self.kept.blobs += 1;
                self.kept.blob_bytes += bytes;
            } else {
                self.unneeded.insert(Condemned::Blob(*id), *bytes);
            }
        }
        for id in files {
            if !rows.contains_key(&id) && !watch.marks.has_blob(id) {
                let bytes = sweep::blob_bytes(&depot.store, id).unwrap_or(0);
                self.unneeded.insert(Condemned::Blob(id), bytes);
            }
        }
        Ok(())
    }

    /// The bytes of what nobody needs; `None` for what somebody does.
    pub(super) fn unneeded(&self, what: Condemned) -> Option<u64> {
        self.unneeded.get(&what).copied()
    }

    /// How many blobs there are.
    pub(super) fn blobs_there(&self) -> u64 {
        let unneeded = self.unneeded.keys().filter(|what| matches!(what, Condemned::Blob(_))).count();
        self.kept.blobs + unneeded as u64
    }

    /// Counts what is not condemned yet.
    pub(super) fn count_new(&self, report: &mut Report) {
        for (what, bytes) in &self.unneeded {
            if !self.condemned.contains_key(what) {
                add(&mut report.condemned, *what, *bytes);
            }
        }
    }

    /// Condemns what nobody needs, and frees what somebody needs again.
    pub(super) fn condemn(
        &self,
        depot: &Depot,
        watch: &mut Watch,
        report: &mut Report,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        let needed: Vec<Condemned> =
            self.condemned.keys().filter(|what| !self.unneeded.contains_key(what)).copied().collect();
        let new: Vec<(Condemned, u64)> = self
            .unneeded
            .iter()
            .filter(|(what, _)| !self.condemned.contains_key(what))
            .map(|(what, bytes)| (*what, *bytes))
            .collect();
        for batch in needed.chunks(BATCH) {
            depot.catalogue.hold_still("free what is needed again", |moment| {
                batch.iter().try_for_each(|what| Ok::<_, GcError>(moment.free(*what)?))
            })?;
        }
        if new.is_empty() {
            return Ok(());
        }
        let number = depot.catalogue.begin_collection(watch.options.now)?;
        watch.collection = Some(number);
        let mut done = 0;
        for batch in new.chunks(BATCH) {
            step(progress, Phase::Condemning, done, Some(new.len() as u64))?;
            depot.catalogue.hold_still("condemn what nobody needs", |moment| {
                watch.look_again(moment)?;
                for (what, bytes) in batch {
                    if !watch.needs(*what) {
                        moment.condemn(*what, number)?;
                        add(&mut report.condemned, *what, *bytes);
                    }
                }
                Ok::<_, GcError>(())
            })?;
            done += batch.len() as u64;
        }
        step(progress, Phase::Condemning, done, Some(done))?;
        // Whoever takes a lease from now on finds what is condemned in the catalogue.
        depot.catalogue.set_leases(number, &roots::lease_names(depot)?)?;
        Ok(())
    }
}

impl Watch {
    /// Whether something is known to be needed.
    fn needs(&self, what: Condemned) -> bool {
        match what {
            Condemned::Snapshot(id) => self.snapshots.contains(&id),
            Condemned::Blob(id) => self.marks.has_blob(id),
            Condemned::Commit(_) => false,
        }
    }
}
