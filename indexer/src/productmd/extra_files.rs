//! `extra_files.json`: files of a compose that are in no package, such as licences and keys; one for the compose,
//! and one for each tree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::composeinfo::Compose;
use super::location::{Locations, instead, mapped};
use super::version::Version;
use super::{ProductmdError, check_arch, check_path, json};

const KIND: &str = "productmd.extra_files";

/// The document of a compose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFiles {
    /// The compose.
    pub compose: Compose,
    /// By uid of the variant and architecture.
    pub extra_files: BTreeMap<String, BTreeMap<String, Vec<ExtraFile>>>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    /// Where it is: below `compose/`, or below the tree.
    pub file: String,
    /// Its size.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// By algorithm, in hexadecimal.
    pub checksums: BTreeMap<String, String>,
}

impl ExtraFiles {
    /// A document about no files yet.
    pub fn new(compose: Compose) -> Self {
        Self { compose, extra_files: BTreeMap::new() }
    }

    /// Adds a file of a tree.
    pub fn add(&mut self, variant: &str, arch: &str, file: ExtraFile) -> Result<(), ProductmdError> {
        check_arch(KIND, arch)?;
        check_path(KIND, &file.file)?;
        self.extra_files
            .entry(variant.to_owned())
            .or_default()
            .entry(arch.to_owned())
            .or_default()
            .push(file);
        Ok(())
    }

    /// The bytes of the `extra_files.json` of a tree that is at `base` below `compose/`.
    pub fn write_tree(&self, variant: &str, arch: &str, base: &str) -> Vec<u8> {
        let base = format!("{}/", base.trim_end_matches('/'));
        let files = self.extra_files.get(variant).and_then(|arches| arches.get(arch));
        let inside = |file: &ExtraFile| {
            let path = file.file.strip_prefix(&base).unwrap_or(&file.file);
            ExtraFile { file: path.to_owned(), ..file.clone() }
        };
        let data: Vec<ExtraFile> = files.into_iter().flatten().map(inside).collect();
        json::dump(&json!({ "header": { "version": "1.0" }, "data": data }))
    }

    /// Reads the `extra_files.json` of a compose.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProductmdError> {
        json::read(KIND, bytes)
    }

    /// The bytes of the `extra_files.json` of a compose.
    pub fn write(&self) -> Vec<u8> {
        json::write(KIND, Version::Paths, self)
    }

    /// The bytes of the `extra_files.json` of a compose: of version 2.0 where there are locations.
    pub fn write_as(&self, locations: Option<&Locations>) -> Result<Vec<u8>, ProductmdError> {
        let Some(locations) = locations else { return Ok(self.write()) };
        let located = |file: &ExtraFile| {
            let location = locations.known(KIND, &file.file, file.size_bytes, &file.checksums)?;
            let mut fields = instead(file, &["size", "checksums"], &location);
            let name = file.file.rsplit('/').next().unwrap_or_default();
            fields.insert("file".to_owned(), json!(name));
            Ok(fields)
        };
        let files = mapped(&self.extra_files, |_, arches| {
            mapped(arches, |_, files| files.iter().map(located).collect::<Result<Vec<_>, ProductmdError>>())
        })?;
        Ok(json::write(KIND, Version::Locations, &json!({ "compose": self.compose, "extra_files": files })))
    }
}
