//! Fragments as they are kept.
//!
//! Always true: what [`Fragment::encode`] wrote, a [`Decoder`] gives back; anything else, such as what an
//! older cfs wrote, is `None`.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use super::Fragment;
use crate::rpm::Nevra;

/// Fast, and a fifth of the size.
const LEVEL: i32 = 1;
/// More than any fragment has.
const PLAIN_BYTES_MAX: usize = 512 << 20;

thread_local! {
    /// One for each thread, since its beginning takes longer than a fragment.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

impl Fragment {
    /// Changes when the bytes mean something else, or when fragments of the same package become other ones.
    pub const FORMAT: u8 = 2;

    /// The fragment as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let Nevra { name, epoch, version, release, arch } = &self.nevra;
        let mut plain = Vec::new();
        for number in [u64::from(*epoch), self.build_time, self.installed_bytes, self.archive_bytes] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        let texts = [
            name,
            version,
            release,
            arch,
            &self.source_rpm,
            &self.signer,
            &self.head,
            &self.about,
            &self.format,
            &self.files,
            &self.changes,
        ];
        for text in texts {
            plain.extend_from_slice(&(text.len() as u64).to_le_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut bytes = vec![Self::FORMAT];
        bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
            if compressor.is_none() {
                *compressor = Compressor::new(LEVEL).ok();
            }
            compressor.as_mut().and_then(|compressor| compressor.compress(&plain).ok())
        });
        // Compressing into memory cannot fail; nothing is no fragment.
        bytes.extend(compressed.unwrap_or_default());
        bytes
    }
}

/// Reads what was kept; one for many fragments, since its beginning takes longer than a fragment.
#[derive(Default)]
pub struct Decoder(Option<Decompressor<'static>>);

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// A fragment as it was kept.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Fragment> {
        let (format, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        if *format != Fragment::FORMAT || length > PLAIN_BYTES_MAX {
            return None;
        }
        if self.0.is_none() {
            self.0 = Decompressor::new().ok();
        }
        let plain = self.0.as_mut()?.decompress(rest, length).ok().filter(|plain| plain.len() == length)?;
        let mut parts = Parts(&plain);
        let epoch = u32::try_from(parts.number()?).ok()?;
        let (build_time, installed_bytes, archive_bytes) =
            (parts.number()?, parts.number()?, parts.number()?);
        let (name, version, release, arch) = (parts.text()?, parts.text()?, parts.text()?, parts.text()?);
        let fragment = Fragment {
            nevra: Nevra { name, epoch, version, release, arch },
            source_rpm: parts.text()?,
            signer: parts.text()?,
            build_time,
            installed_bytes,
            archive_bytes,
            head: parts.text()?,
            about: parts.text()?,
            format: parts.text()?,
            files: parts.text()?,
            changes: parts.text()?,
        };
        parts.0.is_empty().then_some(fragment)
    }
}

struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}
