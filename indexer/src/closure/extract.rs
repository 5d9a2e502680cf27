//! What was read out of a repository's metadata for a closure, in a form that is read fast.
//!
//! Always true: an extract is a pure function of the metadata file that it is called by, so it is kept for ever; what
//! [`Extract::write`] wrote, [`decode`] gives back; anything else, such as what another cfs wrote, adds nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use cfs_fs::digest::{BlobId, Digest};

use super::texts::TextId;
use super::universe::{Said, Universe};
use crate::catalogue::Checked;
use crate::repodata::relation::{Comparison, Kind};

/// Fast, and a fifth of the size.
const LEVEL: i32 = 1;
/// Paths that all packages of a distribution ask for are thousands; more are somebody's bad joke.
const PATHS_MAX: usize = 100_000;
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
    if universe.texts.is_full() {
        return;
    }
    let compressed = || -> io::Result<Vec<u8>> {
        let extract = Extract::of(universe, first);
        let mut out = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
        out.set_pledged_src_size(Some(extract.bytes() as u64))?;
        let mut out = BufWriter::new(out);
        extract.write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    // Writing into memory cannot fail; nothing is no extract.
    if let Ok(bytes) = compressed() {
        memory.keep_extracts(&[(key("closure packages 1", primary), &bytes)]);
    }
}

/// The packages of a universe from a number on, to be written: texts, packages and relations, each list after its
/// length, all numbers as 32 bits with the lowest byte first.
pub(super) struct Extract<'u> {
    universe: &'u Universe,
    first: usize,
    /// For each text of the universe, its number here.
    numbers: Vec<u32>,
    /// The texts in the order of these numbers.
    texts: Vec<TextId>,
    relations: usize,
}

/// Bytes of a package and of a relation.
const PACKAGE_BYTES: usize = 32;
const RELATION_BYTES: usize = 10;

impl<'u> Extract<'u> {
    pub(super) fn of(universe: &'u Universe, first: usize) -> Self {
        let numbers = vec![u32::MAX; universe.texts.count()];
        let mut extract = Self { universe, first, numbers, texts: Vec::new(), relations: 0 };
        for id in universe.packages().skip(first) {
            let package = universe.package(id);
            [package.name, package.arch, package.evr].into_iter().for_each(|text| extract.add(text));
            for said in universe.said_by(id) {
                [said.name, said.evr].into_iter().for_each(|text| extract.add(text));
                extract.relations += 1;
            }
        }
        extract
    }

    fn add(&mut self, text: TextId) {
        let known = &mut self.numbers[text.index()];
        if *known == u32::MAX {
            *known = number(self.texts.len());
            self.texts.push(text);
        }
    }

    fn packages(&self) -> usize {
        self.universe.len() - self.first
    }

    /// How many bytes it has.
    fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| 4 + self.universe.texts.get(*text).len()).sum();
        12 + texts + self.packages() * PACKAGE_BYTES + self.relations * RELATION_BYTES
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { universe, first, numbers, texts, relations } = self;
        let length = |count: usize| number(count).to_le_bytes();
        let text = |text: TextId| numbers[text.index()].to_le_bytes();
        out.write_all(&length(texts.len()))?;
        texts.iter().try_for_each(|text| out.write_all(&length(universe.texts.get(*text).len())))?;
        texts.iter().try_for_each(|text| out.write_all(universe.texts.get(*text).as_bytes()))?;
        out.write_all(&length(self.packages()))?;
        for id in universe.packages().skip(*first) {
            let package = universe.package(id);
            for title in [package.name, package.arch, package.evr] {
                out.write_all(&text(title))?;
            }
            out.write_all(&length(universe.said_by(id).len()))?;
            out.write_all(&package.id.to_le_bytes())?;
        }
        out.write_all(&length(*relations))?;
        for Said { kind, comparison, name, evr } in
            universe.packages().skip(*first).flat_map(|id| universe.said_by(id))
        {
            out.write_all(&text(*name))?;
            out.write_all(&text(*evr))?;
            out.write_all(&[*kind as u8, comparison.bits()])?;
        }
        Ok(())
    }
}

/// Universes number everything with 32 bits.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Adds what [`Extract::write`] wrote; nothing when it is something else.
pub(super) fn decode(bytes: &[u8], universe: &mut Universe, repository: usize) -> Option<()> {
    let first = universe.len();
    let added = add(bytes, universe, repository);
    if added.is_none() {
        universe.truncate(first);
    }
    added
}

/// As [`decode`], which takes back what this has added before it found that something is wrong.
fn add(bytes: &[u8], universe: &mut Universe, repository: usize) -> Option<()> {
    let mut input = Input(bytes);
    let count = input.count(4)?;
    let lengths = input.take(count * 4)?;
    let lengths = lengths.chunks_exact(4).map(|bytes| Input(bytes).number().unwrap_or(0) as usize);
    let total = lengths.clone().try_fold(0_usize, usize::checked_add)?;
    let all = std::str::from_utf8(input.take(total)?).ok()?;
    let texts = universe.texts.add_all(all, lengths)?;
    let count = input.count(PACKAGE_BYTES)?;
    let mut packages = Input(input.take(count * PACKAGE_BYTES)?);
    let count = input.count(RELATION_BYTES)?;
    let mut relations = Input(input.take(count * RELATION_BYTES)?);
    while !packages.0.is_empty() {
        let title = [packages.text(&texts)?, packages.text(&texts)?, packages.text(&texts)?];
        let count = packages.number()?;
        let id = u128::from_le_bytes(packages.bytes()?);
        for _ in 0..count {
            universe.say(relations.said(&texts)?);
        }
        universe.add_copy(repository, title, id);
    }
    (relations.0.is_empty() && input.0.is_empty()).then_some(())
}

/// Bytes that are left to be read.
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

    fn said(&mut self, texts: &[TextId]) -> Option<Said> {
        let [name, evr] = [self.text(texts)?, self.text(texts)?];
        let [kind, comparison] = self.bytes()?;
        let kind = *Kind::ALL.get(usize::from(kind))?;
        Some(Said { kind, comparison: Comparison::of_bits(comparison)?, name, evr })
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
        if self.0.len() > PATHS_MAX {
            return;
        }
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
