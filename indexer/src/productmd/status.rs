//! The file `STATUS` of a compose: how far it came.

use std::fmt;
use std::str::FromStr;

/// How far a compose came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is being made.
    Started,
    /// All of it is there; it never changes again.
    Finished,
    /// All of it is there but what was allowed to fail.
    FinishedIncomplete,
    /// It failed.
    Doomed,
    /// Somebody stopped it.
    Terminated,
}

impl Status {
    const ALL: [Self; 5] =
        [Self::Started, Self::Finished, Self::FinishedIncomplete, Self::Doomed, Self::Terminated];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::FinishedIncomplete => "FINISHED_INCOMPLETE",
            Self::Doomed => "DOOMED",
            Self::Terminated => "TERMINATED",
        }
    }

    /// Whether nothing may change any more.
    pub fn is_sealed(self) -> bool {
        matches!(self, Self::Finished | Self::FinishedIncomplete)
    }

    /// The bytes of the file.
    pub fn file(self) -> Vec<u8> {
        format!("{}\n", self.word()).into_bytes()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Status {
    type Err = String;

    /// Reads the file or the word.
    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim();
        let found = Self::ALL.into_iter().find(|status| status.word() == word);
        found.ok_or_else(|| format!("{word:?} is no status of a compose"))
    }
}
