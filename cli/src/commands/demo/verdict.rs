//! What the readers' passes prove.
//!
//! Always true: a pass counts for a generation only if it saw exactly that generation's files and bytes.

use std::time::Instant;

use serde::Serialize;

use super::pass::{Manifest, fingerprint};
use super::readers::Log;

/// How many paths of a mixture are named.
const NAMED_MAX: usize = 5;

/// The passes, by what they saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Exactly the first compose.
    pub first: u64,
    /// Exactly the second one.
    pub second: u64,
    /// Exactly the first one after the rollback, with new times.
    pub back: u64,
    /// Anything else.
    pub mixed: u64,
    /// Those that began before a flip and ended after it.
    pub across_a_flip: u64,
    /// Packages compared with the metadata, over all passes.
    pub packages: u64,
    /// Bytes read, over all passes.
    pub bytes: u64,
    /// The paths that give away a mixture, a few of them.
    #[serde(skip)]
    pub evidence: Vec<String>,
}

impl Verdict {
    /// Judges the passes in `log` by the generations there were: the first compose, the second, and the first
    /// again as it came `back`; `flips` is when the view moved.
    pub fn of(log: &Log, first: &Manifest, second: &Manifest, back: &Manifest, flips: &[Instant]) -> Self {
        let (first_print, second_print, back_print) =
            (fingerprint(first), fingerprint(second), fingerprint(back));
        let mut verdict = Self::default();
        for pass in &log.passes {
            verdict.packages += pass.packages;
            verdict.bytes += pass.bytes;
            verdict.across_a_flip +=
                u64::from(flips.iter().any(|flip| pass.began < *flip && *flip < pass.ended));
            if pass.saw == first_print {
                verdict.first += 1;
            } else if pass.saw == second_print {
                verdict.second += 1;
            } else if pass.saw == back_print {
                verdict.back += 1;
            } else {
                verdict.mixed += 1;
                if let Some(saw) = log.manifests.get(&pass.saw).filter(|_| verdict.evidence.is_empty()) {
                    verdict.evidence = evidence(saw, first, second);
                }
            }
        }
        verdict
    }

    /// All passes.
    pub fn passes(&self) -> u64 {
        self.first + self.second + self.back + self.mixed
    }
}

/// Paths whose contents differ, a few of them.
pub fn differences(saw: &Manifest, wanted: &Manifest) -> Vec<String> {
    let differ = |path: &&String| saw.get(*path) != wanted.get(*path);
    let paths = saw.keys().chain(wanted.keys().filter(|path| !saw.contains_key(*path)));
    paths.filter(differ).take(NAMED_MAX).map(|path| format!("{path}: differs")).collect()
}

/// What of `saw` is the first generation's alone, the second's alone, or nobody's.
fn evidence(saw: &Manifest, first: &Manifest, second: &Manifest) -> Vec<String> {
    let paths = saw.keys().chain(first.keys()).chain(second.keys());
    let mut paths: Vec<&String> = paths.collect();
    paths.sort_unstable();
    paths.dedup();
    let told = paths.into_iter().filter_map(|path| {
        let is = |generation: &Manifest| saw.get(path) == generation.get(path);
        match (is(first), is(second)) {
            (true, true) => None,
            (true, false) => Some(format!("{path}: as in the first compose alone")),
            (false, true) => Some(format!("{path}: as in the second compose alone")),
            (false, false) => Some(format!("{path}: as in neither compose")),
        }
    });
    told.take(NAMED_MAX).collect()
}

#[cfg(test)]
mod tests;
