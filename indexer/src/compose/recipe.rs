//! What a compose consists of: from a release's configuration and what the user selects. Pure.
//!
//! The layout is that of empanadas and of Pungi: `compose/REPO/ARCH/os`, `compose/REPO/ARCH/debug/tree`,
//! `compose/REPO/source/tree`; that of a special interest group is `compose/MAJOR/GROUP/ARCH/REPO`,
//! `…/ARCH/REPO-debug` and `…/source/REPO`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cfs_fs::name::TreePath;

use crate::address::Address;
use crate::config::{Config, Release, Sig, Upstream};
use crate::refname::RefName;

/// Where a compose's trees come from and where they go.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The table of the configuration that it is made of, such as `release.9`.
    pub table: String,
    /// The release.
    pub release: Release,
    /// The short name that its composes are called by.
    pub short: String,
    /// Where they stand.
    pub refs: RefName,
    /// The symbolic ref to the latest.
    pub latest: RefName,
    /// The symbolic ref to the latest of the release itself.
    pub release_latest: RefName,
    /// The group, for a compose of one.
    pub group: Option<String>,
    /// Where its repositories are.
    pub upstream: Upstream,
    /// For each repository, the others that its packages may need.
    pub closure: BTreeMap<String, Vec<String>>,
    /// For repositories: the files of their groups of packages.
    pub comps: BTreeMap<String, String>,
    /// Whether packages are asked for in directories of their first letters.
    pub is_hashed: bool,
    /// All its trees.
    pub all_trees: Vec<Tree>,
    /// The trees that were selected.
    pub trees: Vec<Tree>,
    /// Where its metadata stands.
    pub metadata: TreePath,
    /// Directories that it has besides.
    pub directories: Vec<TreePath>,
}

/// A repository of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The repository's name in the compose.
    pub repository: String,
    /// The architecture; `src` for sources.
    pub arch: String,
    /// What is in it.
    pub kind: TreeKind,
    /// Where it comes from.
    pub address: Address,
    /// Where it would come from with hashed directories, if it does not, or without them, if it does; `None` where
    /// that is the same.
    pub otherwise: Option<Address>,
    /// Where it goes in the compose.
    pub path: TreePath,
    /// Where a full run keeps it as it was first.
    pub kickstart: Option<TreePath>,
    /// The file of its groups of packages, or the address of one.
    pub comps: Option<String>,
}

/// What is in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeKind {
    /// Packages to be installed.
    Os,
    /// Packages for debuggers.
    Debug,
    /// Source packages.
    Source,
}

impl fmt::Display for TreeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Os => "os",
            Self::Debug => "debug",
            Self::Source => "source",
        })
    }
}

/// What the user wants of a release.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These repositories only.
    pub repositories: Vec<String>,
    /// These architectures only.
    pub arches: Vec<String>,
    /// No debug packages.
    pub ignore_debug: bool,
    /// No source packages.
    pub ignore_source: bool,
    /// Packages in directories of their first letters.
    pub hashed: bool,
}

/// Why there is no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The configuration knows no such thing.
    #[error("no {kind} is called {name:?}; there {} {}", if known.len() == 1 { "is" } else { "are" },
        if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Unknown {
        /// `release`, `group`, `repository` or `architecture`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two repositories would stand in one place.
    #[error("{path} would be the place of two repositories, {first} and {second}")]
    Clash {
        /// The place, or the one of them that is in the other.
        path: TreePath,
        /// The one, as its upstream calls it.
        first: String,
        /// The other.
        second: String,
    },
    /// A repository's address or name cannot be used.
    #[error("repository {repository}: {reason}")]
    Unusable {
        /// The repository.
        repository: String,
        /// What is wrong.
        reason: String,
    },
}

impl Recipe {
    /// The recipe of the release `profile`.
    pub fn of_release(config: &Config, profile: &str, selection: &Selection) -> Result<Self, RecipeError> {
        let release = find_release(config, profile)?.clone();
        let refs = refs_of(&release)?;
        let latest = refname(&format!("{refs}/latest-{}-{profile}", release.short))?;
        let mut recipe = Self {
            table: format!("release.{profile}"),
            short: release.short.clone(),
            upstream: release.upstream.clone(),
            refs,
            release_latest: latest.clone(),
            latest,
            group: None,
            closure: release.closure.clone(),
            comps: release.comps.clone(),
            is_hashed: false,
            all_trees: Vec::new(),
            trees: Vec::new(),
            metadata: path("compose/metadata")?,
            directories: Vec::new(),
            release,
        };
        recipe.is_hashed = selection.hashed || recipe.upstream.hashed;
        recipe.plant(&recipe.release.arches.clone(), selection)?;
        Ok(recipe)
    }

    /// The recipe of what the group `group` adds to the release `profile`.
    pub fn of_sig(
        config: &Config,
        profile: &str,
        group: &str,
        selection: &Selection,
    ) -> Result<Self, RecipeError> {
        let release = find_release(config, profile)?.clone();
        let of_release = config.sigs.get(group).and_then(|releases| releases.get(profile));
        let sig: &Sig = of_release.ok_or_else(|| RecipeError::Unknown {
            kind: "group",
            name: group.to_owned(),
            known: config
                .sigs
                .iter()
                .filter(|(_, releases)| releases.contains_key(profile))
                .map(|(name, _)| name.clone())
                .collect(),
        })?;
        let refs = refs_of(&release)?;
        let short = format!("SIG-{group}");
        let latest = refname(&format!("{refs}/latest-{short}-{profile}"))?;
        let base = format!("compose/{}/{group}", release.major());
        let directories = sig.directories.iter().map(|name| path(&format!("{base}/{name}")));
        let directories = directories.collect::<Result<_, _>>()?;
        let arches = if sig.arches.is_empty() { release.arches.clone() } else { sig.arches.clone() };
        let mut recipe = Self {
            table: format!("sig.{group}.{profile}"),
            short,
            upstream: sig.upstream.clone(),
            release_latest: refname(&format!("{refs}/latest-{}-{profile}", release.short))?,
            refs,
            latest,
            closure: sig.closure.clone(),
            comps: sig.comps.clone(),
            group: Some(group.to_owned()),
            is_hashed: false,
            all_trees: Vec::new(),
            trees: Vec::new(),
            metadata: path(&format!("{base}/metadata"))?,
            directories,
            release,
        };
        recipe.is_hashed = selection.hashed || recipe.upstream.hashed;
        recipe.plant(&arches, selection)?;
        Ok(recipe)
    }

    /// Lays out all trees, and picks the selected ones.
    fn plant(&mut self, arches: &[String], selection: &Selection) -> Result<(), RecipeError> {
        let names: Vec<String> = self.upstream.names().into_iter().cloned().collect();
        let mut owners = Vec::new();
        for name in &names {
            let own = self.upstream.repository.get(name).cloned().unwrap_or_default();
            let mut of_repository = if own.arches.is_empty() { arches.to_vec() } else { own.arches };
            if self.release.multilib.contains(name) && of_repository.iter().any(|arch| arch == "x86_64") {
                of_repository.retain(|arch| arch != "i686");
                of_repository.push("i686".to_owned());
            }
            for arch in &of_repository {
                self.add(name, arch, TreeKind::Os)?;
                if own.debug.unwrap_or(self.upstream.debug) {
                    self.add(name, arch, TreeKind::Debug)?;
                }
            }
            if own.sources.unwrap_or(self.upstream.sources) {
                self.add(name, "src", TreeKind::Source)?;
            }
            owners.resize(self.all_trees.len(), name.as_str());
        }
        check_places(&self.all_trees, &owners)?;
        let composed = |name: &String| self.release.renames.get(name).unwrap_or(name).clone();
        let wanted: BTreeSet<String> = selection.repositories.iter().map(composed).collect();
        let known: BTreeSet<String> = self.all_trees.iter().map(|tree| tree.repository.clone()).collect();
        check_known("repository", &wanted, known)?;
        let arches: BTreeSet<String> = selection.arches.iter().cloned().collect();
        let known: BTreeSet<String> = self.all_trees.iter().map(|tree| tree.arch.clone()).collect();
        check_known("architecture", &arches, known)?;
        let is_selected = |tree: &&Tree| {
            (wanted.is_empty() || wanted.contains(&tree.repository))
                && (arches.is_empty() || arches.contains(&tree.arch) || tree.kind == TreeKind::Source)
                && !(selection.ignore_debug && tree.kind == TreeKind::Debug)
                && !(selection.ignore_source && tree.kind == TreeKind::Source)
        };
        self.trees = self.all_trees.iter().filter(is_selected).cloned().collect();
        Ok(())
    }

    fn add(&mut self, name: &str, arch: &str, kind: TreeKind) -> Result<(), RecipeError> {
        let composed = self.release.renames.get(name).map_or(name, String::as_str);
        let unusable = |reason: String| RecipeError::Unusable { repository: name.to_owned(), reason };
        let own = self.upstream.repository.get(name);
        let url = own.and_then(|own| own.url.as_ref()).unwrap_or(&self.upstream.url);
        let debug_url = own.and_then(|own| own.debug_url.as_ref()).or(self.upstream.debug_url.as_ref());
        let source_url = own.and_then(|own| own.source_url.as_ref()).or(self.upstream.source_url.as_ref());
        let text = match kind {
            TreeKind::Os => url.clone(),
            TreeKind::Debug => debug_url.cloned().unwrap_or_else(|| format!("{url}-debug")),
            TreeKind::Source => source_url.unwrap_or(url).clone(),
        };
        let expanded = |text: &str, is_hashed: bool| {
            text.replace("$hashed", if is_hashed { "hashed-" } else { "" })
                .replace("$basearch", arch)
                .replace("$repo", name)
                .replace("$version", &self.release.version)
                .replace("$major", self.release.major())
        };
        let address = |is_hashed: bool| -> Result<Address, RecipeError> {
            expanded(&text, is_hashed).parse().map_err(|error| unusable(format!("{error}")))
        };
        let (address, otherwise) = (address(self.is_hashed)?, address(!self.is_hashed)?);
        let otherwise = Some(otherwise).filter(|otherwise| *otherwise != address);
        let place = match (&self.group, kind) {
            (None, TreeKind::Os) => format!("compose/{composed}/{arch}/os"),
            (None, TreeKind::Debug) => format!("compose/{composed}/{arch}/debug/tree"),
            (None, TreeKind::Source) => format!("compose/{composed}/source/tree"),
            (Some(group), kind) => {
                let base = format!("compose/{}/{group}", self.release.major());
                match kind {
                    TreeKind::Os => format!("{base}/{arch}/{composed}"),
                    TreeKind::Debug => format!("{base}/{arch}/{composed}-debug"),
                    TreeKind::Source => format!("{base}/source/{composed}"),
                }
            }
        };
        let keeps = self.group.is_none() && kind == TreeKind::Os && self.release.kickstart;
        let kickstart = keeps.then(|| path(&format!("compose/{composed}/{arch}/kickstart"))).transpose()?;
        let comps = self.comps.get(name).or_else(|| self.comps.get(composed));
        let comps = comps.filter(|_| kind == TreeKind::Os).map(|file| expanded(file, self.is_hashed));
        let (repository, arch, path) = (composed.to_owned(), arch.to_owned(), path(&place)?);
        self.all_trees.push(Tree { repository, arch, kind, address, otherwise, path, kickstart, comps });
        Ok(())
    }
}

/// No tree may stand in another's place, nor in another. `owners` are the upstreams' names of their repositories.
fn check_places(trees: &[Tree], owners: &[&str]) -> Result<(), RecipeError> {
    let mut places: Vec<(Vec<&str>, &TreePath, &str)> = Vec::new();
    for (tree, owner) in trees.iter().zip(owners) {
        let all = [Some(&tree.path), tree.kickstart.as_ref()].into_iter().flatten();
        places.extend(all.map(|path| (path.components().collect(), path, *owner)));
    }
    // What is in a place comes right after it.
    places.sort();
    for pair in places.windows(2) {
        let [(outer, _, first), (inner, path, second)] = pair else { continue };
        if inner.starts_with(outer) {
            let (path, first, second) = ((*path).clone(), (*first).to_owned(), (*second).to_owned());
            return Err(RecipeError::Clash { path, first, second });
        }
    }
    Ok(())
}

fn check_known(
    kind: &'static str,
    wanted: &BTreeSet<String>,
    known: BTreeSet<String>,
) -> Result<(), RecipeError> {
    match wanted.difference(&known).next() {
        None => Ok(()),
        Some(name) => {
            Err(RecipeError::Unknown { kind, name: name.clone(), known: known.into_iter().collect() })
        }
    }
}

fn find_release<'a>(config: &'a Config, profile: &str) -> Result<&'a Release, RecipeError> {
    config.releases.get(profile).ok_or_else(|| RecipeError::Unknown {
        kind: "release",
        name: profile.to_owned(),
        known: config.releases.keys().cloned().collect(),
    })
}

fn refs_of(release: &Release) -> Result<RefName, RecipeError> {
    release.refs.clone().map_or_else(|| refname(&format!("compose/{}", release.major())), Ok)
}

fn refname(text: &str) -> Result<RefName, RecipeError> {
    text.parse()
        .map_err(|error| RecipeError::Unusable { repository: text.to_owned(), reason: format!("{error}") })
}

fn path(text: &str) -> Result<TreePath, RecipeError> {
    TreePath::new(text)
        .map_err(|error| RecipeError::Unusable { repository: text.to_owned(), reason: format!("{error}") })
}

#[cfg(test)]
mod tests;
