//! Names of content: every blob and every node is called by the BLAKE3-256 of its bytes.
//!
//! Always true: an id is 32 bytes, `Copy`, and `Display` and `FromStr` round-trip as 64 lower-case
//! hexadecimal digits, so that `b3sum` can check any of them.

use std::fmt;
use std::str::FromStr;

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest of 64 hexadecimal digits: {text:?}")]
pub struct DigestError {
    /// The text as it was given.
    pub text: String,
}

/// 32 bytes of BLAKE3, of what is said by the newtypes around it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:.8}…")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let error = || DigestError { text: text.to_owned() };
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(error());
        }
        let hash = blake3::Hash::from_hex(text).map_err(|_| error())?;
        Ok(hash.into())
    }
}

/// Declares a newtype around [`Digest`] that cannot be mixed up with another kind of id.
#[macro_export]
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::digest::Digest);

        impl $name {
            /// Names `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self($crate::digest::Digest::of(bytes))
            }

            /// The raw 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The first twelve digits, for people.
            pub fn short(&self) -> String {
                format!("{:.12}", self.0)
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes.into())
            }
        }

        impl From<$crate::digest::Digest> for $name {
            fn from(digest: $crate::digest::Digest) -> Self {
                Self(digest)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::digest::DigestError;

            fn from_str(text: &str) -> Result<Self, $crate::digest::DigestError> {
                text.parse().map(Self)
            }
        }
    };
}

id_type! {
    /// Name of a file's content: BLAKE3 of its bytes.
    BlobId
}

id_type! {
    /// Name of a node, one packed piece of a directory: BLAKE3 of its encoding. A whole directory is
    /// named by its top node.
    NodeId
}

id_type! {
    /// Name of a snapshot: BLAKE3 of its record. What a record says is the indexer's affair; views only show
    /// the name.
    SnapshotId
}

#[cfg(test)]
mod tests;
