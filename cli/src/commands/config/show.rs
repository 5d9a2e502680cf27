//! `cfs config show`

use cfs_fs::name::TreePath;
use cfs_indexer::compose::{Recipe, RecipeError, Selection, Tree};
use cfs_indexer::config::{Age, Collection, Config, Hook, Retention, Step, Upstream, View, WhoMay};
use cfs_indexer::gc;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::report::CommandError;

/// The kinds of sections that have names.
const KINDS: [&str; 5] = ["view", "promotion", "release", "sig", "hook"];

/// Runs `cfs config show`.
pub fn run(context: &Context<'_>) -> Result<(), CommandError> {
    let config = &context.settings.configuration.1;
    let value = value(context, config)?;
    if context.output.is_json() {
        return context.output.json(&value);
    }
    context.output.line(format_args!("store {}", context.settings.store.display()))?;
    for kind in KINDS {
        for (name, section) in value[kind].as_object().into_iter().flatten() {
            print(context, &format!("{kind} {name}"), section)?;
        }
    }
    for kind in ["gc", "retention"] {
        print(context, kind, &value[kind])?;
    }
    Ok(())
}

fn print(context: &Context<'_>, title: &str, section: &Value) -> Result<(), CommandError> {
    context.output.line(title)?;
    for (key, value) in section.as_object().into_iter().flatten() {
        if key == "trees" {
            for tree in value.as_array().into_iter().flatten() {
                let (path, url) = (tree["path"].as_str(), tree["url"].as_str());
                let (path, url) = (path.unwrap_or_default(), url.unwrap_or_default());
                let comps = tree["comps"].as_str().map(|file| format!(", groups of {file}"));
                context.output.line(format_args!("  {path} from {url}{}", comps.unwrap_or_default()))?;
            }
        } else {
            context.output.line(format_args!("  {key} = {value}"))?;
        }
    }
    Ok(())
}

fn value(context: &Context<'_>, config: &Config) -> Result<Value, CommandError> {
    let map = |entries: Vec<(String, Value)>| Value::Object(entries.into_iter().collect());
    let unknown = |error: RecipeError| context.unknown(&error);
    let mut releases = Map::new();
    for profile in config.releases.keys() {
        let recipe = Recipe::of_release(config, profile, &Selection::default()).map_err(unknown)?;
        releases.insert(profile.clone(), release_value(&recipe));
    }
    let mut sigs = Map::new();
    for (group, profiles) in &config.sigs {
        for profile in profiles.keys().filter(|profile| config.releases.contains_key(*profile)) {
            let recipe = Recipe::of_sig(config, profile, group, &Selection::default()).map_err(unknown)?;
            sigs.insert(format!("{group} {profile}"), recipe_value(&recipe));
        }
    }
    Ok(json!({
        "file": context.settings.configuration.0,
        "store": context.settings.store,
        "view": map(config.views.iter().map(|(name, view)| (name.to_string(), view_value(view))).collect()),
        "promotion": map(config.promotions.iter().map(|(name, promotion)| {
            let steps: Vec<Value> = promotion.steps().iter().map(step_value).collect();
            let links: Vec<(String, Value)> =
                promotion.links.iter().map(|(at, to)| (at.to_string(), to.as_str().into())).collect();
            (name.clone(), json!({ "message": promotion.message, "steps": steps, "links": map(links) }))
        }).collect()),
        "release": releases,
        "sig": sigs,
        "hook": map(config.hooks.iter().map(|(name, hook)| (name.clone(), hook_value(hook))).collect()),
        "gc": gc_value(&config.gc),
        "retention": retention_value(&config.retention),
    }))
}

/// What a release and a group have in common.
fn recipe_value(recipe: &Recipe) -> Value {
    let Upstream { gpg_keys, repo_gpg_check, extra_files, .. } = &recipe.upstream;
    let extra_files = extra_files.as_ref().map(|files| json!({ "url": files.url, "files": files.files }));
    let tree = |tree: &Tree| {
        json!({
            "path": tree.path.to_string(),
            "repository": tree.repository,
            "arch": tree.arch,
            "kind": tree.kind.to_string(),
            "url": tree.address.to_string(),
            "comps": tree.comps,
            "kickstart": tree.kickstart.as_ref().map(ToString::to_string),
        })
    };
    json!({
        "refs": recipe.refs.to_string(),
        "latest": recipe.latest.to_string(),
        "gpg-keys": gpg_keys.0,
        "repo-gpg-check": repo_gpg_check,
        "hashed": recipe.is_hashed,
        "extra-files": extra_files,
        "comps": recipe.comps,
        "directories": recipe.directories.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "trees": recipe.all_trees.iter().map(tree).collect::<Vec<_>>(),
    })
}

fn release_value(recipe: &Recipe) -> Value {
    let release = &recipe.release;
    let iso = release.iso.iter().map(|(name, iso)| {
        let value = json!({ "disc": iso.disc, "variant": iso.variant, "repositories": iso.repositories });
        (name.clone(), value)
    });
    let mut value = json!({
        "name": release.name,
        "short": release.short,
        "version": release.version,
        "label": release.label().map(|label| label.to_string()),
        "release-type": release.release_type,
        "compose-type": release.compose_type,
        "productmd": release.productmd,
        "base-url": release.base_url,
        "checksum": release.checksum.map(|checksum| checksum.algorithm().name()),
        "arches": release.arches,
        "renames": release.renames,
        "multilib": release.multilib,
        "kickstart": release.kickstart,
        "iso": iso.collect::<Map<_, _>>(),
        "closure": release.closure,
    });
    if let (Value::Object(all), Value::Object(common)) = (&mut value, recipe_value(recipe)) {
        all.extend(common);
    }
    value
}

fn gc_value(collection: &Collection) -> Value {
    let default = gc::Options::default();
    let age = |given: Option<Age>, default: i64| {
        given.unwrap_or(Age { seconds: u32::try_from(default).unwrap_or(u32::MAX) }).to_string()
    };
    json!({
        "keep": age(collection.keep, default.keep_seconds),
        "generations": collection.generations.unwrap_or(default.keep_generations),
        "grace": age(collection.grace, default.grace_seconds),
    })
}

fn retention_value(retention: &Retention) -> Value {
    json!({
        "updates": retention.updates().to_string(),
        "finished-updates": retention.finished_updates.map(|age| age.to_string()),
        "unfinished": retention.unfinished.map(|age| age.to_string()),
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
            "repositories": paths(&closure.repositories), "lookaside": closure.lookaside.iter().map(ToString::to_string).collect::<Vec<_>>(),
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
