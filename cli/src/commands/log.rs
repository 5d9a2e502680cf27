//! `cfs log`

use cfs_indexer::audit::audit;
use cfs_indexer::catalogue::{CatalogueError, Target};
use cfs_indexer::depot::Depot;
use cfs_indexer::refname::RefName;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::{CommandError, Kind};

/// Show how a ref has moved.
///
/// Newest first: generation, time, what it names since, who and why. With --verify, whether all of it is as it was
/// written: the chain of the reflog of all refs, and signatures.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ref.
    #[arg(value_name = "REF", required_unless_present = "verify")]
    name: Option<RefName>,

    /// At most this many moves.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,

    /// Show whether history is what was written instead: of the whole log, with the signatures of this ref, or of all.
    #[arg(long, conflicts_with = "limit")]
    verify: bool,
}

/// Runs `cfs log`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let Some(name) = args.name.as_ref().filter(|_| !args.verify) else {
        return verify(&depot, args.name.as_ref(), context);
    };
    let log = depot.catalogue.log(name)?;
    if log.is_empty() {
        return Err(CatalogueError::NoSuchRef { name: name.clone() }.into());
    }
    for entry in log.into_iter().take(args.limit.unwrap_or(usize::MAX)) {
        let (names, new) = match &entry.new {
            Some(Target::Snapshot(id)) => (format!("{id:.12}"), Some(id.to_string())),
            Some(Target::Symbolic(name)) => (format!("-> {name}"), Some(name.to_string())),
            None => ("deleted".to_owned(), None),
        };
        let at = time(entry.at);
        let text = format!("{:>5}  {at}  {names}  {}  {}", entry.generation, entry.actor, entry.reason);
        let value = json!({
            "ref": entry.name.as_str(), "generation": entry.generation, "at": at,
            "old": entry.old.map(|id| id.to_string()), "new": new, "actor": entry.actor,
            "reason": entry.reason,
        });
        context.output.result(text, &value)?;
    }
    Ok(())
}

/// Says whether the reflog and its signatures are as they were written.
fn verify(depot: &Depot, name: Option<&RefName>, context: &Context<'_>) -> Result<(), CommandError> {
    let audit = audit(depot, &context.settings.configuration.1, name)?;
    if let Some(name) = name.filter(|name| !audit.refs.contains_key(name)) {
        return Err(CatalogueError::NoSuchRef { name: name.clone() }.into());
    }
    let chain = &audit.chain;
    let mut faults: Vec<String> = chain.faults.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!("{} entries, the last one {}", chain.length, chain.head)];
    let mut refs = Vec::new();
    for (name, found) in &audit.refs {
        faults.extend(found.faults.iter().map(|fault| format!("{name}: {fault}")));
        let signed: u64 = found.signed.values().sum();
        if signed > 0 {
            let by: Vec<String> = found.signed.iter().map(|(who, count)| format!("{who} {count}")).collect();
            lines.push(format!("{name}: {signed} of {} moves signed ({})", found.moves, by.join(", ")));
        }
        refs.push(json!({ "ref": name.as_str(), "moves": found.moves, "signed": found.signed, "faults": found.faults }));
    }
    if audit.is_good() {
        lines.push("everything is as it was written".to_owned());
    }
    let value = json!({
        "entries": chain.length, "last": chain.head.to_string(), "good": audit.is_good(),
        "faults": chain.faults.iter().map(ToString::to_string).collect::<Vec<_>>(), "refs": refs,
    });
    context.output.result(lines.join("\n"), &value)?;
    if faults.is_empty() {
        return Ok(());
    }
    // A chain that is broken is a damaged store; a signature that does not count is an answer.
    let kind = if chain.faults.is_empty() { Kind::No } else { Kind::Damaged };
    let error = CommandError::new(kind, format!("history is not what was written: {} faults", faults.len()));
    Err(CommandError { details: faults, ..error })
}
