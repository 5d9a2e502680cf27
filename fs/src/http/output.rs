//! Bytes on their way to a client: text from memory, contents from their files without a copy.
//!
//! Always true: pieces go out in order and whole; a file that ends too early ends the connection, so that the
//! client sees fewer bytes than it was promised and never others.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::answer::Part;

/// Contents up to this size are copied behind their head, which makes one packet and one call of both.
const SMALL_BYTES: u64 = 16 << 10;

/// What is still to be sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    sent_bytes: u64,
}

#[derive(Debug)]
enum Piece {
    Bytes { bytes: Vec<u8>, at: usize },
    Page { page: Arc<[u8]>, range: Range<u64> },
    File { file: Arc<File>, range: Range<u64> },
}

/// How far sending came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Everything.
    All,
    /// The client's side is full.
    Blocked,
    /// As much as this turn may send.
    Enough,
}

impl Output {
    /// Begins an answer with its head.
    pub(super) fn begin(&mut self, head: Vec<u8>) {
        self.sent_bytes = 0;
        self.pieces.clear();
        self.pieces.push_back(Piece::Bytes { bytes: head, at: 0 });
    }

    /// Bytes sent since the answer began.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Adds parts of a page.
    pub(super) fn add_page(&mut self, page: &Arc<[u8]>, parts: Vec<Part>) {
        for Part { before, range } in parts {
            self.add_bytes(before);
            if !range.is_empty() {
                self.pieces.push_back(Piece::Page { page: Arc::clone(page), range });
            }
        }
    }

    /// Adds parts of a file. Fails when small ones, which are read at once, are not there.
    pub(super) fn add_file(&mut self, file: &Arc<File>, parts: Vec<Part>) -> io::Result<()> {
        for Part { before, range } in parts {
            self.add_bytes(before);
            if range.end - range.start > SMALL_BYTES {
                self.pieces.push_back(Piece::File { file: Arc::clone(file), range });
            } else if !range.is_empty() {
                self.read_small(file, &range)?;
            }
        }
        Ok(())
    }

    fn read_small(&mut self, file: &File, range: &Range<u64>) -> io::Result<()> {
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        if !matches!(self.pieces.back(), Some(Piece::Bytes { .. })) {
            self.pieces.push_back(Piece::Bytes { bytes: Vec::new(), at: 0 });
        }
        let Some(Piece::Bytes { bytes, .. }) = self.pieces.back_mut() else { return Ok(()) };
        let before = bytes.len();
        bytes.resize(before + length, 0);
        file.read_exact_at(&mut bytes[before..], range.start)
    }

    /// Adds text.
    pub(super) fn add_bytes(&mut self, more: Vec<u8>) {
        match self.pieces.back_mut() {
            _ if more.is_empty() => {}
            Some(Piece::Bytes { bytes, .. }) => bytes.extend_from_slice(&more),
            _ => self.pieces.push_back(Piece::Bytes { bytes: more, at: 0 }),
        }
    }

    /// Sends as much as the socket takes, up to about `budget` bytes, which it lowers by what it sent.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, budget: &mut u64) -> io::Result<Sent> {
        loop {
            let is_last = self.pieces.len() == 1;
            let Some(piece) = self.pieces.front_mut() else { return Ok(Sent::All) };
            if *budget == 0 {
                return Ok(Sent::Enough);
            }
            match piece.send(socket, is_last, *budget) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.sent_bytes += count;
                    *budget = budget.saturating_sub(count);
                    if piece.is_empty() {
                        self.pieces.pop_front();
                    }
                }
                Err(Errno::AGAIN) => return Ok(Sent::Blocked),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Piece {
    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes { bytes, at } => *at == bytes.len(),
            Self::Page { range, .. } | Self::File { range, .. } => range.is_empty(),
        }
    }

    /// One call; returns how many bytes it took.
    fn send(&mut self, socket: BorrowedFd<'_>, is_last: bool, budget: u64) -> rustix::io::Result<u64> {
        // What follows at once is in the same packet.
        let flags = if is_last { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::MORE };
        match self {
            Self::Bytes { bytes, at } => {
                let count = send(socket, &bytes[*at..], flags)?;
                *at += count;
                Ok(count as u64)
            }
            Self::Page { page, range } => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let count = send(socket, &page[index(range.start)..index(range.end)], flags)? as u64;
                range.start += count;
                Ok(count)
            }
            Self::File { file, range } => {
                let wanted = usize::try_from((range.end - range.start).min(budget)).unwrap_or(usize::MAX);
                let count = rustix::fs::sendfile(socket, file.as_fd(), Some(&mut range.start), wanted)?;
                Ok(count as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    fn part(before: &[u8], range: Range<u64>) -> Part {
        Part { before: before.to_vec(), range }
    }

    /// Sends everything through a socket, with so small a budget that it takes many turns.
    fn sent(mut output: Output) -> (io::Result<()>, Vec<u8>, u64) {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            there.read_to_end(&mut all).unwrap();
            all
        });
        let result = loop {
            match output.send(here.as_fd(), &mut 1000) {
                Ok(Sent::All) => break Ok(()),
                Ok(Sent::Blocked | Sent::Enough) => std::thread::yield_now(),
                Err(error) => break Err(error),
            }
        };
        let count = output.sent_bytes();
        drop(here);
        (result, reader.join().unwrap(), count)
    }

    #[test]
    fn pieces_go_out_in_order() {
        let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let file = file(&content);
        let mut output = Output::default();
        output.begin(b"head ".to_vec());
        let parts = vec![part(b"small ", 5..10), part(b" large ", 100..90_000), part(b" end", 0..0)];
        output.add_file(&file, parts).unwrap();
        output.add_page(&content.clone().into(), vec![part(b" page ", 7..70_000)]);
        output.add_bytes(b" last".to_vec());
        let expected = [
            b"head small ".as_slice(),
            &content[5..10],
            b" large ",
            &content[100..90_000],
            b" end page ",
            &content[7..70_000],
            b" last",
        ]
        .concat();
        let (result, all, count) = sent(output);
        result.unwrap();
        assert!(all == expected, "{} bytes instead of {}", all.len(), expected.len());
        assert_eq!(count, expected.len() as u64);
    }

    #[test]
    fn a_file_that_has_become_shorter_ends_the_answer() {
        let file = file(&vec![1; 50_000]);
        let mut output = Output::default();
        output.begin(Vec::new());
        assert!(
            output.add_file(&file, vec![part(b"", 49_990..50_010)]).is_err(),
            "small parts are read at once"
        );
        let mut output = Output::default();
        output.begin(b"head".to_vec());
        output.add_file(&file, vec![part(b"", 0..60_000), part(b"never", 0..10)]).unwrap();
        let (result, all, _) = sent(output);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(all.len(), 4 + 50_000);
    }
}
