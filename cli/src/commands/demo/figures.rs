//! The figures that the demo tells.

use std::path::PathBuf;
use std::time::Duration;

use cfs_indexer::sync::Report;
use serde::Serialize;

use super::verdict::Verdict;

/// Everything that was measured and counted. Times of more than one step are in milliseconds.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// The addresses of the upstream's repositories.
    pub upstream: Vec<String>,
    /// The two composes, in order.
    pub composes: Vec<Compose>,
    /// Whether readers read through a mount.
    pub mounted: bool,
    /// Why not.
    pub not_mounted_because: Option<String>,
    /// How long it took until the mount answered.
    pub mount_ms: f64,
    /// Packages that were read back and compared with the metadata, before any update.
    pub packages_read_back: u64,
    /// How long the move of production to the second compose took.
    pub flip_ms: f64,
    /// How long it took from the beginning of that move until a reader had read the new `repomd.xml`.
    pub flip_seen_ms: f64,
    /// How long the move back took.
    pub rollback_ms: f64,
    /// Readers that ran all the time.
    pub readers: usize,
    /// What they saw.
    pub passes: Verdict,
    /// Whether a directory that was opened before the flip was, after it, the first compose still.
    pub held_directory_unchanged: bool,
    /// Files that all refs show.
    pub logical_files: u64,
    /// Their bytes.
    pub logical_bytes: u64,
    /// Different contents that are stored.
    pub blobs: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Logical bytes for each stored one.
    pub dedup_ratio: f64,
    /// How long all of it took.
    pub seconds: f64,
    /// The directory that stays.
    pub kept: Option<PathBuf>,
}

/// A compose as it was synced.
#[derive(Debug, Default, Serialize)]
pub struct Compose {
    /// Its ref.
    #[serde(rename = "ref")]
    pub name: String,
    /// Packages, one that is in two repositories counted twice.
    pub packages: u64,
    /// Files, metadata included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were downloaded.
    pub fetched_files: u64,
    /// Bytes that were downloaded.
    pub fetched_bytes: u64,
    /// How long the sync took.
    pub sync_ms: f64,
}

impl Compose {
    /// Adds what the sync of one repository did.
    pub fn add(&mut self, report: &Report) {
        self.packages += report.packages.unwrap_or_default();
        self.files += report.files;
        self.bytes += report.bytes;
        self.fetched_files += report.fetched_files;
        self.fetched_bytes += report.fetched_bytes;
    }
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
