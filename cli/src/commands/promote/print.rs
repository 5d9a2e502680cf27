//! What is said of a promotion: what would change or has changed, and what the gates found.

use cfs_fs::diff::Summary;
use cfs_fs::tree::NodeError;
use cfs_indexer::catalogue::RefUpdate;
use cfs_indexer::depot::Depot;
use cfs_indexer::promote::gates::{Check, Gate};
use cfs_indexer::promote::{Plan, Request, packages};
use serde_json::{Value, json};

use super::super::diff::{print_change, summary_json, summary_text};
use crate::context::Context;
use crate::report::CommandError;

/// Says what would change.
pub(super) fn plan(
    context: &Context<'_>,
    depot: &Depot,
    request: &Request,
    plan: &Plan,
) -> Result<(), CommandError> {
    if context.output.is_verbose() {
        for (number, change) in plan.changes.iter().enumerate() {
            let prefix = if plan.changes.len() > 1 { format!("{}:", change.name) } else { String::new() };
            let mut failed = Ok(());
            plan.differences(depot, number, &mut |path, change| {
                if failed.is_ok() {
                    failed = print_change(context, &format!("{prefix}{path}"), &change);
                }
                Ok::<(), NodeError>(())
            })?;
            failed?;
        }
    }
    let summary = plan.summary(depot)?;
    let mut value = value(depot, request, plan, &summary)?;
    value["dry_run"] = true.into();
    let mut lines = vec![format!("would promote {}: {}", title(request), summary_text(&summary))];
    if !context.output.is_json() {
        lines.extend(package_lines(context, depot, plan)?);
    }
    lines.extend(remarks(plan));
    context.output.result(lines.join("\n"), &value)
}

/// Says to programs what gates refused.
pub(super) fn refused(
    context: &Context<'_>,
    depot: &Depot,
    request: &Request,
    plan: &Plan,
    is_dry: bool,
) -> Result<(), CommandError> {
    let mut value = value(depot, request, plan, &plan.summary(depot)?)?;
    value["refused"] = true.into();
    value[if is_dry { "dry_run" } else { "changed" }] = is_dry.into();
    context.output.json(&value)
}

/// Says what has changed.
pub(super) fn done(
    context: &Context<'_>,
    depot: &Depot,
    request: &Request,
    plan: &Plan,
    updates: &[RefUpdate],
) -> Result<(), CommandError> {
    if updates.is_empty() {
        let mut value = json!({ "changed": false });
        if let [step] = &request.steps[..] {
            value["target"] = step.to.to_string().into();
        }
        let text = match &request.steps[..] {
            [step] if step.from.len() == 1 => format!("{} equals {} already", step.to, step.from[0]),
            _ => "everything is so already".to_owned(),
        };
        return context.output.result(format_args!("{text}; nothing changed"), &value);
    }
    let summary = plan.summary(depot)?;
    // Who only wants it done need not wait for what can be asked for.
    let mut value = if context.output.is_json() { value(depot, request, plan, &summary)? } else { json!({}) };
    value["changed"] = true.into();
    let head = format!("promoted {}: {}", title(request), summary_text(&summary));
    let mut lines = Vec::new();
    match updates {
        [update] => {
            value["snapshot"] = update.id.to_string().into();
            value["generation"] = update.generation.into();
            lines.push(format!("{head}; snapshot {}, generation {}", update.id, update.generation));
        }
        updates => {
            lines.push(head);
            for update in updates {
                let (name, id, generation) = (&update.name, update.id, update.generation);
                lines.push(format!("  {name}: snapshot {id}, generation {generation}"));
            }
        }
    }
    for update in updates {
        let views = value["views"].as_array_mut().into_iter().flatten();
        for view in views.filter(|view| view["ref"] == update.name.as_str()) {
            view["snapshot"] = update.id.to_string().into();
            view["generation"] = update.generation.into();
        }
    }
    lines.extend(remarks(plan));
    context.output.result(lines.join("\n"), &value)
}

fn title(request: &Request) -> String {
    let steps = request.steps.iter().map(|step| {
        let from: Vec<String> = step.from.iter().map(ToString::to_string).collect();
        format!("{} to {}", from.join(" and "), step.to)
    });
    let links = request.links.iter().map(|(at, target)| format!("{at} -> {target}"));
    steps.chain(links).collect::<Vec<_>>().join(", ")
}

/// What the gates did besides passing.
fn remarks(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        for check in change.checks.iter().filter(|check| check.forced_by.is_some()) {
            lines.push(format!("  {}: gate {} forced: {} found", change.name, check.gate, check.count));
        }
        for check in change.checks.iter().filter(|check| check.passed()) {
            lines
                .extend(check.said.as_ref().map(|said| format!("  {}: {}: {said}", change.name, check.gate)));
        }
        if !change.bumped.is_empty() {
            let (count, first) = (change.bumped.len(), &change.bumped[0]);
            lines.push(format!("  {}: {count} times moved on, {first} first", change.name));
        }
    }
    lines
}

/// Everything that gates found, one thing a line.
pub(super) fn findings(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        for check in change.checks.iter().filter(|check| check.refuses()) {
            lines.extend(
                check.findings.iter().map(|finding| format!("{} {}:{finding}", check.gate, change.name)),
            );
            let named = check.findings.len() as u64;
            if check.count > named {
                lines.push(format!("{} {}: and {} more", check.gate, change.name, check.count - named));
            }
        }
    }
    lines
}

fn value(depot: &Depot, request: &Request, plan: &Plan, summary: &Summary) -> Result<Value, CommandError> {
    let mut views = Vec::new();
    for (number, change) in plan.changes.iter().enumerate() {
        let mut summary = Summary::default();
        plan.differences(depot, number, &mut |_, change| {
            summary.add(&change);
            Ok::<(), NodeError>(())
        })?;
        let gates: Vec<Value> = change.checks.iter().map(gate).collect();
        views.push(json!({
            "ref": change.name.as_str(), "changes": summary_json(&summary), "gates": gates,
            "times_moved_on": change.bumped, "repositories": repositories(depot, plan, number)?,
        }));
    }
    let mut value = json!({ "changes": summary_json(summary), "views": views });
    if let [step] = &request.steps[..] {
        value["target"] = step.to.to_string().into();
        let arrivals = plan.changes.iter().flat_map(|change| &change.arrivals);
        if let [Some(id)] = arrivals.map(|arrival| arrival.snapshot).collect::<Vec<_>>()[..] {
            value["source"] = id.to_string().into();
        }
    }
    Ok(value)
}

fn repositories(depot: &Depot, plan: &Plan, number: usize) -> Result<Vec<Value>, CommandError> {
    let changes = packages::changes(depot, plan, number)?;
    Ok(changes
        .iter()
        .map(|change| {
            let upgraded: Vec<Value> =
                change.upgraded.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
            json!({
                "path": change.path, "added": change.added, "removed": change.removed, "upgraded": upgraded,
                "replaced": change.replaced,
            })
        })
        .collect())
}

/// Packages for people: counts for each repository, names for who asks for more.
fn package_lines(context: &Context<'_>, depot: &Depot, plan: &Plan) -> Result<Vec<String>, CommandError> {
    let mut lines = Vec::new();
    for (number, view) in plan.changes.iter().enumerate() {
        for change in packages::changes(depot, plan, number)? {
            lines.push(format!(
                "  {}:{}: {} packages added, {} removed, {} upgraded, {} replaced",
                view.name,
                change.path,
                change.added.len(),
                change.removed.len(),
                change.upgraded.len(),
                change.replaced.len()
            ));
            if context.output.is_verbose() {
                lines.extend(change.added.iter().map(|nevra| format!("    + {nevra}")));
                lines.extend(change.removed.iter().map(|nevra| format!("    - {nevra}")));
                lines.extend(change.upgraded.iter().map(|(from, to)| format!("    {from} -> {to}")));
                lines.extend(change.replaced.iter().map(|nevra| format!("    = {nevra}")));
            }
        }
    }
    Ok(lines)
}

fn gate(check: &Check) -> Value {
    json!({
        "gate": Gate::name(check.gate), "passed": check.passed(), "found": check.count,
        "findings": check.findings, "forced_by": check.forced_by, "said": check.said,
    })
}
