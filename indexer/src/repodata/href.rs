//! Locations that metadata gives, as paths inside the repository and back as URLs.
//!
//! A location is a literal path below the repository's base, as `createrepo_c` writes it: `%` has no meaning
//! in it. Servers, proxies and clients disagree about that, so a location is also refused when any number of
//! percent-decodings makes another path of it: other components, `..`, a control character, a backslash.

use std::borrow::Cow;
use std::fmt::Write as _;

use cfs_fs::name::{NameFault, TreePath};

/// More decodings than this change nothing that fewer did not, except in an attack.
const DECODINGS_MAX: usize = 8;

/// Why a location is no path inside the repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HrefError {
    /// It is no path, or none below the base.
    #[error("location {href:?} is refused: it {reason}")]
    Path {
        /// The location as given.
        href: String,
        /// The rule it breaks.
        reason: NameFault,
    },
    /// It is the repository itself.
    #[error("an empty location is refused")]
    Empty,
    /// Some clients take `\` for a separator.
    #[error("location {href:?} is refused: it contains a backslash")]
    Backslash {
        /// The location as given.
        href: String,
    },
    /// Percent-decoded it is another path.
    #[error("location {href:?} is refused: percent-decoded it becomes {decoded:?}")]
    Encoded {
        /// The location as given.
        href: String,
        /// What it becomes.
        decoded: String,
    },
}

/// Accepts the location `href` as a path inside the repository.
pub fn location(href: &str) -> Result<TreePath, HrefError> {
    let path =
        TreePath::new(href).map_err(|error| HrefError::Path { href: shorten(href), reason: error.reason })?;
    if path.is_root() {
        return Err(HrefError::Empty);
    }
    if href.contains('\\') {
        return Err(HrefError::Backslash { href: shorten(href) });
    }
    let depth = path.components().count();
    let mut bytes = Cow::Borrowed(href.as_bytes());
    for _ in 0..DECODINGS_MAX {
        let decoded = percent_decode(&bytes);
        if decoded == *bytes {
            return Ok(path);
        }
        let same = TreePath::new(&decoded).is_ok_and(|path| path.components().count() == depth);
        if !same || decoded.contains(&b'\\') {
            let decoded = shorten(&String::from_utf8_lossy(&decoded));
            return Err(HrefError::Encoded { href: shorten(href), decoded });
        }
        bytes = Cow::Owned(decoded);
    }
    Err(HrefError::Encoded { href: shorten(href), decoded: shorten(&String::from_utf8_lossy(&bytes)) })
}

/// `path` as the part of a URL behind the base: every byte that is not a letter, a digit or one of `-._~/` is
/// percent-encoded, `+` too, which some object stores take for a space.
pub fn to_url_path(path: &TreePath) -> String {
    let mut encoded = String::with_capacity(path.as_str().len() + 16);
    for byte in path.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Replaces every `%` with two hexadecimal digits by its byte; another `%` stays.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits make at most 255.
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// A location as it is printed in an error: those of hostile metadata may have any length.
pub(super) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
