//! `.treeinfo`: what an install tree is; version 1.2.
//!
//! An INI file with sections and keys in the order of their names. The section `general` says the most
//! important things once more, for readers that are older than the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The installer of an install tree.
const INSTALLER: &str = "images/install.img";
/// What else lorax makes, by the words of `.treeinfo`; which of it depends on the architecture.
const IMAGES: [(&str, &str); 10] = [
    ("boot.iso", "images/boot.iso"),
    ("cdboot.img", "images/cdboot.img"),
    ("efiboot.img", "images/efiboot.img"),
    ("eltorito.img", "images/eltorito.img"),
    ("initrd", "images/pxeboot/initrd.img"),
    ("initrd", "ppc/ppc64/initrd.img"),
    ("initrd", "images/initrd.img"),
    ("kernel", "images/pxeboot/vmlinuz"),
    ("kernel", "ppc/ppc64/vmlinuz"),
    ("kernel", "images/kernel.img"),
];

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

/// What of an older file of the same tree a newer one lacks: the images and where the installer is, with their
/// checksums, and the disc. Both are the bytes of files; `has` says whether a path is still there.
pub fn keep(new: &[u8], old: &[u8], has: &mut dyn FnMut(&str) -> bool) -> Vec<u8> {
    let old = parse(old);
    let mut new = parse(new);
    let is_kept = |name: &str| name.starts_with("images-") || name == "stage2" || name == "media";
    let mut paths = BTreeSet::new();
    let mut platforms = BTreeSet::new();
    for (name, keys) in old.iter().filter(|(name, _)| is_kept(name)) {
        if new.contains_key(name) {
            continue;
        }
        let mut kept = keys.clone();
        if name != "media" {
            kept.retain(|_, path| has(path));
        }
        if kept.is_empty() {
            continue;
        }
        platforms.extend(name.strip_prefix("images-").map(str::to_owned));
        if name != "media" {
            paths.extend(kept.values().cloned());
        }
        new.insert(name.clone(), kept);
    }
    let checksums: BTreeMap<String, String> = (old.get("checksums").into_iter().flatten())
        .filter(|(path, _)| paths.contains(*path))
        .map(|(path, checksum)| (path.clone(), checksum.clone()))
        .collect();
    if !checksums.is_empty() {
        new.entry("checksums".to_owned()).or_default().extend(checksums);
    }
    for section in ["general", "tree"] {
        if let Some(all) = new.get_mut(section).and_then(|keys| keys.get_mut("platforms")) {
            platforms.extend(all.split(',').map(str::to_owned));
            *all = platforms.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        }
    }
    write(&new)
}

/// The paths of images that a file names or could name.
pub fn images(bytes: &[u8]) -> BTreeSet<String> {
    let is_of_images = |name: &str| name.starts_with("images-") || name == "stage2";
    let sections = parse(bytes);
    let named = sections.iter().filter(|(name, _)| is_of_images(name)).flat_map(|(_, keys)| keys.values());
    let usual = IMAGES.iter().map(|(_, path)| (*path).to_owned());
    named.cloned().chain(usual).chain([INSTALLER.to_owned()]).collect()
}

/// The file with those of [`images`] that there are: by path their checksums, such as `sha256:…`. Images in their
/// usual places are named, unless others are called so.
pub fn with_images(bytes: &[u8], checksums: &BTreeMap<String, String>) -> Vec<u8> {
    let mut sections = parse(bytes);
    let arch = sections.get("tree").and_then(|keys| keys.get("arch")).cloned().unwrap_or_default();
    let mut name = |section: String, key: &str, path: &str| {
        if checksums.contains_key(path) {
            sections.entry(section).or_default().entry(key.to_owned()).or_insert_with(|| path.to_owned());
        }
    };
    for (key, path) in IMAGES {
        name(format!("images-{arch}"), key, path);
    }
    name("stage2".to_owned(), "mainimage", INSTALLER);
    if !checksums.is_empty() {
        let all = checksums.iter().map(|(path, checksum)| (path.clone(), checksum.clone()));
        sections.entry("checksums".to_owned()).or_default().extend(all);
    }
    write(&sections)
}

/// Reads the sections of a file; what is in none is left out.
fn parse(bytes: &[u8]) -> Sections {
    let text = String::from_utf8_lossy(bytes);
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.to_owned());
            sections.entry(name.to_owned()).or_default();
        } else if let (Some(name), Some((key, value))) = (&section, line.split_once(" = ")) {
            sections.entry(name.clone()).or_default().insert(key.to_owned(), value.to_owned());
        }
    }
    sections
}

fn write(sections: &Sections) -> Vec<u8> {
    let mut out = String::new();
    for (section, keys) in sections {
        let _ = writeln!(out, "[{section}]");
        for (key, value) in keys {
            let _ = writeln!(out, "{key} = {value}");
        }
        out.push('\n');
    }
    out.into_bytes()
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

impl TreeInfo {
    /// The bytes of the file.
    pub fn write(&self) -> Vec<u8> {
        write(&self.sections())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_kept_when_the_rest_is_written_anew() {
        let mut info = TreeInfo { arch: "x86_64".into(), version: "9.6".into(), ..TreeInfo::default() };
        let image = |path: &str| ("kernel".to_owned(), path.to_owned());
        info.images.insert("x86_64".into(), BTreeMap::from([image("images/pxeboot/vmlinuz")]));
        info.images.insert("xen".into(), BTreeMap::from([image("images/pxeboot/vmlinuz")]));
        info.platforms.insert("xen".into());
        info.main_image = Some("images/install.img".into());
        for path in ["images/pxeboot/vmlinuz", "images/install.img", "repodata/repomd.xml"] {
            info.checksums.insert(path.into(), "sha256:00".into());
        }
        let old = info.write();
        let bare = TreeInfo { arch: "x86_64".into(), version: "9.7".into(), ..TreeInfo::default() };
        let kept = keep(&bare.write(), &old, &mut |_| true);
        info.version = "9.7".into();
        info.checksums.remove("repodata/repomd.xml");
        assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(info.write()).unwrap());
        assert_eq!(keep(&bare.write(), &old, &mut |_| false), bare.write(), "what is gone is not kept");
        assert_eq!(keep(&bare.write(), b"no such file", &mut |_| true), bare.write());
    }
}
