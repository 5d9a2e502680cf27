//! The comps files of a release, read before anything is gathered; and what is said of what became of them.

use std::collections::BTreeMap;

use cfs_indexer::compose::{Grouped, Groups, Recipe};
use cfs_indexer::config::Config;
use cfs_indexer::createrepo::{Extra, Signature};
use cfs_indexer::sync::fetch;
use serde_json::{Value, json};

use super::gather::file_at;
use crate::report::{CommandError, Kind, with_causes};

/// The groups of the trees that were selected.
pub fn read(recipe: &Recipe, config: &Config, options: &fetch::Options) -> Result<Groups, CommandError> {
    let mut of_files: BTreeMap<&str, Extra> = BTreeMap::new();
    let mut groups = Groups { of_trees: BTreeMap::new(), config: config.clone() };
    for tree in &recipe.trees {
        let Some(file) = tree.comps.as_deref() else { continue };
        let failed = |kind, reason| {
            let about = format!("[{}.comps] {}: {reason}", recipe.table, tree.repository);
            CommandError::new(kind, about)
        };
        let extra = if let Some(extra) = of_files.get(file) {
            extra.clone()
        } else {
            let bytes = file_at(file, options).map_err(|(kind, reason)| failed(kind, reason))?;
            let extra = Extra::new("group", file, &bytes);
            extra.map_err(|error| failed(Kind::Usage, with_causes(&error)))?
        };
        of_files.insert(file, extra.clone());
        groups.of_trees.insert(tree.path.clone(), extra);
    }
    Ok(groups)
}

/// How the line about a tree ends.
pub fn text(grouped: Option<Grouped>) -> &'static str {
    match grouped {
        Some(Grouped { is_new: true, signature: Signature::Dropped }) => {
            "; has its groups, and the signature of its metadata was dropped"
        }
        Some(Grouped { is_new: true, signature: Signature::Made }) => "; has its groups, signed anew",
        Some(Grouped { is_new: true, .. }) => "; has its groups",
        _ => "",
    }
}

/// What is said to machines.
pub fn value(grouped: Option<Grouped>) -> Value {
    grouped.map_or(
        Value::Null,
        |Grouped { is_new, signature }| json!({ "new": is_new, "signature": signature.word() }),
    )
}
