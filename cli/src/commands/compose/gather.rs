//! What gathering a release and gathering a group's part of one have in common.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use cfs_fs::name::TreePath;
use cfs_indexer::address::Address;
use cfs_indexer::compose::{
    Closed, ComposeError, Options, Outcome, Planned, PlannedTree, Recipe, Report, Run, Selection, closed,
    plan, sync,
};
use cfs_indexer::config::{Config, Fetch};
use cfs_indexer::sync::{self, Progress, SyncError, fetch};
use serde_json::{Value, json};

use super::groups;
use crate::commands::closure;
use crate::context::Context;
use crate::downloads::{keyring, show};
use crate::interrupt;
use crate::output::{count, size};
use crate::report::{CommandError, Kind, with_causes};

/// What to gather and how.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Flags {
    /// Make a new compose.
    #[arg(long, conflicts_with = "resume")]
    full_run: bool,

    /// Go on with the newest full run that did not end.
    #[arg(long)]
    resume: bool,

    /// These repositories only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    repo: Vec<String>,

    /// These architectures only.
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<String>,

    /// No debug packages.
    #[arg(long)]
    ignore_debug: bool,

    /// No source packages.
    #[arg(long)]
    ignore_source: bool,

    /// Ask for packages in directories of their first letters, as `hashed = true` in the upstream's table does.
    #[arg(long)]
    hashed: bool,

    /// Remove packages that the upstream no longer lists; without it they stay in an update.
    #[arg(long)]
    clean_old_packages: bool,

    /// Write .treeinfo, .discinfo and media.repo anew.
    #[arg(long)]
    refresh_treeinfo: bool,

    /// Get the extra files anew.
    #[arg(long)]
    refresh_extra_files: bool,

    /// Accept packages that are not signed.
    #[arg(long)]
    disable_gpg_check: bool,

    /// Accept metadata that is not signed.
    #[arg(long)]
    disable_repo_gpg_check: bool,

    /// Accept checksums and signatures that rest on MD5 or SHA-1, which can be forged.
    #[arg(long)]
    allow_weak_checksums: bool,

    /// Accept metadata that is older than what was synced last.
    #[arg(long)]
    allow_rollback: bool,

    /// Look afterwards whether the repositories are closed, each with those that the configuration lets it need;
    /// exit status 1 when packages lack something.
    #[arg(long, conflicts_with = "dry_run")]
    repoclosure: bool,

    /// Downloads at once.
    #[arg(long, value_name = "N", default_value_t = 16)]
    jobs: u8,

    /// How often a file is tried in all.
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts: u8,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Print what would be downloaded, and change nothing that anybody reads.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Flags {
    /// What of the release is wanted.
    pub fn selection(&self) -> Selection {
        Selection {
            repositories: self.repo.clone(),
            arches: self.arch.clone(),
            ignore_debug: self.ignore_debug,
            ignore_source: self.ignore_source,
            hashed: self.hashed,
        }
    }

    fn run(&self) -> Run {
        match (self.full_run, self.resume) {
            (true, _) => Run::Full,
            (_, true) => Run::Resume,
            _ => Run::Update,
        }
    }

    fn fetch(&self, config: &Fetch) -> fetch::Options {
        fetch::Options {
            https_only: config.https_only,
            private_hosts: config.private_hosts.clone(),
            jobs: usize::from(self.jobs.max(1)),
            attempts: u32::from(self.attempts.max(1)),
            ..fetch::Options::default()
        }
    }
}

/// Gathers, and prints what came of it.
pub fn run(recipe: &Recipe, flags: &Flags, context: &Context<'_>) -> Result<(), CommandError> {
    let options = options(recipe, flags, &context.settings.configuration.1)?;
    context.may_write(&recipe.latest)?;
    let depot = context.depot()?;
    let interrupted = interrupt::flag()?;
    let bar = context.output.progress("compose");
    let mut on_progress = |progress: &Progress| {
        show(&bar, progress);
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if flags.dry_run {
        let planned = plan(&depot, recipe, &options, &context.signer(), &mut on_progress);
        bar.finish_and_clear();
        return print_plan(&planned.map_err(|error| failed(error, recipe))?, context);
    }
    let done = sync(&depot, recipe, &options, &context.signer(), &mut on_progress);
    bar.finish_and_clear();
    let report = done.map_err(|error| failed(error, recipe))?;
    let checked = if flags.repoclosure && report.is_whole() {
        closed(&depot, recipe, &report.compose).map_err(|error| failed(error, recipe))?
    } else {
        Vec::new()
    };
    print(&report, &checked, flags, context)?;
    verdict(recipe, flags, &checked)
}

/// An error when packages of a repository lack something, or a repository cannot be read.
fn verdict(recipe: &Recipe, flags: &Flags, checked: &[Closed]) -> Result<(), CommandError> {
    if flags.repoclosure && checked.is_empty() {
        let error = CommandError::usage(format!("{}: no closure is configured", recipe.latest));
        return Err(error.hint("[release.NAME.closure] says which repositories each one may need"));
    }
    let open = |closed: &&Closed| closed.outcome.as_ref().map_or(true, |report| !report.problems.is_empty());
    let open: Vec<String> = checked.iter().filter(open).map(|closed| closed.path.to_string()).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(CommandError { details: open, ..CommandError::new(Kind::No, "not everything is closed") })
}

fn closed_text(closed: &Closed) -> String {
    let path = &closed.path;
    let report = match &closed.outcome {
        Ok(report) => report,
        Err(error) => return format!("closure of {path}: {}", with_causes(error)),
    };
    let (bad, all) = (report.problems.len() as u64, report.checked as u64);
    let mut text = format!("closure of {path}: {} of {} packages have problems", count(bad), count(all));
    for problem in &report.problems {
        text.push('\n');
        text.push_str(&closure::text(problem, true));
    }
    text
}

fn closed_value(closed: &Closed) -> Value {
    match &closed.outcome {
        Ok(report) => json!({
            "tree": closed.path.to_string(),
            "checked": report.checked,
            "problems": report.problems.iter().map(closure::value).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "tree": closed.path.to_string(), "error": with_causes(error) }),
    }
}

fn options(recipe: &Recipe, flags: &Flags, config: &Config) -> Result<Options, CommandError> {
    let fetch = flags.fetch(&config.fetch);
    let groups = groups::read(recipe, config, &fetch)?;
    let default = sync::Options::default();
    let refresh = flags.full_run || flags.resume || flags.refresh_extra_files;
    let extra_files = recipe.upstream.extra_files.as_ref().filter(|_| refresh);
    let extra_files = extra_files.map(|files| extra(files, &fetch)).transpose()?;
    let both = flags.disable_gpg_check && (flags.disable_repo_gpg_check || !recipe.upstream.repo_gpg_check);
    // Those of a group stand in its repositories, too.
    let is_group = recipe.group.is_some();
    let places = recipe.upstream.gpg_keys.0.iter().filter(|_| is_group || !both);
    let files = places.map(|place| key_file(place, &fetch)).collect::<Result<Vec<_>, _>>()?;
    let name = |place: &str| place.rsplit('/').next().unwrap_or_default().to_owned();
    let of_tree = files.iter().filter(|_| is_group).map(|(place, bytes)| (name(place), bytes.clone()));
    let tree_files = of_tree.collect();
    let keys = keyring(files.into_iter().filter(|_| !both).map(Ok))?;
    Ok(Options {
        run: flags.run(),
        clean_old_packages: flags.clean_old_packages,
        refresh_treeinfo: flags.refresh_treeinfo,
        extra_files,
        tree_files,
        groups,
        keys,
        sync: sync::Options {
            fetch,
            weak_checksums: flags.allow_weak_checksums,
            unsigned_metadata: flags.disable_repo_gpg_check || !recipe.upstream.repo_gpg_check,
            unsigned_packages: flags.disable_gpg_check,
            files_max: config.fetch.max_files.unwrap_or(default.files_max),
            bytes_max: config.fetch.max_bytes.unwrap_or(default.bytes_max),
            older: flags.allow_rollback,
            ..default
        },
        message: flags.message.clone(),
    })
}

/// A file of keys, which may be at an address.
fn key_file(place: &str, options: &fetch::Options) -> Result<(String, Vec<u8>), CommandError> {
    let bytes = file_at(place, options).map_err(|(kind, reason)| CommandError::new(kind, reason))?;
    Ok((place.to_owned(), bytes))
}

/// A file that the configuration names, which may be at an address; or why it cannot be had.
pub fn file_at(place: &str, options: &fetch::Options) -> Result<Vec<u8>, (Kind, String)> {
    if place.contains("://") {
        let split = sync::split(place).map_err(|reason| (Kind::Usage, reason))?;
        let failed = |failure: sync::Failure| (Kind::Failed, format!("{}: {}", failure.url, failure.reason));
        let mut files = sync::small_files(options, &[split]).map_err(failed)?;
        Ok(files.pop().unwrap_or_default())
    } else {
        fs::read(place).map_err(|error| (Kind::Failed, format!("{place}: cannot read: {error}")))
    }
}

fn extra(
    files: &cfs_indexer::config::ExtraFiles,
    options: &fetch::Options,
) -> Result<Vec<(String, Vec<u8>)>, CommandError> {
    let address: Address = files.url.parse().map_err(|error| CommandError::usage(format!("{error}")))?;
    let mut places = Vec::new();
    for file in &files.files {
        let path = TreePath::new(file.as_str()).map_err(|error| CommandError::usage(error.to_string()))?;
        places.push((address.clone(), path));
    }
    let contents = sync::small_files(options, &places).map_err(|failure| unavailable(&failure))?;
    let name = |path: &TreePath| path.components().next_back().unwrap_or_default().to_owned();
    Ok(places.iter().map(|(_, path)| name(path)).zip(contents).collect())
}

fn unavailable(failure: &sync::Failure) -> CommandError {
    CommandError::new(Kind::Failed, format!("{}: {}", failure.url, failure.reason))
}

fn print_plan(planned: &Planned, context: &Context<'_>) -> Result<(), CommandError> {
    let mut failures = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for PlannedTree { tree, survey, groups } in &planned.trees {
        match survey {
            Err(error) => failures.push(format!("{}: {}", tree.path, with_causes(error))),
            Ok(survey) => {
                files += survey.missing_files;
                bytes += survey.missing_bytes;
                let mut text = match survey.packages {
                    None => format!("{}: nothing has changed", tree.path),
                    Some(packages) => format!(
                        "{}: {} packages, {} to be downloaded, {}",
                        tree.path,
                        count(packages),
                        count(survey.missing_files),
                        size(survey.missing_bytes)
                    ),
                };
                if *groups {
                    text.push_str("; would get its groups");
                }
                let value = json!({
                    "tree": tree.path.to_string(),
                    "groups": groups,
                    "packages": survey.packages,
                    "missing_files": survey.missing_files,
                    "missing_bytes": survey.missing_bytes,
                });
                context.output.result(text, &value)?;
            }
        }
    }
    let compose = planned.compose.as_ref().map_or("a new compose".to_owned(), ToString::to_string);
    let text = format!("{compose}: {} files to be downloaded, {}", count(files), size(bytes));
    let compose = planned.compose.as_ref().map(ToString::to_string);
    let value =
        json!({ "compose": compose, "missing_files": files, "missing_bytes": bytes, "failures": failures });
    context.output.result(text, &value)?;
    whole(failures, "some of it cannot be had")
}

/// What is said of a tree that is there.
fn whole_tree(name: &str, outcome: &Outcome) -> (String, Value) {
    let (packages, same) = match outcome.packages {
        Some(number) => (format!("{} packages, ", count(number)), ""),
        None => (String::new(), "; upstream has not changed"),
    };
    let (files, bytes) = (count(outcome.files), size(outcome.bytes));
    let groups = groups::text(outcome.groups);
    let value = json!({
        "tree": name,
        "ok": true,
        "packages": outcome.packages,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "groups": groups::value(outcome.groups),
    });
    (format!("{name}: {packages}{files} files, {bytes}{same}{groups}"), value)
}

fn print(
    report: &Report,
    checked: &[Closed],
    flags: &Flags,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let mut failures = Vec::new();
    let mut trees: Vec<Value> = Vec::new();
    for one in &report.trees {
        let name = one.tree.path.to_string();
        match &one.outcome {
            Ok(outcome) => {
                let (text, value) = whole_tree(&name, outcome);
                if !context.output.is_json() {
                    context.output.line(text)?;
                }
                trees.push(value);
            }
            Err(error) => {
                failures.push(format!("{name}: {}", with_causes(error)));
                let details = match error {
                    SyncError::Failed { failures, .. } => failures
                        .iter()
                        .map(|failure| format!("{}: {}", failure.url, failure.reason))
                        .collect(),
                    _ => Vec::new(),
                };
                failures.extend(details.iter().map(|detail| format!("  {detail}")));
                trees.push(
                    json!({ "tree": name, "ok": false, "error": with_causes(error), "failures": details }),
                );
            }
        }
    }
    failures.extend(report.missing.iter().map(|path| format!("{path}: has not been gathered")));
    let update = report.update.as_ref();
    let text = format!(
        "{}: {} files downloaded, {}; {}{}",
        report.compose,
        count(report.fetched_files),
        size(report.fetched_bytes),
        update.map_or("nothing changed".to_owned(), |update| format!("generation {}", update.generation)),
        report.latest.as_ref().map(|latest| format!("; {latest} names it now")).unwrap_or_default(),
    );
    let value = json!({
        "compose": report.compose.to_string(),
        "whole": report.is_whole(),
        "trees": trees,
        "fetched_files": report.fetched_files,
        "fetched_bytes": report.fetched_bytes,
        "snapshot": update.map(|update| update.id.to_string()),
        "generation": update.map(|update| update.generation),
        "latest": report.latest.as_ref().map(ToString::to_string),
        "missing": report.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "absent": report.absent.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "closure": checked.iter().map(closed_value).collect::<Vec<_>>(),
    });
    if !context.output.is_json() {
        checked.iter().try_for_each(|closed| context.output.line(closed_text(closed)))?;
    }
    context.output.result(text, &value)?;
    remark(report, flags, context);
    let what = if flags.run() == Run::Update {
        format!("{}: stays as it was, since some of it cannot be had", report.compose)
    } else {
        format!("{}: is not whole", report.compose)
    };
    whole(failures, &what)
}

/// Says what somebody may not expect of a compose that is whole.
fn remark(report: &Report, flags: &Flags, context: &Context<'_>) {
    let compose = &report.compose;
    for (tree, name) in
        report.trees.iter().flat_map(|one| one.duplicates.iter().map(|name| (&one.tree.path, name)))
    {
        let text = format_args!("warning: {tree}: {name} is listed several times, with different contents");
        context.output.note(text);
    }
    if flags.run() != Run::Update && report.is_whole() && report.latest.is_none() {
        context.output.note(format_args!("{compose}: is whole; a newer compose stays the latest"));
    }
    if let Some(first) = report.absent.first() {
        let number = count(report.absent.len() as u64);
        let text = format_args!("{compose}: {number} trees of the release are not in it, such as {first}");
        context.output.note(text);
    }
}

/// An error that lists what failed, if anything did.
fn whole(failures: Vec<String>, what: &str) -> Result<(), CommandError> {
    if failures.is_empty() {
        return Ok(());
    }
    let error = CommandError { details: failures, ..CommandError::new(Kind::Failed, what) };
    Err(error.hint(
        "what was downloaded is kept; --resume goes on with a full run, the same command with an update",
    ))
}

/// The error for a compose that was not made.
pub fn failed(error: ComposeError, recipe: &Recipe) -> CommandError {
    self::error(error, Some(recipe))
}

/// As [`failed`], where there may be no recipe.
pub fn error(error: ComposeError, recipe: Option<&Recipe>) -> CommandError {
    let hint = match &error {
        ComposeError::NoLatest { .. } => "--full-run makes one",
        ComposeError::NothingUnfinished { .. } => "--full-run makes a new compose",
        ComposeError::Sealed { .. } => "--full-run makes a new one",
        ComposeError::Hashed { is_hashed: true, .. } => {
            "every package would stand twice: `hashed = true` in the upstream's table, or --hashed, asks for them again"
        }
        ComposeError::Hashed { .. } => {
            "every package would stand twice: --full-run makes a compose with them"
        }
        ComposeError::Sync(SyncError::Stopped { .. }) => {
            "what was downloaded is kept; --resume goes on with a full run, the same command with an update"
        }
        _ => "",
    };
    match error {
        ComposeError::Catalogue(error) => error.into(),
        ComposeError::Edit(error) => error.into(),
        error => {
            let text = match &error {
                ComposeError::Sync(error) => {
                    let about = recipe.map(|recipe| format!("{}: ", recipe.latest)).unwrap_or_default();
                    format!("{about}{}", with_causes(error))
                }
                error => with_causes(error),
            };
            let error = CommandError::new(Kind::Failed, text);
            if hint.is_empty() { error } else { error.hint(hint) }
        }
    }
}
