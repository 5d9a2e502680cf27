//! `.treeinfo`: what an install tree is; version 1.2.
//!
//! An INI file with sections and keys in the order of their names. The section `general` says the most
//! important things once more, for readers that are older than the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The values of a `.treeinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeInfo {
    /// The release's name.
    pub name: String,
    /// Its short name.
    pub short: String,
    /// Its version.
    pub version: String,
    /// The tree's architecture; `src` for sources.
    pub arch: String,
    /// Platforms that it has images for besides the architecture.
    pub platforms: BTreeSet<String>,
    /// When it was made, seconds since 1970.
    pub build_timestamp: i64,
    /// What is in it.
    pub variants: Vec<Variant>,
    /// The variant that readers of `general` see; the first by name when there is none.
    pub main_variant: Option<String>,
    /// By path: a checksum such as `sha256:…`.
    pub checksums: BTreeMap<String, String>,
    /// By platform and image: the path.
    pub images: BTreeMap<String, BTreeMap<String, String>>,
    /// The installer's image.
    pub main_image: Option<String>,
    /// The number of the disc, and how many there are.
    pub media: Option<(u32, u32)>,
}

/// A variant, whose paths are seen from the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variant {
    /// Its id, which is its uid and its name too.
    pub id: String,
    /// Keys such as `packages`, `repository`, `source_repository`, and where they are.
    pub paths: BTreeMap<String, String>,
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

impl TreeInfo {
    /// The bytes of the file.
    pub fn write(&self) -> Vec<u8> {
        let mut out = String::new();
        for (section, keys) in self.sections() {
            let _ = writeln!(out, "[{section}]");
            for (key, value) in keys {
                let _ = writeln!(out, "{key} = {value}");
            }
            out.push('\n');
        }
        out.into_bytes()
    }

    fn sections(&self) -> Sections {
        let mut sections = Sections::new();
        let mut put = |section: &str, key: &str, value: &str| {
            sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        };
        put("header", "type", "productmd.treeinfo");
        put("header", "version", "1.2");
        put("release", "name", &self.name);
        put("release", "short", &self.short);
        put("release", "version", &self.version);
        let platforms: BTreeSet<&str> =
            self.platforms.iter().map(String::as_str).chain([self.arch.as_str()]).collect();
        let platforms = platforms.into_iter().collect::<Vec<_>>().join(",");
        let ids: BTreeSet<&str> = self.variants.iter().map(|variant| variant.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        put("tree", "arch", &self.arch);
        put("tree", "build_timestamp", &self.build_timestamp.to_string());
        put("tree", "platforms", &platforms);
        put("tree", "variants", &ids.join(","));
        for variant in &self.variants {
            let section = format!("variant-{}", variant.id);
            for key in ["id", "name", "uid"] {
                put(&section, key, &variant.id);
            }
            put(&section, "type", "variant");
            for (key, path) in &variant.paths {
                put(&section, key, path);
            }
        }
        for (path, checksum) in &self.checksums {
            put("checksums", path, checksum);
        }
        for (platform, images) in &self.images {
            for (image, path) in images {
                put(&format!("images-{platform}"), image, path);
            }
        }
        if let Some(image) = &self.main_image {
            put("stage2", "mainimage", image);
        }
        if let Some((number, total)) = self.media {
            put("media", "discnum", &number.to_string());
            put("media", "totaldiscs", &total.to_string());
        }
        self.general(&platforms, &ids, &mut put);
        sections
    }

    /// The section for old readers.
    fn general(&self, platforms: &str, ids: &[&str], put: &mut impl FnMut(&str, &str, &str)) {
        let mut put = |key: &str, value: &str| put("general", key, value);
        put("; WARNING.0", "This section provides compatibility with pre-productmd treeinfos.");
        put("; WARNING.1", "Read productmd documentation for details about new format.");
        put("arch", &self.arch);
        put("family", &self.name);
        put("name", &format!("{} {}", self.name, self.version));
        put("platforms", platforms);
        put("timestamp", &self.build_timestamp.to_string());
        put("version", &self.version);
        put("variants", &ids.join(","));
        let main = self.main_variant.as_deref().or(ids.first().copied());
        let Some(main) = main else { return };
        put("variant", main);
        let Some(variant) = self.variants.iter().find(|variant| variant.id == main) else { return };
        for (key, own) in [("packagedir", "packages"), ("repository", "repository")] {
            let source = format!("source_{own}");
            let found = variant.paths.get(own);
            let found = found.or_else(|| variant.paths.get(&source).filter(|_| self.arch == "src"));
            if let Some(path) = found {
                put(key, path);
            }
        }
    }
}
