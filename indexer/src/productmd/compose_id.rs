//! Compose ids: `Rocky-9.7-updates-20251124.n.1`.
//!
//! The grammar is productmd's: short name, version, release type unless it is `ga`, the same of a base product
//! for layered releases, the date, the compose type unless it is production, the respin. cfs writes them
//! strictly and reads the end of any id: who made it may have called it otherwise.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a compose is made for; the order is that of their worth on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComposeType {
    /// To try something.
    Test,
    /// Made by continuous integration.
    Ci,
    /// Made every night.
    Nightly,
    /// To be published.
    #[default]
    Production,
    /// Made by a developer.
    Development,
}

impl ComposeType {
    /// Its part of an id.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Test => ".t",
            Self::Ci => ".ci",
            Self::Nightly => ".n",
            Self::Production => "",
            Self::Development => ".d",
        }
    }

    fn of_suffix(word: &str) -> Option<Self> {
        Some(match word {
            "t" | "test" => Self::Test,
            "ci" => Self::Ci,
            "n" | "nightly" => Self::Nightly,
            "d" => Self::Development,
            _ => return None,
        })
    }
}

/// What kind of release a compose is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseType {
    /// Generally available.
    #[default]
    Ga,
    /// Updates of one.
    Updates,
    /// Updates that are tested.
    UpdatesTesting,
    /// Fast updates.
    Fast,
    /// Extended update support.
    Eus,
    /// Advanced update support.
    Aus,
    /// Extended life.
    Els,
    /// Telecommunications update support.
    Tus,
    /// Update services for SAP.
    E4s,
}

impl ReleaseType {
    /// All but `ga`, whose part of an id is empty.
    const SPECIAL: [Self; 8] = [
        Self::Updates,
        Self::UpdatesTesting,
        Self::Fast,
        Self::Eus,
        Self::Aus,
        Self::Els,
        Self::Tus,
        Self::E4s,
    ];

    /// Its part of an id, with the dash; nothing for `ga`.
    fn part(self) -> &'static str {
        match self {
            Self::Ga => "",
            Self::Updates => "-updates",
            Self::UpdatesTesting => "-updates-testing",
            Self::Fast => "-fast",
            Self::Eus => "-eus",
            Self::Aus => "-aus",
            Self::Els => "-els",
            Self::Tus => "-tus",
            Self::E4s => "-e4s",
        }
    }
}

/// The end of an id, by which composes of one release are ordered: date, type, respin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Moment {
    /// The day, such as `20251124`.
    pub date: u32,
    /// What it was made for.
    pub kind: ComposeType,
    /// Which of that day, from 0. Of empanadas' ids it is the time of the day, such as `101112`.
    pub respin: u32,
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.date, self.kind, self.respin).cmp(&(other.date, other.kind, other.respin))
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}{}.{}", self.date, self.kind.suffix(), self.respin)
    }
}

impl FromStr for Moment {
    type Err = String;

    /// Reads the end of an id, whatever stands before it. A missing respin is 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let at = find_date(text).ok_or("it has no date")?;
        let date = text[at..at + 8].parse().map_err(|_| "it has no date")?;
        let mut rest = text[at + 8..].split('.').skip(1).peekable();
        let mut kind = ComposeType::Production;
        if let Some(word) = rest.next_if(|word| word.starts_with(|c: char| c.is_ascii_lowercase())) {
            kind = ComposeType::of_suffix(word).ok_or_else(|| format!("{word:?} is no type of composes"))?;
        }
        let respin = match rest.next() {
            None => 0,
            Some(digits) => digits.parse().map_err(|_| format!("{digits:?} is no respin"))?,
        };
        Ok(Self { date, kind, respin })
    }
}

/// Where the date of an id begins: the last one, as in productmd, since versions may have as many digits.
fn find_date(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_date = |at: &usize| {
        let digits = bytes.get(*at..at + 8).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
        digits && !bytes.get(at + 8).is_some_and(u8::is_ascii_digit)
    };
    (0..bytes.len()).rev().find(is_date)
}

/// What kind of release the compose `id` is of; `None` for what is no id of a compose.
pub fn kind_of(id: &str) -> Option<ReleaseType> {
    id.parse::<Moment>().ok()?;
    let series = id.get(..find_date(id)?)?.strip_suffix('-')?;
    let special = ReleaseType::SPECIAL.into_iter().find(|kind| series.ends_with(kind.part()));
    Some(special.unwrap_or_default())
}

/// What names a compose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComposeId {
    /// The release's short name.
    pub short: String,
    /// Its version.
    pub version: String,
    /// Its type.
    pub release_type: ReleaseType,
    /// When and which.
    pub moment: Moment,
}

impl fmt::Display for ComposeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.series(), self.moment)
    }
}

impl ComposeId {
    /// What the ids of all composes of the same release begin with, up to the date.
    pub fn series(&self) -> String {
        format!("{}-{}{}-", self.short, self.version, self.release_type.part())
    }
}

/// Whether productmd takes `text` for the version of a release.
pub fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.bytes().next() {
        None => false,
        Some(first) if first.is_ascii_digit() => parts.all(digits),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_by_the_grammar() {
        let moment = Moment { date: 20_251_124, kind: ComposeType::Nightly, respin: 1 };
        let mut id = ComposeId {
            short: "Rocky".into(),
            version: "9.7".into(),
            release_type: ReleaseType::UpdatesTesting,
            moment,
        };
        assert_eq!(id.to_string(), "Rocky-9.7-updates-testing-20251124.n.1");
        id.release_type = ReleaseType::Ga;
        id.moment.kind = ComposeType::Production;
        assert_eq!(id.to_string(), "Rocky-9.7-20251124.1");
        assert_eq!(id.to_string().parse::<Moment>().unwrap(), id.moment);
    }

    #[test]
    fn the_end_of_any_id_is_read() {
        let read = |text: &str| text.parse::<Moment>().map(|moment| moment.to_string());
        assert_eq!(read("Fedora-Rawhide-20170710.n.0").unwrap(), "20170710.n.0");
        assert_eq!(read("Rocky-9.7-20251124.101112").unwrap(), "20251124.101112");
        assert_eq!(read("Rocky-9.7-20251124").unwrap(), "20251124.0");
        assert_eq!(read("RHEL-20160101-20251124.nightly.3").unwrap(), "20251124.n.3");
        assert!(read("Rocky-9.7").is_err());
        assert!(read("Rocky-9.7-20251124.x.1").unwrap_err().contains("\"x\""));
    }

    #[test]
    fn the_kind_of_release_is_read_from_an_id() {
        for (id, kind) in [
            ("Rocky-9.7-20251124.0", Some(ReleaseType::Ga)),
            ("Rocky-9-updates-20251124.1", Some(ReleaseType::Updates)),
            ("Rocky-9.7-updates-testing-20251124.n.1", Some(ReleaseType::UpdatesTesting)),
            ("SIG-core-9.7-20251124.101112", Some(ReleaseType::Ga)),
            ("20251124.0", None),
            ("updates", None),
        ] {
            assert_eq!(kind_of(id), kind, "{id}");
        }
    }

    #[test]
    fn composes_are_ordered_by_date_type_and_respin() {
        let ids =
            ["X-1-20251123.9", "X-1-20251124.t.5", "X-1-20251124.n.0", "X-1-20251124.0", "X-1-20251124.10"];
        let moments: Vec<Moment> = ids.iter().map(|id| id.parse().unwrap()).collect();
        assert!(moments.is_sorted(), "{moments:?}");
    }

    #[test]
    fn versions_are_what_productmd_takes() {
        for good in ["9", "9.4", "Rawhide", "eln"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "9-beta", "9.4-RC1", "9."] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
