//! XML as repositories use it, read as a stream of events under limits.
//!
//! Always true: a document type, an entity beyond XML's own five, another encoding than UTF-8, more depth,
//! attributes or unbroken text than the limits allow ends the stream with an error, and no event needs more
//! memory than [`TEXT_BYTES_MAX`]. A document type may be allowed that declares nothing itself; what it names is
//! never looked for.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use quick_xml::events::{BytesDecl, BytesStart, Event as Raw};
use quick_xml::{Reader, XmlVersion};

use super::RepodataError;
use super::compression::TooLarge;

/// Elements inside each other.
pub const DEPTH_MAX: usize = 32;
/// Attributes of one element.
pub const ATTRIBUTES_MAX: usize = 64;
/// Bytes of one text, comment or tag.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// What a document holds, in order. An empty element is an [`Event::Open`] and an [`Event::Close`].
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// An element begins.
    Open(Element<'a>),
    /// The innermost element ends.
    Close,
    /// Text inside the innermost element; one text may come in several pieces.
    Text(Cow<'a, str>),
    /// A comment or a declaration, of no interest.
    Other,
    /// The document is over, and was well-formed.
    End,
}

/// What is done with the name and the value of an attribute.
pub(super) type Visit<'v> = dyn FnMut(&str, Cow<'_, str>) -> Result<(), RepodataError> + 'v;

/// The beginning of an element.
#[derive(Debug)]
pub(super) struct Element<'a> {
    tag: BytesStart<'a>,
    at_byte: u64,
}

impl Element<'_> {
    /// The name as written; what repositories use has no prefix.
    pub(super) fn name(&self) -> &str {
        self.tag.name().into_inner()
    }

    /// Where the document goes on behind the tag.
    pub(super) fn at_byte(&self) -> u64 {
        self.at_byte
    }

    /// Calls `visit` with the name and the value of every attribute.
    pub(super) fn attributes(&self, visit: &mut Visit<'_>) -> Result<(), RepodataError> {
        let malformed = |source| RepodataError::Xml { at_byte: self.at_byte, source: Box::new(source) };
        for (seen, attribute) in self.tag.attributes().enumerate() {
            if seen == ATTRIBUTES_MAX {
                let (at_byte, what) = (self.at_byte, "attributes of an element");
                return Err(RepodataError::Limit { at_byte, what, limit: ATTRIBUTES_MAX });
            }
            let attribute = attribute.map_err(|e| malformed(e.into()))?;
            let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(malformed)?;
            visit(attribute.key.into_inner(), value)?;
        }
        Ok(())
    }
}

/// A stream of events.
#[derive(Debug)]
pub(super) struct Xml<R> {
    reader: Reader<Metered<R>>,
    buffer: Vec<u8>,
    depth: usize,
    /// Whether the top element has begun.
    rooted: bool,
    /// Whether a document type that declares nothing may stand before it.
    may_be_typed: bool,
}

impl<R: BufRead> Xml<R> {
    /// The events of the document that `input` gives.
    pub(super) fn new(input: R) -> Self {
        let mut reader = Reader::from_reader(Metered { inner: input, taken_bytes: 0 });
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), depth: 0, rooted: false, may_be_typed: false }
    }

    /// As [`Xml::new`], for a document that people write: its type may be named.
    pub(super) fn typed(input: R) -> Self {
        Self { may_be_typed: true, ..Self::new(input) }
    }

    /// How far the document was read.
    pub(super) fn at_byte(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// The next event. Not to be called again after [`Event::End`] or an error.
    pub(super) fn next(&mut self) -> Result<Event<'_>, RepodataError> {
        self.buffer.clear();
        self.reader.get_mut().taken_bytes = 0;
        let raw = self.reader.read_event_into(&mut self.buffer);
        let at_byte = self.reader.buffer_position();
        let malformed = |source| RepodataError::Xml { at_byte, source: Box::new(source) };
        match raw {
            Ok(Raw::Start(_)) if self.rooted && self.depth == 0 => {
                Err(RepodataError::Limit { at_byte, what: "top elements", limit: 1 })
            }
            Ok(Raw::Start(tag)) if self.depth < DEPTH_MAX => {
                self.rooted = true;
                self.depth += 1;
                Ok(Event::Open(Element { tag, at_byte }))
            }
            Ok(Raw::Start(_) | Raw::Empty(_)) => {
                Err(RepodataError::Limit { at_byte, what: "elements inside each other", limit: DEPTH_MAX })
            }
            Ok(Raw::End(_)) => {
                self.depth -= 1; // the parser has matched it with its beginning
                Ok(Event::Close)
            }
            Ok(Raw::Text(text)) if self.depth == 0 && !text.trim().is_empty() => {
                Err(RepodataError::Stray { at_byte })
            }
            Ok(Raw::CData(_) | Raw::GeneralRef(_)) if self.depth == 0 => {
                Err(RepodataError::Stray { at_byte })
            }
            Ok(Raw::Text(text)) => Ok(Event::Text(text.into_inner())),
            Ok(Raw::CData(text)) => Ok(Event::Text(text.into_inner())),
            Ok(Raw::GeneralRef(reference)) => match reference.resolve_char_ref().map_err(malformed)? {
                Some(character) => Ok(Event::Text(String::from(character).into())),
                None => match quick_xml::escape::resolve_xml_entity(&reference) {
                    Some(text) => Ok(Event::Text(text.into())),
                    None => {
                        Err(RepodataError::Entity { at_byte, name: reference.chars().take(80).collect() })
                    }
                },
            },
            Ok(Raw::Decl(decl)) => check_encoding(&decl).map(|()| Event::Other),
            Ok(Raw::Comment(_) | Raw::PI(_)) => Ok(Event::Other),
            Ok(Raw::DocType(named)) if self.may_be_typed && !self.rooted && !named.contains('[') => {
                Ok(Event::Other)
            }
            Ok(Raw::DocType(_)) => Err(RepodataError::Doctype { at_byte }),
            Ok(Raw::Eof) if self.depth > 0 || !self.rooted => Err(RepodataError::Truncated { at_byte }),
            Ok(Raw::Eof) => Ok(Event::End),
            Err(quick_xml::Error::Io(source)) => Err(read_error(at_byte, &source)),
            Err(source) => Err(malformed(source)),
        }
    }
}

/// An error of the reader below, as what it really is.
fn read_error(at_byte: u64, source: &Arc<io::Error>) -> RepodataError {
    let inner = source.get_ref();
    if let Some(too_large) = inner.and_then(|e| e.downcast_ref::<TooLarge>()) {
        return RepodataError::TooLarge(*too_large);
    }
    if inner.and_then(|e| e.downcast_ref::<OneEventTooLong>()).is_some() {
        return RepodataError::Limit { at_byte, what: "bytes of one text", limit: TEXT_BYTES_MAX };
    }
    RepodataError::Read(io::Error::new(source.kind(), Arc::clone(source)))
}

fn check_encoding(decl: &BytesDecl<'_>) -> Result<(), RepodataError> {
    match decl.encoding() {
        Some(Ok(name)) if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii") => {
            Err(RepodataError::Encoding(name.chars().take(40).collect()))
        }
        _ => Ok(()),
    }
}

/// Counts what is taken for one event and fails when that is too much.
#[derive(Debug)]
struct Metered<R> {
    inner: R,
    taken_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {TEXT_BYTES_MAX} bytes in one piece")]
struct OneEventTooLong;

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken_bytes > TEXT_BYTES_MAX {
            return Err(io::Error::other(OneEventTooLong));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.taken_bytes += amount;
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
