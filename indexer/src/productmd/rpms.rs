//! `rpms.json`: every package of a compose, by variant, architecture and source package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::composeinfo::Compose;
use super::location::{Locations, instead, mapped};
use super::version::Version;
use super::{ProductmdError, check_arch, check_path, json};

const KIND: &str = "productmd.rpms";

/// The packages of one tree: by the name of their source package, by their own name. Names have the form
/// `name-epoch:version-release.arch`.
pub type Tree = BTreeMap<String, BTreeMap<String, Rpm>>;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpms {
    /// The compose.
    pub compose: Compose,
    /// By uid of the variant and architecture.
    pub rpms: BTreeMap<String, BTreeMap<String, Tree>>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpm {
    /// What sort of package it is.
    pub category: Category,
    /// Where it is, below `compose/`.
    pub path: String,
    /// The last eight digits of the id of the key that signed it, in lower case.
    pub sigkey: Option<String>,
}

/// The sorts of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// What is installed.
    Binary,
    /// Debugging information and sources for it.
    Debug,
    /// A source package.
    Source,
}

impl Rpms {
    /// A document about no packages yet.
    pub fn new(compose: Compose) -> Self {
        Self { compose, rpms: BTreeMap::new() }
    }

    /// Adds a package of a tree. A source package, of which `source` is `None`, is listed under every binary
    /// architecture.
    pub fn add(
        &mut self,
        variant: &str,
        arch: &str,
        nevra: &str,
        source: Option<&str>,
        rpm: Rpm,
    ) -> Result<(), ProductmdError> {
        let malformed = |reason: String| ProductmdError::Malformed { kind: KIND, reason };
        check_arch(KIND, arch)?;
        check_path(KIND, &rpm.path)?;
        for name in std::iter::once(nevra).chain(source) {
            if !name.contains(':') || !name.contains('.') {
                return Err(malformed(format!(
                    "{name:?} is not of the form name-epoch:version-release.arch"
                )));
            }
        }
        let is_source = [".src", ".nosrc"].iter().any(|end| nevra.ends_with(end));
        if is_source != (rpm.category == Category::Source) || is_source != source.is_none() {
            return Err(malformed(format!("{nevra}: its category and its source package do not fit")));
        }
        let tree = self.rpms.entry(variant.to_owned()).or_default().entry(arch.to_owned()).or_default();
        let of_source = tree.entry(source.unwrap_or(nevra).to_owned()).or_default();
        of_source.insert(nevra.to_owned(), rpm);
        Ok(())
    }

    /// Reads `rpms.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProductmdError> {
        json::read(KIND, bytes)
    }

    /// The bytes of `rpms.json`.
    pub fn write(&self) -> Vec<u8> {
        json::write(KIND, Version::Paths, self)
    }

    /// The bytes of `rpms.json`: of version 2.0 where there are locations.
    pub fn write_as(&self, locations: Option<&Locations>) -> Result<Vec<u8>, ProductmdError> {
        let Some(locations) = locations else { return Ok(self.write()) };
        let located = |rpm: &Rpm| {
            let mut fields = instead(rpm, &["path"], &locations.file(KIND, &rpm.path)?);
            // All keys, of which the first is `sigkey`; more than one is not known of any package.
            let keys: Vec<&String> = rpm.sigkey.iter().collect();
            fields.insert("sigkeys".to_owned(), json!(keys));
            Ok(fields)
        };
        let rpms = mapped(&self.rpms, |_, arches| {
            mapped(arches, |_, tree| mapped(tree, |_, rpms| mapped(rpms, |_, rpm| located(rpm))))
        })?;
        Ok(json::write(KIND, Version::Locations, &json!({ "compose": self.compose, "rpms": rpms })))
    }
}
