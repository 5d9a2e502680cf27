//! Patterns of paths, as rsync has them.
//!
//! ```text
//! Minimal        a file or directory of this name, at any depth
//! *.manifest     * is any text inside a name, ? one character
//! os/images      the end of a path, at any depth
//! /metadata      a pattern that begins with / begins at the top
//! /isos/**       ** is any text, names below included
//! images/        a pattern that ends in / is a directory
//! ```

use std::str::FromStr;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pattern: it has an empty component, or is empty")]
pub struct PatternError(String);

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    anchored: bool,
    dirs_only: bool,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (dirs_only, rest) = text.strip_suffix('/').map_or((false, text), |rest| (true, rest));
        let (anchored, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        if rest.split('/').any(str::is_empty) {
            return Err(PatternError(text.to_owned()));
        }
        Ok(Self { text: rest.to_owned(), anchored, dirs_only })
    }
}

impl Pattern {
    /// Whether `path` itself is meant. What is below a directory that is meant is meant with it, but is not
    /// asked for.
    pub fn matches(&self, path: &str, is_dir: bool) -> bool {
        if self.dirs_only && !is_dir {
            return false;
        }
        if self.anchored {
            return glob(self.text.as_bytes(), path.as_bytes());
        }
        let starts = path.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).any(|start| glob(self.text.as_bytes(), &path.as_bytes()[start..]))
    }
}

/// Whether the whole of `text` is of the form `pattern`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        [b'*', rest @ ..] => {
            let name_len = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=name_len).any(|skip| glob(rest, &text[skip..]))
        }
        [b'?', rest @ ..] => {
            // One character, not one byte.
            let len =
                std::str::from_utf8(text).ok().and_then(|text| text.chars().next()).map_or(0, char::len_utf8);
            len > 0 && text[0] != b'/' && glob(rest, &text[len..])
        }
        [byte, rest @ ..] => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_rsync() {
        for (pattern, path, is_dir, expected) in [
            ("Minimal", "Minimal", true, true),
            ("Minimal", "a/b/Minimal", true, true),
            ("Minimal", "Minimal2", true, false),
            ("Minimal", "Minimal/x86_64", true, false),
            ("/Minimal", "a/Minimal", true, false),
            ("*.manifest", "isos/x.iso.manifest", false, true),
            ("*.manifest", "isos/manifest", false, false),
            ("os/images", "BaseOS/x86_64/os/images", true, true),
            ("os/images", "BaseOS/x86_64/xos/images", true, false),
            ("/isos/**", "isos/x86_64/a.iso", false, true),
            ("/isos/*", "isos/x86_64/a.iso", false, false),
            ("images/", "a/images", false, false),
            ("images/", "a/images", true, true),
            ("p?c", "pöc", false, true),
            ("p?c", "p/c", false, false),
            (".treeinfo*", "os/.treeinfo-pristine", false, true),
        ] {
            let found = pattern.parse::<Pattern>().unwrap().matches(path, is_dir);
            assert_eq!(found, expected, "{pattern} {path}");
        }
        for bad in ["", "/", "a//b", "//"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
