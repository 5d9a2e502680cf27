//! `primary.xml`: every package of a repository with its checksum, read as a stream.
//!
//! Only what a copy of the repository needs is kept; relations, files and texts are passed over, unless somebody
//! takes them as [`More`]. Always true of a [`Package`]: it has a name, a checksum, a size and a location inside
//! the repository.

use std::io::BufRead;

use cfs_fs::name::TreePath;

use super::RepodataError;
use super::relation::{Comparison, Evr, Kind, Relation};
use super::repomd::{algorithm, location, number, value, whole_seconds};
use super::xml::{Element, Event, Xml};
use crate::checksum::{Algorithm, Checksum};

/// One package of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// The architecture; `src` for a source package.
    pub arch: String,
    /// The epoch; 0 where none is given.
    pub epoch: u32,
    /// The version.
    pub version: String,
    /// The release.
    pub release: String,
    /// Checksum of the file, by which the other metadata files refer to the package.
    pub checksum: Checksum,
    /// Size of the file.
    pub size_bytes: u64,
    /// The file's modification time in seconds since 1970.
    pub file_time: Option<i64>,
    /// The time of building in seconds since 1970.
    pub build_time: Option<i64>,
    /// Where the file is, below the repository's base.
    pub location: TreePath,
}

/// Takes what a package's record says beside what every [`Package`] has. The package itself comes afterwards.
pub trait More {
    /// Whether anything is taken at all.
    const WANTED: bool = true;

    /// An entry of one of the lists of relations.
    fn relation(&mut self, _kind: Kind, _relation: &Relation<'_>) {}
    /// A file of the package that the primary metadata names; it names few.
    fn file(&mut self, _path: &str) {}
    /// The summary.
    fn summary(&mut self, _text: &str) {}
    /// The file name of the source package; empty for a source package.
    fn source(&mut self, _text: &str) {}
}

/// Takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl More for Nothing {
    const WANTED: bool = false;
}

/// The packages of an uncompressed `primary.xml`, one by one. After an error there are no more.
#[derive(Debug)]
pub struct Packages<R> {
    xml: Xml<R>,
    /// The list of relations that is open, and the entry that was read last.
    list: Option<Kind>,
    entry: Entry,
    /// How many elements are open.
    depth: usize,
    draft: Draft,
    /// The element at depth 3 whose text is being read.
    field: Field,
    /// The same at depth 4, inside `format`.
    inner: Field,
    text: String,
    over: bool,
}

/// The elements of a package whose text matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arch,
    Checksum,
    Summary,
    Format,
    File,
    Source,
    Other,
}

/// An entry of a list; its texts are used again for the next one.
#[derive(Debug, Default)]
struct Entry {
    name: String,
    comparison: Comparison,
    epoch: u32,
    version: String,
    release: String,
}

impl<R: BufRead> Packages<R> {
    /// The packages of the document that `input` gives.
    pub fn new(input: R) -> Self {
        Packages {
            xml: Xml::new(input),
            list: None,
            entry: Entry::default(),
            depth: 0,
            draft: Draft::default(),
            field: Field::Other,
            inner: Field::Other,
            text: String::new(),
            over: false,
        }
    }

    /// The next package, after `more` has been given what else its record says.
    pub fn next_with<M: More>(&mut self, more: &mut M) -> Option<Result<Package, RepodataError>> {
        if self.over {
            return None;
        }
        let next = self.read_package(more).transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    /// Reads up to the end of the next package, or of the document.
    fn read_package<M: More>(&mut self, more: &mut M) -> Result<Option<Package>, RepodataError> {
        loop {
            match self.xml.next()? {
                Event::Open(element) => {
                    self.depth += 1;
                    match (self.depth, element.name()) {
                        (1, "metadata") => {}
                        (1, found) => {
                            let found = found.chars().take(80).collect();
                            return Err(RepodataError::WrongDocument { expected: "metadata", found });
                        }
                        (2, "package") => self.draft = Draft { open: true, ..Draft::default() },
                        (2, _) => self.draft = Draft::default(),
                        (_, _) if !self.draft.open => {}
                        (3, name) => {
                            self.text.clear();
                            self.field = self.draft.open_field(name, &element)?;
                        }
                        (4, name) if M::WANTED && self.field == Field::Format => {
                            self.text.clear();
                            let name = without_prefix(name);
                            self.list = Kind::of_element(name);
                            self.inner = match name {
                                "file" => Field::File,
                                "sourcerpm" => Field::Source,
                                _ => Field::Other,
                            };
                        }
                        (5, _) if M::WANTED => {
                            if let Some(kind) = self.list {
                                self.entry.read(&element)?;
                                more.relation(kind, &self.entry.relation());
                            }
                        }
                        _ => {}
                    }
                }
                Event::Text(piece) => {
                    let field = match self.depth {
                        3 => self.field,
                        4 => self.inner,
                        _ => Field::Other,
                    };
                    if field != Field::Other {
                        self.text.push_str(&piece);
                    }
                }
                Event::Close => {
                    self.depth -= 1;
                    if let Some(package) = self.close(more)? {
                        return Ok(Some(package));
                    }
                }
                Event::Other => {}
                Event::End => return Ok(None),
            }
        }
    }

    /// Ends what was open one level deeper than now; that may be a package.
    fn close<M: More>(&mut self, more: &mut M) -> Result<Option<Package>, RepodataError> {
        let at_byte = self.xml.at_byte();
        match self.depth {
            3 => {
                self.list = None;
                match std::mem::replace(&mut self.inner, Field::Other) {
                    Field::File => more.file(&self.text),
                    Field::Source => more.source(self.text.trim()),
                    _ => {}
                }
            }
            2 => match std::mem::replace(&mut self.field, Field::Other) {
                Field::Summary => more.summary(self.text.trim()),
                field => self.draft.close_field(field, self.text.trim(), at_byte)?,
            },
            1 if self.draft.open => return std::mem::take(&mut self.draft).close(at_byte).map(Some),
            _ => {}
        }
        Ok(None)
    }
}

impl<R: BufRead> Iterator for Packages<R> {
    type Item = Result<Package, RepodataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(&mut Nothing)
    }
}

impl Entry {
    fn read(&mut self, element: &Element<'_>) -> Result<(), RepodataError> {
        self.comparison = Comparison::ANY;
        self.epoch = 0;
        [&mut self.name, &mut self.version, &mut self.release].into_iter().for_each(String::clear);
        element.attributes(&mut |name, value| {
            match name {
                "name" => self.name.push_str(&value),
                "flags" => self.comparison = Comparison::of_flags(&value),
                "ver" => self.version.push_str(&value),
                "rel" => self.release.push_str(&value),
                "epoch" if !value.is_empty() => {
                    self.epoch = number(&value, "an epoch", element.at_byte())?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn relation(&self) -> Relation<'_> {
        let evr = Evr { epoch: self.epoch, version: &self.version, release: &self.release };
        Relation { name: &self.name, comparison: self.comparison, evr }
    }
}

fn without_prefix(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, name)| name)
}

/// A package under construction.
#[derive(Debug, Default)]
struct Draft {
    /// Whether a package is open at all.
    open: bool,
    name: Option<String>,
    arch: Option<String>,
    version: Option<(u32, String, String)>,
    /// Of the checksum that is open now.
    algorithm: Option<Algorithm>,
    checksum: Option<Checksum>,
    size_bytes: Option<u64>,
    times: Option<(Option<i64>, Option<i64>)>,
    location: Option<TreePath>,
}

impl Draft {
    fn title(&self) -> String {
        let location = self.location.as_ref().map(TreePath::as_str);
        format!("the package {:?}", location.or(self.name.as_deref()).unwrap_or("?"))
    }

    fn open_field(&mut self, name: &str, element: &Element<'_>) -> Result<Field, RepodataError> {
        let at_byte = element.at_byte();
        match name {
            "name" => return Ok(Field::Name),
            "arch" => return Ok(Field::Arch),
            "summary" => return Ok(Field::Summary),
            "format" => return Ok(Field::Format),
            "checksum" => {
                self.algorithm = algorithm(element)?;
                return Ok(Field::Checksum);
            }
            "version" => {
                let version = version(element)?;
                self.set(at_byte, "version", |draft| &mut draft.version, version)?;
            }
            "size" => {
                if let Some(size) = package_size(element)? {
                    self.set(at_byte, "size", |draft| &mut draft.size_bytes, size)?;
                }
            }
            "time" => {
                let times = times(element)?;
                self.set(at_byte, "time", |draft| &mut draft.times, times)?;
            }
            "location" => {
                let location = location(element)?;
                self.set(at_byte, "location", |draft| &mut draft.location, location)?;
            }
            _ => {}
        }
        Ok(Field::Other)
    }

    fn close_field(&mut self, field: Field, text: &str, at_byte: u64) -> Result<(), RepodataError> {
        match field {
            Field::Name => self.set(at_byte, "name", |draft| &mut draft.name, text.to_owned()),
            Field::Arch => self.set(at_byte, "arch", |draft| &mut draft.arch, text.to_owned()),
            Field::Checksum => {
                let missing =
                    RepodataError::Missing { at_byte, inside: self.title(), what: "type of checksum" };
                let checksum = Checksum::from_hex(self.algorithm.take().ok_or(missing)?, text)
                    .map_err(|source| RepodataError::Checksum { at_byte, source })?;
                self.set(at_byte, "checksum", |draft| &mut draft.checksum, checksum)
            }
            _ => Ok(()),
        }
    }

    fn set<T>(
        &mut self,
        at_byte: u64,
        what: &'static str,
        field: impl FnOnce(&mut Self) -> &mut Option<T>,
        value: T,
    ) -> Result<(), RepodataError> {
        match field(self).replace(value) {
            None => Ok(()),
            Some(_) => Err(RepodataError::Twice { at_byte, inside: self.title(), what }),
        }
    }

    fn close(self, at_byte: u64) -> Result<Package, RepodataError> {
        let inside = self.title();
        let missing = |what| RepodataError::Missing { at_byte, inside: inside.clone(), what };
        let (epoch, version, release) = self.version.ok_or_else(|| missing("version"))?;
        let (file_time, build_time) = self.times.unwrap_or_default();
        Ok(Package {
            name: self.name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?,
            arch: self.arch.ok_or_else(|| missing("arch"))?,
            epoch,
            version,
            release,
            checksum: self.checksum.ok_or_else(|| missing("checksum"))?,
            size_bytes: self.size_bytes.ok_or_else(|| missing("size"))?,
            file_time,
            build_time,
            location: self.location.ok_or_else(|| missing("location"))?,
        })
    }
}

fn version(element: &Element<'_>) -> Result<(u32, String, String), RepodataError> {
    let (mut epoch, mut version, mut release) = (0, String::new(), String::new());
    element.attributes(&mut |name, text| {
        match name {
            "epoch" if text.is_empty() => {}
            "epoch" => epoch = number(&text, "an epoch", element.at_byte())?,
            "ver" => version = text.into_owned(),
            "rel" => release = text.into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok((epoch, version, release))
}

fn package_size(element: &Element<'_>) -> Result<Option<u64>, RepodataError> {
    let mut size = None;
    element.attributes(&mut |name, text| {
        if name == "package" {
            size = Some(number(&text, "a package size", element.at_byte())?);
        }
        Ok(())
    })?;
    Ok(size)
}

fn times(element: &Element<'_>) -> Result<(Option<i64>, Option<i64>), RepodataError> {
    let (mut file, mut build) = (None, None);
    element.attributes(&mut |name, text| {
        let slot = match name {
            "file" => &mut file,
            "build" => &mut build,
            _ => return Ok(()),
        };
        if !text.is_empty() {
            let seconds = whole_seconds(&text);
            *slot = Some(seconds.ok_or_else(|| value(&text, "a package time", element.at_byte()))?);
        }
        Ok(())
    })?;
    Ok((file, build))
}
