//! How often the kernel asked what, in the text format of Prometheus.
//!
//! Always true: counting takes no lock, and threads seldom count in the same place.

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::protocol::question::Question;

/// Kinds of questions.
const KINDS: [&str; 14] = [
    "lookup",
    "forget",
    "getattr",
    "readlink",
    "open",
    "read",
    "release",
    "opendir",
    "readdir",
    "readdirplus",
    "releasedir",
    "statfs",
    "xattr",
    "other",
];
/// Places to count in.
const SHARDS: usize = 16;

/// Something that is told beside the counts of questions.
pub struct Gauge {
    /// Its name, which ends in `_total` if it only grows.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Tells it.
    pub value: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Counts of questions by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shards: [Shard; SHARDS],
}

/// On lines of the processor's cache that no other shard is on.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    asked: [AtomicU64; KINDS.len()],
    failed: AtomicU64,
}

impl Tally {
    /// Counts a question.
    pub(super) fn asked(&self, question: &Question<'_>) {
        self.shard().asked[kind(question)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error that is the store's or the catalogue's.
    pub(super) fn failed(&self) {
        self.shard().failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the counts.
    pub(super) fn print(&self, text: &mut String) {
        head(text, "cfs_mount_questions_total", "Questions of the kernel by kind.");
        for (kind, name) in KINDS.iter().enumerate() {
            let count: u64 = self.shards.iter().map(|shard| shard.asked[kind].load(Ordering::Relaxed)).sum();
            let _ = writeln!(text, "cfs_mount_questions_total{{kind=\"{name}\"}} {count}");
        }
        let failed: u64 = self.shards.iter().map(|shard| shard.failed.load(Ordering::Relaxed)).sum();
        line(text, "cfs_mount_failures_total", "Questions that the store or the catalogue failed.", failed);
    }

    fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let number = SHARD.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
            SHARD.set(Some(number));
            number
        });
        &self.shards[number]
    }
}

/// Writes one number with what it tells.
pub(super) fn line(text: &mut String, name: &str, help: &str, value: u64) {
    head(text, name, help);
    let _ = writeln!(text, "{name} {value}");
}

fn head(text: &mut String, name: &str, help: &str) {
    let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn kind(question: &Question<'_>) -> usize {
    match question {
        Question::Lookup { .. } => 0,
        Question::Forget { .. } | Question::ForgetMany(_) => 1,
        Question::Attributes => 2,
        Question::ReadLink => 3,
        Question::Open { .. } => 4,
        Question::Read { .. } => 5,
        Question::Release { .. } => 6,
        Question::OpenDir => 7,
        Question::ReadDir { plus: false, .. } => 8,
        Question::ReadDir { plus: true, .. } => 9,
        Question::ReleaseDir { .. } => 10,
        Question::Space => 11,
        Question::Label { .. } | Question::Labels { .. } => 12,
        Question::Interrupt | Question::Destroy | Question::Change | Question::Other => 13,
    }
}

/// Memory of this process that is not elsewhere, in bytes (`proc_pid_statm(5)`: the second number).
pub(super) fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_added() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| tally.asked(&Question::Open { flags: 0 }));
            }
        });
        tally.asked(&Question::ReadLink);
        tally.failed();
        let mut text = String::new();
        tally.print(&mut text);
        assert!(text.contains("\ncfs_mount_questions_total{kind=\"open\"} 20\n"), "{text}");
        assert!(text.contains("{kind=\"readlink\"} 1\n") && text.contains("{kind=\"lookup\"} 0\n"), "{text}");
        assert!(text.ends_with("# TYPE cfs_mount_failures_total counter\ncfs_mount_failures_total 1\n"));
        assert!(resident_bytes() > 100_000);
    }
}
