//! `audit`: whether history is what was written.
//!
//! Always true: nothing is changed, and everything that is wrong is named; a signature is judged by the allowed signers
//! of now, at the time of the move.

use std::collections::BTreeMap;

use crate::approve::counted;
use crate::catalogue::{CatalogueError, Chain, LogEntry, Target};
use crate::config::Config;
use crate::depot::Depot;
use crate::refname::RefName;
use crate::sshsig::{self, Statement};

/// What an audit found.
#[derive(Debug)]
pub struct Audit {
    /// The chain of the whole reflog, and the refs at its end.
    pub chain: Chain,
    /// By ref.
    pub refs: BTreeMap<RefName, OfRef>,
}

/// Signatures of one ref's moves and of approvals for it.
#[derive(Debug, Default)]
pub struct OfRef {
    /// Moves to a snapshot.
    pub moves: u64,
    /// How many of them each signer signed.
    pub signed: BTreeMap<String, u64>,
    /// Those that nobody signed although the view demands it, and signatures that do not count.
    pub faults: Vec<String>,
}

impl Audit {
    /// Whether everything is as it was written.
    pub fn is_good(&self) -> bool {
        self.chain.faults.is_empty() && self.refs.values().all(|found| found.faults.is_empty())
    }
}

/// Looks at the moves of one ref, or of all.
pub fn audit(depot: &Depot, config: &Config, only: Option<&RefName>) -> Result<Audit, CatalogueError> {
    let chain = depot.catalogue.verify_chain()?;
    let mut refs: BTreeMap<RefName, OfRef> = BTreeMap::new();
    let mut last = 0;
    while let Some(entry) = depot.catalogue.log_after(last)? {
        last = entry.number;
        if only.is_none_or(|name| *name == entry.name) {
            let found = refs.entry(entry.name.clone()).or_default();
            look_at(depot, config, &entry, found)?;
        }
    }
    for (name, found) in &mut refs {
        let policy = config.view(name);
        for approval in depot.catalogue.approvals(name, None)?.iter().filter(|approval| approval.given) {
            if let Err(error) = counted(approval, policy.signers.as_deref()) {
                let (user, snapshot) = (&approval.user, approval.snapshot.short());
                found.faults.push(format!("the approval of {snapshot} by {user} {error}"));
            }
        }
    }
    Ok(Audit { chain, refs })
}

fn look_at(
    depot: &Depot,
    config: &Config,
    entry: &LogEntry,
    found: &mut OfRef,
) -> Result<(), CatalogueError> {
    let Some(Target::Snapshot(new)) = &entry.new else { return Ok(()) };
    found.moves += 1;
    let policy = config.view(&entry.name);
    let Some(signers) = policy.signers.as_deref() else { return Ok(()) };
    let place = format!("generation {}", entry.generation);
    let Some(signature) = depot.catalogue.signature(entry.number)? else {
        if policy.signed_moves {
            found.faults.push(format!("{place} is not signed"));
        }
        return Ok(());
    };
    let statement = Statement::of_move(&entry.name, entry.old, *new, entry.generation);
    match sshsig::verify(signers, &statement, &signature, entry.at) {
        Ok(signed) => *found.signed.entry(signed.principal).or_default() += 1,
        Err(error) => found.faults.push(format!("the signature of {place} {error}")),
    }
    Ok(())
}
