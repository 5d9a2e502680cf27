//! `cfs changelog`

use std::fs;
use std::path::PathBuf;

use cfs_indexer::changelog::{self, Build, Change, Changelog, Image, Move};
use cfs_indexer::revision::RevPath;
use clap::ValueEnum;
use lettre::message::Mailbox;
use serde_json::{Value, json};

use crate::context::Context;
use crate::report::CommandError;

mod mail;

/// Say what has changed between two composes, by source packages.
///
/// Added, dropped, upgraded and downgraded packages with their sizes, what their changelogs say, packages that
/// moved between repositories, and images. Of each source package the newest build of a compose counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The compose before: all repositories at and below the place.
    #[arg(value_name = "REV[:PATH]")]
    old: RevPath,

    /// The compose now.
    #[arg(value_name = "REV[:PATH]")]
    new: RevPath,

    /// How it is written [default: text, and json with --json].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Write it to a file, such as one that a mail is made of.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Send it to this address as a mail, as text or as a page.
    #[arg(long, value_name = "ADDRESS", requires = "from", requires = "smtp", conflicts_with = "output")]
    mail: Vec<Mailbox>,

    /// Who sends the mail.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Mailbox>,

    /// The server that takes the mail: `smtp://HOST:PORT`, or `smtps://USER:PASSWORD@HOST`.
    #[arg(long, value_name = "URL", env = "CFS_SMTP")]
    smtp: Option<String>,

    /// What the mail is about [default: the new compose].
    #[arg(long)]
    subject: Option<String>,

    /// Do not send the mail; print what it would hold.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Counts and sizes, and a line for each package.
    Text,
    /// The same with everything about each package, and its changelog.
    Verbose,
    /// For programs.
    Json,
    /// A page.
    Html,
}

/// Runs `cfs changelog`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let log = changelog::between(&depot, &args.old, &args.new)?;
    let format = match args.format {
        Some(format) => format,
        None if context.output.is_json() => Format::Json,
        None => Format::Text,
    };
    let text = match format {
        Format::Text => changelog::text(&log),
        Format::Verbose => changelog::verbose(&log),
        Format::Json => format!("{}\n", value(&log)),
        Format::Html => changelog::html(&log),
    };
    if !args.mail.is_empty() && !args.dry_run {
        mail::send(args, &log, text, format == Format::Html)?;
        let to: Vec<String> = args.mail.iter().map(ToString::to_string).collect();
        let to = to.join(", ");
        return context.output.result(format_args!("sent to {to}"), &json!({ "sent_to": to }));
    }
    match &args.output {
        Some(path) => fs::write(path, text).map_err(|error| CommandError::io("write", path, error)),
        None => context.output.line(text.trim_end()),
    }
}

fn value(log: &Changelog) -> Value {
    let images = |images: &[Image]| -> Vec<Value> {
        let image = |image: &Image| json!({ "path": image.path, "size_bytes": image.size_bytes });
        images.iter().map(image).collect()
    };
    let changes = |changes: &[Change]| -> Vec<Value> {
        let change = |change: &Change| {
            let entries: Vec<Value> = change
                .entries
                .iter()
                .map(|entry| json!({ "time": entry.time, "author": entry.author, "text": entry.text }))
                .collect();
            let mut value = build(&change.new);
            value["before"] = build(&change.old);
            value["growth_bytes"] = change.growth_bytes().into();
            value["changelog"] = entries.into();
            value
        };
        changes.iter().map(change).collect()
    };
    let builds = |builds: &[Build]| builds.iter().map(build).collect::<Vec<_>>();
    let moved = |one: &Move| {
        let mut value = build(&one.build);
        value["from"] = json!(one.from);
        value
    };
    json!({
        "old": log.old, "new": log.new,
        "added_images": images(&log.added_images), "dropped_images": images(&log.dropped_images),
        "added": builds(&log.added), "dropped": builds(&log.dropped),
        "upgraded": changes(&log.upgraded), "downgraded": changes(&log.downgraded),
        "moved": log.moved.iter().map(moved).collect::<Vec<_>>(),
    })
}

fn build(build: &Build) -> Value {
    json!({
        "package": build.nvr(), "name": build.name, "epoch": build.epoch, "version": build.version,
        "release": build.release, "summary": build.summary, "rpms": build.packages,
        "size_bytes": build.size_bytes(), "repositories": build.repositories,
    })
}
