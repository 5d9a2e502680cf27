//! `cfs repodata build`

use std::convert::Infallible;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use cfs_indexer::checksum::Algorithm;
use cfs_indexer::createrepo::{Extra, Options, Request, build, plan};
use cfs_indexer::repodata::repomd::Tags;
use cfs_indexer::revision::{RefPath, RevPath};
use clap::ValueEnum;

use super::{Compress, describe, failed, outcome, remark};
use crate::context::Context;
use crate::interrupt;
use crate::output::{count, size};
use crate::report::CommandError;

/// Make the metadata of all packages below a directory.
///
/// Comps, modules, updateinfo and what else the metadata before held are taken over unless they are given anew.
/// No clock is looked at: what is new gets the time of the newest package, and a later one than what it
/// replaces.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory with the packages.
    #[arg(value_name = "REV[:PATH]")]
    source: RevPath,

    /// The ref, and the path in it that becomes the packages with their metadata [default: where they are].
    #[arg(value_name = "REF[:PATH]")]
    target: Option<RefPath>,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// How documents are compressed.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Compress::Gz)]
    compress: Compress,

    /// The kind of checksums.
    #[arg(long, value_name = "ALGORITHM", value_enum, default_value_t = Checksum::Sha256)]
    checksum: Checksum,

    /// The revision of the metadata, such as the major version of the release [default: its time, or the version
    /// that it was before].
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,

    /// The time of the metadata, in seconds since 1970 [default: it follows from the packages].
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    time: Option<i64>,

    /// The distribution it is for: a CPE name and a comma, if there is one, and a name; may be given several
    /// times.
    #[arg(long, value_name = "[CPE,]NAME")]
    distro: Vec<Distro>,

    /// A word about what sort of packages it has; may be given several times.
    #[arg(long, value_name = "TAG")]
    content: Vec<String>,

    /// A word about what sort of repository it is; may be given several times.
    #[arg(long, value_name = "TAG")]
    repo: Vec<String>,

    /// Groups of packages (comps.xml), in place of those before.
    #[arg(long, value_name = "FILE")]
    comps: Option<PathBuf>,

    /// Modules (modules.yaml), in place of those before.
    #[arg(long, value_name = "FILE")]
    modules: Option<PathBuf>,

    /// Errata (updateinfo.xml), in place of those before.
    #[arg(long, value_name = "FILE")]
    updateinfo: Option<PathBuf>,

    /// Keep the files of so many earlier repomd.xml of the target, for clients that still have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    retain: usize,

    /// Leave out packages that cannot be published, instead of failing.
    #[arg(long)]
    skip_broken: bool,

    /// Give packages the times of their builds instead of those of their files: the same packages make the same
    /// metadata wherever they came from, with the same --time.
    #[arg(long)]
    build_times: bool,

    /// Print what would happen, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// The kinds of checksums that clients accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Checksum {
    Sha256,
    Sha512,
}

/// A distribution on the command line.
#[derive(Debug, Clone)]
struct Distro(Option<String>, String);

impl FromStr for Distro {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once(',') {
            Some((cpe, name)) => Self(Some(cpe.to_owned()), name.to_owned()),
            None => Self(None, text.to_owned()),
        })
    }
}

/// Runs `cfs repodata build`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let past = || {
        CommandError::usage(format!("{}: the past cannot be written to", args.source)).hint("name a target")
    };
    let target = args.target.clone().or_else(|| args.source.as_ref_path()).ok_or_else(past)?;
    let (source, message) = (args.source.clone(), args.message.clone());
    let request = Request { source, target, options: options(args)?, message };
    context.may_write(&request.target.name)?;
    let depot = context.depot()?;
    let interrupted = interrupt::flag()?;
    let bar = context.output.progress("repodata");
    let mut progress = |progress: &cfs_indexer::createrepo::Progress| {
        bar.set_message(format!("packages {}/{}", progress.packages_done, progress.packages));
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (config, signer) = (&context.settings.configuration.1, context.signer());
    let done = if args.dry_run {
        plan(&depot, config, &request, &signer, &mut progress)
    } else {
        build(&depot, config, &request, &signer, &mut progress)
    };
    bar.finish_and_clear();
    let report = done.map_err(failed)?;
    let place = request.target.to_string();
    remark(context, &place, &report);
    let bytes: u64 = report.files.iter().map(|file| file.size_bytes).sum();
    let text = format!(
        "{}{place}: {} packages ({} read), {} of metadata{}",
        if args.dry_run { "would build " } else { "" },
        count(report.packages),
        count(report.packages_read),
        size(bytes),
        outcome(&report, args.dry_run),
    );
    context.output.result(text, &describe(&place, &report, args.dry_run))?;
    if report.update.is_some() { context.tell_hooks(&depot) } else { Ok(()) }
}

fn options(args: &Args) -> Result<Options, CommandError> {
    let mut extras = Vec::new();
    for (kind, file) in [("group", &args.comps), ("modules", &args.modules), ("updateinfo", &args.updateinfo)]
    {
        if let Some(file) = file {
            let bytes = fs::read(file).map_err(|error| CommandError::io("read", file, error))?;
            extras.push(Extra::new(kind, &file.display().to_string(), &bytes).map_err(failed)?);
        }
    }
    let tags = Tags {
        content: args.content.clone(),
        repo: args.repo.clone(),
        distro: args.distro.iter().map(|Distro(cpe, name)| (cpe.clone(), name.clone())).collect(),
    };
    let algorithm = match args.checksum {
        Checksum::Sha256 => Algorithm::Sha256,
        Checksum::Sha512 => Algorithm::Sha512,
    };
    Ok(Options {
        format: args.compress.into(),
        algorithm,
        revision: args.revision.clone(),
        time: args.time,
        tags: (!tags.is_empty()).then_some(tags),
        extras,
        retain: args.retain,
        skip_broken: args.skip_broken,
        build_times: args.build_times,
    })
}
