//! One line of a list.

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Item, Kind};

/// The longest line: a path of a tree, and the three fields before it.
pub(super) const LINE_MAX_BYTES: usize = cfs_fs::name::PATH_MAX_BYTES + 64;

/// Who may read an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shade {
    /// Everybody.
    Open,
    /// Not everybody: `-`.
    Restricted,
    /// Everybody, but it stands below a directory that is restricted: `*`.
    Below,
}

/// What a line says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: i64,
    pub(super) kind: char,
    pub(super) shade: Shade,
    pub(super) size_bytes: u64,
}

impl Line {
    /// The line of `item`, which entered the view at `entered` (seconds).
    pub(super) fn of(item: &Item, shade: Shade, entered: i64) -> Self {
        // As `lstat` tells them on a mount, where a directory has no size.
        let (kind, size_bytes) = match &item.kind {
            Kind::File { size_bytes, .. } => ('f', *size_bytes),
            Kind::Dir(_) => ('d', 0),
            Kind::Symlink { target } => ('l', target.len() as u64),
        };
        Self { time: item.mtime.max(entered).max(0), kind, shade, size_bytes }
    }

    /// Appends `<time>\t<type>\t<size>\t<path>\n`.
    pub(super) fn write(&self, path: &str, out: &mut Vec<u8>) {
        number(self.time.cast_unsigned(), out);
        out.extend([b'\t', u8::try_from(self.kind).unwrap_or(b'f')]);
        match self.shade {
            Shade::Open => {}
            Shade::Restricted => out.push(b'-'),
            Shade::Below => out.push(b'*'),
        }
        out.push(b'\t');
        number(self.size_bytes, out);
        out.push(b'\t');
        out.extend_from_slice(path.as_bytes());
        out.push(b'\n');
    }

    /// The line as bytes.
    pub(super) fn to_bytes(self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(path.len() + 32);
        self.write(path, &mut bytes);
        bytes
    }
}

/// Appends a number in decimal digits; a list of a million files has two million of them.
fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// The path of a line of `[Files]`: what follows the third tab.
pub(super) fn file_key(line: &[u8]) -> Option<&[u8]> {
    line.splitn(4, |byte| *byte == b'\t').nth(3)
}

/// The path of a line of `[Checksums SHA1]`.
pub(super) fn checksum_key(line: &[u8]) -> Option<&[u8]> {
    line.splitn(2, |byte| *byte == b'\t').nth(1)
}

/// The path of a line of `fullfilelist` or `imagelist-*`.
pub(super) fn plain_key(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"./")
}

/// The line of `fullfilelist` and `imagelist-*` for a path.
pub(super) fn plain(path: &str) -> Vec<u8> {
    format!("./{path}\n").into_bytes()
}

/// The line of `[Checksums SHA1]`.
pub(super) fn checksum(sha1_hex: &str, path: &str) -> Vec<u8> {
    format!("{sha1_hex}\t{path}\n").into_bytes()
}

/// Where the SHA-1 of small files comes from: its lower-case digits.
pub(super) type Sha1<'a> = dyn FnMut(BlobId) -> Result<String, super::FilelistError> + 'a;

/// Endings of images, in `productmd`'s order.
const IMAGE_ENDINGS: [&str; 31] = [
    "appx",
    "erofs",
    "erofs.gz",
    "erofs.xz",
    "iso",
    "liveimg.squashfs",
    "oci",
    "ociarchive",
    "qcow",
    "qcow2",
    "raw",
    "raw.xz",
    "rhevm.ova",
    "squashfs",
    "squashfs.gz",
    "squashfs.xz",
    "tar",
    "tar.gz",
    "tar.xz",
    "vagrant-hyperv.box",
    "vagrant-libvirt.box",
    "vagrant-virtualbox.box",
    "vagrant-vmware-fusion.box",
    "vdi",
    "vhd",
    "vhd.gz",
    "vhd.xz",
    "vhdfixed.xz",
    "vmdk",
    "vsphere.ova",
    "wsl",
];

/// Whether the name of a path is that of an image.
pub(super) fn is_image(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // Nearly all files end here.
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    IMAGE_ENDINGS.iter().any(|ending| {
        ending.ends_with(last) && name.strip_suffix(ending).is_some_and(|stem| stem.ends_with('.'))
    })
}
