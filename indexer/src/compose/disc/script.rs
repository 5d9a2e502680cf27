//! The script of a disc: lines that `xorriso -dialog on` reads from its standard input.

use std::cmp::Reverse;

use cfs_fs::digest::SnapshotId;

use super::{DiscError, Members, Source, Wish};

/// What is read first when a disc is used, and so stands first on it.
const FIRST: [&str; 5] = ["images/", "isolinux/", "EFI/", "etc/", "ppc/"];
/// xorriso puts heavier files before others; those that boot weigh 500.
const WEIGHT_MAX: usize = 499;

/// Writes the script.
pub(super) fn write(
    wish: &Wish<'_>,
    snapshot: &SnapshotId,
    volume_id: &str,
    members: &Members,
) -> Result<String, DiscError> {
    let path = |path: &std::path::Path| {
        let name = path.to_str().ok_or_else(|| DiscError::Name { name: path.display().to_string() })?;
        quoted(name)
    };
    let mount =
        wish.mount.to_str().ok_or_else(|| DiscError::Name { name: wish.mount.display().to_string() })?;
    let mut lines = vec![
        // A file that is missing ends it; without this the disc would lack it.
        "-abort_on FAILURE".to_owned(),
        format!("-indev {}", path(wish.boot)?),
        format!("-outdev {}", path(wish.output)?),
        "-boot_image any replay".to_owned(),
        "-joliet on".to_owned(),
        "-compliance joliet_long_names".to_owned(),
        format!("-volid {}", quoted(volume_id)?),
    ];
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(to, _)| (rank(to), to.as_str()));
    let mut of_host = Vec::new();
    for (to, member) in sorted {
        let to = quoted(&format!("/{to}"))?;
        let from = match &member.source {
            Source::Compose(below) => quoted(&format!("{mount}/snapshots/{snapshot}/{below}"))?,
            Source::Host(file) => {
                of_host.push(to.clone());
                path(file)?
            }
        };
        let verb = if member.updates { "-update" } else { "-map" };
        lines.push(format!("{verb} {from} {to}"));
    }
    // xorriso lays files out by their inode numbers, which say nothing on this host.
    for (number, to) in of_host.iter().enumerate() {
        lines.push(format!("-find {to} -exec sort_weight {}", WEIGHT_MAX.saturating_sub(number).max(1)));
    }
    lines.push("-end\n".to_owned());
    Ok(lines.join("\n"))
}

/// Images that boot, other files, packages.
fn rank(path: &str) -> (bool, Reverse<bool>) {
    let ends = |ending: &str| path.rsplit_once('.').is_some_and(|(_, found)| found == ending);
    let is_first = FIRST.iter().any(|dir| path.starts_with(dir)) || ends("img") || ends("ins");
    (ends("rpm"), Reverse(is_first))
}

/// A word as xorriso reads it.
fn quoted(word: &str) -> Result<String, DiscError> {
    let quote = ['\'', '"'].into_iter().find(|quote| !word.contains(*quote));
    match quote {
        Some(quote) if !word.contains(char::is_control) => Ok(format!("{quote}{word}{quote}")),
        _ => Err(DiscError::Name { name: word.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_or_refused() {
        assert_eq!(quoted("/a b/$c").unwrap(), "'/a b/$c'");
        assert_eq!(quoted("it's").unwrap(), "\"it's\"");
        assert!(quoted("'\"").is_err() && quoted("a\nb").is_err());
    }

    #[test]
    fn images_come_first_and_packages_last() {
        let mut paths =
            ["BaseOS/Packages/a.rpm", "EULA", "EFI/BOOT/grub.cfg", "BaseOS/repodata/repomd.xml", "boot.img"];
        paths.sort_by_key(|path| (rank(path), *path));
        let expected =
            ["EFI/BOOT/grub.cfg", "boot.img", "BaseOS/repodata/repomd.xml", "EULA", "BaseOS/Packages/a.rpm"];
        assert_eq!(paths, expected);
    }
}
