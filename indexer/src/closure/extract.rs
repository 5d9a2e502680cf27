//! What was read out of a repository's metadata for a closure, in a form that is read fast.
//!
//! Always true: an extract is a pure function of the metadata file that it is called by, so it is kept for ever; what
//! [`encode`] wrote, [`decode`] gives back; anything else, such as what another cfs wrote, adds nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use cfs_fs::digest::{BlobId, Digest};

use super::texts::TextId;
use super::universe::{Said, Universe};
use crate::catalogue::Checked;
use crate::repodata::relation::{Comparison, Kind};

/// Fast, and a fifth of the size.
const LEVEL: i32 = 1;
/// More than the packages of any repository.
const PLAIN_BYTES_MAX: usize = 4 << 30;

/// What an extract is called by; `what` changes when its bytes mean something else.
fn key(what: &str, metadata: BlobId) -> BlobId {
    Digest::of(format!("{what} {metadata}").as_bytes()).into()
}

/// Adds the packages that are kept of a `primary.xml`; `false` when there are none.
pub(super) fn recall(memory: &Checked, primary: BlobId, universe: &mut Universe, repository: usize) -> bool {
    let kept = memory.extract(key("closure packages 1", primary));
    let plain = kept.and_then(|bytes| zstd::bulk::decompress(&bytes, plain_bytes(&bytes)?).ok());
    plain.and_then(|plain| decode(&plain, universe, repository)).is_some()
}

/// The length that the compressed bytes declare, if it can be true.
fn plain_bytes(bytes: &[u8]) -> Option<usize> {
    let declared = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    usize::try_from(declared).ok().filter(|declared| *declared <= PLAIN_BYTES_MAX)
}

/// Keeps the packages of a universe from the number `first` on, which were read from a `primary.xml`.
pub(super) fn keep(memory: &Checked, primary: BlobId, universe: &Universe, first: usize) {
    if let Ok(bytes) = zstd::bulk::compress(&encode(universe, first), LEVEL) {
        memory.keep_extracts(&[(key("closure packages 1", primary), &bytes)]);
    }
}

/// The packages of a universe from the number `first` on: texts, packages and relations, each list after its length,
/// all numbers as 32 bits with the lowest byte first.
pub(super) fn encode(universe: &Universe, first: usize) -> Vec<u8> {
    let mut texts = Numbering { numbers: vec![u32::MAX; universe.texts.count()], texts: Vec::new() };
    let (mut packages, mut relations) = (Vec::new(), Vec::new());
    let (mut package_count, mut relation_count) = (0_u32, 0_u32);
    for id in universe.packages().skip(first) {
        let package = universe.package(id);
        let said = universe.said_by(id);
        for text in [package.name, package.arch, package.evr] {
            packages.extend(texts.number(text).to_le_bytes());
        }
        packages.extend(number(said.len()).to_le_bytes());
        packages.extend(package.id.to_le_bytes());
        package_count += 1;
        for Said { kind, comparison, name, evr } in said {
            for text in [*name, *evr] {
                relations.extend(texts.number(text).to_le_bytes());
            }
            relations.extend([*kind as u8, comparison.bits()]);
            relation_count += 1;
        }
    }
    let mut bytes = Vec::new();
    bytes.extend(number(texts.texts.len()).to_le_bytes());
    for text in &texts.texts {
        bytes.extend(number(universe.texts.get(*text).len()).to_le_bytes());
    }
    for text in &texts.texts {
        bytes.extend(universe.texts.get(*text).as_bytes());
    }
    for (count, list) in [(package_count, packages), (relation_count, relations)] {
        bytes.extend(count.to_le_bytes());
        bytes.extend(list);
    }
    bytes
}

/// Texts as they are numbered in an extract: in the order in which they come up.
struct Numbering {
    /// For each text of the universe.
    numbers: Vec<u32>,
    texts: Vec<TextId>,
}

impl Numbering {
    fn number(&mut self, text: TextId) -> u32 {
        let known = &mut self.numbers[text.index()];
        if *known == u32::MAX {
            *known = number(self.texts.len());
            self.texts.push(text);
        }
        *known
    }
}

/// Universes number everything with 32 bits.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Adds what [`encode`] wrote; nothing when it is something else.
pub(super) fn decode(bytes: &[u8], universe: &mut Universe, repository: usize) -> Option<()> {
    let mut input = Input(bytes);
    let count = input.count(4)?;
    let lengths = input.take(count * 4)?;
    let lengths = lengths.chunks_exact(4).map(|bytes| Input(bytes).number().unwrap_or(0) as usize);
    let total = lengths.clone().try_fold(0_usize, usize::checked_add)?;
    let mut rest = std::str::from_utf8(input.take(total)?).ok()?;
    let mut found = Vec::with_capacity(count);
    for length in lengths {
        let (text, after) = rest.split_at_checked(length)?;
        found.push(text);
        rest = after;
    }
    let packages = (input.count(32)?, input.clone());
    input.take(packages.0 * 32)?;
    let relations = (input.count(10)?, input.clone());
    input.take(relations.0 * 10)?;
    if !input.0.is_empty() {
        return None;
    }
    let texts = universe.texts.add_all(&found);
    let said = said(relations.1, relations.0, &texts)?;
    copy(packages.1, packages.0, &texts, &said, universe, repository)
}

fn said(mut input: Input<'_>, count: usize, texts: &[TextId]) -> Option<Vec<Said>> {
    let mut said = Vec::with_capacity(count);
    for _ in 0..count {
        let [name, evr] = [input.text(texts)?, input.text(texts)?];
        let [kind, comparison] = input.bytes()?;
        let kind = *Kind::ALL.get(usize::from(kind))?;
        said.push(Said { kind, comparison: Comparison::of_bits(comparison)?, name, evr });
    }
    Some(said)
}

fn copy(
    mut input: Input<'_>,
    count: usize,
    texts: &[TextId],
    said: &[Said],
    universe: &mut Universe,
    repository: usize,
) -> Option<()> {
    let mut packages = Vec::with_capacity(count);
    let mut rest = said;
    for _ in 0..count {
        let titles = [input.text(texts)?, input.text(texts)?, input.text(texts)?];
        let (own, after) = rest.split_at_checked(input.number()? as usize)?;
        rest = after;
        packages.push((titles, u128::from_le_bytes(input.bytes()?), own));
    }
    if !rest.is_empty() {
        return None;
    }
    for (titles, id, own) in packages {
        universe.add_copy(repository, titles, id, own);
    }
    Some(())
}

/// Bytes that are left to be read.
#[derive(Clone)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// How many elements of so many bytes follow.
    fn count(&mut self, element_bytes: usize) -> Option<usize> {
        let count = self.number()? as usize;
        (count <= self.0.len() / element_bytes).then_some(count)
    }

    fn text(&mut self, texts: &[TextId]) -> Option<TextId> {
        texts.get(self.number()? as usize).copied()
    }
}

/// Which packages have some files, as a `filelists.xml` says: for each path that was ever asked for, the packages.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<String, Vec<u128>>);

impl Owners {
    /// What is kept of a `filelists.xml`.
    pub(super) fn recall(memory: &Checked, filelists: BlobId) -> Self {
        let kept = memory.extract(key("closure owners 1", filelists));
        let text = kept.and_then(|bytes| String::from_utf8(bytes).ok());
        let line = |line: &str| {
            let mut fields = line.split('\t');
            let path = fields.next()?.to_owned();
            Some((path, fields.map(|id| u128::from_str_radix(id, 16).ok()).collect::<Option<_>>()?))
        };
        Self(text.and_then(|text| text.lines().map(line).collect()).unwrap_or_default())
    }

    /// The packages that have a file, if that is known; by the beginnings of their checksums.
    pub(super) fn of(&self, path: &str) -> Option<&[u128]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// Adds all packages that have some files.
    pub(super) fn learn(&mut self, found: HashMap<&str, Vec<u128>>) {
        self.0.extend(found.into_iter().map(|(path, packages)| (path.to_owned(), packages)));
    }

    /// Keeps it.
    pub(super) fn keep(&self, memory: &Checked, filelists: BlobId) {
        let mut text = String::new();
        for (path, packages) in self.0.iter().filter(|(path, _)| !path.contains(['\t', '\n', '\r'])) {
            text.push_str(path);
            for id in packages {
                // Writing to a string cannot fail.
                let _ = write!(text, "\t{id:x}");
            }
            text.push('\n');
        }
        memory.keep_extracts(&[(key("closure owners 1", filelists), text.as_bytes())]);
    }
}
