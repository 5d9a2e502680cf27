//! The metadata of composes and of install trees: the formats of the Python library productmd, version 1.2,
//! and the small files around them.
//!
//! Always true: pure values; what is written has the bytes that productmd writes of the same values; reading
//! is strict about what cfs relies on and silent about what it does not know.

pub mod compose_id;
pub mod composeinfo;
pub mod discinfo;
mod json;
pub mod label;
pub mod status;
pub mod treeinfo;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProductmdError {
    /// It is no JSON, or lacks something.
    #[error("is no {kind}: {reason}")]
    Malformed {
        /// What it should be, such as `productmd.composeinfo`.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It says that it is something else.
    #[error("says that it is {found:?}, not {kind}")]
    OtherKind {
        /// What it should be.
        kind: &'static str,
        /// What it says.
        found: String,
    },
}
