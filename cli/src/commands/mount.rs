//! `cfs mount`

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use cfs_fs::digest::Digest;
use cfs_fs::follow::{self, Follower};
use cfs_fs::fuse::{self, Mode, Mounted};
use cfs_fs::mounts::{self, Health, MountsError};
use cfs_fs::store::Store;
use cfs_fs::tree::cache::{CACHE_BYTES, CachedNodes};
use cfs_fs::view::ghosts::Grace;
use cfs_fs::view::{Options, View};
use cfs_indexer::depot::Depot;
use cfs_indexer::fsck::scrub::Scrub;
use cfs_indexer::refname::RefName;
use cfs_indexer::views::Held;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::context::Context;
use crate::output::{self, time};
use crate::report::{CommandError, Kind};

mod metrics;

/// How the line begins by which the process that serves a mount says that the mount answers; how it works
/// follows.
const READY: &str = "ready ";
/// How often snapshots that nobody is inside of any more are given to the collection of garbage.
const LET_GO: Duration = Duration::from_mins(10);
/// How long the end of an unmounted mount is waited for.
const END: Duration = Duration::from_secs(5);

/// Show refs and snapshots as a file system.
///
/// At an empty directory, read-only: compose/, views/, current/, snapshots/ and at/, or one ref. Returns
/// when the mount answers; a process in the background serves it until `cfs umount`. Recovers a mount point
/// whose process has died.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub struct Args {
    /// The mount point: an empty directory.
    dir: PathBuf,

    /// Show this ref at the top, instead of everything.
    #[arg(long, value_name = "REF")]
    view: Option<RefName>,

    /// Serve the mount in this process, until it is unmounted or told to end (SIGTERM, SIGINT).
    #[arg(long)]
    foreground: bool,

    /// Let other users see the mount, as root does anyway.
    #[arg(long)]
    allow_other: bool,

    /// Memory for directories, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = CACHE_BYTES >> 20)]
    cache_size: usize,

    /// Threads that answer the kernel [default: one a core, at least 2].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// How questions of the kernel come: through `io_uring`, a ring for every processor, or through /dev/fuse.
    #[arg(long, value_enum, default_value_t = Transport::Auto)]
    transport: Transport,

    /// Answer reads instead of letting the kernel read the store's files itself.
    #[arg(long)]
    no_passthrough: bool,

    /// Owner and group of everything in the mount [default: the store's].
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    owner: Option<Owner>,

    /// Give every path an inode of its own, even where files are equal.
    #[arg(long)]
    no_hardlinks: bool,

    /// Serve how often the kernel asked what to Prometheus, at a port of this host or another address.
    #[arg(long, value_name = "ADDRESS", value_parser = metrics::parse_address)]
    metrics: Option<SocketAddr>,

    /// Mount nothing: show how often the kernel asked what of the mount that is there.
    #[arg(long, conflicts_with_all = ["view", "foreground", "metrics", "owner"])]
    stats: bool,

    /// Hours for which names that a promotion removed are found by their exact paths.
    #[arg(long, value_name = "HOURS", default_value_t = Grace::default().seconds / 3600)]
    grace: u32,

    /// Read all blobs over and over, so many MiB a second, and say in the log which are bad [default: do not].
    #[arg(long, value_name = "MIB")]
    scrub: Option<NonZeroU64>,

    /// Serve for another `cfs mount`, which waits for a word on standard output.
    #[arg(long, hide = true, requires = "foreground")]
    serve: bool,

    /// Serve an overlay, which takes what has one inode for one file, and nobody else.
    #[arg(long, hide = true)]
    below_overlay: bool,
}

/// How questions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// `io_uring` where the kernel offers it (6.14 or later, with the parameter `enable_uring` of fuse), else dev.
    Auto,
    /// `io_uring`, or no mount.
    Uring,
    /// The device /dev/fuse.
    Dev,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Dev => "dev",
        }
    }
}

impl From<Transport> for fuse::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Auto => Self::Auto,
            Transport::Uring => Self::Uring,
            Transport::Dev => Self::Device,
        }
    }
}

/// A user and a group.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

fn parse_owner(text: &str) -> Result<Owner, String> {
    let (uid, gid) = text.split_once(':').ok_or("two numbers with a colon between them are needed")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of a user or group"));
    Ok(Owner { uid: number(uid)?, gid: number(gid)? })
}

/// Runs `cfs mount`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    if args.stats {
        return metrics::show(&args.dir, context);
    }
    let depot = context.depot()?;
    if let Some(name) = &args.view {
        depot.catalogue.follow_ref(name)?;
    }
    // Whoever frees the directory of a dead mount must not meet one that another has just made.
    let alone = if args.serve { None } else { Some(claim(&args.dir)?) };
    let dir = prepare(&args.dir, context)?;
    if args.foreground {
        drop(alone);
        serve(args, context, depot, &dir)
    } else {
        launch(args, context, &depot.store, &dir)
    }
}

/// Makes sure that `dir` is an empty directory, freeing it of dead mounts, and returns its whole path.
fn prepare(dir: &Path, context: &Context<'_>) -> Result<PathBuf, CommandError> {
    let refuse = |text: &str| CommandError::new(Kind::Failed, format!("{}: {text}", dir.display()));
    let path = mounts::resolve(dir)?;
    while mounts::health(&path)? == Health::Dead {
        if !mounts::find(&path)?.is_some_and(|mount| mount.is_cfs()) {
            return Err(refuse("is a dead mount, and not one of cfs"));
        }
        mounts::unmount(&path, true)?;
        context.output.note(format_args!("{}: freed of a mount whose process had died", dir.display()));
    }
    if mounts::find(&path)?.is_some_and(|mount| mount.is_cfs()) {
        return Err(refuse("is a cfs mount already").hint("unmount it with `cfs umount`"));
    }
    let mut entries = fs::read_dir(&path).map_err(|error| CommandError::io("list", dir, error))?;
    if entries.next().is_some() {
        return Err(refuse("is not empty").hint("a mount would hide what is there; name an empty directory"));
    }
    Ok(path)
}

/// Waits for others that are about to mount at `dir` and keeps them waiting as long as the result lives.
fn claim(dir: &Path) -> Result<File, CommandError> {
    let dir = mounts::resolve(dir)?;
    // A dead mount cannot be opened, but the directory that it is in can.
    let above = dir.parent().and_then(|above| File::open(above).ok());
    let file = above.map_or_else(|| File::open(&dir), Ok);
    let file = file.map_err(|error| CommandError::io("open", &dir, error))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| CommandError::io("lock", &dir, error.into()))?;
    Ok(file)
}

/// Starts the process that serves the mount and waits until the mount answers.
fn launch(args: &Args, context: &Context<'_>, store: &Store, dir: &Path) -> Result<(), CommandError> {
    let (log, log_path) = make_log(store, dir)?;
    let program = std::env::current_exe().map_err(|error| CommandError::io("find", "cfs".as_ref(), error))?;
    // The process goes elsewhere, so the path must be whole.
    let root = store.root();
    let root = root.canonicalize().map_err(|error| CommandError::io("find", root, error))?;
    let mut command = Command::new(&program);
    command.arg("--store").arg(&root);
    if let Some(config) = &context.settings.config {
        command.arg("--config").arg(config);
    }
    command.args(["mount", "--foreground", "--serve"]).arg("--cache-size").arg(args.cache_size.to_string());
    command.args(args.allow_other.then_some("--allow-other"));
    command.args(args.below_overlay.then_some("--below-overlay"));
    if let Some(name) = &args.view {
        command.args(["--view", name.as_str()]);
    }
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if let Some(address) = args.metrics {
        command.args(["--metrics", &address.to_string()]);
    }
    command.args(["--transport", args.transport.name()]);
    command.args(args.no_passthrough.then_some("--no-passthrough"));
    if let Some(Owner { uid, gid }) = args.owner {
        command.args(["--owner", &format!("{uid}:{gid}")]);
    }
    command.args(args.no_hardlinks.then_some("--no-hardlinks"));
    command.args(["--grace", &args.grace.to_string()]);
    if let Some(mib) = args.scrub {
        command.args(["--scrub", &mib.to_string()]);
    }
    command.arg("--").arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(|error| CommandError::io("run", &program, error))?;
    let mut word = String::new();
    if let Some(stdout) = child.stdout.take() {
        // What cannot be read is no word either.
        let _ = BufReader::new(stdout).read_line(&mut word);
    }
    let mode = word.strip_prefix(READY).and_then(|mode| serde_json::from_str::<Value>(mode).ok());
    let Some(mode) = mode else {
        let _ = child.wait();
        return Err(child_error(dir, &log_path));
    };
    let what = args.view.as_ref().map_or("everything".to_owned(), |name| format!("ref {name}"));
    let (store, pid) = (root.display(), child.id());
    context.output.result(
        format_args!(
            "mounted {what} of {store} at {}; process {pid}, log {}; {}",
            dir.display(),
            log_path.display(),
            mode["text"].as_str().unwrap_or_default(),
        ),
        &json!({
            "dir": dir,
            "view": args.view.as_ref().map(RefName::as_str),
            "process": pid,
            "log": log_path,
            "passthrough": mode["passthrough"],
            "transport": mode["transport"],
            "threads": mode["threads"],
            "metrics": mode["metrics"],
        }),
    )
}

/// The log of the mount at `dir`, and where it is.
fn make_log(store: &Store, dir: &Path) -> Result<(File, PathBuf), CommandError> {
    // The name follows from the mount point, so that the next mount there writes it again.
    let path = store.run_dir().join(format!("{}.log", name_of(dir)));
    match File::create(&path) {
        Ok(log) => return Ok((log, path)),
        Err(error)
            if [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied].contains(&error.kind()) => {}
        Err(error) => return Err(CommandError::io("write", &path, error)),
    }
    let made = tempfile::Builder::new().prefix("cfs-mount-").suffix(".log").tempfile();
    let made = made.and_then(|file| Ok(file.keep()?));
    made.map_err(|error| CommandError::io("write a log in", &std::env::temp_dir(), error))
}

/// A short name for the mount at `dir`.
fn name_of(dir: &Path) -> String {
    format!("mount-{:.12}", Digest::of(dir.as_os_str().as_encoded_bytes()))
}

/// What the process that should have served the mount said before it ended.
fn child_error(dir: &Path, log: &Path) -> CommandError {
    let said = fs::read_to_string(log).unwrap_or_default();
    let mut error = CommandError::new(Kind::Failed, format!("{}: cannot be mounted", dir.display()));
    for line in said.lines() {
        match line.strip_prefix("hint: ") {
            Some(hint) => error = error.hint(hint),
            None => error.details.push(line.trim_start_matches("error: ").to_owned()),
        }
    }
    error
}

/// Why the process ends.
enum End {
    Signal,
    Unmounted(Result<(), fuse::FuseError>),
}

/// Mounts, and serves the mount to its end.
fn serve(args: &Args, context: &Context<'_>, depot: Depot, dir: &Path) -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() {
        // No program that this process might be made to run gets more rights than it has; users who are not root
        // need the helper that unmounts for them. Its own rights it needs: the kernel asks for them with every file
        // that it is to read itself, and for the end of the mount.
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| CommandError::io("give up rights for", dir, error.into()))?;
    }
    let (ends, end) = mpsc::channel();
    // Set up before there is a mount that a signal could leave behind.
    let signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| CommandError::io("catch signals for", dir, error))?;
    watch(signals, ends.clone());
    if args.serve {
        // A session of its own: no terminal's end ends it. This cannot fail in a process just started by
        // another; if it did, the mount would only be less independent.
        let _ = setsid();
        // It must not keep the directory it was started in.
        std::env::set_current_dir("/").map_err(|error| CommandError::io("go to", "/".as_ref(), error))?;
    }
    let listener = args.metrics.map(metrics::listen).transpose()?;
    let (mounted, _follower) = mount(args, depot, dir)?;
    let metrics = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    if let (Some(listener), Some(stats)) = (listener, mounted.stats()) {
        metrics::serve(listener, stats);
    }
    let what = format!("mounted at {}; Ctrl-C or `cfs umount` unmounts", dir.display());
    let mode = mounted.mode();
    if args.serve {
        context.output.line(format!("{READY}{}", mode_json(mode, metrics)))?;
    } else {
        context.output.note(what);
        context.output.note(mode_text(mode));
    }
    context.output.finish()?;
    let device = mounted.device().map(str::to_owned);
    std::thread::spawn(move || ends.send(End::Unmounted(mounted.wait())));
    match end.recv() {
        Ok(End::Unmounted(result)) => Ok(result?),
        // Unmounted lazily before; what is there now is none of this process's business.
        Ok(End::Signal) | Err(_) if mounts::find(dir)?.map(|mount| mount.device) != device => Ok(()),
        Ok(End::Signal) | Err(_) => {
            match mounts::unmount(dir, false) {
                Err(MountsError::Busy { .. }) => {
                    output::error(format_args!("{}: told to end while it is in use", dir.display()));
                    mounts::unmount(dir, true)?;
                }
                unmounted => unmounted?,
            }
            // Whoever is still inside holds the mount, but not this process.
            let _ = end.recv_timeout(END);
            Ok(())
        }
    }
}

/// How the mount works, for the process that waits for it.
fn mode_json(mode: &Mode, metrics: Option<SocketAddr>) -> Value {
    let transport = if mode.uring.is_ok() { Transport::Uring } else { Transport::Dev };
    json!({
        "passthrough": mode.passthrough.is_ok(),
        "transport": transport.name(),
        "threads": mode.threads,
        "metrics": metrics.map(|address| address.to_string()),
        "text": mode_text(mode),
    })
}

/// How the mount works, in a line for people.
fn mode_text(mode: &Mode) -> String {
    let threads = mode.threads;
    let reads = match &mode.passthrough {
        Ok(()) => "the kernel reads the store's files itself (passthrough)".to_owned(),
        Err(reason) => format!("reads are answered (no passthrough: {reason})"),
    };
    let questions = match &mode.uring {
        Ok(()) => format!("{threads} threads at io_uring"),
        Err(reason) => format!("{threads} threads at /dev/fuse (no io_uring: {reason})"),
    };
    format!("{reads}; {questions}")
}

fn watch(mut signals: Signals, ends: Sender<End>) {
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // When nobody listens any more, the process is ending already.
            let _ = ends.send(End::Signal);
        }
    });
}

fn mount(args: &Args, depot: Depot, dir: &Path) -> Result<(Mounted, Option<Follower>), CommandError> {
    let Depot { store, catalogue } = depot;
    raise_open_files();
    let root = store.root();
    let meta = fs::metadata(root).map_err(|error| CommandError::io("look at", root, error))?;
    let owner = args.owner.unwrap_or(Owner { uid: meta.uid(), gid: meta.gid() });
    let options = Options {
        uid: owner.uid,
        gid: owner.gid,
        only: args.view.as_ref().map(|name| name.as_path().clone()),
        no_hardlinks: args.no_hardlinks || args.below_overlay,
        grace: match args.grace {
            0 => Grace::NONE,
            hours => Grace { seconds: hours.saturating_mul(3600), ..Grace::default() },
        },
        clock: now,
    };
    let catalogue = Arc::new(catalogue);
    let nodes = CachedNodes::new(Arc::clone(&catalogue), args.cache_size.saturating_mul(1 << 20));
    let nodes = Arc::new(nodes);
    let mut gauges = metrics::gauges(&nodes, &catalogue);
    if let Some(mib) = args.scrub {
        let (root, rate_bytes) = (root.to_owned(), mib.get().saturating_mul(1 << 20));
        gauges.extend(metrics::of_scrub(
            &Scrub { root, rate_bytes, clock: now, report: Box::new(report) }.start(),
        ));
    }
    let held = Held::new(catalogue, store.clone(), options.grace.seconds.into());
    let view = Arc::new(View::new(held, nodes, store, options));
    let in_use = Arc::downgrade(&view);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LET_GO);
            let Some(view) = in_use.upgrade() else { return };
            let (in_use, held) = view.snapshots_in_use();
            // What cannot be let go now is let go the next time.
            let _ = held.let_go(&in_use);
        }
    });
    let settings = fuse::Settings {
        allow_other: args.allow_other || rustix::process::geteuid().is_root(),
        threads: args.threads.unwrap_or_else(Context::threads),
        transport: args.transport.into(),
        passthrough: !args.no_passthrough,
        below_overlay: args.below_overlay,
    };
    if args.below_overlay {
        // It stays on one snapshot.
        let host = fuse::Host { report: Box::new(report), gauges };
        return Ok((fuse::mount(view, dir, settings, host)?, None));
    }
    let name = format!("{}-{}", name_of(dir), std::process::id());
    let (mounted, follower) = follow::mount(view, dir, settings, &name, gauges, Arc::new(report))?;
    Ok((mounted, Some(follower)))
}

/// A line of the log.
fn report(text: &str) {
    output::error(format_args!("{} {text}", time(now())));
}

fn now() -> i64 {
    i64::try_from(Context::now_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Every file that somebody reads is open here, too.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Without it, as many files can be open as the limit was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
