//! The write-ahead log as a file: whether all that it holds can be read.
//!
//! SQLite takes the first frame that is damaged for the end of the log, as it must after a power cut; whatever came
//! after it is gone without a word. Here the word is said.

use std::fs;
use std::io;

use cfs_fs::store::StoreError;

use super::{Catalogue, CatalogueError, family};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;

impl Catalogue {
    /// What is wrong with the write-ahead log. Nobody writes meanwhile.
    pub fn log_faults(&self) -> Result<Option<String>, CatalogueError> {
        let [_, path, _] = family(&self.path);
        self.write("look at the write-ahead log", |_| match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { verb: "read", path: path.clone(), source }.into()),
            Ok(bytes) => Ok::<_, CatalogueError>(fault(&bytes)),
        })
    }
}

fn fault(log: &[u8]) -> Option<String> {
    let header = log.get(..HEADER_BYTES)?;
    let little = match number(header, 0) {
        0x377f_0682 => true,
        0x377f_0683 => false,
        _ => return Some("the write-ahead log does not begin like one".to_owned()),
    };
    let mut sum = checksum((0, 0), &header[..24], little);
    if sum != (number(header, 24), number(header, 28)) {
        return Some("the beginning of the write-ahead log is damaged".to_owned());
    }
    let page = usize::try_from(number(header, 8)).unwrap_or(0).max(1);
    let mut sound = true;
    for (index, frame) in log[HEADER_BYTES..].chunks_exact(FRAME_BYTES + page).enumerate() {
        // A frame of an earlier log, before it began anew, ends this one.
        let own = frame[8..16] == header[16..24];
        if sound {
            sum = checksum(checksum(sum, &frame[..8], little), &frame[FRAME_BYTES..], little);
            sound = own && sum == (number(frame, 16), number(frame, 20));
        }
        let commits = number(frame, 4) != 0;
        if !sound && own && commits {
            return Some(format!("a commit at frame {index} of the write-ahead log cannot be read"));
        }
    }
    None
}

/// SQLite's checksum of words of 32 bits.
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], little: bool) -> (u32, u32) {
    let word = |at: usize| {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
    };
    for at in (0..bytes.len() / 8 * 8).step_by(8) {
        a = a.wrapping_add(word(at)).wrapping_add(b);
        b = b.wrapping_add(word(at + 4)).wrapping_add(a);
    }
    (a, b)
}

/// A number of the log, big-endian.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
