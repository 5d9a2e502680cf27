//! `cfs promote`

use std::collections::BTreeMap;
use std::path::PathBuf;

use cfs_indexer::config::{self, Gate, Promotion};
use cfs_indexer::promote::gates::Wishes;
use cfs_indexer::promote::{Pattern, PromoteError, Request, Step, apply, plan};
use cfs_indexer::revision::RefPath;

use crate::context::Context;
use crate::report::{CommandError, Kind};
use crate::settings::misread;

mod print;

/// Make trees of some refs paths of others, atomically.
///
/// Readers see the old trees or the new ones, never a mixture, of all views that are named. A path becomes equal
/// to its source, unless --keep lets what the source lacks stay. Gates may refuse it: nothing changes then, and
/// the exit status is 1. Without -n, what is done is what --dry-run shows.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trees, each with the ref and the path in it that becomes it (a new ref is created), or the names of
    /// promotions of the configuration. All of them are one flip.
    #[arg(value_name = "SRC[:PATH] DST[:PATH] | NAME", required_unless_present = "plan")]
    what: Vec<String>,

    /// Promote what this file says; it is written as a promotion of the configuration is.
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    plan: Option<PathBuf>,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Keep what the target has and the source lacks.
    #[arg(long)]
    keep: bool,

    /// Neither take this from the source nor remove it from the target: a name at any depth, or a path that
    /// begins with /; * and ** as in rsync.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<Pattern>,

    /// Leave this as it is where the target has it.
    #[arg(long, value_name = "PATTERN")]
    protect: Vec<Pattern>,

    /// Make a symlink of a view say TARGET, in the same flip.
    #[arg(long, value_name = "REF:PATH=TARGET", value_parser = parse_link)]
    link: Vec<(RefPath, String)>,

    /// Let so many files be removed.
    #[arg(long, value_name = "N")]
    allow_deletes: Option<u64>,

    /// Demand a gate that the view's policy does not ask for.
    #[arg(long, value_name = "GATE")]
    gate: Vec<Gate>,

    /// Promote although this gate refuses it. Needs a message; who and why is recorded in the snapshot.
    #[arg(long, value_name = "GATE", requires = "message")]
    force: Vec<Gate>,

    /// The SSH key to sign the move with, where the view has `signers` [default: the configuration's `signing-key`].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Print what would change, and change nothing; with -v every path.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Args {
    /// Whether a file of the host is named.
    pub fn names_file(&self) -> bool {
        self.plan.is_some() || self.key.is_some()
    }
}

fn parse_link(text: &str) -> Result<(RefPath, String), String> {
    let (at, target) = text.split_once('=').ok_or("a = between the link and what it says is needed")?;
    let at: RefPath = at.parse().map_err(|error: cfs_indexer::revision::RevisionError| error.to_string())?;
    if at.path.is_root() || target.is_empty() {
        return Err("a path in a view and a target are needed".to_owned());
    }
    Ok((at, target.to_owned()))
}

/// Runs `cfs promote`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let request = request(args, context)?;
    let config = &context.config_with(args.key.as_deref());
    let targets = request.steps.iter().map(|step| &step.to).chain(request.links.keys());
    targets.map(|place| &place.name).try_for_each(|view| context.may(view))?;
    let depot = context.depot()?;
    let signer = context.signer();
    if args.dry_run {
        return match plan(&depot, config, &request, &signer) {
            Ok(plan) => print::plan(context, &depot, &request, &plan),
            Err(error) => Err(refused(context, &depot, &request, error, true)),
        };
    }
    match apply(&depot, config, &request, &signer) {
        Ok((plan, updates)) => {
            context.flip(&depot);
            print::done(context, &depot, &request, &plan, &updates)?;
            context.tell_hooks(&depot)
        }
        Err(error) => Err(refused(context, &depot, &request, error, false)),
    }
}

/// The error, and what the gates found when it is theirs.
fn refused(
    context: &Context<'_>,
    depot: &cfs_indexer::depot::Depot,
    request: &Request,
    error: PromoteError,
    is_dry: bool,
) -> CommandError {
    let PromoteError::Refused { plan, .. } = &error else { return error.into() };
    if context.output.is_json()
        && let Err(error) = print::refused(context, depot, request, plan, is_dry)
    {
        return error;
    }
    let details = print::findings(plan);
    let checks = plan.changes.iter().flat_map(|change| &change.checks);
    let hint = if checks.clone().any(|check| check.refuses() && check.gate == Gate::Approvals) {
        "nothing was changed; `cfs approve VIEW SNAPSHOT` is for the approvers of the view"
    } else {
        "nothing was changed; --force GATE with a message (-m) overrules a gate"
    };
    CommandError { details, ..error.into() }.hint(hint)
}

/// What the command line, the configuration or a file asks for.
fn request(args: &Args, context: &Context<'_>) -> Result<Request, CommandError> {
    let promotions = &context.settings.configuration.1.promotions;
    let mut request = Request { message: args.message.clone(), ..Request::default() };
    if let Some(path) = &args.plan {
        let text = std::fs::read_to_string(path).map_err(|error| CommandError::io("read", path, error))?;
        let promotion = config::parse_promotion(&text).map_err(|error| misread(path, error))?;
        add(&mut request, &promotion)?;
    } else if args.what.iter().all(|name| promotions.contains_key(name)) {
        args.what
            .iter()
            .filter_map(|name| promotions.get(name))
            .try_for_each(|each| add(&mut request, each))?;
    } else {
        pairs(&mut request, &args.what, promotions)?;
    }
    for step in &mut request.steps {
        step.keep |= args.keep;
        step.exclude.extend(args.exclude.iter().cloned());
        step.protect.extend(args.protect.iter().cloned());
    }
    request.links.extend(args.link.iter().cloned());
    request.gates = Wishes {
        force: args.force.iter().copied().collect(),
        allow_deletes: args.allow_deletes,
        also: args.gate.iter().copied().collect(),
        only: None,
    };
    if args.force.contains(&Gate::Approvals) {
        return Err(CommandError::usage("approvals cannot be overruled".to_owned()));
    }
    if !args.force.is_empty() && args.message.is_empty() {
        return Err(CommandError::usage("--force needs a message (-m) that says why".to_owned()));
    }
    Ok(request)
}

fn pairs(
    request: &mut Request,
    what: &[String],
    promotions: &BTreeMap<String, Promotion>,
) -> Result<(), CommandError> {
    if !what.len().is_multiple_of(2) {
        let mut error = CommandError::usage("each source needs a target".to_owned());
        if let [name] = what
            && !promotions.is_empty()
        {
            let names: Vec<&str> = promotions.keys().map(String::as_str).collect();
            error = CommandError::new(Kind::Usage, format!("no promotion is called {name:?}"))
                .hint(format!("the configuration has {}", names.join(", ")));
        }
        return Err(error);
    }
    for pair in what.chunks_exact(2) {
        let usage = |error: cfs_indexer::revision::RevisionError| CommandError::usage(error.to_string());
        request.steps.push(Step::plain(pair[0].parse().map_err(usage)?, pair[1].parse().map_err(usage)?));
    }
    Ok(())
}

fn add(request: &mut Request, promotion: &Promotion) -> Result<(), CommandError> {
    let patterns = |texts: &[String]| {
        let parsed = texts.iter().map(|text| text.parse::<Pattern>());
        parsed.collect::<Result<Vec<_>, _>>().map_err(|error| CommandError::usage(error.to_string()))
    };
    for step in promotion.steps() {
        request.steps.push(Step {
            from: step.from.0,
            to: step.to,
            keep: step.keep,
            exclude: patterns(&step.exclude)?,
            protect: patterns(&step.protect)?,
        });
    }
    request.links.extend(promotion.links.clone());
    if request.message.is_empty() {
        request.message.clone_from(&promotion.message);
    }
    Ok(())
}
