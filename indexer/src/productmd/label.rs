//! Labels of composes: `RC-1.0`, the milestone that a compose is a candidate for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The milestones in their order.
const MILESTONES: [&str; 10] = [
    "EA",
    "DevelPhaseExit",
    "InternalAlpha",
    "Alpha",
    "InternalSnapshot",
    "Beta",
    "Snapshot",
    "RC",
    "Update",
    "SecurityFix",
];
/// The milestones whose composes are supported, which is said as `final`.
const SUPPORTED: [&str; 3] = ["RC", "Update", "SecurityFix"];

/// A milestone and its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Label {
    /// Index in [`MILESTONES`].
    milestone: usize,
    major: u32,
    minor: u32,
}

impl Label {
    /// Whether composes with it are supported.
    pub fn is_final(&self) -> bool {
        SUPPORTED.contains(&MILESTONES[self.milestone])
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", MILESTONES[self.milestone], self.major, self.minor)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("{text:?} is no label; {} with a number such as 1.0 are", MILESTONES.join(", "));
        let (milestone, number) = text.split_once('-').ok_or_else(refuse)?;
        let milestone = MILESTONES.iter().position(|name| *name == milestone).ok_or_else(refuse)?;
        let (major, minor) = number.split_once('.').ok_or_else(refuse)?;
        let digits = |text: &str| {
            let only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            only.then(|| text.parse::<u32>().ok()).flatten()
        };
        match (digits(major), digits(minor)) {
            (Some(major), Some(minor)) => Ok(Self { milestone, major, minor }),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_milestone_and_two_numbers() {
        for good in ["RC-1.0", "Beta-1.2", "SecurityFix-10.3"] {
            assert_eq!(good.parse::<Label>().unwrap().to_string(), good);
        }
        for bad in ["GA-1.0", "RC-1", "rc-1.0", "Alpha-1.0.1", "RC-+1.0", "RC-1.", ""] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
        let label = |text: &str| text.parse::<Label>().unwrap();
        assert!(label("Beta-2.0") < label("RC-1.0") && label("RC-1.9") < label("RC-1.10"));
        assert!(label("RC-1.0").is_final() && !label("Beta-1.0").is_final());
    }
}
