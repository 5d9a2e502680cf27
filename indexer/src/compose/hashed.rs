//! Whether a compose that is gone on with has its packages where they would be put now.
//!
//! Upstreams show one repository in two ways: with packages in one directory, and with packages in directories of
//! their first letters. A compose that was gathered in one way and is brought up to date in the other would have
//! every package twice, since those that an update no longer finds stay.

use super::recipe::Recipe;
use super::{ComposeError, Depot};
use crate::refname::RefName;
use crate::revision::RefPath;

/// Refuses to go on with the compose `name` in the other way than it was gathered in last.
pub(super) fn check(depot: &Depot, recipe: &Recipe, name: &RefName) -> Result<(), ComposeError> {
    for tree in &recipe.trees {
        let Some(otherwise) = &tree.otherwise else { continue };
        let place = RefPath { name: name.clone(), path: tree.path.clone() };
        let last = depot.catalogue.upstream(&place)?;
        if last.is_some_and(|last| last.url == otherwise.to_string()) {
            return Err(ComposeError::Hashed { place, is_hashed: !recipe.is_hashed });
        }
    }
    Ok(())
}
