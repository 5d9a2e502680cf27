//! The gate `signatures`: packages and metadata are signed with one of the view's keys.
//!
//! Every package that is new to the view has a good signature, and every repomd.xml one in the file
//! repomd.xml.asc beside it. A package whose signature covers its header only is good enough, since the signed
//! metadata vouches for the rest. What passed is remembered with the keys that it passed with.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use cfs_fs::digest::{BlobId, Digest};
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Entry, Kind, lookup};

use super::{Check, Gate, Place, PromoteError, Scene, join, walk};
use crate::openpgp::{Keyring, Policy};
use crate::repository::with_causes;
use crate::spread::spread;

/// Where the keys of a view cannot be had.
fn no_keys(path: &Path, reason: &dyn std::error::Error) -> PromoteError {
    PromoteError::Keys { path: path.to_owned(), reason: with_causes(reason) }
}

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>, now: i64) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Signatures);
    let mut keyring: Option<Keyring> = None;
    for path in &scene.change.policy.keys {
        let bytes = std::fs::read(path).map_err(|error| no_keys(path, &error))?;
        let keys = Keyring::parse(&bytes).map_err(|error| no_keys(path, &error))?;
        keyring = Some(match keyring {
            None => keys,
            Some(before) => before.and(keys),
        });
    }
    let Some(keys) = keyring else {
        check.find("the view's policy names no keys");
        return Ok(check);
    };
    let demands: BTreeSet<String> = keys.fingerprints().map(|key| key.to_string()).collect();
    let demands = demands.into_iter().collect::<Vec<_>>().join(",");
    let signed = Signed { scene, keys: &keys, demands: &demands, now };
    walk(scene, Gate::Signatures, &demands, &mut check, &mut |place, entries| {
        let mut findings = signed.packages(place, entries)?;
        findings.extend(signed.metadata(place, entries)?);
        Ok(findings)
    })?;
    Ok(check)
}

fn is_package(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rpm")
}

struct Signed<'a> {
    scene: &'a Scene<'a>,
    keys: &'a Keyring,
    demands: &'a str,
    now: i64,
}

impl Signed<'_> {
    fn packages(&self, place: &Place<'_>, entries: &[Entry]) -> Result<Vec<String>, PromoteError> {
        let mut unchecked: Vec<(&str, BlobId, [u8; 32])> = Vec::new();
        for entry in entries.iter().filter(|entry| is_package(entry.name.as_str())) {
            let Kind::File { blob, .. } = entry.item.kind else { continue };
            let key = *Digest::of(format!("signed {} {blob}", self.demands).as_bytes()).as_bytes();
            if !self.scene.memory.knows(&key) {
                unchecked.push((entry.name.as_str(), blob, key));
            }
        }
        let store = &self.scene.depot.store;
        let policy = Policy { now: self.now, weak_hashes: false, expired_since: true };
        let work = |(_, blob, _): &(&str, BlobId, [u8; 32])| -> Result<Option<String>, StoreError> {
            let mut file = store.open_blob(*blob)?;
            Ok(self.keys.verify_package(&mut file, &policy).err().map(|error| with_causes(&error)))
        };
        let (mut findings, mut failed) = (Vec::new(), None);
        spread(&unchecked, work, &mut |number, outcome| {
            let (name, _, key) = unchecked[number];
            match outcome {
                Ok(None) => self.scene.passed.borrow_mut().push(key),
                Ok(Some(reason)) => {
                    findings.push(format!("{}: the package {reason}", join(place.path, name)));
                }
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        findings.sort_unstable();
        failed.map_or(Ok(findings), |error| Err(error.into()))
    }

    /// A repomd.xml is looked at when it or its signature is new.
    fn metadata(&self, place: &Place<'_>, entries: &[Entry]) -> Result<Option<String>, PromoteError> {
        let is_new = |name: &str| entries.iter().any(|entry| entry.name.as_str() == name);
        let signature_was_there = match place.old {
            Some(old) => lookup(self.scene, old.id, "repomd.xml.asc")?.is_some(),
            None => false,
        };
        let Some(document) = self.read(place, "repomd.xml")? else { return Ok(None) };
        let signature = self.read(place, "repomd.xml.asc")?;
        let same = !is_new("repomd.xml") && !is_new("repomd.xml.asc");
        if place.old.is_some() && same && signature_was_there == signature.is_some() {
            return Ok(None);
        }
        let finding = |reason: &str| Some(format!("{}: {reason}", join(place.path, "repomd.xml")));
        let Some(signature) = signature else { return Ok(finding("is not signed")) };
        let policy = Policy { now: self.now, weak_hashes: false, expired_since: false };
        let verified = self.keys.verify_detached(&signature, &document, &policy);
        Ok(verified.err().and_then(|error| finding(&with_causes(&error))))
    }

    fn read(&self, place: &Place<'_>, name: &str) -> Result<Option<Vec<u8>>, PromoteError> {
        match lookup(self.scene, place.dir.id, name)?.map(|item| item.kind) {
            Some(Kind::File { blob, .. }) => Ok(Some(self.scene.depot.store.read_blob(blob)?)),
            _ => Ok(None),
        }
    }
}
