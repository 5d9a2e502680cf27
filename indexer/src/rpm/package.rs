//! What a package says of itself.
//!
//! Headers from before rpm 4 are mended as rpm itself does it: paths become directories and names, and a package
//! provides itself.

use std::fmt;
use std::io::Read;

use super::dependency::{self, Dependency};
use super::header::Header;
use super::{Headers, PATHS_BYTES_MAX, RpmError, tag, text};

/// What a package's header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// What identifies it; the architecture of a source package is `src`.
    pub nevra: Nevra,
    /// One line of description.
    pub summary: String,
    /// Many lines.
    pub description: String,
    /// Its home page.
    pub url: String,
    /// Its licence.
    pub license: String,
    /// Who distributes it.
    pub vendor: String,
    /// The old classification.
    pub group: String,
    /// Where it was built.
    pub build_host: String,
    /// The file name of the source package; empty for a source package.
    pub source_rpm: String,
    /// Who built it.
    pub packager: String,
    /// When it was built, seconds since 1970.
    pub build_time: u64,
    /// Bytes when installed.
    pub installed_bytes: u64,
    /// Bytes of the payload uncompressed.
    pub archive_bytes: u64,
    /// Where the header begins in the file.
    pub header_start: u64,
    /// Where the file goes on behind it.
    pub header_end: u64,
    /// What it provides.
    pub provides: Vec<Dependency>,
    /// What it needs.
    pub requires: Vec<Dependency>,
    /// What it cannot stand.
    pub conflicts: Vec<Dependency>,
    /// What it replaces.
    pub obsoletes: Vec<Dependency>,
    /// What it works better with.
    pub recommends: Vec<Dependency>,
    /// What it may work better with.
    pub suggests: Vec<Dependency>,
    /// What works better with it.
    pub supplements: Vec<Dependency>,
    /// What may work better with it.
    pub enhances: Vec<Dependency>,
    /// Its files, in the order of the header.
    pub files: Vec<File>,
    /// What was changed, newest first.
    pub changes: Vec<Change>,
}

/// Name, epoch, version, release, architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nevra {
    /// The name.
    pub name: String,
    /// The epoch, 0 where none is given.
    pub epoch: u32,
    /// The version.
    pub version: String,
    /// The release.
    pub release: String,
    /// The architecture.
    pub arch: String,
}

impl fmt::Display for Nevra {
    /// With the epoch always there, as productmd writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, epoch, version, release, arch } = self;
        write!(f, "{name}-{epoch}:{version}-{release}.{arch}")
    }
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it goes.
    pub path: String,
    /// Type and permissions, as in `stat(2)`.
    pub mode: u32,
    /// rpm's flags.
    pub flags: u32,
    /// The digest of its content in hexadecimal; empty for what has none.
    pub digest: String,
}

impl File {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether the package owns it without bringing it.
    pub fn is_ghost(&self) -> bool {
        self.flags & 1 << 6 != 0
    }
}

/// An entry of the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Seconds since 1970.
    pub time: u64,
    /// Who, often with a version.
    pub author: String,
    /// What.
    pub text: String,
}

impl Package {
    /// Reads what a package says of itself from its beginning; nothing behind the headers is read.
    pub fn read(input: &mut impl Read) -> Result<Self, RpmError> {
        Self::of(&Headers::read(input)?)
    }

    /// What the headers say.
    pub fn of(headers: &Headers) -> Result<Self, RpmError> {
        let header = &headers.main;
        let is_ancient = !header.has(tag::IMMUTABLE);
        let words = |tag| Ok::<_, RpmError>(header.string(tag)?.map(text).unwrap_or_default());
        let mut package = Self {
            nevra: nevra(header)?,
            summary: words(tag::SUMMARY)?,
            description: words(tag::DESCRIPTION)?,
            url: words(tag::URL)?,
            license: words(tag::LICENSE)?,
            vendor: words(tag::VENDOR)?,
            group: words(tag::GROUP)?,
            build_host: words(tag::BUILD_HOST)?,
            source_rpm: words(tag::SOURCE_RPM)?,
            packager: words(tag::PACKAGER)?,
            build_time: header.number(tag::BUILD_TIME)?.unwrap_or(0),
            installed_bytes: first(header, &[tag::LONG_SIZE, tag::SIZE])?.unwrap_or(0),
            archive_bytes: archive_bytes(headers)?,
            header_start: header.at_byte(),
            header_end: header.end_byte(),
            provides: dependency::read(header, tag::PROVIDES)?,
            requires: dependency::read(header, tag::REQUIRES)?,
            conflicts: dependency::read(header, tag::CONFLICTS)?,
            obsoletes: dependency::read(header, tag::OBSOLETES)?,
            recommends: dependency::read(header, tag::RECOMMENDS)?,
            suggests: dependency::read(header, tag::SUGGESTS)?,
            supplements: dependency::read(header, tag::SUPPLEMENTS)?,
            enhances: dependency::read(header, tag::ENHANCES)?,
            files: files(header)?,
            changes: changes(header)?,
        };
        package.add_old_weak(header)?;
        if is_ancient {
            package.provide_itself();
        }
        Ok(package)
    }

    /// Sorts what SUSE wrote before rpm had weak dependencies.
    fn add_old_weak(&mut self, header: &Header) -> Result<(), RpmError> {
        let is_strong = |dependency: &Dependency| dependency.flags & Dependency::STRONG != 0;
        let (strong, weak) = dependency::read(header, tag::OLD_SUGGESTS)?.into_iter().partition(is_strong);
        let strong: Vec<Dependency> = strong;
        let weak: Vec<Dependency> = weak;
        self.recommends.extend(strong);
        self.suggests.extend(weak);
        let (strong, weak) = dependency::read(header, tag::OLD_ENHANCES)?.into_iter().partition(is_strong);
        let strong: Vec<Dependency> = strong;
        let weak: Vec<Dependency> = weak;
        self.supplements.extend(strong);
        self.enhances.extend(weak);
        Ok(())
    }

    /// Adds to the package what every newer one provides.
    fn provide_itself(&mut self) {
        let Nevra { name, epoch, version, release, .. } = &self.nevra;
        let epoch = if *epoch == 0 { String::new() } else { format!("{epoch}:") };
        let own = Dependency { name: name.clone(), flags: 8, version: format!("{epoch}{version}-{release}") };
        let is_own = |provided: &Dependency| provided.name == own.name && provided.version == own.version;
        if !self.provides.iter().any(is_own) {
            self.provides.push(own);
        }
    }
}

fn nevra(header: &Header) -> Result<Nevra, RpmError> {
    let at_byte = header.at_byte();
    let word = |tag, what| {
        let found = header.string(tag)?.filter(|bytes| !bytes.is_empty());
        found.map(text).ok_or(RpmError::Missing { at_byte, what })
    };
    let is_source = header.number(tag::SOURCE_PACKAGE)?.map_or(!header.has(tag::SOURCE_RPM), |is| is != 0);
    Ok(Nevra {
        name: word(tag::NAME, "name")?,
        epoch: u32::try_from(header.number(tag::EPOCH)?.unwrap_or(0)).unwrap_or(u32::MAX),
        version: word(tag::VERSION, "version")?,
        release: word(tag::RELEASE, "release")?,
        arch: if is_source { "src".to_owned() } else { word(tag::ARCH, "architecture")? },
    })
}

/// The first of these numbers that is there.
fn first(header: &Header, tags: &[u32]) -> Result<Option<u64>, RpmError> {
    for tag in tags {
        if let Some(number) = header.number(*tag)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn archive_bytes(headers: &Headers) -> Result<u64, RpmError> {
    let of_signature = [tag::SIGNATURE_LONG_ARCHIVE_SIZE, tag::SIGNATURE_PAYLOAD_SIZE];
    let of_header = [tag::LONG_ARCHIVE_SIZE, tag::ARCHIVE_SIZE, tag::PAYLOAD_SIZE_PLAIN];
    let found = match first(&headers.signature, &of_signature)? {
        None => first(&headers.main, &of_header)?,
        found => found,
    };
    Ok(found.unwrap_or(0))
}

fn files(header: &Header) -> Result<Vec<File>, RpmError> {
    let disagree = |what| RpmError::Disagree { at_byte: header.at_byte(), what };
    let modes = header.numbers(tag::FILE_MODES)?;
    let flags = header.numbers(tag::FILE_FLAGS)?;
    let paths = paths(header)?;
    let mut digests = header.strings(tag::FILE_DIGESTS)?;
    if modes.len() != paths.len() || flags.len() != paths.len() {
        return Err(disagree("names, modes and flags of the files"));
    }
    let number = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
    let mut files = Vec::with_capacity(paths.len());
    for ((path, mode), flags) in paths.into_iter().zip(modes).zip(flags) {
        let digest = digests.as_mut().and_then(Iterator::next).map(text).unwrap_or_default();
        files.push(File { path, mode: number(mode), flags: number(flags), digest });
    }
    Ok(files)
}

/// The paths of the files, written out.
fn paths(header: &Header) -> Result<Vec<String>, RpmError> {
    let disagree = |what| RpmError::Disagree { at_byte: header.at_byte(), what };
    let Some(names) = header.strings(tag::BASE_NAMES)? else {
        let old = header.strings(tag::OLD_FILE_NAMES)?;
        return Ok(old.into_iter().flatten().map(text).collect());
    };
    let dirs: Vec<&[u8]> = header.strings(tag::DIR_NAMES)?.into_iter().flatten().collect();
    let indexes = header.numbers(tag::DIR_INDEXES)?;
    if indexes.len() != names.len() {
        return Err(disagree("names and directories of the files"));
    }
    let mut paths = Vec::with_capacity(names.len());
    let (mut bytes, mut whole) = (0, Vec::new());
    for (name, index) in names.zip(indexes) {
        let dir = usize::try_from(index).ok().and_then(|index| dirs.get(index));
        let dir = dir.ok_or_else(|| disagree("names and directories of the files"))?;
        bytes += dir.len() + name.len();
        if bytes > PATHS_BYTES_MAX {
            let (at_byte, limit) = (header.at_byte(), PATHS_BYTES_MAX);
            return Err(RpmError::Limit { at_byte, what: "bytes of all paths", limit });
        }
        whole.clear();
        whole.extend_from_slice(dir);
        whole.extend_from_slice(name);
        paths.push(text(&whole));
    }
    Ok(paths)
}

fn changes(header: &Header) -> Result<Vec<Change>, RpmError> {
    let times = header.numbers(tag::CHANGELOG_TIME)?;
    let names = header.strings(tag::CHANGELOG_NAME)?;
    let texts = header.strings(tag::CHANGELOG_TEXT)?;
    let all = times.into_iter().zip(names.into_iter().flatten()).zip(texts.into_iter().flatten());
    Ok(all.map(|((time, author), said)| Change { time, author: text(author), text: text(said) }).collect())
}
