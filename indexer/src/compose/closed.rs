//! Whether the repositories of a compose are closed, each with those that the configuration lets it need.

use cfs_fs::name::TreePath;

use super::recipe::{Recipe, Tree, TreeKind};
use super::{ComposeError, Depot};
use crate::closure::places::{self, ClosureError, Found, Places};
use crate::closure::{self, Question, Report};
use crate::refname::RefName;
use crate::revision::{RefPath, RevPath};

/// What came of one repository.
#[derive(Debug)]
pub struct Closed {
    /// Where it is in the compose.
    pub path: TreePath,
    /// The packages whose dependencies cannot be met.
    pub outcome: Result<Report, ClosureError>,
}

/// Checks the selected repositories of `recipe` of which the configuration says what they may need.
pub fn closed(depot: &Depot, recipe: &Recipe, name: &RefName) -> Result<Vec<Closed>, ComposeError> {
    let mut all = Vec::new();
    for tree in recipe.trees.iter().filter(|tree| tree.kind == TreeKind::Os) {
        let Some(others) = others(recipe, tree) else { continue };
        let at = |name: &RefName, path: &TreePath| {
            RevPath::from(&RefPath { name: name.clone(), path: path.clone() })
        };
        let mut lookaside = Vec::new();
        for other in others {
            let is_it = |found: &&Tree| {
                found.kind == TreeKind::Os && found.arch == tree.arch && found.repository == *other
            };
            let found = recipe.all_trees.iter().find(is_it);
            // A group needs what its release has.
            let of_release = || {
                let path = TreePath::new(format!("compose/{other}/{}/os", tree.arch));
                at(&recipe.release_latest, &path.unwrap_or_default())
            };
            lookaside.push(found.map_or_else(of_release, |found| at(name, &found.path)));
        }
        let outcome = check(depot, &Places { checked: at(name, &tree.path), lookaside, since: None });
        all.push(Closed { path: tree.path.clone(), outcome });
    }
    Ok(all)
}

/// The repositories that a tree's packages may need, as they are called in the compose; `None` where nobody says.
fn others<'r>(recipe: &'r Recipe, tree: &Tree) -> Option<Vec<&'r String>> {
    let composed = |name: &'r String| recipe.release.renames.get(name).unwrap_or(name);
    let (_, others) = recipe.closure.iter().find(|(name, _)| *composed(name) == tree.repository)?;
    Some(others.iter().map(composed).collect())
}

fn check(depot: &Depot, places: &Places) -> Result<Report, ClosureError> {
    let Found { universe, now, .. } = places::read(depot, places)?;
    let mut machines: Vec<Option<String>> =
        closure::machines(&universe, &now.checked).into_iter().map(Some).collect();
    if machines.is_empty() {
        machines.push(None);
    }
    let mut all = Report::default();
    for machine in machines {
        let report = closure::check(&universe, &now, &Question { machine, ..Question::default() })?;
        all.checked += report.checked;
        all.problems.extend(report.problems);
    }
    Ok(all)
}
