//! Metadata that is no list of packages: comps, modules, updateinfo and others.

use std::io::Read;

use super::CreaterepoError;
use super::documents::Made;
use crate::checksum::{Algorithm, Hasher};
use crate::repodata::compression::{self, Format, TooLarge};
use crate::repodata::comps;
use crate::repodata::document::Document;
use crate::repodata::repomd::Repomd;
use crate::repository::with_causes;

/// Bytes of such a document uncompressed.
const BYTES_MAX: u64 = 1 << 30;

/// The types that are known, with the names of their files.
pub const KINDS: [(&str, &str); 4] = [
    ("group", "comps.xml"),
    ("modules", "modules.yaml"),
    ("updateinfo", "updateinfo.xml"),
    ("productid", "productid"),
];

/// Such a document, as it was given: uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    kind: String,
    file_name: String,
    text: Vec<u8>,
}

impl Extra {
    /// The document of this type that `bytes` are, compressed or not; `name` is for messages.
    pub fn new(kind: &str, name: &str, bytes: &[u8]) -> Result<Self, CreaterepoError> {
        let fail = |reason: String| CreaterepoError::NotThat {
            name: name.to_owned(),
            kind: kind.to_owned(),
            reason,
        };
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        let (_, file_name) = known.ok_or_else(|| fail("the type is not known".to_owned()))?;
        let mut text = Vec::new();
        let read = compression::reader(bytes, BYTES_MAX).and_then(|mut plain| plain.read_to_end(&mut text));
        read.map_err(|error| match error.get_ref().and_then(|e| e.downcast_ref::<TooLarge>()) {
            Some(too_large) => fail(too_large.to_string()),
            None => fail(format!("cannot be uncompressed: {error}")),
        })?;
        if kind == "group" {
            comps::check(&text).map_err(|error| fail(with_causes(&error)))?;
        }
        let needed: &[u8] = match kind {
            "modules" => b"document:",
            "updateinfo" => b"<updates",
            _ => b"",
        };
        if !needed.is_empty() && !text.windows(needed.len()).any(|part| part == needed) {
            return Err(fail(format!("holds no {:?}", String::from_utf8_lossy(needed))));
        }
        Ok(Self { kind: kind.to_owned(), file_name: (*file_name).to_owned(), text })
    }

    /// The type of its record.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The records it becomes: type, name of the file behind its checksum, file. Comps stand there uncompressed
    /// too, as clients older than compressed ones want them.
    pub(super) fn files(
        &self,
        format: Format,
        algorithm: Algorithm,
    ) -> Result<Vec<(String, String, Made)>, CreaterepoError> {
        let Self { kind, file_name, text } = self;
        let one = |kind: String, format: Format| {
            let made = Document::of(text, format, algorithm);
            let made =
                made.map_err(|source| CreaterepoError::Compress { document: "the document", source })?;
            Ok::<_, CreaterepoError>((kind, format!("{file_name}{}", format.suffix()), Made::from(made)))
        };
        if kind != "group" || format == Format::Plain {
            return Ok(vec![one(kind.clone(), format)?]);
        }
        let compressed = format!("{kind}_{}", format.suffix().trim_start_matches('.'));
        Ok(vec![one(kind.clone(), Format::Plain)?, one(compressed, format)?])
    }
}

impl Extra {
    /// Whether `repomd` lists the document already: every record of its type says that it is this one.
    pub(super) fn is_in(&self, repomd: &Repomd) -> bool {
        let mut own = repomd.records.iter().filter(|record| is_variant(&record.kind, &self.kind)).peekable();
        own.peek().is_some()
            && own.all(|record| {
                let said = record.open_checksum.unwrap_or(record.checksum);
                let mut hasher = Hasher::new(said.algorithm());
                hasher.update(&self.text);
                hasher.finish().checksum == said
            })
    }
}

/// Whether a record's type is `kind` or one of its variants, such as `group_gz`.
pub(super) fn is_variant(record: &str, kind: &str) -> bool {
    record.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}
