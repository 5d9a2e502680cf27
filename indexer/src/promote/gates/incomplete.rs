//! The gate `incomplete`: no sync that failed stands behind what is promoted.

use super::{Check, Gate, PromoteError, Scene};
use crate::revision::When;

/// Runs the gate: on the refs that are promoted as they are now. An earlier state of one was whole when it
/// was made.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Incomplete);
    for arrival in &scene.change.arrivals {
        let source = &arrival.source;
        let catalogue = &scene.depot.catalogue;
        if source.revision.when != When::Now || catalogue.find_ref(&source.revision.base)?.is_none() {
            continue;
        }
        let (found, _) = catalogue.follow_ref(&source.revision.base)?;
        for unfinished in catalogue.unfinished_syncs(&found.name)? {
            let at = &unfinished.place.path;
            if at.is_below(&source.path) || source.path.is_below(at) {
                check.find(format!("{}: the last sync failed: {}", unfinished.place, unfinished.reason));
            }
        }
    }
    Ok(check)
}
