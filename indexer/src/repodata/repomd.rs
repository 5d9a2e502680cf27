//! `repomd.xml`: the list of a repository's metadata files, each with its checksum.
//!
//! Always true of a [`Repomd`]: every record has a checksum and a location inside the repository, no two
//! records have one location unless they are the same file, and there is at most one record of each type.

use std::collections::HashSet;
use std::io::BufRead;

use cfs_fs::name::TreePath;

use super::xml::{Element, Event, Xml};
use super::{RepodataError, href};
use crate::checksum::{Algorithm, Checksum};

mod text;

/// More records than any repository has.
const RECORDS_MAX: usize = 256;

/// Elements that are not known and are named.
const UNKNOWN_MAX: usize = 16;

/// A parsed `repomd.xml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repomd {
    /// The revision: by custom the time of making in seconds since 1970, but any text may stand there.
    pub revision: Option<String>,
    /// What the repository says of itself.
    pub tags: Tags,
    /// The metadata files, in the document's order.
    pub records: Vec<Record>,
    /// Names of elements that are none of these, as far as they are named.
    pub unknown: Vec<String>,
}

/// What a repository says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// What sort of packages it has.
    pub content: Vec<String>,
    /// What sort of repository it is.
    pub repo: Vec<String>,
    /// The distributions it is for: CPE name and name.
    pub distro: Vec<(Option<String>, String)>,
}

impl Tags {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.repo.is_empty() && self.distro.is_empty()
    }
}

/// One metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The type: `primary`, `filelists`, `group` and so on.
    pub kind: String,
    /// Where it is, below the repository's base.
    pub location: TreePath,
    /// Checksum of the file.
    pub checksum: Checksum,
    /// Size of the file; old repositories do not say.
    pub size_bytes: Option<u64>,
    /// Checksum of what is in it uncompressed.
    pub open_checksum: Option<Checksum>,
    /// Size of what is in it uncompressed.
    pub open_size_bytes: Option<u64>,
    /// Modification time in seconds since 1970.
    pub timestamp: Option<i64>,
    /// Checksum of the header of a zchunk file.
    pub header_checksum: Option<Checksum>,
    /// Size of the header of a zchunk file.
    pub header_size_bytes: Option<u64>,
    /// The version of an SQLite database.
    pub database_version: Option<u64>,
}

impl Repomd {
    /// The record of type `kind`.
    pub fn record(&self, kind: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.kind == kind)
    }

    /// The revision as a time in seconds since 1970, when it is one.
    pub fn revision_time(&self) -> Option<i64> {
        self.revision.as_deref().and_then(whole_seconds)
    }
}

/// Parses an uncompressed `repomd.xml`.
pub fn parse(input: impl BufRead) -> Result<Repomd, RepodataError> {
    let mut xml = Xml::new(input);
    let mut repomd = Repomd::default();
    let mut cpe = None;
    let mut path: Vec<String> = Vec::new();
    let mut draft = Draft::default();
    let mut text = String::new();
    loop {
        match xml.next()? {
            Event::Open(element) => {
                text.clear();
                path.push(element.name().to_owned());
                match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["repomd", "data"] => draft = Draft::open(&element)?,
                    ["repomd", "data", field] => {
                        if !FIELDS.contains(&field) {
                            name_unknown(&mut repomd, field);
                        }
                        draft.open_field(field, &element)?;
                    }
                    ["repomd", "tags", "distro"] => cpe = distro_cpe(&element)?,
                    ["repomd"] | ["repomd", "revision" | "tags"] | ["repomd", "tags", "content" | "repo"] => {
                    }
                    ["repomd", .., field] => name_unknown(&mut repomd, field),
                    _ => return Err(wrong_document(element.name())),
                }
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::Close => {
                let at_byte = xml.at_byte();
                match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["repomd", "revision"] => repomd.revision = Some(text.trim().to_owned()),
                    ["repomd", "tags", tag] => {
                        let said = text.trim().to_owned();
                        match tag {
                            "content" => repomd.tags.content.push(said),
                            "repo" => repomd.tags.repo.push(said),
                            "distro" => repomd.tags.distro.push((cpe.take(), said)),
                            _ => {}
                        }
                        let count =
                            repomd.tags.content.len() + repomd.tags.repo.len() + repomd.tags.distro.len();
                        if count > RECORDS_MAX {
                            return Err(RepodataError::Limit { at_byte, what: "tags", limit: RECORDS_MAX });
                        }
                    }
                    ["repomd", "data"] => {
                        add(&mut repomd, std::mem::take(&mut draft).close(at_byte)?, at_byte)?;
                    }
                    ["repomd", "data", field] => draft.close_field(field, text.trim(), at_byte)?,
                    _ => {}
                }
                text.clear();
                path.pop();
            }
            Event::Other => {}
            Event::End => break,
        }
    }
    let mut locations = HashSet::new();
    match repomd.records.iter().find(|record| !locations.insert(&record.location)) {
        Some(again) => Err(RepodataError::Conflict { location: again.location.clone() }),
        None => Ok(repomd),
    }
}

/// The elements of a record.
const FIELDS: [&str; 10] = [
    "checksum",
    "open-checksum",
    "header-checksum",
    "location",
    "timestamp",
    "size",
    "open-size",
    "header-size",
    "database_version",
    "database-version",
];

fn name_unknown(repomd: &mut Repomd, name: &str) {
    if repomd.unknown.len() < UNKNOWN_MAX && !repomd.unknown.iter().any(|known| known == name) {
        repomd.unknown.push(name.chars().take(80).collect());
    }
}

fn distro_cpe(element: &Element<'_>) -> Result<Option<String>, RepodataError> {
    let mut cpe = None;
    element.attributes(&mut |name, value| {
        if name == "cpeid" {
            cpe = Some(value.into_owned());
        }
        Ok(())
    })?;
    Ok(cpe)
}

fn wrong_document(found: &str) -> RepodataError {
    RepodataError::WrongDocument { expected: "repomd", found: found.chars().take(80).collect() }
}

fn add(repomd: &mut Repomd, record: Record, at_byte: u64) -> Result<(), RepodataError> {
    if repomd.records.len() == RECORDS_MAX {
        return Err(RepodataError::Limit { at_byte, what: "records", limit: RECORDS_MAX });
    }
    if repomd.record(&record.kind).is_some() {
        let inside = "the list of metadata files".to_owned();
        return Err(RepodataError::Twice { at_byte, inside, what: "record of one type" });
    }
    repomd.records.push(record);
    Ok(())
}

/// A record under construction.
#[derive(Default)]
struct Draft {
    kind: Option<String>,
    location: Option<TreePath>,
    /// Of the checksum that is open now.
    algorithm: Option<Algorithm>,
    checksum: Option<Checksum>,
    size_bytes: Option<u64>,
    open_checksum: Option<Checksum>,
    open_size_bytes: Option<u64>,
    timestamp: Option<i64>,
    header_checksum: Option<Checksum>,
    header_size_bytes: Option<u64>,
    database_version: Option<u64>,
}

impl Draft {
    fn open(element: &Element<'_>) -> Result<Self, RepodataError> {
        let mut draft = Draft::default();
        element.attributes(&mut |name, value| {
            if name == "type" {
                draft.kind = Some(value.into_owned());
            }
            Ok(())
        })?;
        Ok(draft)
    }

    fn name(&self) -> String {
        format!("the record {:?}", self.kind.as_deref().unwrap_or("?"))
    }

    fn open_field(&mut self, field: &str, element: &Element<'_>) -> Result<(), RepodataError> {
        match field {
            "location" => {
                let location = location(element)?;
                self.set(element.at_byte(), "location", |draft| &mut draft.location, location)
            }
            "checksum" | "open-checksum" | "header-checksum" => {
                self.algorithm = algorithm(element)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_field(&mut self, field: &str, text: &str, at_byte: u64) -> Result<(), RepodataError> {
        match field {
            "checksum" | "open-checksum" | "header-checksum" => {
                let missing =
                    RepodataError::Missing { at_byte, inside: self.name(), what: "type of checksum" };
                let algorithm = self.algorithm.take().ok_or(missing)?;
                let checksum = Checksum::from_hex(algorithm, text)
                    .map_err(|source| RepodataError::Checksum { at_byte, source })?;
                match field {
                    "checksum" => self.set(at_byte, "checksum", |draft| &mut draft.checksum, checksum),
                    "open-checksum" => {
                        self.set(at_byte, "open-checksum", |draft| &mut draft.open_checksum, checksum)
                    }
                    _ => self.set(at_byte, "header-checksum", |draft| &mut draft.header_checksum, checksum),
                }
            }
            "size" => {
                let size = number(text, "a size", at_byte)?;
                self.set(at_byte, "size", |draft| &mut draft.size_bytes, size)
            }
            "open-size" => {
                let size = number(text, "an open-size", at_byte)?;
                self.set(at_byte, "open-size", |draft| &mut draft.open_size_bytes, size)
            }
            "header-size" => {
                let size = number(text, "a header-size", at_byte)?;
                self.set(at_byte, "header-size", |draft| &mut draft.header_size_bytes, size)
            }
            "database_version" | "database-version" => {
                let version = number(text, "a database version", at_byte)?;
                self.set(at_byte, "database version", |draft| &mut draft.database_version, version)
            }
            "timestamp" => {
                let time = whole_seconds(text).ok_or_else(|| value(text, "a timestamp", at_byte))?;
                self.set(at_byte, "timestamp", |draft| &mut draft.timestamp, time)
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
        let inside = self.name();
        match field(self).replace(value) {
            None => Ok(()),
            Some(_) => Err(RepodataError::Twice { at_byte, inside, what }),
        }
    }

    fn close(self, at_byte: u64) -> Result<Record, RepodataError> {
        let inside = self.name();
        let missing = |what| RepodataError::Missing { at_byte, inside: inside.clone(), what };
        Ok(Record {
            kind: self.kind.filter(|kind| !kind.is_empty()).ok_or_else(|| missing("type"))?,
            location: self.location.ok_or_else(|| missing("location"))?,
            checksum: self.checksum.ok_or_else(|| missing("checksum"))?,
            size_bytes: self.size_bytes,
            open_checksum: self.open_checksum,
            open_size_bytes: self.open_size_bytes,
            timestamp: self.timestamp,
            header_checksum: self.header_checksum,
            header_size_bytes: self.header_size_bytes,
            database_version: self.database_version,
        })
    }
}

/// The path that a `location` element gives.
pub(super) fn location(element: &Element<'_>) -> Result<TreePath, RepodataError> {
    let (mut path, mut base) = (None, None);
    element.attributes(&mut |name, value| {
        match name {
            "href" => path = Some(value.into_owned()),
            "xml:base" if !value.is_empty() => base = Some(value.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let at_byte = element.at_byte();
    let inside = || "a location".to_owned();
    let href = path.ok_or_else(|| RepodataError::Missing { at_byte, inside: inside(), what: "href" })?;
    match base {
        Some(base) => {
            let (href, base) = (href::shorten(&href), href::shorten(&base));
            Err(RepodataError::Base { at_byte, href, base })
        }
        None => href::location(&href).map_err(|source| RepodataError::Href { at_byte, source }),
    }
}

/// The algorithm that a `checksum` element names.
pub(super) fn algorithm(element: &Element<'_>) -> Result<Option<Algorithm>, RepodataError> {
    let mut algorithm = None;
    element.attributes(&mut |name, value| {
        if name == "type" {
            let parsed = value.parse();
            let at_byte = element.at_byte();
            algorithm = Some(parsed.map_err(|source| RepodataError::Checksum { at_byte, source })?);
        }
        Ok(())
    })?;
    Ok(algorithm)
}

pub(super) fn value(text: &str, what: &'static str, at_byte: u64) -> RepodataError {
    RepodataError::Value { at_byte, what, value: text.chars().take(80).collect() }
}

pub(super) fn number<T: std::str::FromStr>(
    text: &str,
    what: &'static str,
    at_byte: u64,
) -> Result<T, RepodataError> {
    text.parse().map_err(|_| value(text, what, at_byte))
}

/// Seconds since 1970 without the fraction that old tools wrote.
pub(super) fn whole_seconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    (fraction.bytes().all(|byte| byte.is_ascii_digit()) && seconds >= 0).then_some(seconds)
}
