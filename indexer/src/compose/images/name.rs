//! What the name of an image says: which type it is of, what is in it, and whether it is called twice.
//!
//! Names are those of Rocky: `Rocky-9.7-x86_64-dvd.iso`, rebuilt `Rocky-9.7-20251201.0-x86_64-dvd.iso`; live
//! `Rocky-9.7-Workstation-x86_64-20251123.0.iso`; others `Rocky-9-Azure-LVM-9.7-20251123.2.x86_64.vhd`. Aliases have
//! the word `latest` in place of the build, or, of discs, no version.

use crate::config::Release;

/// The ends of names with productmd's type and format; longer ends stand before the shorter ones in them.
const TYPES: [(&str, &str, &str); 25] = [
    (".appx", "appx", "appx"),
    (".erofs", "fex", "erofs"),
    (".erofs.gz", "fex", "erofs.gz"),
    (".erofs.xz", "fex", "erofs.xz"),
    (".liveimg.squashfs", "liveimg-squashfs", "liveimg.squashfs"),
    (".oci", "container", "oci"),
    (".ociarchive", "ociarchive", "ociarchive"),
    (".qcow", "qcow", "qcow"),
    (".qcow2", "qcow2", "qcow2"),
    (".raw", "raw", "raw"),
    (".raw.xz", "raw-xz", "raw.xz"),
    (".rhevm.ova", "rhevm-ova", "rhevm.ova"),
    (".squashfs", "fex", "squashfs"),
    (".squashfs.gz", "fex", "squashfs.gz"),
    (".squashfs.xz", "fex", "squashfs.xz"),
    (".tar.gz", "tar-gz", "tar.gz"),
    (".tar.xz", "container", "tar.xz"),
    (".vdi", "vdi", "vdi"),
    (".vhd", "vpc", "vhd"),
    (".vhd.gz", "vhd-compressed", "vhd.gz"),
    (".vhd.xz", "vhd-compressed", "vhd.xz"),
    (".vhdfixed.xz", "vhd-compressed", "vhdfixed.xz"),
    (".vmdk", "vmdk", "vmdk"),
    (".vsphere.ova", "vsphere-ova", "vsphere.ova"),
    (".wsl", "wsl2", "wsl"),
];

/// The ends of names whose type a word in the name decides; of no word is the type without one.
const TYPES_BY_WORD: [(&str, &str, &str, &str); 15] = [
    (".box", "hyperv", "vagrant-hyperv", "vagrant-hyperv.box"),
    (".box", "libvirt", "vagrant-libvirt", "vagrant-libvirt.box"),
    (".box", "vbox", "vagrant-virtualbox", "vagrant-virtualbox.box"),
    (".box", "virtualbox", "vagrant-virtualbox", "vagrant-virtualbox.box"),
    (".box", "vmware", "vagrant-vmware-fusion", "vagrant-vmware-fusion.box"),
    (".iso", "boot", "boot", "iso"),
    (".iso", "live", "live", "iso"),
    (".iso", "netinst", "netinst", "iso"),
    (".ociarchive", "bootc", "bootable-container", "ociarchive"),
    (".ociarchive", "container", "container", "ociarchive"),
    (".tar", "wsl", "wsl2", "tar"),
    (".tar.gz", "container", "docker", "tar.gz"),
    (".tar.gz", "docker", "docker", "tar.gz"),
    (".tar.gz", "wsl", "wsl2", "tar.gz"),
    (".tar.xz", "docker", "docker", "tar.xz"),
];

/// The end of a disc's name.
const DISC: &str = ".iso";
/// The end of the name of a Vagrant box; productmd has the provider in the format, too.
const BOX: &str = ".box";

/// What the name of an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// productmd's type and format; `None` for what it has no word for.
    pub(super) kind: Option<(&'static str, &'static str)>,
    /// What is in it: `dvd`, `Azure-LVM`.
    pub(super) subvariant: String,
    /// Which build of it: `20251123.2`.
    pub(super) build: Option<String>,
    /// Whether the same image has another name.
    pub(super) is_alias: bool,
}

/// Reads the name of an image of the architecture `arch`, which stands in `directory`: `isos`, `images` or `live`.
pub(super) fn read(release: &Release, directory: &str, arch: &str, name: &str) -> Called {
    let kind = kind_of(directory, name);
    let stem = stem(arch, name, kind);
    let (stem, mut is_alias) = match stem.strip_suffix(".latest") {
        Some(stem) => (stem, true),
        None => (stem, false),
    };
    let own = stem.strip_prefix(&release.short).and_then(|rest| rest.strip_prefix('-'));
    let (mut words, mut build, mut has_version) = (Vec::new(), None, own.is_none());
    for word in own.unwrap_or(stem).split('-') {
        match word {
            "latest" => is_alias = true,
            _ if word == arch || is_candidate(word) => {}
            _ if word == release.version || word == release.major() => has_version = true,
            _ if is_build(word) => build = Some(word.to_owned()),
            _ => words.push(word),
        }
    }
    let is_disc = kind.is_some_and(|(_, format)| format == "iso");
    is_alias |= is_disc && !has_version;
    let fallback = || kind.map_or(stem, |(kind, _)| kind).to_owned();
    let subvariant = if words.is_empty() { fallback() } else { words.join("-") };
    Called { kind, subvariant, build, is_alias }
}

fn kind_of(directory: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let is_disc = name.ends_with(DISC);
    if directory == "live" && is_disc {
        return Some(("live", "iso"));
    }
    let lower = name.to_ascii_lowercase();
    let has =
        |wanted: &str| lower.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == wanted);
    let by_word = TYPES_BY_WORD.iter().find(|(end, word, ..)| name.ends_with(end) && has(word));
    let by_word = by_word.map(|(_, _, kind, format)| (*kind, *format));
    let disc = is_disc.then_some(("dvd", "iso"));
    let by_end = || TYPES.iter().find(|(end, ..)| name.ends_with(end));
    by_word.or(disc).or_else(|| by_end().map(|(_, kind, format)| (*kind, *format)))
}

/// The name without what it ends in.
fn stem<'a>(arch: &str, name: &'a str, kind: Option<(&str, &str)>) -> &'a str {
    if let Some((stem, _)) = name.split_once(&format!(".{arch}.")) {
        return stem;
    }
    let end = kind.map_or("", |(_, format)| if format.ends_with(BOX) { BOX } else { format });
    let stem = name.strip_suffix(end).unwrap_or(name).trim_end_matches('.');
    let stem =
        [".vagrant-", ".vagrant."].iter().find_map(|word| stem.split_once(word)).map_or(stem, |both| both.0);
    stem.strip_suffix(".oci").unwrap_or(stem)
}

/// `20251123`, `20251123.2`
fn is_build(word: &str) -> bool {
    let (date, respin) = word.split_once('.').unwrap_or((word, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    date.len() == 8 && is_number(date) && is_number(respin)
}

/// `RC1`
fn is_candidate(word: &str) -> bool {
    let number = word.strip_prefix("RC").or_else(|| word.strip_prefix("rc"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(directory: &str, name: &str) -> (String, String, bool) {
        let config = "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\narches = [\"x86_64\"]\n\
                      [release.9.upstream]\nurl = \"http://x/$repo\"\nrepositories = [\"BaseOS\"]\n";
        let config = crate::config::parse(config).unwrap();
        let called = read(&config.releases["9"], directory, "x86_64", name);
        let kind = called.kind.map_or("none".to_owned(), |(kind, format)| format!("{kind} {format}"));
        (kind, called.subvariant, called.is_alias)
    }

    #[test]
    fn names_say_what_images_are() {
        for (directory, name, kind, subvariant, is_alias) in [
            ("isos", "Rocky-9.7-x86_64-boot.iso", "boot iso", "boot", false),
            ("isos", "Rocky-9.7-RC1-x86_64-dvd1.iso", "dvd iso", "dvd1", false),
            ("isos", "Rocky-9.7-20251201.0-x86_64-dvd.iso", "dvd iso", "dvd", false),
            ("isos", "Rocky-9-latest-x86_64-minimal.iso", "dvd iso", "minimal", true),
            ("isos", "Rocky-x86_64-boot.iso", "boot iso", "boot", true),
            ("isos", "other.iso", "dvd iso", "other", false),
            (
                "live",
                "Rocky-9.7-Workstation-Lite-x86_64-20251123.0.iso",
                "live iso",
                "Workstation-Lite",
                false,
            ),
            ("live", "Rocky-9-KDE-x86_64-latest.iso", "live iso", "KDE", true),
            ("images", "Rocky-9-Azure-LVM-9.7-20251123.2.x86_64.vhd", "vpc vhd", "Azure-LVM", false),
            ("images", "Rocky-9-Azure-LVM.latest.x86_64.vhd", "vpc vhd", "Azure-LVM", true),
            (
                "images",
                "Rocky-9-Container-UBI-9.7-20251123.2.x86_64.oci.tar.xz",
                "container tar.xz",
                "Container-UBI",
                false,
            ),
            (
                "images",
                "Rocky-9-Vagrant-Vbox-9.7-20251123.2.x86_64.box",
                "vagrant-virtualbox vagrant-virtualbox.box",
                "Vagrant-Vbox",
                false,
            ),
            (
                "images",
                "Rocky-9-Vagrant.vagrant-libvirt.box",
                "vagrant-libvirt vagrant-libvirt.box",
                "Vagrant",
                false,
            ),
            ("images", "Rocky-9-WSL-9.7-20251123.2.x86_64.tar.gz", "wsl2 tar.gz", "WSL", false),
            ("images", "Rocky-9-RPI-9.7-20251123.2.x86_64.raw.xz", "raw-xz raw.xz", "RPI", false),
            ("images", "Rocky-9.7-20251123.2.x86_64.qcow2", "qcow2 qcow2", "qcow2", false),
            ("images", "Rocky-9-Old-9.6-20250601.0.x86_64.qcow2", "qcow2 qcow2", "Old-9.6", false),
            ("images", "Rocky-9-Toaster-9.7-20251123.2.x86_64.img", "none", "Toaster", false),
            ("images", "Rocky-9-Vagrant-9.7-20251123.2.x86_64.box", "none", "Vagrant", false),
        ] {
            assert_eq!(called(directory, name), (kind.to_owned(), subvariant.to_owned(), is_alias), "{name}");
        }
    }

    #[test]
    fn every_type_is_one_of_productmd() {
        let by_word = TYPES_BY_WORD.iter().map(|(_, _, kind, format)| (kind, format));
        for (kind, format) in TYPES.iter().map(|(_, kind, format)| (kind, format)).chain(by_word) {
            let formats = crate::productmd::images::FORMATS.iter().find(|(known, _)| known == kind);
            let formats = formats.unwrap_or_else(|| panic!("{kind}")).1;
            assert!(formats.is_empty() || formats.contains(format), "{kind} {format}");
        }
    }
}
