//! `cfs config`

use cfs_fs::name::TreePath;
use cfs_indexer::config::{Config, Hook, Step, View, WhoMay};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::context::Context;
use crate::report::CommandError;

/// Check the configuration file, or show what it says.
///
/// A file with a mistake is refused by every command, with the line and the word that was probably meant.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether the file can be used.
    Check,
    /// Print what holds, what is not written in the file included.
    Show,
}

/// Runs `cfs config`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    // It was read when the program started, so it is good.
    let (path, config) = &context.settings.configuration;
    let path = path.display();
    match args.verb {
        Verb::Check => {
            let text = format!(
                "{path}: good: {} views, {} promotions, {} hooks",
                config.views.len(),
                config.promotions.len(),
                config.hooks.len()
            );
            context.output.result(text, &json!({ "file": path.to_string(), "good": true }))
        }
        Verb::Show => {
            let value = value(context, config);
            if context.output.is_json() {
                return context.output.json(&value);
            }
            context.output.line(format_args!("store {}", context.settings.store.display()))?;
            for kind in ["view", "promotion", "hook"] {
                let Some(sections) = value[kind].as_object() else { continue };
                for (name, section) in sections {
                    context.output.line(format_args!("{kind} {name}"))?;
                    let Some(section) = section.as_object() else { continue };
                    for (key, value) in section {
                        context.output.line(format_args!("  {key} = {value}"))?;
                    }
                }
            }
            Ok(())
        }
    }
}

fn value(context: &Context<'_>, config: &Config) -> Value {
    let map = |entries: Vec<(String, Value)>| Value::Object(entries.into_iter().collect());
    json!({
        "file": context.settings.configuration.0,
        "store": context.settings.store,
        "view": map(config.views.iter().map(|(name, view)| (name.to_string(), view_value(view))).collect()),
        "promotion": map(config.promotions.iter().map(|(name, promotion)| {
            let steps: Vec<Value> = promotion.steps().iter().map(step_value).collect();
            let links: Vec<(String, Value)> =
                promotion.links.iter().map(|(at, to)| (at.to_string(), to.as_str().into())).collect();
            (name.clone(), json!({ "message": promotion.message, "steps": steps, "links": map(links) }))
        }).collect()),
        "hook": map(config.hooks.iter().map(|(name, hook)| (name.clone(), hook_value(hook))).collect()),
    })
}

fn view_value(view: &View) -> Value {
    let gates: Vec<&str> = view.gates().into_iter().map(cfs_indexer::config::Gate::name).collect();
    let lists = view.lists.iter().map(|lists| {
        let names: Vec<String> = lists.own_names().iter().map(ToString::to_string).collect();
        json!({ "directory": lists.directory.as_str(), "names": names })
    });
    let closure = view.closure.iter().map(|closure| {
        let paths = |paths: &[TreePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "repositories": paths(&closure.repositories), "lookaside": paths(&closure.lookaside),
            "arch": closure.arch, "newest": closure.newest, "installable": closure.installable,
            "only-new": closure.only_new,
        })
    });
    json!({
        "lists": lists.collect::<Vec<_>>(), "closure": closure.collect::<Vec<_>>(),
        "owner": view.owner, "group": view.group, "gates": gates, "keys": view.keys,
        "max-deletes": view.max_deletes(), "max-deletes-percent": view.max_deletes_percent(),
        "who-may": view.who_may.as_ref().map(who_value),
        "approvals": view.approvals, "approvers": view.approvers.as_ref().map(who_value),
        "signers": view.signers, "signed-moves": view.signed_moves,
    })
}

fn who_value(who: &WhoMay) -> Value {
    json!({ "users": who.users, "groups": who.groups })
}

fn step_value(step: &Step) -> Value {
    let from: Vec<String> = step.from.0.iter().map(ToString::to_string).collect();
    json!({
        "from": from, "to": step.to.to_string(), "keep": step.keep, "exclude": step.exclude,
        "protect": step.protect,
    })
}

fn hook_value(hook: &Hook) -> Value {
    let views: Vec<&str> = hook.views.iter().map(cfs_indexer::refname::RefName::as_str).collect();
    json!({
        "when": hook.when.name(), "command": hook.command, "views": views,
        "timeout-seconds": hook.timeout_seconds,
    })
}
