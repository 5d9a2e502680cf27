//! Programs that are run about promotions.

use std::time::Duration;

use serde::Deserialize;

use crate::refname::RefName;

/// A program and when it is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hook {
    /// When.
    pub when: When,
    /// The program and its arguments; no shell in between.
    pub command: Vec<String>,
    /// The views that it is about [default: all].
    #[serde(default)]
    pub views: Vec<RefName>,
    /// How long it may take.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before the flip; another exit status than 0 refuses the promotion.
    PrePromote,
    /// After the flip; tried again until it succeeds.
    PostPromote,
    /// To sign a repomd.xml that cfs has written.
    Sign,
}

impl When {
    /// The name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrePromote => "pre-promote",
            Self::PostPromote => "post-promote",
            Self::Sign => "sign",
        }
    }
}

impl Hook {
    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// Whether it is about promotions into `view`.
    pub fn is_about(&self, view: &RefName) -> bool {
        self.views.is_empty() || self.views.contains(view)
    }
}

fn timeout_seconds() -> u64 {
    60
}
