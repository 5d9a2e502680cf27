//! The metadata of composes and of install trees: the formats of the Python library productmd, version 1.2
//! and, of the documents that name files, 2.0; and the small files around them.
//!
//! Always true: pure values; what is written has the bytes that productmd writes of the same values; reading
//! is strict about what cfs relies on and silent about what it does not know.

pub mod checksum_file;
pub mod compose_id;
pub mod composeinfo;
pub mod discinfo;
pub mod extra_files;
pub mod images;
mod json;
pub mod label;
pub mod location;
pub mod modulemd;
pub mod modules;
pub mod rpms;
pub mod status;
pub mod treeinfo;
pub mod version;

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

/// Refuses what is no architecture of a tree: sources are listed under the architectures of binaries.
fn check_arch(kind: &'static str, arch: &str) -> Result<(), ProductmdError> {
    if ["", "src", "nosrc"].contains(&arch)
        || !arch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(ProductmdError::Malformed {
            kind,
            reason: format!("{arch:?} is no architecture of a tree"),
        });
    }
    Ok(())
}

/// Refuses what is no path below `compose/`.
fn check_path(kind: &'static str, path: &str) -> Result<(), ProductmdError> {
    if path.is_empty() || path.starts_with('/') {
        return Err(ProductmdError::Malformed {
            kind,
            reason: format!("{path:?} is no path below compose/"),
        });
    }
    Ok(())
}
