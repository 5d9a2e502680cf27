//! Packages by what people call them.

use super::NoSuchPackage;
use super::universe::{PackageId, Universe};

/// Those of `packages` that one of `patterns` means: a name, or as much more of name, epoch, version, release and
/// architecture as dnf takes; `*` and `?` stand for any text and one character. All of them without patterns.
pub(super) fn named(
    universe: &Universe,
    packages: &[PackageId],
    patterns: &[String],
) -> Result<Vec<PackageId>, NoSuchPackage> {
    if patterns.is_empty() {
        return Ok(packages.to_vec());
    }
    let mut chosen = vec![false; packages.len()];
    for pattern in patterns {
        let mut found = false;
        for (chosen, id) in chosen.iter_mut().zip(packages) {
            let evr = universe.evr_of(*id);
            let (name, arch) = (universe.name(*id), universe.arch(*id));
            if names(name, evr.epoch, evr.version, evr.release, arch).any(|text| glob(pattern, &text)) {
                (*chosen, found) = (true, true);
            }
        }
        if !found {
            return Err(NoSuchPackage(pattern.clone()));
        }
    }
    Ok(packages.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(id, _)| *id).collect())
}

/// All that a package may be called.
pub(crate) fn names(
    name: &str,
    epoch: u32,
    version: &str,
    release: &str,
    arch: &str,
) -> impl Iterator<Item = String> {
    let full = format!("{name}-{epoch}:{version}-{release}");
    let short = format!("{name}-{version}-{release}");
    [
        name.to_owned(),
        format!("{name}.{arch}"),
        format!("{name}-{version}"),
        format!("{short}.{arch}"),
        short,
        format!("{full}.{arch}"),
        full,
    ]
    .into_iter()
}

/// Whether the whole text is of the form `pattern`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if t < text.len() && (*c == b'?' || *c == text[t]) => (p, t) = (p + 1, t + 1),
            None if t == text.len() => return true,
            // One more byte for the last star.
            _ => match star {
                Some((at, from)) if from < text.len() => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_many_names() {
        for (pattern, text, expected) in [
            ("glibc", "glibc", true),
            ("glibc", "glibc-common", false),
            ("glibc*", "glibc-common", true),
            ("*lib*n", "glibc-common", true),
            ("?libc", "glibc", true),
            ("?libc", "libc", false),
            ("*", "", true),
            ("", "", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
        let names: Vec<String> = names("a", 0, "1", "2", "noarch").collect();
        for text in ["a", "a.noarch", "a-1", "a-1-2", "a-1-2.noarch", "a-0:1-2", "a-0:1-2.noarch"] {
            assert!(names.iter().any(|name| name == text), "{text}");
        }
    }
}
