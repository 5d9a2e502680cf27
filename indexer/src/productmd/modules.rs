//! `modules.json`: every module of a compose, by variant and architecture.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::composeinfo::Compose;
use super::location::{Locations, instead, mapped};
use super::rpms::Category;
use super::version::Version;
use super::{ProductmdError, check_arch, check_path, json};

const KIND: &str = "productmd.modules";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// The compose.
    pub compose: Compose,
    /// By uid of the variant, architecture, and name, stream, version and context.
    pub modules: BTreeMap<String, BTreeMap<String, BTreeMap<String, Module>>>,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// What it is.
    pub metadata: Identity,
    /// Where its description is, below `compose/`, by the sort of packages that it is about.
    pub modulemd_path: BTreeMap<Category, String>,
    /// Its packages.
    pub rpms: Vec<String>,
}

impl Module {
    /// Where its description is: the first that it has.
    pub fn described_at(&self) -> Option<&str> {
        self.modulemd_path.values().next().map(String::as_str)
    }
}

/// What identifies a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name, stream, version and context, with colons between.
    pub uid: String,
    /// The name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// The version; may be empty.
    pub version: String,
    /// The context; may be empty.
    pub context: String,
    /// Where it was built.
    pub koji_tag: String,
}

impl Identity {
    /// The identity that a uid such as `nodejs:18:9040020240301:a1b2c3d4` gives; version and context may be
    /// missing.
    pub fn new(uid: &str, koji_tag: &str) -> Result<Self, ProductmdError> {
        let malformed =
            |reason: &str| ProductmdError::Malformed { kind: KIND, reason: format!("{uid:?}: {reason}") };
        let parts: Vec<&str> = uid.split(':').collect();
        if !(2..=4).contains(&parts.len()) || parts.iter().any(|part| part.is_empty()) {
            return Err(malformed("is not name:stream[:version[:context]]"));
        }
        if koji_tag.is_empty() {
            return Err(malformed("was built nowhere"));
        }
        let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
        Ok(Self {
            uid: uid.to_owned(),
            name: part(0),
            stream: part(1),
            version: part(2),
            context: part(3),
            koji_tag: koji_tag.to_owned(),
        })
    }
}

impl Modules {
    /// A document about no modules yet.
    pub fn new(compose: Compose) -> Self {
        Self { compose, modules: BTreeMap::new() }
    }

    /// Adds the packages of one sort of a module, whose description is at `path`.
    pub fn add(
        &mut self,
        variant: &str,
        arch: &str,
        identity: Identity,
        category: Category,
        path: &str,
        rpms: impl IntoIterator<Item = String>,
    ) -> Result<(), ProductmdError> {
        check_arch(KIND, arch)?;
        check_path(KIND, path)?;
        let of_arch = self.modules.entry(variant.to_owned()).or_default().entry(arch.to_owned()).or_default();
        let module = of_arch.entry(identity.uid.clone()).or_insert_with(|| Module {
            metadata: identity,
            modulemd_path: BTreeMap::new(),
            rpms: Vec::new(),
        });
        module.modulemd_path.insert(category, path.to_owned());
        module.rpms.extend(rpms);
        Ok(())
    }

    /// Reads `modules.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProductmdError> {
        json::read(KIND, bytes)
    }

    /// The bytes of `modules.json`.
    pub fn write(&self) -> Vec<u8> {
        json::write(KIND, Version::Paths, self)
    }

    /// The bytes of `modules.json`: of version 2.0 where there are locations. That has one place for the description of a
    /// module, the first.
    pub fn write_as(&self, locations: Option<&Locations>) -> Result<Vec<u8>, ProductmdError> {
        let Some(locations) = locations else { return Ok(self.write()) };
        let located = |arch: &str, module: &Module| {
            let path = module.described_at().ok_or_else(|| ProductmdError::Malformed {
                kind: KIND,
                reason: format!("{} is described nowhere", module.metadata.uid),
            })?;
            let mut fields = instead(&module.metadata, &["uid", "koji_tag"], &locations.file(KIND, path)?);
            fields.insert("arch".to_owned(), json!(arch));
            fields.insert("rpms".to_owned(), json!(module.rpms));
            Ok(fields)
        };
        let modules = mapped(&self.modules, |_, arches| {
            mapped(arches, |arch, modules| mapped(modules, |_, module| located(arch, module)))
        })?;
        Ok(json::write(KIND, Version::Locations, &json!({ "compose": self.compose, "modules": modules })))
    }
}
