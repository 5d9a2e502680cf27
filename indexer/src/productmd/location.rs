//! Locations: what documents of version 2.0 say of a file in place of its path, so that it can stand elsewhere and
//! still be told from another.
//!
//! Always true: no file is named without its size and digest; directories have neither.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ProductmdError, json};

/// What identifies the state of a repository.
const REPOMD: &str = "repodata/repomd.xml";

/// Where a file or a directory is, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Where it can be had: an address, or its path.
    pub url: String,
    /// Its size; of a repository that of its repomd.xml, of another directory nothing.
    #[serde(rename = "size")]
    pub size_bytes: Option<u64>,
    /// Its digest likewise, such as `sha256:00ff…`.
    pub checksum: Option<String>,
    /// Where it is below `compose/`.
    pub local_path: String,
    /// The files of an image in a container registry, where nothing of a compose of cfs is.
    contents: [(); 0],
}

/// What is known of the files of a compose.
pub struct Locations {
    url_of: Box<dyn Fn(&str) -> String>,
    /// By path below `compose/`: size and digest.
    files: BTreeMap<String, (u64, String)>,
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locations").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl Locations {
    /// No files yet; `url_of` says where a path below `compose/` can be had.
    pub fn new(url_of: impl Fn(&str) -> String + 'static) -> Self {
        Self { url_of: Box::new(url_of), files: BTreeMap::new() }
    }

    /// Says what the file at `path` holds; `checksum` is such as `sha256:00ff…`.
    pub fn add(&mut self, path: String, size_bytes: u64, checksum: String) {
        self.files.insert(path, (size_bytes, checksum));
    }

    /// The location of something of which so much is known.
    fn place(&self, path: &str, content: Option<(u64, String)>) -> Location {
        let (size_bytes, checksum) = content.unzip();
        Location { url: (self.url_of)(path), size_bytes, checksum, local_path: path.to_owned(), contents: [] }
    }

    /// The location of a file of which [`Locations::add`] told.
    pub(super) fn file(&self, kind: &'static str, path: &str) -> Result<Location, ProductmdError> {
        let unknown = || ProductmdError::Malformed { kind, reason: format!("nothing is known of {path}") };
        Ok(self.place(path, Some(self.files.get(path).cloned().ok_or_else(unknown)?)))
    }

    /// The location of a file whose size and digests the document has itself.
    pub(super) fn known(
        &self,
        kind: &'static str,
        path: &str,
        size_bytes: u64,
        checksums: &BTreeMap<String, String>,
    ) -> Result<Location, ProductmdError> {
        let unknown = || ProductmdError::Malformed { kind, reason: format!("{path}: has no SHA-256") };
        let digest = checksums.get("sha256").ok_or_else(unknown)?;
        Ok(self.place(path, Some((size_bytes, format!("sha256:{digest}")))))
    }

    /// The location of a directory; one of a repository is known by its repomd.xml.
    pub(super) fn directory(&self, path: &str, is_repository: bool) -> Location {
        let repomd = is_repository.then(|| self.files.get(&repomd_of(path)).cloned());
        self.place(path, repomd.flatten())
    }
}

/// What identifies the state of the repository at `path`.
pub fn repomd_of(path: &str) -> String {
    format!("{path}/{REPOMD}")
}

/// What a document says of something, without the keys `gone`, and with its location.
pub(super) fn instead(item: &impl Serialize, gone: &[&str], location: &Location) -> Map<String, Value> {
    let mut fields = json::object(item);
    gone.iter().for_each(|key| drop(fields.remove(*key)));
    fields.insert("location".to_owned(), Value::Object(json::object(location)));
    fields
}

/// The same map with other values.
pub(super) fn mapped<K: Clone + Ord, V, W>(
    map: &BTreeMap<K, V>,
    mut change: impl FnMut(&K, &V) -> Result<W, ProductmdError>,
) -> Result<BTreeMap<K, W>, ProductmdError> {
    map.iter().map(|(key, value)| Ok((key.clone(), change(key, value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_say_what_is_known_and_refuse_what_is_not() {
        let mut locations = Locations::new(|path| format!("https://example.org/{path}"));
        locations.add("B/a.rpm".into(), 7, "sha256:00".into());
        locations.add(repomd_of("B"), 9, "sha256:11".into());
        let file = locations.file("productmd.rpms", "B/a.rpm").unwrap();
        assert_eq!((file.url.as_str(), file.size_bytes), ("https://example.org/B/a.rpm", Some(7)));
        let error = locations.file("productmd.rpms", "B/b.rpm").unwrap_err().to_string();
        assert_eq!(error, "is no productmd.rpms: nothing is known of B/b.rpm");
        let only_md5 = BTreeMap::from([("md5".to_owned(), "00".to_owned())]);
        assert!(locations.known("productmd.images", "B/c.iso", 1, &only_md5).is_err());
        let repository = locations.directory("B", true);
        assert_eq!(
            (repository.local_path.as_str(), repository.checksum.as_deref()),
            ("B", Some("sha256:11"))
        );
        assert_eq!(locations.directory("B", false).size_bytes, None);
        let expected = serde_json::json!({
            "checksum": null, "contents": [], "local_path": "B/Packages", "size": null,
            "url": "https://example.org/B/Packages",
        });
        assert_eq!(serde_json::json!(locations.directory("B/Packages", false)), expected);
    }
}
