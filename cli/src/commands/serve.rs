//! `cfs serve`

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfs_fs::http::{AccessLog, Control, Limits, Server, Settings, Site};
use cfs_fs::tree::cache::{CACHE_BYTES, CachedNodes};
use cfs_fs::view::ghosts::Grace;
use cfs_fs::view::roots::Kept;
use cfs_indexer::depot::Depot;
use cfs_indexer::fsck::scrub::{self, Scrub};
use cfs_indexer::refname::RefName;
use cfs_indexer::views::Held;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::context::Context;
use crate::output::{self, time};
use crate::report::CommandError;

/// Files that the process needs beside connections and blobs.
const OWN_FILES: usize = 128;
/// How often snapshots that nobody asks for any more are given to the collection of garbage.
const LET_GO: Duration = Duration::from_mins(10);

/// Serve refs and snapshots over HTTP.
///
/// Runs until told to end (SIGTERM, SIGINT), and then lets answers on their way come to their end; a second
/// signal ends at once. SIGHUP opens the access log again. HTTPS is for a proxy in front.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen, such as 0.0.0.0:80 or [::]:80; may be given several times. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", required = true)]
    listen: Vec<SocketAddr>,

    /// Serve this ref alone, with its history, at the top; without it, everything.
    #[arg(long, value_name = "REF")]
    view: Option<RefName>,

    /// Where to answer /metrics (for Prometheus) and /healthz.
    #[arg(long, value_name = "ADDR")]
    metrics: Vec<SocketAddr>,

    /// Write a line for every answer to this file, or to standard output for "-".
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,

    /// Threads that serve [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Memory for directories, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = CACHE_BYTES >> 20)]
    cache_size: usize,

    /// Hours for which files that a promotion removed are still found by their exact paths.
    #[arg(long, value_name = "HOURS", default_value_t = 72)]
    grace: u32,

    /// Read all blobs over and over, so many MiB a second, and say in the log which are bad [default: do not].
    #[arg(long, value_name = "MIB")]
    scrub: Option<NonZeroU64>,

    #[command(flatten)]
    limits: LimitArgs,
}

/// What clients may cost.
#[derive(Debug, clap::Args)]
struct LimitArgs {
    /// Open connections; idle ones make room for new ones.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    connections: usize,

    /// Open connections from one address, or 0 for any number, as behind a proxy.
    #[arg(long, value_name = "N", default_value_t = 256)]
    connections_per_address: usize,

    /// Seconds for the head of a request.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    head_timeout: u64,

    /// Seconds until the next request on a connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle_timeout: u64,

    /// Seconds in which a client takes no byte of an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    stall_timeout: u64,

    /// Bytes a second that a client must take in the mean.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    min_rate: u64,

    /// Seconds for answers on their way when told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
}

/// Runs `cfs serve`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    if let Some(name) = &args.view {
        depot.catalogue.follow_ref(name)?;
    }
    // Set up before anything could be interrupted half-way.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| CommandError::io("catch signals for", depot.store.root(), error))?;
    let settings = settings(args, context)?;
    let Depot { store, catalogue } = depot;
    let catalogue = Arc::new(catalogue);
    let nodes = CachedNodes::new(Arc::clone(&catalogue), args.cache_size.saturating_mul(1 << 20));
    let only = args.view.as_ref().map(|name| name.as_path().clone());
    let grace = Grace { seconds: args.grace.saturating_mul(3600), ..Grace::default() };
    let held = Held::new(catalogue, store.clone(), grace.seconds.into());
    let roots = Arc::new(Kept::new(held));
    let site = Site::new(Arc::clone(&roots), nodes, only, grace);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LET_GO);
            // Whoever is asked for something opens it at once. What cannot be let go now is so the next time.
            let _ = roots.forget().let_go(&HashSet::new());
        }
    });
    let server = Server::start(site, store, settings)?;
    watch(signals, server.control());
    let what = args.view.as_ref().map_or("everything".to_owned(), |name| format!("ref {name}"));
    let urls = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("http://{address}/")).collect::<Vec<_>>()
    };
    let (listen, metrics) = (urls(server.addresses()), urls(server.metrics_addresses()));
    context.output.result(
        format_args!("serving {what} at {}", listen.join(", ")),
        &json!({
            "listen": listen,
            "metrics": metrics,
            "view": args.view.as_ref().map(RefName::as_str),
            "process": std::process::id(),
        }),
    )?;
    context.output.finish()?;
    Ok(server.wait()?)
}

fn settings(args: &Args, context: &Context<'_>) -> Result<Settings, CommandError> {
    let log = match &args.access_log {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(AccessLog::stream(std::io::stdout())),
        Some(path) => {
            let log = AccessLog::file(path);
            Some(log.map_err(|error| CommandError::io("write", path, error))?)
        }
    };
    let given = &args.limits;
    let mut limits = Limits {
        connections: given.connections,
        connections_per_address: given.connections_per_address,
        head: Duration::from_secs(given.head_timeout),
        idle: Duration::from_secs(given.idle_timeout),
        stall: Duration::from_secs(given.stall_timeout),
        rate_bytes: given.min_rate,
        drain: Duration::from_secs(given.drain),
        ..Limits::default()
    };
    // A connection has its socket and, while it gets something, a blob; seldom one that no other one gets.
    let besides = limits.open_blobs.get() + OWN_FILES;
    let files = raise_open_files(limits.connections.saturating_mul(2).saturating_add(besides));
    let possible = files.saturating_sub(besides) / 4 * 3;
    if possible < limits.connections {
        let wanted = limits.connections;
        limits.connections = possible;
        context.output.note(format_args!(
            "the limit of {files} open files allows {possible} connections instead of {wanted}"
        ));
    }
    let scrub = args.scrub.map(|mib| {
        let (root, rate_bytes) = (context.settings.store.clone(), mib.get().saturating_mul(1 << 20));
        Scrub { root, rate_bytes, clock: now, report: Box::new(report) }.start()
    });
    let more_metrics: Box<dyn Fn() -> String + Send + Sync> =
        Box::new(move || scrub.as_ref().map(|counts| scrub::metrics_text(counts)).unwrap_or_default());
    Ok(Settings {
        listen: args.listen.clone(),
        metrics: args.metrics.clone(),
        threads: args.threads.map_or_else(Context::threads, NonZeroUsize::get),
        limits,
        log,
        more_metrics,
        report: Box::new(report),
        clock: now,
    })
}

/// A line of the log.
fn report(text: &str) {
    output::error(format_args!("{} {text}", time(now())));
}

fn now() -> i64 {
    i64::try_from(Context::now_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Ends the server when told to, gently the first time.
fn watch(mut signals: Signals, control: Control) {
    std::thread::spawn(move || {
        let mut told = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    if let Err(error) = control.reopen_log() {
                        output::error(format_args!("the access log cannot be opened again: {error}"));
                    }
                }
                _ if told => control.abort(),
                _ => {
                    told = true;
                    control.stop();
                }
            }
        }
    });
}

/// Lets the process open `wanted` files, or as many as it may, and returns how many these are.
fn raise_open_files(wanted: usize) -> usize {
    let wanted = wanted as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return usize::MAX;
    }
    let set =
        |files: u64, maximum| setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_ok();
    let allowed = maximum.unwrap_or(wanted).min(wanted);
    // Only the privileged may have more than the maximum.
    if allowed < wanted && set(wanted, Some(wanted)) || set(allowed, maximum) && allowed == wanted {
        return usize::MAX;
    }
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
