//! `cfs closure`

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cfs_indexer::arch;
use cfs_indexer::closure::places::{self, ClosureError, Found, Places};
use cfs_indexer::closure::{self, Missing, Problem, Question, Reading, Report, Unresolved};
use cfs_indexer::config::nearest;
use cfs_indexer::revision::{RevPath, Revision};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::{self, count};
use crate::report::CommandError;

/// Find packages whose dependencies cannot be met.
///
/// All repositories at and below the place are looked at, by the metadata that they publish. Rich dependencies are
/// understood exactly; weak ones do not count. Exit status 1 when there are problems.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line")]
pub struct Args {
    /// The repositories to look at.
    #[arg(value_name = "REV[:PATH]")]
    place: RevPath,

    /// Repositories whose packages may be needed beside them.
    #[arg(long, value_name = "REV[:PATH]")]
    lookaside: Vec<RevPath>,

    /// Look at it as a machine of this architecture does [default: all that the packages are for, one by one].
    #[arg(long, value_name = "ARCH")]
    arch: Vec<String>,

    /// Of each name and architecture in a repository, only the newest package counts.
    #[arg(long)]
    newest: bool,

    /// Look at these packages only: name, name.arch, name-version-release and so on, with * and ?.
    #[arg(long = "pkg", value_name = "PACKAGE")]
    packages: Vec<String>,

    /// Recommended and suggested packages must be there too.
    #[arg(long)]
    weak: bool,

    /// Source packages must find what they need for being built.
    #[arg(long)]
    source: bool,

    /// Find packages too that have what they need but cannot be installed, because of what conflicts or is obsoleted.
    #[arg(long)]
    installable: bool,

    /// Print only problems that are not there in REV, and look only at what can have them.
    #[arg(long, value_name = "REV")]
    since: Option<Revision>,

    /// Answer as another program does, in its words.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["installable", "weak"])]
    compat: Option<Compat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// `dnf repoclosure`, which takes a rich dependency as met when one of its packages is there.
    Dnf,
}

/// Runs `cfs closure`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let places =
        Places { checked: args.place.clone(), lookaside: args.lookaside.clone(), since: args.since.clone() };
    let found = places::read(&depot, &places)?;
    let there = closure::machines(&found.universe, &found.now.checked);
    check_known(&args.arch, &there)?;
    let machines = if args.arch.is_empty() { there } else { args.arch.clone() };
    let several = machines.len() > 1;
    let mut asked: Vec<Option<String>> = machines.into_iter().map(Some).collect();
    if asked.is_empty() {
        asked.push(None);
    }
    let mut all = Report::default();
    for machine in asked {
        let report = ask(args, &found, machine)?;
        all.checked += report.checked;
        all.problems.extend(report.problems);
    }
    if args.compat.is_some() && !context.output.is_json() {
        return as_dnf(&all.problems, context);
    }
    for problem in &all.problems {
        context.output.result(text(problem, several), &value(problem))?;
    }
    context.output.finish()?;
    let (bad, looked_at) = (all.problems.len() as u64, all.checked as u64);
    let what = if args.since.is_some() { "have new problems" } else { "have problems" };
    context.output.note(format_args!("{} of {} packages {what}", count(bad), count(looked_at)));
    if all.problems.is_empty() { Ok(()) } else { Err(CommandError::answered_no()) }
}

/// Refuses to look at packages as machines that nobody knows and no package is for.
fn check_known(asked: &[String], there: &[String]) -> Result<(), CommandError> {
    let mut known: BTreeSet<&str> = arch::known().collect();
    known.extend(there.iter().map(String::as_str));
    let Some(unknown) = asked.iter().find(|name| !known.contains(name.as_str())) else { return Ok(()) };
    let error = CommandError::usage(format!("no architecture is called {unknown:?}"));
    Err(match nearest(unknown, known.iter().copied()) {
        Some(word) => error.hint(format!("is {word:?} meant?")),
        None => error.hint(format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", "))),
    })
}

fn ask(args: &Args, found: &Found, machine: Option<String>) -> Result<Report, ClosureError> {
    let question = Question {
        machine,
        newest: args.newest,
        weak: args.weak,
        installable: args.installable,
        sources: args.source,
        packages: args.packages.clone(),
        reading: if args.compat.is_some() { Reading::Dnf } else { Reading::Exact },
    };
    Ok(match &found.before {
        None => closure::check(&found.universe, &found.now, &question)?,
        Some(before) => closure::check_since(&found.universe, before, &found.now, &question)?,
    })
}

/// A problem for people.
pub fn text(problem: &Problem, several: bool) -> String {
    let mut text = format!("{} in {}", problem.package, problem.repository);
    // Writing to a string cannot fail.
    if let (true, Some(machine)) = (several, &problem.machine) {
        let _ = write!(text, " on {machine}");
    }
    for unresolved in &problem.unresolved {
        let _ = write!(text, "\n  {} {}: {}", verb(unresolved), unresolved.text, reason(unresolved));
    }
    if !problem.impossible.is_empty() {
        text.push_str("\n  cannot be installed:");
        problem.impossible.iter().for_each(|reason| text.extend(["\n    ", reason]));
    }
    text
}

fn verb(unresolved: &Unresolved) -> &'static str {
    use cfs_indexer::repodata::relation::Kind;
    match unresolved.kind {
        Kind::Recommends => "recommends",
        Kind::Suggests => "suggests",
        _ => "requires",
    }
}

fn reason(unresolved: &Unresolved) -> String {
    let there = |missing: &Missing| match missing.there.as_slice() {
        [] => String::new(),
        versions => format!(" (there is {})", versions.join(", ")),
    };
    match unresolved.missing.as_slice() {
        [] => "cannot be true".to_owned(),
        [one] if one.text == unresolved.text => format!("nothing provides it{}", there(one)),
        several => {
            let names: Vec<String> =
                several.iter().map(|missing| format!("{}{}", missing.text, there(missing))).collect();
            format!("nothing provides {}", names.join(", "))
        }
    }
}

/// A problem for programs.
pub fn value(problem: &Problem) -> Value {
    let unresolved = problem.unresolved.iter().map(|unresolved| {
        let missing = unresolved.missing.iter();
        let missing: Vec<Value> =
            missing.map(|missing| json!({ "name": missing.text, "there": missing.there })).collect();
        json!({ "kind": verb(unresolved), "dependency": unresolved.text, "missing": missing })
    });
    json!({
        "package": problem.package, "repository": problem.repository, "arch": problem.machine,
        "unresolved": unresolved.collect::<Vec<_>>(), "not_installable": problem.impossible,
    })
}

/// Prints problems as `dnf repoclosure` does, with the dependencies of a package in order.
fn as_dnf(problems: &[Problem], context: &Context<'_>) -> Result<(), CommandError> {
    let mut total = 0;
    for problem in problems {
        let mut texts: Vec<&str> = problem.unresolved.iter().map(|one| one.text.as_str()).collect();
        texts.sort_unstable();
        total += texts.len();
        context.output.line(format_args!("package: {} from {}", problem.package, problem.repository))?;
        context.output.line(format_args!("  unresolved deps ({}):", texts.len()))?;
        texts.iter().try_for_each(|text| context.output.line(format_args!("    {text}")))?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    output::error(format_args!(
        "Error: Repoclosure ended with unresolved dependencies ({total}) across {} packages.",
        problems.len()
    ));
    Err(CommandError::answered_no())
}
