//! What a collection of garbage leaves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::WhoMay;

/// What a collection of garbage leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Collection {
    /// What a ref named since then stays [default: 90d].
    pub keep: Option<Age>,
    /// So many generations of each ref stay, however old [default: 10].
    pub generations: Option<u64>,
    /// From being found useless to being deleted [default: 24h].
    pub grace: Option<Age>,
    /// Who may collect, pin, unpin and delete refs [default: everybody who may write to the store].
    pub who_may: Option<WhoMay>,
}

/// A span of time, as people write it: `90d`, `24h`, `30m`, `10s`, `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// Its length.
    pub seconds: u32,
}

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no span of time such as 90d, 24h, 30m or 10s")]
pub struct AgeError {
    /// The text.
    pub text: String,
}

/// The units, the largest first.
const UNITS: [(char, u32); 5] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let error = || AgeError { text: text.to_owned() };
        if text == "0" {
            return Ok(Self { seconds: 0 });
        }
        let (_, unit) = UNITS.into_iter().find(|(letter, _)| text.ends_with(*letter)).ok_or_else(error)?;
        let digits = &text[..text.len() - 1];
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u32>().ok().filter(|_| is_number);
        let seconds = number.and_then(|number| number.checked_mul(unit)).ok_or_else(error)?;
        Ok(Self { seconds })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &(char, u32)| self.seconds.is_multiple_of(*unit);
        match UNITS.into_iter().find(fits).filter(|_| self.seconds > 0) {
            Some((letter, unit)) => write!(f, "{}{letter}", self.seconds / unit),
            None => write!(f, "0"),
        }
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format_args!("{error}")))
    }
}
