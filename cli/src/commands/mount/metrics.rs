//! The numbers of a mount: shown once, or served to Prometheus.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cfs_fs::fuse::{Gauge, Stats};
use cfs_fs::mounts::{self, STATS_LABEL};
use cfs_fs::tree::cache::CachedNodes;
use cfs_fs::view::roots::Roots;
use cfs_indexer::fsck::scrub;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::report::{CommandError, Kind};

/// Longest request that is read, and how long one is waited for.
const REQUEST_BYTES: u64 = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest value of an extended attribute.
const STATS_BYTES: usize = 64 << 10;

/// Reads an address of a listener; a port alone is one of this host.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    port.map(|port| (Ipv4Addr::LOCALHOST, port).into())
        .or_else(|_| text.parse())
        .map_err(|_| format!("{text:?} is neither a port nor an address with one"))
}

/// Shows the numbers of the mount at `dir`.
pub(super) fn show(dir: &Path, context: &Context<'_>) -> Result<(), CommandError> {
    let path = mounts::resolve(dir)?;
    if !mounts::find(&path)?.is_some_and(|mount| mount.is_cfs()) {
        return Err(CommandError::new(Kind::Failed, format!("{}: is not a cfs mount", dir.display())));
    }
    let mut bytes = vec![0; STATS_BYTES];
    let length = rustix::fs::getxattr(&path, STATS_LABEL, &mut bytes)
        .map_err(|errno| CommandError::io("ask", dir, errno.into()))?;
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    let lines: Vec<(String, u64)> = text.lines().filter_map(number).collect();
    let shown =
        lines.iter().map(|(name, value)| format!("{value:>14}  {name}")).collect::<Vec<_>>().join("\n");
    let numbers: Map<String, Value> = lines.into_iter().map(|(name, value)| (name, json!(value))).collect();
    context.output.result(shown, &json!({ "dir": dir, "stats": numbers }))
}

/// A line with a number, by a short name: `questions lookup` of `cfs_mount_questions_total{kind="lookup"}`.
fn number(line: &str) -> Option<(String, u64)> {
    let (name, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, kind) = name.split_once('{').unwrap_or((name, ""));
    let name = name.trim_start_matches("cfs_mount_").trim_end_matches("_total");
    let kind = kind.trim_start_matches("kind=").trim_matches(['"', '}']);
    let name = if kind.is_empty() { name.to_owned() } else { format!("{name} {kind}") };
    Some((name, value.parse().ok()?))
}

/// What is told beside what the mount itself counts.
pub(super) fn gauges<R: Roots + 'static>(nodes: &Arc<CachedNodes<Arc<R>>>, roots: &Arc<R>) -> Vec<Gauge> {
    let of_nodes = |name, help, value: fn(&CachedNodes<Arc<R>>) -> u64| {
        let nodes = Arc::clone(nodes);
        Gauge { name, help, value: Box::new(move || value(&nodes)) }
    };
    let roots = Arc::clone(roots);
    vec![
        of_nodes("cfs_mount_node_cache_bytes", "Memory of the directories that are kept.", |nodes| {
            nodes.bytes() as u64
        }),
        of_nodes("cfs_mount_node_cache_hits_total", "Directories that were kept when needed.", |nodes| {
            nodes.hits_and_misses().0
        }),
        of_nodes("cfs_mount_node_cache_misses_total", "Directories that had to be fetched.", |nodes| {
            nodes.hits_and_misses().1
        }),
        Gauge {
            name: "cfs_ref_moves_total",
            help: "Moves of refs in the store, each a flip of the views that show one.",
            value: Box::new(move || roots.moves().unwrap_or(0)),
        },
    ]
}

/// What is told of the reading of all blobs.
pub(super) fn of_scrub(counts: &Arc<scrub::Counts>) -> Vec<Gauge> {
    let gauge = |(name, help, value): scrub::Metric| {
        let counts = Arc::clone(counts);
        Gauge { name, help, value: Box::new(move || value(&counts)) }
    };
    scrub::METRICS.into_iter().map(gauge).collect()
}

/// Listens at `address`.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address)
        .map_err(|error| CommandError::new(Kind::Failed, format!("{address}: cannot listen: {error}")))
}

/// Serves the numbers in a thread of its own, as long as the process lives.
pub(super) fn serve(listener: TcpListener, stats: Stats) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who does not wait for the answer gets none.
            let _ = stream.and_then(|stream| answer(&stream, &stats));
        }
    });
}

/// Answers one request and closes the connection (HTTP/1.0).
fn answer(stream: &TcpStream, stats: &Stats) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(REQUEST_BYTES)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest says nothing that matters, but who is cut off while speaking may not listen.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (answer, body) = match request.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/metrics" | "/", ..] => ("200 OK", stats.text()),
        _ => ("404 Not Found", "the numbers are at /metrics\n".to_owned()),
    };
    let length = body.len();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.0 {answer}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_lines_are_read() {
        for text in ["9468", ":9468", "127.0.0.1:9468"] {
            assert_eq!(parse_address(text), Ok("127.0.0.1:9468".parse().unwrap()), "{text}");
        }
        assert!(parse_address("[::]:1").is_ok() && parse_address("localhost").is_err());
        let line = number("cfs_mount_questions_total{kind=\"open\"} 7");
        assert_eq!(line, Some(("questions open".to_owned(), 7)));
        assert_eq!(number("cfs_mount_inodes 5"), Some(("inodes".to_owned(), 5)));
        assert_eq!(number("# TYPE cfs_mount_inodes gauge"), None);
    }
}
