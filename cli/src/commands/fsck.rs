//! `cfs fsck`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use cfs_fs::store::Store;
use cfs_indexer::depot::Depot;
use cfs_indexer::fsck::{
    self, Checked, Finding, FsckError, Level, Options, Phase, Progress, RepairError, Repaired, Report,
    Sources,
};
use cfs_indexer::sync::fetch;
use serde_json::{Value, json};

use crate::context::Context;
use crate::interrupt;
use crate::output::{count, size, time};
use crate::report::{CommandError, Kind};

/// Check whether the store is whole.
///
/// Everybody can go on working meanwhile, but for `cfs gc`, which does not run beside the levels tree and upstream.
/// Exits with 0 when nothing is damaged, and with 4 when something is; says what it did not look at. Without
/// --repair it changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How closely to look; each level includes those before it, but upstream does not read all bytes.
    #[arg(long, value_enum, default_value_t = LevelArg::Tree)]
    level: LevelArg,

    /// Read at most so many MiB of blobs in a second.
    #[arg(long, value_name = "MIB")]
    rate: Option<u64>,

    /// Read all blobs anew instead of going on where the last reading ended.
    #[arg(long)]
    restart: bool,

    /// Make good what was found, and look again: bad blobs go to the directory quarantine of the store and are
    /// fetched again, nodes are taken from commit files, a damaged catalogue is rebuilt (see `cfs reindex`). Nothing
    /// is deleted.
    #[arg(long)]
    repair: bool,

    /// With --repair: another store that may have what is missing; may be given several times.
    #[arg(long, value_name = "DIR", requires = "repair")]
    from: Vec<PathBuf>,

    /// With --repair: do not ask the repositories that blobs came from.
    #[arg(long, requires = "repair")]
    offline: bool,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LevelArg {
    /// Refs, snapshots, the tops of trees, the reflog: some milliseconds.
    Quick,
    /// Every node, every commit file, every blob's size and mode.
    Tree,
    /// Every byte of every blob.
    Data,
    /// Whether repositories are what their metadata says.
    Upstream,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Quick => Self::Quick,
            LevelArg::Tree => Self::Tree,
            LevelArg::Data => Self::Data,
            LevelArg::Upstream => Self::Upstream,
        }
    }
}

/// Runs `cfs fsck`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let report = check(args, args.level.into(), context)?;
    if !args.repair || report.findings.is_empty() {
        print(&report, None, context)?;
        return verdict(&report);
    }
    for finding in &report.findings {
        context.output.note(format_args!("found: {finding}"));
    }
    let repaired = repair(args, &report, context)?;
    // What was read once need not be read again: what came anew was verified on its way.
    let level = if args.level == LevelArg::Data { Level::Tree } else { args.level.into() };
    let after = check(args, level, context)?;
    print(&after, Some(&repaired), context)?;
    verdict(&after)
}

fn verdict(report: &Report) -> Result<(), CommandError> {
    if report.is_damaged() { Err(CommandError::found_damage()) } else { Ok(()) }
}

fn repair(args: &Args, report: &Report, context: &Context<'_>) -> Result<Repaired, CommandError> {
    let stores = args.from.iter().map(|dir| Store::open(dir)).collect::<Result<Vec<_>, _>>()?;
    let options = fetch::Options::default();
    let sources = Sources { stores, upstreams: (!args.offline).then_some(&options) };
    let done = fsck::repair(&context.settings.store, &report.findings, &sources, context.signer().now);
    done.map_err(|error| match error {
        RepairError::Catalogue(error) => error.into(),
        RepairError::Reindex(error) => error.into(),
    })
}

fn check(args: &Args, level: Level, context: &Context<'_>) -> Result<Report, CommandError> {
    let depot = match Depot::open(&context.settings.store) {
        Ok(depot) => depot,
        Err(error) => return unopened(fsck::unreadable(&error), error.into()),
    };
    let options = Options {
        level,
        now: context.signer().now,
        rate_bytes: args.rate.map(|mib| mib.saturating_mul(1 << 20)),
        restart: args.restart,
    };
    let stop = interrupt::flag()?;
    let bar = context.output.progress("fsck");
    let result = fsck::check(&depot, &options, &mut |progress| {
        show(&bar, &progress);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    result.map_err(failed)
}

/// A catalogue that cannot be opened is what was found, when that is its own fault.
fn unopened(finding: Option<Finding>, error: CommandError) -> Result<Report, CommandError> {
    let finding = finding.ok_or(error)?;
    let unchecked = vec!["everything else"];
    Ok(Report { findings: vec![finding], checked: Checked::default(), resumed: None, unchecked })
}

fn show(bar: &indicatif::ProgressBar, progress: &Progress) {
    let what = match progress.phase {
        Phase::Waiting => "waits for a collection of garbage",
        Phase::Quick => "looks at refs",
        Phase::Structure => "looks at the catalogue",
        Phase::Nodes => "looks at nodes",
        Phase::Commits => "reads commit files",
        Phase::Files => "looks at files",
        Phase::Data => "reads",
        Phase::Repositories => "looks at repositories",
    };
    bar.set_length(progress.total.unwrap_or(0));
    bar.set_position(progress.done);
    bar.set_message(what);
}

fn print(report: &Report, repaired: Option<&Repaired>, context: &Context<'_>) -> Result<(), CommandError> {
    let output = context.output;
    if output.is_json() {
        let mut value = value(report);
        if let Some(Repaired { done, left }) = repaired {
            value["repaired"] = json!({ "done": done, "left": left });
        }
        return output.json(&value);
    }
    if let Some(Repaired { done, left }) = repaired {
        done.iter().try_for_each(|line| output.line(line))?;
        left.iter().try_for_each(|line| output.line(format_args!("left: {line}")))?;
    }
    if let Some(resumed) = &report.resumed {
        let began = time(resumed.began);
        output.note(format_args!(
            "the reading that began at {began} went on after blob {}",
            resumed.after.short()
        ));
    }
    for finding in &report.findings {
        output.line(finding)?;
        finding.places.iter().try_for_each(|place| output.line(format_args!("  {place}")))?;
    }
    output.line(words(report))?;
    output.note(format_args!("not looked at: {}", report.unchecked.join("; ")));
    Ok(())
}

fn value(report: &Report) -> Value {
    let Checked {
        refs,
        moves,
        snapshots,
        nodes,
        commits,
        blobs,
        blob_bytes,
        read_blobs,
        read_bytes,
        repositories,
    } = report.checked;
    let finding = |finding: &Finding| {
        json!({
            "kind": finding.kind.name(),
            "damage": finding.kind.is_damage(),
            "object": finding.object.to_string(),
            "what": finding.what,
            "places": finding.places,
        })
    };
    json!({
        "damaged": report.is_damaged(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "checked": {
            "refs": refs, "moves": moves, "snapshots": snapshots, "nodes": nodes, "commits": commits,
            "blobs": blobs, "blob_bytes": blob_bytes, "read_blobs": read_blobs, "read_bytes": read_bytes,
            "repositories": repositories,
        },
        "resumed_after": report.resumed.map(|resumed| resumed.after.to_string()),
        "unchecked": report.unchecked,
    })
}

fn words(report: &Report) -> String {
    let checked = &report.checked;
    let mut parts = vec![
        format!("{} refs", count(checked.refs)),
        format!("{} moves", count(checked.moves)),
        format!("{} snapshots", count(checked.snapshots)),
    ];
    if checked.nodes > 0 {
        parts.push(format!("{} nodes", count(checked.nodes)));
        parts.push(format!("{} blobs ({})", count(checked.blobs), size(checked.blob_bytes)));
    }
    if checked.read_blobs > 0 {
        parts.push(format!("{} read", size(checked.read_bytes)));
    }
    if checked.repositories > 0 {
        parts.push(format!("{} repositories", count(checked.repositories)));
    }
    let damage = report.findings.iter().filter(|finding| finding.kind.is_damage()).count();
    let verdict = match damage {
        0 => "nothing is damaged".to_owned(),
        damage => format!("{} findings of damage", count(damage as u64)),
    };
    format!("{verdict}; looked at {}", parts.join(", "))
}

fn failed(error: FsckError) -> CommandError {
    match error {
        FsckError::Catalogue(error) => error.into(),
        error @ FsckError::Stopped => {
            CommandError::new(Kind::Failed, error).hint("a reading of all blobs goes on where it was")
        }
        error @ FsckError::Reading => CommandError::new(Kind::Failed, error),
    }
}
