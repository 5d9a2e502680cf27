//! What Ctrl-C does to a command that can stop in good order.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::report::{CommandError, Kind};

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process at once.
pub fn flag() -> Result<Arc<AtomicBool>, CommandError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let failed = |error| CommandError::new(Kind::Failed, format!("cannot handle signals: {error}"));
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(failed)?;
    }
    Ok(flag)
}
