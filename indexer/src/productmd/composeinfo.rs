//! `composeinfo.json`: what a compose is, and where its variants are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compose_id::{ComposeType, ReleaseType};
use super::label::Label;
use super::location::{Locations, mapped};
use super::version::Version;
use super::{ProductmdError, json};

const KIND: &str = "productmd.composeinfo";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeInfo {
    /// The compose.
    pub compose: Compose,
    /// The release that it is of.
    pub release: Release,
    /// What a layered release lies on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_product: Option<BaseProduct>,
    /// All variants, children among them, by uid.
    pub variants: BTreeMap<String, Variant>,
}

/// What identifies a compose, as in all documents of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compose {
    /// Its id.
    pub id: String,
    /// What it was made for.
    #[serde(rename = "type")]
    pub kind: ComposeType,
    /// The day, such as `20251124`.
    pub date: String,
    /// Which of that day.
    pub respin: u32,
    /// The milestone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<Label>,
    /// Whether it is supported; said beside a label only.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none", default)]
    pub is_final: Option<bool>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its name, such as `Rocky Linux`.
    pub name: String,
    /// Its short name, such as `Rocky`.
    pub short: String,
    /// Its version, such as `9.7`.
    pub version: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ReleaseType,
    /// Whether it lies on a base product; said only if so.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_layered: bool,
    /// Whether it is for the house only.
    #[serde(default)]
    pub internal: bool,
}

/// What a layered release lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseProduct {
    /// Its name.
    pub name: String,
    /// Its short name.
    pub short: String,
    /// Its version.
    pub version: String,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<ReleaseType>,
}

/// A part of a compose with repositories of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Variant {
    /// Its id, letters and digits.
    pub id: String,
    /// Its id behind those of its parents.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// `variant`, `optional`, `addon` or `layered-product`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its architectures.
    pub arches: BTreeSet<String>,
    /// By category, such as `os_tree`, and architecture: where it is, below `compose/`.
    #[serde(default)]
    pub paths: BTreeMap<String, BTreeMap<String, String>>,
    /// The release, of a layered product.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub release: Option<Release>,
    /// Ids of its children.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub variants: BTreeSet<String>,
}

impl ComposeInfo {
    /// Reads `composeinfo.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProductmdError> {
        json::read(KIND, bytes)
    }

    /// The bytes of `composeinfo.json`.
    pub fn write(&self) -> Vec<u8> {
        json::write(KIND, Version::Paths, self)
    }

    /// The bytes of `composeinfo.json`: of version 2.0 where there are locations.
    pub fn write_as(&self, locations: Option<&Locations>) -> Result<Vec<u8>, ProductmdError> {
        let Some(locations) = locations else { return Ok(self.write()) };
        let located = |variant: &Variant| {
            let paths = mapped(&variant.paths, |category, arches| {
                let is_repository = category.ends_with("repository");
                mapped(arches, |_, path| Ok(locations.directory(path, is_repository)))
            })?;
            let mut fields = json::object(variant);
            fields.insert("paths".to_owned(), json!(paths));
            Ok(fields)
        };
        let mut payload = json::object(self);
        payload.insert("variants".to_owned(), json!(mapped(&self.variants, |_, variant| located(variant))?));
        Ok(json::write(KIND, Version::Locations, &payload))
    }
}
