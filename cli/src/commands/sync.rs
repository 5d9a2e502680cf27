//! `cfs sync`

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cfs_indexer::address::Address;
use cfs_indexer::revision::RefPath;
use cfs_indexer::sync::{Keep, Options, Report, Request, SyncError, fetch, sync};
use serde_json::json;

use crate::context::Context;
use crate::downloads::{keyring, show};
use crate::interrupt;
use crate::output::{count, size};
use crate::report::{CommandError, Kind};

/// Make a yum/dnf repository a path of a new snapshot of a ref.
///
/// A new ref is created. Every metadata file comes byte for byte, and every package, with the times that
/// upstream states. What the store has is not downloaded; sizes and checksums are checked while
/// downloading. When anything fails, the ref stays as it is and the next run resumes. When nothing has
/// changed upstream, there is no new snapshot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository: http://, https:// or file:// and what is above its repodata/, or a directory.
    #[arg(value_name = "URL")]
    address: Address,

    /// The ref, and the path in it that the repository becomes.
    #[arg(value_name = "REF[:PATH]")]
    target: RefPath,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Demand good signatures of the metadata (repomd.xml.asc) and of every package, by a key in FILE; may be
    /// given several times.
    #[arg(long, value_name = "FILE")]
    gpgkey: Vec<PathBuf>,

    /// With --gpgkey: accept metadata that is not signed; the packages must be.
    #[arg(long, requires = "gpgkey")]
    allow_unsigned_metadata: bool,

    /// Accept checksums and signatures that rest on MD5 or SHA-1, which can be forged.
    #[arg(long)]
    allow_weak_checksums: bool,

    /// Accept metadata that is older than what was synced last.
    #[arg(long)]
    allow_rollback: bool,

    /// The password for the user in the URL: the first line of this file. One in the URL itself is seen by everybody
    /// on this host.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Downloads at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: u8,

    /// How often a file is tried in all.
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts: u8,

    /// How long a connection may take to come about.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    connect_timeout: Seconds,

    /// How long a server may be silent.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    idle_timeout: Seconds,

    /// The most bytes that a metadata file may have, as it is and uncompressed (K, M, G for multiples of
    /// 1024).
    #[arg(long, value_name = "BYTES", default_value = "4G")]
    metadata_cap: Bytes,

    /// The most bytes that a package may have.
    #[arg(long, value_name = "BYTES", default_value = "32G")]
    package_cap: Bytes,
}

/// A duration on the command line.
#[derive(Debug, Clone, Copy)]
struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err("not a positive number of seconds".to_owned()),
        }
    }
}

/// A size on the command line.
#[derive(Debug, Clone, Copy)]
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        let number: Option<u64> = digits.parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift));
        bytes.map(Self).ok_or_else(|| "not a size such as 4096, 64M or 4G".to_owned())
    }
}

/// Runs `cfs sync`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    context.may_write(&args.target.name)?;
    let lists = context.settings.configuration.1.view(&args.target.name).lists;
    let request = request(args, context)?;
    let depot = context.depot()?;
    let interrupted = interrupt::flag()?;
    let bar = context.output.progress("sync");
    let done = sync(&depot, &request, &lists, &context.signer(), &mut |progress| {
        show(&bar, progress);
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let done = done.map_err(failed)?;
    if done.update.is_some() {
        context.flip(&depot);
    }
    report(&done, args, context)
}

fn request(args: &Args, context: &Context<'_>) -> Result<Request, CommandError> {
    let address = match &args.address {
        Address::Dir(dir) => {
            Address::Dir(std::path::absolute(dir).map_err(|error| CommandError::io("find", dir, error))?)
        }
        address @ Address::Http(_) => address.clone(),
    };
    let address = match &args.password_file {
        Some(path) => with_password(address, path)?,
        None => address,
    };
    if args.address.has_password() {
        context.output.note(
            "warning: everybody on this host can see a password in the command line; --password-file hides it",
        );
    }
    let fetch = context.settings.configuration.1.fetch.clone();
    let default = Options::default();
    let options = Options {
        fetch: fetch::Options {
            jobs: usize::from(args.jobs.max(1)),
            connect_timeout: args.connect_timeout.0,
            idle_timeout: args.idle_timeout.0,
            attempts: u32::from(args.attempts.max(1)),
            https_only: fetch.https_only,
            private_hosts: fetch.private_hosts,
            ..fetch::Options::default()
        },
        weak_checksums: args.allow_weak_checksums,
        unsigned_metadata: args.allow_unsigned_metadata,
        unsigned_packages: false,
        metadata_cap_bytes: args.metadata_cap.0,
        package_cap_bytes: args.package_cap.0,
        files_max: fetch.max_files.unwrap_or(default.files_max),
        bytes_max: fetch.max_bytes.unwrap_or(default.bytes_max),
        older: args.allow_rollback,
        taken: Vec::new(),
    };
    let (target, message) = (args.target.clone(), args.message.clone());
    Ok(Request {
        address,
        target,
        like: None,
        keep: Keep::Nothing,
        keys: keyring(args.gpgkey.iter().map(|file| {
            let bytes = fs::read(file).map_err(|error| CommandError::io("read", file, error))?;
            Ok((file.display().to_string(), bytes))
        }))?,
        message,
        options,
    })
}

/// The address with the password that a file holds.
fn with_password(address: Address, path: &Path) -> Result<Address, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| CommandError::io("read", path, error))?;
    let password = text.lines().next().unwrap_or_default();
    address.with_password(password).ok_or_else(|| {
        CommandError::usage("--password-file needs a URL with a user: https://user@host/…".to_owned())
    })
}

fn report(report: &Report, args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let value = json!({
        "target": args.target.to_string(),
        "packages": report.packages,
        "files": report.files,
        "bytes": report.bytes,
        "fetched_files": report.fetched_files,
        "fetched_bytes": report.fetched_bytes,
        "key": report.key.as_ref().map(ToString::to_string),
        "duplicates": report.duplicates,
        "changed": report.update.is_some(),
        "snapshot": report.update.as_ref().map(|update| update.id.to_string()),
        "generation": report.update.as_ref().map(|update| update.generation),
    });
    let text = format!(
        "{}: {} files, {} ({} files downloaded, {})",
        args.target,
        count(report.files),
        size(report.bytes),
        count(report.fetched_files),
        size(report.fetched_bytes),
    );
    if let Some(key) = &report.key {
        context.output.detail(format_args!("the metadata is signed with the key {key}"));
    }
    for name in &report.duplicates {
        context.output.note(format_args!("warning: {name} is listed several times, with different contents"));
    }
    match &report.update {
        Some(update) => {
            let text = format!("{text}; snapshot {}, generation {}", update.id, update.generation);
            context.output.result(text, &value)
        }
        None => context.output.result(format_args!("{text}; nothing changed"), &value),
    }
}

fn failed(error: SyncError) -> CommandError {
    match error {
        SyncError::Catalogue(error) => error.into(),
        SyncError::Edit(error) => error.into(),
        SyncError::Filelist(error) => error.into(),
        SyncError::Failed { ref failures, .. } => {
            let details =
                failures.iter().map(|failure| format!("{}: {}", failure.url, failure.reason)).collect();
            let error = CommandError { details, ..CommandError::new(Kind::Failed, error) };
            error.hint("what was downloaded is kept; run the same command again to resume")
        }
        error => {
            let hint = match &error {
                SyncError::NoRepository { .. } => "name what is above repodata/",
                SyncError::WeakChecksum { .. } => "--allow-weak-checksums accepts it",
                SyncError::UnsignedMetadata { .. } => "--allow-unsigned-metadata demands it of packages only",
                SyncError::Older { .. } => {
                    "a mirror may be behind; --allow-rollback takes it, if the upstream went back on purpose"
                }
                SyncError::Budget { .. } => {
                    "`max-files` and `max-bytes` of [fetch] in the configuration set the limits"
                }
                SyncError::Oversize { .. } => "--package-cap and --metadata-cap set the limits",
                SyncError::Stopped { .. } => {
                    "what was downloaded is kept; run the same command again to resume"
                }
                _ => "",
            };
            let error = CommandError::new(Kind::Failed, error);
            if hint.is_empty() { error } else { error.hint(hint) }
        }
    }
}
