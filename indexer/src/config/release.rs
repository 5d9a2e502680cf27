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

use serde::{Deserialize, Deserializer, de};

use super::text::OneOrMore;
use crate::checksum::Algorithm;
use crate::productmd::compose_id::{ComposeType, ReleaseType};
use crate::productmd::label::Label;
use crate::productmd::version::Version;
use crate::refname::RefName;

pub(super) mod check;
#[cfg(test)]
mod tests;

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
    /// What checksums are made with in what cfs writes for it [default: sha256 in documents, and in metadata that is
    /// changed what it has already].
    pub checksum: Option<Strong>,
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

/// A kind of checksums that cfs writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strong(Algorithm);

impl Strong {
    /// Which it is.
    pub const fn algorithm(self) -> Algorithm {
        self.0
    }
}

impl<'de> Deserialize<'de> for Strong {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let algorithm = Algorithm::Sha256;
        if text == algorithm.name() {
            return Ok(Self(algorithm));
        }
        Err(de::Error::custom(format_args!("cfs writes {algorithm} checksums, and not {text:?}")))
    }
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
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Upstream {
    /// The address of a repository: `$repo`, `$basearch`, `$version`, `$major` stand for what they say, and
    /// `$hashed` for `hashed-` when hashed directories are asked for.
    pub url: String,
    /// The same for debug packages [default: the address and `-debug`].
    pub debug_url: Option<String>,
    /// The same for source packages [default: the address with the architecture `src`].
    pub source_url: Option<String>,
    /// The repositories, in order [default: those that have a table of their own].
    #[serde(default)]
    pub repositories: Vec<String>,
    /// What is different for some of them.
    #[serde(default)]
    pub repository: BTreeMap<String, Repository>,
    /// Whether packages are asked for in directories of their first letters, by `$hashed` [default: false].
    #[serde(default)]
    pub hashed: bool,
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
}

impl Upstream {
    /// The names of all repositories, in order.
    pub fn names(&self) -> Vec<&String> {
        if self.repositories.is_empty() {
            self.repository.keys().collect()
        } else {
            self.repositories.iter().collect()
        }
    }
}
