//! Whole lists, from a walk.
//!
//! Always true: the bytes are those of version 2 of the format that quick-fedora-mirror reads.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use cfs_fs::tree::{Item, Kind, Nodes};

use super::line::{self, Line, Sha1, Shade};
use super::scan::{Scope, scan};
use super::splice::{Sorted, Source, write_error};
use super::{FilelistError, State, is_repomd};

/// Before the first line.
const HEAD: &[u8] = b"[Version]\n2\n\n[Files]\n";
/// Between the lines and the checksums.
const MIDDLE: &[u8] = b"\n[Checksums SHA1]\n";
/// After the last checksum.
const TAIL: &[u8] = b"\n[End]\n";

/// The kinds of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `fullfiletimelist-*`: time, type, size and path of everything, and checksums of every `repomd.xml`.
    Timelist,
    /// `fullfilelist`: all paths.
    Filelist,
    /// `imagelist-*`: the paths of images.
    Imagelist,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Timelist, Self::Filelist, Self::Imagelist];

    /// The name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timelist => "timelist",
            Self::Filelist => "filelist",
            Self::Imagelist => "imagelist",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("no list has the format {text:?}; there are {}", names()))
    }
}

/// Where lists are written to; a list without a place is not made.
#[derive(Default)]
pub(super) struct Outs<'a> {
    pub(super) timelist: Option<&'a mut dyn Write>,
    pub(super) filelist: Option<&'a mut dyn Write>,
    pub(super) imagelist: Option<&'a mut dyn Write>,
}

/// When what stands at a path entered the view, given with the line that it would have had the time 0.
pub(super) type Entered<'a> = dyn FnMut(&str, &Line) -> Result<i64, FilelistError> + 'a;

/// Writes the lists of a directory from a walk of all of it.
pub(super) fn write(
    nodes: &dyn Nodes,
    state: State<'_>,
    scope: &Scope,
    entered: &mut Entered<'_>,
    sha1: &mut Sha1<'_>,
    outs: &mut Outs<'_>,
) -> Result<(), FilelistError> {
    let mut checksums = Vec::new();
    let mut bytes = Vec::with_capacity(256);
    put(&mut outs.timelist, Format::Timelist, HEAD)?;
    scan(nodes, state, scope, &mut |path: &str, item: &Item, shade: Shade| {
        if outs.timelist.is_some() {
            let time = entered(path, &Line::of(item, shade, 0))?;
            bytes.clear();
            Line::of(item, shade, time).write(path, &mut bytes);
            put(&mut outs.timelist, Format::Timelist, &bytes)?;
            if let Kind::File { blob, .. } = item.kind
                && is_repomd(path, item)
            {
                checksums.extend(line::checksum(&sha1(blob)?, path));
            }
        }
        bytes.clear();
        bytes.extend_from_slice(b"./");
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(b'\n');
        put(&mut outs.filelist, Format::Filelist, &bytes)?;
        if line::is_image(path) && !matches!(item.kind, Kind::Dir(_)) {
            put(&mut outs.imagelist, Format::Imagelist, &bytes)?;
        }
        Ok(())
    })?;
    put(&mut outs.timelist, Format::Timelist, &[MIDDLE, &checksums, TAIL].concat())
}

fn put(out: &mut Option<&mut dyn Write>, format: Format, bytes: &[u8]) -> Result<(), FilelistError> {
    let Some(out) = out else { return Ok(()) };
    out.write_all(bytes).map_err(|error| write_error(format.name(), error))
}

/// The two sorted parts of a timelist.
pub(super) struct Parts<'a> {
    pub(super) files: Sorted<'a>,
    pub(super) checksums: Sorted<'a>,
}

/// Finds the parts of a timelist: its frame must be as [`write`] makes it.
pub(super) fn parts(source: Source<'_>) -> Result<Parts<'_>, FilelistError> {
    let size = source.bytes.size_bytes();
    let mut head = [0; HEAD.len()];
    let frame = (HEAD.len() + MIDDLE.len() + TAIL.len()) as u64;
    if size < frame {
        return Err(source.damaged("it is too short"));
    }
    source.read(0, &mut head)?;
    let mut tail = [0; TAIL.len()];
    source.read(size - TAIL.len() as u64, &mut tail)?;
    if head != HEAD || tail != TAIL {
        return Err(source.damaged("it does not begin or end as version 2 does"));
    }
    let middle = find_middle(source, size)?;
    let files = HEAD.len() as u64..middle;
    let checksums = middle + MIDDLE.len() as u64..size - TAIL.len() as u64;
    Ok(Parts {
        files: Sorted { source, range: files, key: line::file_key },
        checksums: Sorted { source, range: checksums, key: line::checksum_key },
    })
}

/// Where [`MIDDLE`] begins. The checksums are few, so it is looked for from the end.
fn find_middle(source: Source<'_>, size: u64) -> Result<u64, FilelistError> {
    let mut reach = 64 << 10;
    loop {
        let start = size.saturating_sub(reach);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or_default()];
        source.read(start, &mut bytes)?;
        // No line of a list begins with a bracket, so the first one that does is the middle.
        let found = bytes.windows(MIDDLE.len() + 1).position(|part| part[0] == b'\n' && &part[1..] == MIDDLE);
        match found {
            Some(at) => return Ok(start + at as u64 + 1),
            None if start == 0 => return Err(source.damaged("it has no checksums")),
            None => reach *= 4,
        }
    }
}
