//! `cfs policy`

use std::path::PathBuf;

use cfs_indexer::policy::{Request, apply, plan};
use cfs_indexer::refname::RefName;
use cfs_indexer::revision::{RefPath, Revision, When};
use cfs_indexer::snapshot::Rule;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::context::Context;
use crate::report::CommandError;

/// Say who may read what in a view: embargo a release, or lift the embargo.
///
/// The rule is part of the view's snapshots: it holds from a flip on that changes nothing else, and until it is
/// unset. Owner and group of a view's top hold for everything in it, all other rules for their path alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a rule hold.
    Set {
        /// The view, and the path in it.
        #[arg(value_name = "REF[:PATH]")]
        place: RefPath,

        /// Permission bits, such as 0750.
        #[arg(long, value_parser = parse_mode, required_unless_present_any = ["owner", "group"])]
        mode: Option<u16>,

        /// Number of the user it belongs to.
        #[arg(long, value_name = "UID")]
        owner: Option<u32>,

        /// Number of the group.
        #[arg(long, value_name = "GID")]
        group: Option<u32>,

        #[command(flatten)]
        how: How,
    },
    /// Take a rule away.
    Unset {
        /// The view, and the path in it.
        #[arg(value_name = "REF[:PATH]")]
        place: RefPath,

        #[command(flatten)]
        how: How,
    },
    /// List the rules.
    Show {
        /// The view.
        #[arg(value_name = "REF")]
        name: RefName,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// The SSH key to sign the move with, where the view has `signers` [default: the configuration's `signing-key`].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Print what would hold, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn parse_mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("{text:?} is no mode: three or four octal digits are, at most 0777"))
}

impl Args {
    /// Whether a file of the host is named.
    pub fn names_file(&self) -> bool {
        match &self.verb {
            Verb::Set { how, .. } | Verb::Unset { how, .. } => how.key.is_some(),
            Verb::Show { .. } => false,
        }
    }
}

/// Runs `cfs policy`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    match &args.verb {
        Verb::Show { name } => show(name, context),
        Verb::Set { place, mode, owner, group, how } => {
            let rule = Some(Rule { mode: *mode, owner: *owner, group: *group });
            change(place, rule, how, context)
        }
        Verb::Unset { place, how } => change(place, None, how, context),
    }
}

fn change(place: &RefPath, rule: Option<Rule>, how: &How, context: &Context<'_>) -> Result<(), CommandError> {
    context.may(&place.name)?;
    let depot = context.depot()?;
    let request = Request { place: place.clone(), rule, message: how.message.clone() };
    let (config, signer) = (&context.config_with(how.key.as_deref()), context.signer());
    let words = rule.map_or("as usual".to_owned(), |rule| text(&rule));
    if how.dry_run {
        let plan = plan(&depot, config, &request, &signer)?;
        let changed = plan.changes.iter().any(cfs_indexer::promote::flip::Change::is_some);
        let value = json!({ "dry_run": true, "place": place.to_string(), "changed": changed });
        return context.output.result(format_args!("{place} would be {words}"), &value);
    }
    let update = apply(&depot, config, &request, &signer)?;
    let value = json!({
        "changed": update.is_some(), "place": place.to_string(),
        "snapshot": update.as_ref().map(|update| update.id.to_string()),
        "generation": update.as_ref().map(|update| update.generation),
    });
    match update {
        None => context.output.result(format_args!("{place} is so already; nothing changed"), &value),
        Some(update) => {
            context.flip(&depot);
            let (id, generation) = (update.id, update.generation);
            let text = format!("{place} is {words} now; snapshot {id}, generation {generation}");
            context.output.result(text, &value)?;
            context.tell_hooks(&depot)
        }
    }
}

fn show(name: &RefName, context: &Context<'_>) -> Result<(), CommandError> {
    let revision = Revision { base: name.clone(), when: When::Now };
    let (_, snapshot) = context.depot()?.catalogue.resolve(&revision)?;
    for (path, rule) in &snapshot.access {
        context.output.result(format_args!("{}  /{path}", text(rule)), &value(path.as_str(), rule))?;
    }
    Ok(())
}

/// A rule for people.
pub(super) fn text(rule: &Rule) -> String {
    let mut words = Vec::new();
    words.extend(rule.mode.map(|mode| format!("mode {mode:04o}")));
    words.extend(rule.owner.map(|owner| format!("owner {owner}")));
    words.extend(rule.group.map(|group| format!("group {group}")));
    words.join(", ")
}

/// A rule for programs.
pub(super) fn value(path: &str, rule: &Rule) -> Value {
    let mode = rule.mode.map(|mode| format!("{mode:04o}"));
    json!({ "path": format!("/{path}"), "mode": mode, "owner": rule.owner, "group": rule.group })
}
