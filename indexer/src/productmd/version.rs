//! The version of the documents of a compose.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// The versions that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Version {
    /// Files are named by paths.
    #[default]
    #[serde(rename = "1.2")]
    Paths,
    /// Files are named by locations: what they hold, and where they can be had.
    #[serde(rename = "2.0")]
    Locations,
}

impl Version {
    /// As headers and configurations have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paths => "1.2",
            Self::Locations => "2.0",
        }
    }
}

/// Reads a version, and says of a number that it is none.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Version;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"1.2\" or \"2.0\", in quotation marks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Version, E> {
        let known = [Version::Paths, Version::Locations].into_iter().find(|version| version.word() == text);
        known.ok_or_else(|| E::unknown_variant(text, &["1.2", "2.0"]))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
