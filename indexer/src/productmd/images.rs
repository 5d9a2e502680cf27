//! `images.json`: every image of a compose, by variant and architecture.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::composeinfo::Compose;
use super::location::{Locations, instead, mapped};
use super::version::Version;
use super::{ProductmdError, check_arch, check_path, json};

const KIND: &str = "productmd.images";

/// Types of images, with the formats that each may have; none for any.
pub const FORMATS: [(&str, &[&str]); 36] = [
    ("appx", &["appx"]),
    ("boot", &["iso"]),
    ("bootable-container", &["ociarchive"]),
    ("cd", &["iso"]),
    ("container", &["tar.xz", "oci", "ociarchive"]),
    ("docker", &["tar.gz", "tar.xz"]),
    ("dvd", &["iso"]),
    ("dvd-debuginfo", &["iso"]),
    ("dvd-ostree", &["iso"]),
    ("dvd-ostree-osbuild", &["iso"]),
    ("ec2", &[]),
    ("fex", &["erofs.xz", "erofs.gz", "erofs", "squashfs.xz", "squashfs.gz", "squashfs"]),
    ("kvm", &[]),
    ("live", &[]),
    ("live-osbuild", &["iso"]),
    ("liveimg-squashfs", &["liveimg.squashfs"]),
    ("netinst", &["iso"]),
    ("ociarchive", &["ociarchive"]),
    ("p2v", &[]),
    ("qcow", &["qcow"]),
    ("qcow2", &["qcow2"]),
    ("raw", &["raw"]),
    ("raw-xz", &["raw.xz"]),
    ("rescue", &[]),
    ("rhevm-ova", &["rhevm.ova"]),
    ("tar-gz", &["tar.gz"]),
    ("vagrant-hyperv", &["vagrant-hyperv.box"]),
    ("vagrant-libvirt", &["vagrant-libvirt.box"]),
    ("vagrant-virtualbox", &["vagrant-virtualbox.box"]),
    ("vagrant-vmware-fusion", &["vagrant-vmware-fusion.box"]),
    ("vdi", &["vdi"]),
    ("vhd-compressed", &["vhd.gz", "vhd.xz", "vhdfixed.xz"]),
    ("vmdk", &["vmdk"]),
    ("vpc", &["vhd"]),
    ("vsphere-ova", &["vsphere.ova"]),
    ("wsl2", &["tar", "tar.gz", "wsl"]),
];

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The compose.
    pub compose: Compose,
    /// By uid of the variant and architecture, in the order of their paths.
    pub images: BTreeMap<String, BTreeMap<String, Vec<Image>>>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where it is, below `compose/`.
    pub path: String,
    /// Its time, seconds since 1970.
    pub mtime: i64,
    /// Its size.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// The label of its file system.
    pub volume_id: Option<String>,
    /// One of [`FORMATS`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Its format, which its name ends in.
    pub format: String,
    /// Its architecture; `src` for sources.
    pub arch: String,
    /// Which of several discs.
    pub disc_number: u32,
    /// How many discs.
    pub disc_count: u32,
    /// By algorithm, in hexadecimal.
    pub checksums: BTreeMap<String, String>,
    /// The checksum that checks itself.
    pub implant_md5: Option<String>,
    /// Whether machines start from it.
    pub bootable: bool,
    /// What is in it; often the variant.
    pub subvariant: String,
    /// Whether it holds several variants.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unified: bool,
    /// Which others.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub additional_variants: Vec<String>,
}

impl Image {
    /// What makes it another image than those of the same compose.
    fn identity(&self) -> (&str, &str, &str, &str, u32, bool, &[String]) {
        let Self { subvariant, kind, format, arch, disc_number, unified, additional_variants, .. } = self;
        (subvariant, kind, format, arch, *disc_number, *unified, additional_variants)
    }
}

impl Images {
    /// A document about no images yet.
    pub fn new(compose: Compose) -> Self {
        Self { compose, images: BTreeMap::new() }
    }

    /// Adds an image of a tree. Images of sources are listed under every binary architecture.
    pub fn add(&mut self, variant: &str, arch: &str, image: Image) -> Result<(), ProductmdError> {
        let malformed = |reason: String| ProductmdError::Malformed { kind: KIND, reason };
        check_arch(KIND, arch)?;
        check_path(KIND, &image.path)?;
        let Some((_, formats)) = FORMATS.iter().find(|(kind, _)| *kind == image.kind) else {
            return Err(malformed(format!("{}: the type {:?} is unknown", image.path, image.kind)));
        };
        let known = || FORMATS.iter().any(|(_, formats)| formats.contains(&image.format.as_str()));
        let fits = formats.contains(&image.format.as_str()) || formats.is_empty() && known();
        if !fits {
            let Image { path, kind, format, .. } = &image;
            return Err(malformed(format!("{path}: a {kind} is not of the format {format:?}")));
        }
        if image.checksums.is_empty() {
            return Err(malformed(format!("{}: has no checksum", image.path)));
        }
        if !image.additional_variants.is_empty() && !image.unified {
            return Err(malformed(format!("{}: only unified images hold several variants", image.path)));
        }
        let others = self.images.values().flat_map(BTreeMap::values).flatten();
        for other in others {
            if other.identity() == image.identity() && other.checksums != image.checksums {
                return Err(malformed(format!("{} cannot be told from {}", image.path, other.path)));
            }
        }
        let images = self.images.entry(variant.to_owned()).or_default().entry(arch.to_owned()).or_default();
        if !images.contains(&image) {
            let at = images.partition_point(|other| other.path <= image.path);
            images.insert(at, image);
        }
        Ok(())
    }

    /// Reads `images.json` of version 1.1 or later.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProductmdError> {
        json::read(KIND, bytes)
    }

    /// The bytes of `images.json`.
    pub fn write(&self) -> Vec<u8> {
        json::write(KIND, Version::Paths, self)
    }

    /// The bytes of `images.json`: of version 2.0 where there are locations.
    pub fn write_as(&self, locations: Option<&Locations>) -> Result<Vec<u8>, ProductmdError> {
        let Some(locations) = locations else { return Ok(self.write()) };
        let located = |image: &Image| {
            let location = locations.known(KIND, &image.path, image.size_bytes, &image.checksums)?;
            Ok(instead(image, &["path", "size", "checksums"], &location))
        };
        let images = mapped(&self.images, |_, arches| {
            mapped(arches, |_, images| images.iter().map(located).collect::<Result<Vec<_>, ProductmdError>>())
        })?;
        Ok(json::write(KIND, Version::Locations, &json!({ "compose": self.compose, "images": images })))
    }
}
