//! The target of a request: which path it asks for.
//!
//! Always true: a path that comes out of here is decoded and normal, stays below the top, and is one that a
//! tree can hold. Both the raw and the percent-encoded spelling of a name lead to the same path; a decoded
//! slash is a slash.

use crate::name::TreePath;

/// A target that is no path at all: the answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// Neither a path nor a whole address.
    #[error("the target is not a path")]
    NotAPath,
    /// A `%` without two hexadecimal digits, or an encoded NUL.
    #[error("the target is badly encoded")]
    Encoding,
    /// More `..` than there are directories.
    #[error("the target leads above the top")]
    AboveTop,
}

/// A path asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The path, or `None` for one that no tree can hold.
    pub(super) path: Option<TreePath>,
    /// Whether it was written as a directory, with a slash at the end.
    pub(super) as_dir: bool,
}

impl Target {
    /// Reads a target as it stands in the request line: `/a/b?c`, or `http://host/a/b`.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let path = if text.starts_with('/') { text } else { after_authority(text)? };
        let path = path.split('?').next().unwrap_or(path);
        if path.contains('#') {
            return Err(TargetError::NotAPath);
        }
        let bytes = decode(path)?;
        let mut names: Vec<&[u8]> = Vec::new();
        let mut as_dir = false;
        for part in bytes.split(|byte| *byte == b'/') {
            as_dir = matches!(part, b"" | b"." | b"..");
            match part {
                b"" | b"." => {}
                b".." => drop(names.pop().ok_or(TargetError::AboveTop)?),
                name => names.push(name),
            }
        }
        Ok(Self { path: TreePath::new(names.join(&b'/')).ok(), as_dir })
    }
}

/// The path of a whole address, which requests to proxies carry and servers must understand, too.
fn after_authority(text: &str) -> Result<&str, TargetError> {
    let (scheme, rest) = text.split_once("://").ok_or(TargetError::NotAPath)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(TargetError::NotAPath);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = &rest[end..];
    Ok(if path.starts_with('/') { path } else { "/" })
}

/// Undoes percent-encoding. A plus is a plus.
fn decode(text: &str) -> Result<Vec<u8>, TargetError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let (high, low) = (digit(*high), digit(*low));
                let (Some(high), Some(low)) = (high, low) else { return Err(TargetError::Encoding) };
                (high << 4 | low, after)
            }
            (b'%', _) => return Err(TargetError::Encoding),
            _ => (first, after),
        };
        if byte == 0 {
            return Err(TargetError::Encoding);
        }
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

/// Appends a name or path as it stands in an address: what is not plain is percent-encoded, `+`, `~` and the
/// slashes between names are not.
pub(super) fn encode(path: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~+/@!$&()*,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> String {
        let target = Target::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let path = target.path.map_or("none".to_owned(), |path| path.to_string());
        if target.as_dir { format!("{path}/") } else { path }
    }

    #[test]
    fn paths_are_decoded_and_normal() {
        for (text, expected) in [
            ("/", "/"),
            ("/a", "a"),
            ("/a/", "a/"),
            ("//a///b", "a/b"),
            ("/a/./b/.", "a/b/"),
            ("/a/../b", "b"),
            ("/a/..", "/"),
            ("/%61", "a"),
            ("/a%2Fb", "a/b"),
            ("/a/%2e%2E/b", "b"),
            ("/libstdc++-1~rc^2.rpm", "libstdc++-1~rc^2.rpm"),
            ("/libstdc%2B%2B-1%7Erc%5E2.rpm", "libstdc++-1~rc^2.rpm"),
            ("/a?b=/../../c", "a"),
            ("/a%3Fb", "a?b"),
            ("/%C3%A9", "é"),
            ("/é", "é"),
            ("/.treeinfo", ".treeinfo"),
            ("/...", "..."),
            ("/a\\..\\b", "a\\..\\b"),
            ("http://host", "/"),
            ("http://host/a/b?c", "a/b"),
            ("HTTP://user@host:80//a", "a"),
            ("https://host?x", "/"),
            // What cannot be in a tree is not found, and not a mistake.
            ("/%0a", "none"),
            ("/%FF", "none"),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
        let long = format!("/{}", "a".repeat(256));
        assert_eq!(path(&long), "none");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, expected) in [
            ("", TargetError::NotAPath),
            ("*", TargetError::NotAPath),
            ("a/b", TargetError::NotAPath),
            ("host:443", TargetError::NotAPath),
            ("ftp://host/a", TargetError::NotAPath),
            ("file:///etc/passwd", TargetError::NotAPath),
            ("/a#b", TargetError::NotAPath),
            ("/%", TargetError::Encoding),
            ("/%4", TargetError::Encoding),
            ("/%zz", TargetError::Encoding),
            ("/%+1", TargetError::Encoding),
            ("/a%00b", TargetError::Encoding),
            ("/..", TargetError::AboveTop),
            ("/a/../../etc/passwd", TargetError::AboveTop),
            ("/%2e%2e/etc/passwd", TargetError::AboveTop),
            ("/..%2f..%2fetc/passwd", TargetError::AboveTop),
        ] {
            assert_eq!(Target::parse(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_of_a_tree_comes_back_from_its_encoding(names in prop::collection::vec("[^/\\p{Cc}]{1,20}", 0..5)) {
            let Ok(expected) = TreePath::new(names.join("/")) else { return Ok(()) };
            let mut text = String::from("/");
            encode(expected.as_str(), &mut text);
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Target::parse(&text).unwrap().path, Some(expected));
        }

        #[test]
        fn nothing_leads_out(text in "(/|\\.|%2e|%2F|%|a|\\?|:|é|%5c|%0|0){0,24}") {
            if let Ok(Target { path: Some(path), .. }) = Target::parse(&text) {
                prop_assert!(path.components().all(|name| name != ".." && name != "." && !name.is_empty()));
            }
        }
    }
}
