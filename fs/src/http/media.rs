//! What the name of a file says about it: its media type, and how long it may be kept.
//!
//! Always true: names alone decide, so two requests for a path are answered alike; a compressed file is a
//! compressed file, never an encoding of another one.

/// The value of `Cache-Control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The content at this path never changes.
    Forever,
    /// A day: images, whose names come back for other bytes only while a release is being made.
    Day,
    /// To be asked for again each time; the answer is mostly 304.
    Ask,
    /// Answers about what is not there.
    Briefly,
}

impl Keep {
    /// The header's value.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Forever => "public, max-age=31536000, immutable",
            Self::Day => "public, max-age=86400",
            Self::Ask => "no-cache",
            Self::Briefly => "public, max-age=10",
        }
    }

    /// How long the file at `path` may be kept.
    pub(super) fn of(path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_metadata = parent == "repodata" || parent.ends_with("/repodata");
        match extension(name) {
            "rpm" | "drpm" => Self::Forever,
            // Signatures of hashed metadata follow its name.
            _ if is_metadata && is_hashed(name) => Self::Forever,
            "iso" | "qcow2" | "raw" | "vmdk" | "vdi" | "vhd" | "box" | "wsl" | "ova" => Self::Day,
            _ => Self::Ask,
        }
    }
}

/// Whether a name begins with a checksum of the content: `<hex>-primary.xml.gz`.
fn is_hashed(name: &str) -> bool {
    let Some((digits, _)) = name.split_once('-') else { return false };
    [32, 40, 56, 64, 96, 128].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The media type of a file.
pub(super) fn media_type(path: &str) -> &'static str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    match extension(name) {
        "rpm" | "drpm" => "application/x-rpm",
        "xml" => "text/xml",
        "gz" | "tgz" => "application/gzip",
        "xz" => "application/x-xz",
        "bz2" => "application/x-bzip2",
        "zst" => "application/zstd",
        "zck" => "application/x-zchunk",
        "iso" => "application/x-iso9660-image",
        "asc" | "key" | "gpg" => "application/pgp-keys",
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "txt" | "log" | "md" | "repo" | "cfg" | "ks" | "treeinfo" | "discinfo" => "text/plain; charset=utf-8",
        "tar" => "application/x-tar",
        "efi" | "EFI" | "img" | "qcow2" | "raw" => "application/octet-stream",
        "css" => "text/css",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        _ if is_text(name) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Files of a repository that are text and have no extension.
fn is_text(name: &str) -> bool {
    let lists = ["fullfilelist", "fullfiletimelist", "imagelist"];
    let words = ["CHECKSUM", "COMPOSE_ID", "EULA", "LICENSE", "README", "treeinfo", "mirrorlist"];
    name.ends_with("CHECKSUM")
        || name.starts_with("RPM-GPG-KEY-")
        || words.contains(&name)
        || lists.iter().any(|list| name.starts_with(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_long_a_file_may_be_kept() {
        let hash = "0f".repeat(32);
        for (path, expected) in [
            ("Packages/b/bash-5.1.8-9.el9.x86_64.rpm".to_owned(), Keep::Forever),
            ("drpms/a.drpm".to_owned(), Keep::Forever),
            (format!("BaseOS/repodata/{hash}-primary.xml.gz"), Keep::Forever),
            (format!("repodata/{hash}-filelists.sqlite.xz"), Keep::Forever),
            // The same name elsewhere promises nothing.
            (format!("other/{hash}-primary.xml.gz"), Keep::Ask),
            ("repodata/primary.xml.gz".to_owned(), Keep::Ask),
            ("repodata/abc-primary.xml.gz".to_owned(), Keep::Ask),
            ("repodata/repomd.xml".to_owned(), Keep::Ask),
            ("repodata/repomd.xml.asc".to_owned(), Keep::Ask),
            ("RPM-GPG-KEY-Rocky-9".to_owned(), Keep::Ask),
            ("repomd.xml.key".to_owned(), Keep::Ask),
            (".treeinfo".to_owned(), Keep::Ask),
            ("media.repo".to_owned(), Keep::Ask),
            ("isos/x86_64/CHECKSUM".to_owned(), Keep::Ask),
            ("isos/x86_64/Rocky-9.7-x86_64-dvd.iso.CHECKSUM".to_owned(), Keep::Ask),
            ("isos/x86_64/Rocky-9.7-x86_64-dvd.iso".to_owned(), Keep::Day),
            ("images/x86_64/Rocky-9-GenericCloud.latest.x86_64.qcow2".to_owned(), Keep::Day),
            ("fullfiletimelist-rocky".to_owned(), Keep::Ask),
            ("images/install.img".to_owned(), Keep::Ask),
        ] {
            assert_eq!(Keep::of(&path), expected, "{path}");
        }
    }

    #[test]
    fn names_say_what_a_file_is() {
        for (path, expected) in [
            ("a/b-1.rpm", "application/x-rpm"),
            ("repodata/repomd.xml", "text/xml"),
            ("primary.xml.gz", "application/gzip"),
            ("primary.xml.zst", "application/zstd"),
            ("a.iso", "application/x-iso9660-image"),
            ("repomd.xml.asc", "application/pgp-keys"),
            (".treeinfo", "text/plain; charset=utf-8"),
            ("fullfilelist", "text/plain; charset=utf-8"),
            ("CHECKSUM", "text/plain; charset=utf-8"),
            ("a.iso.CHECKSUM", "text/plain; charset=utf-8"),
            ("images/pxeboot/vmlinuz", "application/octet-stream"),
            ("xml", "application/octet-stream"),
            ("dir.xml/file", "application/octet-stream"),
        ] {
            assert_eq!(media_type(path), expected, "{path}");
        }
    }
}
