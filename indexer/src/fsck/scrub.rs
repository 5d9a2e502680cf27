//! Reading all blobs over and over in the background of a process that shows the store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{FsckError, Level, Options, Phase, Report, read_blobs};
use crate::depot::Depot;

/// From the end of one reading to the beginning of the next.
const PAUSE: Duration = Duration::from_hours(1);
/// Until it is looked again whether another process still reads.
const OTHERS: Duration = Duration::from_mins(10);

/// How to go about it.
pub struct Scrub {
    /// The store.
    pub root: PathBuf,
    /// Bytes that are read in a second at most.
    pub rate_bytes: u64,
    /// Tells seconds since 1970.
    pub clock: fn() -> i64,
    /// Takes a line for the log.
    pub report: Box<dyn Fn(&str) + Send>,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrub")
            .field("root", &self.root)
            .field("rate_bytes", &self.rate_bytes)
            .finish_non_exhaustive()
    }
}

/// What came of it so far.
#[derive(Debug, Default)]
pub struct Counts {
    blobs: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    rounds: AtomicU64,
}

/// A number for whoever watches the process.
pub type Metric = (&'static str, &'static str, fn(&Counts) -> u64);

/// All of them: name, meaning, value.
pub const METRICS: [Metric; 4] = [
    ("cfs_scrub_blobs_total", "Blobs that were read to see whether they are whole.", |counts| {
        counts.blobs.load(Ordering::Relaxed)
    }),
    ("cfs_scrub_bytes_total", "Bytes of them.", |counts| counts.bytes.load(Ordering::Relaxed)),
    ("cfs_scrub_findings_total", "Blobs that were found to be bad.", |counts| {
        counts.findings.load(Ordering::Relaxed)
    }),
    ("cfs_scrub_rounds_total", "Readings of all blobs that came to their end.", |counts| {
        counts.rounds.load(Ordering::Relaxed)
    }),
];

/// The numbers in the text format of Prometheus.
pub fn metrics_text(counts: &Counts) -> String {
    let line = |(name, help, value): &Metric| {
        format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", value(counts))
    };
    METRICS.iter().map(line).collect()
}

impl Scrub {
    /// Reads in a thread of its own, as long as the process lives. Of several processes on one store, one reads.
    pub fn start(self) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        let told = Arc::clone(&counts);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(self.round(&told));
            }
        });
        counts
    }

    /// Reads to the end once; returns how long to wait then.
    fn round(&self, counts: &Counts) -> Duration {
        match read(&self.root, self.rate_bytes, (self.clock)(), counts) {
            Ok(report) => {
                counts.rounds.fetch_add(1, Ordering::Relaxed);
                for finding in &report.findings {
                    (self.report)(&format!("scrub: {finding}"));
                    finding
                        .places
                        .iter()
                        .for_each(|place| (self.report)(&format!("scrub: it stands at {place}")));
                }
                let read = &report.checked;
                let bad = report.findings.len();
                (self.report)(&format!("scrub: {} blobs were read, {bad} are bad", read.read_blobs));
                PAUSE
            }
            Err(FsckError::Reading) => OTHERS,
            Err(error) => {
                (self.report)(&format!("scrub: {}", crate::repository::with_causes(&error)));
                PAUSE
            }
        }
    }
}

fn read(root: &Path, rate_bytes: u64, now: i64, counts: &Counts) -> Result<Report, FsckError> {
    let depot = Depot::open(root)?;
    let options = Options { level: Level::Data, now, rate_bytes: Some(rate_bytes), restart: false };
    let mut last = 0;
    let report = read_blobs(&depot, &options, &mut |progress| {
        if progress.phase == Phase::Data {
            counts.bytes.fetch_add(progress.done.saturating_sub(last), Ordering::Relaxed);
            last = progress.done;
        }
        ControlFlow::Continue(())
    })?;
    counts.blobs.fetch_add(report.checked.read_blobs, Ordering::Relaxed);
    counts.findings.fetch_add(report.findings.len() as u64, Ordering::Relaxed);
    Ok(report)
}
