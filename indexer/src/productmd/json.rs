//! JSON as Python's `json.dump(indent=4, sort_keys=True)` writes it: four spaces, keys in the order of their
//! code points, everything beyond ASCII escaped, no newline at the end.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::ProductmdError;
use super::version::Version;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    version: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document<P> {
    header: Header,
    payload: P,
}

/// Writes a document of the type `kind`, whose payload is what `version` has.
pub(super) fn write<P: Serialize>(kind: &str, version: Version, payload: &P) -> Vec<u8> {
    let header = Header { kind: Some(kind.to_owned()), version: version.to_string() };
    // Through a value, since its maps are sorted.
    let value = serde_json::to_value(Document { header, payload });
    dump(&value.expect("maps of texts to values that are all representable"))
}

/// The fields of a value that is a struct.
pub(super) fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("structs of texts and numbers become objects"),
    }
}

/// Writes a value.
pub(super) fn dump(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let formatter = Python(PrettyFormatter::with_indent(b"    "));
    let written = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
    written.expect("a vector takes everything");
    out
}

/// Reads a document of the type `kind`.
pub(super) fn read<P: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<P, ProductmdError> {
    let malformed = |error: serde_json::Error| ProductmdError::Malformed { kind, reason: error.to_string() };
    let document: Document<Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    match document.header.kind {
        Some(found) if found != kind => return Err(ProductmdError::OtherKind { kind, found }),
        _ => {}
    }
    let major = document.header.version.split('.').next().unwrap_or_default();
    if major != "1" {
        let reason = format!("its version is {}; 1.x is read", document.header.version);
        return Err(ProductmdError::Malformed { kind, reason });
    }
    serde_json::from_value(document.payload).map_err(malformed)
}

/// Python's way of writing texts.
struct Python<'a>(PrettyFormatter<'a>);

impl Formatter for Python<'_> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if c.is_ascii() && c != '\x7f' {
                writer.write_all(&[c as u8])?;
            } else if c == '\x7f' {
                writer.write_all(b"\x7f")?;
            } else {
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_looks_like_what_python_writes() {
        let payload = BTreeMap::from([("b", "Č 🦀 \u{7f}\"\t\u{1}\u{8}"), ("a", "/")]);
        let text = String::from_utf8(write("productmd.x", Version::Paths, &payload)).unwrap();
        let expected = "{\n    \"header\": {\n        \"type\": \"productmd.x\",\n        \"version\": \"1.2\"\n    \
             },\n    \"payload\": {\n        \"a\": \"/\",\n        \
             \"b\": \"\\u010c \\ud83e\\udd80 \u{7f}\\\"\\t\\u0001\\b\"\n    }\n}";
        assert_eq!(text, expected);
    }
}
