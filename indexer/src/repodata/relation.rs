//! Relations between packages, as metadata writes them: a name, and perhaps a comparison with a version.
//!
//! Two relations of one name meet when some version is in both of them, by rpm's rule: a version without a
//! release stands for all of its releases, a missing epoch is 0, and a name without a version for all versions,
//! whether it is asked for or given.

use std::cmp::Ordering;
use std::fmt;

use super::evr;

/// The lists of relations that a package has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What it gives.
    Provides,
    /// What it cannot be without.
    Requires,
    /// What must not be beside it.
    Conflicts,
    /// What it takes the place of.
    Obsoletes,
    /// What is installed with it if that is possible.
    Recommends,
    /// What might be of use with it.
    Suggests,
    /// What it is recommended by.
    Supplements,
    /// What it is suggested by.
    Enhances,
}

impl Kind {
    /// All of them, each at its own number.
    pub const ALL: [Self; 8] = [
        Self::Provides,
        Self::Requires,
        Self::Conflicts,
        Self::Obsoletes,
        Self::Recommends,
        Self::Suggests,
        Self::Supplements,
        Self::Enhances,
    ];

    /// The list that the element `name` of a package's `format` is, written without a prefix.
    pub fn of_element(name: &str) -> Option<Self> {
        Some(match name {
            "provides" => Self::Provides,
            "requires" => Self::Requires,
            "conflicts" => Self::Conflicts,
            "obsoletes" => Self::Obsoletes,
            "recommends" => Self::Recommends,
            "suggests" => Self::Suggests,
            "supplements" => Self::Supplements,
            "enhances" => Self::Enhances,
            _ => return None,
        })
    }
}

/// Which versions are meant: any set of older, equal, newer; none of them where versions do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Comparison(u8);

impl Comparison {
    /// Versions do not matter.
    pub const ANY: Self = Self(0);
    /// This very version.
    pub const EQUAL: Self = Self(2);
    const NEWER: Self = Self(1);
    const OLDER: Self = Self(4);

    /// As a number: 1 for newer, 2 for this very version, 4 for older, and their sums.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// What [`Comparison::bits`] gave.
    pub fn of_bits(bits: u8) -> Option<Self> {
        (bits < 8).then_some(Self(bits))
    }

    /// What an attribute `flags` says.
    pub fn of_flags(flags: &str) -> Self {
        match flags {
            "EQ" => Self::EQUAL,
            "LT" => Self::OLDER,
            "LE" => Self(6),
            "GT" => Self::NEWER,
            "GE" => Self(3),
            _ => Self::ANY,
        }
    }

    /// What a sign of a rich dependency says.
    pub fn of_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "=" | "==" => Self::EQUAL,
            "<" => Self::OLDER,
            "<=" | "=<" => Self(6),
            ">" => Self::NEWER,
            ">=" | "=>" => Self(3),
            _ => return None,
        })
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => ">",
            2 => "=",
            3 => ">=",
            4 => "<",
            6 => "<=",
            _ => "",
        })
    }
}

/// Epoch, version and release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evr<'a> {
    /// The epoch; 0 where none is written.
    pub epoch: u32,
    /// The version.
    pub version: &'a str,
    /// The release; empty where none is written.
    pub release: &'a str,
}

impl<'a> Evr<'a> {
    /// Takes `[epoch:]version[-release]` apart.
    pub fn parse(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().unwrap_or(0), rest)
            }
            _ => (0, text),
        };
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, version, release }
    }

    /// The order of two packages' versions.
    pub fn compare(&self, other: &Self) -> Ordering {
        let by_version = self.compare_version(other);
        by_version.then_with(|| evr::compare(self.release, other.release))
    }

    fn compare_version(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch).then_with(|| evr::compare(self.version, other.version))
    }
}

impl fmt::Display for Evr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        f.write_str(self.version)?;
        if self.release.is_empty() { Ok(()) } else { write!(f, "-{}", self.release) }
    }
}

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// What it is about: a name, a path, or a rich dependency in parentheses.
    pub name: &'a str,
    /// Which versions.
    pub comparison: Comparison,
    /// The version; empty without a comparison.
    pub evr: Evr<'a>,
}

impl Relation<'_> {
    /// Whether what is given in this version is what is asked for. Both are about the same name.
    pub fn is_met_by(asked: (Comparison, &Evr<'_>), given: (Comparison, &Evr<'_>)) -> bool {
        let ((asked, wanted), (given, has)) = (asked, given);
        if asked == Comparison::ANY || given == Comparison::ANY {
            return true;
        }
        if Comparison(asked.0 & given.0).has(Comparison(5)) {
            return true; // both go on in the same direction
        }
        let order = has.compare_version(wanted).then_with(|| {
            if has.release.is_empty() || wanted.release.is_empty() {
                Ordering::Equal
            } else {
                evr::compare(has.release, wanted.release)
            }
        });
        match order {
            Ordering::Less => asked.has(Comparison::OLDER) || given.has(Comparison::NEWER),
            Ordering::Greater => asked.has(Comparison::NEWER) || given.has(Comparison::OLDER),
            // Where only one side has a release, the other one stands for all of its releases.
            Ordering::Equal if has.release.is_empty() && !wanted.release.is_empty() => {
                given.has(Comparison::EQUAL)
            }
            Ordering::Equal if wanted.release.is_empty() && !has.release.is_empty() => {
                asked.has(Comparison::EQUAL)
            }
            Ordering::Equal => asked.has(Comparison::EQUAL) && given.has(Comparison::EQUAL),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.comparison == Comparison::ANY {
            return Ok(());
        }
        write!(f, " {} {}", self.comparison, self.evr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(asked: &str, given: &str) -> bool {
        let split = |text: &str| {
            let (sign, evr) = text.split_once(' ').unwrap_or(("", ""));
            (Comparison::of_sign(sign).unwrap_or_default(), evr.to_owned())
        };
        let (asked, given) = (split(asked), split(given));
        Relation::is_met_by((asked.0, &Evr::parse(&asked.1)), (given.0, &Evr::parse(&given.1)))
    }

    #[test]
    fn ranges_meet_as_rpm_has_it() {
        let cases = [
            ("", "", true),
            ("", "= 1-1", true),
            ("= 1", "", true),
            ("= 1", "= 1-1", true),
            ("= 1-1", "= 1", true),
            ("= 1-1", "= 1-2", false),
            ("> 1", "= 1-1", false),
            ("> 1-5", "= 1", true),
            ("< 1-5", "= 1", true),
            ("< 1-5", "= 1-4", true),
            ("< 1-5", "= 1-5", false),
            (">= 1-5", "= 1", true),
            (">= 2", "= 1-9", false),
            ("= 1", "= 1:1-1", false),
            ("= 0:1", "= 1-1", true),
            ("< 1:1", "= 9-1", true),
            ("< 2", ">= 1", true),
            ("< 1", ">= 1", false),
            ("<= 1", ">= 1", true),
            ("> 1", "> 5", true),
            ("< 1", "< 0.1", true),
            ("= 1.0~rc1", "= 1.0~rc1-1", true),
            (">= 1.0", "= 1.0~rc1-1", false),
            (">= 1.0", "= 1.0^git1-1", true),
            ("< 1.0.1", "= 1.0^git1-1", true),
        ];
        for (asked, given, expected) in cases {
            assert_eq!(met(asked, given), expected, "asked {asked:?}, given {given:?}");
        }
    }
}
