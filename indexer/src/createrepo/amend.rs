//! A document in the place of those of its type: what becomes of the metadata of one repository.
//!
//! Always true: whatever else the metadata lists stays; what holds the document already stays as it is, to the
//! byte; a signature stays only beside the very repomd.xml that it signs.

use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Stage};

use super::extra::is_variant;
use super::place::{New, Old, REPODATA, Signature, Time};
use super::{CreaterepoError, Extra};
use crate::checksum::Algorithm;
use crate::config::{Config, Hook, When};
use crate::depot::Depot;
use crate::repodata::compression::Format;
use crate::repodata::repomd::{Record, Repomd};
use crate::revision::{RefPath, RevPath};

/// A document that is to be in the metadata of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Amendment<'a> {
    /// Its hooks sign.
    pub config: &'a Config,
    /// The repository, as hooks and messages call it.
    pub target: &'a RefPath,
    /// The document, which takes the place of the one of its type.
    pub extra: &'a Extra,
    /// How it is compressed.
    pub format: Format,
    /// What its checksums are made with [default: what those of the other metadata are made with].
    pub algorithm: Option<Algorithm>,
    /// The time of what is new, seconds since 1970; by default now, and later than what was there.
    pub time: Option<i64>,
    /// Now, seconds since 1970.
    pub now: i64,
    /// Whether nothing is to be signed and stored.
    pub is_plan: bool,
}

/// Metadata with the document in it.
pub(super) struct Amended {
    pub(super) new: New,
    /// Types of records that were taken over.
    pub(super) carried: Vec<String>,
    pub(super) repomd: Repomd,
    pub(super) signature: Signature,
}

impl Amendment<'_> {
    /// The repository `top` with the document in its metadata, and what became of the signature. What is the same
    /// in `before`, an earlier tree of the repository, has the times that it has there.
    pub fn tree(
        &self,
        depot: &Depot,
        stage: &mut Stage<'_>,
        top: &Item,
        before: Option<&Item>,
    ) -> Result<(Item, Signature), CreaterepoError> {
        let place = RevPath::from(self.target);
        let base = Old::of(depot, stage, &place, top)?;
        let (_, repomd) =
            base.repomd.as_ref().ok_or_else(|| CreaterepoError::NoRepomd { place: place.clone() })?;
        let signs = |hook: &Hook| hook.when == When::Sign && hook.is_about(&self.target.name);
        let is_to_be_signed = !base.is_signed() && self.config.hooks.values().any(signs);
        if self.extra.is_in(repomd) && !is_to_be_signed {
            let signature = if base.is_signed() { Signature::Kept } else { Signature::None };
            return Ok((top.clone(), signature));
        }
        let before = before.map(|before| Old::of(depot, stage, &place, before)).transpose()?;
        let before = before.filter(|before| before.repomd.is_some());
        let before = before.as_ref().unwrap_or(&base);
        let Amended { new, signature, .. } = self.apply(depot, repomd, &base, before)?;
        let repodata = new.dir(stage, before);
        let at: TreePath = REPODATA.parse().unwrap_or_default();
        Ok((graft(stage, top, &at, repodata, self.now)?, signature))
    }

    /// The metadata `base`, whose repomd.xml says `repomd`, with the document; `before` is the metadata that it takes
    /// the place of.
    pub(super) fn apply(
        &self,
        depot: &Depot,
        repomd: &Repomd,
        base: &Old,
        before: &Old,
    ) -> Result<Amended, CreaterepoError> {
        if !repomd.unknown.is_empty() {
            let (place, names) = (RevPath::from(self.target), repomd.unknown.clone());
            return Err(CreaterepoError::Unknown { place, names });
        }
        let time = self.time(base, before);
        let (mut new, carried) = self.replaced(base, before, repomd, time)?;
        let repomd = described(repomd, before, &new, time);
        let signature = new.close(self.config, self.target, before, &repomd, self.is_plan)?;
        let signature = match signature {
            // That of the metadata that it was made of, and of no other.
            Signature::None if base.is_signed() => Signature::Dropped,
            signature => signature,
        };
        if !self.is_plan {
            new.store(depot)?;
        }
        Ok(Amended { new, carried, repomd, signature })
    }

    fn time(&self, base: &Old, before: &Old) -> Time {
        let newest = base.newest().max(before.newest());
        let newer = newest.map_or(self.now, |newest| self.now.max(newest.saturating_add(1)));
        Time { second: self.time.unwrap_or(newer), told: false }
    }

    /// The metadata with the document in the place of those of its type, and the types of the others.
    fn replaced(
        &self,
        base: &Old,
        before: &Old,
        repomd: &Repomd,
        time: Time,
    ) -> Result<(New, Vec<String>), CreaterepoError> {
        let mut new = New::default();
        let is_gone = |record: &&Record| is_variant(&record.kind, self.extra.kind());
        let mut carried = Vec::new();
        for record in repomd.records.iter().filter(|record| !is_gone(record)) {
            if new.carry(base, record) {
                carried.push(record.kind.clone());
            }
        }
        // What no record names, such as what was retained and keys, stays.
        let gone = repomd.records.iter().filter(is_gone);
        let names_gone: Vec<&str> =
            gone.filter_map(|record| record.location.as_str().strip_prefix("repodata/")).collect();
        let is_ours = |name: &str| name.starts_with("repomd.xml") || names_gone.contains(&name);
        for (name, item) in base.items.iter().filter(|(name, _)| !is_ours(name.as_str())) {
            new.retain(name, item);
        }
        new.retain_beside(base);
        new.date_as(before);
        let algorithm =
            repomd.record("primary").map_or(Algorithm::Sha256, |record| record.checksum.algorithm());
        let algorithm = if algorithm.is_strong() { algorithm } else { Algorithm::Sha256 };
        let algorithm = self.algorithm.unwrap_or(algorithm);
        for (kind, name, made) in self.extra.files(self.format, algorithm)? {
            new.add(before, kind, &name, made, time);
        }
        Ok((new, carried))
    }
}

/// The new repomd.xml: what it said, and the revision of now where that is a time. The one from before when that
/// says the same but for it.
fn described(repomd: &Repomd, before: &Old, new: &New, time: Time) -> Repomd {
    let records = new.records().to_vec();
    if let Some((_, before)) = &before.repomd
        && before.records == records
        && before.tags == repomd.tags
    {
        return Repomd { unknown: Vec::new(), ..before.clone() };
    }
    let revision = match repomd.revision_time() {
        Some(old) if old >= 100_000_000 => Some(time.second.to_string()),
        _ => repomd.revision.clone(),
    };
    Repomd { revision, tags: repomd.tags.clone(), records, unknown: Vec::new() }
}
