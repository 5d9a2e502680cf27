//! `filelists.xml`: every file of every package, read as a stream.
//!
//! Nothing is kept: whoever reads says which paths matter, and is told of packages by their checksums, as the
//! document names them. Directories and files that a package only owns count as files, as they do for rpm.

use std::io::BufRead;

use super::RepodataError;
use super::xml::{Element, Event, Xml};

/// Calls `visit` with the checksum of a package and one of its paths, for all of them.
pub fn read(input: impl BufRead, visit: &mut dyn FnMut(&str, &str)) -> Result<(), RepodataError> {
    let mut xml = Xml::new(input);
    let (mut depth, mut is_file) = (0, false);
    let (mut package, mut path) = (String::new(), String::new());
    loop {
        match xml.next()? {
            Event::Open(element) => {
                depth += 1;
                match (depth, element.name()) {
                    (1, "filelists") => {}
                    (1, found) => {
                        let found = found.chars().take(80).collect();
                        return Err(RepodataError::WrongDocument { expected: "filelists", found });
                    }
                    (2, "package") => package_id(&element, &mut package)?,
                    (3, name) => {
                        is_file = name == "file";
                        path.clear();
                    }
                    _ => {}
                }
            }
            Event::Text(piece) => {
                if is_file && depth == 3 {
                    path.push_str(&piece);
                }
            }
            Event::Close => {
                if depth == 3 && is_file {
                    visit(&package, &path);
                    is_file = false;
                }
                depth -= 1;
            }
            Event::Other => {}
            Event::End => return Ok(()),
        }
    }
}

/// The checksum by which `filelists.xml` and `other.xml` name a package.
pub(super) fn package_id(element: &Element<'_>, id: &mut String) -> Result<(), RepodataError> {
    id.clear();
    element.attributes(&mut |name, value| {
        if name == "pkgid" {
            id.push_str(&value);
        }
        Ok(())
    })?;
    if id.is_empty() {
        let at_byte = element.at_byte();
        return Err(RepodataError::Missing { at_byte, inside: "a package".to_owned(), what: "pkgid" });
    }
    Ok(())
}
