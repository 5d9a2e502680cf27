//! Releases: what composes of them are made of.
//!
//! ```toml
//! [release.9]
//! name = "Rocky Linux"
//! short = "Rocky"
//! version = "9.7"
//! arches = ["x86_64", "aarch64"]
//! renames = { all = "devel" }
//!
//! [release.9.upstream]
//! url = "https://yumrepofs.example.org/rocky-9/repo/$hashed$repo/$basearch"
//! gpg-keys = ["RPM-GPG-KEY-Rocky-9"]
//! repositories = ["all", "BaseOS", "AppStream"]
//!
//! [sig.core.9.upstream]
//! url = "https://yumrepofs.example.org/sig-core/repo/$hashed$repo/$basearch"
//! repositories = ["core-common"]
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::text::OneOrMore;
use crate::productmd::compose_id::{ComposeType, ReleaseType, is_version};
use crate::productmd::label::Label;
use crate::productmd::version::Version;
use crate::refname::RefName;

/// A release. The table's key is its profile: what the user says, and the end of `latest-Rocky-9`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// Its name, such as `Rocky Linux`.
    pub name: String,
    /// Its short name, such as `Rocky`; composes are called by it.
    pub short: String,
    /// Its version, such as `9.7`.
    pub version: String,
    /// The number of the release candidate; its composes have the label `RC-<rc>.0`.
    pub rc: Option<u32>,
    /// The label, where it is another.
    pub label: Option<Label>,
    /// Its type [default: ga].
    #[serde(default)]
    pub release_type: ReleaseType,
    /// The type of its composes [default: production].
    #[serde(default)]
    pub compose_type: ComposeType,
    /// The version of productmd's documents in its composes [default: 1.2].
    #[serde(default)]
    pub productmd: Version,
    /// The address that `compose/` of a finished compose will have, for the locations of files in documents of
    /// version 2.0: `$compose` stands for its id, `$version` and `$major` for what they say [default: locations
    /// are paths].
    pub base_url: Option<String>,
    /// Where its composes stand [default: `compose/` and the version's first number].
    pub refs: Option<RefName>,
    /// Its architectures.
    pub arches: Vec<String>,
    /// Where its repositories are and which.
    pub upstream: Upstream,
    /// Repositories that compose under another name.
    #[serde(default)]
    pub renames: BTreeMap<String, String>,
    /// Repositories that also come for i686, beside `x86_64`.
    #[serde(default)]
    pub multilib: Vec<String>,
    /// Whether a full run keeps a copy of each tree under `kickstart`, as it was first [default: true].
    #[serde(default = "yes")]
    pub kickstart: bool,
    /// Groups of packages: for each repository a comps file or its address, with what stands for something in
    /// [`Upstream::url`].
    #[serde(default)]
    pub comps: BTreeMap<String, String>,
    /// Images that are made of several repositories.
    #[serde(default)]
    pub iso: BTreeMap<String, Iso>,
    /// For each repository, the others that its packages may need.
    #[serde(default)]
    pub closure: BTreeMap<String, Vec<String>>,
}

/// A special interest group's part of a release: `[sig.NAME.RELEASE]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sig {
    /// Its architectures [default: the release's].
    #[serde(default)]
    pub arches: Vec<String>,
    /// Where its repositories are and which.
    pub upstream: Upstream,
    /// Directories that its composes have besides.
    #[serde(default)]
    pub directories: Vec<String>,
    /// See [`Release::comps`].
    #[serde(default)]
    pub comps: BTreeMap<String, String>,
    /// For each repository, the others that its packages may need.
    #[serde(default)]
    pub closure: BTreeMap<String, Vec<String>>,
}

/// Where repositories come from: `[release.9.upstream]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// The address of a repository: `$repo`, `$basearch`, `$version`, `$major` stand for what they say, and
    /// `$hashed` for `hashed-` when hashed directories are asked for.
    pub url: String,
    /// The same for debug packages [default: the address and `-debug`].
    pub debug_url: Option<String>,
    /// The same for source packages [default: the address with the architecture `src`].
    pub source_url: Option<String>,
    /// The repositories, in order.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// What is different for some of them. One that is not in `repositories` follows them.
    #[serde(default)]
    pub repository: BTreeMap<String, Repository>,
    /// Whether debug packages come too [default: true].
    #[serde(default = "yes")]
    pub debug: bool,
    /// Whether source packages come too [default: true].
    #[serde(default = "yes")]
    pub sources: bool,
    /// Keys that must have signed metadata and packages: files, or addresses of files.
    #[serde(default)]
    pub gpg_keys: OneOrMore<String>,
    /// Whether metadata must be signed too [default: true].
    #[serde(default = "yes")]
    pub repo_gpg_check: bool,
    /// Files that every compose has besides.
    pub extra_files: Option<ExtraFiles>,
}

/// What is different for one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Repository {
    /// See [`Upstream::url`].
    pub url: Option<String>,
    /// See [`Upstream::debug_url`].
    pub debug_url: Option<String>,
    /// See [`Upstream::source_url`].
    pub source_url: Option<String>,
    /// Its architectures [default: the release's].
    #[serde(default)]
    pub arches: Vec<String>,
    /// See [`Upstream::debug`].
    pub debug: Option<bool>,
    /// See [`Upstream::sources`].
    pub sources: Option<bool>,
}

/// Files from outside that every compose has, below `compose/metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExtraFiles {
    /// What they stand below: a directory, or the address of one.
    pub url: String,
    /// Which: paths below it. Each keeps its last name.
    pub files: Vec<String>,
}

/// An image that is made of several repositories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Iso {
    /// Whether it is a disc with its own copy of the repositories; otherwise it is the install tree of a variant.
    #[serde(default)]
    pub disc: bool,
    /// The variant whose tree says what the image is.
    pub variant: String,
    /// The repositories in it.
    pub repositories: Vec<String>,
}

/// Names a file of this host, which may be an address, from `dir`, where the configuration is.
fn locate(text: &mut String, dir: &Path) {
    if !text.contains("://") {
        *text = dir.join(&*text).to_string_lossy().into_owned();
    }
}

impl Upstream {
    fn locate(&mut self, dir: &Path) {
        self.gpg_keys.0.iter_mut().for_each(|key| locate(key, dir));
        if let Some(files) = &mut self.extra_files {
            locate(&mut files.url, dir);
        }
    }
}

impl super::Config {
    /// Names files of this host that releases need from `dir`, where the configuration is.
    pub fn locate_release_files(&mut self, dir: &Path) {
        for release in self.releases.values_mut() {
            release.upstream.locate(dir);
            release.comps.values_mut().for_each(|file| locate(file, dir));
        }
        for sig in self.sigs.values_mut().flat_map(BTreeMap::values_mut) {
            sig.upstream.locate(dir);
            sig.comps.values_mut().for_each(|file| locate(file, dir));
        }
    }
}

fn yes() -> bool {
    true
}

impl Release {
    /// The version's first number.
    pub fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or_default()
    }

    /// The label of its composes.
    pub fn label(&self) -> Option<Label> {
        let of_rc = || self.rc.and_then(|rc| format!("RC-{rc}.0").parse().ok());
        self.label.clone().or_else(of_rc)
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if !is_version(&self.version) {
            return Some(format!("has the version {:?}; versions are such as \"9.7\"", self.version));
        }
        if !is_component(&self.short) {
            return Some(format!("has the short name {:?}; letters, digits and _ are allowed", self.short));
        }
        if self.arches.is_empty() {
            return Some("has no `arches`".to_owned());
        }
        if let Some(name) = self.renames.values().find(|name| !is_component(name)) {
            return Some(format!("renames a repository to {name:?}"));
        }
        let known = self.upstream.names();
        let of_closure = self.closure.iter().flat_map(|(name, others)| others.iter().chain([name]));
        let mut named = of_closure
            .chain(self.renames.keys())
            .chain(&self.multilib)
            .chain(self.comps.keys())
            .chain(self.iso.values().flat_map(|iso| &iso.repositories));
        if let Some(name) =
            named.find(|name| !known.contains(name) && !self.renames.values().any(|to| to == *name))
        {
            return Some(format!("says something of the repository {name:?}, which it does not have"));
        }
        self.base_url_fault().or_else(|| self.upstream.fault())
    }

    fn base_url_fault(&self) -> Option<String> {
        let text = self.base_url.as_ref()?;
        if self.productmd == Version::Paths {
            return Some("has a `base-url`, which is for `productmd = \"2.0\"` only".to_owned());
        }
        let is_plain = |url: Url| {
            let bare = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
            bare && ["http", "https"].contains(&url.scheme())
        };
        let good = Url::parse(text).is_ok_and(is_plain);
        (!good).then(|| {
            format!("has the `base-url` {text:?}; such as \"https://example.org/$compose/compose\" are")
        })
    }
}

impl Sig {
    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let known = self.upstream.names();
        let unknown = self.comps.keys().find(|name| !known.contains(name));
        let unknown =
            unknown.map(|name| format!("has groups of the repository {name:?}, which it does not have"));
        unknown.or_else(|| self.upstream.fault())
    }
}

impl Upstream {
    /// The names of all repositories, in order.
    pub fn names(&self) -> Vec<&String> {
        let others = self.repository.keys().filter(|name| !self.repositories.contains(name));
        self.repositories.iter().chain(others).collect()
    }

    fn fault(&self) -> Option<String> {
        let names = self.names();
        if names.is_empty() {
            return Some("has no `repositories`".to_owned());
        }
        if let Some(name) = names.iter().find(|name| !is_component(name)) {
            return Some(format!("has a repository called {name:?}"));
        }
        let shared = |url: &str| names.len() > 1 && !url.contains("$repo");
        let own = |name: &&String| self.repository.get(*name).is_some_and(|own| own.url.is_some());
        if shared(&self.url) && !names.iter().all(own) {
            return Some("has an `url` without `$repo` for several repositories".to_owned());
        }
        None
    }
}

/// Whether a text can be the name of a directory of a compose.
fn is_component(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-+".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(good)
}
