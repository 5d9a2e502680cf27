//! The `pre-promote` hooks: what a flip is about to do is described to programs, any of which may refuse it.
//!
//! Always true: they are asked after the gates and before the store holds anything of the flip; nothing is asked
//! about a flip that changes nothing.

use cfs_fs::diff::Summary;
use cfs_fs::tree::{NodeError, Sums};
use serde_json::{Value, json};

use super::PromoteError;
use super::flip::{Change, Flip};
use crate::catalogue::Signer;
use crate::config::{Config, Hook, When};
use crate::depot::Depot;
use crate::hooks;
use crate::refname::RefName;

/// Characters of a hook's output that a snapshot's record keeps.
const SAID_CHARS_MAX: usize = 500;

/// Asks the hooks whether a flip may be carried out; what they said becomes part of the snapshots.
pub(super) fn ask(
    depot: &Depot,
    config: &Config,
    flip: &mut Flip,
    signer: &Signer,
) -> Result<(), PromoteError> {
    let is_pre = |hook: &Hook| hook.when == When::PrePromote;
    if !config.hooks.values().any(is_pre) || !flip.changes.iter().any(Change::is_some) {
        return Ok(());
    }
    let description = describe(depot, flip, signer)?;
    let views: Vec<RefName> = flip.changes.iter().map(|change| change.name.clone()).collect();
    for (name, output) in hooks::pre_promote(config, &views, &description)? {
        let hook = config.hooks.get(&name);
        for change in
            flip.changes.iter_mut().filter(|change| hook.is_some_and(|hook| hook.is_about(&change.name)))
        {
            let said: String = output.trim().chars().take(SAID_CHARS_MAX).collect();
            let text = if said.is_empty() { "passed".to_owned() } else { format!("passed: {said}") };
            change.meta.insert(format!("hook.{}", word(&name)), text);
        }
    }
    Ok(())
}

/// A name as a key of a record: other characters than those of keys become `-`.
fn word(name: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}

/// A flip as hooks are told of it.
fn describe(depot: &Depot, flip: &Flip, signer: &Signer) -> Result<Value, PromoteError> {
    let mut views = Vec::new();
    for (number, change) in flip.changes.iter().enumerate() {
        let mut summary = Summary::default();
        flip.differences(depot, number, &mut |_, change| {
            summary.add(&change);
            Ok::<(), NodeError>(())
        })?;
        let counts = |sums: &Sums| json!({ "files": sums.files + sums.symlinks, "bytes": sums.bytes });
        views.push(json!({
            "view": change.name.as_str(),
            "generation": change.current.as_ref().map_or(1, |current| current.generation + 1),
            "old": change.current.as_ref().map(|current| current.id.to_string()),
            "root": change.dirs().map(|(_, new)| new.id.to_string()),
            "from": change.arrivals.iter().map(|arrival| arrival.source.to_string()).collect::<Vec<_>>(),
            "added": counts(&summary.added), "removed": counts(&summary.removed), "changed": counts(&summary.changed),
            "reason": change.reason, "message": change.message,
        }));
    }
    Ok(json!({
        "event": "pre-promote", "actor": signer.actor, "at": signer.now, "store": depot.store.root(), "views": views,
    }))
}
