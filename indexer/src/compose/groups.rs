//! Groups of packages: comps files in the metadata of a compose's trees, as `repodata inject` puts them there.
//!
//! Always true: a tree that has exactly these groups stays as it is; one that was gathered anew has them in the
//! commit that brings it.

use std::collections::BTreeMap;

use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Stage, resolve};

use super::{ComposeError, Depot, Recipe};
use crate::config::{Config, Strong};
use crate::createrepo::{Amendment, Extra, Signature};
use crate::repodata::compression::Format;
use crate::revision::RefPath;
use crate::sync::Request;

/// The groups of a compose's trees.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// For the paths of trees: their comps documents.
    pub of_trees: BTreeMap<TreePath, Extra>,
    /// Its hooks sign metadata that changes: those that are about the symbolic ref to the latest compose.
    pub config: Config,
}

/// What became of the groups of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouped {
    /// Whether its metadata is new by them.
    pub is_new: bool,
    /// What became of the signature of its repomd.xml.
    pub signature: Signature,
}

/// A tree that may be to have groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) depot: &'a Depot,
    pub(super) recipe: &'a Recipe,
    pub(super) request: &'a Request,
    /// Seconds since 1970.
    pub(super) now: i64,
}

impl Place<'_> {
    /// What stands at a place of a ref.
    fn find(&self, place: &RefPath) -> Result<Option<Item>, ComposeError> {
        let current = self.depot.catalogue.current(&place.name)?;
        let Some(current) = current else { return Ok(None) };
        Ok(resolve(&self.depot.catalogue, &current.snapshot.root_item(), &place.path)?)
    }

    fn find_like(&self) -> Result<Option<Item>, ComposeError> {
        self.request.like.as_ref().map_or(Ok(None), |like| self.find(like))
    }
}

impl Groups {
    /// The tree `item`, which takes the place of `old`, with its groups; `None` when it is to have none.
    pub(super) fn put(
        &self,
        place: &Place<'_>,
        stage: &mut Stage<'_>,
        item: &Item,
        old: Option<&Item>,
    ) -> Result<Option<(Item, Grouped)>, ComposeError> {
        let like = if old.is_none() { place.find_like()? } else { None };
        self.amend(place, stage, item, old.or(like.as_ref()), false)
    }

    /// Whether groups would be put into a tree whose upstream has not changed.
    pub(super) fn would_change(&self, place: &Place<'_>) -> Result<bool, ComposeError> {
        let item = match place.find(&place.request.target)? {
            None => place.find_like()?,
            found => found,
        };
        let Some(item) = item else { return Ok(false) };
        let mut stage = Stage::new(&place.depot.catalogue);
        let amended = self.amend(place, &mut stage, &item, Some(&item), true)?;
        Ok(amended.is_some_and(|(_, grouped)| grouped.is_new))
    }

    fn amend(
        &self,
        place: &Place<'_>,
        stage: &mut Stage<'_>,
        item: &Item,
        before: Option<&Item>,
        is_plan: bool,
    ) -> Result<Option<(Item, Grouped)>, ComposeError> {
        let path = &place.request.target.path;
        let Some(extra) = self.of_trees.get(path) else { return Ok(None) };
        let target = RefPath { name: place.recipe.latest.clone(), path: path.clone() };
        let (config, format, now) = (&self.config, Format::Gzip, place.now);
        let algorithm = place.recipe.release.checksum.map(Strong::algorithm);
        let target = &target;
        let amendment = Amendment { config, target, extra, format, algorithm, time: None, now, is_plan };
        let (new, signature) = amendment.tree(place.depot, stage, item, before)?;
        let repodata = TreePath::new("repodata").unwrap_or_default();
        let old = before.map_or(Ok(None), |before| resolve(stage, before, &repodata))?;
        let is_new = new != *item && resolve(stage, &new, &repodata)? != old;
        Ok(Some((new, Grouped { is_new, signature })))
    }
}
