//! `comps.xml`: groups of packages. What it says is for clients; here it is only told from other documents.

use super::RepodataError;
use super::xml::{Event, Xml};

/// Checks that an uncompressed document is well-formed and holds groups of packages. It may name its document
/// type, as the files that people write do.
pub fn check(document: &[u8]) -> Result<(), RepodataError> {
    let mut xml = Xml::typed(document);
    let mut depth = 0_usize;
    loop {
        match xml.next()? {
            Event::Open(element) if depth == 0 && element.name() != "comps" => {
                let found = element.name().chars().take(80).collect();
                return Err(RepodataError::WrongDocument { expected: "comps", found });
            }
            Event::Open(_) => depth += 1,
            Event::Close => depth -= 1, // the parser has matched it with its beginning
            Event::Text(_) | Event::Other => {}
            Event::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "<!DOCTYPE comps PUBLIC \"-//Red Hat, Inc.//DTD Comps info//EN\" \"comps.dtd\">";

    #[test]
    fn groups_are_told_from_other_documents() {
        let good =
            format!("<?xml version=\"1.0\"?>\n{TYPE}\n<comps><group><id>a &amp; b</id></group></comps>");
        check(good.as_bytes()).unwrap();
        check(b"<comps/>").unwrap();
        assert!(matches!(check(b"<updates/>"), Err(RepodataError::WrongDocument { .. })));
        assert!(matches!(check(b"<comps><group></comps>"), Err(RepodataError::Xml { .. })));
        assert!(matches!(check(b"<comps><group>"), Err(RepodataError::Truncated { .. })));
        assert!(check(b"").is_err());
    }

    #[test]
    fn a_document_type_that_declares_something_is_refused() {
        let declares = "<!DOCTYPE comps [<!ENTITY a \"b\">]><comps>&a;</comps>";
        assert!(matches!(check(declares.as_bytes()), Err(RepodataError::Doctype { .. })));
        let late = format!("<comps>{TYPE}</comps>");
        assert!(matches!(check(late.as_bytes()), Err(RepodataError::Doctype { .. })));
    }
}
