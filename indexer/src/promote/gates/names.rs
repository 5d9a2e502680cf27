//! The gate `names`: every name can be carried by every mirror, list and client.
//!
//! Control characters, other encodings than UTF-8 and names of more than 255 bytes never enter a tree. What is
//! refused here could be stored, but breaks those who read lists line by line or hand names to other programs.

use super::{Check, Gate, PromoteError, Scene, join, walk};

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Names);
    walk(scene, Gate::Names, "1", &mut check, &mut |place, entries| {
        let wrong = entries.iter().filter_map(|entry| {
            let name = entry.name.as_str();
            let reason = fault(name)?;
            Some(format!("{}: {reason}", join(place.path, name)))
        });
        Ok(wrong.collect())
    })?;
    Ok(check)
}

fn fault(name: &str) -> Option<&'static str> {
    if name.contains(char::is_whitespace) {
        Some("contains white space")
    } else if name.starts_with('-') {
        Some("begins with -, as options do")
    } else if name.starts_with(['#', ';']) {
        Some("begins like a comment in a list of files")
    } else if name == ".~tmp~" || name.starts_with(".nfs") {
        Some("is a temporary name, which mirrors leave out")
    } else {
        None
    }
}
