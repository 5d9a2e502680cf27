//! What a server counts, and the text in which Prometheus reads it.
//!
//! Always true: counters only grow; a gauge is what is now.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The statuses that are answered; all others are counted as 500, which they are.
const STATUSES: [u16; 17] =
    [200, 206, 301, 304, 400, 403, 404, 405, 408, 412, 413, 414, 416, 431, 500, 503, 505];

/// Why a connection was ended or refused by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The head of a request took too long.
    SlowHead,
    /// No further request came.
    Idle,
    /// The client took no bytes, or too few.
    SlowReader,
    /// A client that had been refused went on talking.
    Refused,
    /// An idle one had to make room.
    Shed,
    /// There were too many connections.
    Full,
    /// There were too many from its address.
    FullAddress,
}

const CUTS: [(Cut, &str); 7] = [
    (Cut::SlowHead, "slow_head"),
    (Cut::Idle, "idle"),
    (Cut::SlowReader, "slow_reader"),
    (Cut::Refused, "refused"),
    (Cut::Shed, "shed"),
    (Cut::Full, "full"),
    (Cut::FullAddress, "full_address"),
];

/// The counters of a server.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    statuses: [AtomicU64; STATUSES.len()],
    cuts: [AtomicU64; CUTS.len()],
    pub(super) sent_bytes: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) checks: AtomicU64,
    pub(super) bad_blobs: AtomicU64,
    pub(super) broken_off: AtomicU64,
    pub(super) log_failures: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Metrics {
    pub(super) fn answered(&self, status: u16) {
        let at = STATUSES.iter().position(|known| *known == status);
        let at = at.or_else(|| STATUSES.iter().position(|known| *known == 500));
        if let Some(counter) = at.and_then(|at| self.statuses.get(at)) {
            add(counter, 1);
        }
    }

    pub(super) fn cut(&self, why: Cut) {
        if let Some(at) = CUTS.iter().position(|(cut, _)| *cut == why) {
            add(&self.cuts[at], 1);
        }
    }

    /// In the text format of Prometheus. `snapshot` is what is served now, if that is one.
    pub(super) fn text(&self, snapshot: Option<String>) -> String {
        let mut text = String::with_capacity(4096);
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
            let _ = writeln!(text, "# HELP cfs_http_{name} {help}\n# TYPE cfs_http_{name} {kind}");
            for (labels, number) in lines {
                let _ = writeln!(text, "cfs_http_{name}{labels} {number}");
            }
        };
        let single = |counter| vec![(String::new(), value(counter))];
        let statuses = STATUSES.iter().zip(&self.statuses);
        let statuses = statuses.map(|(status, count)| (format!("{{status=\"{status}\"}}"), value(count)));
        family("requests_total", "counter", "Requests answered, by status.", statuses.collect());
        let cuts = CUTS.iter().zip(&self.cuts);
        let cuts = cuts.map(|((_, name), count)| (format!("{{reason=\"{name}\"}}"), value(count)));
        family("cut_total", "counter", "Connections that the server ended or refused.", cuts.collect());
        family("sent_bytes_total", "counter", "Bytes sent, heads included.", single(&self.sent_bytes));
        family("accepted_total", "counter", "Connections accepted.", single(&self.accepted));
        family("connections", "gauge", "Connections that are open.", single(&self.open));
        family(
            "blob_checks_total",
            "counter",
            "Requests that waited for a blob to be hashed.",
            single(&self.checks),
        );
        family(
            "bad_blobs_total",
            "counter",
            "Requests for blobs that are missing or damaged.",
            single(&self.bad_blobs),
        );
        family(
            "broken_off_total",
            "counter",
            "Answers that ended before their last byte.",
            single(&self.broken_off),
        );
        family(
            "log_failures_total",
            "counter",
            "Lines of the access log that were lost.",
            single(&self.log_failures),
        );
        if let Some(id) = snapshot {
            let labels = format!("{{snapshot=\"{id}\"}}");
            family("snapshot", "gauge", "1 for the snapshot that is served now.", vec![(labels, 1)]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_told() {
        let metrics = Metrics::default();
        for status in STATUSES {
            metrics.answered(status);
        }
        metrics.answered(599);
        for (cut, _) in CUTS {
            metrics.cut(cut);
        }
        let text = metrics.text(Some("abc".to_owned()));
        for status in STATUSES {
            let count = if status == 500 { 2 } else { 1 };
            assert!(
                text.contains(&format!("cfs_http_requests_total{{status=\"{status}\"}} {count}\n")),
                "{text}"
            );
        }
        for (_, name) in CUTS {
            assert!(text.contains(&format!("cfs_http_cut_total{{reason=\"{name}\"}} 1\n")), "{text}");
        }
        assert!(text.contains("cfs_http_snapshot{snapshot=\"abc\"} 1\n"));
        // Every family has a help, a type, and lines.
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(
                text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")),
                "{line}"
            );
        }
    }
}
