//! What packages want of each other.

use super::header::Header;
use super::tag::Triple;
use super::{RpmError, text};

/// One dependency, in any direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// A package, a file, or a whole expression in parentheses.
    pub name: String,
    /// rpm's flags, of which [`Sense`] and the constants here are parts.
    pub flags: u32,
    /// Epoch, version and release as written; empty for any.
    pub version: String,
}

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sense {
    /// Older.
    Less,
    /// Older or the same.
    LessEqual,
    /// The same.
    Equal,
    /// The same or newer.
    GreaterEqual,
    /// Newer.
    Greater,
}

impl Dependency {
    /// Needed before the package's own files: for scripts (pre, post, pretrans, posttrans), and as an old order of
    /// installing.
    pub const PRE: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10;
    /// A requirement that may be missing: a recommendation from before there were any.
    pub const MISSING_OK: u32 = 1 << 19;
    /// SUSE's old suggestions: a recommendation.
    pub const STRONG: u32 = 1 << 27;

    /// How the version is compared; `None` when any will do.
    pub fn sense(&self) -> Option<Sense> {
        match self.flags & 0xf {
            2 => Some(Sense::Less),
            4 => Some(Sense::Greater),
            8 => Some(Sense::Equal),
            10 => Some(Sense::LessEqual),
            12 => Some(Sense::GreaterEqual),
            _ => None,
        }
    }

    /// Epoch, version and release: an epoch of 0 where none is written. `None` where the epoch is no number, and
    /// where there is no version.
    pub fn evr(&self) -> Option<(&str, &str, &str)> {
        let (epoch, rest) = self.version.split_once(':').unwrap_or(("0", &self.version));
        let is_number = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
        let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
        (is_number && !self.version.is_empty()).then_some((epoch, version, release))
    }
}

/// All dependencies of one sort.
pub(super) fn read(header: &Header, [names, flags, versions]: Triple) -> Result<Vec<Dependency>, RpmError> {
    let Some(names) = header.strings(names)? else { return Ok(Vec::new()) };
    let (has_flags, has_versions) = (header.has(flags), header.has(versions));
    let flags = header.numbers(flags)?;
    let versions = header.strings(versions)?;
    if !has_flags || !has_versions {
        // The oldest packages have names only.
        let plain = |name| Dependency { name: text(name), flags: 0, version: String::new() };
        return Ok(names.map(plain).collect());
    }
    let versions = versions.into_iter().flatten();
    let number = |flags: u64| u32::try_from(flags & u64::from(u32::MAX)).unwrap_or(0);
    let all = names.zip(flags).zip(versions);
    let dependency = |((name, flags), version)| Dependency {
        name: text(name),
        flags: number(flags),
        version: text(version),
    };
    Ok(all.map(dependency).collect())
}
