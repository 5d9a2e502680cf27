//! `cfs repodata inject`

use std::fs;
use std::path::PathBuf;

use cfs_indexer::createrepo::{Extra, Injection, KINDS, inject, plan_injection};
use cfs_indexer::revision::RefPath;
use clap::builder::PossibleValuesParser;

use super::{Compress, describe, failed, outcome, remark};
use crate::context::Context;
use crate::report::CommandError;

/// Put a document, such as errata, into the metadata of a repository.
///
/// It takes the place of the one of its type; everything else stays as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository: a ref, and the path in it.
    #[arg(value_name = "REF[:PATH]")]
    target: RefPath,

    /// The document, compressed or not.
    file: PathBuf,

    /// What it is.
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(KINDS.map(|(kind, _)| kind)))]
    kind: String,

    /// How it is compressed.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Compress::Gz)]
    compress: Compress,

    /// The time of the document, in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    time: Option<i64>,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Print what would happen, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs `cfs repodata inject`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let bytes = fs::read(&args.file).map_err(|error| CommandError::io("read", &args.file, error))?;
    let extra = Extra::new(&args.kind, &args.file.display().to_string(), &bytes).map_err(failed)?;
    let (target, message) = (args.target.clone(), args.message.clone());
    let request = Injection { target, extra, format: args.compress.into(), time: args.time, message };
    context.may_write(&request.target.name)?;
    let depot = context.depot()?;
    let (config, signer) = (&context.settings.configuration.1, context.signer());
    let done = if args.dry_run {
        plan_injection(&depot, config, &request, &signer)
    } else {
        inject(&depot, config, &request, &signer)
    };
    let report = done.map_err(failed)?;
    let place = request.target.to_string();
    remark(context, &place, &report);
    let verb = if args.dry_run { "would put" } else { "put" };
    let text = format!("{place}: {verb} {} into the metadata{}", args.kind, outcome(&report, args.dry_run));
    context.output.result(text, &describe(&place, &report, args.dry_run))?;
    if report.update.is_some() { context.tell_hooks(&depot) } else { Ok(()) }
}
