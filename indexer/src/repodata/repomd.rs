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

/// More records than any repository has.
const RECORDS_MAX: usize = 256;

/// A parsed `repomd.xml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repomd {
    /// The revision: by custom the time of making in seconds since 1970, but any text may stand there.
    pub revision: Option<String>,
    /// The metadata files, in the document's order.
    pub records: Vec<Record>,
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
    let mut repomd = Repomd { revision: None, records: Vec::new() };
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
                    ["repomd", "data", field] => draft.open_field(field, &element)?,
                    ["repomd", ..] => {}
                    _ => return Err(wrong_document(element.name())),
                }
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::Close => {
                let at_byte = xml.at_byte();
                match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["repomd", "revision"] => repomd.revision = Some(text.trim().to_owned()),
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
            "checksum" | "open-checksum" => {
                self.algorithm = algorithm(element)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_field(&mut self, field: &str, text: &str, at_byte: u64) -> Result<(), RepodataError> {
        match field {
            "checksum" | "open-checksum" => {
                let missing =
                    RepodataError::Missing { at_byte, inside: self.name(), what: "type of checksum" };
                let algorithm = self.algorithm.take().ok_or(missing)?;
                let checksum = Checksum::from_hex(algorithm, text)
                    .map_err(|source| RepodataError::Checksum { at_byte, source })?;
                if field == "checksum" {
                    self.set(at_byte, "checksum", |draft| &mut draft.checksum, checksum)
                } else {
                    self.set(at_byte, "open-checksum", |draft| &mut draft.open_checksum, checksum)
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
        Some(base) => Err(RepodataError::Base { at_byte, href, base }),
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
