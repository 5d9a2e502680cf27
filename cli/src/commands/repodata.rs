//! `cfs repodata`

use std::fmt::Write as _;

use cfs_indexer::createrepo::{CreaterepoError, Report, Signature};
use cfs_indexer::repodata::compression::Format;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::size;
use crate::report::{CommandError, Kind};

mod build;
mod inject;

/// Make or change the metadata of a repository: what createrepo and modifyrepo do, from what the store knows.
///
/// A package is read once, as far as its headers; its digest is known from the sync. The same packages give the
/// same bytes, and where nothing changes there is no new snapshot. A repomd.xml that changes loses its signature,
/// unless the view has a hook that signs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(build::Args),
    Inject(inject::Args),
}

/// Runs `cfs repodata`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Verb::Build(args) => build::run(args, context),
        Verb::Inject(args) => inject::run(args, context),
    }
}

/// How documents are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    /// gzip: every client reads it.
    Gz,
    /// xz: smaller, and slow to make.
    Xz,
    /// Zstandard: small and fast; for clients from 2020 on.
    Zst,
}

impl From<Compress> for Format {
    fn from(compress: Compress) -> Self {
        match compress {
            Compress::Gz => Self::Gzip,
            Compress::Xz => Self::Xz,
            Compress::Zst => Self::Zstd,
        }
    }
}

/// Remarks about what was made.
fn remark(context: &Context<'_>, place: &str, report: &Report) {
    for broken in &report.broken {
        context.output.note(format_args!("warning: {place}: {} is left out: {}", broken.path, broken.reason));
    }
    for nevra in &report.duplicates {
        context.output.note(format_args!("warning: {place}: there are several files that are {nevra}"));
    }
    if report.signature == Signature::Dropped {
        let text = "its signature holds no longer and was dropped; a sign hook would make another";
        context.output.note(format_args!("warning: {place}: repodata/repomd.xml: {text}"));
    }
    let mut text = String::new();
    for file in &report.files {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{} {}",
            if text.is_empty() { "" } else { "\n" },
            file.path,
            size(file.size_bytes)
        );
    }
    context.output.detail(text);
}

/// What was made, for programs.
fn describe(place: &str, report: &Report, is_plan: bool) -> Value {
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            json!({ "type": file.kind, "path": file.path, "bytes": file.size_bytes, "open_bytes": file.open_size_bytes })
        })
        .collect();
    let broken: Vec<Value> =
        report.broken.iter().map(|broken| json!({ "path": broken.path, "reason": broken.reason })).collect();
    json!({
        "target": place,
        "dry_run": is_plan,
        "files": files,
        "carried": report.carried,
        "revision": report.revision,
        "signature": report.signature.word(),
        "packages": report.packages,
        "packages_read": report.packages_read,
        "broken": broken,
        "duplicates": report.duplicates,
        "changed": report.changed,
        "snapshot": report.update.as_ref().map(|update| update.id.to_string()),
        "generation": report.update.as_ref().map(|update| update.generation),
    })
}

/// How what was said ends.
fn outcome(report: &Report, is_plan: bool) -> String {
    match (&report.update, report.changed) {
        (Some(update), _) => format!("; snapshot {}, generation {}", update.id, update.generation),
        (None, true) if is_plan => String::new(),
        (None, _) => "; nothing changed".to_owned(),
    }
}

fn failed(error: CreaterepoError) -> CommandError {
    match error {
        CreaterepoError::Promote(error) => error.into(),
        CreaterepoError::Broken { ref broken, .. } => {
            let details = broken.iter().map(|broken| format!("{}: {}", broken.path, broken.reason)).collect();
            let error = CommandError { details, ..CommandError::new(Kind::No, error) };
            error.hint("--skip-broken leaves them out")
        }
        error @ CreaterepoError::NotThat { .. } => CommandError::new(Kind::Usage, error),
        error @ CreaterepoError::Stopped { .. } => {
            CommandError::new(Kind::Failed, error).hint("what was read is kept; run the same command again")
        }
        error @ CreaterepoError::Sign { .. } => CommandError::new(Kind::No, error),
        error => CommandError::new(Kind::Failed, error),
    }
}
